#!/bin/sh
# The Python reader against `deem inspect`: read_shards.sh VENV MAKE_DATASET DEEM SOURCE_DIR. Skips (77) where
# PyPI packages cannot be had.
set -eu
venv=$1 make=$2 deem=$3 source=$4
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$make" "$folder/data"
for kind in mmc4 instruct; do
    "$source/../support/with_packages.sh" "$venv" "$source/read_shards.py" "$folder/data/$kind" "$deem"
done
