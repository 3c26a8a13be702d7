# Sourced by node: a rule that its kubelet cannot start with, and a sandbox that died by itself; the node comes through both.
# shellcheck shell=bash

check "up to find faults" "$sandbar" up "${flags[@]}"
# A rule that runs well until the kubelet, which sets this, starts the next time.
apply_bad() { apply <<<'{apiVersion: sandbar.dev/v1alpha1, kind: SandboxConfig, metadata: {name: bad}, spec: {files: [{path: /proc/sys/kernel/panic, value: "0\n", access: ReadOnly}]}}'; }
table_error() { says "$1" status '.table.error'; }
bad_is() { equals "$1" kubectl get sbx bad -o jsonpath='{.status.conditions[?(@.type=="Ready")].reason}'; }
check "a rule that the kubelet cannot start with" apply_bad
check "is in force, since it runs" within 10 bad_is Programmed
check "k3s is restarted" timeout 300 "$sandbar" restart
check "the rule is taken back, and named" within 120 table_error "/proc/sys/kernel/panic of bad"
check "k3s is ready with the former rules" within 90 equals true status .ready
check "the object says so" within 10 bad_is TableRefused
check "no settings are blamed" equals null status .k3s.rolledBack
check "it goes" kubectl delete sbx bad
accepted() { equals null status .table.error; }
check "and what is wrong with it" within 10 accepted
refused "--safe is no way to change what runs" "sandbar runs already" "$sandbar" up --safe

# What containerd does for such a sandbox would take away all mounts in gVisor where a pod that shows itself /run has copies: docs/node.md.
shows_itself_run() {
  apply <<'YAML'
apiVersion: v1
kind: Pod
metadata: {name: copies}
spec:
  terminationGracePeriodSeconds: 2
  containers: [{name: main, image: "localhost/busybox:1", command: [sleep, "100000"], volumeMounts: [{name: run, mountPath: /host}]}]
  volumes: [{name: run, hostPath: {path: /run}}]
YAML
}
first_process() {
  local of=/run/k3s/containerd/io.containerd.runtime.v2.task/k8s.io config
  config=$(grep -l "\"io.kubernetes.cri.container-type\":\"sandbox\".*\"io.kubernetes.cri.sandbox-name\":\"$1\"" "$of"/*/config.json)
  cat "${config%/*}/init.pid"
}
has_mounts() { (($(wc -l <"/proc/$(status .supervisor.pid)/mountinfo") > 5)); }
check "a pod" pod dies
check "runs" ready dies
check "another shows itself all of /run" shows_itself_run
check "and runs" ready copies
check "the first one's sandbox dies by itself" kill -9 "$(first_process dies)"
again() { ((10#0$(kubectl get pod dies -o jsonpath='{.status.containerStatuses[0].restartCount}') > 0)) && ready dies 1; }
check "the pod runs again, in another sandbox" within 60 again
check "it goes, and the old one with it" kubectl delete pod dies --now
# That of the other, or none where the filesystem of its own had to go.
few_sandboxes() { (($(find /run/k3s/containerd/io.containerd.grpc.v1.cri/sandboxes -mindepth 1 -maxdepth 1 | wc -l) <= 1)); }
check "it is gone" within 90 few_sandboxes
check "the node has its mounts" has_mounts
check "and makes a pod" pod after
check "which runs" ready after
check "k3s is restarted" "$sandbar" restart
check "the pod ran on" equals 0 kubectl get pod after -o jsonpath='{.status.containerStatuses[0].restartCount}'
check "they go" kubectl delete pod copies after --now
check "down with them" "$sandbar" down
check "and nothing is left" within 10 as_before
