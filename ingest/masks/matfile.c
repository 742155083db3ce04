/* ingest/masks/matfile.c: see matfile.h. */
#include "ingest/masks/matfile.h"

#include <inttypes.h>
#include <string.h>
#include <zlib.h>

#include "core/bytes.h"

enum {
    MI_INT8 = 1,
    MI_UINT8 = 2,
    MI_INT16 = 3,
    MI_UINT16 = 4,
    MI_INT32 = 5,
    MI_UINT32 = 6,
    MI_SINGLE = 7,
    MI_DOUBLE = 9,
    MI_INT64 = 12,
    MI_UINT64 = 13,
    MI_MATRIX = 14,
    MI_COMPRESSED = 15,
    MI_UTF8 = 16,
    MI_UTF16 = 17,
    HEADER_BYTES = 128,
    FIELDS_MAX = 4096,
    FIELD_NAME_MAX = 64,
    DEPTH_MAX = 64,
    FLAG_COMPLEX = 0x08,
};

struct mat_parser {
    struct arena *arena;
    const struct mat_limits *limits;
    struct error *err;
};
struct element {
    uint32_t type;
    struct cursor data;
};
/* A cell or struct whose children are being read. */
struct frame {
    struct mat_value *v;
    struct cursor rest;
    uint64_t next, total;
};

void mat_limits_init(struct mat_limits *l)
{
    l->max_variable = 256u << 20;
    l->max_elements = 1u << 28;
    l->max_depth = 16;
    l->max_ratio = 200;
}

static enum status bad(struct mat_parser *p, uint64_t byte, const char *code, const char *what)
{
    const bool limit = strcmp(code, "mat-limit") == 0;
    error_set(p->err, ST_FAIL, limit ? CAUSE_LIMIT : CAUSE_FORMAT, "byte %" PRIu64 ": %s", byte,
              what);
    return error_code(p->err, ST_FAIL, code);
}

static void *get_memory(struct mat_parser *p, size_t n, size_t size)
{
    void *m = arena_alloc(p->arena, n ? n : 1, size);
    if (!m)
        error_set(p->err, ST_FAIL, CAUSE_NOMEM, "MAT file");
    else
        memset(m, 0, (n ? n : 1) * size);
    return m;
}

static enum status next_element(struct mat_parser *p, struct cursor *c, struct element *e)
{
    const uint64_t at = cursor_offset(c);
    uint32_t head = 0, size = 0;

    if (!get_u32le(c, &head) || !get_u32le(c, &size))
        return bad(p, at, "mat-element", "no room for a tag");
    if (head >> 16) { /* the small form: size and up to 4 bytes in the tag itself */
        e->type = head & 0xffff;
        if (head >> 16 > 4)
            return bad(p, at, "mat-element", "a small element of more than 4 bytes");
        e->data = cursor_make(c->p - 4, head >> 16, at + 4);
        return ST_OK;
    }
    e->type = head;
    if (e->type == 0 || e->type > MI_UTF16 + 1)
        return bad(p, at, "mat-element", "an element of no known type");
    if (!cursor_sub(c, size, &e->data))
        return bad(p, at, "mat-element", "an element longer than what holds it");
    const size_t padding = e->type == MI_COMPRESSED ? 0 : (8 - size % 8) % 8;
    if (padding && cursor_left(c) > 0 && !cursor_take(c, padding))
        return bad(p, at, "mat-element", "no padding to 8 bytes");
    return ST_OK;
}

static enum status next_of_type(struct mat_parser *p, struct cursor *c, struct element *e,
                                uint32_t type, const char *what)
{
    const uint64_t at = cursor_offset(c);
    const enum status st = next_element(p, c, e);
    return st == ST_OK && e->type != type ? bad(p, at, "mat-element", what) : st;
}

static size_t storage_bytes(uint32_t type)
{
    switch (type) {
    case MI_INT8:
    case MI_UINT8:
    case MI_UTF8:
        return 1;
    case MI_INT16:
    case MI_UINT16:
    case MI_UTF16:
        return 2;
    case MI_INT32:
    case MI_UINT32:
    case MI_SINGLE:
        return 4;
    case MI_DOUBLE:
    case MI_INT64:
    case MI_UINT64:
        return 8;
    default:
        return 0;
    }
}

static const char *class_name(unsigned class)
{
    static const char *const names[] = { "class 0",
                                         "cell",
                                         "struct",
                                         "an object",
                                         "char",
                                         "a sparse array",
                                         "double",
                                         "single",
                                         "int8",
                                         "uint8",
                                         "int16",
                                         "uint16",
                                         "int32",
                                         "uint32",
                                         "int64",
                                         "uint64",
                                         "a function handle",
                                         "an opaque class" };
    return class < sizeof names / sizeof *names ? names[class] : "a class of no known number";
}

static enum status read_flags(struct mat_parser *p, struct cursor *c, struct mat_value *v)
{
    const uint64_t at = cursor_offset(c);
    struct element e = { 0 };
    uint32_t flags = 0;
    enum status st = next_of_type(p, c, &e, MI_UINT32, "array flags expected");

    if (st != ST_OK)
        return st;
    if (cursor_left(&e.data) != 8 || !get_u32le(&e.data, &flags))
        return bad(p, at, "mat-element", "array flags of a wrong size");
    const unsigned class = flags & 0xff;
    if (class < 1 || class > 15 || class == 3 || class == 5) {
        error_set(p->err, ST_FAIL, CAUSE_FORMAT,
                  "byte %" PRIu64 ": %s is refused: numbers, text, cells and structs only", at,
                  class_name(class));
        return error_code(p->err, ST_FAIL, "mat-class");
    }
    if ((flags >> 8) & FLAG_COMPLEX)
        return bad(p, at, "mat-class", "complex numbers are refused");
    v->class = (enum mat_class) class;
    return ST_OK;
}

static enum status read_dims(struct mat_parser *p, struct cursor *c, struct mat_value *v)
{
    const uint64_t at = cursor_offset(c);
    struct element e = { 0 };
    enum status st = next_of_type(p, c, &e, MI_INT32, "dimensions expected");

    if (st != ST_OK)
        return st;
    const size_t rank = cursor_left(&e.data) / 4;
    if (cursor_left(&e.data) % 4 || rank < 2 || rank > MAT_RANK_MAX)
        return bad(p, at, "mat-dims", "not 2 to 8 dimensions");
    v->rank = (uint32_t)rank;
    v->count = 1;
    for (size_t i = 0; i < rank; i++) {
        uint32_t dim = 0;
        get_u32le(&e.data, &dim);
        if (dim > INT32_MAX)
            return bad(p, at, "mat-dims", "a negative dimension");
        v->dims[i] = dim;
        if (!mul_ok_u64(v->count, dim, &v->count) || v->count > p->limits->max_elements)
            return bad(p, at, "mat-limit", "an array of too many elements");
    }
    return ST_OK;
}

static enum status read_name(struct mat_parser *p, struct cursor *c, struct mat_value *v)
{
    struct element e = { 0 };
    enum status st = next_of_type(p, c, &e, MI_INT8, "a name expected");

    if (st != ST_OK)
        return st;
    v->name = arena_strndup(p->arena, (const char *)e.data.p, cursor_left(&e.data));
    return v->name ? ST_OK : error_set(p->err, ST_FAIL, CAUSE_NOMEM, "MAT file");
}

static enum status read_numbers(struct mat_parser *p, struct cursor *c, struct mat_value *v)
{
    const uint64_t at = cursor_offset(c);
    struct element e = { 0 };
    enum status st = next_element(p, c, &e);

    if (st != ST_OK)
        return st;
    const size_t width = storage_bytes(e.type);
    if (width == 0 || e.type == MI_UTF8 || e.type == MI_UTF16)
        return bad(p, at, "mat-element", "numbers of no numeric type");
    if (cursor_left(&e.data) != v->count * width)
        return bad(p, at, "mat-dims", "another number of elements than the dimensions say");
    v->storage = e.type;
    v->data = e.data.p;
    return ST_OK;
}

static size_t put_utf8(char *out, uint32_t c)
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    const size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n; i-- > 1; c >>= 6)
        out[i] = (char)(0x80 | (c & 0x3f));
    out[0] = (char)((0xf00u >> n & 0xffu) | c);
    return n;
}

/* UTF-16 code units to UTF-8; a surrogate without partner is U+FFFD. */
static size_t utf16_to_utf8(char *out, const uint8_t *units, size_t n)
{
    size_t used = 0;

    for (size_t i = 0; i < n; i++) {
        uint32_t c = load_u16le(units + 2 * i);
        const uint32_t low = i + 1 < n ? load_u16le(units + 2 * i + 2) : 0;
        if (c >= 0xd800 && c < 0xdc00 && low >= 0xdc00 && low < 0xe000) {
            c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
            i++;
        } else if (c >= 0xd800 && c < 0xe000) {
            c = 0xfffd;
        }
        used += put_utf8(out + used, c);
    }
    return used;
}

static enum status read_text(struct mat_parser *p, struct cursor *c, struct mat_value *v)
{
    const uint64_t at = cursor_offset(c);
    struct element e = { 0 };
    enum status st = next_element(p, c, &e);

    if (st != ST_OK)
        return st;
    const size_t width = storage_bytes(e.type), size = cursor_left(&e.data);
    if (width < 1 || width > 2)
        return bad(p, at, "mat-element", "text of no text type");
    if (e.type != MI_UTF8 && size != v->count * width)
        return bad(p, at, "mat-dims", "another number of characters than the dimensions say");
    if (size % width)
        return bad(p, at, "mat-element", "half a character");
    char *text = get_memory(p, 3 * size + 4, 1);
    if (!text)
        return ST_FAIL;
    if (width == 1 && size > 0 && e.data.p)
        memcpy(text, e.data.p, size);
    else if (width == 2)
        utf16_to_utf8(text, e.data.p, size / 2);
    v->text = text;
    return ST_OK;
}

static enum status read_field_names(struct mat_parser *p, struct cursor *c, struct mat_value *v)
{
    const uint64_t at = cursor_offset(c);
    struct element e = { 0 };
    uint32_t width = 0;
    enum status st = next_of_type(p, c, &e, MI_INT32, "the length of field names expected");

    if (st != ST_OK)
        return st;
    if (cursor_left(&e.data) != 4 || !get_u32le(&e.data, &width) || width < 1 ||
        width > FIELD_NAME_MAX)
        return bad(p, at, "mat-element", "field names of an impossible length");
    st = next_of_type(p, c, &e, MI_INT8, "field names expected");
    if (st != ST_OK)
        return st;
    const size_t n = cursor_left(&e.data) / width;
    if (cursor_left(&e.data) % width || n > FIELDS_MAX)
        return bad(p, at, n > FIELDS_MAX ? "mat-limit" : "mat-element",
                   "too many or half field names");
    v->fields = (uint32_t)n;
    v->field_names = get_memory(p, n, sizeof(char *));
    if (!v->field_names)
        return ST_FAIL;
    for (size_t i = 0; i < n; i++) {
        const char *name = (const char *)e.data.p + i * width;
        if (name[0] == '\0' || !memchr(name, 0, width))
            return bad(p, at, "mat-element", "a field name that is empty or does not end");
        for (size_t k = 0; k < i; k++)
            if (strcmp(v->field_names[k], name) == 0)
                return bad(p, at, "mat-element", "a field name twice");
        v->field_names[i] = name; /* ends inside its place */
    }
    return ST_OK;
}

/* Room for the children of a cell or struct; each takes a tag of 8 bytes at least. */
static enum status open_frame(struct mat_parser *p, struct frame *f, struct mat_value *v,
                              struct cursor rest)
{
    uint64_t total = v->count;

    if (v->class == MAT_STRUCT && !mul_ok_u64(v->count, v->fields, &total))
        return bad(p, cursor_offset(&rest), "mat-limit", "too many members");
    if (total > cursor_left(&rest) / 8)
        return bad(p, cursor_offset(&rest), "mat-dims", "fewer members than the dimensions say");
    v->children = get_memory(p, (size_t)total, sizeof(struct mat_value *));
    *f = (struct frame){ v, rest, 0, total };
    return v->children ? ST_OK : ST_FAIL;
}

/* Everything of a matrix but its children; *is_open: a frame was opened for those. */
static enum status read_matrix(struct mat_parser *p, struct element *e, struct mat_value **out,
                               struct frame *f, bool *is_open)
{
    struct mat_value *v = get_memory(p, 1, sizeof *v);
    struct cursor *c = &e->data;

    *out = v;
    *is_open = false;
    if (!v)
        return ST_FAIL;
    v->name = "";
    if (cursor_left(c) == 0) { /* an empty array, written as nothing */
        v->class = MAT_DOUBLE;
        v->rank = 2;
        v->storage = MI_DOUBLE;
        v->data = c->p;
        return ST_OK;
    }
    enum status st = read_flags(p, c, v);
    if (st == ST_OK)
        st = read_dims(p, c, v);
    if (st == ST_OK)
        st = read_name(p, c, v);
    if (st == ST_OK && v->class == MAT_STRUCT)
        st = read_field_names(p, c, v);
    if (st != ST_OK)
        return st;
    if (v->class == MAT_CHAR)
        return read_text(p, c, v);
    if (v->class != MAT_CELL && v->class != MAT_STRUCT)
        return read_numbers(p, c, v);
    *is_open = true;
    return open_frame(p, f, v, *c);
}

static enum status read_tree(struct mat_parser *p, struct element *top, struct mat_value **out)
{
    struct frame stack[DEPTH_MAX];
    uint32_t depth = 0;
    bool is_open = false;
    enum status st = read_matrix(p, top, out, &stack[0], &is_open);

    depth += is_open;
    while (st == ST_OK && depth > 0) {
        struct frame *f = &stack[depth - 1];
        struct element e = { 0 };
        if (f->next == f->total) {
            depth--;
            continue;
        }
        st = next_of_type(p, &f->rest, &e, MI_MATRIX, "a member that is no array");
        if (st == ST_OK && (depth >= p->limits->max_depth || depth >= DEPTH_MAX))
            return bad(p, cursor_offset(&e.data), "mat-limit", "arrays nested too deep");
        struct mat_value *child = NULL;
        if (st == ST_OK)
            st = read_matrix(p, &e, &child, &stack[depth], &is_open);
        if (st == ST_OK && f->v->class == MAT_STRUCT)
            child->name = f->v->field_names[f->next % f->v->fields];
        f->v->children[f->next++] = child;
        depth += st == ST_OK && is_open;
    }
    return st;
}

/* Inflates one element by what arrives, never by what it claims. */
static enum status inflate_element(struct mat_parser *p, const struct element *e,
                                   struct buffer *out)
{
    const uint64_t deflated = cursor_left(&e->data), at = cursor_offset(&e->data);
    z_stream z = { .next_in = (Bytef *)(uintptr_t)e->data.p, .avail_in = (uInt)deflated };
    int rc = inflateInit(&z);
    enum status st = ST_OK;

    if (rc != Z_OK)
        return error_set(p->err, ST_FAIL, CAUSE_NOMEM, "zlib");
    while (st == ST_OK && rc != Z_STREAM_END) {
        st = buffer_reserve(out, 64 << 10, p->err);
        if (st != ST_OK)
            break;
        const uInt room =
            out->cap - out->size < (1u << 30) ? (uInt)(out->cap - out->size) : 1u << 30;
        z.next_out = out->data + out->size;
        z.avail_out = room;
        rc = inflate(&z, Z_NO_FLUSH);
        out->size += room - z.avail_out;
        if (out->size > p->limits->max_variable ||
            (out->size > (16u << 20) && out->size / p->limits->max_ratio > deflated))
            st = bad(p, at, "mat-limit", "a compressed variable grows beyond the limit");
        else if (rc != Z_OK && rc != Z_STREAM_END)
            st = bad(p, at, "mat-zlib",
                     rc == Z_BUF_ERROR ? "compressed data end early"
                                       : "compressed data are damaged");
    }
    if (st == ST_OK && z.avail_in > 0)
        st = bad(p, at, "mat-zlib", "bytes behind the compressed data");
    inflateEnd(&z);
    return st;
}

/* A compressed variable becomes the one element inside it, in memory of the arena. */
static enum status unpack(struct mat_parser *p, struct element *e)
{
    const uint64_t at = cursor_offset(&e->data);
    struct buffer raw;
    enum status st;

    if (e->type != MI_COMPRESSED)
        return ST_OK;
    buffer_init(&raw);
    st = inflate_element(p, e, &raw);
    uint8_t *kept = st == ST_OK ? get_memory(p, raw.size, 1) : NULL;
    if (kept) {
        memcpy(kept, raw.data, raw.size);
        struct cursor c = cursor_make(kept, raw.size, 0);
        st = next_element(p, &c, e);
        if (st == ST_OK && cursor_left(&c) > 0)
            st = bad(p, at, "mat-element", "bytes behind the variable");
    } else if (st == ST_OK) {
        st = ST_FAIL;
    }
    buffer_clear(&raw);
    return st;
}

static enum status check_header(struct mat_parser *p, struct cursor *c)
{
    const uint8_t *h = cursor_take(c, HEADER_BYTES);

    if (!h)
        return bad(p, 0, "mat-header", "shorter than the 128 bytes of a MAT header");
    if (h[0] == 0 || h[1] == 0 || h[2] == 0 || h[3] == 0)
        return bad(p, 0, "mat-version", "a level-4 MAT file, or none; save it with -v7");
    const bool big = h[126] == 'M' && h[127] == 'I', little = h[126] == 'I' && h[127] == 'M';
    if (big)
        return bad(p, 126, "mat-version", "a big-endian MAT file is refused");
    if (!little)
        return bad(p, 126, "mat-header", "no endian mark: not a MAT file");
    if (load_u16le(h + 124) == 0x0200)
        return bad(p, 124, "mat-version", "a version 7.3 (HDF5) MAT file; save it with -v7");
    if (load_u16le(h + 124) != 0x0100)
        return bad(p, 124, "mat-version", "an unknown MAT version");
    return ST_OK;
}

enum status mat_parse(struct mat_value **out, struct arena *arena, const uint8_t *data, size_t size,
                      const char *name, const struct mat_limits *limits, struct error *err)
{
    struct mat_limits defaults;
    mat_limits_init(&defaults);
    struct mat_parser p = { arena, limits ? limits : &defaults, err };
    struct cursor c = cursor_make(data, size, 0);
    enum status st = check_header(&p, &c);

    *out = NULL;
    while (st == ST_OK && !*out && cursor_left(&c) > 0) {
        struct element e = { 0 };
        struct mat_value *v = NULL;
        const uint64_t at = cursor_offset(&c);
        st = next_element(&p, &c, &e);
        if (st == ST_OK)
            st = unpack(&p, &e);
        if (st == ST_OK && e.type == MI_COMPRESSED)
            st = bad(&p, at, "mat-element", "compressed data inside compressed data");
        if (st == ST_OK && e.type != MI_MATRIX)
            st = bad(&p, at, "mat-element", "a variable that is no array");
        if (st == ST_OK && cursor_left(&e.data) > p.limits->max_variable)
            st = bad(&p, at, "mat-limit", "a variable beyond the limit");
        if (st == ST_OK)
            st = read_tree(&p, &e, &v);
        if (st == ST_OK && strcmp(v->name, name) == 0)
            *out = v;
    }
    if (st == ST_OK && !*out) {
        error_set(err, ST_FAIL, CAUSE_FORMAT, "no variable %s", name);
        return error_code(err, ST_FAIL, "mat-absent");
    }
    return st;
}

const struct mat_value *mat_field(const struct mat_value *v, uint64_t i, const char *name)
{
    if (!v || v->class != MAT_STRUCT || i >= v->count)
        return NULL;
    for (uint32_t k = 0; k < v->fields; k++)
        if (strcmp(v->field_names[k], name) == 0)
            return v->children[i * v->fields + k];
    return NULL;
}

double mat_number(const struct mat_value *v, uint64_t i)
{
    const uint8_t *d = v->data + i * storage_bytes(v->storage);
    float single = 0;
    double real = 0;
    uint32_t bits = 0;
    uint64_t wide = 0;

    switch (v->storage) {
    case MI_INT8:
        return (int8_t)d[0];
    case MI_UINT8:
        return d[0];
    case MI_INT16:
        return (int16_t)load_u16le(d);
    case MI_UINT16:
        return load_u16le(d);
    case MI_INT32:
        return (int32_t)load_u32le(d);
    case MI_UINT32:
        return load_u32le(d);
    case MI_SINGLE:
        bits = load_u32le(d);
        memcpy(&single, &bits, sizeof single);
        return (double)single;
    case MI_INT64:
        return (double)(int64_t)load_u64le(d);
    case MI_UINT64:
        return (double)load_u64le(d);
    default:
        wide = load_u64le(d);
        memcpy(&real, &wide, sizeof real);
        return real;
    }
}

const uint8_t *mat_bytes(const struct mat_value *v)
{
    return v->class != MAT_CHAR && v->data && storage_bytes(v->storage) == 1 ? v->data : NULL;
}
