/* core/ceiling.c: see ceiling.h. */
#include "core/ceiling.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "core/bytes.h"

/* Data pages of this process, from /proc/self/statm; 0 where that cannot be read. */
static uint64_t data_bytes(void)
{
    unsigned long long size, resident, shared, text, lib, data = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (!f)
        return 0;
    const int n =
        fscanf(f, "%llu %llu %llu %llu %llu %llu", &size, &resident, &shared, &text, &lib, &data);
    fclose(f);
    return n == 6 ? (uint64_t)data * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
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
        return error_set(err, ST_FAIL, CAUSE_IO, "memory ceiling: %s", strerror(errno));
    if (!mul_ok_u64(stack_bytes(), threads, &stacks) || !add_ok_u64(bytes, stacks, &sum) ||
        !add_ok_u64(sum, data_bytes(), &sum))
        return ST_OK; /* more than there can be */
    if (r.rlim_cur != RLIM_INFINITY && r.rlim_cur <= sum)
        return ST_OK;
    r.rlim_cur = sum;
    if (setrlimit(RLIMIT_DATA, &r) != 0)
        return error_set(err, ST_FAIL, CAUSE_IO, "memory ceiling of %" PRIu64 " bytes: %s", sum,
                         strerror(errno));
    return ST_OK;
}
