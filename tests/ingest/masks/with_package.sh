#!/bin/sh
# with_package.sh VENV pycocotools|xxhash SCRIPT ARGUMENT...: runs a Python script in VENV with the package from
# PyPI. pycocotools: 2.0.6, the version of the goldens, where it can be built, else the newest wheel. Skips (77)
# where the package cannot be had.
set -eu
venv=$1 package=$2
shift 2
have() { "$venv/bin/python" -c "import $package"; }
get() { "$venv/bin/pip" install -q --disable-pip-version-check "$@"; }
fetch() {
    python3 -m venv "$venv" || return 1
    case $package in
    pycocotools) get pycocotools==2.0.6 numpy && "$venv/bin/python" -c 'import pycocotools.mask' ||
        get --only-binary :all: --force-reinstall pycocotools numpy ;;
    *) get "$package" ;;
    esac
}
if ! have 2>/dev/null && ! { fetch >/dev/null 2>&1 && have 2>/dev/null; }; then
    echo "skipped: no Python package $package"
    exit 77
fi
exec "$venv/bin/python" "$@"
