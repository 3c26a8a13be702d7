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
unpatched() { (cd /var/lib/rancher/k3s/data/current/bin && sha256sum --check --quiet --strict "$(dirname "$SANDBAR_K3S")/bin/.sha256sums"); }
check "what runs is what was built, unpatched" unpatched

started=$(date +%s%N)
check "a pod is made" pod first
check "and runs" running first
took=$((($(date +%s%N) - started) / 1000000))
echo "        ($took ms)"
check "within 10 s" test "$took" -lt 10000
check "kubectl run and logs" kubectl run said --image=localhost/busybox:1 --restart=Never -- echo hello
check "it ends well" done_well said
check "its log" equals hello kubectl logs said
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
check "attach" says tick attached

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
check "they are deleted" kubectl delete --now pod failing unwell probed talker said volumes
check "a pod that ends when asked" pod polite 'command: [sh, -c, "trap \"echo bye; exit 0\" TERM; while :; do sleep 0.1; done"]'
check "it runs" ready polite
kubectl logs -f polite >"$work/polite" 2>&1 &
check "deleted with grace" kubectl delete pod polite --grace-period=20
check "it had its last word" within 5 grep -q bye "$work/polite"
summary() { kubectl get --raw "/api/v1/nodes/$(kubectl get nodes -o jsonpath='{.items[0].metadata.name}')/proxy/stats/summary" | jq -r '.node.cpu.usageCoreNanoSeconds > 0 and .node.fs.capacityBytes > 0'; }
check "the kubelet's statistics are there" within 30 equals true summary
