# Shared by the suites: arguments, the binary under test, running something plain and traced, here or in gVisor, comparing.
# shellcheck shell=bash

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd)
say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() { say "error: $*"; exit 1; }

# parse_arguments ARGUMENT… sets: generation (empty: run here), names.
generation='' names=()
parse_arguments() {
  while (($#)); do
    case $1 in
      --gvisor) generation=${2:?--gvisor needs current or 4.4}; shift ;;
      -h | --help) usage; exit 0 ;;
      -*) usage >&2; exit 2 ;;
      *) names+=("$1") ;;
    esac
    shift
  done
  out=$root/target/suites/${0##*/}${generation:+-gvisor-$generation}
  rm -rf "$out"
  mkdir -p "$out"
}

# find_sandbar sets sandbar: $SANDBAR, or what cargo builds.
find_sandbar() {
  sandbar=${SANDBAR:-}
  [[ -z $sandbar ]] || return 0
  sandbar=$(cd "$root" && cargo build --message-format=json --bin sandbar 2>/dev/null | sed -n 's/.*"executable":"\([^"]*\/sandbar\)".*/\1/p' | tail -1)
  [[ -x $sandbar ]] || die "cargo could not build sandbar; see: cargo build"
}

# both NAME DIR COMMAND… runs the command in DIR, plain and under sandbar with rules that it does not meet; its output goes to
# $out/NAME.plain and $out/NAME.traced.
both() {
  local name=$1 dir=$2 way
  shift 2
  cat >"$out/rules.yaml" <<'YAML'
apiVersion: sandbar.dev/v1alpha1
kind: SandboxConfig
metadata: {name: suite}
spec:
  files:
  - {path: /proc/sys/no/such/thing, value: "1"}
  redirects:
  - {from: '/sys/no/**/such*', to: /dev/null}
YAML
  for way in plain traced; do
    local command=("$@")
    [[ $way == plain ]] || command=("$sandbar" run -f "$out/rules.yaml" -- "$@")
    say "$name, $way${generation:+, in gVisor $generation}"
    if [[ -n $generation ]]; then
      # Output in one pipe, which the harness passes through.
      "$root/hack/gvisor/run.sh" --generation "$generation" --env PATH --env HOME --env GOROOT --env GOCACHE --cwd "$dir" \
        -- timeout "${SUITE_TIMEOUT:-600}" "${command[@]}" </dev/null 2>&1 | cat >"$out/$name.$way" || true
    else
      (cd "$dir" && timeout "${SUITE_TIMEOUT:-600}" "${command[@]}" </dev/null) >"$out/$name.$way" 2>&1 || true
    fi
  done
}

# compare NAME FILTER… turns both outputs into `test verdict` lines by the filter and compares them.
compare() {
  local name=$1 way
  shift
  for way in plain traced; do
    "$@" <"$out/$name.$way" | LC_ALL=C sort -u >"$out/$name.$way.verdicts"
  done
  local count
  count=$(wc -l <"$out/$name.plain.verdicts")
  if ((count == 0)); then
    tail -20 "$out/$name.plain" >&2
    die "$name: no verdict at all without sandbar; the output is in $out/$name.plain"
  fi
  if diff "$out/$name.plain.verdicts" "$out/$name.traced.verdicts" >"$out/$name.diff"; then
    echo "$name: $count verdicts, the same"
  else
    echo "$name: $count verdicts, DIFFERENT (< without, > with):"
    sed 's/^/  /' "$out/$name.diff"
    different=1
  fi
}
different=0
