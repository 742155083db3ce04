/* ingest/spm.h: the SentencePiece library behind a C face: nothing is thrown through it. Only
 * ingest/tokenizer uses it. Encoding is thread-safe on one model. */
#ifndef DEEM_INGEST_SPM_H
#define DEEM_INGEST_SPM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

#ifdef __cplusplus
extern "C" {
#endif

enum spm_type { SPM_NORMAL, SPM_UNKNOWN, SPM_CONTROL, SPM_UNUSED, SPM_BYTE };

struct spm;
/* `model` is a serialised model that spm_check accepted; it is copied. `prefix` false switches
 * add_dummy_prefix off. ST_FAIL: CAUSE_FORMAT, CAUSE_NOMEM. */
enum status spm_open(struct spm **out, const void *model, size_t size, bool prefix,
                     struct error *err);
void spm_close(struct spm **s);
uint32_t spm_pieces(const struct spm *s);
/* -1: the model has none. */
int32_t spm_unk(const struct spm *s);
int32_t spm_bos(const struct spm *s);
int32_t spm_eos(const struct spm *s);
enum spm_type spm_type(const struct spm *s, uint32_t id);
const char *spm_piece(const struct spm *s, uint32_t id, size_t *size);  /* borrowed; id < pieces */
uint32_t spm_find(const struct spm *s, const char *piece, size_t size); /* unk where absent */
/* Calls `put` with all ids of the text at once. */
typedef enum status spm_put_fn(void *arg, const int *ids, size_t n, struct error *err);
enum status spm_encode(const struct spm *s, const char *text, size_t size, spm_put_fn *put,
                       void *arg, struct error *err);
/* Of the library, as far as it tells: its package's version at build time. */
const char *spm_version(void);

/* Reads the serialised model (protocol buffers, sentencepiece_model.proto) with bounds and refuses
 * what the library would trust: sizes, NaN scores, a normaliser table that points outside itself.
 * *at_spaces: the ids of "x y" are those of "x" and then those of "y", for any x that ends in no white
 * space: BPE that changes no text and has no piece across a space. ST_FAIL: CAUSE_FORMAT, CAUSE_LIMIT. */
enum status spm_check(const void *model, size_t size, uint32_t max_pieces, uint32_t max_piece_bytes,
                      bool *at_spaces, struct error *err);

#ifdef __cplusplus
}
#endif
#endif
