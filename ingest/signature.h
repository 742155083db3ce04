/* ingest/signature.h: what decides the content of a dataset: options, tokenizer, versions of the
 * libraries that write, inputs. Kept in plan and manifest, hashed into every record's identity,
 * compared when a command meets an existing dataset. */
#ifndef DEEM_INGEST_SIGNATURE_H
#define DEEM_INGEST_SIGNATURE_H

#include "core/error.h"
#include "core/json.h"
#include "core/mem.h"
#include "ingest/ingest.h"
#include "ingest/inputs.h"
#include "ingest/tokenizer.h"
#include "shards/facts.h"

struct signature {
    struct buffer options;                  /* a JSON object, NUL-terminated */
    struct buffer versions;                 /* a JSON object, NUL-terminated */
    struct buffer text;                     /* {"kind","options","tokenizer","versions","inputs"} */
    uint8_t identity[SHARD_IDENTITY_BYTES]; /* SHA-256 of the signature */
};
enum status signature_make(struct signature *s, const struct ingest_options *opt,
                           const struct tokenizer *t, const struct inputs *in, struct error *err);
/* The rest of a signature whose `options` are filled in already. */
enum status signature_complete(struct signature *s, const char *kind, const struct tokenizer *t,
                               const struct inputs *in, struct error *err);
void signature_clear(struct signature *s);

/* The signature of an existing dataset, from its manifest. */
enum status signature_of_dataset(struct buffer *out, const struct shard_facts *facts,
                                 const struct unit_input *inputs, size_t count, struct error *err);
/* ST_OK: alike. ST_FAIL: CAUSE_ARG names the differences: "options.seed: 0 there, 1 now". */
enum status signature_compare(const char *where, const struct json_value *there,
                              const struct buffer *now, struct error *err);

#endif
