/* ingest/masks/mask_template.h: the wording of mask-text instructions, from recipes/templates/mask_text.json,
 * which users may change. */
#ifndef DEEM_INGEST_MASKS_MASK_TEMPLATE_H
#define DEEM_INGEST_MASKS_MASK_TEMPLATE_H

#include "core/json.h"

enum mask_style {
    MASK_INLINE, /* a region stands where it is first mentioned */
    MASK_LIST,   /* all regions are listed before the first turn */
};
struct mask_template {
    enum mask_style style;
    const char *preamble; /* "" where none */
    const char *limit;    /* behind a question; "" where none */
    const char *answer;   /* "{label}" */
    /* lists of texts, or NULL */
    const struct json_value *question, *description, *list_prefix, *why;
};
struct mask_templates {
    struct arena arena;
    struct json_value *root;
    uint8_t digest[32]; /* SHA-256 of the file */
};
/* `path` NULL: the file that came with the program. ST_FAIL: CAUSE_IO, CAUSE_FORMAT, CAUSE_NOMEM. */
enum status mask_templates_open(struct mask_templates *t, const char *path, struct error *err);
void mask_templates_close(struct mask_templates *t);
/* Of a set; `fallback` "other" where the set has none. ST_FAIL: CAUSE_FORMAT. */
enum status mask_templates_get(const struct mask_templates *t, const char *set,
                               struct mask_template *out, struct error *err);

/* Text i of a list. */
const char *mask_template_text(const struct json_value *list, uint64_t i);
/* Appends `text` with each {name} of names[] replaced by values[]; names end with NULL. */
enum status mask_template_fill(struct buffer *out, const char *text, const char *const *names,
                               const char *const *values, struct error *err);

#endif
