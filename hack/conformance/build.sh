#!/usr/bin/env bash
# Builds upstream's test programs from their Go modules into the cache and prints the folder: e2e.test, ginkgo, agnhost,
# nonewprivs; and busybox, of the version that upstream's image has, from the source that Debian keeps.
#
# The folder is named after the sources and the Go version, so a second run has nothing to do. The first takes 10 to 15
# minutes on two cores.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

say() { printf 'conformance: %s\n' "$*" >&2; }

command -v go >/dev/null || { say "go not found; install Go 1.24 or newer: https://go.dev/dl"; exit 1; }
hash=$({ go env GOVERSION GOARCH GOAMD64; sha256sum go.mod go.sum build.sh; } | sha256sum | cut -c1-8)
out=${SANDBAR_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sandbar}/conformance/$hash
mkdir -p "$out"

# One build at a time; a waiting one finds the work done.
exec 9>"$out/.lock"
flock 9

export CGO_ENABLED=0
kubernetes=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
version="-X k8s.io/component-base/version.gitVersion=$kubernetes -X k8s.io/client-go/pkg/version.gitVersion=$kubernetes"

# build NAME VERB… PACKAGE
build() {
  local name=$1
  shift
  [[ ! -x $out/$name ]] || return 0
  say "building $name ($kubernetes)"
  go "${@:1:$#-1}" -trimpath -buildvcs=false -ldflags "-s -w $version" -o "$out/.$name" "${@: -1}" >&2
  mv "$out/.$name" "$out/$name"
}
build e2e.test test -c -vet=off k8s.io/kubernetes/test/e2e
build ginkgo build github.com/onsi/ginkgo/v2/ginkgo
build agnhost build k8s.io/kubernetes/test/images/agnhost
build nonewprivs build k8s.io/kubernetes/test/images/nonewprivs

# Debian's own build of busybox will not do: its shell drops variables such as `data-1`, which upstream's passes on.
busybox() {
  local work apt
  work=$(mktemp -d)
  # shellcheck disable=SC2064 # the folder is to be known when the trap runs
  trap "rm -rf '$work'" EXIT
  mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
  echo "deb-src http://deb.debian.org/debian trixie main" >"$work/sources.list"
  apt=(apt-get -qq -o "Dir::Etc::sourcelist=$work/sources.list" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$work/lists"
    -o "Dir::Cache=$work/cache" -o APT::Sandbox::User=root)
  cd "$work"
  "${apt[@]}" update
  "${apt[@]}" source --download-only busybox=1:1.37.0-6
  tar -xf busybox_1.37.0.orig.tar.bz2
  cd busybox-1.37.0
  make -s defconfig
  sed -i -e 's/^# CONFIG_STATIC is not set$/CONFIG_STATIC=y/' -e 's/^CONFIG_TC=y$/# CONFIG_TC is not set/' .config
  make -s -j"$(nproc)" busybox
  mv busybox "$out/.busybox"
  mv "$out/.busybox" "$out/busybox"
}
if [[ ! -x $out/busybox ]]; then
  say "building busybox"
  ../prepare cc
  (busybox) >"$out/busybox.log" 2>&1 || { tail "$out/busybox.log" >&2; say "busybox could not be built"; exit 1; }
fi
echo "$out"
