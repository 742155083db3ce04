/* trainer/peak.h: what this machine could multiply at best: the divisor of MFU where no data sheet gives one
 * (spec model.md 8.2). One thread; the product itself uses what threads BLAS has. */
#ifndef DEEM_TRAINER_PEAK_H
#define DEEM_TRAINER_PEAK_H

#include "core/error.h"

/* Best rate of a square product of this many rows, FLOP/s, over `seconds` of trying (at least twice).
 * ST_FAIL: CAUSE_NOMEM, the kernel's. */
enum { PEAK_ROWS = 768 };
enum status peak_measure(double *flops_per_second, double seconds, struct error *err);

/* Share of the peak: 0 where one of them is not known. */
double peak_share(double flops, double seconds, double peak);

#endif
