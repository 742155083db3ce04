/* shards/page_reader.c: walks the B+tree of an LMDB 0.9 file by pread. Layout (64-bit, little-endian):
 *
 *     page    0 pgno u64   8 pad u16   10 flags u16   12 lower u16, upper u16 (overflow: pages u32)
 *     meta   16 magic u32  20 version u32  24 address u64  32 map size u64  40 free db, 88 main db
 *           136 last page u64  144 transaction u64
 *     db      0 pad u32 (free db: page size)  4 flags u16  6 depth u16  8 branch pages u64
 *            16 leaf pages u64  24 overflow pages u64  32 entries u64  40 root u64
 *     node    0 low u16  2 high u16  4 flags u16  6 key size u16  8 key, then data or page number
 *
 * Pages 0 and 1 are meta pages; the one with the larger transaction number counts. One page of memory
 * is kept for each level of the tree, so neighbours cost no further read. */
#include "shards/page_reader.h"

#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include "core/bytes.h"
#include "core/file.h"

enum {
    PAGE_HEADER = 16,
    PAGE_BRANCH = 1,
    PAGE_LEAF = 2,
    PAGE_OVERFLOW = 4,
    PAGE_META = 8,
    META_BYTES = 152,
    META_MAGIC_AT = 16,
    META_VERSION = 1,
    NODE_HEADER = 8,
    NODE_BIG = 1, /* the data lies on overflow pages */
    MAX_DEPTH = 8,
    MIN_PAGE = 512,
    MAX_PAGE = 32768, /* offsets inside a page are u16 */
};
static const uint32_t meta_magic = 0xBEEFC0DE;
static const uint64_t no_page = UINT64_MAX;

struct meta {
    uint32_t page_size;
    unsigned depth, flags;
    uint64_t branch_pages, leaf_pages, overflow_pages, entries, root;
    uint64_t last_page, transaction;
};

struct page_reader {
    char *path;
    int fd;
    uint64_t file_size;
    struct meta meta;
    uint8_t *pages; /* depth x page_size: the page last read at each level, root first */
    uint64_t held[MAX_DEPTH];
};

/* A page whose node offsets all lie inside it. */
struct view {
    const uint8_t *page;
    uint64_t number;
    unsigned count;
};

struct node {
    const uint8_t *key, *data; /* data: leaf only; the value or its page number */
    size_t key_size;
    uint32_t data_size; /* leaf: bytes of the value */
    bool big;
    uint64_t child; /* branch only */
};

static enum status refuse(const struct page_reader *r, struct error *err, const char *what,
                          uint64_t got)
{
    return error_set(err, ST_FAIL, CAUSE_FORMAT, "%s: %s: got %" PRIu64, r->path, what, got);
}

static enum status foreign(const struct page_reader *r, const uint8_t *page, struct error *err)
{
    const char *looks = "not an LMDB file";

    if (load_u32be(page + META_MAGIC_AT) == meta_magic)
        looks = "a big-endian LMDB file, which is not read";
    else if (load_u32le(page + 12) == meta_magic)
        looks = "a 32-bit LMDB file, which is not read";
    return error_set(err, ST_FAIL, CAUSE_FORMAT, "%s: %s", r->path, looks);
}

static enum status parse_meta(const struct page_reader *r, struct meta *m, const uint8_t *page,
                              uint64_t number, struct error *err)
{
    const uint8_t *main_db = page + 88;

    if (load_u32le(page + META_MAGIC_AT) != meta_magic)
        return foreign(r, page, err);
    if (load_u32le(page + 20) != META_VERSION)
        return refuse(r, err, "LMDB data version is not 1", load_u32le(page + 20));
    if (load_u64le(page) != number || load_u16le(page + 10) != PAGE_META)
        return refuse(r, err, "page is no meta page", number);
    m->page_size = load_u32le(page + 40);
    m->flags = load_u16le(main_db + 4);
    m->depth = load_u16le(main_db + 6);
    m->branch_pages = load_u64le(main_db + 8);
    m->leaf_pages = load_u64le(main_db + 16);
    m->overflow_pages = load_u64le(main_db + 24);
    m->entries = load_u64le(main_db + 32);
    m->root = load_u64le(main_db + 40);
    m->last_page = load_u64le(page + 136);
    m->transaction = load_u64le(page + 144);
    return ST_OK;
}

static enum status check_meta(const struct page_reader *r, const struct meta *m, struct error *err)
{
    if (m->page_size < MIN_PAGE || m->page_size > MAX_PAGE || (m->page_size & (m->page_size - 1)))
        return refuse(r, err, "page size is no power of two from 512 to 32768", m->page_size);
    if (m->last_page < 1 || m->last_page >= r->file_size / m->page_size)
        return error_set(err, ST_FAIL, CAUSE_FORMAT,
                         "%s: file ends early: got %" PRIu64 " bytes, last page is %" PRIu64
                         " of %" PRIu32 " bytes",
                         r->path, r->file_size, m->last_page, m->page_size);
    if (m->flags != 0)
        return refuse(r, err, "database flags are not 0", m->flags);
    if (m->depth > MAX_DEPTH)
        return refuse(r, err, "tree is deeper than 8", m->depth);
    if ((m->root == no_page) != (m->entries == 0) || (m->root == no_page) != (m->depth == 0))
        return refuse(r, err, "root, depth and number of entries contradict each other",
                      m->entries);
    return ST_OK;
}

static enum status read_metas(struct page_reader *r, struct error *err)
{
    uint8_t page[META_BYTES];
    struct meta second = { 0 };

    if (r->file_size < (uint64_t)2 * MIN_PAGE)
        return refuse(r, err, "file ends early: bytes", r->file_size);
    if (file_pread(r->fd, r->path, page, sizeof page, 0, err) != ST_OK ||
        parse_meta(r, &r->meta, page, 0, err) != ST_OK || check_meta(r, &r->meta, err) != ST_OK)
        return ST_FAIL;
    if (file_pread(r->fd, r->path, page, sizeof page, r->meta.page_size, err) != ST_OK ||
        parse_meta(r, &second, page, 1, err) != ST_OK || check_meta(r, &second, err) != ST_OK)
        return ST_FAIL;
    if (second.page_size != r->meta.page_size)
        return refuse(r, err, "page sizes of the meta pages differ", second.page_size);
    if (second.transaction > r->meta.transaction)
        r->meta = second;
    return ST_OK;
}

enum status page_reader_open(struct page_reader **out, const char *path, struct error *err)
{
    struct page_reader *r = mem_calloc(1, sizeof *r);
    struct file_info info = { 0 };
    enum status st = ST_FAIL;

    *out = NULL;
    if (!r)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "%s: open", path);
    r->fd = -1;
    r->path = mem_strdup(path);
    if (!r->path) {
        error_set(err, ST_FAIL, CAUSE_NOMEM, "%s: open", path);
        goto done;
    }
    if (file_open_read(&r->fd, path, &info, err) != ST_OK)
        goto done;
    r->file_size = info.size;
    if (read_metas(r, err) != ST_OK)
        goto done;
    for (unsigned i = 0; i < MAX_DEPTH; i++)
        r->held[i] = no_page;
    if (r->meta.depth > 0 && !(r->pages = mem_calloc(r->meta.depth, r->meta.page_size))) {
        error_set(err, ST_FAIL, CAUSE_NOMEM, "%s: open", path);
        goto done;
    }
    *out = r;
    r = NULL;
    st = ST_OK;
done:
    page_reader_close(&r);
    return st;
}

void page_reader_close(struct page_reader **r)
{
    if (!*r)
        return;
    file_close(&(*r)->fd, (*r)->path, NULL);
    mem_free((*r)->path);
    mem_free((*r)->pages);
    mem_free(*r);
    *r = NULL;
}

uint64_t page_reader_entries(const struct page_reader *r)
{
    return r->meta.entries;
}

uint64_t page_reader_file_size(const struct page_reader *r)
{
    return r->file_size;
}

uint32_t page_reader_page_size(const struct page_reader *r)
{
    return r->meta.page_size;
}

/* The header of a tree page, and every node offset. */
static enum status check_page(const struct page_reader *r, struct view *v, unsigned want,
                              struct error *err)
{
    const unsigned size = r->meta.page_size;
    const unsigned lower = load_u16le(v->page + 12), upper = load_u16le(v->page + 14);

    if (load_u64le(v->page) != v->number)
        return refuse(r, err, "page holds the number of another page: page", v->number);
    if (load_u16le(v->page + 10) != want)
        return refuse(r, err,
                      want == PAGE_LEAF ? "page is no leaf: page" : "page is no branch: page",
                      v->number);
    if (lower < PAGE_HEADER + 2 || upper < lower || upper > size || lower % 2)
        return refuse(r, err, "bounds of free space lie outside the page: page", v->number);
    v->count = (lower - PAGE_HEADER) / 2;
    for (unsigned i = 0; i < v->count; i++) {
        const unsigned at = load_u16le(v->page + PAGE_HEADER + 2 * (size_t)i);
        if (at < upper || at + NODE_HEADER > size)
            return refuse(r, err, "a node lies outside its page: page", v->number);
    }
    return ST_OK;
}

/* Page `number` as a page of level `level` (root: 0). */
static enum status load_page(struct page_reader *r, struct view *v, uint64_t number, unsigned level,
                             struct error *err)
{
    const size_t size = r->meta.page_size;
    uint8_t *page = r->pages + level * size;
    const bool leaf = level + 1 == r->meta.depth;

    if (number < 2 || number > r->meta.last_page)
        return refuse(r, err, "page number lies outside the file", number);
    if (r->held[level] != number) {
        r->held[level] = no_page;
        if (file_pread(r->fd, r->path, page, size, number * size, err) != ST_OK)
            return ST_FAIL;
    }
    *v = (struct view){ .page = page, .number = number };
    if (check_page(r, v, leaf ? PAGE_LEAF : PAGE_BRANCH, err) != ST_OK)
        return ST_FAIL;
    r->held[level] = number;
    return ST_OK;
}

static enum status read_node(const struct page_reader *r, const struct view *v, unsigned i,
                             struct node *n, struct error *err)
{
    const unsigned at = load_u16le(v->page + PAGE_HEADER + 2 * (size_t)i);
    const bool leaf = load_u16le(v->page + 10) == PAGE_LEAF;
    struct cursor c = cursor_make(v->page + at, r->meta.page_size - at, 0);
    uint16_t low, high, flags, key_size;

    get_u16le(&c, &low);
    get_u16le(&c, &high);
    get_u16le(&c, &flags);
    get_u16le(&c, &key_size);
    const uint32_t size = low | (uint32_t)high << 16;
    *n = (struct node){ .key_size = key_size, .data_size = size };
    n->key = cursor_take(&c, key_size);
    if (leaf) {
        n->big = flags == NODE_BIG;
        n->data = cursor_take(&c, n->big ? 8 : size);
        if (flags & ~(unsigned)NODE_BIG)
            return refuse(r, err, "node is of a kind that no shard holds: page", v->number);
    } else {
        n->child = (uint64_t)size | (uint64_t)flags << 32;
    }
    if (c.failed)
        return refuse(r, err, "a node reaches past its page: page", v->number);
    return ST_OK;
}

static int compare_keys(const struct node *n, const void *key, size_t key_size)
{
    const size_t least = n->key_size < key_size ? n->key_size : key_size;
    const int order = memcmp(n->key, key, least);
    return order ? order : (n->key_size > key_size) - (n->key_size < key_size);
}

/* *at: the last node whose key is not above `key`, from `first` on; first - 1 where there is none
 * (branches: the key of node 0 is not stored and counts as below all). */
static enum status search(const struct page_reader *r, const struct view *v, unsigned first,
                          const void *key, size_t key_size, unsigned *at, struct node *n,
                          struct error *err)
{
    unsigned low = first, high = v->count;

    while (low < high) {
        const unsigned middle = low + (high - low) / 2;
        if (read_node(r, v, middle, n, err) != ST_OK)
            return ST_FAIL;
        if (compare_keys(n, key, key_size) > 0)
            high = middle;
        else
            low = middle + 1;
    }
    *at = low;
    if (low == 0)
        return ST_END;
    *at = low - 1;
    return read_node(r, v, low - 1, n, err);
}

static enum status read_overflow(struct page_reader *r, const struct node *n, struct buffer *memory,
                                 const uint8_t **data, struct error *err)
{
    const uint64_t number = load_u64le(n->data);
    const uint64_t pages = (PAGE_HEADER - 1 + (uint64_t)n->data_size) / r->meta.page_size + 1;

    if (number < 2 || number > r->meta.last_page || pages - 1 > r->meta.last_page - number)
        return refuse(r, err, "overflow pages lie outside the file: page", number);
    if (buffer_reserve(memory, PAGE_HEADER + (size_t)n->data_size, err) != ST_OK ||
        file_pread(r->fd, r->path, memory->data, PAGE_HEADER + (size_t)n->data_size,
                   number * r->meta.page_size, err) != ST_OK)
        return ST_FAIL;
    memory->size = PAGE_HEADER + (size_t)n->data_size;
    if (load_u64le(memory->data) != number || load_u16le(memory->data + 10) != PAGE_OVERFLOW ||
        load_u32le(memory->data + 12) != pages)
        return refuse(r, err, "page is no overflow page of this value: page", number);
    *data = memory->data + PAGE_HEADER;
    return ST_OK;
}

static enum status read_value(struct page_reader *r, const struct node *n, uint64_t max_bytes,
                              struct buffer *memory, const uint8_t **data, size_t *size,
                              struct error *err)
{
    if (n->data_size > max_bytes)
        return error_set(err, ST_FAIL, CAUSE_LIMIT,
                         "%s: value of %" PRIu32 " bytes, allowed %" PRIu64, r->path, n->data_size,
                         max_bytes);
    memory->size = 0;
    *size = n->data_size;
    if (n->big)
        return read_overflow(r, n, memory, data, err);
    if (buffer_append(memory, n->data, n->data_size, err) != ST_OK)
        return ST_FAIL;
    *data = memory->data;
    return ST_OK;
}

enum status page_reader_get(struct page_reader *r, const void *key, size_t key_size,
                            uint64_t max_bytes, struct buffer *memory, const uint8_t **data,
                            size_t *size, struct error *err)
{
    uint64_t number = r->meta.root;
    struct view v = { 0 };
    struct node n = { 0 };
    unsigned at = 0;

    for (unsigned level = 0; level < r->meta.depth; level++) {
        const bool leaf = level + 1 == r->meta.depth;
        enum status st = load_page(r, &v, number, level, err);
        if (st == ST_OK)
            st = search(r, &v, leaf ? 0 : 1, key, key_size, &at, &n, err);
        if (st != ST_OK)
            return st;
        if (leaf)
            return compare_keys(&n, key, key_size) == 0
                       ? read_value(r, &n, max_bytes, memory, data, size, err)
                       : ST_END;
        number = n.child;
    }
    return ST_END;
}

/* State of a walk: which node comes next on each level, and what was seen so far. */
struct walk {
    struct view view[MAX_DEPTH];
    unsigned next[MAX_DEPTH];
    uint64_t entries, branches, leaves, overflow;
    uint8_t last_key[512];
    size_t last_size;
};

static enum status visit(struct page_reader *r, struct walk *w, const struct node *n,
                         page_reader_fn *fn, void *arg, struct error *err)
{
    if (n->key_size > sizeof w->last_key)
        return refuse(r, err, "key is longer than 511 bytes", n->key_size);
    if (w->entries > 0 && compare_keys(n, w->last_key, w->last_size) <= 0)
        return refuse(r, err, "keys are out of order at entry", w->entries);
    memcpy(w->last_key, n->key, n->key_size);
    w->last_size = n->key_size;
    if (++w->entries > r->meta.entries)
        return refuse(r, err, "more entries than the meta page says", w->entries);
    if (n->big)
        w->overflow += (PAGE_HEADER - 1 + (uint64_t)n->data_size) / r->meta.page_size + 1;
    return fn(arg, n->key, n->key_size, n->data_size, err);
}

static enum status enter(struct page_reader *r, struct walk *w, uint64_t number, unsigned level,
                         struct error *err)
{
    if (load_page(r, &w->view[level], number, level, err) != ST_OK)
        return ST_FAIL;
    w->next[level] = 0;
    if (level + 1 == r->meta.depth)
        w->leaves++;
    else
        w->branches++;
    if (w->leaves > r->meta.leaf_pages || w->branches > r->meta.branch_pages)
        return refuse(r, err, "more pages than the meta page says: page", number);
    return ST_OK;
}

enum status page_reader_walk(struct page_reader *r, page_reader_fn *fn, void *arg,
                             struct error *err)
{
    struct walk w = { 0 };
    struct node n = { 0 };
    unsigned level = 0;
    enum status st = r->meta.depth > 0 ? enter(r, &w, r->meta.root, 0, err) : ST_OK;

    while (st == ST_OK && r->meta.depth > 0) {
        if (w.next[level] == w.view[level].count) {
            if (level == 0)
                break;
            level--;
            continue;
        }
        st = read_node(r, &w.view[level], w.next[level]++, &n, err);
        if (st != ST_OK)
            break;
        if (level + 1 == r->meta.depth)
            st = visit(r, &w, &n, fn, arg, err);
        else
            st = enter(r, &w, n.child, ++level, err);
    }
    if (st == ST_OK && (w.entries != r->meta.entries || w.leaves != r->meta.leaf_pages ||
                        w.branches != r->meta.branch_pages || w.overflow != r->meta.overflow_pages))
        return refuse(r, err, "entries or pages differ from the meta page: entries", w.entries);
    return st;
}
