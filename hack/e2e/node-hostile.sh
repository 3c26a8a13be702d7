# Sourced by node: pods that do to their tracer what tests/guests do by themselves, while another pod and the API go on.
# shellcheck shell=bash

storms() {
  apply <<'YAML'
apiVersion: sandbar.dev/v1alpha1
kind: SandboxConfig
metadata: {name: storms}
spec:
  files: [{path: /proc/sys/kernel/sandbar_fake, value: "fake\n"}]
  redirects: [{from: /proc/sys/kernel/sandbar_name, sibling: hostname}]
YAML
}
check "values for pods that storm" storms
# hostile NAME FIELDS COMMAND: a pod that runs the guest to its end.
hostile() {
  apply <<YAML
apiVersion: v1
kind: Pod
metadata: {name: $1}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  containers: [{name: main, image: "localhost/later:1", imagePullPolicy: Never, $2 command: [$3]}]
YAML
}
check "a pod that works meanwhile" pod steady 'command: [sh, -c, "while sleep 0.2; do cat /proc/sys/kernel/sandbar_fake; done"]'
check "runs" ready steady
# In gVisor, where each stop takes longer, a new pod needs half a minute beside both storms.
if [[ $place == linux ]]; then storm=30 patience=30; else storm=60 patience=60; fi
check "a fork storm" hostile forkstorm "" "forkstorm, \"$storm\""
check "a storm of signals on threads that look at fakes" hostile storm "" \
  'storm, /proc/sys/kernel/sandbar_fake, /proc/sys/kernel/sandbar_name, /proc/sys/kernel/hostname'
guests=(forkstorm storm)
# The server is written for Linux's FUSE; gVisor's asks more of one.
if [[ $place == linux ]]; then
  check "a FUSE server that is traced, and its clients" hostile fuse 'securityContext: {privileged: true},' fuse
  guests+=(fuse)
fi
check "the storm is on" running forkstorm
lines() { kubectl logs steady | grep -cx fake; }
goes_on() {
  local before
  before=$(lines)
  kubectl create configmap meanwhile --from-literal=a=b --request-timeout=5s
  kubectl delete configmap meanwhile --request-timeout=5s
  (($(lines) > before))
}
check "the other pod and the API go on" within 10 goes_on
check "and a new pod starts" pod newcomer
check "and runs" ready newcomer "$patience"
check "while the storm is on" equals Running kubectl get pod forkstorm -o jsonpath='{.status.phase}'
ends_well() { kubectl wait --for=jsonpath='{.status.phase}'=Succeeded --timeout=90s "pod/$1" || { kubectl logs "$1" && return 1; }; }
for guest in "${guests[@]}"; do check "$guest ends well" ends_well "$guest"; done
check "nothing has been restarted, nothing panicked" equals "0 0" status '"\(.k3s.restarts) \(.interceptor.panics)"'
check "they go" kubectl delete --now pod steady newcomer "${guests[@]}"
check "and what they looked at" kubectl delete sbx storms
