#!/usr/bin/env bash
# golden.sh DEEM CASE DTYPE: a reference case on the GPU; 77 where there is no GPU or no driver.
set -u
text=$("$1" golden "$2" --backend cuda --dtype "$3" 2>&1)
code=$?
if [ $code = 76 ] && grep -qE 'no NVIDIA driver|the NVIDIA driver (serves|shows)' <<< "$text"; then
  echo "skipped: $text"
  exit 77
fi
echo "$text"
exit $code
