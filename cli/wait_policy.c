/* cli/wait_policy.c: see wait_policy.h. */
#include "cli/wait_policy.h"

#include <stdlib.h>
#include <unistd.h>

void wait_policy_passive(char **argv)
{
    if (getenv("OMP_WAIT_POLICY"))
        return;
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): there is no other thread yet */
    if (setenv("OMP_WAIT_POLICY", "passive", 1) != 0)
        return;
    execv("/proc/self/exe", argv); /* where that fails, spinning is only slower */
}
