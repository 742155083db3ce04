/* cli/golden_masks.c: module case "masks", the integer rules of the layout; nothing runs. */
#include "cli/golden.h"

#include "trainer/layout.h"

static void read_ids(struct golden *g, struct layout_batch *b)
{
    b->ids.bos = (int32_t)golden_int_from(g, "config.special_ids.bos", 0);
    b->ids.eos = (int32_t)golden_int_from(g, "config.special_ids.eos", 0);
    b->ids.pad = (int32_t)golden_int_from(g, "config.special_ids.pad", 0);
    b->ids.soi = (int32_t)golden_int_from(g, "config.special_ids.soi", 0);
    b->ids.image = (int32_t)golden_int_from(g, "config.special_ids.image", 0);
    b->image_tokens = golden_int(g, "config.image_tokens");
    b->B = golden_int(g, "config.batch");
    b->L = golden_int(g, "config.length");
    b->vocab = INT32_MAX; /* the case has no table */
    b->text_ids = golden_ids(g, "text_ids", 2, (int64_t[]){ b->B, b->L });
    b->mask = golden_ids(g, "attention_mask", 2, (int64_t[]){ b->B, b->L });
    b->images_per_row = golden_ids(g, "images_per_row", 1, (int64_t[]){ b->B });
}

static int32_t *ids(struct golden *g, int64_t n, int32_t value)
{
    int32_t *out = golden_memory(g, n, sizeof *out);
    for (int64_t i = 0; out && i < n; i++)
        out[i] = value;
    return out;
}

void golden_put_visibility(struct golden *g, const struct layout *l, const char *visible,
                           const char *rank)
{
    const int64_t n = l->B * l->L * l->N;
    int32_t *a = ids(g, n, 0), *r = ids(g, n, 0);
    for (int64_t t = 0; a && r && t < l->B * l->L; t++)
        for (int32_t k = l->pair_begin[t]; k < l->pair_begin[t + 1]; k++) {
            const int64_t slot = l->images[l->pair_image[k]].slot;
            a[t * l->N + slot] = 1;
            r[t * l->N + slot] = l->pair_rank[k];
        }
    if (a && r) {
        golden_put_ids(g, visible, a, n);
        golden_put_ids(g, rank, r, n);
    }
}

static void put_images(struct golden *g, const struct layout *l)
{
    int64_t longest = 0;
    for (int64_t i = 0; i < l->I; i++)
        longest = l->images[i].length > longest ? l->images[i].length : longest;
    int32_t *bos = ids(g, l->I, 0), *length = ids(g, l->I, 0), *previous = ids(g, l->I, 0),
            *counts = ids(g, l->I, 0), *source = ids(g, l->I * longest, -1),
            *packed = ids(g, l->B * l->N, -1);
    if (!bos || !length || !previous || !counts || !source || !packed)
        return;
    for (int64_t i = 0; i < l->I; i++) {
        const struct layout_image *im = &l->images[i];
        bos[i] = (int32_t)im->start;
        length[i] = (int32_t)im->length;
        previous[i] = (int32_t)im->previous;
        counts[i] = im->counts;
        packed[im->row * l->N + im->slot] = (int32_t)i;
        for (int64_t j = 0; j < im->length; j++)
            source[i * longest + j] = (int32_t)layout_context(l, i, j);
    }
    golden_put_ids(g, "nearest_bos", bos, l->I);
    golden_put_ids(g, "context_length", length, l->I);
    golden_put_ids(g, "previous_image", previous, l->I);
    golden_put_ids(g, "nip_counts", counts, l->I);
    golden_put_ids(g, "context_source", source, l->I * longest);
    golden_put_ids(g, "packed_image", packed, l->B * l->N);
}

enum status golden_masks(struct golden *g, struct error *err)
{
    struct layout_batch b = { 0 };
    struct layout *l = NULL;
    read_ids(g, &b);
    if (golden_ready(g, err) != ST_OK || layout_open(&l, &b, err) != ST_OK)
        return ST_FAIL;
    int32_t *targets = ids(g, l->B * (l->L - 1), 0);
    if (targets) {
        layout_targets(targets, &b, NULL, false);
        golden_put_ids(g, "targets", targets, l->B * (l->L - 1));
    }
    golden_put_ids(g, "embedding_source", l->source, l->B * l->L);
    golden_put_visibility(g, l, "visible", "rank");
    put_images(g, l);
    layout_close(&l);
    return golden_ready(g, err);
}
