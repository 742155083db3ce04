/* trainer/dist_supervise.c: the process that watches a rank. A launcher reports a rank that was killed as 128
 * plus the signal; the batch script wants 76, "a peer is gone, start again". */
#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/log.h"
#include "trainer/dist_private.h"

static const int passed_on[] = { SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2 };
enum { PASSED_ON = sizeof passed_on / sizeof passed_on[0] };

static void watched_signals(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGCHLD);
    for (int i = 0; i < PASSED_ON; i++)
        sigaddset(set, passed_on[i]);
}

/* Until the child has ended. */
static int watch(pid_t child, const sigset_t *signals)
{
    for (;;) {
        int state = 0, signal = 0;
        const pid_t ended = waitpid(child, &state, WNOHANG);
        if (ended == child && WIFEXITED(state))
            return WEXITSTATUS(state);
        if (ended == child && WIFSIGNALED(state)) {
            log_line(LOG_ERROR, "this rank was killed by signal %d; --resume goes on",
                     WTERMSIG(state));
            return error_exit_code(CAUSE_PEER);
        }
        if (sigwait(signals, &signal) == 0 && signal != SIGCHLD)
            kill(child, signal);
    }
}

/* The child has a group of its own, so that a signal to the watcher's group reaches it once, and dies with
 * the watcher. */
static enum status become_rank(pid_t watcher, const sigset_t *before, struct error *err)
{
    setpgid(0, 0);
    sigprocmask(SIG_SETMASK, before, NULL); /* NOLINT(concurrency-mt-unsafe): one thread yet */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != watcher)
        return error_set(err, ST_FAIL, CAUSE_PEER, "the process that watches this rank is gone");
    return ST_OK;
}

enum status dist_supervise(int *exit_code, struct error *err)
{
    const pid_t watcher = getpid();
    sigset_t signals, before;
    long world = 1;

    if (dist_launcher_world(&world, err) != ST_OK)
        return ST_FAIL;
    if (world <= 1)
        return ST_OK;
    watched_signals(&signals);
    sigprocmask(SIG_BLOCK, &signals, &before); /* NOLINT(concurrency-mt-unsafe): one thread yet */
    const pid_t child = fork();
    if (child < 0)
        return error_set(err, ST_FAIL, CAUSE_PEER, "cannot start a rank: errno %d", errno);
    if (child == 0)
        return become_rank(watcher, &before, err);
    *exit_code = watch(child, &signals);
    return ST_END;
}
