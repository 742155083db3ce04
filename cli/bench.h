/* cli/bench.h: the benches of `deem bench`, one file each. Figures are ratios to a limit that is measured
 * in the same run: of a machine, not of a day. */
#ifndef DEEM_CLI_BENCH_H
#define DEEM_CLI_BENCH_H

#include "cli/command.h"

/* argv[0] is the bench's own name; same contract as a command. */
command_fn bench_ingest, bench_kernels, bench_loader, bench_masks, bench_train;

#endif
