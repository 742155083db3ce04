#!/usr/bin/env bash
# resources.sh BUILD-FOLDER LIMITS: registers, shared memory and spills of each kernel, as ptxas reported them when it
# was compiled, against a file of limits (file kernel architecture registers shared spills). A kernel without a
# limit fails, and so does a limit without a kernel.
set -euo pipefail
build=$1 limits=$2
used=$(find "$build/kernels" -name '*.cu.o.usage' | sort | while read -r usage; do
  name=$(basename "$usage" .cu.o.usage)
  c++filt < "$usage" | awk -v file="$name" '
    /Compiling entry function/ {
      kernel = $0; sub(/.*entry function .(void )?/, "", kernel); sub(/\(.*/, "", kernel); sub(/.*::/, "", kernel)
      sub(/.*__[0-9a-f_]+_/, "", kernel); arch = $0; sub(/.*for .sm_/, "sm_", arch); sub(/[^0-9a-z_].*/, "", arch) }
    /spill stores/ { for (i = 1; i <= NF; i++) if ($(i + 2) == "spill") spills += $i }
    /Used [0-9]+ registers/ {
      shared = 0; for (i = 2; i <= NF; i++) { if ($i == "Used") registers = $(i + 1); if ($(i + 1) == "bytes" && $(i + 2) ~ /^smem/) shared = $i }
      print file, kernel, arch, registers, shared, spills + 0; spills = 0 }'
done)
[ -n "$used" ] || { echo "no usage files under $build/kernels"; exit 1; }
awk 'NR == FNR { if ($0 !~ /^#/ && NF == 6) { limit[$1 " " $2 " " $3] = $4 " " $5 " " $6 }; next }
  { key = $1 " " $2 " " $3; seen[key] = 1
    if (!(key in limit)) { print "no limit: " $0; bad = 1; next }
    split(limit[key], l, " ")
    if ($4 > l[1] || $5 > l[2] || $6 > l[3]) { print "over its limit: " $0 ", allowed " limit[key]; bad = 1 } }
  END { for (key in limit) if (!(key in seen)) { print "no such kernel: " key; bad = 1 }
    print length(seen) " kernels"; exit bad }' "$limits" <(echo "$used")
