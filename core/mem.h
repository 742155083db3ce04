/* core/mem.h: the one door to the heap. Every allocation of deem goes through here, so that tests
 * can make any of them fail; an account bounds what a part of the program may hold. Thread-safe. */
#ifndef DEEM_CORE_MEM_H
#define DEEM_CORE_MEM_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

#ifdef __cplusplus
extern "C" {
#endif

/* NULL when out of memory (or when a test says so), when n * size wraps, never for size 0. */
void *mem_alloc(size_t size);
void *mem_calloc(size_t n, size_t size);
/* Aligned to `align` (a power of two, at least 16); freed with mem_free. */
void *mem_alloc_aligned(size_t align, size_t size);
/* On failure NULL and `p` is still valid. */
void *mem_realloc(void *p, size_t n, size_t size);
void mem_free(void *p);
char *mem_strdup(const char *s);
/* Copies `size` bytes and appends a NUL. */
char *mem_strndup(const char *s, size_t size);
void *mem_dup(const void *p, size_t size);
/* printf into a fresh string; NULL when out of memory. */
char *str_format(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* From now on freed blocks of some MiB stay with the process and are handed out again, instead of going
 * back to the system: for work that takes such blocks, also inside libraries, over and over. Before there are threads. */
void mem_keep_freed(void);

/* Allocation number `k` from now on (1 = the next) fails, and with `and_later` all after it.
 * k = 0 switches it off. Returns how many allocations were asked for since the last call. */
uint64_t mem_fail_at(uint64_t k, bool and_later);

/* Arena: many small blocks with one lifetime. Blocks are aligned to 16. */
struct arena {
    struct arena_block *first;
    size_t used;  /* bytes handed out, over all blocks */
    size_t limit; /* bytes; 0 = none */
};
struct arena_mark {
    struct arena_block *block;
    size_t block_used;
    size_t used;
};
void arena_init(struct arena *a, size_t limit_bytes);
void *arena_alloc(struct arena *a, size_t n, size_t size); /* NULL: no memory, wrap or limit */
char *arena_strndup(struct arena *a, const char *s, size_t size);
struct arena_mark arena_mark(const struct arena *a);
void arena_release(struct arena *a, struct arena_mark m); /* back to the mark; memory is kept */
void arena_clear(struct arena *a);

/* Growable byte buffer. `data` is NULL while cap is 0. */
struct buffer {
    uint8_t *data;
    size_t size;
    size_t cap;
};
void buffer_init(struct buffer *b);
/* Room for `more` bytes past size. ST_FAIL: CAUSE_NOMEM, buffer unchanged. */
enum status buffer_reserve(struct buffer *b, size_t more, struct error *err);
enum status buffer_append(struct buffer *b, const void *data, size_t size, struct error *err);
enum status buffer_append_str(struct buffer *b, const char *s, struct error *err);
enum status buffer_printf(struct buffer *b, struct error *err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void buffer_clear(struct buffer *b); /* frees */

#ifdef __cplusplus
}
#endif
#endif
