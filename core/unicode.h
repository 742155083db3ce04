/* core/unicode.h: the little of Unicode that the text rules need: code points of valid UTF-8, the
 * white space set of spec data.md 3.3 (what Python's strip removes) and simple lower-casing. */
#ifndef DEEM_CORE_UNICODE_H
#define DEEM_CORE_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Decodes the code point at p[0..size), size >= 1, and returns its bytes (1..4). A byte that starts
 * no valid sequence gives U+FFFD and 1. */
size_t utf8_next(uint32_t *code, const char *p, size_t size);
/* Encodes into out[4] and returns the bytes. */
size_t utf8_put(char *out, uint32_t code);

/* U+0009-000D, 001C-0020, 0085, 00A0, 1680, 2000-200A, 2028, 2029, 202F, 205F, 3000. */
bool unicode_is_space(uint32_t code);
/* The range of p[0..size) without white space at both ends, as offset and size. */
void unicode_strip(const char *p, size_t *offset, size_t *size);
/* Unicode's simple one-to-one lower case. */
uint32_t unicode_lower(uint32_t code);

#endif
