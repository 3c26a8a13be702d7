#!/usr/bin/env bash
# Tests build.sh, run.sh and exec.sh: both generations, plain and strict. The last line says how many tests passed and failed.
# shellcheck disable=SC2016 # what stands in single quotes is for the shell inside
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=lib.sh
source "$here/lib.sh"
run=$here/run.sh
exec=$here/exec.sh

need_root
need_tools strace:strace python3:python3 curl:curl pgrep:procps
"$here/build.sh" all >/dev/null

work=$(mktemp -d)
# shellcheck disable=SC2046 # one word a job
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$work"' EXIT

passed=0 failed=0
# check NAME EXPECTED ACTUAL
check() {
  if [[ $2 == "$3" ]]; then
    passed=$((passed + 1))
    echo "ok      $1"
  else
    failed=$((failed + 1))
    printf 'FAILED  %s\n  expected: %q\n  got:      %q\n' "$1" "$2" "$3"
  fi
}

# code COMMAND… prints the exit code of a command that may fail.
code() {
  local code=0
  "$@" >/dev/null 2>&1 || code=$?
  echo "$code"
}

# ended PID waits for a job of this script and leaves its exit code in $ended.
ended() {
  ended=0
  wait "$1" 2>/dev/null || ended=$?
}

# wait_for COMMAND… waits up to 10 s until it succeeds.
wait_for() {
  local try
  for ((try = 0; try < 100; try++)); do
    ! "$@" >/dev/null 2>&1 || return 0
    sleep 0.1
  done
  return 1
}

# remains NAME… prints what the named sandboxes left on this machine: processes, mounts, interfaces, slots.
remains() {
  local name pid
  for name in "$@"; do
    for pid in $(pgrep -f -- "(run|boot|gofer|wait) .*$name\$" || true); do
      # A dead process that waits for its parent to notice is no remains.
      [[ $(ps -o stat= -p "$pid") =~ ^(Z|$) ]] || ps -o args= -p "$pid"
    done
    ! slot_of "$name" || true
  done
  grep sandbar-gvisor /proc/mounts || true
}

# interfaces prints those of slots that nobody holds.
stray_interfaces() {
  local link
  for link in /sys/class/net/sandbar-gv*; do
    [[ ! -e $link || -e $slots/${link##*gv}/name ]] || echo "${link##*/}"
  done
}

facts='
  uname -r
  stat --file-system --format %t /
  awk "/^Cap/ { print \$1 \$2 }" /proc/self/status
  awk "\$2 == \"/sys/fs/cgroup\" || \$2 ~ \"^/sys/fs/cgroup/memory\" { print \$3 }" /proc/mounts | tail -1
  python3 -c "import ctypes; print(\"no_new_privs\", ctypes.CDLL(None).prctl(39, 0, 0, 0, 0))"
'
all=00000000a82c35fb no_raw=00000000a82c15fb cut=00000000200404e1

for generation in current 4.4; do
  [[ $generation == current ]] && kernel=4.19.0-gvisor || kernel=4.4.0
  in_it() { "$run" --generation "$generation" "$@"; }
  # What a script starts in the background ignores INT, unless it is told otherwise.
  in_background=(env --default-signal=INT "$run" --generation "$generation")
  name=test-$$-${generation/./-}

  expected=$(printf '%s\n' "$kernel" 1021997 "CapInh:$all" "CapPrm:$all" "CapEff:$all" "CapBnd:$all" cgroup "no_new_privs 1")
  check "$generation: kernel, root on 9p, capabilities, cgroup v1, no_new_privs" "$expected" "$(in_it -- sh -c "$facts")"
  expected=$(printf '%s\n' "$kernel" 1021997 "CapInh:$no_raw" "CapPrm:$no_raw" "CapEff:$no_raw" "CapBnd:$cut" cgroup "no_new_privs 1")
  check "$generation, strict: the same with a cut bounding set" "$expected" "$(in_it --strict -- sh -c "$facts")"

  raw_socket='import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, 1); print("raw")'
  check "$generation: raw sockets" raw "$(in_it -- python3 -c "$raw_socket")"
  check "$generation, strict: no raw sockets" 1 "$(code in_it --strict -- python3 -c "$raw_socket")"

  traced=$(in_it -- sh -c 'strace -f -e trace=openat true 2>&1 | grep -c "openat(.*= 3"')
  check "$generation: ptrace" yes "$( ((traced > 0)) && echo yes)"

  check "$generation: exit code 0" 0 "$(code in_it -- true)"
  check "$generation: exit code 7" 7 "$(code in_it -- sh -c 'exit 7')"
  check "$generation: died of SIGKILL" 137 "$(code in_it -- python3 -c 'import os; os.kill(os.getpid(), 9)')"
  check "$generation: a command that does not exist" 128 "$(code in_it -- /does/not/exist)"

  in_it -- sh -c 'for i in 1 2 3; do echo "out $i"; echo "err $i" >&2; done' >"$work/out" 2>"$work/err"
  check "$generation: stdout" "$(printf 'out %s\n' 1 2 3)" "$(cat "$work/out")"
  check "$generation: stderr" "$(printf 'err %s\n' 1 2 3)" "$(cat "$work/err")"
  in_it -- sh -c 'for i in 1 2 3; do echo "out $i"; echo "err $i" >&2; done' >"$work/both" 2>&1
  check "$generation: both into one file" "$(printf 'out %s\nerr %s\n' 1 1 2 2 3 3)" "$(cat "$work/both")"
  check "$generation: stdin" "5000 lines" "$(seq 5000 | in_it -- sh -c 'echo "$(wc -l) lines"')"

  mkdir -p "$work/bound"
  echo before >"$work/file"
  in_it --bind "$work/bound:/bound" --env "V=a  b
c" --cwd /usr -- sh -c 'echo "$V" > /bound/v; pwd > /bound/cwd; echo after > "$1"; touch /usr/inside' - "$work/file"
  check "$generation: --bind and --env" "$(printf 'a  b\nc')" "$(cat "$work/bound/v")"
  check "$generation: --cwd" /usr "$(cat "$work/bound/cwd")"
  check "$generation: changes stay inside" "before no" "$(cat "$work/file") $([[ -e /usr/inside ]] && echo yes || echo no)"
  rm -f "$work/bound/"*
  check "$generation: --bind …:ro" 1 "$(code in_it --bind "$work/bound:/bound:ro" -- python3 -c 'open("/bound/x", "w")')"
  in_it --keep-upper "$work/upper" -- sh -c 'mkdir -p /opt/kept; echo kept > /opt/kept/file'
  check "$generation: --keep-upper" kept "$(cat "$work/upper/opt/kept/file")"
  rm -rf "$work/upper"

  # Two at once, each with its own network; one is a web server.
  "${in_background[@]}" --name "$name-a" --cwd /usr/share -- python3 -m http.server 6443 >"$work/log" 2>&1 &
  server=$!
  "${in_background[@]}" --name "$name-b" -- sh -c 'trap "exit 5" TERM; while :; do sleep 0.1; done' &
  sleeper=$!
  wait_for "$exec" "$name-a" -- true || true
  wait_for "$exec" "$name-b" -- true || true
  ip_a=$("$exec" --ip "$name-a") ip_b=$("$exec" --ip "$name-b")
  check "$generation: two at once have two addresses" yes "$([[ -n $ip_a && -n $ip_b && $ip_a != "$ip_b" ]] && echo yes)"
  wait_for curl -s "http://$ip_a:6443/" || true
  check "$generation: the host reaches the sandbox" 1 "$(curl -s "http://$ip_a:6443/" | grep -c ">doc/<")"
  check "$generation: its own address and localhost inside" 2 \
    "$("$exec" "$name-a" -- sh -c "curl -s http://$name-a:6443/ && curl -s http://localhost:6443/" | grep -c '>doc/<')"
  python3 -m http.server --bind "${ip_b%.2}.1" --directory /usr/share 6443 >/dev/null 2>&1 &
  outside=$!
  wait_for curl -s "http://${ip_b%.2}.1:6443/" || true
  check "$generation: the sandbox reaches the host" 1 "$("$exec" "$name-b" -- curl -s "http://${ip_b%.2}.1:6443/" | grep -c ">doc/<")"
  kill "$outside"
  ended "$outside"
  check "$generation: exec: exit code" 9 "$(code "$exec" "$name-b" -- sh -c 'exit 9')"
  check "$generation: exec: the same sandbox, --env, --cwd" "$name-b /usr x" \
    "$("$exec" --env V=x --cwd /usr "$name-b" -- sh -c 'echo "$(hostname) $(pwd) $V"')"
  check "$generation: a name is taken once" 125 "$(code in_it --name "$name-b" -- true)"

  check "$generation: (the next checks would see what remains)" yes "$([[ $(remains "$name-b") == *boot*"$slots"* ]] && echo yes)"
  kill -TERM "$sleeper"
  ended "$sleeper"
  check "$generation: TERM reaches the command, its exit code comes back" 5 "$ended"
  kill -INT "$server"
  ended "$server"
  check "$generation: INT reaches the command" 0 "$ended"
  check "$generation: nothing remains after INT and TERM" "" "$(remains "$name-a" "$name-b")"

  SANDBAR_GVISOR_GRACE=1 "${in_background[@]}" --name "$name-c" -- sh -c 'trap "" TERM; while :; do sleep 0.1; done' &
  stubborn=$!
  wait_for "$exec" "$name-c" -- true || true
  kill -TERM "$stubborn"
  ended "$stubborn"
  check "$generation: a command that ignores TERM is killed" 137 "$ended"
  check "$generation: nothing remains of it" "" "$(remains "$name-c")"

  "${in_background[@]}" --name "$name-d" -- sleep 600 &
  killed=$!
  wait_for "$exec" "$name-d" -- true || true
  kill -KILL "$killed"
  ended "$killed"
  sleep 1
  in_it -- true
  check "$generation: nothing remains after SIGKILL and one more run" "" "$(remains "$name-d")"
done
check "no interface remains" "" "$(stray_interfaces)"

echo "$passed passed, $failed failed"
((failed == 0))
