# Sourced by life: k3s settings changed by kubectl; a bad one is taken back without help.
# shellcheck shell=bash disable=SC2154

k3s_pid() { status .k3s.pid; }
k3s_command_line() { tr '\0' ' ' <"/proc/$(k3s_pid)/cmdline"; }
restarted_with() {
  says "$1" k3s_command_line && equals true status .ready && says "$1" status '.k3s.args | tostring'
}

at_first=$(k3s_command_line)
config '  k3s: {snapshotter: overlayfs}' | apply >/dev/null
check "a changed snapshotter restarts k3s with the flag" within 60 restarted_with --snapshotter=overlayfs
check "the data is intact" kubectl get deployment web
config '  k3s: {flannelBackend: host-gw}' | apply >/dev/null
check "a changed flannel backend too" within 60 restarted_with --flannel-backend=host-gw
check "and the data is intact" kubectl get deployment web
kubectl delete sbx e2e >/dev/null
as_at_first() { equals "$at_first" k3s_command_line && equals true status .ready; }
check "deletion brings the profile's settings back" within 60 as_at_first

config '  k3s: {extraArgs: [--no-such-flag]}' | apply >/dev/null
rolled_back() { says no-such-flag kubectl get sbx e2e -o yaml && says "flag provided but not defined" kubectl get sbx e2e -o yaml; }
check "an unknown flag is taken back, with k3s's error in the status" within 90 rolled_back
check "the old settings run" within 60 as_at_first
check "and the cluster is ready" within 60 equals true status .ready
refused "a flag that moves the data is refused" "moves k3s's data" \
  apply < <(config '  k3s: {extraArgs: ["--data-dir=/tmp/x"]}')
kubectl delete sbx e2e >/dev/null

config '  k3s: {snapshotter: overlayfs, restartPolicy: Manual}' | apply >/dev/null
pending() { kubectl get sbx e2e -o jsonpath='{.status.conditions[?(@.type=="RestartPending")].status}'; }
check "with restartPolicy Manual the restart is pending" within 10 equals True pending
check "restart takes it up" "$sandbar" restart
check "and the flag is there" within 60 restarted_with --snapshotter=overlayfs
kubectl delete sbx e2e >/dev/null
check "its deletion brings the first settings back" within 60 as_at_first
