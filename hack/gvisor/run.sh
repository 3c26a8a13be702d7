#!/usr/bin/env bash
# Runs a command in a fresh gVisor sandbox whose root is a throw-away overlay over this machine's /. See README.md.
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=lib.sh
source "$here/lib.sh"

usage() {
  cat <<'USAGE'
usage: run.sh [options] -- COMMAND [ARGUMENT]…

  --generation G          current (default; reports 4.19.0-gvisor) or 4.4 (reports 4.4.0)
  --strict                bounding set cut to seven capabilities, no raw sockets, as hosted sandboxes have it
  --env NAME=VALUE        set a variable; NAME alone copies it from here (repeatable). Only PATH and HOME are set otherwise
  --cwd DIR               default: the current directory
  --bind SRC:DST[:ro]     bind a directory or file of this machine; what is written there is seen outside (repeatable)
  --memory SIZE           limit, e.g. 4G (needs the host's memory cgroup); default: what the machine has
  --keep-upper DIR        afterwards copy what the sandbox changed in its root to DIR (must be new or empty)
  --name NAME             default: sandbar-<slot>; also the host name inside, and what exec.sh takes

Exit code: that of COMMAND, 128+n when it died of signal n, 2 usage, 125 when the sandbox could not be made, 128 when
runsc could not start it or COMMAND in it.
USAGE
}

# ---- Arguments -------------------------------------------------------------------------------------------------------------

usage_error() { say "error: $1"; usage >&2; exit 2; }

arguments=("$@")
generation=current strict=false name='' cwd='' memory='' keep_upper=''
envs=() binds=()
# Kept for the command: bash gives what it starts in the background /dev/null.
{ exec 5<&0; } 2>/dev/null || exec 5</dev/null
while (($#)); do
  case $1 in
    --strict) strict=true; shift; continue ;;
    -h | --help) usage; exit 0 ;;
    --) shift; break ;;
    --generation | --env | --cwd | --bind | --memory | --keep-upper | --name) (($# > 1)) || usage_error "$1 needs a value" ;;
    *) usage_error "unknown option '$1' (the command comes after --)" ;;
  esac
  case $1 in
    --generation) generation=$2 ;;
    --env) envs+=("$2") ;;
    --cwd) cwd=$2 ;;
    --bind) binds+=("$2") ;;
    --memory) memory=$2 ;;
    --keep-upper) keep_upper=$2 ;;
    --name) name=$2 ;;
  esac
  shift 2
done
(($#)) || usage_error "no command given"
[[ -z $name || $name =~ ^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$ ]] ||
  usage_error "'$name' is no name: lower-case letters, digits and hyphens, at most 63, as a host name"
[[ -z $cwd || $cwd == /* ]] || usage_error "--cwd must be absolute, is '$cwd'"
[[ -z $keep_upper || ! -e $keep_upper || -d $keep_upper && -z $(ls -A "$keep_upper") ]] ||
  usage_error "--keep-upper $keep_upper exists and is no empty directory"

# ---- Can this machine do it? -----------------------------------------------------------------------------------------------

need_root
if [[ ${SANDBAR_GVISOR_PRIVATE:-} != "$$" ]]; then
  [[ $(uname -sm) == "Linux x86_64" ]] || die "this is $(uname -sm)" "the harness is written for Linux on x86_64"
  need_tools ip:iproute2 jq:jq unshare:util-linux mount:mount setsid:util-linux
  SANDBAR_GVISOR_RUNSC=$("$here/build.sh" "$generation") || die "no runsc of generation '$generation'" "build.sh says why, above"
  # From here on in a mount namespace of our own: every mount made below goes away with the last process, however that ends.
  export SANDBAR_GVISOR_RUNSC SANDBAR_GVISOR_PRIVATE=$$
  exec unshare --mount --propagation private -- "$BASH" "${BASH_SOURCE[0]}" "${arguments[@]}"
fi
runsc=$SANDBAR_GVISOR_RUNSC
unset SANDBAR_GVISOR_PRIVATE SANDBAR_GVISOR_RUNSC

# ---- A slot, and the end of it ---------------------------------------------------------------------------------------------

slot='' runsc_pid='' watchdogs=()
# shellcheck disable=SC2317 # called by a trap, as forward is
clean_up() {
  trap '' INT TERM HUP
  [[ -n $slot ]] || return 0
  ((${#watchdogs[@]} == 0)) || kill "${watchdogs[@]}" 2>/dev/null || true
  if [[ -n $runsc_pid ]]; then
    "$runsc" --root "$slot/state" delete --force "$name" >/dev/null 2>&1 || true
    kill -KILL "$runsc_pid" 2>/dev/null || true # what remains of runsc dies with it
    wait "$runsc_pid" 2>/dev/null || true
  fi
  ip link delete "sandbar-gv${slot##*/}" 2>/dev/null || true
  umount --recursive --lazy "$slot/scratch" 2>/dev/null || true
  rm -rf --one-file-system "$slot"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

# Takes the first free slot. A slot whose lock is free was left behind by a run.sh that got SIGKILL; what ran in it is dead.
take_slot() {
  local n dir
  mkdir -p "$slots"
  exec 8>"$slots/lock"
  flock 8
  for dir in "$slots"/[0-9]*/; do
    flock --nonblock "${dir}lock" rm -rf "$dir" 2>/dev/null || true
  done
  [[ -z $name ]] || ! slot_of "$name" >/dev/null || die "a sandbox named '$name' is running already" "choose another --name"
  for ((n = 0; n < 256; n++)); do
    dir=$slots/$n
    mkdir "$dir" 2>/dev/null || continue
    exec 9>"$dir/lock"
    flock 9
    slot=$dir
    name=${name:-sandbar-$n}
    echo "$name" >"$slot/name"
    exec 8>&-
    return 0
  done
  die "256 sandboxes are running on this machine" "end some of them first"
}
take_slot

# ---- The root: an overlay over / that is thrown away -----------------------------------------------------------------------

scratch=$slot/scratch root=$slot/scratch/root
mkdir "$scratch"
mount -t tmpfs -o mode=755,size=75% sandbar-gvisor "$scratch" || die "cannot mount a tmpfs on $scratch" "mounting needs CAP_SYS_ADMIN"
mkdir "$root"

# overlay LOWER NAME puts a writable overlay over LOWER at the same place in the sandbox's root.
overlay() {
  mkdir -p "$scratch/$2/upper" "$scratch/$2/work"
  mount -t overlay -o "lowerdir=$1,upperdir=$scratch/$2/upper,workdir=$scratch/$2/work,redirect_dir=on" overlay "$root${1%/}" ||
    die "cannot mount an overlay over $1 ($(findmnt --noheadings --output FSTYPE --target "$1"))" \
        "the kernel must have overlayfs (modprobe overlay), and $1 must not itself be a stack of overlays"
}

# State of the host's own services that a fresh machine has not: a white-out (a 0:0 device) hides it.
mkdir -p "$scratch/main/upper"
for path in /run /var/lib/{rancher,kubelet,cni,containerd,sandbar} /etc/rancher /etc/cni; do
  [[ -e $path ]] || continue
  mkdir -p "$scratch/main/upper${path%/*}"
  mknod "$scratch/main/upper$path" c 0 0
done
overlay / main
mkdir "$root/run"

# An overlay does not show what is mounted below /: give what is needed there one of its own.
[[ -n $cwd ]] || cwd=$PWD
declare -A overlaid=([/]=yes)
for path in /tmp "$here" "$cwd"; do
  [[ -e $path ]] || continue
  read -r fstype target < <(findmnt --noheadings --output FSTYPE,TARGET --target "$path")
  [[ -z ${overlaid[$target]:-} && ! $fstype =~ ^(proc|sysfs|devtmpfs|devpts|cgroup2?)$ ]] || continue
  overlaid[$target]=yes
  overlay "$target" "mount-${#overlaid[@]}"
done
mkdir -p "$root$cwd"
: >"$root/tmp/.sandbar-gvisor" # runsc would put a tmpfs on an empty /tmp

# ---- The network: a netns of its own and a veth pair; the host is .1, the sandbox .2 ---------------------------------------

host_link=sandbar-gv${slot##*/} subnet=198.18.${slot##*/}
echo "$subnet.2" >"$slot/ip"
: >"$scratch/netns"
ip link delete "$host_link" 2>/dev/null || true
{
  unshare --net="$scratch/netns" -- true &&
    ip -batch - <<BATCH &&
link add $host_link type veth peer name eth0 netns $scratch/netns
address add $subnet.1/24 dev $host_link
link set $host_link up
BATCH
    { nsenter --net="$scratch/netns" -- ip link set eth0 addrgenmode none || true; } 2>/dev/null && # where IPv6 is off
    nsenter --net="$scratch/netns" -- ip -batch - <<BATCH
link set lo up
address add $subnet.2/24 dev eth0
link set eth0 up
route add default via $subnet.1
BATCH
} || die "cannot make the sandbox's network" "making network namespaces and veth links needs CAP_SYS_ADMIN and CAP_NET_ADMIN"

rm -f "$root/etc/"{hosts,hostname,resolv.conf}
printf '127.0.0.1 localhost\n::1 localhost\n%s.2 %s\n' "$subnet" "$name" >"$root/etc/hosts"
echo "$name" >"$root/etc/hostname"
echo "nameserver $subnet.1" >"$root/etc/resolv.conf"

# ---- The bundle ------------------------------------------------------------------------------------------------------------

variables=()
for pair in "${envs[@]}"; do
  if [[ $pair == *=* ]]; then
    variables+=("$pair")
  elif [[ -n ${!pair+set} ]]; then
    variables+=("$pair=${!pair}")
  fi
done
for bind in "${binds[@]}"; do
  [[ $bind =~ ^/[^:]*:/[^:]*(:r[ow])?$ ]] || die "--bind $bind: must be SRC:DST or SRC:DST:ro, with absolute paths"
  [[ -e ${bind%%:*} ]] || die "--bind $bind: ${bind%%:*} does not exist on this machine" "make it first"
done
[[ -z $memory ]] || memory=$(numfmt --from=iec "$memory") || die "--memory: '$memory' is no size such as 512M or 4G"

# jq takes one list of words; it is told where in it the command and the variables end.
jq --from-file "$here/config.jq" --argjson strict "$strict" --argjson memory "${memory:-null}" \
  --arg name "$name" --arg cwd "$cwd" --arg netns "$scratch/netns" \
  --argjson command_end $# --argjson variables_end $(($# + ${#variables[@]})) \
  "$here/config.json" --args -- "$@" "${variables[@]}" "${binds[@]}" >"$scratch/config.json"

flags=(--platform=systrap --overlay2=none)
[[ -n $memory ]] || flags+=(--ignore-cgroups)
if [[ $strict == false ]]; then
  flags+=(--net-raw)
  [[ $generation == 4.4 ]] || flags+=(--allow-packet-socket-write) # unknown to the old one
fi
flags+=(--root "$slot/state")
ln -s "$runsc" "$slot/runsc"
printf '%s\n' "${flags[@]}" >"$slot/flags" # for exec.sh

# ---- Run -------------------------------------------------------------------------------------------------------------------

safe_output
# In a session of its own, or Ctrl-C at a terminal would reach runsc itself; dies with this script.
env --default-signal setsid setpriv --pdeathsig KILL \
  "$runsc" "${flags[@]}" run --bundle "$scratch" "$name" <&5 >&6 2>&7 5<&- 6>&- 7>&- 9>&- &
runsc_pid=$!
exec 6>&- 7>&-

# Sends a signal on to the command. One that does not heed it within the grace is killed, and its sandbox with it.
interrupted='' grace=${SANDBAR_GVISOR_GRACE:-10}
# shellcheck disable=SC2317
forward() {
  interrupted=yes
  "$runsc" "${flags[@]}" kill "$name" "$1" >/dev/null 2>&1 || kill -KILL "$runsc_pid" 2>/dev/null || true
  (
    sleep "$grace" >/dev/null 2>&1
    say "the command did not end within $grace s of a signal: killed"
    kill -KILL "$runsc_pid"
  ) </dev/null 5<&- 9>&- &
  watchdogs+=($!)
}
trap 'forward INT' INT
trap 'forward TERM' TERM
trap 'forward HUP' HUP

# wait returns early when a signal arrives.
code=127
while
  interrupted='' status=0
  wait "$runsc_pid" 2>/dev/null || status=$?
  [[ $status == 127 && $code != 127 ]] || code=$status
  [[ -n $interrupted ]]
do :; done
((${#watchdogs[@]})) || runsc_pid='' # it ended by itself, and has tidied up

((${#cats[@]} == 0)) || wait "${cats[@]}" || true
if [[ -n $keep_upper ]]; then
  cp -a "$scratch/main/upper/." "$keep_upper" || die "--keep-upper: cannot copy what changed to $keep_upper"
fi
exit "$code"
