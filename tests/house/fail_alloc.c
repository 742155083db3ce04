/* tests/house/fail_alloc.c: preloaded into the program, makes allocations inside libraries fail; those of the
 * program itself (core/mem) are left alone. Whose an allocation is, its return address says.
 *     FAIL_LIBRARY  beginning of the file name of a library: "libarchive"
 *     FAIL_AT       which of its allocations after start-up fails, from 1
 *     FAIL_REPORT   a file that gets "<file name> <allocations>" for each library at the end
 * glibc only: its allocator's other names stand behind. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *p, size_t size);

enum { LIBRARIES = 128 };
struct library {
    void *base;
    const char *name;
    unsigned long calls;
};
static struct library libraries[LIBRARIES];
static atomic_flag lock = ATOMIC_FLAG_INIT;
static atomic_bool armed;
static const char *target;
static unsigned long fail_at;

static struct library *library_of(const Dl_info *where)
{
    for (int i = 0; i < LIBRARIES; i++) {
        if (libraries[i].base == where->dli_fbase)
            return &libraries[i];
        if (!libraries[i].base) {
            const char *slash = strrchr(where->dli_fname, '/');
            libraries[i].base = where->dli_fbase;
            libraries[i].name = slash ? slash + 1 : where->dli_fname;
            return &libraries[i];
        }
    }
    return NULL;
}

static bool refused(const void *caller)
{
    Dl_info where;
    bool refuse = false;

    if (!atomic_load(&armed) || !dladdr(caller, &where) || !strstr(where.dli_fname, ".so"))
        return false;
    while (atomic_flag_test_and_set(&lock))
        ;
    struct library *l = library_of(&where);
    if (l) {
        l->calls++;
        refuse = target && l->calls == fail_at && strncmp(l->name, target, strlen(target)) == 0;
    }
    atomic_flag_clear(&lock);
    if (refuse)
        errno = ENOMEM;
    return refuse;
}

void *malloc(size_t size)
{
    return refused(__builtin_return_address(0)) ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    return refused(__builtin_return_address(0)) ? NULL : __libc_calloc(count, size);
}

void *realloc(void *p, size_t size)
{
    return refused(__builtin_return_address(0)) ? NULL : __libc_realloc(p, size);
}

/* The last constructor but the program's own: what libraries allocate to start with is not counted. */
__attribute__((constructor)) static void arm(void)
{
    const char *at = getenv("FAIL_AT");
    target = getenv("FAIL_LIBRARY");
    fail_at = at ? strtoul(at, NULL, 10) : 0;
    atomic_store(&armed, true);
}

__attribute__((destructor)) static void report(void)
{
    const char *path = getenv("FAIL_REPORT");
    const int fd = path ? open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666) : -1;

    atomic_store(&armed, false);
    for (int i = 0; fd >= 0 && i < LIBRARIES && libraries[i].base; i++)
        dprintf(fd, "%s %lu\n", libraries[i].name, libraries[i].calls);
    if (fd >= 0)
        close(fd);
}
