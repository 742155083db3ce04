#!/bin/sh
# The Python reader against `deem inspect`: read_shards.sh VENV MAKE_DATASET DEEM SOURCE_DIR. Skips (77) where
# PyPI packages cannot be had.
set -eu
venv=$1 make=$2 deem=$3 source=$4
if ! "$venv/bin/python" -c 'import lmdb, zstandard, xxhash' 2>/dev/null; then
    python3 -m venv "$venv" >/dev/null 2>&1 &&
        "$venv/bin/pip" install -q --disable-pip-version-check lmdb zstandard xxhash >/dev/null 2>&1 || {
        echo "skipped: no Python packages lmdb, zstandard, xxhash"
        exit 77
    }
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$make" "$folder/data"
for kind in mmc4 instruct; do
    "$venv/bin/python" "$source/read_shards.py" "$folder/data/$kind" "$deem"
done
