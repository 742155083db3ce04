/* core/ceiling.c: see ceiling.h. */
#include "core/ceiling.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "core/bytes.h"

/* Data pages of this process, from /proc/self/statm; 0 where that cannot be read. */
static uint64_t data_bytes(void)
{
    char line[256];
    FILE *f = fopen("/proc/self/statm", "re");
    if (!f)
        return 0;
    char *at = fgets(line, sizeof line, f);
    fclose(f);
    for (int field = 0; at && field < 5; field++) { /* size resident shared text lib data */
        at = strchr(at, ' ');
        at = at ? at + 1 : NULL;
    }
    return at ? (uint64_t)strtoull(at, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

/* glibc gives a thread as much stack as RLIMIT_STACK says, and 8 MiB where that is no limit. */
static uint64_t stack_bytes(void)
{
    struct rlimit r;
    const uint64_t usual = UINT64_C(8) << 20;
    if (getrlimit(RLIMIT_STACK, &r) != 0 || r.rlim_cur == RLIM_INFINITY)
        return usual;
    return r.rlim_cur;
}

enum status memory_ceiling(uint64_t bytes, unsigned threads, struct error *err)
{
    struct rlimit r;
    uint64_t stacks = 0, sum = 0;

    if (getrlimit(RLIMIT_DATA, &r) != 0)
        return error_set(err, ST_FAIL, CAUSE_IO, "memory ceiling");
    if (!mul_ok_u64(stack_bytes(), threads, &stacks) || !add_ok_u64(bytes, stacks, &sum) ||
        !add_ok_u64(sum, data_bytes(), &sum))
        return ST_OK; /* more than there can be */
    if (r.rlim_cur != RLIM_INFINITY && r.rlim_cur <= sum)
        return ST_OK;
    r.rlim_cur = sum;
    if (setrlimit(RLIMIT_DATA, &r) != 0)
        return error_set(err, ST_FAIL, CAUSE_IO, "memory ceiling of %" PRIu64 " bytes", sum);
    return ST_OK;
}
