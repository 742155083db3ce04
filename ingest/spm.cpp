/* ingest/spm.cpp: see spm.h. The one C++ file of ingest. */
#include "ingest/spm.h"

#include <sentencepiece_processor.h>

#include <exception>
#include <new>
#include <string>
#include <vector>

struct spm {
    sentencepiece::SentencePieceProcessor processor;
};

namespace
{
/* Inside a catch block: turns what was thrown into an error. */
enum status caught(const char *what, struct error *err)
{
    try {
        throw;
    } catch (const std::bad_alloc &) {
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "%s: out of memory", what);
    } catch (const std::exception &e) {
        return error_set(err, ST_FAIL, CAUSE_INTERNAL, "%s: %s", what, e.what());
    } catch (...) {
        return error_set(err, ST_FAIL, CAUSE_INTERNAL, "%s: unknown exception", what);
    }
}
} // namespace

enum status spm_open(struct spm **out, const void *model, size_t size, bool prefix,
                     struct error *err)
{
    *out = nullptr;
    struct spm *s = nullptr;
    try {
        s = new struct spm;
        std::string bytes(static_cast<const char *>(model), size);
        /* A second occurrence of a sub-message is merged into the first one: field 3
         * (normalizer_spec), 2 bytes, field 3 (add_dummy_prefix) = 0. */
        if (!prefix)
            bytes.append("\x1a\x02\x18\x00", 4);
        const auto status = s->processor.LoadFromSerializedProto(bytes);
        if (!status.ok()) {
            delete s;
            return error_set(err, ST_FAIL, CAUSE_FORMAT, "tokenizer: %s",
                             status.ToString().c_str());
        }
    } catch (...) {
        delete s;
        return caught("tokenizer: load", err);
    }
    *out = s;
    return ST_OK;
}

void spm_close(struct spm **s)
{
    delete *s;
    *s = nullptr;
}

uint32_t spm_pieces(const struct spm *s)
{
    return static_cast<uint32_t>(s->processor.GetPieceSize());
}

int32_t spm_unk(const struct spm *s)
{
    return s->processor.unk_id();
}

int32_t spm_bos(const struct spm *s)
{
    return s->processor.bos_id();
}

int32_t spm_eos(const struct spm *s)
{
    return s->processor.eos_id();
}

enum spm_type spm_type(const struct spm *s, uint32_t id)
{
    const int i = static_cast<int>(id);
    if (s->processor.IsUnknown(i))
        return SPM_UNKNOWN;
    if (s->processor.IsControl(i))
        return SPM_CONTROL;
    if (s->processor.IsUnused(i))
        return SPM_UNUSED;
    return s->processor.IsByte(i) ? SPM_BYTE : SPM_NORMAL;
}

const char *spm_piece(const struct spm *s, uint32_t id, size_t *size)
{
    const std::string &piece = s->processor.IdToPiece(static_cast<int>(id));
    *size = piece.size();
    return piece.data();
}

uint32_t spm_find(const struct spm *s, const char *piece, size_t size)
{
    return static_cast<uint32_t>(s->processor.PieceToId(absl::string_view(piece, size)));
}

enum status spm_encode(const struct spm *s, const char *text, size_t size, spm_put_fn *put,
                       void *arg, struct error *err)
{
    try {
        std::vector<int> ids;
        const auto status = s->processor.Encode(absl::string_view(text, size), &ids);
        if (!status.ok())
            return error_set(err, ST_FAIL, CAUSE_INTERNAL, "tokenizer: encode: %s",
                             status.ToString().c_str());
        return put(arg, ids.data(), ids.size(), err);
    } catch (...) {
        return caught("tokenizer: encode", err);
    }
}

const char *spm_version(void)
{
    return SPM_VERSION;
}
