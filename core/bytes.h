/* core/bytes.h: bounded cursor over untrusted bytes, little-endian get and put, checked sums and
 * products. Numbers that come from a file are added and multiplied by these helpers only. */
#ifndef DEEM_CORE_BYTES_H
#define DEEM_CORE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

static inline bool add_ok_u64(uint64_t a, uint64_t b, uint64_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}
static inline bool sub_ok_u64(uint64_t a, uint64_t b, uint64_t *out)
{
    return !__builtin_sub_overflow(a, b, out);
}
static inline bool mul_ok_u64(uint64_t a, uint64_t b, uint64_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}
static inline bool add_ok_size(size_t a, size_t b, size_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}
static inline bool mul_ok_size(size_t a, size_t b, size_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}
static inline bool add_ok_i64(int64_t a, int64_t b, int64_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}
static inline bool mul_ok_i64(int64_t a, int64_t b, int64_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}

static inline uint16_t load_u16le(const uint8_t *p)
{
    return (uint16_t)(p[0] | (uint16_t)(p[1] << 8));
}
static inline uint32_t load_u32le(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}
static inline uint64_t load_u64le(const uint8_t *p)
{
    return (uint64_t)load_u32le(p) | (uint64_t)load_u32le(p + 4) << 32;
}
static inline uint16_t load_u16be(const uint8_t *p)
{
    return (uint16_t)((uint16_t)(p[0] << 8) | p[1]);
}
static inline uint32_t load_u32be(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | (uint32_t)p[3];
}
static inline void store_u16le(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}
static inline void store_u32le(uint8_t *p, uint32_t v)
{
    store_u16le(p, (uint16_t)v);
    store_u16le(p + 2, (uint16_t)(v >> 16));
}
static inline void store_u64le(uint8_t *p, uint64_t v)
{
    store_u32le(p, (uint32_t)v);
    store_u32le(p + 4, (uint32_t)(v >> 32));
}

/* A window on bytes that are only read through the calls below. A failed call leaves the cursor
 * where it was and sets `failed`, so a run of reads can be checked once. */
struct cursor {
    const uint8_t *p, *end;
    uint64_t base; /* offset of the first byte in its file, for messages */
    const uint8_t *start;
    bool failed;
};
static inline struct cursor cursor_make(const void *data, size_t size, uint64_t base)
{
    const uint8_t *d = (const uint8_t *)data;
    struct cursor c = { d, d + size, base, d, false };
    return c;
}
static inline size_t cursor_left(const struct cursor *c)
{
    return (size_t)(c->end - c->p);
}
static inline uint64_t cursor_offset(const struct cursor *c)
{
    return c->base + (uint64_t)(c->p - c->start);
}
/* `size` bytes in place, or NULL. */
static inline const uint8_t *cursor_take(struct cursor *c, size_t size)
{
    const uint8_t *p = c->p;
    if (c->failed || size > cursor_left(c)) {
        c->failed = true;
        return NULL;
    }
    c->p += size;
    return p;
}
static inline bool get_u8(struct cursor *c, uint8_t *out)
{
    const uint8_t *p = cursor_take(c, 1);
    *out = p ? *p : 0;
    return p != NULL;
}
static inline bool get_u16le(struct cursor *c, uint16_t *out)
{
    const uint8_t *p = cursor_take(c, 2);
    *out = p ? load_u16le(p) : 0;
    return p != NULL;
}
static inline bool get_u32le(struct cursor *c, uint32_t *out)
{
    const uint8_t *p = cursor_take(c, 4);
    *out = p ? load_u32le(p) : 0;
    return p != NULL;
}
static inline bool get_u64le(struct cursor *c, uint64_t *out)
{
    const uint8_t *p = cursor_take(c, 8);
    *out = p ? load_u64le(p) : 0;
    return p != NULL;
}
/* Unsigned LEB128, at most 10 bytes. */
static inline bool get_varint(struct cursor *c, uint64_t *out)
{
    uint64_t v = 0;
    uint8_t b = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (!get_u8(c, &b))
            return false;
        if (shift == 63 && b > 1) {
            c->failed = true;
            return false;
        }
        v |= (uint64_t)(b & 0x7f) << shift;
        if (!(b & 0x80)) {
            *out = v;
            return true;
        }
    }
    c->failed = true;
    return false;
}
/* A cursor over the next `size` bytes; the parent moves past them. */
static inline bool cursor_sub(struct cursor *c, size_t size, struct cursor *out)
{
    const uint64_t base = cursor_offset(c);
    const uint8_t *p = cursor_take(c, size);
    *out = cursor_make(p ? p : c->end, p ? size : 0, base);
    return p != NULL;
}

#ifdef __cplusplus
}
#endif
#endif
