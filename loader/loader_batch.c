/* loader/loader_batch.c: a micro-batch from stored sequences: shapes, ids, labels, masks, pictures. Runs
 * on workers; a buffer belongs to one slot at a time, and each picture to one worker. */
#include <string.h>

#include "core/bytes.h"
#include "core/file.h"
#include "core/mem.h"
#include "core/rle.h"
#include "core/rng.h"
#include "loader/loader_private.h"

static int64_t round_up(int64_t n, int64_t multiple)
{
    return multiple > 1 ? (n + multiple - 1) / multiple * multiple : n;
}

void loader_buffer_clear(struct loader *l, struct loader_buffer *b)
{
    for (size_t i = 0; i < TENSOR_COUNT; i++)
        if (b->sizes[i] > 0)
            l->opt.batch_memory.free(l->opt.batch_memory.arg, b->blocks[i], b->sizes[i]);
    mem_free(b->rows);
    mem_free(b->images);
    *b = (struct loader_buffer){ 0 };
}

/* A block of at least a x b x c x d bytes, or NULL where that is 0. */
static enum status fit(void **out, struct loader *l, struct loader_buffer *buffer,
                       enum loader_tensor i, const int64_t dims[4], struct error *err)
{
    size_t bytes = 1;

    *out = NULL;
    for (size_t k = 0; k < 4; k++)
        if (!mul_ok_size(bytes, (size_t)dims[k], &bytes))
            return error_set(err, ST_FAIL, CAUSE_NOMEM, "batch tensor too large");
    if (bytes > buffer->sizes[i]) {
        if (buffer->sizes[i] > 0)
            l->opt.batch_memory.free(l->opt.batch_memory.arg, buffer->blocks[i], buffer->sizes[i]);
        buffer->bytes -= buffer->sizes[i];
        buffer->sizes[i] = 0;
        buffer->blocks[i] = l->opt.batch_memory.alloc(l->opt.batch_memory.arg, bytes);
        if (!buffer->blocks[i])
            return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: batch tensor of %zu bytes",
                             bytes);
        buffer->sizes[i] = bytes;
        buffer->bytes += bytes;
    }
    *out = bytes > 0 ? buffer->blocks[i] : NULL;
    return ST_OK;
}

/* ---- layout ---- */

/* Sizes of the batch from its rows. *given: some row brings its own targets; *region: masks. */
static void measure(struct batch *b, const struct loader *l, const struct loader_slot *s,
                    bool *given, bool *region)
{
    int64_t longest = 0;

    *given = false;
    *region = false;
    b->B = (int64_t)l->opt.batch_micro;
    b->I = 0;
    for (int64_t r = 0; r < b->B; r++) {
        const struct sample *sample = &s->rows[r].stored.sample;
        const int64_t n = (int64_t)sample->token_count;
        longest = n > longest ? n : longest;
        b->I += (int64_t)sample->image_count;
        *given = *given || sample->loss;
        for (size_t k = 0; k < sample->image_count; k++)
            *region = *region || (l->opt.masks && sample->images[k].mask.h > 0);
    }
    b->L = round_up(longest, l->opt.length_multiple);
    b->I_padded = round_up(b->I, l->opt.image_multiple);
    b->R = l->opt.decode.side_a;
    b->Rd = l->opt.decode.side_b;
}

static enum status fit_images(struct loader_buffer *b, size_t n, struct error *err)
{
    if (n <= b->images_cap)
        return ST_OK;
    mem_free(b->images);
    b->images_cap = 0;
    b->images = mem_calloc(n, sizeof *b->images);
    if (!b->images)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: pictures of a batch");
    b->images_cap = n;
    return ST_OK;
}

static enum status fit_all(struct loader *l, struct loader_buffer *buffer, bool given, bool region,
                           struct error *err)
{
    struct batch *b = &buffer->batch;
    const int64_t i4 = sizeof(int32_t), none = 0;
    const int64_t dims[TENSOR_COUNT][4] = {
        [TENSOR_IDS] = { i4, b->B, b->L, 1 },
        [TENSOR_MASK] = { i4, b->B, b->L, 1 },
        [TENSOR_TARGETS] = { i4, b->B, b->L > 0 ? b->L - 1 : 0, 1 },
        [TENSOR_COUNTS] = { i4, b->B, 1, 1 },
        [TENSOR_BOS] = { i4, b->I_padded, 1, 1 },
        [TENSOR_PROMPT] = { i4, b->B, 1, 1 },
        [TENSOR_GIVEN] = { given ? i4 : none, b->B, b->L, 1 },
        [TENSOR_IMAGE] = { b->I_padded, 3, b->R, b->R },
        [TENSOR_IMAGE_DEC] = { b->I_padded, 3, b->Rd, b->Rd },
        [TENSOR_REGION] = { region ? b->I_padded : none, b->R, b->R, 1 },
    };
    void *p[TENSOR_COUNT] = { 0 };

    for (size_t i = 0; i < TENSOR_COUNT; i++)
        if (fit(&p[i], l, buffer, (enum loader_tensor)i, dims[i], err) != ST_OK)
            return ST_FAIL;
    b->text_ids = p[TENSOR_IDS];
    b->attention_mask = p[TENSOR_MASK];
    b->targets = p[TENSOR_TARGETS];
    b->num_image_per_seq = p[TENSOR_COUNTS];
    b->nearest_bos_idxs = p[TENSOR_BOS];
    b->prompt_offset = p[TENSOR_PROMPT];
    b->gt_text_ids = p[TENSOR_GIVEN];
    b->image = p[TENSOR_IMAGE];
    b->image_dec = p[TENSOR_IMAGE_DEC];
    b->mask = p[TENSOR_REGION];
    return ST_OK;
}

/* ---- rows ---- */

/* Ids, mask and targets of row r. A sequence with stored loss flags brings its own targets; the others
 * follow the rules of data.md 4.2. */
static void fill_text(struct batch *b, const struct loader *l, const struct sample *sample,
                      int64_t r)
{
    int32_t *ids = b->text_ids + r * b->L, *mask = b->attention_mask + r * b->L;
    int32_t *targets = b->targets + r * (b->L - 1);
    const int64_t n = (int64_t)sample->token_count;

    b->prompt_offset[r] = 0;
    for (int64_t j = 0; j < b->L; j++) {
        ids[j] = j < n ? sample->ids[j] : l->ids.pad;
        mask[j] = j < n;
    }
    const struct label_row row = {
        .ids = ids, .mask = mask, .length = b->L, .needs_image = l->opt.needs_image
    };
    if (!sample->loss) {
        labels_text(targets, &row, &l->ids);
    } else {
        for (int64_t j = 1; j < b->L; j++)
            targets[j - 1] = j < n && sample->loss[j] ? ids[j] : LABEL_IGNORE;
        while (b->prompt_offset[r] < n && !sample->loss[b->prompt_offset[r]])
            b->prompt_offset[r]++;
    }
    if (b->gt_text_ids) {
        int32_t *given = b->gt_text_ids + r * b->L;
        given[0] = LABEL_IGNORE;
        memcpy(given + 1, targets, (size_t)(b->L - 1) * sizeof *given);
    }
    for (int64_t j = 0; j + 1 < b->L; j++)
        b->valid_targets += targets[j] != LABEL_IGNORE;
}

static bool draw_flip(const struct loader *l, const struct plan_sample *p, uint64_t image)
{
    const char *name = l->opt.sources[p->source].name;
    struct rng_key key;
    struct rng r;

    rng_key_init(&key, l->opt.seed, "D9");
    rng_key_string(&key, name, strlen(name));
    rng_key_integer(&key, p->sequence);
    rng_key_integer(&key, image);
    rng_key_integer(&key, p->epoch);
    rng_init(&r, &key);
    return rng_bernoulli(&r, 0.5);
}

static void fill_row(struct loader_buffer *buffer, const struct loader *l,
                     const struct loader_row *row, int64_t r, int64_t first_image)
{
    const struct sample *sample = &row->stored.sample;
    struct batch *b = &buffer->batch;

    buffer->rows[r] = (struct batch_row){
        .source = row->sample.source,
        .sequence = row->sample.sequence,
        .taken = row->taken,
        .epoch = row->sample.epoch,
        .position = row->sample.position,
        .shard = row->stored.shard,
        .dataset = row->stored.dataset,
        .index = row->stored.index,
        .record_key = sample->document_count > 0 ? sample->documents[0].record_key : 0,
        .length = (int32_t)sample->token_count,
        .first_image = (int32_t)first_image,
        .images = (int32_t)sample->image_count,
    };
    b->num_image_per_seq[r] = (int32_t)sample->image_count;
    fill_text(b, l, sample, r);
    for (size_t k = 0; k < sample->image_count; k++) {
        const struct sample_image *from = &sample->images[k];
        const int64_t i = first_image + (int64_t)k;
        buffer->images[i] = (struct batch_image){
            .row = (int32_t)r,
            .slot = (int32_t)k,
            .soi = from->soi,
            .nearest_bos = from->nearest_bos,
            .context_length = from->soi - from->nearest_bos + 1,
            .document = from->document,
            .loss = from->loss,
            .previous = from->prev,
            .flipped = l->opt.flip && draw_flip(l, &row->sample, k),
        };
        b->nearest_bos_idxs[i] = from->nearest_bos;
    }
}

/* Zero pictures and whole regions behind the real ones. */
static void fill_padding(struct batch *b)
{
    const size_t i = (size_t)b->I, n = (size_t)(b->I_padded - b->I);
    const size_t one = 3 * (size_t)(b->R * b->R), two = 3 * (size_t)(b->Rd * b->Rd);

    if (n == 0)
        return;
    memset(b->nearest_bos_idxs + i, 0, n * sizeof *b->nearest_bos_idxs);
    if (b->image)
        memset(b->image + i * one, 0, n * one);
    if (b->image_dec)
        memset(b->image_dec + i * two, 0, n * two);
    if (b->mask)
        memset(b->mask + i * (one / 3), 1, n * (one / 3));
}

enum status loader_bind(struct loader *l, struct loader_slot *s, struct loader_buffer *buffer,
                        struct error *err)
{
    struct batch *b = &buffer->batch;
    bool given = false, region = false;
    int64_t image = 0;

    *b = (struct batch){ .source = s->rows[0].sample.source,
                         .step = s->rows[0].sample.step,
                         .micro_batch = s->rows[0].sample.micro_batch };
    measure(b, l, s, &given, &region);
    if (!buffer->rows)
        buffer->rows = mem_calloc((size_t)b->B, sizeof *buffer->rows);
    if (!buffer->rows)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: rows of a batch");
    if (fit_images(buffer, (size_t)b->I, err) != ST_OK ||
        fit_all(l, buffer, given, region, err) != ST_OK)
        return ST_FAIL;
    for (int64_t r = 0; r < b->B; r++) {
        fill_row(buffer, l, &s->rows[r], r, image);
        image += (int64_t)s->rows[r].stored.sample.image_count;
    }
    fill_padding(b);
    b->rows = buffer->rows;
    b->images = buffer->images;
    return ST_OK;
}

/* ---- pictures ---- */

bool loader_image_is_first(const struct loader_slot *s, int64_t i)
{
    const struct batch_image *image = &s->buffer->batch.images[i];

    return s->rows[image->row].stored.twin[image->slot] == (uint32_t)image->slot;
}

static enum status fill_region(struct batch *b, int64_t i, const struct sample_mask *mask,
                               struct error *err)
{
    uint8_t *to = b->mask + i * b->R * b->R;
    struct rle runs;
    enum status st = ST_OK;

    if (mask->h == 0) {
        memset(to, 1, (size_t)(b->R * b->R));
        return ST_OK;
    }
    rle_init(&runs);
    st = rle_from_varints(&runs, mask->h, mask->w, mask->runs, mask->size, err);
    if (st == ST_OK)
        rle_resize_nearest(to, &runs, (uint32_t)b->R, (uint32_t)b->R);
    rle_clear(&runs);
    return st;
}

static void copy_tensor(uint8_t *base, int64_t to, int64_t from, int64_t side)
{
    const int64_t bytes = 3 * side * side;

    if (base)
        memcpy(base + to * bytes, base + from * bytes, (size_t)bytes);
}

static void flip_image(struct batch *b, int64_t i)
{
    if (!b->images[i].flipped)
        return;
    if (b->image)
        decode_flip(b->image + i * 3 * b->R * b->R, (uint32_t)b->R);
    if (b->image_dec)
        decode_flip(b->image_dec + i * 3 * b->Rd * b->Rd, (uint32_t)b->Rd);
}

enum status loader_decode_image(struct loader *l, struct loader_slot *s, int64_t i,
                                struct decode_timing *timing, double *assemble_seconds,
                                struct error *err)
{
    struct batch *b = &s->buffer->batch;
    const struct batch_image *image = &b->images[i];
    const struct store_sequence *from = &s->rows[image->row].stored;
    const struct store_picture *bytes = &from->pictures[image->slot];
    const int64_t base = i - image->slot;

    enum status st = decode_picture(b->image ? b->image + i * 3 * b->R * b->R : NULL,
                                    b->image_dec ? b->image_dec + i * 3 * b->Rd * b->Rd : NULL,
                                    bytes->data, bytes->size, &l->opt.decode, timing, err);
    const double begin = clock_seconds();
    for (int64_t k = 0; k < (int64_t)from->sample.image_count && st == ST_OK; k++) {
        if (from->twin[k] != (uint32_t)image->slot)
            continue;
        if (base + k != i) {
            copy_tensor(b->image, base + k, i, b->R);
            copy_tensor(b->image_dec, base + k, i, b->Rd);
        }
        if (b->mask)
            st = fill_region(b, base + k, &from->sample.images[k].mask, err);
    }
    for (int64_t k = 0; k < (int64_t)from->sample.image_count && st == ST_OK; k++)
        if (from->twin[k] == (uint32_t)image->slot)
            flip_image(b, base + k);
    *assemble_seconds += clock_seconds() - begin;
    if (st != ST_OK)
        error_prefix(err, st, "%s: shard %u: sequence %llu: picture %d",
                     store_folder(l->store, s->rows[image->row].sample.source, from->dataset),
                     (unsigned)from->shard, (unsigned long long)from->index, (int)image->slot);
    return st;
}
