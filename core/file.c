/* core/file.c: descriptors, whole files, maps, locks and clocks of file.h. Each system call sits in
 * one place behind `fault()`, which tests arm with file_fail_at. */
#include "core/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "core/bytes.h"
#include "core/file_private.h"

static atomic_ullong calls;   /* system calls asked for */
static atomic_ullong fail_at; /* the call that fails; 0 = none */
static atomic_int fail_sys;
static atomic_bool fail_later;

uint64_t file_fail_at(uint64_t k, int sys, bool and_later)
{
    const uint64_t asked = atomic_exchange(&calls, 0);
    atomic_store(&fail_sys, sys);
    atomic_store(&fail_later, and_later);
    atomic_store(&fail_at, k);
    return asked;
}

bool file_fault(void)
{
    const uint64_t n = atomic_fetch_add(&calls, 1) + 1;
    const uint64_t k = atomic_load(&fail_at);
    if (k == 0 || !(n == k || (n > k && atomic_load(&fail_later))))
        return false;
    errno = atomic_load(&fail_sys);
    return true;
}

enum status file_error(struct error *err, enum cause cause, const char *path, const char *what)
{
    const int sys = errno;
    struct rlimit limit;
    if (sys == EMFILE || sys == ENFILE) {
        const bool known = getrlimit(RLIMIT_NOFILE, &limit) == 0;
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "%s: %s: too many open files, limit %" PRIu64,
                         path, what, known ? (uint64_t)limit.rlim_cur : 0);
    }
    if (sys == ENOMEM)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "%s: %s: out of memory", path, what);
    errno = sys;
    return error_set(err, ST_FAIL, cause, "%s: %s", path, what);
}

static int open_retry(const char *path, int flags, mode_t mode)
{
    bool stale = false;
    for (;;) {
        const int fd = file_fault() ? -1 : open(path, flags | O_CLOEXEC, mode);
        if (fd >= 0)
            return fd;
        if (errno == ESTALE && !stale)
            stale = true; /* a network file system lost its handle: once more */
        else if (errno != EINTR)
            return -1;
    }
}

static void fill_info(struct file_info *info, const struct stat *st)
{
    *info = (struct file_info){ .size = st->st_size < 0 ? 0 : (uint64_t)st->st_size,
                                .mtime_ns = (int64_t)st->st_mtim.tv_sec * 1000000000 +
                                            (int64_t)st->st_mtim.tv_nsec,
                                .inode = (uint64_t)st->st_ino,
                                .is_folder = S_ISDIR(st->st_mode),
                                .is_regular = S_ISREG(st->st_mode) };
}

enum status file_open_read(int *fd, const char *path, struct file_info *info, struct error *err)
{
    struct stat st;
    /* O_NONBLOCK: opening a FIFO must not wait for its writer before we can refuse it. */
    *fd = open_retry(path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
    if (*fd < 0)
        return file_error(err, CAUSE_IO, path, "open");
    if (file_fault() || fstat(*fd, &st) != 0) {
        file_error(err, CAUSE_IO, path, "stat");
        goto fail;
    }
    if (!S_ISREG(st.st_mode)) {
        error_set(err, ST_FAIL, CAUSE_FORMAT, "%s: not a regular file%s", path,
                  S_ISDIR(st.st_mode) ? " but a folder" : "");
        goto fail;
    }
    if (info)
        fill_info(info, &st);
    return ST_OK;
fail:
    file_close(fd, path, NULL);
    return ST_FAIL;
}

enum status file_open_write(int *fd, const char *path, struct error *err)
{
    *fd = open_retry(path, O_RDWR | O_CREAT | O_TRUNC, 0666);
    return *fd < 0 ? file_error(err, CAUSE_CREATE, path, "create") : ST_OK;
}

enum status file_open_append(int *fd, const char *path, struct error *err)
{
    *fd = open_retry(path, O_WRONLY | O_CREAT | O_APPEND, 0666);
    return *fd < 0 ? file_error(err, CAUSE_CREATE, path, "create") : ST_OK;
}

enum status file_read(int fd, const char *path, void *data, size_t size, size_t *got,
                      struct error *err)
{
    *got = 0;
    while (*got < size) {
        const ssize_t n = file_fault() ? -1 : read(fd, (uint8_t *)data + *got, size - *got);
        if (n == 0)
            break;
        if (n > 0)
            *got += (size_t)n;
        else if (errno != EINTR)
            return file_error(err, CAUSE_IO, path, "read");
    }
    return ST_OK;
}

enum status file_pread(int fd, const char *path, void *data, size_t size, uint64_t offset,
                       struct error *err)
{
    size_t got = 0;
    uint64_t end = 0;
    if (!add_ok_u64(offset, size, &end) || end > INT64_MAX)
        return error_set(err, ST_FAIL, CAUSE_FORMAT, "%s: read beyond any file at byte %" PRIu64,
                         path, offset);
    while (got < size) {
        const ssize_t n =
            file_fault() ? -1 : pread(fd, (uint8_t *)data + got, size - got, (off_t)(offset + got));
        if (n == 0)
            return error_set(err, ST_FAIL, CAUSE_FORMAT,
                             "%s: ends early: %zu bytes wanted at byte %" PRIu64 ", %zu there",
                             path, size, offset, got);
        if (n > 0)
            got += (size_t)n;
        else if (errno != EINTR)
            return file_error(err, CAUSE_IO, path, "read");
    }
    return ST_OK;
}

enum status file_write(int fd, const char *path, const void *data, size_t size, struct error *err)
{
    size_t done = 0;
    while (done < size) {
        const ssize_t n = file_fault() ? -1 : write(fd, (const uint8_t *)data + done, size - done);
        if (n > 0)
            done += (size_t)n;
        else if (n == 0 || errno != EINTR)
            return file_error(err, CAUSE_IO, path, "write");
    }
    return ST_OK;
}

enum status file_pwrite(int fd, const char *path, const void *data, size_t size, uint64_t offset,
                        struct error *err)
{
    size_t done = 0;
    uint64_t end = 0;
    if (!add_ok_u64(offset, size, &end) || end > INT64_MAX)
        return error_set(err, ST_FAIL, CAUSE_ARG, "%s: write at byte %" PRIu64, path, offset);
    while (done < size) {
        const ssize_t n = file_fault() ? -1
                                       : pwrite(fd, (const uint8_t *)data + done, size - done,
                                                (off_t)(offset + done));
        if (n > 0)
            done += (size_t)n;
        else if (n == 0 || errno != EINTR)
            return file_error(err, CAUSE_IO, path, "write");
    }
    return ST_OK;
}

enum status file_sync(int fd, const char *path, struct error *err)
{
    /* Never retried: after a failed fsync the pages may be marked clean. */
    return file_fault() || fsync(fd) != 0 ? file_error(err, CAUSE_IO, path, "sync") : ST_OK;
}

enum status file_close(int *fd, const char *path, struct error *err)
{
    if (*fd < 0)
        return ST_OK;
    const int closed = close(*fd); /* the descriptor is gone whatever close says */
    *fd = -1;
    if ((closed == 0 || errno == EINTR) && !file_fault())
        return ST_OK;
    return file_error(err, CAUSE_IO, path, "close");
}

enum status file_read_all(struct buffer *out, const char *path, uint64_t limit, struct error *err)
{
    struct file_info info;
    int fd = -1;
    size_t got = 0;
    buffer_init(out);
    enum status st = file_open_read(&fd, path, &info, err);
    if (st != ST_OK)
        return st;
    for (;;) {
        /* One byte more than the size says, to see the end; more where the file grows. */
        const uint64_t left = info.size > out->size ? info.size - out->size : 0;
        const size_t room = left < SIZE_MAX / 2 ? (size_t)left + 1 : SIZE_MAX / 2;
        if (limit != 0 && (info.size > limit || out->size > limit)) {
            st = error_set(err, ST_FAIL, CAUSE_LIMIT,
                           "%s: got %" PRIu64 " bytes, at most %" PRIu64 " allowed", path,
                           info.size > out->size ? info.size : out->size, limit);
            break;
        }
        st = buffer_reserve(out, room, err);
        if (st == ST_OK)
            st = file_read(fd, path, out->data + out->size, room, &got, err);
        if (st != ST_OK)
            break;
        out->size += got;
        if (got < room)
            break;
    }
    file_close(&fd, path, NULL);
    if (st != ST_OK)
        buffer_clear(out);
    return st;
}

enum status file_replace(const char *path, const void *data, size_t size, struct error *err)
{
    int fd = -1;
    char *tmp = str_format("%s.tmp", path);
    enum status st = ST_FAIL;
    if (!tmp) {
        error_set(err, st, CAUSE_NOMEM, "%s: replace: out of memory", path);
        goto done;
    }
    st = file_open_write(&fd, tmp, err);
    if (st != ST_OK)
        goto done;
    st = file_write(fd, tmp, data, size, err);
    if (st == ST_OK)
        st = file_sync(fd, tmp, err);
    const enum status closed = file_close(&fd, tmp, err);
    if (st == ST_OK)
        st = closed;
    if (st == ST_OK)
        st = file_rename(tmp, path, err);
    if (st != ST_OK)
        unlink(tmp);
done:
    mem_free(tmp);
    return st;
}

enum status file_rename(const char *from, const char *to, struct error *err)
{
    char *folder = path_folder(to); /* first: nothing but the sync may fail after the rename */
    enum status st = ST_FAIL;
    if (!folder)
        error_set(err, st, CAUSE_NOMEM, "%s: rename: out of memory", to);
    else if (file_fault() || rename(from, to) != 0)
        file_error(err, CAUSE_IO, to, "rename");
    else
        st = file_sync_folder(folder, err);
    mem_free(folder);
    return st;
}

enum status file_link(const char *from, const char *to, struct error *err)
{
    if (file_fault() || link(from, to) != 0)
        return file_error(err, CAUSE_IO, to, "link");
    return ST_OK;
}

enum status file_sync_folder(const char *path, struct error *err)
{
    int fd = open_retry(path, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0)
        return file_error(err, CAUSE_IO, path, "open folder");
    enum status st = ST_OK;
    /* EINVAL: a file system that cannot sync folders has nothing more to offer. */
    if (file_fault() || (fsync(fd) != 0 && errno != EINVAL))
        st = file_error(err, CAUSE_IO, path, "sync folder");
    file_close(&fd, path, NULL);
    return st;
}

enum status file_remove(const char *path, struct error *err)
{
    if ((file_fault() || unlink(path) != 0) && errno != ENOENT)
        return file_error(err, CAUSE_IO, path, "remove");
    return ST_OK;
}

enum status file_stat(const char *path, struct file_info *info, struct error *err)
{
    struct stat st;
    if (file_fault() || stat(path, &st) != 0) {
        if (errno == ENOENT || errno == ENOTDIR)
            return ST_END;
        return file_error(err, CAUSE_IO, path, "stat");
    }
    fill_info(info, &st);
    return ST_OK;
}

enum status file_stat_at(int folder, const char *path, const char *name, struct file_info *info,
                         bool *link, struct error *err)
{
    struct stat st;
    *link = false;
    *info = (struct file_info){ 0 };
    if (file_fault() || fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT ? ST_END : file_error(err, CAUSE_IO, path, "stat");
    if (S_ISLNK(st.st_mode)) {
        *link = true;
        if (file_fault() || fstatat(folder, name, &st, 0) != 0)
            return errno == ENOENT || errno == ELOOP || errno == ENOTDIR
                       ? ST_OK
                       : file_error(err, CAUSE_IO, path, "stat");
    }
    fill_info(info, &st);
    return ST_OK;
}

bool file_exists(const char *path)
{
    struct stat st;
    return !file_fault() && stat(path, &st) == 0;
}

enum status file_free_space(const char *path, uint64_t *bytes, struct error *err)
{
    struct statvfs v;
    if (file_fault() || statvfs(path, &v) != 0)
        return file_error(err, CAUSE_IO, path, "free space");
    if (!mul_ok_u64(v.f_bavail, v.f_frsize, bytes))
        *bytes = UINT64_MAX;
    return ST_OK;
}

enum status file_map_open(struct file_map *m, const char *path, struct error *err)
{
    struct file_info info;
    int fd = -1;
    *m = (struct file_map){ NULL, 0 };
    enum status st = file_open_read(&fd, path, &info, err);
    if (st != ST_OK || info.size == 0)
        goto done;
    if (info.size > SIZE_MAX / 2) {
        st = error_set(err, ST_FAIL, CAUSE_LIMIT, "%s: %" PRIu64 " bytes cannot be mapped", path,
                       info.size);
        goto done;
    }
    void *p =
        file_fault() ? MAP_FAILED : mmap(NULL, (size_t)info.size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED)
        st = file_error(err, CAUSE_IO, path, "map");
    else
        *m = (struct file_map){ p, (size_t)info.size };
done:
    file_close(&fd, path, NULL);
    return st;
}

void file_map_close(struct file_map *m)
{
    union {
        const uint8_t *read;
        void *any;
    } p = { m->data };
    if (m->data)
        munmap(p.any, m->size);
    *m = (struct file_map){ NULL, 0 };
}

/* Who holds the lock: first line of the file, "" where it cannot be read. */
static void lock_owner(int fd, char owner[200])
{
    const ssize_t n = pread(fd, owner, 199, 0);
    owner[n > 0 ? n : 0] = '\0';
    owner[strcspn(owner, "\n")] = '\0';
}

enum status file_lock(int *fd, const char *path, struct error *err)
{
    char owner[200], host[128] = "?";
    enum status st = ST_FAIL;
    *fd = open_retry(path, O_RDWR | O_CREAT, 0666);
    if (*fd < 0)
        return file_error(err, CAUSE_CREATE, path, "create");
    if (file_fault() || flock(*fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno == EWOULDBLOCK) {
            lock_owner(*fd, owner);
            error_set(err, st, CAUSE_LOCKED, "%s: another writer holds it (%s)", path, owner);
        } else {
            file_error(err, CAUSE_IO, path, "lock");
        }
        goto fail;
    }
    gethostname(host, sizeof host - 1);
    const int n = snprintf(owner, sizeof owner, "host %s pid %ld\n", host, (long)getpid());
    st = file_fault() || ftruncate(*fd, 0) != 0 ? file_error(err, CAUSE_IO, path, "truncate")
                                                : ST_OK;
    if (st == ST_OK)
        st = file_pwrite(*fd, path, owner, n > 0 ? (size_t)n : 0, 0, err);
    if (st == ST_OK)
        return st;
fail:
    file_unlock(fd);
    return st;
}

void file_unlock(int *fd)
{
    if (*fd >= 0)
        close(*fd); /* closing releases the lock */
    *fd = -1;
}

static double read_clock(clockid_t id)
{
    struct timespec t = { 0 };
    clock_gettime(id, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

double clock_thread_seconds(void)
{
    return read_clock(CLOCK_THREAD_CPUTIME_ID);
}

double clock_process_seconds(void)
{
    return read_clock(CLOCK_PROCESS_CPUTIME_ID);
}

double clock_seconds(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

int64_t clock_wall_ms(void)
{
    struct timespec t = { 0 };
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + (int64_t)t.tv_nsec / 1000000;
}

void clock_sleep_ms(unsigned ms)
{
    const struct timespec t = { ms / 1000, (long)(ms % 1000) * 1000000 };
    nanosleep(&t, NULL);
}
