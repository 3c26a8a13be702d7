# Sourced by life: controller, k3s and supervisor are killed; in the end nothing is left behind.
# shellcheck shell=bash disable=SC2154

controller=$(status .controller.pid)
kill -9 "$controller"
check "tracees keep their rules without a controller" equals 10 view cat /proc/sys/kernel/panic
controller_is_back() { [[ $(status .controller.pid) =~ ^[0-9]+$ && $(status .controller.pid) != "$controller" ]]; }
check "the controller is back in seconds" within 15 controller_is_back

k3s=$(status .k3s.pid)
restarts=$(status .k3s.restarts)
kill -9 "$k3s"
k3s_is_back() { equals true status .ready && [[ $(status .k3s.pid) != "$k3s" ]]; }
check "k3s is restarted" within 60 k3s_is_back
check "and counted" test "$(status .k3s.restarts)" -gt "$restarts"

supervisor=$(status .supervisor.pid)
kill -9 "$supervisor"
sleep 2
check "without its supervisor nothing of k3s is left half-running" within 10 nothing_runs
refused "status says that it is not running" "no supervisor is running" "$sandbar" status
check "up brings the same cluster back" "$sandbar" up
check "with its data" kubectl get deployment web

memory() { awk '/^VmRSS/ {sum += $2} END {print int(sum / 1024)}' "/proc/$(status .supervisor.pid)/status" "/proc/$(status .controller.pid)/status"; }
mb=$(memory)
echo "        (supervisor and controller: $mb MB)"
check "supervisor and controller stay below 60 MB" test "$mb" -lt 60

refused "run reports a missing program" "No such file" "$sandbar" run -- /no/such/program
check "down stops everything" "$sandbar" down
check "no process is left" within 10 nothing_runs
check "no lock or socket is left" test ! -e /run/sandbar/control.sock -a ! -e /run/sandbar/lock
check "nothing else is left" within 10 as_before
check "down again is harmless" "$sandbar" down
