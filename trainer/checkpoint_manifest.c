/* trainer/checkpoint_manifest.c: the manifest of a checkpoint, both directions. */
#include <inttypes.h>
#include <string.h>

#include "core/file.h"
#include "core/hash.h"
#include "core/json.h"
#include "trainer/checkpoint_private.h"

const char *const checkpoint_file_names[CHECKPOINT_FILES] = {
    "weights.safetensors", "frozen.safetensors", "optimizer.safetensors",
    "state.json",          "recipe.yaml",
};

bool checkpoint_name_whole(const char *name)
{
    return strncmp(name, "step-", 5) == 0 && strspn(name + 5, "0123456789") == strlen(name + 5) &&
           name[5] != '\0';
}

bool checkpoint_name_later(const char *a, const char *b)
{
    const size_t na = strlen(a), nb = strlen(b);
    return na != nb ? na > nb : strcmp(a, b) > 0;
}

static const char digest_member[] = ",\"digest\":\"";

static enum status manifest_text(struct buffer *text, int64_t step,
                                 const struct checkpoint_digest *files, struct error *err)
{
    uint8_t digest[32];
    char hex[65];
    struct json_writer w;

    json_writer_init(&w, text);
    json_begin_object(&w);
    json_key(&w, "format");
    json_int(&w, CHECKPOINT_FORMAT);
    json_key(&w, "kind");
    json_string(&w, "deem-checkpoint");
    json_key(&w, "step");
    json_int(&w, step);
    json_key(&w, "files");
    json_begin_array(&w);
    for (int i = 0; i < CHECKPOINT_FILES; i++) {
        hash_hex(hex, files[i].sha256, sizeof files[i].sha256);
        json_begin_object(&w);
        json_key(&w, "name");
        json_string(&w, checkpoint_file_names[i]);
        json_key(&w, "bytes");
        json_uint(&w, files[i].bytes);
        json_key(&w, "sha256");
        json_string(&w, hex);
        json_end_object(&w);
    }
    json_end_array(&w);
    json_end_object(&w);
    if (json_writer_finish(&w, err) != ST_OK)
        return ST_FAIL;
    text->size--; /* the closing brace: the digest goes before it */
    hash_sha256(digest, text->data, text->size);
    hash_hex(hex, digest, sizeof digest);
    return buffer_printf(text, err, "%s%s\"}\n", digest_member, hex);
}

enum status checkpoint_manifest_write(const char *folder, int64_t step,
                                      const struct checkpoint_digest *files, struct error *err)
{
    struct buffer text;
    char *path = path_join(folder, "manifest.json");
    enum status st = ST_FAIL;

    buffer_init(&text);
    if (!path)
        error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: checkpoint");
    else if (manifest_text(&text, step, files, err) == ST_OK)
        st = file_replace(path, text.data, text.size, err);
    buffer_clear(&text);
    mem_free(path);
    return st;
}

static enum status check_own_digest(const struct buffer *text, const char *path, struct error *err)
{
    const size_t tail = sizeof digest_member - 1 + 64 + 3; /* ..."}\n */
    uint8_t digest[32];
    char want[sizeof digest_member + 64 + 3];
    char hex[65];

    if (text->size <= tail)
        return error_set(err, ST_FAIL, CAUSE_FORMAT, "%s: too short for a manifest", path);
    hash_sha256(digest, text->data, text->size - tail);
    hash_hex(hex, digest, sizeof digest);
    memcpy(want, digest_member, sizeof digest_member - 1);
    memcpy(want + sizeof digest_member - 1, hex, 64);
    memcpy(want + sizeof digest_member - 1 + 64, "\"}\n", 3);
    if (memcmp(want, text->data + text->size - tail, tail) != 0)
        return error_set(err, ST_FAIL, CAUSE_CHECKSUM, "%s: does not match its own digest", path);
    return ST_OK;
}

static bool hex_bytes(uint8_t *out, const char *hex, size_t size)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < 2 * size; i++) {
        const char *at = hex[i] ? strchr(digits, hex[i]) : NULL;
        if (!at)
            return false;
        out[i / 2] = (uint8_t)(out[i / 2] << 4 | (at - digits));
    }
    return hex[2 * size] == '\0';
}

static enum status read_files(const struct json_value *root, const char *path, int64_t *step,
                              struct checkpoint_digest *files, struct error *err)
{
    const struct json_value *kind = json_get(root, "kind"), *list = json_get(root, "files");
    int64_t format = 0;

    if (!kind || kind->type != JSON_T_STRING || strcmp(kind->text, "deem-checkpoint") != 0 ||
        !json_value_int64(json_get(root, "format"), &format) || !list)
        return error_set(err, ST_FAIL, CAUSE_FORMAT, "%s: not a checkpoint manifest", path);
    if (format != CHECKPOINT_FORMAT)
        return error_set(err, ST_FAIL, CAUSE_FORMAT,
                         "%s: format %" PRId64 ", this program reads %d", path, format,
                         CHECKPOINT_FORMAT);
    if (!json_value_int64(json_get(root, "step"), step) || list->count != CHECKPOINT_FILES)
        return error_set(err, ST_FAIL, CAUSE_FORMAT, "%s: step or files are missing", path);
    const struct json_value *f = list->child;
    for (int i = 0; i < CHECKPOINT_FILES; i++, f = f->next) {
        const struct json_value *name = json_get(f, "name"), *sha = json_get(f, "sha256");
        int64_t bytes = -1;
        if (!name || name->type != JSON_T_STRING || !sha || sha->type != JSON_T_STRING ||
            strcmp(name->text, checkpoint_file_names[i]) != 0 ||
            !json_value_int64(json_get(f, "bytes"), &bytes) || bytes < 0 ||
            !hex_bytes(files[i].sha256, sha->text, 32))
            return error_set(err, ST_FAIL, CAUSE_FORMAT, "%s: files[%d] is not %s", path, i,
                             checkpoint_file_names[i]);
        files[i].bytes = (uint64_t)bytes;
    }
    return ST_OK;
}

enum status checkpoint_manifest_read(const char *folder, int64_t *step,
                                     struct checkpoint_digest *files, struct error *err)
{
    struct json_options opt;
    struct json_value *root = NULL;
    struct arena arena;
    struct buffer text;
    char *path = path_join(folder, "manifest.json");
    enum status st = ST_FAIL;

    json_options_init(&opt);
    arena_init(&arena, 0);
    buffer_init(&text);
    memset(files, 0, CHECKPOINT_FILES * sizeof *files);
    if (!path)
        error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: checkpoint");
    else
        st = file_read_all(&text, path, CHECKPOINT_TEXT_MAX, err);
    if (st == ST_OK)
        st = check_own_digest(&text, path, err);
    if (st == ST_OK)
        st = json_parse(&arena, &root, text.data, text.size, &opt, err);
    if (st == ST_OK)
        st = read_files(root, path, step, files, err);
    arena_clear(&arena);
    buffer_clear(&text);
    mem_free(path);
    return st;
}

enum status checkpoint_file_check(const char *folder, enum checkpoint_file which,
                                  const struct checkpoint_digest *want, struct error *err)
{
    struct file_info info;
    uint8_t digest[32];
    char *path = path_join(folder, checkpoint_file_names[which]);
    enum status st = ST_FAIL;

    if (!path)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: checkpoint");
    st = file_stat(path, &info, err);
    if (st == ST_END)
        st = error_set(err, ST_FAIL, CAUSE_FORMAT, "%s: missing", path);
    if (st == ST_OK && info.size != want->bytes)
        st = error_set(err, ST_FAIL, CAUSE_CHECKSUM,
                       "%s: %" PRIu64 " bytes, the manifest says %" PRIu64, path, info.size,
                       want->bytes);
    if (st == ST_OK)
        st = hash_sha256_file(digest, path, err);
    if (st == ST_OK && memcmp(digest, want->sha256, sizeof digest) != 0)
        st = error_set(err, ST_FAIL, CAUSE_CHECKSUM, "%s: does not match the manifest's digest",
                       path);
    mem_free(path);
    return st;
}
