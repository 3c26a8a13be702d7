# Sourced by node: what makes pods.
# shellcheck shell=bash

check "a Deployment" kubectl create deployment web --image=localhost/busybox:1 --replicas=2 -- sleep 100000
check "rolls out" kubectl rollout status deployment/web --timeout=60s
check "changed, it rolls again" kubectl set env deployment/web CHANGED=yes
check "to its end" kubectl rollout status deployment/web --timeout=90s
check "and back" kubectl rollout undo deployment/web
check "to its end, too" kubectl rollout status deployment/web --timeout=90s
check "a Job" kubectl create job once --image=localhost/busybox:1 -- true
check "completes" kubectl wait --for=condition=Complete --timeout=60s job/once
check "a CronJob" kubectl create cronjob often --image=localhost/busybox:1 --schedule='* * * * *' -- true
check "makes a Job by hand" kubectl create job by-hand --from=cronjob/often
check "which completes" kubectl wait --for=condition=Complete --timeout=60s job/by-hand
stateful() {
  apply <<'YAML'
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: ordered}
spec:
  replicas: 2
  serviceName: ordered
  selector: {matchLabels: {app: ordered}}
  template:
    metadata: {labels: {app: ordered}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: main, image: "localhost/busybox:1", command: [sleep, "100000"]}]
YAML
}
check "a StatefulSet" stateful
check "comes up in order" kubectl rollout status statefulset/ordered --timeout=60s
static=/var/lib/rancher/k3s/agent/pod-manifests
printf 'apiVersion: v1\nkind: Pod\nmetadata: {name: static}\nspec: {containers: [{name: main, image: "localhost/busybox:1", command: [sleep, "100000"]}]}\n' >"$work/static.yaml"
check "a static pod" install -D -m 600 "$work/static.yaml" "$static/static.yaml"
name=static-$(kubectl get nodes -o jsonpath='{.items[0].metadata.name}')
check "is shown" kubectl wait --for=create --timeout=40s "pod/$name"
check "runs" ready "$name"
rm -f "$static/static.yaml"
check "all of it goes" kubectl delete --now deployment/web job/once job/by-hand cronjob/often statefulset/ordered
