/* trainer/dist_private.h: how dist.c makes the loopback ranks. */
#ifndef DEEM_TRAINER_DIST_PRIVATE_H
#define DEEM_TRAINER_DIST_PRIVATE_H

#include "trainer/dist.h"

/* Fills out[0..world). ST_FAIL: nothing is left open. */
enum status dist_loopback_make(struct dist_backend *out, int world, const struct dist_options *opt,
                               struct error *err);

/* *world: ranks the launcher started by its environment, 1 where there is none. ST_FAIL: CAUSE_ARG. */
enum status dist_launcher_world(long *world, struct error *err);

#endif
