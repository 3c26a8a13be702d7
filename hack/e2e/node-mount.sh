# Sourced by node: once more with nothing traced. Every rule is served by a mount, and a new value is seen by what runs.
# shellcheck shell=bash disable=SC2016

check "up again, after down" "$sandbar" up "${flags[@]}"
# What was started under the interceptor stays under it until it ends.
check "its pods go" kubectl delete --now pod --all
check "interception: Mount" kubectl apply -f "$root/manifests/samples/mount.yaml"
untraced() { equals "true " status '"\(.ready) \(.interceptor.backend)"' && equals mount status '.table.rules[] | select(.pattern == "/proc/sys/kernel/panic") | .means'; }
check "k3s comes back untraced" within 60 untraced
check "and is ready" "$sandbar" status --wait
check "kubectl sees the node ready" says " Ready " kubectl get nodes
check "a pod is made" pod free
if [[ $place == gvisor-4.4 ]]; then
  # runc wants inode 1 for the root of /proc, which takes interception there: docs/means.md.
  said_of_free() { kubectl get events --field-selector involvedObject.name=free -o jsonpath='{.items[*].message}'; }
  check "runc cannot start it in this kernel, and an event says so" within 40 says "unsafe procfs detected" said_of_free
else
  check "and runs" ready free
fi
# A process may end between the listing of its name and the look at it. At least: k3s, kubelet, containerd, kine, the two of sandbar.
nothing_traced() {
  local tracers
  tracers=$({ cat /proc/[0-9]*/status 2>/dev/null || true; } | awk '/^TracerPid/ {print $2}' | sort | uniq -c)
  echo "$tracers"
  awk '$2 != 0 || $1 < 6 {exit 1}' <<<"$tracers"
}
check "nothing is traced" nothing_traced

"$sandbar" exec -- bash -c 'while sleep 0.1; do read -r panic </proc/sys/kernel/panic; echo "$panic $(grep ^TracerPid /proc/self/status)"; done' >"$work/seen" 2>&1 &
reader=$!
seen() { tail -n 1 "$work/seen"; }
check "a running process sees the profile's value" within 10 equals $'10 TracerPid:\t0' seen
check "a new value" apply <<<'{apiVersion: sandbar.dev/v1alpha1, kind: SandboxConfig, metadata: {name: newer}, spec: {files: [{path: /proc/sys/kernel/panic, value: "78\n"}]}}'
check "is seen by it" within 5 equals $'78 TracerPid:\t0' seen
check "deleted" kubectl delete sbx newer
check "the profile's is back" within 5 equals $'10 TracerPid:\t0' seen
kill "$reader"
check "nothing is traced at the end" nothing_traced

# The case in which gVisor takes all mounts along, which takes interception to keep it from: docs/node.md.
if [[ $place == gvisor || $place == gvisor-strict ]]; then
  check "a pod that shows itself all of /run" shows_itself_run
  check "and runs" ready other 60
  check "the sandbox of one beside it dies by itself" kill -9 "$(first_process free)"
  check "it runs again, in another sandbox" within 60 again free
  check "both sandboxes are to be removed" kubectl delete pod free --now --wait=false
  waits_for() { status .waitingFor || true; }
  check "status says that all mounts are gone, and what helps" within 90 says "sandbar down" waits_for
  check "so does an event" says MountsLost status '.events[].reason'
  check "down" "$sandbar" down
  check "nothing is left of it" within 10 as_before
  check "and up" "$sandbar" up "${flags[@]}"
  check "bring the node back" has_mounts
  check "its pods, too" ready other 90
fi
check "down with it all" "$sandbar" down
check "again nothing is left" within 10 as_before
check "a purge" "$sandbar" down --purge
check "removes data, kubeconfig and state" test ! -e /var/lib/rancher/k3s -a ! -e "$KUBECONFIG" -a ! -e /var/lib/sandbar
