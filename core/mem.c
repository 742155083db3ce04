/* core/mem.c: see mem.h. Blocks come from malloc; what this file adds is checked products, one place
 * where tests inject failures, and arenas. */
#include "core/mem.h"

#include <malloc.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"

enum { ARENA_BLOCK = 64 * 1024, ARENA_ALIGN = 16, KEPT_BLOCK = 8 << 20 };

static atomic_ullong calls;   /* allocations asked for */
static atomic_ullong fail_at; /* the call that fails; 0 = none */
static atomic_bool fail_later;

uint64_t mem_fail_at(uint64_t k, bool and_later)
{
    const uint64_t asked = atomic_exchange(&calls, 0);
    atomic_store(&fail_later, and_later);
    atomic_store(&fail_at, k);
    return asked;
}

static bool refused(void)
{
    const uint64_t n = atomic_fetch_add(&calls, 1) + 1;
    const uint64_t k = atomic_load(&fail_at);
    return k != 0 && (n == k || (n > k && atomic_load(&fail_later)));
}

void mem_keep_freed(void)
{
    /* one thread yet, as mem.h asks */
    mallopt(M_MMAP_THRESHOLD, KEPT_BLOCK);     /* NOLINT(concurrency-mt-unsafe) */
    mallopt(M_TRIM_THRESHOLD, 2 * KEPT_BLOCK); /* NOLINT(concurrency-mt-unsafe) */
}

void *mem_alloc(size_t size)
{
    return size == 0 || refused() ? NULL : malloc(size);
}

void *mem_calloc(size_t n, size_t size)
{
    return n == 0 || size == 0 || refused() ? NULL : calloc(n, size);
}

void *mem_alloc_aligned(size_t align, size_t size)
{
    size_t rounded = 0;
    if (size == 0 || !add_ok_size(size, align - 1, &rounded) || refused())
        return NULL;
    return aligned_alloc(align, rounded / align * align);
}

void *mem_realloc(void *p, size_t n, size_t size)
{
    size_t bytes = 0;
    if (!mul_ok_size(n, size, &bytes) || bytes == 0 || refused())
        return NULL;
    return realloc(p, bytes);
}

void mem_free(void *p)
{
    free(p);
}

void *mem_dup(const void *p, size_t size)
{
    void *copy = mem_alloc(size);
    if (copy)
        memcpy(copy, p, size);
    return copy;
}

char *mem_strndup(const char *s, size_t size)
{
    size_t bytes = 0;
    char *copy = add_ok_size(size, 1, &bytes) ? mem_alloc(bytes) : NULL;
    if (copy) {
        if (size > 0)
            memcpy(copy, s, size);
        copy[size] = '\0';
    }
    return copy;
}

char *mem_strdup(const char *s)
{
    return mem_strndup(s, strlen(s));
}

char *str_format(const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    const int n = vsnprintf(NULL, 0, fmt, ap);
    char *s = n < 0 ? NULL : mem_alloc((size_t)n + 1);
    if (s)
        vsnprintf(s, (size_t)n + 1, fmt, again);
    va_end(again);
    va_end(ap);
    return s;
}

struct arena_block {
    struct arena_block *next; /* older block */
    size_t cap, used;
    _Alignas(ARENA_ALIGN) uint8_t data[];
};

void arena_init(struct arena *a, size_t limit_bytes)
{
    *a = (struct arena){ .limit = limit_bytes };
}

void *arena_alloc(struct arena *a, size_t n, size_t size)
{
    size_t bytes = 0, total = 0, whole = 0;
    if (!mul_ok_size(n, size, &bytes) || !add_ok_size(bytes, ARENA_ALIGN - 1, &bytes))
        return NULL;
    bytes = bytes / ARENA_ALIGN * ARENA_ALIGN;
    if (!add_ok_size(a->used, bytes, &total) || (a->limit && total > a->limit))
        return NULL;
    if (!a->first || bytes > a->first->cap - a->first->used) {
        const size_t cap = bytes > ARENA_BLOCK ? bytes : ARENA_BLOCK;
        struct arena_block *b =
            add_ok_size(sizeof *b, cap, &whole) ? mem_alloc_aligned(ARENA_ALIGN, whole) : NULL;
        if (!b)
            return NULL;
        *b = (struct arena_block){ .next = a->first, .cap = cap };
        a->first = b;
    }
    void *p = a->first->data + a->first->used;
    a->first->used += bytes;
    a->used = total;
    return p;
}

char *arena_strndup(struct arena *a, const char *s, size_t size)
{
    size_t bytes = 0;
    char *copy = add_ok_size(size, 1, &bytes) ? arena_alloc(a, bytes, 1) : NULL;
    if (copy) {
        if (size > 0)
            memcpy(copy, s, size);
        copy[size] = '\0';
    }
    return copy;
}

struct arena_mark arena_mark(const struct arena *a)
{
    return (struct arena_mark){ a->first, a->first ? a->first->used : 0, a->used };
}

void arena_release(struct arena *a, struct arena_mark m)
{
    while (a->first != m.block) {
        struct arena_block *b = a->first;
        a->first = b->next;
        mem_free(b);
    }
    if (a->first)
        a->first->used = m.block_used;
    a->used = m.used;
}

void arena_clear(struct arena *a)
{
    arena_release(a, (struct arena_mark){ 0 });
}

void buffer_init(struct buffer *b)
{
    *b = (struct buffer){ 0 };
}

enum status buffer_reserve(struct buffer *b, size_t more, struct error *err)
{
    size_t need = 0;
    if (!add_ok_size(b->size, more, &need))
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: buffer size wraps");
    if (need <= b->cap)
        return ST_OK;
    size_t cap = b->cap > SIZE_MAX / 2 ? need : 2 * b->cap;
    cap = cap < need ? need : cap;
    cap = cap < 64 ? 64 : cap;
    uint8_t *data = mem_realloc(b->data, cap, 1);
    if (!data)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: buffer of %zu bytes", cap);
    b->data = data;
    b->cap = cap;
    return ST_OK;
}

enum status buffer_append(struct buffer *b, const void *data, size_t size, struct error *err)
{
    if (size == 0)
        return ST_OK;
    if (buffer_reserve(b, size, err) != ST_OK)
        return ST_FAIL;
    memcpy(b->data + b->size, data, size);
    b->size += size;
    return ST_OK;
}

enum status buffer_append_str(struct buffer *b, const char *s, struct error *err)
{
    return buffer_append(b, s, strlen(s), err);
}

enum status buffer_printf(struct buffer *b, struct error *err, const char *fmt, ...)
{
    va_list ap, again;
    enum status st = ST_FAIL;
    va_start(ap, fmt);
    va_copy(again, ap);
    const int n = vsnprintf(NULL, 0, fmt, ap);
    if (n < 0)
        error_set(err, ST_FAIL, CAUSE_INTERNAL, "bad format string");
    else
        st = buffer_reserve(b, (size_t)n + 1, err);
    if (st == ST_OK) {
        vsnprintf((char *)b->data + b->size, (size_t)n + 1, fmt, again);
        b->size += (size_t)n;
    }
    va_end(again);
    va_end(ap);
    return st;
}

void buffer_clear(struct buffer *b)
{
    mem_free(b->data);
    buffer_init(b);
}
