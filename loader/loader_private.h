/* loader/loader_private.h: the state that loader.c (delivery), loader_work.c (what workers do) and
 * loader_batch.c (tensors of a batch) share.
 *
 * Micro-batches of this rank are numbered n = 0, 1, ... A ring of slots holds those from `head` (next to
 * deliver) to `tail` (not begun). A slot goes EMPTY, READING (sequences by any worker), STORED, BINDING
 * (one worker lays out the batch), DECODING (pictures by any worker), READY. Workers take the most
 * urgent item: they look through the slots from the head on. Everything but the work itself happens
 * under `lock`. */
#ifndef DEEM_LOADER_LOADER_PRIVATE_H
#define DEEM_LOADER_LOADER_PRIVATE_H

#include <pthread.h>

#include "core/pool.h"
#include "loader/loader.h"
#include "loader/store.h"

enum { LOADER_HELD = 2 }; /* batches the consumer may hold */

enum loader_tensor {
    TENSOR_IDS,
    TENSOR_MASK,
    TENSOR_TARGETS,
    TENSOR_COUNTS,
    TENSOR_BOS,
    TENSOR_PROMPT,
    TENSOR_GIVEN,
    TENSOR_IMAGE,
    TENSOR_IMAGE_DEC,
    TENSOR_REGION,
    TENSOR_COUNT
};
/* Blocks of one batch's tensors; they only grow. */
struct loader_buffer {
    struct batch batch; /* points into the blocks */
    struct batch_row *rows;
    struct batch_image *images;
    size_t images_cap;
    void *blocks[TENSOR_COUNT]; /* of opt.batch_memory */
    size_t sizes[TENSOR_COUNT]; /* bytes */
    uint64_t bytes;             /* their sum */
    bool used;                  /* bound to a slot or held by the consumer */
    uint64_t slot_n;            /* of the batch in it */
};

enum slot_state { SLOT_EMPTY, SLOT_READING, SLOT_STORED, SLOT_BINDING, SLOT_DECODING, SLOT_READY };
enum row_state { ROW_WANTED, ROW_BUSY, ROW_DONE };

struct loader_row {
    struct plan_sample sample;
    struct store_sequence stored;
    uint64_t taken; /* sequence to read: sample.sequence, or its substitute */
    uint64_t tries; /* substitutions so far */
    enum row_state state;
    bool bad; /* a picture of it could not be decoded */
};
struct loader_slot {
    uint64_t n;
    enum slot_state state;
    struct loader_row *rows; /* [batch_micro] */
    struct loader_buffer *buffer;
    int64_t next_image; /* pictures from here on are not taken yet */
    unsigned in_work;   /* items of this slot that run now */
    bool failed;        /* `err` is what the consumer will get */
    struct error err;
    uint64_t bytes; /* stored data held */
};

struct loader {
    struct loader_options opt;
    struct plan *plan;
    struct store *store;
    struct label_ids ids;
    uint64_t share, begin; /* micro-batches of this rank in a step; the first of them */
    struct loader_source *sources;
    struct pool *pool;
    pthread_mutex_t lock;
    pthread_cond_t work; /* something to do */
    pthread_cond_t done; /* a slot or an item finished */
    unsigned made;       /* of the three above */
    bool closing, paused;
    unsigned in_work; /* items that run now */
    struct loader_slot *slots;
    size_t n_slots;
    struct loader_buffer *buffers;
    size_t n_buffers;
    uint64_t head, tail;
    unsigned held;
    uint64_t bytes, largest_stored; /* held now; most that one batch had */
    struct plan_sample *samples;    /* [batch_micro] workspace, under the lock */
    struct loader_stats stats;
};

/* One piece of work. */
enum item_kind { ITEM_NONE, ITEM_READ, ITEM_BIND, ITEM_DECODE };
struct loader_item {
    enum item_kind kind;
    struct loader_slot *slot;
    size_t row;    /* READ */
    int64_t image; /* DECODE */
};

/* loader_work.c. Under the lock: the next item, marked as taken; ITEM_NONE where none is allowed. */
struct loader_item loader_pick(struct loader *l);
/* Takes the lock, runs one item without it, books the result. */
void loader_run(struct loader *l, const struct loader_item *item);
/* Job of a worker: until the loader closes. */
pool_run_fn loader_worker;
/* Global number of this rank's micro-batch n. */
uint64_t loader_micro_batch(const struct loader *l, uint64_t n);
/* Under the lock: forgets everything of a slot. */
void loader_slot_reset(struct loader *l, struct loader_slot *s);

/* loader_batch.c. Lays out the batch of a slot whose rows are stored; without the lock. *grown: bytes
 * the buffer gained. */
enum status loader_bind(struct loader *l, struct loader_slot *s, struct loader_buffer *b,
                        struct error *err);
/* Decodes image `i` of the batch and every image of its row that shows the same picture. */
enum status loader_decode_image(struct loader *l, struct loader_slot *s, int64_t i,
                                struct decode_timing *timing, double *assemble_seconds,
                                struct error *err);
/* False where an earlier image of the row brings the tensors of image i along. */
bool loader_image_is_first(const struct loader_slot *s, int64_t i);
void loader_buffer_clear(struct loader *l, struct loader_buffer *b);

#endif
