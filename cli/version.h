/* cli/version.h: what `deem --version` prints. */
#ifndef DEEM_CLI_VERSION_H
#define DEEM_CLI_VERSION_H

#include <stdio.h>

/* A line for deem and one for each library: its version as it runs, or, where it does not tell, as it was
 * compiled against. */
void version_print(FILE *to);

#endif
