#!/usr/bin/env bash
# Prints the path of a helm 3: the one on PATH, or one built from its Go module into sandbar's cache.
set -euo pipefail

version=v3.19.2

if found=$(command -v helm) && [[ "$("$found" version --template '{{.Version}}' 2>/dev/null)" =~ ^v([3-9]|[1-9][0-9])\. ]]; then
    echo "$found"
    exit
fi

dir="${SANDBAR_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sandbar}/helm/$version"
if [[ ! -x "$dir/helm" ]]; then
    command -v go >/dev/null || { echo "hack/helm/build.sh: neither helm nor go is on PATH" >&2; exit 1; }
    echo "building helm $version; this takes some minutes the first time" >&2
    mkdir -p "$dir"
    # Into a directory of its own first: an interrupted build must not look like a finished one.
    work=$(mktemp -d "$dir/build.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    # As helm's own Makefile does it: without these it takes every cluster that it cannot ask for Kubernetes 1.20.
    flags="-s -w -X helm.sh/helm/v3/internal/version.version=$version"
    for package in lint/rules chartutil; do
        flags+=" -X helm.sh/helm/v3/pkg/$package.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/$package.k8sVersionMinor=34"
    done
    GOBIN="$work" CGO_ENABLED=0 go install -trimpath -ldflags "$flags" "helm.sh/helm/v3/cmd/helm@$version" >&2
    mv "$work/helm" "$dir/helm"
fi
echo "$dir/helm"
