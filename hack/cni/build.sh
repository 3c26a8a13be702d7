#!/usr/bin/env bash
# Prints the directory of the real host-local CNI plugin, built from its Go module into sandbar's cache.
set -euo pipefail

version=v1.8.0

dir="${SANDBAR_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sandbar}/cni/$version"
if [[ ! -x "$dir/host-local" ]]; then
    command -v go >/dev/null || { echo "hack/cni/build.sh: go is not on PATH" >&2; exit 1; }
    echo "building host-local $version" >&2
    mkdir -p "$dir"
    # Into a directory of its own first: an interrupted build must not look like a finished one.
    work=$(mktemp -d "$dir/build.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    GOBIN="$work" CGO_ENABLED=0 go install -trimpath -ldflags "-s -w" \
        "github.com/containernetworking/plugins/plugins/ipam/host-local@$version" >&2
    mv "$work/host-local" "$dir/host-local"
fi
echo "$dir"
