# Sourced by node: helm installs a user's chart and sandbar's own, and their tests pass.
# shellcheck shell=bash

# helm calls it success, too, when a chart has no test.
tested() { says "Phase:          Succeeded" "$helm" test "$1" --timeout 90s; }

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
check "which are ready" equals "1 1" kubectl get deployments -o jsonpath='{.items[*].status.readyReplicas}'
check "its helm test" tested shop
check "helm uninstall" "$helm" uninstall shop --wait

own=(--set sandboxConfig.enabled=true --set tests.enabled=true --set tests.image=localhost/busybox:1
  --set 'sandboxConfig.spec.files[0].path=/proc/sys/kernel/panic' --set-string 'sandboxConfig.spec.files[0].value=33')
check "helm install of sandbar's own chart" "$helm" install own "$root/charts/sandbar" --wait --timeout 60s "${own[@]}"
check "its SandboxConfig becomes Ready" kubectl wait --for=condition=Ready --timeout=10s sbx/own-sandbar
check "its helm test" tested own
stronger() { apply <<<'{apiVersion: sandbar.dev/v1alpha1, kind: SandboxConfig, metadata: {name: stronger}, spec: {priority: 100, files: [{path: /proc/sys/kernel/panic, value: "34\n"}]}}'; }
check "another object wins over it" stronger
check "shorter patience" "$helm" upgrade own "$root/charts/sandbar" --wait --timeout 60s "${own[@]}" --set tests.timeoutSeconds=5
refused "its helm test tells" "own-sandbar-seen failed" "$helm" test own --timeout 60s
check "helm uninstall, too" "$helm" uninstall own --wait
check "and the other goes" kubectl delete sbx stronger
