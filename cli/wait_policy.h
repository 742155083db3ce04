/* cli/wait_policy.h: how OpenMP's threads wait for work. */
#ifndef DEEM_CLI_WAIT_POLICY_H
#define DEEM_CLI_WAIT_POLICY_H

/* OpenMP's default is to spin, which makes a step up to five times slower as soon as anything else wants the
 * cores (a loader's threads do). The policy is read before main, so where the user has set none the
 * program starts itself again with OMP_WAIT_POLICY=passive; does nothing the second time. Call before
 * threads and MPI. `argv` is main's. */
void wait_policy_passive(char **argv);

#endif
