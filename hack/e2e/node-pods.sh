# Sourced by node: the node comes up, a first pod, what kubectl does with it, and what pods are given.
# shellcheck shell=bash

flags=()
# Here is no flannel to test with, and kube-proxy would need the machine's iptables.
[[ $place != linux ]] || flags=(-- --flannel-backend=none --disable-kube-proxy --disable-network-policy)
started=$SECONDS
check "up --mode node with images" "$sandbar" up --mode node --images "$images" "${flags[@]}"
echo "        ($((SECONDS - started)) s)"
check "the node is ready within 60 s" test $((SECONDS - started)) -le 60
check "kubectl sees it ready" says " Ready " kubectl get nodes
check "up again is harmless" "$sandbar" up "${flags[@]}"
check "every remedy is applied or not needed" equals "" status '.remedies[] | select(.state != "Applied" and .state != "NotNeeded") | .name'

started=$(date +%s%N)
check "a pod is made" pod first
check "and runs" running first
took=$((($(date +%s%N) - started) / 1000000))
echo "        ($took ms)"
check "within 10 s" test "$took" -lt 10000
# files_of PROGRAM: the files that processes of this name were started from, as the kernel has them.
files_of() {
  local exe
  for exe in /proc/[0-9]*/exe; do
    [[ $(readlink "$exe" 2>/dev/null) != */"$1" ]] || echo "$exe"
  done
}
# What runs runc starts, too: by the path in containerd's configuration, or the first one on its PATH.
runc_of() {
  local pid=${1#/proc/} configured
  pid=${pid%/exe}
  configured=$(sed -n "s/^ *BinaryName *= *[\"']\(.*\)[\"'] *$/\1/p" /var/lib/rancher/k3s/agent/etc/containerd/config.toml | head -n 1)
  PATH=$(tr '\0' '\n' <"/proc/$pid/environ" | sed -n 's/^PATH=//p') command -v "${configured:-runc}"
}
# unpatched PROGRAM FILE…: there are such files, and each is what was built.
unpatched() {
  local sums built program=$1 file
  sums=$(dirname "$SANDBAR_K3S")
  built=$(cat "$sums/.sha256sums" "$sums/bin/.sha256sums" | awk -v program="$program" '$2 == program {print $1}')
  shift
  if (($# == 0)) || [[ -z $built ]]; then
    echo "no $program runs, or none was built"
    return 1
  fi
  for file in "$@"; do
    equals "$built" eval "sha256sum '$file' | cut -d' ' -f1" || return 1
  done
}
for program in k3s containerd containerd-shim-runc-v2; do
  # shellcheck disable=SC2046 # one word each
  check "the $program that runs is what was built, unpatched" unpatched "$program" $(files_of "$program")
done
check "and the runc that is started" unpatched runc "$(runc_of "$(files_of containerd | head -n 1)")"
check "kubectl run and logs" kubectl run said --image=localhost/busybox:1 --restart=Never -- echo hello
check "it ends well" done_well said
check "its log" equals hello kubectl logs said
ctr() { "$sandbar" exec -- "$SANDBAR_K3S" ctr --namespace k8s.io "$@"; }
check "an image is imported into the running node" "$sandbar" image import "$later"
check "and pinned, as those of its start are" says io.cri-containerd.pinned=pinned ctr images ls name==localhost/later:1
echo garbage >"$work/none.tar"
refused "an archive that is none is refused" "containerd refused $work/none.tar" "$sandbar" image import "$work/none.tar" "$later"
kept_archives() { find /var/lib/rancher/k3s/agent/images -name '*none*' -o -name '.sandbar-copy*'; }
check "and not kept" equals "" kept_archives
# overlayfs would be ctr's own choice; it is k3s's, too, where nobody makes one.
unpacked() {
  [[ $(status .k3s.snapshotter.name) =~ ^(null|overlayfs)$ ]] ||
    equals "" find /var/lib/rancher/k3s/agent/containerd/io.containerd.snapshotter.v1.overlayfs -mindepth 2 -path '*/snapshots/*' -prune
}
check "and unpacked where containers have their layers, and nowhere else" unpacked
check "a pod of it" kubectl run later --image=localhost/later:1 --image-pull-policy=Never --restart=Never -- echo later
check "ends well" done_well later
check "with its log" equals later kubectl logs later
if joins; then
  check "exec" equals 10 inside first cat /proc/sys/kernel/panic
  check "exec passes stdin and the exit code" bash -c "echo passed | $SANDBAR_K3S kubectl exec -i first -- sh -c 'read -r word; [ \$word = passed ]; exit 7'; [ \$? = 7 ]"
  check "cp there" kubectl cp "$images" first:/tmp/archive
  check "cp back" kubectl cp first:/tmp/archive "$work/archive"
  check "is the same" cmp "$images" "$work/archive"
else
  refused "exec says that this kernel cannot" "setns" inside first true
fi
check "a pod that listens" pod web 'command: [sh, -c, "mkdir /w; echo served >/w/index.html; exec httpd -f -p 8080 -h /w"]' \
  'readinessProbe: {httpGet: {port: 8080, path: /}, periodSeconds: 1}'
check "its readiness probe" ready web
kubectl port-forward pod/web 18080:8080 >"$work/forward" 2>&1 &
forward=$!
check "port-forward" within 10 equals served get 127.0.0.1 18080
kill "$forward" 2>/dev/null || true
check "a pod that talks" pod talker 'command: [sh, -c, "while sleep 0.2; do echo tick; done"]'
check "it runs" ready talker
attached() { timeout 3 "$SANDBAR_K3S" kubectl attach talker </dev/null || true; }
check "attach" within 20 says tick attached

check "a ConfigMap, a Secret" bash -c "$SANDBAR_K3S kubectl create configmap settings --from-literal=key=from-config && $SANDBAR_K3S kubectl create secret generic hidden --from-literal=key=from-secret"
apply_volumes() {
  apply <<'YAML'
apiVersion: v1
kind: Pod
metadata: {name: volumes, annotations: {note: downward}}
spec:
  restartPolicy: Never
  initContainers:
  - {name: first, image: "localhost/busybox:1", command: [sh, -c, "echo from-init >/empty/file"], volumeMounts: [{name: empty, mountPath: /empty}]}
  containers:
  - name: main
    image: localhost/busybox:1
    command: [sh, -c, "cat /config/key /secret/key /all/key /all/token /empty/file /down/note /host/hostname; echo $NAME $LIMIT; df -m /memory | tail -n 1"]
    env:
    - {name: NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: LIMIT, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Mi}}}
    resources: {requests: {cpu: 10m, memory: 16Mi}, limits: {cpu: 500m, memory: 64Mi}}
    volumeMounts:
    - {name: config, mountPath: /config}
    - {name: secret, mountPath: /secret}
    - {name: all, mountPath: /all}
    - {name: empty, mountPath: /empty}
    - {name: memory, mountPath: /memory}
    - {name: down, mountPath: /down}
    - {name: host, mountPath: /host, readOnly: true}
  volumes:
  - {name: config, configMap: {name: settings}}
  - {name: secret, secret: {secretName: hidden}}
  - name: all
    projected: {sources: [{configMap: {name: settings}}, {serviceAccountToken: {path: token}}]}
  - {name: empty, emptyDir: {}}
  - {name: memory, emptyDir: {medium: Memory, sizeLimit: 8Mi}}
  - {name: down, downwardAPI: {items: [{path: note, fieldRef: {fieldPath: "metadata.annotations['note']"}}]}}
  - {name: host, hostPath: {path: /etc}}
YAML
}
check "a pod with every kind of volume" apply_volumes
check "it ends well" done_well volumes
given() { kubectl logs volumes; }
for word in from-config from-secret from-init downward eyJ "volumes 64"; do
  check "it was given: $word" says "$word" given
done
check "a failing container is started again" pod failing 'command: [sh, -c, "sleep 1; exit 3"]'
check "and counted" restarted failing 30
check "a failing liveness probe restarts too" pod unwell 'command: [sleep, "100000"]' \
  'livenessProbe: {tcpSocket: {port: 9}, periodSeconds: 1, failureThreshold: 1}'
check "and is counted" restarted unwell 40
check "a probe that runs a command" pod probed 'command: [sleep, "100000"]' \
  'livenessProbe: {exec: {command: [cat, /nothing]}, periodSeconds: 1, failureThreshold: 1}'
if joins; then
  check "restarts, too" restarted probed 40
else
  check "runs" ready probed
  # To the kubelet this is neither good nor bad, so the container runs on.
  probe_says() { kubectl get events --field-selector involvedObject.name=probed,reason=Unhealthy -o jsonpath='{.items[*].message}'; }
  check "whose probe cannot run in this kernel, and an event says so" within 30 says setns probe_says
fi
check "they are deleted" kubectl delete --now pod failing unwell probed talker said later volumes
check "a pod that ends when asked" pod polite 'command: [sh, -c, "trap \"echo bye; exit 0\" TERM; echo here; while :; do sleep 0.1; done"]'
check "it runs" ready polite
kubectl logs -f polite >"$work/polite" 2>&1 &
check "its log is followed" within 10 grep -q here "$work/polite"
check "a pod whose first process ends before its children" pod shell 'command: [sh, -c, "sleep 3600 & trap exit TERM; wait"]'
check "runs too" ready shell
check "and is gone when it is deleted" kubectl delete pod shell --timeout=60s
check "deleted with grace" kubectl delete pod polite --grace-period=20
check "it had its last word" within 5 grep -q bye "$work/polite"
summary() { kubectl get --raw "/api/v1/nodes/$(kubectl get nodes -o jsonpath='{.items[0].metadata.name}')/proxy/stats/summary" | jq -r '.node.cpu.usageCoreNanoSeconds > 0 and .node.fs.capacityBytes > 0'; }
check "the kubelet's statistics are there" within 30 equals true summary
