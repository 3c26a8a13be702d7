#!/usr/bin/env bash
# Builds the stand-in for k3s: the static programs `k3s` and, beside it, `kine`.
#
#   hack/k3s/build.sh [OUTDIR]
#
# The path of the k3s program is the only line on stdout; progress goes to stderr. The
# default OUTDIR is named after the sources and the Go version, so that a second run has
# nothing to do and says so within a second. The first one takes 10 to 15 minutes on two
# cores and needs 4 GB of disk for Go's caches.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")"

say() { printf '%s\n' "$*" >&2; }
die() { say "build.sh: $*"; exit 1; }

# HOME may be unset where this runs; Go needs it for its caches.
export HOME="${HOME:-$(getent passwd "$(id -u)" | cut -d: -f6)}"
command -v go >/dev/null || die "Go is missing: install Go 1.24 or newer (https://go.dev/dl)"

kubernetes=$(sed -n 's/^require k8s.io\/kubernetes //p; s/^\tk8s.io\/kubernetes \(v[0-9.]*\)$/\1/p' go.mod | head -n1)
[ -n "$kubernetes" ] || die "go.mod names no k8s.io/kubernetes"
version="$kubernetes+k3s1-standin"

# Everything that can change the outcome. Tests and the README cannot.
go_version=$(cd kine && go env GOVERSION) # kine's module may ask for a newer tool chain
hash=$({
  echo "$go_version $(go env GOVERSION GOARCH GOAMD64)"
  find . -type f \( -name '*.go' -o -name 'go.mod' -o -name 'go.sum' -o -name build.sh \) \
    ! -name '*_test.go' -print0 | LC_ALL=C sort -z | xargs -0 sha256sum
} | sha256sum | cut -c1-8)

out=${1:-${SANDBAR_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sandbar}/k3s-standin/$hash}
mkdir -p "$out"
out=$(cd "$out" && pwd)

# One build at a time in one place; a waiting one finds the work done.
exec 9>"$out/.lock"
flock -n 9 || { say "waiting for another build in $out"; flock 9; }

if [ -x "$out/k3s" ] && [ -x "$out/kine" ] && [ "$(cat "$out/.hash" 2>/dev/null)" = "$hash" ]; then
  say "k3s stand-in $version ($hash) is up to date"
  echo "$out/k3s"
  exit 0
fi

# kine needs a C compiler and the static C library.
if ! echo 'int main(void){return 0;}' | gcc -static -x c -o /dev/null - 2>/dev/null; then
  say "installing gcc and libc6-dev"
  command -v apt-get >/dev/null || die "a C compiler with a static C library is missing"
  sudo=''
  [ "$(id -u)" = 0 ] || sudo=sudo
  { $sudo apt-get update -q && $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends \
    gcc libc6-dev; } >&2 || die "apt-get could not install gcc and libc6-dev"
fi

# packages DIR PACKAGE CGO: how many packages the program is made of, which downloads their modules.
packages() { (cd "$1" && CGO_ENABLED=$3 go list -deps "$2" | wc -l); }

# build NAME DIR PACKAGE TOTAL CGO LDFLAGS [TAGS]: compiles, telling now and then how far it is.
# Go names each package that it compiles; those that were cached it does not name.
build() {
  local name=$1 dir=$2 package=$3 total=$4 cgo=$5 ldflags=$6 tags=${7:-} log status=0 began=$SECONDS
  log=$(mktemp)
  (cd "$dir" && CGO_ENABLED=$cgo go build -v -trimpath -buildvcs=false -tags "$tags" -ldflags "$ldflags" \
    -o "$out/.$name.new" "$package") >"$log" 2>&1 &
  local pid=$! last=-1 now
  # The compiler goes with us.
  trap 'kill "$pid" 2>/dev/null || true' EXIT
  while kill -0 "$pid" 2>/dev/null; do
    sleep 1
    now=$(wc -l <"$log")
    if [ "$now" != "$last" ] && [ $(((SECONDS - began) % 10)) = 0 ]; then
      say "      $name: $now of at most $total packages compiled, $((SECONDS - began)) s"
      last=$now
    fi
  done
  wait "$pid" || status=$?
  trap - EXIT
  if [ "$status" != 0 ]; then
    grep -vE '^[a-z0-9.-]+(/[A-Za-z0-9._~-]+)*$' "$log" >&2 || tail -n 20 "$log" >&2
    rm -f "$log"
    die "$name could not be built (go build ended with $status)"
  fi
  say "      $name: done, $(wc -l <"$log") packages compiled, $((SECONDS - began)) s"
  rm -f "$log"
}

say "[1/3] downloading modules (k3s stand-in $version, $hash)"
kine_total=$(packages kine github.com/k3s-io/kine 1)
k3s_total=$(packages . ./cmd/k3s 0)

say "[2/3] kine: $kine_total packages"
# A static program cannot load libc's resolvers, nor SQLite extensions.
build kine kine github.com/k3s-io/kine "$kine_total" 1 '-s -w -linkmode external -extldflags -static' \
  osusergo,netgo,sqlite_omit_load_extension

say "[3/3] k3s: $k3s_total packages"
v=k8s.io/component-base/version
c=k8s.io/client-go/pkg/version
own=sandbar.dev/hack/k3s/internal/version
IFS=. read -r major minor _ <<<"${kubernetes#v}"
flags="-s -w -X $own.Version=$version -X $own.Commit=$hash"
for p in "$v" "$c"; do
  flags+=" -X $p.gitVersion=$version -X $p.gitCommit=$hash -X $p.gitTreeState=clean"
  flags+=" -X $p.gitMajor=$major -X $p.gitMinor=$minor"
done
build k3s . ./cmd/k3s "$k3s_total" 0 "$flags"

rm -f "$out/.hash"
mv "$out/.kine.new" "$out/kine"
mv "$out/.k3s.new" "$out/k3s"
ln -sf k3s "$out/kubectl"
echo "$hash" >"$out/.hash"
say "k3s stand-in $version is built: $out/k3s"
echo "$out/k3s"
