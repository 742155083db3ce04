#!/usr/bin/env bash
# No two libraries of the project define the same function: they meet in one program. check_symbols.sh BUILD-FOLDER
set -uo pipefail
cd "$1"
twice=$(find core filters shards kernels ingest loader trainer cli -name 'libdeem_*.a' | while read -r library; do
  nm -A --defined-only --extern-only "$library" 2> /dev/null | awk '{ print $NF }'
done | sort | uniq -d)
[ -z "$twice" ] || { echo "defined twice: $twice"; exit 1; }
