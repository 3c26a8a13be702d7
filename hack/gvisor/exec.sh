#!/usr/bin/env bash
# Runs one more command in a sandbox that run.sh --name started and that is still running. See README.md.
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=lib.sh
source "$here/lib.sh"

usage() {
  cat <<'USAGE'
usage: exec.sh [--env NAME=VALUE]… [--cwd DIR] NAME -- COMMAND [ARGUMENT]…
       exec.sh --ip NAME        prints the sandbox's address

Exit code: that of COMMAND, 128+n when it died of signal n, 2 usage, 125 when there is no such sandbox.
USAGE
}
usage_error() { say "error: $1"; usage >&2; exit 2; }

options=() ip=''
while (($#)); do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --ip) ip=yes; shift ;;
    --env | --cwd)
      (($# > 1)) || usage_error "$1 needs a value"
      options+=("$1=$2")
      shift 2
      ;;
    -*) usage_error "unknown option '$1'" ;;
    *) break ;;
  esac
done
name=${1:-}
[[ -n $name ]] || usage_error "no name given"

need_root
slot=$(slot_of "$name") || die "no sandbox named '$name' is running" "start one: $here/run.sh --name $name -- COMMAND"
if [[ -n $ip ]]; then
  exec cat "$slot/ip"
fi
[[ ${2:-} == -- && $# -gt 2 ]] || usage_error "no command given"
shift 2

mapfile -t flags <"$slot/flags"
safe_output
code=0
"$slot/runsc" "${flags[@]}" exec "${options[@]}" "$name" "$@" >&6 2>&7 6>&- 7>&- || code=$?
exec 6>&- 7>&-
((${#cats[@]} == 0)) || wait "${cats[@]}" || true
exit "$code"
