/* ingest/source_tar.c: image-text pairs out of a webdataset tar (spec data.md 1.2): adjacent members of one
 * stem are a sample, its picture and its .json make a pair. A sample that lacks one of them, repeats a
 * KEY, or is cut is one damaged record; its raw bytes reach from its first header to the end of its
 * last member. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/json.h"
#include "core/mem.h"
#include "ingest/source_private.h"
#include "ingest/tar.h"

enum member_kind { MEMBER_NONE, MEMBER_PICTURE, MEMBER_JSON, MEMBER_OTHER };
enum { EXTENSIONS_MOST = 32 }; /* members of a sample whose extensions are remembered */

/* A member as it came, or the damage in its place. */
struct arrival {
    enum status st;
    struct tar_member m; /* name is owned here */
    char *name;
    struct error err;
};

struct source_tar {
    struct source head; /* first */
    struct tar *tar;
    struct source_limits limits;
    char *stem; /* TAR */
    struct arrival ahead;
    bool has_ahead;
    struct error late; /* damage to be told after the sample */
    bool has_late;
    char *late_name;
    struct hash_map *keys; /* of the pairs given */
    struct json *json;
    struct arena arena;
    struct arena_mark start;
    struct buffer picture, text;
    struct document doc;
    struct document_image image;
    char why[300];
    /* the sample that is being put together */
    char *key, *picture_name, *bad_name;
    uint64_t begin, end; /* of its bytes in the file */
    uint64_t picture_at; /* of its picture's */
    bool has_picture, has_json, two_pictures;
    struct error bad; /* of one of its needed members */
    char *extensions[EXTENSIONS_MOST];
    size_t extension_count;
};

static struct source_tar *tar_of(struct source *s)
{
    return (struct source_tar *)(void *)s; /* the head is its first member */
}

static enum status no_memory(struct error *err)
{
    return error_set(err, ST_FAIL, CAUSE_NOMEM, "pairs: out of memory");
}

static void sample_clear(struct source_tar *s)
{
    mem_free(s->key);
    mem_free(s->picture_name);
    mem_free(s->bad_name);
    for (size_t i = 0; i < s->extension_count; i++)
        mem_free(s->extensions[i]);
    s->key = s->picture_name = s->bad_name = NULL;
    s->extension_count = 0;
    s->has_picture = s->has_json = s->two_pictures = false;
    error_clear(&s->bad);
}

static void arrival_clear(struct arrival *a)
{
    mem_free(a->name);
    *a = (struct arrival){ .st = ST_OK };
}

/* The bytes of `name` in front of its extension; 0 where it is no member of a sample: no extension, or
 * a base name that begins with a dot. *extension is behind the dot. */
static size_t stem_size(const char *name, const char **extension)
{
    const char *base = path_base(name), *dot = strchr(base, '.');
    *extension = dot ? dot + 1 : "";
    return dot && dot > base ? (size_t)(dot - name) : 0;
}

static char *lower_copy(const char *s)
{
    char *copy = mem_strdup(s);
    for (char *p = copy; p && *p; p++)
        if (*p >= 'A' && *p <= 'Z')
            *p = (char)(*p + 32);
    return copy;
}

static enum member_kind kind_of(const char *extension)
{
    static const char *const pictures[] = { "jpg", "jpeg", "png",  "webp", "gif",
                                            "bmp", "avif", "heic", "jfif", "tiff" };
    if (strcmp(extension, "json") == 0)
        return MEMBER_JSON;
    for (size_t i = 0; i < sizeof pictures / sizeof *pictures; i++)
        if (strcmp(extension, pictures[i]) == 0)
            return MEMBER_PICTURE;
    return MEMBER_OTHER;
}

/* The next member of a sample, or damage, into `a`. ST_END, ST_FAIL. */
static enum status arrive(struct source_tar *s, struct arrival *a, struct error *err)
{
    const char *extension = NULL;
    if (s->has_ahead) {
        *a = s->ahead;
        s->ahead = (struct arrival){ .st = ST_OK };
        s->has_ahead = false;
        return ST_OK;
    }
    for (;;) {
        *a = (struct arrival){ .st = ST_OK };
        a->st = tar_next(s->tar, &a->m, &a->err);
        if (a->st == ST_FAIL && err && err->cause == CAUSE_NONE)
            *err = a->err;
        if (a->st == ST_END || a->st == ST_FAIL)
            return a->st;
        if (a->st == ST_OK && stem_size(a->m.name, &extension) == 0)
            continue; /* no member of any sample */
        if (a->st == ST_SKIP && s->why[0] == '\0')
            snprintf(s->why, sizeof s->why, "%.290s", a->err.text);
        if (a->m.name) {
            a->name = mem_strdup(a->m.name);
            if (!a->name)
                return no_memory(err);
        }
        return ST_OK;
    }
}

static void hold(struct source_tar *s, struct arrival *a)
{
    s->ahead = *a;
    s->has_ahead = true;
    *a = (struct arrival){ .st = ST_OK };
}

static bool seen_extension(const struct source_tar *s, const char *extension)
{
    for (size_t i = 0; i < s->extension_count; i++)
        if (strcmp(s->extensions[i], extension) == 0)
            return true;
    return false;
}

/* Does the member go on with the sample? A repeated extension begins another one. */
static bool belongs(const struct source_tar *s, size_t stem, const char *name,
                    const char *extension)
{
    return strlen(s->key) == stem && memcmp(s->key, name, stem) == 0 &&
           !seen_extension(s, extension) && s->extension_count < EXTENSIONS_MOST;
}

static enum status take_bytes(struct source_tar *s, const struct arrival *a, enum member_kind kind,
                              struct error *err)
{
    if (kind == MEMBER_JSON) {
        s->has_json = true;
        return tar_read(s->tar, &s->text, &a->m, err);
    }
    if (kind != MEMBER_PICTURE)
        return ST_OK;
    if (s->has_picture) {
        s->two_pictures = true;
        return ST_OK;
    }
    s->has_picture = true;
    s->picture_at = a->m.data;
    s->picture_name = mem_strdup(path_base(a->name));
    return s->picture_name ? tar_read(s->tar, &s->picture, &a->m, err) : no_memory(err);
}

static enum status begin_sample(struct source_tar *s, const struct arrival *a, size_t stem,
                                struct error *err)
{
    sample_clear(s);
    s->key = mem_strndup(a->name, stem);
    s->begin = a->m.header;
    return s->key ? ST_OK : no_memory(err);
}

/* Damage of a member: of the sample where it needs the member, else told behind it. */
static enum status take_damage(struct source_tar *s, const struct arrival *a, enum member_kind kind,
                               struct error *err)
{
    const bool needed = kind == MEMBER_PICTURE || kind == MEMBER_JSON;
    char **name = needed ? &s->bad_name : &s->late_name;
    if (needed ? s->bad.cause != CAUSE_NONE : s->has_late)
        return ST_OK; /* the first says enough */
    mem_free(*name);
    *name = mem_strdup(a->name);
    if (needed)
        s->bad = a->err;
    else
        s->late = a->err;
    s->has_late |= !needed;
    return *name ? ST_OK : no_memory(err);
}

/* Damage with no member's name: it ends the sample, and explains what the sample lacks. *over: the
 * sample is complete as far as it goes. */
static void take_fault(struct source_tar *s, const struct arrival *a, bool *over)
{
    const bool whole = s->has_picture && s->has_json && s->bad.cause == CAUSE_NONE;
    const bool header = strcmp(a->err.code, "tar-header") == 0;
    *over = !header || whole;
    if (!s->key || whole) {
        s->late = a->err;
        s->has_late = true;
        mem_free(s->late_name);
        s->late_name = NULL;
    } else if (s->bad.cause == CAUSE_NONE || strcmp(s->bad.code, "tar-cut") != 0) {
        s->bad = a->err;
    }
}

/* One arrival into the sample. *over: the sample has all its members. */
static enum status absorb(struct source_tar *s, struct arrival *a, bool *over, struct error *err)
{
    const char *extension = NULL;
    if (!a->name) {
        take_fault(s, a, over);
        return ST_OK;
    }
    const size_t stem = stem_size(a->name, &extension);
    char *lower = lower_copy(extension);
    if (!lower)
        return no_memory(err);
    enum status st = s->key ? ST_OK : begin_sample(s, a, stem, err);
    if (st == ST_OK && !belongs(s, stem, a->name, lower)) {
        *over = true;
        hold(s, a);
    } else if (st == ST_OK) {
        const enum member_kind kind = kind_of(lower);
        s->extensions[s->extension_count++] = lower;
        lower = NULL;
        s->end = a->m.data + (a->st == ST_OK ? a->m.size : 0);
        st = a->st == ST_OK ? take_bytes(s, a, kind, err) : take_damage(s, a, kind, err);
    }
    mem_free(lower);
    return st;
}

/* Puts the next sample together. ST_END: neither a sample nor damage is left. */
static enum status gather(struct source_tar *s, struct error *err)
{
    bool over = false;
    enum status st = ST_OK;
    sample_clear(s);
    s->end = s->begin = 0;
    while (st == ST_OK && !over) {
        struct arrival a;
        st = arrive(s, &a, err);
        if (st == ST_OK)
            st = absorb(s, &a, &over, err);
        arrival_clear(&a);
        over |= s->has_late && !s->key;
    }
    return st == ST_END && s->key ? ST_OK : st;
}

static struct text text_of(const char *s)
{
    return (struct text){ s, s ? strlen(s) : 0 };
}

/* Place, length and hash of the sample's raw bytes. */
static enum status fill_damage(struct source_tar *s, struct source_damage *damage,
                               struct error *err)
{
    const uint64_t end = s->end < tar_info(s->tar)->size ? s->end : tar_info(s->tar)->size;
    const struct tar_member raw = { .data = s->begin, .size = end > s->begin ? end - s->begin : 0 };
    damage->record = text_of(s->key);
    damage->member = text_of(s->bad_name);
    damage->offset = s->begin;
    damage->length = raw.size;
    struct error failed = { 0 };
    const enum status st = tar_hash(s->tar, &damage->hash, &raw, &failed);
    if (st == ST_OK)
        return ST_SKIP;
    if (err)
        *err = failed; /* graver than the damage that stands there */
    return st;
}

static enum status give_late(struct source_tar *s, struct source_damage *damage, struct error *err)
{
    s->has_late = false;
    damage->record = text_of(s->late_name ? s->late_name : "");
    damage->member = text_of(s->late_name);
    if (s->late_name) {
        const char *extension = NULL;
        damage->record.size = stem_size(s->late_name, &extension);
    }
    damage->offset = tar_info(s->tar)->size;
    damage->hash = hash_xxh3_64("", 0);
    if (err && err->cause == CAUSE_NONE)
        *err = s->late;
    return ST_SKIP;
}

/* What is wrong with a sample before its JSON is read; code NULL: nothing. */
static enum status check_sample(struct source_tar *s, struct error *err)
{
    uint64_t unused = 0;
    const char *code = NULL, *what = NULL;
    if (s->bad.cause != CAUSE_NONE) {
        if (err && err->cause == CAUSE_NONE)
            *err = s->bad;
        return ST_SKIP;
    }
    if (!s->has_json) {
        code = "sample-no-json";
        what = "has no .json beside it";
    } else if (!s->has_picture) {
        code = "sample-no-picture";
        what = "has no picture beside it";
    } else if (s->two_pictures) {
        code = "sample-two-pictures";
        what = "has more than one picture";
    } else if (hash_map_get(s->keys, s->key, strlen(s->key), &unused)) {
        code = "sample-twice";
        what = "came before";
    }
    if (!code)
        return ST_OK;
    error_set(err, ST_SKIP, CAUSE_FORMAT, "byte %" PRIu64 ": sample %s %s", s->begin, s->key, what);
    return error_code(err, ST_SKIP, code);
}

static enum status nul_in_caption(struct error *err)
{
    error_set(err, ST_SKIP, CAUSE_FORMAT, "/caption: U+0000 in the text");
    return error_code(err, ST_SKIP, "text-nul");
}

static enum status read_list(struct source_tar *s, const struct json_value *list, struct error *err)
{
    struct text *texts = arena_alloc(&s->arena, list->count + 1, sizeof *texts);
    size_t n = 0;
    if (!texts)
        return no_memory(err);
    s->doc.caption = DOCUMENT_CAPTION_LIST;
    for (const struct json_value *v = list->child; v; v = v->next) {
        if (v->type != JSON_T_STRING) {
            s->doc.caption = DOCUMENT_CAPTION_OTHER;
            return ST_OK;
        }
        texts[n++] = (struct text){ v->text, v->size };
    }
    for (size_t i = 0; i < n; i++)
        if (memchr(texts[i].data, 0, texts[i].size))
            return nul_in_caption(err);
    s->doc.sentences = texts;
    s->doc.sentence_count = n;
    return ST_OK;
}

static enum status read_caption(struct source_tar *s, const struct json_value *c, struct error *err)
{
    if (!c)
        return ST_OK;
    if (c->type == JSON_T_ARRAY)
        return read_list(s, c, err);
    s->doc.caption = DOCUMENT_CAPTION_OTHER;
    if (c->type != JSON_T_STRING)
        return ST_OK;
    struct text *text = arena_alloc(&s->arena, 1, sizeof *text);
    if (!text)
        return no_memory(err);
    *text = (struct text){ c->text, c->size };
    s->doc.caption = DOCUMENT_CAPTION_STRING;
    s->doc.sentences = text;
    s->doc.sentence_count = 1;
    return memchr(c->text, 0, c->size) ? nul_in_caption(err) : ST_OK;
}

/* The pair of a whole sample. ST_SKIP: its JSON is bad. */
static enum status make_pair(struct source_tar *s, struct error *err)
{
    struct json_value *v = NULL;
    enum json_event event = JSON_END;
    arena_release(&s->arena, s->start);
    json_restart(s->json, s->text.data, s->text.size, 0);
    enum status st = json_read_tree(s->json, &s->arena, &v, err);
    if (st == ST_OK)
        st = json_next(s->json, &event, err);
    if (st != ST_OK) {
        const bool format = err && (err->cause == CAUSE_FORMAT || err->cause == CAUSE_LIMIT);
        return format ? error_prefix(err, ST_SKIP, "%s.json", s->key) : ST_FAIL;
    }
    const struct json_value *url = json_get(v, "url");
    s->doc = (struct document){ .arena = &s->arena,
                                .kind = DOCUMENT_PAIR,
                                .file = text_of(s->stem),
                                .key = text_of(s->key),
                                .offset = s->begin,
                                .length = s->end - s->begin,
                                .caption = DOCUMENT_CAPTION_ABSENT,
                                .images = &s->image,
                                .image_count = 1,
                                .replaced = json_replaced(s->json) };
    if (url && url->type == JSON_T_STRING)
        s->doc.url = (struct text){ url->text, url->size };
    s->image = (struct document_image){ .usable = true,
                                        .name = text_of(s->picture_name),
                                        .raw_url = s->doc.url,
                                        .bytes = s->picture.data,
                                        .offset = s->picture_at,
                                        .size = s->picture.size };
    return read_caption(s, json_get(v, "caption"), err);
}

static enum status tar_source_next(struct source *source, const struct document **d,
                                   struct source_damage *damage, struct error *err)
{
    struct source_tar *s = tar_of(source);
    uint64_t one = 1;
    if (s->has_late)
        return give_late(s, damage, err);
    enum status st = gather(s, err);
    if (st != ST_OK)
        return st;
    if (!s->key)
        return give_late(s, damage, err);
    damage->stage = s->bad.cause != CAUSE_NONE ? "read" : "parse";
    st = check_sample(s, err);
    if (st == ST_OK)
        st = make_pair(s, err);
    if (st == ST_SKIP)
        return fill_damage(s, damage, err);
    if (st == ST_OK)
        st = hash_map_insert(s->keys, s->key, strlen(s->key), &one, err);
    *d = &s->doc;
    return st;
}

static enum status tar_source_skip(struct source *source, uint64_t records, struct error *err)
{
    for (; records > 0; records--) {
        const struct document *d = NULL;
        struct source_damage damage = { 0 };
        const enum status st = tar_source_next(source, &d, &damage, err);
        if (st == ST_SKIP)
            error_clear(err);
        else if (st != ST_OK)
            return st;
    }
    return ST_OK;
}

static bool tar_source_incomplete(const struct source *source, const char **why)
{
    const struct source_tar *s = (const struct source_tar *)(const void *)source;
    const bool incomplete = tar_incomplete(s->tar);
    if (why)
        *why = incomplete ? s->why : NULL;
    return incomplete;
}

static void tar_source_close(struct source *source)
{
    struct source_tar *s = tar_of(source);
    sample_clear(s);
    arrival_clear(&s->ahead);
    mem_free(s->late_name);
    mem_free(s->stem);
    hash_map_close(&s->keys);
    json_close(&s->json);
    arena_clear(&s->arena);
    buffer_clear(&s->picture);
    buffer_clear(&s->text);
    tar_close(&s->tar);
    mem_free(s);
}

static const struct source_calls calls = { tar_source_next, tar_source_skip, tar_source_incomplete,
                                           tar_source_close };

static enum status open_parts(struct source_tar *s, const char *path, struct error *err)
{
    struct json_options opt;
    const char *base = path_base(path);
    json_options_init(&opt);
    opt.max_depth = s->limits.max_depth;
    opt.max_string = (size_t)s->limits.max_string;
    opt.max_members = (size_t)s->limits.max_object;
    opt.bom_allowed = true;
    s->stem = mem_strndup(base, strcspn(base, "."));
    if (!s->stem || !arena_alloc(&s->arena, 1, 1)) /* the first block stays */
        return no_memory(err);
    s->start = arena_mark(&s->arena);
    enum status st = json_open(&s->json, "", 0, &opt, err);
    if (st == ST_OK)
        st = hash_map_open(&s->keys, 1000, err);
    return st == ST_OK ? tar_open(&s->tar, path, &s->limits, err) : st;
}

enum status source_open_pairs(struct source **out, const char *path, const char *file,
                              const struct source_limits *limits, struct error *err)
{
    struct source_tar *s = mem_calloc(1, sizeof *s);
    *out = s ? &s->head : NULL;
    if (!s)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "%s: out of memory", file);
    s->head.calls = &calls;
    if (limits)
        s->limits = *limits;
    else
        source_limits_init(&s->limits);
    arena_init(&s->arena, 0);
    buffer_init(&s->picture);
    buffer_init(&s->text);
    const enum status st = open_parts(s, path, err);
    if (st != ST_OK)
        source_close(out);
    return st;
}
