# Sourced by the experiments that start a container by hand: an OCI bundle around the static busybox.
# shellcheck shell=bash disable=SC2154

# bundle DIR NAMESPACE…: a container that says where it is, with these namespaces, /proc and no cgroup of its own to set up.
bundle() {
  local dir=$1 namespaces
  shift
  mkdir -p "$dir/rootfs/bin" "$dir/rootfs/proc"
  cp "$(command -v busybox)" "$dir/rootfs/bin/busybox"
  namespaces=$(printf '{"type":"%s"}\n' "$@" | jq -s .)
  jq -n --argjson namespaces "$namespaces" '{
    ociVersion: "1.0.2",
    process: {user: {uid: 0, gid: 0}, cwd: "/", args: ["/bin/busybox", "echo", "a container ran"],
      capabilities: {bounding: ["CAP_KILL"], effective: ["CAP_KILL"], permitted: ["CAP_KILL"]}},
    root: {path: "rootfs"},
    mounts: [{destination: "/proc", type: "proc", source: "proc"}],
    linux: {namespaces: $namespaces}}' >"$dir/config.json"
}

# runs RUNTIME…: whether a container of the bundle in $work/bundle says what it should.
runs() {
  did "$@" run --bundle "$work/bundle" "experiment-$$" </dev/null | tee "$work/said"
  grep -q '^ *a container ran' "$work/said"
}

# runc: the unpatched one that a node runs.
bundled_runc() {
  local k3s
  k3s=$("$here/../find-k3s" --node) && echo "$(dirname "$k3s")/bin/runc"
}
