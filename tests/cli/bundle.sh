#!/usr/bin/env bash
# bundle.sh SOURCE BUILD: the bundle is under 40 MiB and runs on a machine that has nothing but libc: a root folder
# with the loader and libc's libraries, and the bundle unpacked in it.
set -euo pipefail
source=$1 build=$2
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
"$source/tools/bundle" "$build" 6
size=$(stat -c %s "$build/bundle.tar.zst")
[ "$size" -lt $((40 << 20)) ] || { echo "the bundle has $size bytes"; exit 1; }
mkdir -p "$root/lib64" "$root/lib/x86_64-linux-gnu" "$root/proc/self" "$root/tmp"
cp -L /lib64/ld-linux-x86-64.so.2 "$root/lib64/"
for name in c m dl rt pthread resolv; do
  cp -L /lib/x86_64-linux-gnu/lib$name.so.[0-9]* "$root/lib/x86_64-linux-gnu/"
done
zstd -qdc "$build/bundle.tar.zst" | tar -C "$root" -xf -
cp -r "$source/tests/goldens/model/mod-mmfs" "$root/tmp/case"
ln -s /bundle/deem "$root/proc/self/exe" # the loader asks /proc where the program lies
inside=(chroot "$root")
[ "$(id -u)" = 0 ] || inside=(unshare -r chroot "$root")
"${inside[@]}" /bundle/deem --version
"${inside[@]}" /bundle/deem golden /tmp/case | tail -1
code=0
"${inside[@]}" /bundle/deem golden /tmp/case --backend cuda || code=$?
[ $code = 76 ] || { echo "--backend cuda on a bare machine: exit $code, want 76"; exit 1; }
