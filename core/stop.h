/* core/stop.h: the request to stop early that SIGTERM, SIGINT, SIGHUP, SIGUSR2 and SIGUSR1 make. Long work asks at its
 * commit points and ends with CAUSE_SIGNAL (exit 75, resumable). */
#ifndef DEEM_CORE_STOP_H
#define DEEM_CORE_STOP_H

#include <stdbool.h>

#include "core/error.h"

/* Catches the signals from now on; the third one ends the process at once. */
void stop_install(void);
/* The same, but SIGUSR1 asks for a checkpoint instead. */
void stop_install_training(void);
/* Whether SIGUSR1 came since the last call. */
bool stop_checkpoint_requested(void);
bool stop_requested(void);
/* ST_OK, or ST_FAIL with CAUSE_SIGNAL once a stop was requested. */
enum status stop_check(struct error *err);
void stop_request(void); /* as a signal would */
void stop_clear(void);   /* for tests */

#endif
