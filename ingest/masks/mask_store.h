/* ingest/masks/mask_store.h: where the readers of all mask sets put what they find. A reader declares
 * instances (a picture, or a picture with one expression or question) and adds regions to them; the
 * store turns segmentations into masks on a pool, applies the export filters of spec data.md 7.4,
 * counts every record, and keeps the masks in a spill file, so that memory grows with the number of
 * records only (128 bytes a region) and not with their polygons. What it holds depends on the order
 * of the calls, never on the number of workers. Calls come from one thread. */
#ifndef DEEM_INGEST_MASKS_MASK_STORE_H
#define DEEM_INGEST_MASKS_MASK_STORE_H

#include "core/hash.h"
#include "ingest/masks/segmentation.h"

struct mask_options {
    uint64_t min_area;     /* pixels; default 16 */
    uint32_t nearest_side; /* pixels; a mask that is empty after this resize is left out; 448 */
    bool keep_crowds;      /* default false */
    unsigned jobs;         /* workers; 0 = none but the caller */
    uint64_t tolerance;    /* damaged records in 10,000; default 100 */
};
void mask_options_init(struct mask_options *opt);

/* For messages and quarantine rows. Strings are borrowed for the call. */
struct mask_origin {
    const char *path;   /* of the input file */
    const char *member; /* NULL where none */
    uint64_t record;    /* number in its list, or line, from 0 */
    uint64_t offset;    /* of its first byte in the file */
    uint64_t length;    /* bytes; 0 = not known, the row then has no hash */
};

struct mask_instance {
    int64_t image_id;      /* unique over the set */
    const char *key;       /* id in draws and in the conversation file */
    const char *file_name; /* as the COCO-shaped product has it */
    const char *caption;   /* expression of the image row; NULL where none */
    const char *location;  /* path to look the picture up by; NULL = file_name */
    const char *turns;     /* prepared texts (VCR, see vcr.h); NULL where none */
    int64_t original_id;   /* picture's id in COCO, else -1 */
    uint32_t h, w;         /* pixels */
};
struct mask_region {
    uint32_t instance; /* index from mask_store_instance */
    int64_t id;        /* of the annotation */
    int64_t
        original_id; /* of the annotation this one was made from, else -1; VCR: place in turns */
    int64_t category;
    uint64_t match; /* a hash another reader looks it up by; 0 where unused */
    bool crowd;
    const char *caption; /* NULL where the label is the category */
};

/* A stored region; its texts lie in the spill file. */
struct mask_entry {
    uint64_t offset; /* of the RLE string in the spill file, its caption follows */
    int64_t id, original_id;
    int64_t category;
    uint64_t match;
    uint64_t hash; /* XXH3-64 of caption and string */
    uint32_t instance;
    uint32_t rle_size, caption_size; /* bytes */
    bool crowd, dropped;
    struct mask_origin at; /* strings belong to the store */
};

struct mask_category {
    int64_t id;
    const char *name, *supercategory; /* supercategory may be NULL */
};

enum mask_verdict { MASK_FILTERED, MASK_QUARANTINED };
enum { MASK_REASONS_MAX = 64 };
struct mask_count {
    char name[32];
    uint64_t n;
};
struct mask_counts {
    uint64_t seen, stored;
    uint64_t bad_images; /* rows of pictures that are damaged; no part of seen */
    struct mask_count filtered[MASK_REASONS_MAX], quarantined[MASK_REASONS_MAX];
    size_t n_filtered, n_quarantined;
};
void mask_count_add(struct mask_count *list, size_t *n, const char *name);

struct mask_store; /* opaque */
/* `spill` is created and removed again by close. */
enum status mask_store_open(struct mask_store **out, const char *spill,
                            const struct mask_options *opt, struct error *err);
void mask_store_close(struct mask_store **s);

/* ST_SKIP: the image id is there already (quarantine it). */
enum status mask_store_instance(struct mask_store *s, const struct mask_instance *in,
                                uint32_t *index, struct error *err);
bool mask_store_find(const struct mask_store *s, int64_t image_id, uint32_t *index);
enum status mask_store_category(struct mask_store *s, int64_t id, const char *name,
                                const char *supercategory, struct error *err);
/* Takes the content of *seg (left reset). Counts one record as seen. ST_FAIL: CAUSE_FORMAT beyond the
 * tolerance, CAUSE_IO, CAUSE_NOMEM. */
enum status mask_store_region(struct mask_store *s, const struct mask_region *r,
                              struct segmentation *seg, const struct mask_origin *at,
                              struct error *err);
/* A record that never becomes a region: counted as seen and under its reason. A quarantined one gets
 * a row from `why` (code, text), which is cleared. */
enum status mask_store_filter(struct mask_store *s, const char *reason, struct error *err);
enum status mask_store_quarantine(struct mask_store *s, const struct mask_origin *at,
                                  struct error *why, struct error *err);
/* A row for a damaged picture; its regions will find no picture and be counted then. */
enum status mask_store_bad_image(struct mask_store *s, const struct mask_origin *at,
                                 struct error *why, struct error *err);
/* All regions are in: masks are made, equal masks with one label merged ("duplicate"), ids that occur
 * again and categories that do not exist quarantined. */
enum status mask_store_finish(struct mask_store *s, struct error *err);

size_t mask_store_instances(const struct mask_store *s);
const struct mask_instance *mask_store_instance_at(const struct mask_store *s, size_t i);
size_t mask_store_entries(const struct mask_store *s);
/* Entries by instance, then input order, are entry[order[i]]; first[k] .. first[k + 1] are those of
 * instance k. Dropped ones are among them. After mask_store_finish. */
const struct mask_entry *mask_store_entry_at(const struct mask_store *s, size_t i);
void mask_store_drop(struct mask_store *s, size_t entry, const char *reason);
const uint32_t *mask_store_first(const struct mask_store *s);
const uint32_t *mask_store_order(const struct mask_store *s);
size_t mask_store_categories(const struct mask_store *s);
const struct mask_category *mask_store_category_at(const struct mask_store *s, size_t i);
const struct mask_category *mask_store_category_of(const struct mask_store *s, int64_t id);
/* RLE string and caption of an entry, replacing what is in `rle` and `caption` (NUL-terminated). */
enum status mask_store_read(struct mask_store *s, size_t entry, struct buffer *rle,
                            struct buffer *caption, struct error *err);
const struct mask_counts *mask_store_counts(const struct mask_store *s);
const struct buffer *mask_store_quarantine_rows(const struct mask_store *s);

#endif
