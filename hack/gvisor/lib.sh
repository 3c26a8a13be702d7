# Shared by run.sh, exec.sh and test.sh: where running sandboxes are recorded, and how to complain.
# shellcheck shell=bash

# A slot is a numbered directory that belongs to one running sandbox. Its number gives the subnet (198.18.<slot>.0/24, a
# range set aside for test set-ups), the host's interface (sandbar-gv<slot>) and the default name (sandbar-<slot>).
# It holds: lock (held while run.sh lives), pid, name, runsc (a link), flags, ip, state/ (runsc's own), bundle/.
slots=/run/sandbar-gvisor

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

# die WHAT-FAILED [WHY-OR-WHAT-TO-DO]…
die() {
  say "error: $1"
  shift
  local line
  for line in "$@"; do printf '  %s\n' "$line" >&2; done
  exit 125
}

need_root() {
  [[ $EUID == 0 ]] || die "must be root, is uid $EUID" "runsc, overlayfs and network namespaces need it; try: sudo $0 …"
}

# need_tools TOOL:PACKAGE… installs what is missing, on a machine that has apt.
need_tools() {
  local pair missing=()
  for pair in "$@"; do
    command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
  done
  ((${#missing[@]})) || return 0
  command -v apt-get >/dev/null ||
    die "missing: ${missing[*]}, and this machine has no apt-get" "install them (Debian's package names) and try again"
  say "installing by apt: ${missing[*]}"
  { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"; } >&2 ||
    die "apt could not install: ${missing[*]}" "its messages are above"
}

# slot_of NAME prints the slot directory of a running sandbox.
slot_of() {
  local slot
  for slot in "$slots"/[0-9]*; do
    if [[ $(cat "$slot/name" 2>/dev/null) == "$1" ]]; then
      printf '%s\n' "$slot"
      return 0
    fi
  done
  return 1
}

# safe_output sets up descriptors 6 and 7 as the stdout and stderr for runsc. Pipes and terminals are passed through. A regular
# file must not be: the sandbox keeps an offset per descriptor, so that stdout and stderr overwrite each other. It gets a pipe
# to a cat instead; `wait "${cats[@]}"` after closing 6 and 7 waits until everything is written.
cats=()
safe_output() {
  if [[ -p /dev/fd/1 || -c /dev/fd/1 ]]; then
    exec 6>&1
  else
    exec 6> >(exec cat 9>&-)
    cats+=($!)
  fi
  if [[ -p /dev/fd/2 || -c /dev/fd/2 ]]; then
    exec 7>&2
  elif [[ /dev/fd/1 -ef /dev/fd/2 ]]; then
    exec 7>&6 # one pipe for both keeps the order
  else
    exec 7> >(exec cat >&2 6>&- 9>&-)
    cats+=($!)
  fi
}
