/* trainer/layout.c: see layout.h. */
#include "trainer/layout.h"

#include <inttypes.h>
#include <string.h>

#include "core/mem.h"

/* Says the first id of a row that is outside the table, and a number of soi tokens that is not that of
 * its pictures; adds the row's slots and pictures up. */
static void check_row(const struct layout_batch *b, int64_t row, int64_t *slots, int64_t *I,
                      struct findings *f)
{
    const int32_t *ids = b->text_ids + row * b->L;
    int64_t sois = 0, outside = -1;
    for (int64_t j = 0; j < b->L; j++) {
        if (outside < 0 && (ids[j] < 0 || ids[j] >= b->vocab))
            outside = j;
        sois += ids[j] == b->ids.soi;
        *slots += ids[j] == b->ids.image;
    }
    *I += b->images_per_row[row];
    if (outside >= 0)
        finding_add(f,
                    "text_ids[%" PRId64 ",%" PRId64 "]: id %" PRId32
                    " is outside the table of %" PRId64 " rows",
                    row, outside, ids[outside], b->vocab);
    if (sois != b->images_per_row[row])
        finding_add(f, "row %" PRId64 ": %" PRId64 " soi tokens, but %" PRId32 " pictures", row,
                    sois, b->images_per_row[row]);
}

int64_t layout_check(const struct layout_batch *b, struct findings *f)
{
    int64_t slots = 0, I = 0;
    for (int64_t row = 0; row < b->B; row++)
        check_row(b, row, &slots, &I, f);
    if (slots != I * b->image_tokens)
        finding_add(f, "%" PRId64 " image slots, but %" PRId64 " pictures of %" PRId64 " each",
                    slots, I, b->image_tokens);
    return I;
}

/* b_i of 2.7: the last bos strictly before the soi, 0 where there is none. */
static int64_t document_start(const struct layout_batch *b, int64_t row, int64_t soi)
{
    const int32_t *ids = b->text_ids + row * b->L;
    for (int64_t j = soi - 1; j > 0; j--)
        if (ids[j] == b->ids.bos)
            return j;
    return 0;
}

static enum status find_start(const struct layout_batch *b, struct layout_image *im, int64_t i,
                              struct error *err)
{
    im->start = b->context_from_zero ? 0
                : b->nearest_bos     ? b->nearest_bos[i]
                                     : document_start(b, im->row, im->soi);
    if (im->start < 0 || im->start > im->soi)
        return error_set(err, ST_FAIL, CAUSE_FORMAT,
                         "nearest_bos_idxs[%" PRId64 "]: %" PRId64
                         " is not in front of the soi at %" PRId64,
                         i, im->start, im->soi);
    return ST_OK;
}

static enum status find_images(struct layout *l, const struct layout_batch *b, struct error *err)
{
    int64_t i = 0;
    for (int64_t row = 0; row < l->B; row++) {
        int64_t slot = 0;
        for (int64_t j = 0; j < l->L; j++) {
            if (b->text_ids[row * l->L + j] != b->ids.soi)
                continue;
            struct layout_image *im = &l->images[i];
            *im = (struct layout_image){ .row = row, .slot = slot++, .soi = j, .previous = -1 };
            if (find_start(b, im, i, err) != ST_OK)
                return ST_FAIL;
            im->length = im->soi - im->start + 1;
            im->counts = im->length > 2;
            const struct layout_image *before = im - 1;
            if (i > 0 && row * l->L + im->start <= before->row * l->L + before->soi)
                im->previous = i - 1;
            i++;
        }
        l->N = slot > l->N ? slot : l->N;
    }
    return ST_OK;
}

/* Picture im is visible at position q of its row: its first slot has been read, and lies in the
 * document that q is in. */
static bool sees(const struct layout_image *im, int64_t q, int64_t bos)
{
    return im->soi + 1 > bos && im->soi + 1 <= q;
}

/* Counts pairs (lists NULL) or writes them. */
static void find_pairs(struct layout *l, const struct layout_batch *b, bool write)
{
    const struct layout_image *first = l->images;
    int64_t at = 0;
    for (int64_t row = 0; row < l->B; first += b->images_per_row[row], row++) {
        int64_t bos = -1;
        for (int64_t q = 0; q < l->L; q++) {
            const int64_t begin = at;
            bos = b->text_ids[row * l->L + q] == b->ids.bos ? q : bos;
            for (int32_t n = 0; n < b->images_per_row[row]; n++)
                if (sees(&first[n], q, bos)) {
                    if (write)
                        l->pair_image[at] = (int32_t)(first - l->images) + n;
                    at++;
                }
            l->max_rank = at - begin > l->max_rank ? at - begin : l->max_rank;
            for (int64_t k = begin; write && k < at; k++)
                l->pair_rank[k] = (int32_t)(at - k);
            if (write)
                l->pair_begin[row * l->L + q + 1] = (int32_t)at;
        }
    }
    l->n_pairs = at;
}

static void find_sources(struct layout *l, const struct layout_batch *b)
{
    int32_t next = 0;
    for (int64_t t = 0; t < l->B * l->L; t++)
        l->source[t] = b->text_ids[t] == b->ids.image ? next++
                       : b->text_ids[t] == b->ids.soi ? -2
                                                      : -1;
}

static void *array(int64_t n, size_t size)
{
    return mem_calloc(n > 0 ? (size_t)n : 1, size);
}

enum status layout_open(struct layout **out, const struct layout_batch *b, struct error *err)
{
    struct layout *l = mem_calloc(1, sizeof *l);
    *out = NULL;
    if (!l)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: layout");
    l->B = b->B;
    l->L = b->L;
    struct finding_text said = { 0 };
    struct findings f = { .say = finding_join, .arg = &said };
    l->I = layout_check(b, &f);
    if (f.count) {
        error_set(err, ST_FAIL, CAUSE_FORMAT, "%s", said.text);
        goto fail;
    }
    l->images = array(l->I, sizeof *l->images);
    l->source = array(l->B * l->L, sizeof *l->source);
    l->pair_begin = array(l->B * l->L + 1, sizeof *l->pair_begin);
    if (!l->images || !l->source || !l->pair_begin)
        goto nomem;
    if (find_images(l, b, err) != ST_OK)
        goto fail;
    find_pairs(l, b, false);
    l->pair_image = array(l->n_pairs, sizeof *l->pair_image);
    l->pair_rank = array(l->n_pairs, sizeof *l->pair_rank);
    if (!l->pair_image || !l->pair_rank)
        goto nomem;
    find_pairs(l, b, true);
    find_sources(l, b);
    *out = l;
    return ST_OK;
nomem:
    error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: layout");
fail:
    layout_close(&l);
    return ST_FAIL;
}

void layout_close(struct layout **lp)
{
    struct layout *l = *lp;
    if (!l)
        return;
    mem_free(l->images);
    mem_free(l->source);
    mem_free(l->pair_begin);
    mem_free(l->pair_image);
    mem_free(l->pair_rank);
    mem_free(l);
    *lp = NULL;
}

void layout_targets(int32_t *out, const struct layout_batch *b, const int32_t *prompt,
                    bool needs_image)
{
    const struct label_ids ids = {
        .bos = b->ids.bos, .pad = b->ids.pad, .soi = b->ids.soi, .image = b->ids.image
    };

    for (int64_t row = 0; row < b->B; row++) {
        const struct label_row in = { .ids = b->text_ids + row * b->L,
                                      .mask = b->mask + row * b->L,
                                      .length = b->L,
                                      .prompt = prompt ? prompt[row] : 0,
                                      .needs_image = needs_image };
        labels_text(out + row * (b->L - 1), &in, &ids);
    }
}

void layout_given_targets(int32_t *out, const int32_t *given, int64_t B, int64_t L)
{
    for (int64_t row = 0; row < B; row++)
        labels_given(out + row * (L - 1), given + row * L, L);
}
