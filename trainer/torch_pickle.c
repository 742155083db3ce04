/* trainer/torch_pickle.c: a data-only pickle interpreter: a stack, marks, a memo. It builds values and calls
 * nothing. The forms that PyTorch writes (protocols 2 to 5); the text forms of protocol 0 are refused. */
#include <inttypes.h>
#include <string.h>

#include "core/bytes.h"
#include "core/hash.h"
#include "trainer/torch_private.h"

enum { STACK_MAX = 1 << 20, MEMO_MAX = 1 << 22, STEPS_MAX = 50000000 };

struct machine {
    struct cursor in;
    struct arena *memory;
    const char *where;
    struct pickle_value **stack; /* NULL entries are marks */
    size_t depth, stack_cap;
    struct pickle_value **memo;
    size_t memo_cap, memo_count;
    uint64_t at; /* byte of the current opcode */
    struct error *err;
};

static enum status bad(struct machine *m, const char *what)
{
    return error_set(m->err, ST_FAIL, CAUSE_FORMAT, "%s: data.pkl: byte %" PRIu64 ": %s", m->where,
                     m->at, what);
}

static enum status no_memory(struct machine *m)
{
    return error_set(m->err, ST_FAIL, CAUSE_NOMEM, "out of memory: %s", m->where);
}

static struct pickle_value *value(struct machine *m, enum pickle_type type)
{
    struct pickle_value *v = arena_alloc(m->memory, 1, sizeof *v);
    if (!v) {
        no_memory(m);
        return NULL;
    }
    memset(v, 0, sizeof *v);
    v->type = type;
    return v;
}

static enum status push(struct machine *m, struct pickle_value *v)
{
    if (m->depth == STACK_MAX)
        return bad(m, "the stack is too deep");
    if (m->depth == m->stack_cap) {
        const size_t cap = m->stack_cap ? 2 * m->stack_cap : 256;
        struct pickle_value **s = mem_realloc(m->stack, cap, sizeof(struct pickle_value *));
        if (!s)
            return no_memory(m);
        m->stack = s;
        m->stack_cap = cap;
    }
    m->stack[m->depth++] = v;
    return ST_OK;
}

static enum status push_new(struct machine *m, enum pickle_type type, int64_t integer)
{
    struct pickle_value *v = value(m, type);
    if (!v)
        return ST_FAIL;
    v->integer = integer;
    return push(m, v);
}

/* NULL where the stack is empty or a mark lies on top. */
static struct pickle_value *pop(struct machine *m)
{
    if (m->depth == 0 || !m->stack[m->depth - 1]) {
        bad(m, "the stack lacks a value");
        return NULL;
    }
    return m->stack[--m->depth];
}

static struct pickle_value *top(struct machine *m)
{
    if (m->depth == 0 || !m->stack[m->depth - 1]) {
        bad(m, "the stack lacks a value");
        return NULL;
    }
    return m->stack[m->depth - 1];
}

static enum status append(struct machine *m, struct pickle_value *to, struct pickle_value *v)
{
    struct pickle_cell *c = arena_alloc(m->memory, 1, sizeof *c);
    if (!c)
        return no_memory(m);
    *c = (struct pickle_cell){ v, NULL };
    if (to->last)
        to->last->next = c;
    else
        to->first = c;
    to->last = c;
    to->count++;
    return ST_OK;
}

/* Index above the topmost mark, or SIZE_MAX. */
static size_t above_mark(struct machine *m)
{
    for (size_t i = m->depth; i-- > 0;)
        if (!m->stack[i])
            return i + 1;
    bad(m, "no mark on the stack");
    return SIZE_MAX;
}

/* Moves stack[from..depth) into `to`. */
static enum status gather(struct machine *m, struct pickle_value *to, size_t from)
{
    for (size_t i = from; i < m->depth; i++)
        if (append(m, to, m->stack[i]) != ST_OK)
            return ST_FAIL;
    m->depth = from;
    return ST_OK;
}

static enum status tuple_of(struct machine *m, size_t n)
{
    struct pickle_value *v = value(m, PICKLE_LIST);
    if (!v)
        return ST_FAIL;
    for (size_t i = 0; i < n; i++)
        if (m->depth < n || !m->stack[m->depth - 1 - i])
            return bad(m, "the stack lacks a value");
    if (gather(m, v, m->depth - n) != ST_OK)
        return ST_FAIL;
    return push(m, v);
}

static enum status collect(struct machine *m, enum pickle_type type)
{
    const size_t from = above_mark(m);
    struct pickle_value *v = from != SIZE_MAX ? value(m, type) : NULL;
    if (!v || gather(m, v, from) != ST_OK)
        return ST_FAIL;
    if (type == PICKLE_DICT && v->count % 2)
        return bad(m, "a key without a value");
    m->depth = from - 1; /* the mark */
    return push(m, v);
}

/* Values above the mark go into the container below it. */
static enum status extend(struct machine *m, enum pickle_type type)
{
    const size_t from = above_mark(m);
    if (from == SIZE_MAX)
        return ST_FAIL;
    if (type == PICKLE_DICT && (m->depth - from) % 2)
        return bad(m, "a key without a value");
    struct pickle_value *to = from >= 2 ? m->stack[from - 2] : NULL;
    if (!to || to->type != type)
        return bad(m, "no container for these values");
    if (gather(m, to, from) != ST_OK)
        return ST_FAIL;
    m->depth = from - 1;
    return ST_OK;
}

static enum status set_one(struct machine *m, enum pickle_type type)
{
    struct pickle_value *v = pop(m), *k = v && type == PICKLE_DICT ? pop(m) : NULL;
    if (!v || (type == PICKLE_DICT && !k))
        return ST_FAIL;
    struct pickle_value *to = top(m);
    if (!to)
        return ST_FAIL;
    if (to->type != type)
        return bad(m, "no container for this value");
    if (k && append(m, to, k) != ST_OK)
        return ST_FAIL;
    return append(m, to, v);
}

static enum status remember(struct machine *m, uint64_t index)
{
    struct pickle_value *v = top(m);
    if (!v)
        return ST_FAIL;
    if (index >= MEMO_MAX)
        return bad(m, "memo index is too large");
    if (index >= m->memo_cap) {
        size_t cap = m->memo_cap ? m->memo_cap : 256;
        while (cap <= index)
            cap *= 2;
        struct pickle_value **memo = mem_realloc(m->memo, cap, sizeof(struct pickle_value *));
        if (!memo)
            return no_memory(m);
        memset(memo + m->memo_cap, 0, (cap - m->memo_cap) * sizeof(struct pickle_value *));
        m->memo = memo;
        m->memo_cap = cap;
    }
    m->memo[index] = v;
    m->memo_count++;
    return ST_OK;
}

static enum status recall(struct machine *m, uint64_t index)
{
    if (index >= m->memo_cap || !m->memo[index])
        return bad(m, "memo index was never set");
    return push(m, m->memo[index]);
}

static enum status push_text(struct machine *m, uint64_t size)
{
    const uint8_t *p = size <= cursor_left(&m->in) ? cursor_take(&m->in, (size_t)size) : NULL;
    struct pickle_value *v = p ? value(m, PICKLE_TEXT) : NULL;
    if (!p)
        return bad(m, "a string runs past the end");
    if (!v)
        return ST_FAIL;
    v->text = arena_strndup(m->memory, (const char *)p, (size_t)size);
    v->size = (size_t)size;
    return v->text ? push(m, v) : no_memory(m);
}

/* A line of GLOBAL, without its newline. */
static const char *line(struct machine *m, size_t *size)
{
    const uint8_t *start = m->in.p, *end = memchr(start, '\n', cursor_left(&m->in));
    if (!end)
        return NULL;
    *size = (size_t)(end - start);
    m->in.p = end + 1;
    return (const char *)start;
}

static const struct {
    const char *module, *name;
    enum pickle_name what;
    enum tensor_type type;
} known[] = {
    { "torch._utils", "_rebuild_tensor_v2", NAME_REBUILD_TENSOR, TENSOR_F32 },
    { "torch._utils", "_rebuild_parameter", NAME_REBUILD_PARAMETER, TENSOR_F32 },
    { "collections", "OrderedDict", NAME_ORDERED_DICT, TENSOR_F32 },
    { "torch", "FloatStorage", NAME_STORAGE, TENSOR_F32 },
    { "torch", "HalfStorage", NAME_STORAGE, TENSOR_F16 },
    { "torch", "BFloat16Storage", NAME_STORAGE, TENSOR_BF16 },
    { "torch", "DoubleStorage", NAME_STORAGE, TENSOR_F64 },
    { "torch", "LongStorage", NAME_STORAGE, TENSOR_I64 },
    { "torch", "IntStorage", NAME_STORAGE, TENSOR_I32 },
    { "torch", "ShortStorage", NAME_STORAGE, TENSOR_I16 },
    { "torch", "CharStorage", NAME_STORAGE, TENSOR_I8 },
    { "torch", "ByteStorage", NAME_STORAGE, TENSOR_U8 },
    { "torch", "BoolStorage", NAME_STORAGE, TENSOR_BOOL },
};

static bool same(const char *s, const char *t, size_t size)
{
    return strlen(s) == size && memcmp(s, t, size) == 0;
}

static enum status push_name(struct machine *m, const char *module, size_t module_size,
                             const char *name, size_t name_size)
{
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (same(known[i].module, module, module_size) && same(known[i].name, name, name_size)) {
            struct pickle_value *v = value(m, PICKLE_NAME);
            if (!v)
                return ST_FAIL;
            v->integer = known[i].what;
            v->dtype = known[i].type;
            return push(m, v);
        }
    return error_set(m->err, ST_FAIL, CAUSE_FORMAT,
                     "%s: data.pkl: byte %" PRIu64 ": imports %.*s.%.*s, which is no part of a "
                     "state dict of tensors",
                     m->where, m->at, (int)(module_size > 80 ? 80 : module_size), module,
                     (int)(name_size > 80 ? 80 : name_size), name);
}

static enum status global(struct machine *m)
{
    size_t a = 0, b = 0;
    const char *module = line(m, &a), *name = module ? line(m, &b) : NULL;
    return name ? push_name(m, module, a, name, b) : bad(m, "GLOBAL runs past the end");
}

static enum status stack_global(struct machine *m)
{
    const struct pickle_value *name = pop(m), *module = name ? pop(m) : NULL;
    if (!module)
        return ST_FAIL;
    if (name->type != PICKLE_TEXT || module->type != PICKLE_TEXT)
        return bad(m, "STACK_GLOBAL without two strings");
    return push_name(m, module->text, module->size, name->text, name->size);
}

static const struct pickle_value *item(const struct pickle_value *list, size_t i)
{
    const struct pickle_cell *c = list->first;
    while (c && i-- > 0)
        c = c->next;
    return c ? c->value : NULL;
}

/* ('storage', torch.XStorage, key, location, elements) */
static enum status persistent(struct machine *m)
{
    const struct pickle_value *id = pop(m);
    if (!id)
        return ST_FAIL;
    const struct pickle_value *word = id->type == PICKLE_LIST ? item(id, 0) : NULL;
    const struct pickle_value *type = word ? item(id, 1) : NULL, *key = word ? item(id, 2) : NULL;
    const struct pickle_value *count = word ? item(id, 4) : NULL;
    if (!count || id->count != 5 || word->type != PICKLE_TEXT ||
        !same("storage", word->text, word->size) || type->type != PICKLE_NAME ||
        type->integer != NAME_STORAGE || key->type != PICKLE_TEXT || count->type != PICKLE_INT ||
        count->integer < 0)
        return bad(m, "BINPERSID is no storage");
    struct pickle_value *v = value(m, PICKLE_STORAGE);
    if (!v)
        return ST_FAIL;
    v->storage = (struct pickle_storage){ type->dtype, key->text, count->integer };
    return push(m, v);
}

static bool read_axes(const struct pickle_value *list, int64_t *out, int *n)
{
    if (list->type != PICKLE_LIST || list->count > TENSOR_RANK_MAX)
        return false;
    *n = 0;
    for (const struct pickle_cell *c = list->first; c; c = c->next) {
        if (c->value->type != PICKLE_INT || c->value->integer < 0)
            return false;
        out[(*n)++] = c->value->integer;
    }
    return true;
}

/* (storage, offset, size, stride, requires_grad, hooks[, metadata]) */
static enum status rebuild_tensor(struct machine *m, const struct pickle_value *args)
{
    const struct pickle_value *storage = item(args, 0), *offset = item(args, 1);
    const struct pickle_value *size = item(args, 2), *stride = item(args, 3);
    struct pickle_value *v = value(m, PICKLE_TENSOR);
    int strides = 0;
    if (!v)
        return ST_FAIL;
    if (args->count < 6 || args->count > 7 || storage->type != PICKLE_STORAGE ||
        offset->type != PICKLE_INT || offset->integer < 0 ||
        !read_axes(size, v->tensor.shape, &v->tensor.rank) ||
        !read_axes(stride, v->tensor.stride, &strides) || strides != v->tensor.rank)
        return bad(m, "_rebuild_tensor_v2 has other arguments than a tensor's");
    v->tensor.storage = &storage->storage;
    v->tensor.offset = offset->integer;
    return push(m, v);
}

static enum status reduce(struct machine *m)
{
    const struct pickle_value *args = pop(m), *what = args ? pop(m) : NULL;
    if (!what)
        return ST_FAIL;
    if (what->type != PICKLE_NAME || args->type != PICKLE_LIST)
        return bad(m, "REDUCE of something else than a known name and a tuple");
    if (what->integer == NAME_REBUILD_TENSOR)
        return rebuild_tensor(m, args);
    if (what->integer == NAME_ORDERED_DICT && args->count == 0)
        return push_new(m, PICKLE_DICT, 0);
    const struct pickle_cell *first = args->first;
    if (what->integer == NAME_REBUILD_PARAMETER && args->count == 3 && first &&
        first->value->type == PICKLE_TENSOR)
        return push(m, first->value);
    return bad(m, "REDUCE with arguments that no state dict has");
}

/* The attributes of an OrderedDict (torch keeps versions of modules there) are dropped. */
static enum status build(struct machine *m)
{
    const struct pickle_value *attributes = pop(m), *object = attributes ? top(m) : NULL;
    if (!object)
        return ST_FAIL;
    if (object->type != PICKLE_DICT || attributes->type != PICKLE_DICT)
        return bad(m, "BUILD of something else than a dictionary");
    return ST_OK;
}

static enum status push_long(struct machine *m, uint64_t size)
{
    const uint8_t *p = size <= 8 ? cursor_take(&m->in, (size_t)size) : NULL;
    uint64_t v = 0;
    if (!p)
        return bad(m, "an integer is longer than 64 bits or runs past the end");
    for (uint64_t i = 0; i < size; i++)
        v |= (uint64_t)p[i] << (8 * i);
    if (size > 0 && size < 8 && p[size - 1] & 0x80)
        v |= UINT64_MAX << (8 * size);
    return push_new(m, PICKLE_INT, (int64_t)v);
}

static enum status sized(struct machine *m, int width,
                         enum status (*take)(struct machine *, uint64_t))
{
    uint64_t n = 0;
    const uint8_t *p = cursor_take(&m->in, (size_t)width);
    if (!p)
        return bad(m, "ends early");
    for (int i = 0; i < width; i++)
        n |= (uint64_t)p[i] << (8 * i);
    return take(m, n);
}

static enum status push_u16(struct machine *m, uint64_t v)
{
    return push_new(m, PICKLE_INT, (int64_t)v);
}

static enum status push_i32(struct machine *m, uint64_t v)
{
    return push_new(m, PICKLE_INT, (int32_t)(uint32_t)v);
}

static enum status check_frame(struct machine *m, uint64_t size)
{
    return size <= cursor_left(&m->in) ? ST_OK : bad(m, "FRAME runs past the end");
}

static enum status push_float(struct machine *m)
{
    return cursor_take(&m->in, 8) ? push_new(m, PICKLE_FLOAT, 0) : bad(m, "ends early");
}

static enum status pop_mark(struct machine *m)
{
    const size_t from = above_mark(m);
    if (from == SIZE_MAX)
        return ST_FAIL;
    m->depth = from - 1;
    return ST_OK;
}

static enum status duplicate(struct machine *m)
{
    struct pickle_value *v = top(m);
    return v ? push(m, v) : ST_FAIL;
}

static enum status refuse(struct machine *m, unsigned op)
{
    return error_set(m->err, ST_FAIL, CAUSE_FORMAT,
                     "%s: data.pkl: byte %" PRIu64
                     ": opcode 0x%02x is refused: it is not needed to "
                     "describe tensors",
                     m->where, m->at, op);
}

static enum status protocol(struct machine *m, uint64_t v)
{
    return v >= 2 && v <= 5 ? ST_OK : bad(m, "protocol is none of 2 to 5");
}

/* Opcodes of containers and names. */
static enum status step_object(struct machine *m, unsigned op)
{
    switch (op) {
    case 'c':
        return global(m);
    case 0x93:
        return stack_global(m);
    case 'Q':
        return persistent(m);
    case 'R':
        return reduce(m);
    case 'b':
        return build(m);
    case ']':
    case ')':
    case 0x8f:
        return push_new(m, PICKLE_LIST, 0);
    case '}':
        return push_new(m, PICKLE_DICT, 0);
    case 't':
    case 'l':
    case 0x91:
        return collect(m, PICKLE_LIST);
    case 'd':
        return collect(m, PICKLE_DICT);
    case 0x85:
        return tuple_of(m, 1);
    case 0x86:
        return tuple_of(m, 2);
    case 0x87:
        return tuple_of(m, 3);
    case 'a':
        return set_one(m, PICKLE_LIST);
    case 's':
        return set_one(m, PICKLE_DICT);
    case 'e':
    case 0x90:
        return extend(m, PICKLE_LIST);
    case 'u':
        return extend(m, PICKLE_DICT);
    default:
        return refuse(m, op);
    }
}

static enum status step(struct machine *m, unsigned op)
{
    switch (op) {
    case 0x80:
        return sized(m, 1, protocol);
    case 0x95:
        return sized(m, 8, check_frame);
    case '(':
        return push(m, NULL);
    case '0':
        return pop(m) ? ST_OK : ST_FAIL;
    case '1':
        return pop_mark(m);
    case '2':
        return duplicate(m);
    case 'N':
        return push_new(m, PICKLE_NONE, 0);
    case 0x88:
        return push_new(m, PICKLE_BOOL, 1);
    case 0x89:
        return push_new(m, PICKLE_BOOL, 0);
    case 'K':
        return sized(m, 1, push_u16);
    case 'M':
        return sized(m, 2, push_u16);
    case 'J':
        return sized(m, 4, push_i32);
    case 0x8a:
        return sized(m, 1, push_long);
    case 0x8b:
        return sized(m, 4, push_long);
    case 'G':
        return push_float(m);
    case 'X':
    case 'B':
    case 'T':
        return sized(m, 4, push_text);
    case 0x8c:
    case 'C':
    case 'U':
        return sized(m, 1, push_text);
    case 0x8d:
    case 0x8e:
        return sized(m, 8, push_text);
    case 'q':
        return sized(m, 1, remember);
    case 'r':
        return sized(m, 4, remember);
    case 0x94:
        return remember(m, m->memo_count);
    case 'h':
        return sized(m, 1, recall);
    case 'j':
        return sized(m, 4, recall);
    default:
        return step_object(m, op);
    }
}

static enum status run(struct machine *m, struct pickle_value **out)
{
    uint8_t op = 0;
    for (int64_t n = 0; n < STEPS_MAX; n++) {
        m->at = cursor_offset(&m->in);
        if (!get_u8(&m->in, &op))
            return bad(m, "ends without STOP");
        if (op == '.') {
            *out = m->depth == 1 ? m->stack[0] : NULL;
            if (!*out)
                return bad(m, "STOP with other than one value");
            return cursor_left(&m->in) == 0 ? ST_OK : bad(m, "bytes after STOP");
        }
        if (step(m, op) != ST_OK)
            return ST_FAIL;
    }
    return bad(m, "too many opcodes");
}

enum status pickle_read(struct pickle_value **out, struct arena *memory, const char *where,
                        const uint8_t *data, size_t size, struct error *err)
{
    struct machine m = {
        .in = cursor_make(data, size, 0), .memory = memory, .where = where, .err = err
    };
    *out = NULL;
    const enum status st = run(&m, out);
    mem_free(m.stack);
    mem_free(m.memo);
    return st;
}
