# Sourced by node: snapshotter and pod network of a live node with pods, changed by kubectl; what the kernel cannot do is refused.
# shellcheck shell=bash

flags=()
# In an object, not on the command line, whose flags win over what is changed here.
if [[ $place == linux ]]; then
  echo '{apiVersion: sandbar.dev/v1alpha1, kind: SandboxConfig, metadata: {name: base}, spec: {priority: -50, k3s: {flannelBackend: none}}}' >"$work/base.yaml"
  flags=(-f "$work/base.yaml" -- --disable-kube-proxy --disable-network-policy)
fi
check "up for another part" "$sandbar" up "${flags[@]}"

setting() { apply <<<"{apiVersion: sandbar.dev/v1alpha1, kind: SandboxConfig, metadata: {name: mine}, spec: {k3s: {$1}}}"; }
condition() { kubectl get sbx mine -o jsonpath="{.status.conditions[?(@.type==\"Ready\")].$1}"; }
comes_back_with() { equals true status .ready && says "$1" status '.k3s.args | join(" ")'; }
started_at() { kubectl get pod kept -o jsonpath='{.status.containerStatuses[0].state.running.startedAt}'; }
served() { equals served get "$(address "$1")" 8080; }
remedies=$(status '.remedies | map(.name, .state, .detail) | join(" ")')
check "a pod that is to be kept" pod kept 'command: [sh, -c, "mkdir /w; echo served >/w/index.html; exec httpd -f -p 8080 -h /w"]'
check "it runs" ready kept

# changed SETTING SNAPSHOTTER: the node comes back with it, what runs goes on, and what is new has its root from it.
changed() {
  local name=on-$2 before
  before=$(started_at)
  check "snapshotter $1 is asked for" setting "snapshotter: $1"
  check "k3s comes back with $2" within 90 comes_back_with "--snapshotter=$2"
  check "status says why it is $2" says mine status ".k3s.snapshotter | select(.name == \"$2\").why"
  check "and the object, too" within 10 says "\"name\":\"$2\"" kubectl get sbx mine -o jsonpath='{.status.nodes[0].k3s.snapshotter}'
  check "the pod ran on" equals "$before" started_at
  check "the remedies stand as before" equals "$remedies" status '.remedies | map(.name, .state, .detail) | join(" ")'
  check "and answers" within 30 served kept
  check "a new pod, of images unpacked again" pod "$name" 'command: [sh, -c, "grep \" / \" /proc/mounts; exec sleep 100000"]'
  check "runs" ready "$name" 60
  case $2 in
    overlayfs) check "its root is an overlay" says " / overlay " kubectl logs "$name" ;;
    native) check "its root is none" bash -c "! $SANDBAR_K3S kubectl logs $name | grep ' / overlay '" ;;
  esac
  check "it goes" kubectl delete pod "$name" --now
}
# refused_setting SETTING REASON: k3s runs on as it is, and the object says why.
refused_setting() {
  local before
  before=$(status .k3s.pid)
  check "$1 is asked for" setting "$1"
  check "the object says that it cannot work" within 10 equals K3sSettingsRefused condition reason
  check "and why" says "$2" condition message
  check "status, too" says "$2" status .k3s.rolledBack.error
  check "k3s was not touched" equals "$before" status .k3s.pid
  check "the node is ready" equals true status .ready
}

case $place in
  linux)
    changed native native
    changed auto overlayfs
    ;;
  gvisor-4.4)
    # Its overlays lie on tmpfs alone.
    refused_setting "snapshotter: overlayfs" "overlayfs: EINVAL"
    changed auto native
    ;;
  *)
    changed overlayfs overlayfs
    check "status says what containers lack with it" says "cannot be removed" "$sandbar" status
    changed auto native
    ;;
esac
# What becomes no flag: the pod network, and what sandbar does besides.
part() { apply <<<"{apiVersion: sandbar.dev/v1alpha1, kind: SandboxConfig, metadata: {name: mine}, spec: {$1}}"; }
remedy() { status ".remedies[] | select(.name == \"$1\") | \"\(.state): \(.detail)\""; }
# back_and NAME TEXT: k3s is ready again, and the remedy says TEXT.
back_and() { says "$2" remedy "$1" && equals true status .ready; }
network=$(remedy pod-network)
check "no pod network is asked for" part "network: {cni: none}"
check "k3s comes back without one" within 90 back_and pod-network "pods with the network of the host only"
check "the object is as asked for" within 10 equals Programmed condition reason
check "the pod has ended, and gets no other" within 60 equals "" started_at
check "the former one is asked for" part "network: {cni: auto}"
check "k3s comes back with it" within 90 back_and pod-network "$network"
kept_again() { ready kept 1 && served kept; }
check "the pod runs again, and answers" within 60 kept_again

before=$(started_at)
archive=/var/lib/rancher/k3s/agent/images/sandbar-pause.tar
check "a remedy is turned off" part "remedies: {disabled: [pause-image]}"
check "k3s comes back without it" within 90 back_and pause-image "Off: turned off"
check "its archive is gone" test ! -e "$archive"
check "k3s uses its own pause image" bash -c "! $sandbar status -o json | jq -e '.k3s.args | any(startswith(\"--pause-image\"))'"
check "it is turned on again" part "remedies: {disabled: []}"
check "k3s comes back with it" within 90 back_and pause-image Applied
check "its archive is there" test -e "$archive"
check "the pod ran on" equals "$before" started_at
check "a new pod" pod with-pause
check "runs" ready with-pause 60
check "it goes" kubectl delete pod with-pause --now

if [[ $place == linux ]]; then
  # moved BACKEND: the pods are made anew in the other network.
  moved() {
    local before
    before=$(started_at)
    check "flannelBackend $1 is asked for" setting "flannelBackend: $1"
    check "k3s comes back with it" within 90 comes_back_with "--flannel-backend=$1"
    again() { ! equals "$before" started_at && ready kept 1 && served kept; }
    check "the pod runs again, and answers" within 60 again
    check "a new pod" pod "by-$1"
    check "runs" ready "by-$1"
    check "no address is given twice" equals "" bash -c "$SANDBAR_K3S kubectl get pods -o jsonpath='{range .items[?(@.status.phase==\"Running\")]}{.status.podIP}{\"\n\"}{end}' | sort | uniq -d"
    check "and reaches the other" says served inside "by-$1" sh -c "printf 'GET / HTTP/1.0\r\n\r\n' | nc -w 5 $(address kept) 8080"
    check "it goes" kubectl delete pod "by-$1" --now
  }
  moved host-gw
  check "pods are on flannel's bridge" ip link show cni0
  moved none
  refused "the bridge is gone" "does not exist" ip link show cni0
else
  refused_setting "snapshotter: fuse-overlayfs" "snapshotter fuse-overlayfs: "
  refused_setting "flannelBackend: host-gw" "kind bridge"
  refused_setting "flannelBackend: vxlan" "kind vxlan"
  refused_setting "flannelBackend: wireguard-native" "kind wireguard"
fi
check "the object goes" kubectl delete sbx mine
nothing_refused() { equals null status .k3s.rolledBack; }
check "and what it was refused" within 10 nothing_refused
check "down again" "$sandbar" down
check "nothing is left then" within 10 as_before
