# Sourced by life: what goes on printing prints what happens meanwhile, and ends when it is told to.
# shellcheck shell=bash disable=SC2154

"$sandbar" rules --follow >"$work/hits" 2>&1 &
followers=($!)
"$sandbar" logs audit --follow --tail 0 >"$work/audit" 2>&1 &
followers+=($!)
"$sandbar" status --watch >"$work/states" 2>&1 &
followers+=($!)
generation() { status .table.applied; }
before=$(generation)
check "status --watch prints the state at once" within 5 grep -q "generation $before" "$work/states"

view cat /proc/sys/kernel/panic >/dev/null
check "rules --follow prints a hit as it happens" within 5 grep -q "/proc/sys/kernel/panic" "$work/hits"
apply >/dev/null <<<'{apiVersion: sandbar.dev/v1alpha1, kind: SandboxConfig, metadata: {name: follow}, spec: {files: [{path: /proc/follow, value: x}]}}'
check "logs --follow prints a new table" within 5 grep -q "TableApplied.*follow 1" "$work/audit"
# By its number, not the next one: what was deleted before may have made one more on the way.
watched() { local now && now=$(generation) && ((now > before)) && grep -q "generation $now" "$work/states"; }
check "status --watch prints the new generation" within 5 watched
kubectl delete sbx follow >/dev/null
kill "${followers[@]}"
ended() { ! kill -0 "${followers[@]}" 2>/dev/null; }
check "each ends when told to" within 5 ended
check "a reader of logs that has seen enough ends them" timeout 10 bash -c "'$sandbar' logs k3s --follow | head -n 1"
check "so does one of status" timeout 10 bash -c "'$sandbar' status --watch | head -n 1"
check "and one of rules" timeout 10 bash -c "'$sandbar' rules --follow | sleep 1"
