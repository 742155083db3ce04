#!/usr/bin/env bash
# A fresh dataset for one command: check_folder.sh MAKE_DATASET COMMAND... where @ in COMMAND is the
# folder.
set -euo pipefail
make=$1
shift
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$make" "$folder/data" > /dev/null
"${@//@/$folder/data}"
