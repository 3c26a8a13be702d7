#!/usr/bin/env bash
# Makes the images of images.tsv without a registry, as one archive in the cache, and prints its path.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

say() { printf 'conformance: %s\n' "$*" >&2; }

need() { # need COMMAND PACKAGE
  command -v "$1" >/dev/null || {
    say "installing $2"
    { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$2"; } >&2
  }
}
need jq jq
need gcc gcc
need curl curl

programs=$(./build.sh)
kubernetes=$(go list -m -f '{{.Dir}}' k8s.io/kubernetes)
out=$programs/images-$({ sha256sum images.sh images.tsv; } | sha256sum | cut -c1-8).tar
[[ ! -e $out ]] || { echo "$out"; exit 0; }
say "making the images"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/archive"

# program ROOT COMMAND: a program of this machine with the libraries it is linked to.
program() {
  local path file
  path=$(command -v "$2")
  while read -r file; do
    install -D "$file" "$1$file"
  done < <(ldd "$path" | grep -oE '/[^ ]+')
  install -D "$path" "$1/bin/$2"
}

# layer NAME: packs the folder $work/NAME; the same content gives the same layer.
layer() {
  tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C "$work/$1" -cf "$work/archive/$1.tar" .
}

# image RECIPE CONFIG LAYER…: adds every name that images.tsv gives that recipe.
image() {
  local recipe=$1 config=$2 ids names
  shift 2
  ids=$(cd "$work/archive" && sha256sum "${@/%/.tar}" | jq -R '"sha256:" + .[:64]' | jq -s .)
  names=$(awk -F '\t' -v recipe="$recipe" '$2 == recipe {print $1}' images.tsv | jq -R . | jq -s .)
  jq -n --argjson ids "$ids" --argjson config "$config" '{architecture: "amd64", os: "linux",
    config: ({Env: ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]} + $config),
    rootfs: {type: "layers", diff_ids: $ids}}' >"$work/archive/$recipe.json"
  jq -n --arg config "$recipe.json" --argjson names "$names" --args \
    '{Config: $config, RepoTags: $names, Layers: $ARGS.positional}' "${@/%/.tar}" >>"$work/images"
}

root=$work/busybox
mkdir -p "$root"/{bin,dev,etc,home,proc,root,sys,usr/bin,var} "$root/tmp"
chmod 1777 "$root/tmp"
install "$programs/busybox" "$root/bin/busybox"
"$root/bin/busybox" --list | while read -r applet; do
  [[ $applet == busybox ]] || ln "$root/bin/busybox" "$root/bin/$applet"
done
ln "$root/bin/busybox" "$root/usr/bin/env"
printf '%s\n' root:x:0:0:root:/root:/bin/sh nobody:x:65534:65534:nobody:/home:/bin/false >"$root/etc/passwd"
printf '%s\n' root:x:0: nogroup:x:65534: >"$root/etc/group"
layer busybox
image busybox '{"Cmd": ["sh"]}' busybox
image nonroot '{"Cmd": ["sh"], "User": "1234"}' busybox

for server in httpd:/usr/local/apache2/htdocs nginx:/usr/share/nginx/html; do
  name=${server%%:*} folder=${server#*:}
  mkdir -p "$work/$name$folder"
  echo '<html><body><h1>It works!</h1></body></html>' >"$work/$name$folder/index.html"
  layer "$name"
  config=$(jq -n --arg folder "$folder" '{Cmd: ["httpd", "-f", "-p", "80", "-h", $folder]}')
  image "$name" "$config" busybox "$name"
  image "$name-new" "$(jq '.Labels = {version: "new"}' <<<"$config")" busybox "$name"
done

# As in agnhost's Dockerfile: tests look for the second name and for the user and group.
root=$work/agnhost
mkdir -p "$root"/{etc,uploads}
install "$programs/agnhost" "$root/agnhost"
ln -s agnhost "$root/agnhost-2"
install -m 644 "$kubernetes"/test/images/agnhost/porter/localhost.{crt,key} "$root/"
{ cat "$work/busybox/etc/passwd"; echo user-defined-in-image:x:1000:1000::/home:/bin/sh; } >"$root/etc/passwd"
{
  cat "$work/busybox/etc/group"
  printf '%s\n' user-defined-in-image:x:1000: group-defined-in-image:x:50000:user-defined-in-image
} >"$root/etc/group"
program "$root" curl
program "$root" bash
layer agnhost
image agnhost '{"Entrypoint": ["/agnhost"], "Cmd": ["pause"]}' busybox agnhost

mkdir "$work/pause"
gcc -Os -static -DVERSION=3.10.1 -o "$work/pause/pause" "$kubernetes/build/pause/linux/pause.c"
layer pause
image pause '{"Entrypoint": ["/pause"], "User": "65535:65535"}' pause

mkdir -p "$work/nonewprivs/usr/local/bin"
install -m 6755 "$programs/nonewprivs" "$work/nonewprivs/usr/local/bin/nnp"
layer nonewprivs
image nonewprivs '{"Cmd": ["nnp"]}' busybox nonewprivs

jq -s . "$work/images" >"$work/archive/manifest.json"
tar -C "$work/archive" -cf "$work/images.tar" .
mv "$work/images.tar" "$out"
echo "$out"
