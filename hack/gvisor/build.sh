#!/usr/bin/env bash
# Builds the pinned runsc (gVisor) from its Go module and prints the path of the binary.
# Does nothing but print the path when it is already built. See README.md.
set -euo pipefail

usage() {
  cat <<'USAGE'
usage: build.sh [current|4.4|all]     (default: current)

Builds runsc, as pinned in versions.txt, into
${SANDBAR_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sandbar}/gvisor/<generation>-<version>/runsc
and prints that path on stdout; progress goes to stderr.
USAGE
}

say() { printf 'build.sh: %s\n' "$*" >&2; }
die() { say "error: $1"; shift; for line in "$@"; do say "  $line"; done; exit 1; }

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
cache=${SANDBAR_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sandbar}/gvisor

build() { # GENERATION VERSION TOOLCHAIN
  local generation=$1 version=$2 toolchain=$3
  local dir=$cache/$generation-$version
  if [[ ! -x $dir/runsc ]]; then
    mkdir -p "$dir"
    ( # One build at a time: a second caller waits, then finds the binary.
      flock 9
      [[ ! -x $dir/runsc ]] || exit 0
      command -v go >/dev/null ||
        die "cannot build runsc $version: the command 'go' was not found" \
            "install Go 1.21 or newer (https://go.dev/dl); it fetches the pinned $toolchain by itself"
      say "building runsc ($generation, $version, $toolchain); takes 2 to 4 minutes on 2 cores"
      local began=$SECONDS
      CGO_ENABLED=0 GOTOOLCHAIN=$toolchain GOBIN=$dir/partial GOFLAGS='' GOOS='' GOARCH='' GO111MODULE=on \
        nice -n 10 go install -trimpath \
        -ldflags "-s -w -X gvisor.dev/gvisor/runsc/version.version=$version" \
        "gvisor.dev/gvisor/runsc@$version" >&2 ||
        die "go install gvisor.dev/gvisor/runsc@$version failed; its messages are above" \
            "the Go module proxy (go env GOPROXY) must be reachable, and Go must be 1.21 or newer"
      mv "$dir/partial/runsc" "$dir/runsc"
      rmdir "$dir/partial"
      say "built in $((SECONDS - began)) s"
    ) 9>"$dir/lock"
  fi
  printf '%s\n' "$dir/runsc"
}

case ${1:-current} in
  -h | --help) usage; exit 0 ;;
esac
(($# <= 1)) || { usage >&2; exit 2; }

wanted=${1:-current}
found=
while read -r generation version toolchain _; do
  [[ -n $generation && $generation != '#'* ]] || continue
  if [[ $wanted == all || $wanted == "$generation" ]]; then
    found=yes
    build "$generation" "$version" "$toolchain"
  fi
done <"$here/versions.txt"
[[ -n $found ]] || { say "error: no generation '$wanted' in versions.txt"; usage >&2; exit 2; }
