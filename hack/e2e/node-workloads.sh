# Sourced by node: what makes pods, helm among them.
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
static_runs() { kubectl get pods | grep -q '^static-.*Running'; }
check "runs" within 40 static_runs
rm -f "$static/static.yaml"

chart=$work/chart
mkdir -p "$chart/templates/tests"
printf 'apiVersion: v2\nname: shop\nversion: 0.1.0\n' >"$chart/Chart.yaml"
cat >"$chart/templates/all.yaml" <<'YAML'
{{- range $part := list "front" "back" }}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: {{ $.Release.Name }}-{{ $part }}}
spec:
  replicas: 1
  selector: {matchLabels: {app: {{ $.Release.Name }}-{{ $part }}}}
  template:
    metadata: {labels: {app: {{ $.Release.Name }}-{{ $part }}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: main, image: "localhost/busybox:1", command: [sleep, "100000"]}]
{{- end }}
YAML
cat >"$chart/templates/tests/test.yaml" <<'YAML'
apiVersion: v1
kind: Pod
metadata: {name: "{{ .Release.Name }}-test", annotations: {helm.sh/hook: test}}
spec:
  restartPolicy: Never
  containers: [{name: main, image: "localhost/busybox:1", command: ["true"]}]
YAML
check "helm install of a chart with several pods" "$helm" install shop "$chart" --wait --timeout 90s
check "its helm test" "$helm" test shop --timeout 60s
check "helm uninstall" "$helm" uninstall shop --wait
check "all of it goes" kubectl delete --now deployment/web job/once job/by-hand cronjob/often statefulset/ordered
