# Sourced by life: rules added, changed and removed with kubectl are seen by a process that already runs.
# shellcheck shell=bash disable=SC2154,SC2016

# What was deleted above is gone within a second.
check "the profile's value is seen" within 1 equals 10 view cat /proc/sys/kernel/panic

# One process that runs throughout and opens the file ten times a second.
"$sandbar" exec -- bash -c '
  while :; do
    read -r panic < /proc/sys/kernel/panic
    redirected=none
    if [[ -e /proc/sandbar-e2e ]]; then redirected=$(head -c 5 /proc/sandbar-e2e; echo x); fi
    echo "$panic $redirected $(stat -f -c %t /)"
    sleep 0.1
  done' >"$work/seen" 2>&1 &
watcher=$!
root_type=$(stat -f -c %t /)
check "the watching process runs" within 5 test -s "$work/seen"
check "it sees the profile" within 2 equals "10 none $root_type" seen

config() {
  cat <<YAML
apiVersion: sandbar.dev/v1alpha1
kind: SandboxConfig
metadata: {name: e2e}
spec:
$1
YAML
}
mkdir -p /var/lib/sandbar/files
echo hello >/var/lib/sandbar/files/e2e

config '  files: [{path: /proc/sys/kernel/panic, value: "42\n", access: ReadWrite}]' | apply >/dev/null
check "a new value is seen within a second" within 1 equals "42 none $root_type" seen
check "the status has the acknowledged generation" within 5 equals True ready e2e
check "hits and k3s's state are in the status" within 40 says phase kubectl get sbx e2e -o yaml
config '  redirects: [{from: /proc/sandbar-e2e, to: /var/lib/sandbar/files/e2e}]
  filesystems: [{path: /, reportAs: xfs}]' | apply >/dev/null
check "a redirect and a filesystem type follow, the value goes" within 1 equals "10 hellox 58465342" seen
config '  redirects: [{from: /proc/sandbar-e2e, to: /dev/null}]
  filesystems: [{path: /, reportAs: btrfs}]' | apply >/dev/null
check "both change live" within 1 equals "10 x 9123683e" seen
check "rules shows them with their source" says e2e "$sandbar" rules
kubectl delete sbx e2e >/dev/null
check "deleting the object brings back what was" within 1 equals "10 none $root_type" seen

view bash -c 'echo 77 > /proc/sys/kernel/panic'
check "a written value is read back" within 1 equals "77 none $root_type" seen
config '  files: [{path: /proc/sys/kernel/panic, value: "5\n", access: ReadWrite}]' | apply >/dev/null
check "a rule of higher priority replaces it" within 1 equals "5 none $root_type" seen
kubectl delete sbx e2e >/dev/null
check "its deletion discards what was written" within 1 equals "10 none $root_type" seen

refused "a path outside the allow-list is refused" "allow" \
  apply < <(config '  files: [{path: /etc/passwd, value: "x"}]')
refused "a target outside the allow-list is refused" "allow" \
  apply < <(config '  redirects: [{from: /proc/x, to: /etc/shadow}]')
refused "an unknown enum value is refused" "Unsupported value" \
  apply < <(config '  interception: Sometimes')
refused "broken YAML is refused" "error" apply < <(echo 'kind: [')

# Conflicts are told on the loser.
config '  files: [{path: /proc/sys/kernel/panic, value: "6\n"}]' | apply >/dev/null
config '  priority: 10
  files: [{path: /proc/sys/kernel/panic, value: "7\n"}]' | sed 's/name: e2e/name: winner/' | apply >/dev/null
check "the higher priority wins" within 1 equals "7 none $root_type" seen
conflicted() { kubectl get sbx e2e -o jsonpath='{.status.conditions[?(@.type=="Conflicted")]}'; }
check "the loser says so" within 5 says winner conflicted
kubectl delete sbx e2e winner >/dev/null
kill "$watcher" 2>/dev/null || true
wait "$watcher" 2>/dev/null || true
