#!/bin/sh
# with_pycocotools.sh VENV SCRIPT ARGUMENT...: runs a Python script where pycocotools is: 2.0.6, the version of the
# goldens, where it can be built, else the newest wheel. Skips (77) where neither can be had.
set -eu
venv=$1
shift
have() { "$venv/bin/python" -c 'import numpy, pycocotools.mask' 2>/dev/null; }
get() { "$venv/bin/pip" install -q --disable-pip-version-check "$@" >/dev/null 2>&1; }
if ! have; then
    python3 -m venv "$venv" >/dev/null 2>&1 || true
    get pycocotools==2.0.6 numpy && have || get --only-binary :all: --force-reinstall pycocotools numpy && have || {
        echo "skipped: no Python package pycocotools"
        exit 77
    }
fi
exec "$venv/bin/python" "$@"
