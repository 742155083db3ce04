/* ingest/packer.c: see packer.h. */
#include "ingest/packer.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "core/mem.h"

/* One entry to an item of the window: its place in the sort and its bin. */
struct slot {
    struct packer_item item;
    uint32_t class;
    uint32_t bin;
};

struct bin {
    uint32_t tokens, images;
    bool out;          /* emitted in this window */
    size_t first;      /* into `order` once bins are gathered */
    size_t count;      /* items */
    uint64_t place;    /* D5b of its first item, */
    uint64_t position; /* then that item's position */
};

struct packer {
    struct packer_options opt;
    packer_emit_fn *emit;
    void *arg;
    uint64_t next;  /* position of the next item */
    uint32_t w;     /* running number of the window */
    uint32_t fresh; /* new items in it */
    struct packer_item *items;
    size_t count, cap;
    struct slot *slots; /* workspace, `cap` entries each */
    struct bin *bins;
    size_t bin_count;
    struct packer_item *order;
};

void packer_options_init(struct packer_options *opt)
{
    *opt = (struct packer_options){
        .seq_len = 2048, .max_images = 15, .window = 4096, .max_age = 3, .fill_percent = 97
    };
}

enum status packer_open(struct packer **out, const struct packer_options *opt, packer_emit_fn *emit,
                        void *arg, struct error *err)
{
    *out = NULL;
    if (opt->seq_len < 16 || opt->max_images < 1 || opt->window < 1 || opt->fill_percent > 100)
        return error_set(err, ST_FAIL, CAUSE_ARG,
                         "packer: at least 16 tokens, 1 image and a window of 1 are needed");
    struct packer *p = mem_calloc(1, sizeof *p);
    if (!p)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "packer");
    p->opt = *opt;
    p->emit = emit;
    p->arg = arg;
    *out = p;
    return ST_OK;
}

void packer_close(struct packer **p)
{
    if (!*p)
        return;
    mem_free((*p)->items);
    mem_free((*p)->slots);
    mem_free((*p)->bins);
    mem_free((*p)->order);
    mem_free(*p);
    *p = NULL;
}

static bool grow(void **block, size_t n, size_t size)
{
    void *bigger = mem_realloc(*block, n, size);
    if (bigger)
        *block = bigger;
    return bigger != NULL;
}

static enum status reserve(struct packer *p, struct error *err)
{
    if (p->count < p->cap)
        return ST_OK;
    const size_t cap = p->cap ? p->cap * 2 : 256;
    if (!grow((void **)&p->items, cap, sizeof *p->items) ||
        !grow((void **)&p->slots, cap, sizeof *p->slots) ||
        !grow((void **)&p->bins, cap, sizeof *p->bins) ||
        !grow((void **)&p->order, cap, sizeof *p->order))
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "packer: %zu items", cap);
    p->cap = cap;
    return ST_OK;
}

/* Large items first, in sixteenths of a sequence; an image counts as N / M tokens. */
static uint32_t class_of(const struct packer *p, const struct packer_item *it)
{
    const uint64_t N = p->opt.seq_len, M = p->opt.max_images;
    const uint64_t by_images = (it->images * N + M - 1) / M;
    const uint64_t size = it->tokens > by_images ? it->tokens : by_images;
    const uint64_t step = N / 16;
    return (uint32_t)((size + step - 1) / step);
}

static int by_draw(const struct packer_item *a, const struct packer_item *b)
{
    if (a->order != b->order)
        return a->order < b->order ? -1 : 1;
    return a->position < b->position ? -1 : a->position > b->position;
}

static int by_class(const void *x, const void *y)
{
    const struct slot *a = x, *b = y;
    if (a->class != b->class)
        return a->class > b->class ? -1 : 1;
    return by_draw(&a->item, &b->item);
}

static int by_bin(const void *x, const void *y)
{
    const struct slot *a = x, *b = y;
    if (a->bin != b->bin)
        return a->bin < b->bin ? -1 : 1;
    return by_draw(&a->item, &b->item);
}

static int by_place(const void *x, const void *y)
{
    const struct bin *a = x, *b = y;
    if (a->place != b->place)
        return a->place < b->place ? -1 : 1;
    return a->position < b->position ? -1 : a->position > b->position;
}

/* The fullest bin that takes the item; the one opened first among equals; a new one where none. */
static void fit(struct packer *p, struct slot *s)
{
    const uint32_t tokens = p->opt.seq_len - s->item.tokens;
    const uint32_t images = p->opt.max_images - s->item.images;
    size_t best = p->bin_count;

    for (size_t b = 0; b < p->bin_count; b++) {
        const struct bin *bin = &p->bins[b];
        if (bin->tokens <= tokens && bin->images <= images &&
            (best == p->bin_count || bin->tokens > p->bins[best].tokens))
            best = b;
    }
    if (best == p->bin_count)
        p->bins[p->bin_count++] = (struct bin){ 0 };
    p->bins[best].tokens += s->item.tokens;
    p->bins[best].images += s->item.images;
    p->bins[best].count++;
    s->bin = (uint32_t)best;
}

/* Decides which bins go out and gathers their items in bin order; the others' items stay. */
static void settle(struct packer *p, bool last)
{
    const uint64_t N = p->opt.seq_len, M = p->opt.max_images, fill = p->opt.fill_percent;
    size_t kept = 0, out = 0, i = 0;

    qsort(p->slots, p->count, sizeof *p->slots, by_bin);
    for (size_t b = 0; b < p->bin_count; b++) {
        struct bin *bin = &p->bins[b];
        bin->out = last || 100u * (uint64_t)bin->tokens >= fill * N ||
                   100u * (uint64_t)bin->images >= fill * M;
        for (size_t k = 0; k < bin->count; k++)
            bin->out = bin->out || p->w - p->slots[i + k].item.born >= p->opt.max_age;
        bin->first = out;
        bin->place = p->slots[i].item.bin;
        bin->position = p->slots[i].item.position;
        for (size_t k = 0; k < bin->count; k++, i++)
            if (bin->out)
                p->order[out++] = p->slots[i].item;
            else
                p->items[kept++] = p->slots[i].item;
    }
    p->count = kept;
}

static enum status emit_bins(struct packer *p, struct error *err)
{
    enum status st = ST_OK;
    qsort(p->bins, p->bin_count, sizeof *p->bins, by_place);
    for (size_t b = 0; b < p->bin_count && st == ST_OK; b++) {
        const struct bin *bin = &p->bins[b];
        if (bin->out)
            st = p->emit(p->arg, p->order + bin->first, bin->count, bin->tokens, bin->images, err);
    }
    return st;
}

static enum status pack_window(struct packer *p, bool last, struct error *err)
{
    if (p->count == 0)
        return ST_OK;
    for (size_t i = 0; i < p->count; i++)
        p->slots[i] = (struct slot){ p->items[i], class_of(p, &p->items[i]), 0 };
    qsort(p->slots, p->count, sizeof *p->slots, by_class);
    p->bin_count = 0;
    for (size_t i = 0; i < p->count; i++)
        fit(p, &p->slots[i]);
    settle(p, last);
    return emit_bins(p, err);
}

enum status packer_push(struct packer *p, const struct packer_item *item, struct error *err)
{
    if (item->tokens > p->opt.seq_len || item->images > p->opt.max_images)
        return error_set(err, ST_FAIL, CAUSE_ARG,
                         "packer: an item of %" PRIu32 " tokens and %" PRIu32 " images",
                         item->tokens, item->images);
    /* The window is packed when one more item shows that it is not the last. */
    if (p->fresh == p->opt.window) {
        const enum status st = pack_window(p, false, err);
        if (st != ST_OK)
            return st;
        p->fresh = 0;
        p->w++;
    }
    const enum status st = reserve(p, err);
    if (st != ST_OK)
        return st;
    p->items[p->count] = *item;
    p->items[p->count].position = p->next++;
    p->items[p->count].born = p->w;
    p->count++;
    p->fresh++;
    return ST_OK;
}

enum status packer_finish(struct packer *p, struct error *err)
{
    return pack_window(p, true, err);
}
