# Sourced by node: a rule that its kubelet cannot start with, and a sandbox that died by itself; the node comes through both.
# shellcheck shell=bash

check "up to find faults" "$sandbar" up "${flags[@]}"
check "former pods go" kubectl delete --now pod --all
# mine RULES ARGUMENTS: a rule, and settings that restart k3s.
mine() { apply <<<"{apiVersion: sandbar.dev/v1alpha1, kind: SandboxConfig, metadata: {name: mine}, spec: {files: [$1], k3s: {extraArgs: [$2]}}}"; }
# It runs well until the kubelet, which sets this, starts the next time.
bad='{path: /proc/sys/kernel/panic, value: "0\n", access: ReadOnly}'
table_error() { says "$1" status '.table.error'; }
mine_is() { equals "$1" kubectl get sbx mine -o jsonpath='{.status.conditions[?(@.type=="Ready")].reason}'; }
asked_for() { status '.k3s.args | join(" ")' | grep -q kubelet-arg=v=1; }
check "a rule that the kubelet cannot start with" mine "$bad" ""
check "is in force, since it runs" within 10 mine_is Programmed
check "settings that are good" mine "$bad" "--kubelet-arg=v=1"
check "the rule is taken back, and named" within 180 table_error "/proc/sys/kernel/panic of mine"
check "k3s is ready with the former rules" within 90 equals true status .ready
check "the object says so" within 10 mine_is TableRefused
check "the settings are not blamed" equals null status .k3s.rolledBack
check "down with all of it" "$sandbar" down
check "and up" "$sandbar" up "${flags[@]}"
check "the rule is still refused" table_error "/proc/sys/kernel/panic of mine"
check "a rule that is good" mine '{path: /proc/sys/kernel/sandbar_fake, value: "1"}' "--kubelet-arg=v=1"
check "takes the settings along" within 60 asked_for
check "k3s is ready with them" "$sandbar" status --wait
check "the object is, too" within 20 mine_is Programmed
check "the node has nothing to complain of" equals null status .table.error
check "it goes" kubectl delete sbx mine
check "k3s is as it was" within 60 "$sandbar" status --wait
refused "--safe is no way to change what runs" "sandbar runs already" "$sandbar" up --safe

# What containerd does for such a sandbox would take away all mounts in gVisor where there are copies of them, as in a pod that shows
# itself /run: docs/node.md.
shows_itself_run() {
  apply <<'YAML'
apiVersion: v1
kind: Pod
metadata: {name: other}
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
check "runs" ready dies 60
check "another shows itself all of /run" shows_itself_run
check "runs, too" ready other 60
check "the first one's sandbox dies by itself" kill -9 "$(first_process dies)"
again() { ((10#0$(kubectl get pod "$1" -o jsonpath='{.status.containerStatuses[0].restartCount}') > 0)) && ready "$1" 1; }
check "the pod runs again, in another sandbox" within 60 again dies
# In the mount namespace of the node.
sandboxes() { "$sandbar" exec -- find /run/k3s/containerd/io.containerd.grpc.v1.cri/sandboxes -mindepth 1 -maxdepth 1; }
many_sandboxes() { (($(sandboxes | wc -l) >= 2)); }
few_sandboxes() { local all; all=$(sandboxes) && (($(wc -l <<<"$all") <= 1)); }
check "it has one, as the other has" many_sandboxes
# So that copies in containers that are just being made go along.
shared_for_sandboxes() { awk '$5 ~ "/sandboxes/[^/]*/shm$" {all++; if (/ shared:/) shared++} END {exit !(all && all == shared)}' "/proc/$(status .supervisor.pid)/mountinfo"; }
check "what is mounted for them is shared" shared_for_sandboxes
check "it goes, and the old one with it" kubectl delete pod dies --now
check "they are gone" within 90 few_sandboxes
check "the node has its mounts" has_mounts
check "and makes a pod" pod after
check "which runs" ready after 60
check "k3s is restarted" "$sandbar" restart
check "the pod ran on" equals 0 kubectl get pod after -o jsonpath='{.status.containerStatuses[0].restartCount}'
check "they go" kubectl delete pod other after --now
check "down with them" "$sandbar" down
check "and nothing is left" within 10 as_before
