/* cli/inspect.h: one packed sequence on its way to a person or a script: the item that every view of
 * `deem inspect` gets, and the views. */
#ifndef DEEM_CLI_INSPECT_H
#define DEEM_CLI_INSPECT_H

#include <stdbool.h>
#include <stdint.h>

#include "core/error.h"
#include "core/mem.h"
#include "loader/batch.h"
#include "shards/dataset.h"
#include "shards/pieces.h"
#include "shards/sample.h"
#include "shards/shard_reader.h"

/* Borrowed for the time of a call. */
struct inspect_item {
    uint64_t sequence; /* in the dataset */
    uint32_t shard;
    uint64_t index; /* in the shard */
    struct shard_reader *reader;
    const struct sample *sample;
    const struct pieces *pieces; /* NULL: the shard has no table */
    bool planned;                /* all below is set: a row of a training step */
    bool substituted;            /* for a damaged one, by loader.damaged = skip */
    uint64_t micro_batch, rank, epoch;
    const char *dataset;       /* its folder */
    const char *source;        /* name in the recipe */
    const struct batch *batch; /* that holds the row as the trainer gets it; NULL: not made */
    int64_t row;               /* in the batch */
};
typedef enum status inspect_fn(void *arg, const struct inspect_item *item, struct error *err);

/* Sequences [begin, end) of a dataset, in order. */
enum status inspect_each(const struct dataset *d, uint64_t begin, uint64_t end, inspect_fn *fn,
                         void *arg, struct error *err);

/* One line of the contract (design.md 8), with its newline. Appends. */
enum status inspect_json(struct buffer *out, const struct inspect_item *item, struct error *err);

/* Where a token's text begins and what trains on it: for the two views below. */
bool inspect_is_bos(const struct inspect_item *item, size_t position);
/* token_count bytes, 1 = a trained target by the rules of data.md 4.2 and the stored mask. Appends. */
enum status inspect_targets(struct buffer *out, const struct inspect_item *item, struct error *err);

/* Terminal: appends the whole view of an item. `columns` 0: no pictures. */
struct term_picture;
enum status inspect_text(struct buffer *out, const struct inspect_item *item,
                         struct term_picture *pictures, struct error *err);

/* HTML: head, one section an item, tail. */
enum status inspect_html_head(struct buffer *out, const struct dataset *d, uint64_t begin,
                              uint64_t end, struct error *err);
enum status inspect_html_item(struct buffer *out, const struct inspect_item *item,
                              struct error *err);
/* Instead of the head of a dataset: that of a step. */
struct inspect_step;
enum status inspect_html_step(struct buffer *out, const struct inspect_step *which,
                              struct error *err);
/* The pictures of one slot as the trainer gets them, both sides, with the region's mask. */
enum status inspect_tensors_html(struct buffer *out, const struct inspect_item *item, size_t image,
                                 struct error *err);
enum status inspect_html_tail(struct buffer *out, struct error *err);

/* The rows of training step `step` of a recipe, in plan order: all, or those of `rank` (-1: all) of
 * `world`. Every record and stored picture is read, so damage is met as training would meet it. */
struct inspect_step {
    const char *recipe;
    const char *const *assignments;
    size_t assignment_count;
    uint64_t step;
    uint64_t world;
    int64_t rank;
    bool pixels; /* items come with their batch */
};
enum status inspect_step_each(const struct inspect_step *which, inspect_fn *fn, void *arg,
                              struct error *err);

#endif
