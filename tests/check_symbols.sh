#!/usr/bin/env bash
# No two libraries of the project define the same function: they meet in one program. And core is the one door to
# the outside: no other library calls libc for memory, files, clocks, threads or the process; printing is the
# program's (cli). check_symbols.sh BUILD-FOLDER
set -uo pipefail
cd "$1"
bad=0
twice=$(find core filters shards kernels ingest loader trainer cli -name 'libdeem_*.a' | while read -r library; do
  nm -A --defined-only --extern-only "$library" 2> /dev/null | awk '{ print $NF }'
done | sort | uniq -d)
[ -z "$twice" ] || { echo "defined twice: $twice"; bad=1; }

memory='malloc|calloc|realloc|reallocarray|free|aligned_alloc|posix_memalign|strn?dup|v?asprintf|getline'
files='f?open(at)?|fdopen|creat|f?close|p?(read|write)v?|lseek|f(data)?sync|f?truncate|rename(at)?|unlink(at)?|remove|link|symlink|mkdir|rmdir|mkstemp|mkdtemp|tmpfile|opendir|readdir|closedir|[fl]?stat|fstatat|access|realpath|readlink|getcwd|chdir|mmap|munmap|madvise|flock|fcntl|memfd_create'
clocks='time|gettimeofday|clock_gettime|clock|nanosleep|u?sleep'
process='fork|exec[lv]p?e?|system|popen|posix_spawnp?|exit|_exit|abort|signal|sigaction|setlocale|setenv|dlopen|pthread_create|rand|random'
print='printf|puts|putchar|fputs|fputc|v?fprintf|fwrite|fread|fflush|fgets|perror'
allowed='dist_supervise.c.o: fork' # a rank and who watches it: all of that file is processes and signals
for folder in filters shards kernels ingest loader trainer cli; do
  doors="$memory|$files|$clocks|$process|$print"
  [ "$folder" != cli ] || doors="$memory|$files|$clocks|$process"
  while read -r library; do
    hits=$(nm -A --undefined-only "$library" 2> /dev/null | awk '{ sub(/@.*/, "", $NF); print $1, $NF }' |
      sed -E 's/(__)?([a-z_]+)(64)?(_chk)?$/\2/' | grep -E " ($doors)$" | grep -vF "$allowed")
    [ -z "$hits" ] || { echo "$hits  <- core only"; bad=1; }
  done < <(find "$folder" -name 'libdeem_*.a')
done
exit $bad
