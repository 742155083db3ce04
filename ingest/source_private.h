/* ingest/source_private.h: the head every source begins with, and its calls. */
#ifndef DEEM_INGEST_SOURCE_PRIVATE_H
#define DEEM_INGEST_SOURCE_PRIVATE_H

#include "ingest/source.h"

struct source_calls {
    enum status (*next)(struct source *s, const struct document **d, struct source_damage *damage,
                        struct error *err);
    enum status (*skip)(struct source *s, uint64_t records, struct error *err);
    bool (*incomplete)(const struct source *s, const char **why);
    void (*close)(struct source *s);
};
struct source {
    const struct source_calls *calls;
};

#endif
