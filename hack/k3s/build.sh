#!/usr/bin/env bash
# Builds the stand-in for k3s: the static programs `k3s` and, beside it, `kine`; with --node
# also, in `bin`, what a node runs: containerd, its shim, runc, ctr, the CNI plugins and flannel.
#
#   hack/k3s/build.sh [--node] [OUTDIR]
#
# The path of the k3s program is the only line on stdout; progress goes to stderr. The
# default OUTDIR is named after the sources and the Go version, so that a second run has
# nothing to do and says so within a second. The first one takes 10 to 15 minutes on two
# cores and needs 4 GB of disk for Go's caches; --node adds four minutes.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")"

say() { printf '%s\n' "$*" >&2; }
die() { say "build.sh: $*"; exit 1; }

node=''
case ${1:-} in
  --node) node=1; shift ;;
  -*) die "usage: build.sh [--node] [OUTDIR]" ;;
esac

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
  find . -type f \( -name '*.go' -o -name '*.tmpl' -o -name 'go.mod' -o -name 'go.sum' -o -name build.sh \) \
    ! -name '*_test.go' -print0 | LC_ALL=C sort -z | xargs -0 sha256sum
} | sha256sum | cut -c1-8)

out=${1:-${SANDBAR_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sandbar}/k3s-standin/$hash}
mkdir -p "$out"
out=$(cd "$out" && pwd)

# One build at a time in one place; a waiting one finds the work done.
exec 9>"$out/.lock"
flock -n 9 || { say "waiting for another build in $out"; flock 9; }

# is_built FILE...: whether these programs of this hash are there.
is_built() {
  local f
  for f in "$@"; do [ -x "$out/$f" ] || return 1; done
}
control_plane='' programs=''
[ "$(cat "$out/.hash" 2>/dev/null)" = "$hash" ] && is_built k3s kine && control_plane=1
[ "$(cat "$out/bin/.hash" 2>/dev/null)" = "$hash" ] && is_built bin/{containerd,containerd-shim-runc-v2,ctr,runc,cni,flanneld} && programs=1

if [ -n "$control_plane" ] && [ -n "$programs$([ -n "$node" ] || echo 1)" ]; then
  say "k3s stand-in $version ($hash) is up to date"
  echo "$out/k3s"
  exit 0
fi

# install PACKAGE...: what is missing, from the distribution.
install() {
  say "installing $*"
  command -v apt-get >/dev/null || die "$* missing, and there is no apt-get"
  local sudo=''
  [ "$(id -u)" = 0 ] || sudo=sudo
  { $sudo apt-get update -q && $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends \
    "$@"; } >&2 || die "apt-get could not install $*"
}

# links LIBRARY...: whether a static C program can be built with these.
links() { echo 'int main(void){return 0;}' | gcc -static -x c -o /dev/null - "$@" 2>/dev/null; }

# kine needs a C compiler and the static C library, runc libseccomp too.
links || install gcc libc6-dev
[ -z "$node" ] || links -lseccomp || install libseccomp-dev

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

# The flags of a static program that needs C; it cannot load libc's resolvers.
static='-s -w -linkmode external -extldflags -static'

build_control_plane() {
  say "[1/3] downloading modules (k3s stand-in $version, $hash)"
  local kine_total k3s_total v c own major minor flags p
  kine_total=$(packages kine github.com/k3s-io/kine 1)
  k3s_total=$(packages . ./cmd/k3s 0)

  say "[2/3] kine: $kine_total packages"
  # Nor can it load SQLite extensions.
  build kine kine github.com/k3s-io/kine "$kine_total" 1 "$static" osusergo,netgo,sqlite_omit_load_extension

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
  (cd "$out" && sha256sum k3s kine >.sha256sums)
  echo "$hash" >"$out/.hash"
}

# module DIR PATH: the version that DIR's go.mod requires.
module() { (cd "$1" && go list -m -f '{{.Version}}' "$2"); }

# cni_sources DIR: the plugins as packages that one program can link, see node/cni/main.go.
cni_sources() {
  local plugins plugin name file
  mkdir -p "$1"
  cp node/cni/main.go node/cni/go.mod node/cni/go.sum "$1/"
  cp -r node/cni/flannel "$1/"
  plugins=$(cd node/cni && go mod download -json github.com/containernetworking/plugins | sed -n 's/^\t"Dir": "\(.*\)",\{0,1\}$/\1/p')
  for plugin in "$plugins"/plugins/{main/{bridge,loopback,ptp},ipam/host-local,meta/{bandwidth,firewall,portmap}}; do
    name=$(basename "$plugin")
    name=${name//-/}
    mkdir -p "$1/plugins/$name"
    for file in "$plugin"/*.go; do
      case $file in *_test.go) continue ;; esac
      sed -e "s/^package main\$/package $name/" -e 's/^func main()/func Main()/' "$file" >"$1/plugins/$name/${file##*/}"
    done
  done
}

build_node() {
  local ctrd=github.com/containerd/containerd/v2 flags total sources p
  say "[1/5] downloading modules of the node's programs"
  total=$(packages node/containerd . 0)
  sources=$(mktemp -d)
  cni_sources "$sources"

  flags="-s -w -X $ctrd/version.Version=$(module node/containerd $ctrd)"
  say "[2/5] containerd, its shim, ctr: $total packages"
  build containerd node/containerd . "$total" 0 "$flags" urfave_cli_no_docs,no_btrfs
  for p in containerd-shim-runc-v2 ctr; do
    build "$p" node/containerd "$ctrd/cmd/$p" "$(packages node/containerd "$ctrd/cmd/$p" 0)" 0 "$flags" urfave_cli_no_docs
  done
  say "[3/5] runc"
  build runc node/runc github.com/opencontainers/runc "$(packages node/runc github.com/opencontainers/runc 1)" 1 \
    "$static" seccomp,osusergo,netgo
  say "[4/5] CNI plugins"
  build cni "$sources" . "$(packages "$sources" . 0)" 0 \
    "-s -w -X github.com/containernetworking/plugins/pkg/utils/buildversion.BuildVersion=$(module node/cni github.com/containernetworking/plugins)"
  rm -rf "$sources"
  total=$(packages node/flannel . 0)
  say "[5/5] flannel: $total packages"
  build flanneld node/flannel . "$total" 0 '-s -w'

  mkdir -p "$out/bin"
  rm -f "$out/bin/.hash"
  for p in containerd containerd-shim-runc-v2 ctr runc cni flanneld; do mv "$out/.$p.new" "$out/bin/$p"; done
  for p in bandwidth bridge firewall flannel host-local loopback portmap ptp; do ln -sf cni "$out/bin/$p"; done
  (cd "$out/bin" && sha256sum containerd containerd-shim-runc-v2 ctr runc cni flanneld | LC_ALL=C sort -k2 >.sha256sums)
  echo "$hash" >"$out/bin/.hash"
}

[ -n "$control_plane" ] || build_control_plane
[ -z "$node" ] || [ -n "$programs" ] || build_node
say "k3s stand-in $version is built: $out/k3s"
echo "$out/k3s"
