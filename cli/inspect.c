/* cli/inspect.c: walks the sequences of a dataset with one open shard at a time. */
#include "cli/inspect.h"

#include <inttypes.h>

#include "loader/labels.h"

static enum status each_in_shard(struct shard_reader *r, struct inspect_item *item, uint64_t end,
                                 inspect_fn *fn, void *arg, struct error *err)
{
    struct pieces *pieces = NULL;
    struct arena arena;
    struct sample s;
    enum status st = shard_reader_pieces(r, &pieces, err);

    arena_init(&arena, 0);
    const struct arena_mark mark = arena_mark(&arena);
    item->reader = r;
    item->pieces = pieces;
    item->sample = &s;
    for (; st == ST_OK && item->sequence < end && item->index < shard_reader_sequences(r);
         item->sequence++, item->index++) {
        st = shard_reader_sequence(r, item->index, &s, &arena, err);
        if (st == ST_OK)
            st = fn(arg, item, err);
        arena_release(&arena, mark);
    }
    item->sample = NULL;
    item->pieces = NULL;
    item->reader = NULL;
    arena_clear(&arena);
    pieces_close(&pieces);
    return st;
}

enum status inspect_each(const struct dataset *d, uint64_t begin, uint64_t end, inspect_fn *fn,
                         void *arg, struct error *err)
{
    struct inspect_item item = { .sequence = begin, .dataset = dataset_folder(d) };
    enum status st = ST_OK;

    while (st == ST_OK && item.sequence < end &&
           dataset_locate(d, item.sequence, &item.shard, &item.index)) {
        struct shard_reader *r = NULL;
        st = dataset_shard(d, item.shard, &r, err);
        if (st == ST_OK)
            st = each_in_shard(r, &item, end, fn, arg, err);
        shard_reader_close(&r);
    }
    return st;
}

bool inspect_is_bos(const struct inspect_item *item, size_t position)
{
    return item->sample->ids[position] == shard_reader_facts(item->reader)->bos;
}

enum status inspect_targets(struct buffer *out, const struct inspect_item *item, struct error *err)
{
    const struct sample *s = item->sample;
    const struct shard_facts *f = shard_reader_facts(item->reader);
    struct label_ids ids = label_ids_of((int32_t)f->pieces);
    int32_t *row = mem_calloc(2 * s->token_count, sizeof *row);
    int32_t *labels = row + s->token_count;

    if (!row)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: labels");
    ids.bos = f->bos;
    ids.eos = f->eos;
    for (size_t i = 0; i < s->token_count; i++)
        row[i] = s->ids[i];
    const struct label_row input = { .ids = row, .length = (int64_t)s->token_count };
    labels_text(labels, &input, &ids);
    enum status st = buffer_reserve(out, s->token_count, err);
    for (size_t i = 0; st == ST_OK && i < s->token_count; i++) {
        const bool target = i > 0 && labels[i - 1] != LABEL_IGNORE;
        out->data[out->size++] = target && (!s->loss || s->loss[i]);
    }
    mem_free(row);
    return st;
}
