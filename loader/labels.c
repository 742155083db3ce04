/* loader/labels.c: see labels.h. One pass over the ids each; documents are told by their bos. */
#include "loader/labels.h"

struct label_ids label_ids_of(int32_t pieces)
{
    return (struct label_ids){
        .bos = 1, .eos = 2, .pad = pieces - 1, .soi = pieces, .image = pieces + 1
    };
}

void labels_text(int32_t *out, const struct label_row *row, const struct label_ids *ids)
{
    bool image_seen = row->length > 0 && row->ids[0] == ids->soi;

    for (int64_t j = 1; j < row->length; j++) {
        const int32_t t = row->ids[j];
        bool ignore = t == ids->pad || (row->mask && row->mask[j] == 0) || t == ids->image ||
                      t == ids->bos || (t == ids->soi && row->ids[j - 1] == ids->bos) ||
                      j < row->prompt;
        if (t == ids->bos)
            image_seen = false;
        if (t == ids->soi)
            image_seen = true; /* a soi counts as having one */
        if (row->needs_image && !image_seen)
            ignore = true;
        out[j - 1] = ignore ? LABEL_IGNORE : t;
    }
}

void labels_given(int32_t *out, const int32_t *given, int64_t length)
{
    for (int64_t j = 1; j < length; j++)
        out[j - 1] = given[j];
}

size_t labels_images(struct label_image *out, size_t cap, const struct label_row *row,
                     const struct label_ids *ids)
{
    int32_t bos = 0, last_soi = -1;
    size_t n = 0;

    for (int64_t j = 0; j < row->length; j++) {
        if (row->mask && row->mask[j] == 0)
            continue;
        if (row->ids[j] == ids->soi) {
            const int32_t soi = (int32_t)j, length = soi - bos + 1;
            if (n < cap)
                out[n] = (struct label_image){ .soi = soi,
                                               .nearest_bos = bos,
                                               .context_length = length,
                                               .loss = length > 2,
                                               .previous = last_soi >= bos };
            last_soi = soi;
            n++;
        }
        if (row->ids[j] == ids->bos)
            bos = (int32_t)j;
    }
    return n;
}
