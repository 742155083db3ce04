#!/bin/sh
# Runs a script with a Python that has lmdb, zstandard and xxhash: with_packages.sh VENV SCRIPT [ARG...]. Skips (77)
# where PyPI packages cannot be had. One at a time makes the folder.
set -eu
venv=$1
shift
mkdir -p "$(dirname "$venv")"
(
    flock 9
    "$venv/bin/python" -c 'import lmdb, zstandard, xxhash' 2>/dev/null ||
        { python3 -m venv "$venv" >/dev/null 2>&1 &&
            "$venv/bin/pip" install -q --disable-pip-version-check lmdb zstandard xxhash >/dev/null 2>&1; }
) 9>"$venv.lock" || {
    echo "skipped: no Python packages lmdb, zstandard, xxhash"
    exit 77
}
exec "$venv/bin/python" "$@"
