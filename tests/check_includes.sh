#!/usr/bin/env bash
# Who may include whom (a library's includes come from the root of the tree), and that calls to the
# outside world stay in core. Prints each offence; exit 1 where there is one.
set -uo pipefail
cd "$(dirname "$0")/.."
bad=0
say() { echo "$1"; bad=1; }
code=$(git ls-files | grep -E '^(core|filters|shards|kernels|ingest|loader|trainer|cli)/.*\.(c|h|cpp|cu|cuh)$')
# file:line:#include "target", each against the table; the tree's files come first
offences=$({ git ls-files | sed 's/^/= /'; xargs grep -nHE '^#include "' <<< "$code"; } | awk '
  BEGIN {
    may["core"] = "core"; may["filters"] = "filters core"; may["shards"] = "shards core"
    may["kernels"] = "kernels core"; may["ingest"] = "ingest core filters shards"; may["loader"] = "loader core shards"
    may["trainer"] = "trainer core kernels loader"
    may["cli"] = "cli core filters shards kernels ingest loader trainer"
  }
  function folder(path) { sub(/\/[^\/]*$/, "", path); return path }
  /^= / { known[$2] = 1; next }
  {
    split($0, part, ":"); split($0, quoted, "\"")
    file = part[1]; where = file ":" part[2] ": "; target = quoted[2]
    from = file; sub(/\/.*/, "", from); to = target; sub(/\/.*/, "", to)
    if (index(" " may[from] " ", " " to " ") == 0) print where from " may not include " target
    if (!(target in known)) print where target " is not written from the root"
    if (target ~ /_private\.h$/ && folder(target) != folder(file)) print where target " is private to its folder"
  }')
[ -z "$offences" ] || say "$offences"
# The doors: allocation, files and threads are core's.
calls='\b(malloc|calloc|realloc|aligned_alloc|strdup|strndup|fopen|open|openat|creat|mmap|rename|unlink|opendir|pthread_create|time|gettimeofday|clock_gettime|rand|system|popen|exit|abort|alloca|strcpy|strcat|sprintf|strtok|atoi)\('
while IFS= read -r hit; do
  [ -n "$hit" ] && say "$hit"
done < <(git ls-files filters shards kernels ingest loader trainer | grep -E '\.(c|h)$' |
  xargs -r grep -nHE "(^|[^_A-Za-z0-9.>\"])$calls" | sed -E 's/$/   <- core only/' |
  grep -vE ':[0-9]+: *(/?\*|//)' | grep -vE 'allow-direct:' )
exit $bad
