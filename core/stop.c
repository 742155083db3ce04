/* core/stop.c: see stop.h. The counter is the one thing a signal handler may touch. */
#include "core/stop.h"

#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <unistd.h>

static atomic_int requests; /* lock-free, so safe in a handler */
static atomic_int checkpoint_requests;

enum { PATIENCE = 3, EXIT_STOPPED = 75 };

static void on_signal(int signal)
{
    (void)signal;
    if (atomic_fetch_add(&requests, 1) + 1 >= PATIENCE)
        _exit(EXIT_STOPPED);
}

void stop_install(void)
{
    struct sigaction action = { .sa_handler = on_signal };
    sigemptyset(&action.sa_mask);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
    sigaction(SIGUSR2, &action, NULL);
    sigaction(SIGUSR1, &action, NULL);
}

static void on_checkpoint_signal(int signal)
{
    (void)signal;
    atomic_fetch_add(&checkpoint_requests, 1);
}

void stop_install_training(void)
{
    struct sigaction action = { .sa_handler = on_checkpoint_signal };
    stop_install();
    sigemptyset(&action.sa_mask);
    sigaction(SIGUSR1, &action, NULL);
}

bool stop_checkpoint_requested(void)
{
    return atomic_exchange(&checkpoint_requests, 0) > 0;
}

bool stop_requested(void)
{
    return atomic_load(&requests) > 0;
}

enum status stop_check(struct error *err)
{
    return stop_requested() ? error_set(err, ST_FAIL, CAUSE_SIGNAL,
                                        "stopped on request; the same command goes on")
                            : ST_OK;
}

void stop_request(void)
{
    atomic_fetch_add(&requests, 1);
}

void stop_clear(void)
{
    atomic_store(&requests, 0);
}
