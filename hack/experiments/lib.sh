# Sourced by the experiments: how each says what was done, what was seen, and what follows from it.
# shellcheck shell=bash

set -uo pipefail
PATH=$PATH:/usr/local/go/bin
work=$(mktemp -d)
undo=()
tidy() {
  local one
  for one in "${undo[@]}"; do $one; done
  rm -rf "$work"
}
trap tidy EXIT

# did COMMAND…: shows and runs it; its output goes indented to stdout, its exit code to the caller.
did() {
  printf '$ %s\n' "$*"
  "$@" 2>&1 | sed 's/^/    /'
  local code=${PIPESTATUS[0]}
  ((code == 0)) || echo "    (exit code $code)"
  return "$code"
}

# verdict WORD TEXT: helps | helps-not | not-tried. A failed experiment is a result; only one that was not made is not.
verdict() {
  echo "verdict: $1: $2"
  [[ $1 != not-tried ]] || exit 3
  exit 0
}

needs() {
  command -v "$1" >/dev/null || verdict not-tried "$1 is not here"
}
