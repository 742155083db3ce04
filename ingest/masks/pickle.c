/* ingest/masks/pickle.c: see pickle.h. A table names all 68 opcodes; those without a function are
 * refused. */
#include <inttypes.h>
#include <string.h>

#include "ingest/masks/pickle_private.h"

void pickle_limits_init(struct pickle_limits *l)
{
    l->max_operations = 200000000;
    l->max_memo = 50000000;
    l->max_depth = 64;
    l->max_object = 64u << 20;
}

enum status pickle_error(struct pickle_machine *m, struct error *err, const char *code,
                         const char *what)
{
    const bool limit = strcmp(code, "pickle-limit") == 0;
    error_set(err, ST_FAIL, limit ? CAUSE_LIMIT : CAUSE_FORMAT, "byte %" PRIu64 ": %s: %s", m->at,
              m->name, what);
    return error_code(err, ST_FAIL, code);
}

static enum status no_memory(struct error *err)
{
    return error_set(err, ST_FAIL, CAUSE_NOMEM, "pickle");
}

enum status pickle_take(struct pickle_machine *m, const uint8_t **p, uint64_t size,
                        struct error *err)
{
    const uint8_t *end = m->frame_end ? m->frame_end : m->in.end;

    if (size > (uint64_t)(end - m->in.p))
        return pickle_error(m, err, m->frame_end ? "pickle-frame" : "pickle-cut",
                            m->frame_end ? "the frame ends inside it" : "the file ends inside it");
    *p = cursor_take(&m->in, (size_t)size);
    return ST_OK;
}

enum status pickle_line(struct pickle_machine *m, const char **line, size_t *size,
                        struct error *err)
{
    const uint8_t *end = m->frame_end ? m->frame_end : m->in.end, *p = NULL;
    const uint8_t *newline = m->in.p < end ? memchr(m->in.p, '\n', (size_t)(end - m->in.p)) : NULL;

    if (!newline)
        return pickle_error(m, err, "pickle-cut", "no newline behind it");
    *size = (size_t)(newline - m->in.p);
    *line = (const char *)m->in.p;
    return pickle_take(m, &p, *size + 1, err);
}

/* Doubles an array; NULL when out of memory. */
static void *grow(void *p, size_t *cap, size_t size)
{
    const size_t more = *cap ? 2 * *cap : 256;
    void *q = mem_realloc(p, more, size);
    if (q)
        *cap = more;
    return q;
}

enum status pickle_push(struct pickle_machine *m, struct pickle_value *v, struct error *err)
{
    if (m->depth == m->stack_cap) {
        struct pickle_value **p = grow(m->stack, &m->stack_cap, sizeof(struct pickle_value *));
        if (!p)
            return no_memory(err);
        m->stack = p;
    }
    m->stack[m->depth++] = v;
    return ST_OK;
}

struct pickle_value *pickle_new(struct pickle_machine *m, enum pickle_type type, struct error *err)
{
    struct pickle_value *v = arena_alloc(m->arena, 1, sizeof *v);
    if (!v) {
        no_memory(err);
        return NULL;
    }
    memset(v, 0, sizeof *v);
    v->type = type;
    return v;
}

static enum status push_new(struct pickle_machine *m, enum pickle_type type, int64_t integer,
                            struct error *err)
{
    struct pickle_value *v = pickle_new(m, type, err);
    if (!v)
        return ST_FAIL;
    if (type == PICKLE_BOOL)
        v->integer = integer;
    return pickle_push(m, v, err);
}

/* What may be taken from the stack: nothing below the last mark. */
static enum status pop(struct pickle_machine *m, struct pickle_value **v, struct error *err)
{
    const size_t floor = m->n_marks ? m->marks[m->n_marks - 1] : 0;
    if (m->depth <= floor)
        return pickle_error(m, err, "pickle-stack", "the stack holds too little");
    *v = m->stack[--m->depth];
    return ST_OK;
}

static enum status top(struct pickle_machine *m, struct pickle_value **v, struct error *err)
{
    const enum status st = pop(m, v, err);
    if (st == ST_OK)
        m->depth++;
    return st;
}

static enum status pop_mark(struct pickle_machine *m, size_t *from, struct error *err)
{
    if (m->n_marks == 0)
        return pickle_error(m, err, "pickle-stack", "no mark on the stack");
    *from = m->marks[--m->n_marks];
    return ST_OK;
}

static enum status append(struct pickle_machine *m, struct pickle_value *list,
                          struct pickle_value *item, struct error *err)
{
    if (list->count == list->cap) {
        const size_t cap = list->cap ? 2 * list->cap : 4;
        struct pickle_value **items = arena_alloc(m->arena, cap, sizeof(struct pickle_value *));
        if (!items)
            return no_memory(err);
        if (list->count)
            memcpy(items, list->items, list->count * sizeof(struct pickle_value *));
        list->items = items;
        list->cap = cap;
    }
    list->items[list->count++] = item;
    return ST_OK;
}

static enum status check_hashable(struct pickle_machine *m, const struct pickle_value *v,
                                  struct error *err)
{
    if (v->type == PICKLE_LIST || v->type == PICKLE_DICT || v->type == PICKLE_SET)
        return pickle_error(m, err, "pickle-value", "a key that cannot be hashed");
    return ST_OK;
}

/* Stack items from `from` on go into `target`: pairs for a dict. */
static enum status add_items(struct pickle_machine *m, struct pickle_value *target, size_t from,
                             struct error *err)
{
    const size_t n = m->depth - from;
    const bool keyed = target->type == PICKLE_DICT;
    const bool hashed = target->type == PICKLE_SET || target->type == PICKLE_FROZENSET;
    enum status st = ST_OK;

    if (keyed && n % 2)
        return pickle_error(m, err, "pickle-stack", "a key without a value");
    for (size_t i = 0; st == ST_OK && i < n; i++) {
        struct pickle_value *v = m->stack[from + i];
        if (hashed || (keyed && i % 2 == 0))
            st = check_hashable(m, v, err);
        if (st == ST_OK)
            st = append(m, target, v, err);
    }
    m->depth = from;
    return st;
}

static enum status collect(struct pickle_machine *m, enum pickle_type type, size_t from,
                           struct error *err)
{
    struct pickle_value *v = pickle_new(m, type, err);
    enum status st = v ? add_items(m, v, from, err) : ST_FAIL;
    return st == ST_OK ? pickle_push(m, v, err) : st;
}

static enum status collect_marked(struct pickle_machine *m, enum pickle_type type,
                                  struct error *err)
{
    size_t from = 0;
    const enum status st = pop_mark(m, &from, err);
    return st == ST_OK ? collect(m, type, from, err) : st;
}

static enum status collect_last(struct pickle_machine *m, size_t n, struct error *err)
{
    const size_t floor = m->n_marks ? m->marks[m->n_marks - 1] : 0;
    if (m->depth - floor < n)
        return pickle_error(m, err, "pickle-stack", "the stack holds too little");
    return collect(m, PICKLE_TUPLE, m->depth - n, err);
}

/* The container below stack height `from` takes what lies above. */
static enum status extend(struct pickle_machine *m, enum pickle_type type, size_t from,
                          struct error *err)
{
    const size_t floor = m->n_marks ? m->marks[m->n_marks - 1] : 0;
    if (from <= floor || m->stack[from - 1]->type != type)
        return pickle_error(m, err, "pickle-stack", "no container of its kind below");
    return add_items(m, m->stack[from - 1], from, err);
}

static enum status extend_marked(struct pickle_machine *m, enum pickle_type type, struct error *err)
{
    size_t from = 0;
    const enum status st = pop_mark(m, &from, err);
    return st == ST_OK ? extend(m, type, from, err) : st;
}

static enum status extend_by(struct pickle_machine *m, enum pickle_type type, size_t n,
                             struct error *err)
{
    const size_t floor = m->n_marks ? m->marks[m->n_marks - 1] : 0;
    if (m->depth - floor < n)
        return pickle_error(m, err, "pickle-stack", "the stack holds too little");
    return extend(m, type, m->depth - n, err);
}

static enum status memo_put(struct pickle_machine *m, uint64_t index, struct error *err)
{
    struct pickle_value *v = NULL;
    uint8_t key[8];
    enum status st = top(m, &v, err);

    if (st != ST_OK)
        return st;
    if (m->memo_count >= m->limits->max_memo)
        return pickle_error(m, err, "pickle-limit", "too many memo entries");
    if (index < 1024 + 4 * m->memo_count) { /* dense: an array grows with the number of entries */
        while (index >= m->memo_cap) {
            const size_t before = m->memo_cap;
            struct pickle_value **p = grow(m->memo, &m->memo_cap, sizeof(struct pickle_value *));
            if (!p)
                return no_memory(err);
            m->memo = p;
            memset(p + before, 0, (m->memo_cap - before) * sizeof(struct pickle_value *));
        }
        m->memo_count += m->memo[index] == NULL;
        m->memo[index] = v;
        return ST_OK;
    }
    uint64_t value = (uint64_t)(uintptr_t)v;
    if (!m->far_memo && hash_map_open(&m->far_memo, 64, err) != ST_OK)
        return ST_FAIL;
    store_u64le(key, index);
    st = hash_map_insert(m->far_memo, key, sizeof key, &value, err);
    m->memo_count += st == ST_OK;
    if (st == ST_SKIP) {
        hash_map_set(m->far_memo, key, sizeof key, (uint64_t)(uintptr_t)v);
        st = ST_OK;
    }
    return st;
}

static enum status memo_get(struct pickle_machine *m, uint64_t index, struct error *err)
{
    uint64_t value = 0;
    uint8_t key[8];

    if (index < m->memo_cap && m->memo[index])
        return pickle_push(m, m->memo[index], err);
    store_u64le(key, index);
    if (!m->far_memo || !hash_map_get(m->far_memo, key, sizeof key, &value))
        return pickle_error(m, err, "pickle-memo", "a memo entry that was never put");
    return pickle_push(m, (struct pickle_value *)(uintptr_t)value, err);
}

static enum status line_index(struct pickle_machine *m, uint64_t *index, struct error *err)
{
    const char *line = NULL;
    size_t size = 0;
    int64_t v = 0;
    const enum status st = pickle_line(m, &line, &size, err);

    if (st == ST_OK && (!pickle_decimal(line, size, &v) || v < 0))
        return pickle_error(m, err, "pickle-memo", "an index that is no number");
    *index = (uint64_t)v;
    return st;
}

static enum status byte_index(struct pickle_machine *m, uint64_t *index, unsigned size,
                              struct error *err)
{
    const uint8_t *p = NULL;
    const enum status st = pickle_take(m, &p, size, err);
    if (st == ST_OK)
        *index = size == 1 ? *p : load_u32le(p);
    return st;
}

static enum status op_mark(struct pickle_machine *m, struct error *err)
{
    if (m->n_marks == m->marks_cap) {
        size_t *p = grow(m->marks, &m->marks_cap, sizeof *p);
        if (!p)
            return no_memory(err);
        m->marks = p;
    }
    m->marks[m->n_marks++] = m->depth;
    return ST_OK;
}

static enum status op_stop(struct pickle_machine *m, struct error *err)
{
    if (m->n_marks != 0 || m->depth != 1)
        return pickle_error(m, err, "pickle-stack", "not exactly one value on the stack");
    m->stopped = true;
    return ST_OK;
}

static enum status op_pop(struct pickle_machine *m, struct error *err)
{
    struct pickle_value *v = NULL;
    return pop(m, &v, err);
}

static enum status op_pop_mark(struct pickle_machine *m, struct error *err)
{
    return pop_mark(m, &m->depth, err);
}

static enum status op_dup(struct pickle_machine *m, struct error *err)
{
    struct pickle_value *v = NULL;
    const enum status st = top(m, &v, err);
    return st == ST_OK ? pickle_push(m, v, err) : st;
}

static enum status op_proto(struct pickle_machine *m, struct error *err)
{
    const uint8_t *p = NULL;
    const enum status st = pickle_take(m, &p, 1, err);
    if (st == ST_OK && *p > 5)
        return pickle_error(m, err, "pickle-value", "a protocol above 5");
    return st;
}

static enum status op_frame(struct pickle_machine *m, struct error *err)
{
    const uint8_t *p = NULL;

    if (m->frame_end)
        return pickle_error(m, err, "pickle-frame", "a frame inside a frame");
    if (pickle_take(m, &p, 8, err) != ST_OK)
        return ST_FAIL;
    const uint64_t size = load_u64le(p);
    if (size > cursor_left(&m->in))
        return pickle_error(m, err, "pickle-frame", "a frame longer than the file");
    m->frame_end = m->in.p + size;
    return ST_OK;
}

/* clang-format off: one line an opcode */
static enum status op_none(struct pickle_machine *m, struct error *err)
{
    return push_new(m, PICKLE_NONE, 0, err);
}
static enum status op_true(struct pickle_machine *m, struct error *err)
{
    return push_new(m, PICKLE_BOOL, 1, err);
}
static enum status op_false(struct pickle_machine *m, struct error *err)
{
    return push_new(m, PICKLE_BOOL, 0, err);
}
static enum status op_empty_list(struct pickle_machine *m, struct error *err)
{
    return push_new(m, PICKLE_LIST, 0, err);
}
static enum status op_empty_dict(struct pickle_machine *m, struct error *err)
{
    return push_new(m, PICKLE_DICT, 0, err);
}
static enum status op_empty_set(struct pickle_machine *m, struct error *err)
{
    return push_new(m, PICKLE_SET, 0, err);
}
static enum status op_empty_tuple(struct pickle_machine *m, struct error *err)
{
    return push_new(m, PICKLE_TUPLE, 0, err);
}
static enum status op_list(struct pickle_machine *m, struct error *err)
{
    return collect_marked(m, PICKLE_LIST, err);
}
static enum status op_dict(struct pickle_machine *m, struct error *err)
{
    return collect_marked(m, PICKLE_DICT, err);
}
static enum status op_tuple(struct pickle_machine *m, struct error *err)
{
    return collect_marked(m, PICKLE_TUPLE, err);
}
static enum status op_frozenset(struct pickle_machine *m, struct error *err)
{
    return collect_marked(m, PICKLE_FROZENSET, err);
}
static enum status op_tuple1(struct pickle_machine *m, struct error *err)
{
    return collect_last(m, 1, err);
}
static enum status op_tuple2(struct pickle_machine *m, struct error *err)
{
    return collect_last(m, 2, err);
}
static enum status op_tuple3(struct pickle_machine *m, struct error *err)
{
    return collect_last(m, 3, err);
}
static enum status op_append(struct pickle_machine *m, struct error *err)
{
    return extend_by(m, PICKLE_LIST, 1, err);
}
static enum status op_appends(struct pickle_machine *m, struct error *err)
{
    return extend_marked(m, PICKLE_LIST, err);
}
static enum status op_setitem(struct pickle_machine *m, struct error *err)
{
    return extend_by(m, PICKLE_DICT, 2, err);
}
static enum status op_setitems(struct pickle_machine *m, struct error *err)
{
    return extend_marked(m, PICKLE_DICT, err);
}
static enum status op_additems(struct pickle_machine *m, struct error *err)
{
    return extend_marked(m, PICKLE_SET, err);
}
static enum status op_memoize(struct pickle_machine *m, struct error *err)
{
    return memo_put(m, m->memo_count, err);
}
/* clang-format on */

static enum status op_put(struct pickle_machine *m, struct error *err)
{
    uint64_t index = 0;
    const enum status st = line_index(m, &index, err);
    return st == ST_OK ? memo_put(m, index, err) : st;
}

static enum status op_get(struct pickle_machine *m, struct error *err)
{
    uint64_t index = 0;
    const enum status st = line_index(m, &index, err);
    return st == ST_OK ? memo_get(m, index, err) : st;
}

static enum status op_binput(struct pickle_machine *m, struct error *err)
{
    uint64_t index = 0;
    const enum status st = byte_index(m, &index, 1, err);
    return st == ST_OK ? memo_put(m, index, err) : st;
}

static enum status op_long_binput(struct pickle_machine *m, struct error *err)
{
    uint64_t index = 0;
    const enum status st = byte_index(m, &index, 4, err);
    return st == ST_OK ? memo_put(m, index, err) : st;
}

static enum status op_binget(struct pickle_machine *m, struct error *err)
{
    uint64_t index = 0;
    const enum status st = byte_index(m, &index, 1, err);
    return st == ST_OK ? memo_get(m, index, err) : st;
}

static enum status op_long_binget(struct pickle_machine *m, struct error *err)
{
    uint64_t index = 0;
    const enum status st = byte_index(m, &index, 4, err);
    return st == ST_OK ? memo_get(m, index, err) : st;
}

struct opcode {
    const char *name;  /* NULL: no opcode */
    pickle_op_fn *run; /* NULL: refused */
};

static const struct opcode opcodes[256] = {
    ['('] = { "MARK", op_mark },
    ['.'] = { "STOP", op_stop },
    ['0'] = { "POP", op_pop },
    ['1'] = { "POP_MARK", op_pop_mark },
    ['2'] = { "DUP", op_dup },
    ['F'] = { "FLOAT", pickle_op_float },
    ['I'] = { "INT", pickle_op_int },
    ['J'] = { "BININT", pickle_op_binint },
    ['K'] = { "BININT1", pickle_op_binint1 },
    ['L'] = { "LONG", pickle_op_long },
    ['M'] = { "BININT2", pickle_op_binint2 },
    ['N'] = { "NONE", op_none },
    ['P'] = { "PERSID", NULL },
    ['Q'] = { "BINPERSID", NULL },
    ['R'] = { "REDUCE", NULL },
    ['S'] = { "STRING", pickle_op_string },
    ['T'] = { "BINSTRING", pickle_op_binstring },
    ['U'] = { "SHORT_BINSTRING", pickle_op_short_binstring },
    ['V'] = { "UNICODE", pickle_op_unicode },
    ['X'] = { "BINUNICODE", pickle_op_binunicode },
    ['a'] = { "APPEND", op_append },
    ['b'] = { "BUILD", NULL },
    ['c'] = { "GLOBAL", NULL },
    ['d'] = { "DICT", op_dict },
    ['}'] = { "EMPTY_DICT", op_empty_dict },
    ['e'] = { "APPENDS", op_appends },
    ['g'] = { "GET", op_get },
    ['h'] = { "BINGET", op_binget },
    ['i'] = { "INST", NULL },
    ['j'] = { "LONG_BINGET", op_long_binget },
    ['l'] = { "LIST", op_list },
    [']'] = { "EMPTY_LIST", op_empty_list },
    ['o'] = { "OBJ", NULL },
    ['p'] = { "PUT", op_put },
    ['q'] = { "BINPUT", op_binput },
    ['r'] = { "LONG_BINPUT", op_long_binput },
    ['s'] = { "SETITEM", op_setitem },
    ['t'] = { "TUPLE", op_tuple },
    [')'] = { "EMPTY_TUPLE", op_empty_tuple },
    ['u'] = { "SETITEMS", op_setitems },
    ['G'] = { "BINFLOAT", pickle_op_binfloat },
    ['B'] = { "BINBYTES", pickle_op_binbytes },
    ['C'] = { "SHORT_BINBYTES", pickle_op_short_binbytes },
    [0x80] = { "PROTO", op_proto },
    [0x81] = { "NEWOBJ", NULL },
    [0x82] = { "EXT1", NULL },
    [0x83] = { "EXT2", NULL },
    [0x84] = { "EXT4", NULL },
    [0x85] = { "TUPLE1", op_tuple1 },
    [0x86] = { "TUPLE2", op_tuple2 },
    [0x87] = { "TUPLE3", op_tuple3 },
    [0x88] = { "NEWTRUE", op_true },
    [0x89] = { "NEWFALSE", op_false },
    [0x8a] = { "LONG1", pickle_op_long1 },
    [0x8b] = { "LONG4", pickle_op_long4 },
    [0x8c] = { "SHORT_BINUNICODE", pickle_op_short_binunicode },
    [0x8d] = { "BINUNICODE8", pickle_op_binunicode8 },
    [0x8e] = { "BINBYTES8", pickle_op_binbytes8 },
    [0x8f] = { "EMPTY_SET", op_empty_set },
    [0x90] = { "ADDITEMS", op_additems },
    [0x91] = { "FROZENSET", op_frozenset },
    [0x92] = { "NEWOBJ_EX", NULL },
    [0x93] = { "STACK_GLOBAL", NULL },
    [0x94] = { "MEMOIZE", op_memoize },
    [0x95] = { "FRAME", op_frame },
    [0x96] = { "BYTEARRAY8", pickle_op_binbytes8 },
    [0x97] = { "NEXT_BUFFER", NULL },
    [0x98] = { "READONLY_BUFFER", NULL },
};

/* Names what a refused opcode would have imported, where the pickle says it. */
static enum status refuse(struct pickle_machine *m, uint8_t code, struct error *err)
{
    const char *module = "", *name = "";
    size_t module_size = 0, name_size = 0;

    if (code == 'c' || code == 'i') {
        if (pickle_line(m, &module, &module_size, NULL) != ST_OK ||
            pickle_line(m, &name, &name_size, NULL) != ST_OK)
            module_size = name_size = 0;
    } else if (code == 0x93 && m->depth >= 2 && pickle_is_string(m->stack[m->depth - 1]) &&
               pickle_is_string(m->stack[m->depth - 2])) {
        module = m->stack[m->depth - 2]->bytes;
        module_size = m->stack[m->depth - 2]->count;
        name = m->stack[m->depth - 1]->bytes;
        name_size = m->stack[m->depth - 1]->count;
    }
    error_set(err, ST_FAIL, CAUSE_FORMAT, "byte %" PRIu64 ": refused opcode %s%s%.*s%s%.*s", m->at,
              m->name, module_size ? " of " : "", (int)(module_size < 100 ? module_size : 100),
              module, module_size ? "." : "", (int)(name_size < 100 ? name_size : 100), name);
    return error_code(err, ST_FAIL, "pickle-refused");
}

static enum status step(struct pickle_machine *m, struct error *err)
{
    uint8_t code = 0;

    m->at = cursor_offset(&m->in);
    m->name = "pickle";
    if (m->frame_end == m->in.p)
        m->frame_end = NULL;
    if (!get_u8(&m->in, &code))
        return pickle_error(m, err, "pickle-cut", "no STOP");
    if (!opcodes[code].name)
        return pickle_error(m, err, "pickle-opcode", "a byte that is no opcode");
    m->name = opcodes[code].name;
    if (m->operations++ == m->limits->max_operations)
        return pickle_error(m, err, "pickle-limit", "too many operations");
    return opcodes[code].run ? opcodes[code].run(m, err) : refuse(m, code, err);
}

enum status pickle_parse(struct pickle_value **out, struct arena *arena, const uint8_t *data,
                         size_t size, const struct pickle_limits *limits, struct error *err)
{
    struct pickle_limits defaults;
    pickle_limits_init(&defaults);
    struct pickle_machine m = { .in = cursor_make(data, size, 0),
                                .arena = arena,
                                .limits = limits ? limits : &defaults,
                                .name = "pickle" };
    enum status st = ST_OK;

    *out = NULL;
    while (st == ST_OK && !m.stopped)
        st = step(&m, err);
    if (st == ST_OK && cursor_left(&m.in) > 0)
        st = pickle_error(&m, err, "pickle-trailing", "bytes behind it");
    if (st == ST_OK)
        st = pickle_check(&m, m.stack[0], err);
    if (st == ST_OK)
        *out = m.stack[0];
    mem_free(m.stack);
    mem_free(m.marks);
    mem_free(m.memo);
    hash_map_close(&m.far_memo);
    return st;
}

bool pickle_is_string(const struct pickle_value *v)
{
    return v && (v->type == PICKLE_BYTES || v->type == PICKLE_TEXT);
}

const struct pickle_value *pickle_get(const struct pickle_value *v, const char *key)
{
    const size_t size = strlen(key);

    if (!v || v->type != PICKLE_DICT)
        return NULL;
    for (size_t i = 0; i + 1 < v->count; i += 2)
        if (pickle_is_string(v->items[i]) && v->items[i]->count == size &&
            memcmp(v->items[i]->bytes, key, size) == 0)
            return v->items[i + 1];
    return NULL;
}
