# Sourced by node: values live in pods, restarts, crashes, changed settings, the end.
# shellcheck shell=bash

live() { kubectl logs live --tail=1; }
check "a pod that reads a faked value" pod live 'command: [sh, -c, "while sleep 0.2; do cat /proc/sys/kernel/panic; done"]'
check "runs" ready live
check "reads the profile's" within 20 equals 10 live
check "a SandboxConfig" apply <<<'{apiVersion: sandbar.dev/v1alpha1, kind: SandboxConfig, metadata: {name: mine}, spec: {files: [{path: /proc/sys/kernel/panic, value: "77\n"}]}}'
check "is seen by the running pod" within 5 equals 77 live
check "deleted" kubectl delete sbx mine
check "the profile's value is back" within 5 equals 10 live

# What `runc init` reads when it has already changed to the container's root: by a last capability of 7 it takes those up to it from the
# bounding set and leaves the rest. Every kernel here has the file, so it is another value that shows who answers.
capabilities() {
  apply <<YAML
apiVersion: v1
kind: Pod
metadata: {name: $1}
spec:
  restartPolicy: Never
  containers:
  - name: main
    image: localhost/busybox:1
    command: [sh, -c, "cat /proc/sys/kernel/cap_last_cap; grep ^CapBnd /proc/self/status"]
    securityContext: {capabilities: {drop: [ALL]}}
YAML
}
# bounded LAST SET POD: what it has seen and been given.
bounded() {
  local last set
  { read -r last && read -r _ set; } < <(kubectl logs "$3")
  equals "$1 $2" echo "$last $((16#$set))"
}
given=$((16#$(awk '/^CapBnd/ {print $2}' /proc/self/status)))
last=$(cat /proc/sys/kernel/cap_last_cap)
check "a pod with the kernel's last capability" capabilities caps-before
check "ends well" done_well caps-before
check "and has none" bounded "$last" 0 caps-before
check "another last capability" apply <<<'{apiVersion: sandbar.dev/v1alpha1, kind: SandboxConfig, metadata: {name: mine}, spec: {files: [{path: /proc/sys/kernel/cap_last_cap, value: "7\n"}]}}'
check "is in force" kubectl wait --for=condition=Ready --timeout=10s sbx/mine
check "a pod with it" capabilities caps-after
check "ends well, too" done_well caps-after
check "and shows that runc init has believed it" bounded 7 $((given & ~0xff)) caps-after
check "it is taken back" kubectl delete sbx mine
check "with its pods" kubectl delete --now pod caps-before caps-after

since() { kubectl get pod live -o jsonpath='{.status.containerStatuses[0].state.running.startedAt}'; }
before=$(since)
check "k3s restarts" "$sandbar" restart
check "and is ready" "$sandbar" status --wait
check "its containers ran on" equals "$before" since

check "a pod with a host port that stays to the end" pod port 'command: [sh, -c, "mkdir /w; echo kept >/w/index.html; exec httpd -f -p 80 -h /w"]' \
  'ports: [{containerPort: 80, hostPort: 18082}]'
check "runs, too" ready port
by_port() { equals kept get "$node_address" 18082; }
check "and answers on the host's port" within 10 by_port
rules=$(nat_rules | wc -l)

old=$(status .supervisor.pid)
killed=$(date -u +%Y-%m-%dT%H:%M:%SZ)
kill -9 "$old"
sleep 1
check "without its supervisor nothing is left running" within 10 nothing_runs
check "up brings the node back" "$sandbar" up "${flags[@]}"
# Until the new kubelet has looked at them the API server says of all pods what was true before.
made_anew() {
  kubectl get pods live web port -o json |
    jq -e --arg killed "$killed" '.items | map(.status.containerStatuses[0] | .ready and .state.running.startedAt >= $killed) | all'
}
check "and its pods" within 60 made_anew
leases() { find /var/lib/sandbar/cni -path '*leases*' -name '10.42.*' | wc -l; }
attachments() { find /var/lib/sandbar/cni/state/attachments -name '*.json' | wc -l; }
ends() { links | grep -c '^sbr'; }
names() { find /run/netns -name 'cni-*' | wc -l; }
pods() { kubectl get pods -A --field-selector=status.phase=Running -o json | jq '[.items[] | select(.spec.hostNetwork | not)] | length'; }
settled() {
  local pods
  pods=$(pods)
  equals "$pods $pods $pods $pods" echo "$(leases) $(attachments) $(ends) $(names)"
}
check "with a lease, an attachment, a link and a namespace for each, and none stale" within 60 settled
check "the host's port leads to the new pod" within 10 by_port
same_rules() { [[ $(nat_rules | wc -l) == "$rules" ]] || { nat_rules && return 1; }; }
check "by as many rules as before" same_rules

before=$(since)
check "a setting is changed" apply <<<'{apiVersion: sandbar.dev/v1alpha1, kind: SandboxConfig, metadata: {name: mine}, spec: {k3s: {extraArgs: ["--kubelet-arg=max-pods=55"]}}}'
changed() { equals 55 kubectl get nodes -o jsonpath='{.items[0].status.allocatable.pods}'; }
check "k3s comes back with it" within 60 changed
check "ready" "$sandbar" status --wait
check "the pods ran on" equals "$before" since
# A new kubelet calls a container ready only when it has looked at it.
check "and are ready" within 30 equals "true true" kubectl get pods live web -o jsonpath='{.items[*].status.containerStatuses[0].ready}'

check "down" "$sandbar" down
check "nothing runs" within 10 nothing_runs
check "no mount, namespace, link, route or rule is left" within 10 as_before
forgotten() { equals "0 0" echo "$(leases) $(attachments)"; }
check "nor a lease or an attachment" forgotten
