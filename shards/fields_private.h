/* shards/fields_private.h: members of JSON objects as typed values; a missing or wrong one is an error
 * that names it. */
#ifndef DEEM_SHARDS_FIELDS_PRIVATE_H
#define DEEM_SHARDS_FIELDS_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/json.h"
#include "core/mem.h"

/* All: ST_FAIL with CAUSE_FORMAT, "member NAME: ...". */
enum status field_u64(uint64_t *out, const struct json_value *object, const char *name,
                      struct error *err);
enum status field_u32(uint32_t *out, const struct json_value *object, const char *name,
                      struct error *err);
enum status field_u16(uint16_t *out, const struct json_value *object, const char *name,
                      struct error *err);
enum status field_bool(bool *out, const struct json_value *object, const char *name,
                       struct error *err);
/* Borrowed from the tree; has no NUL inside. */
enum status field_text(const char **out, const struct json_value *object, const char *name,
                       struct error *err);
enum status field_hex(uint8_t *out, size_t size, const struct json_value *object, const char *name,
                      struct error *err);
/* The member as an object or array of the tree. */
enum status field_value(const struct json_value **out, enum json_type type,
                        const struct json_value *object, const char *name, struct error *err);
/* A value written again as canonical JSON text, in `arena`. */
enum status field_rewrite(const char **out, struct arena *arena, const struct json_value *value,
                          struct error *err);
/* hash_hex of `size` bytes as a member. */
void field_write_hex(struct json_writer *w, const char *name, const uint8_t *bytes, size_t size);

#endif
