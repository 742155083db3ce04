#!/usr/bin/env bash
# Who may include whom (a library's includes come from the root of the tree), and that calls to the
# outside world stay in core. Prints each offence; exit 1 where there is one.
set -uo pipefail
cd "$(dirname "$0")/.."
declare -A may=(
  [core]="core" [filters]="filters core" [shards]="shards core" [kernels]="kernels core"
  [ingest]="ingest core filters shards" [loader]="loader core shards" [trainer]="trainer core kernels loader"
  [cli]="cli core filters shards kernels ingest loader trainer" )
bad=0
say() { echo "$1"; bad=1; }
for folder in "${!may[@]}"; do
  while IFS=: read -r file line text; do
    [ -n "$file" ] || continue
    target=$(sed -E 's/.*"([^"]+)".*/\1/' <<< "$text")
    first=${target%%/*}
    [[ " ${may[$folder]} " == *" $first "* ]] || say "$file:$line: $folder may not include $target"
    [ -f "$target" ] || say "$file:$line: $target is not written from the root"
    case $target in *_private.h) [ "$(dirname "$target")" = "$(dirname "$file")" ] || say "$file:$line: $target is private to its folder";; esac
  done < <(git ls-files "$folder/*.c" "$folder/*.h" "$folder/*.cpp" "$folder/*.cu" "$folder/*.cuh" | xargs -r grep -nHE '^#include "')
done
# The doors: allocation, files and threads are core's.
calls='\b(malloc|calloc|realloc|aligned_alloc|strdup|strndup|fopen|open|openat|creat|mmap|rename|unlink|opendir|pthread_create|time|gettimeofday|clock_gettime|rand|system|popen|exit|abort|alloca|strcpy|strcat|sprintf|strtok|atoi)\('
while IFS= read -r hit; do
  [ -n "$hit" ] && say "$hit"
done < <(git ls-files filters shards kernels ingest loader trainer | grep -E '\.(c|h)$' |
  xargs -r grep -nHE "(^|[^_A-Za-z0-9.>\"])$calls" | sed -E 's/$/   <- core only/' |
  grep -vE ':[0-9]+: *(/?\*|//)' | grep -vE 'allow-direct:' )
exit $bad
