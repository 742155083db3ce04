/* core/json_private.h: UTF-8 and numbers as the JSON files see them. */
#ifndef DEEM_CORE_JSON_PRIVATE_H
#define DEEM_CORE_JSON_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Length of the well-formed sequence at p (1 to 4), or minus the length of its maximal ill-formed
 * part (Unicode 15, 3.9). `end` > p. */
int utf8_length(const uint8_t *p, const uint8_t *end);
/* First byte of [p, end) that is not plain in a JSON string: a control byte, a quote, a backslash or
 * anything beyond ASCII; `end` where there is none. */
const uint8_t *json_plain_end(const uint8_t *p, const uint8_t *end);
/* NUL-terminated text of a number that follows the grammar, or NaN, Infinity, -Infinity. */
double json_number_value(const char *text, size_t size);
/* Integers as written, or integral floats up to 2^53 in size. */
bool json_number_int64(const char *text, size_t size, int64_t *out);
/* -? and 1 to 19 digits. */
bool json_decimal_int64(const char *text, size_t size, int64_t *out);

#endif
