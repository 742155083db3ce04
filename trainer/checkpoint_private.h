/* trainer/checkpoint_private.h: names and the manifest, shared by writer and reader. */
#ifndef DEEM_TRAINER_CHECKPOINT_PRIVATE_H
#define DEEM_TRAINER_CHECKPOINT_PRIVATE_H

#include <stdbool.h>

#include "trainer/checkpoint.h"

enum checkpoint_file {
    CHECKPOINT_WEIGHTS,
    CHECKPOINT_FROZEN,
    CHECKPOINT_OPTIMIZER,
    CHECKPOINT_STATE,
    CHECKPOINT_RECIPE,
    CHECKPOINT_FILES
};
enum { CHECKPOINT_FORMAT = 1, CHECKPOINT_TEXT_MAX = 64 << 20 };
extern const char *const checkpoint_file_names[CHECKPOINT_FILES];

/* "step-" and digits: the name of a complete checkpoint. */
bool checkpoint_name_whole(const char *name);
/* Whether a is a later step than b: longer names are, equal lengths compare as text. */
bool checkpoint_name_later(const char *a, const char *b);

struct checkpoint_digest {
    uint64_t bytes;
    uint8_t sha256[32];
};
/* manifest.json: one line of JSON whose last member is the SHA-256 of all bytes before that member. */
enum status checkpoint_manifest_write(const char *folder, int64_t step,
                                      const struct checkpoint_digest *files, struct error *err);
/* ST_FAIL: CAUSE_CHECKSUM, CAUSE_FORMAT, CAUSE_IO. */
enum status checkpoint_manifest_read(const char *folder, int64_t *step,
                                     struct checkpoint_digest *files, struct error *err);
/* Size and digest of one file against the manifest's. */
enum status checkpoint_file_check(const char *folder, enum checkpoint_file which,
                                  const struct checkpoint_digest *want, struct error *err);

#endif
