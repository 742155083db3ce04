/* core/file.h: the one door to the file system. Short transfers and EINTR are handled here; every
 * call can be made to fail by tests. Errors are CAUSE_IO with path and errno, CAUSE_NOMEM, or as
 * said. Thread-safe: no call keeps state outside its arguments. */
#ifndef DEEM_CORE_FILE_H
#define DEEM_CORE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/mem.h"

struct file_info {
    uint64_t size;
    int64_t mtime_ns;
    uint64_t inode;
    bool is_folder, is_regular;
};

/* Opens a regular file for reading; FIFOs, devices and folders are refused (CAUSE_FORMAT).
 * ST_OK: *fd is set and *info filled (info may be NULL). Close with file_close. */
enum status file_open_read(int *fd, const char *path, struct file_info *info, struct error *err);
/* Creates or truncates. ST_FAIL: CAUSE_CREATE. */
enum status file_open_write(int *fd, const char *path, struct error *err);
enum status file_open_append(int *fd, const char *path, struct error *err);
/* Reads up to `size` bytes at the file position; *got < size only at the end. */
enum status file_read(int fd, const char *path, void *data, size_t size, size_t *got,
                      struct error *err);
/* Reads exactly `size` bytes at `offset`; a short file is CAUSE_FORMAT "ends early". */
enum status file_pread(int fd, const char *path, void *data, size_t size, uint64_t offset,
                       struct error *err);
enum status file_write(int fd, const char *path, const void *data, size_t size, struct error *err);
enum status file_pwrite(int fd, const char *path, const void *data, size_t size, uint64_t offset,
                        struct error *err);
enum status file_sync(int fd, const char *path, struct error *err);
/* Sets *fd to -1. Reports a close error only if `err` holds none. NULL-safe for -1. */
enum status file_close(int *fd, const char *path, struct error *err);

/* Whole file into a fresh buffer. `limit` 0 = none; larger: CAUSE_LIMIT. */
enum status file_read_all(struct buffer *out, const char *path, uint64_t limit, struct error *err);
/* A reader of `path` sees the old file or all of the new one: temp beside it, fsync, rename,
 * fsync of the folder. */
enum status file_replace(const char *path, const void *data, size_t size, struct error *err);
/* rename + fsync of the target's folder. */
enum status file_rename(const char *from, const char *to, struct error *err);
/* A second name for the same file; both on one file system. */
enum status file_link(const char *from, const char *to, struct error *err);
enum status file_remove(const char *path, struct error *err); /* absent is ST_OK */
enum status file_remove_tree(const char *path, struct error *err);
enum status file_make_folder(const char *path, struct error *err); /* one level; there: ST_OK */
enum status file_make_folders(const char *path, struct error *err);
enum status file_sync_folder(const char *path, struct error *err);
/* ST_OK and *info, ST_END when nothing is there, ST_FAIL. Follows links. */
enum status file_stat(const char *path, struct file_info *info, struct error *err);
bool file_exists(const char *path);
enum status file_free_space(const char *path, uint64_t *bytes, struct error *err);

/* Read-only map of a whole file; size 0 gives data NULL. */
struct file_map {
    const uint8_t *data;
    size_t size;
};
enum status file_map_open(struct file_map *m, const char *path, struct error *err);
void file_map_close(struct file_map *m);

/* All regular files below `folder` (links to folders not followed), ordered by the bytes of their
 * path relative to it. `fn` gets relative path and info; a status other than ST_OK ends the walk
 * and is returned. A `folder` that is a file gives one call with its base name. */
typedef enum status file_walk_fn(void *arg, const char *relative, const struct file_info *info,
                                 struct error *err);
enum status file_walk(const char *folder, file_walk_fn *fn, void *arg, struct error *err);
/* The entries of one folder in the order of the file system, without . and ..; links are followed for
 * `info` (zeros where they dangle). Holds one name at a time. Ends as file_walk does. */
typedef enum status file_each_fn(void *arg, const char *name, const struct file_info *info,
                                 bool link, struct error *err);
enum status file_each(const char *folder, file_each_fn *fn, void *arg, struct error *err);
/* Names in one folder, sorted by bytes, without . and ..; free each and the array. */
enum status file_list(const char *folder, char ***names, size_t *count, struct error *err);
void file_list_free(char ***names, size_t count);

/* Advisory lock on `path` (created); ST_FAIL CAUSE_LOCKED when another process holds it; the text
 * names host and pid from the file. Released by file_unlock or process end. */
enum status file_lock(int *fd, const char *path, struct error *err);
void file_unlock(int *fd);

/* Last component; the part before it ("." when none) as a fresh string. */
const char *path_base(const char *path);
char *path_folder(const char *path);
char *path_join(const char *a, const char *b);

/* Tests: system call number `k` from now on (1 = next) made through this file fails with `sys`. */
uint64_t file_fail_at(uint64_t k, int sys, bool and_later);

/* Clock: monotonic seconds for intervals, wall clock for logs only. */
double clock_seconds(void);
double clock_thread_seconds(void);  /* that the calling thread has run */
double clock_process_seconds(void); /* that all threads have run */
int64_t clock_wall_ms(void);
void clock_sleep_ms(unsigned ms);

#endif
