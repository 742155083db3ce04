/* core/log.c: see log.h. A line is formatted outside the lock and written with one call, so lines of
 * several threads never mix. */
#include "core/log.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/file.h"
#include "core/json.h"
#include "core/mem.h"

#define TERMINAL_EVERY 0.1 /* seconds between two progress lines */
#define PLAIN_EVERY    10.0

static struct {
    pthread_mutex_t lock;
    bool quiet, json, line_open; /* line_open: a progress line stands without its newline */
} sink = { .lock = PTHREAD_MUTEX_INITIALIZER };

void log_setup(bool quiet, bool json)
{
    pthread_mutex_lock(&sink.lock);
    sink.quiet = quiet;
    sink.json = json;
    pthread_mutex_unlock(&sink.lock);
}

static bool is_quiet(void)
{
    pthread_mutex_lock(&sink.lock);
    const bool quiet = sink.quiet;
    pthread_mutex_unlock(&sink.lock);
    return quiet;
}

static bool is_json(void)
{
    pthread_mutex_lock(&sink.lock);
    const bool json = sink.json;
    pthread_mutex_unlock(&sink.lock);
    return json;
}

/* Writes one line; a progress line that stands is wiped first. A stderr that is closed or full must
 * not stop the work, so failures are left alone. */
static void emit(const char *line, size_t size, bool stays_open)
{
    static const char wipe[] = "\r\x1b[K";
    pthread_mutex_lock(&sink.lock);
    if (sink.line_open)
        file_write(STDERR_FILENO, "stderr", wipe, sizeof wipe - 1, NULL);
    file_write(STDERR_FILENO, "stderr", line, size, NULL);
    sink.line_open = stays_open;
    pthread_mutex_unlock(&sink.lock);
}

static void emit_message(enum log_level level, const char *text)
{
    static const char *const prefix[] = { "", "", "warning: ", "error: " };
    static const char *const names[] = { "debug", "info", "warning", "error" };
    struct buffer b;
    struct json_writer w;
    enum status st = ST_OK;
    buffer_init(&b);
    if (is_json()) {
        json_writer_init(&w, &b);
        json_begin_object(&w);
        json_key(&w, "time_ms");
        json_int(&w, clock_wall_ms());
        json_key(&w, "level");
        json_string(&w, names[level]);
        json_key(&w, "message");
        json_string(&w, text);
        json_end_object(&w);
        st = json_writer_finish(&w, NULL);
        if (st == ST_OK)
            st = buffer_append(&b, "\n", 1, NULL);
    } else {
        st = buffer_printf(&b, NULL, "%s%s\n", prefix[level], text);
    }
    if (st == ST_OK)
        emit((const char *)b.data, b.size, false);
    else
        emit("error: no memory for a message\n", 31, false);
    buffer_clear(&b);
}

void log_line(enum log_level level, const char *fmt, ...)
{
    char raw[1024];
    struct error escaped = { 0 };
    va_list ap;
    if (level < LOG_WARN && is_quiet())
        return;
    va_start(ap, fmt);
    vsnprintf(raw, sizeof raw, fmt, ap);
    va_end(ap);
    error_set(&escaped, ST_FAIL, CAUSE_ARG, "%s", raw); /* escapes control bytes */
    emit_message(level, escaped.text);
}

void log_error(const struct error *err)
{
    emit_message(LOG_ERROR, err->text);
}

struct progress {
    pthread_mutex_t lock; /* note, shown */
    atomic_ullong done;
    uint64_t total;       /* 0: unknown */
    atomic_ullong before; /* done by an earlier run */
    double started, shown;
    bool terminal, json;
    char what[64], unit[32], note[160];
};

struct progress *progress_open(const char *what, const char *unit, uint64_t total)
{
    struct progress *p = is_quiet() ? NULL : mem_calloc(1, sizeof *p);
    if (!p)
        return NULL;
    pthread_mutex_init(&p->lock, NULL);
    p->total = total;
    p->started = p->shown = clock_seconds();
    p->json = is_json();
    p->terminal = !p->json && isatty(STDERR_FILENO);
    snprintf(p->what, sizeof p->what, "%s", what);
    snprintf(p->unit, sizeof p->unit, "%s", unit);
    return p;
}

/* Seconds as h:mm:ss, without hours where there are none. */
static void put_time(char out[32], double seconds)
{
    const uint64_t s = seconds > 0 && seconds < 1e9 ? (uint64_t)seconds : 0;
    if (s >= 3600)
        snprintf(out, 32, "%" PRIu64 ":%02d:%02d", s / 3600, (int)(s / 60 % 60), (int)(s % 60));
    else
        snprintf(out, 32, "%d:%02d", (int)(s / 60), (int)(s % 60));
}

static void show_json(const struct progress *p, uint64_t done, double rate, double left)
{
    char line[700];
    const int n = snprintf(line, sizeof line,
                           "{\"time_ms\":%" PRId64 ",\"level\":\"progress\",\"what\":\"%s\","
                           "\"unit\":\"%s\",\"done\":%" PRIu64 ",\"total\":%" PRIu64
                           ",\"per_second\":%.1f,\"seconds_left\":%.0f}\n",
                           clock_wall_ms(), p->what, p->unit, done, p->total, rate, left);
    if (n > 0 && (size_t)n < sizeof line)
        emit(line, (size_t)n, false);
}

static void show_text(const struct progress *p, uint64_t done, double rate, double left, bool last)
{
    char line[400], amount[80] = "", time[32];
    const bool open = p->terminal && !last;
    if (p->total > 0)
        snprintf(amount, sizeof amount, " of %" PRIu64 " (%.1f %%)", p->total,
                 100.0 * (double)done / (double)p->total);
    put_time(time, last ? clock_seconds() - p->started : left);
    const bool timed = last || p->total > 0;
    const int n = snprintf(line, sizeof line, "%s: %" PRIu64 "%s %s, %.1f/s%s%s%s%s%s%s", p->what,
                           done, amount, p->unit, rate, timed ? ", " : "", timed ? time : "",
                           !timed ? ""
                           : last ? " in all"
                                  : " left",
                           p->note[0] ? ", " : "", p->note, open ? "" : "\n");
    if (n > 0 && (size_t)n < sizeof line)
        emit(line, (size_t)n, open);
}

/* With the lock held. */
static void show(struct progress *p, double now, bool last)
{
    const uint64_t done = atomic_load(&p->done);
    const double seconds = now - p->started;
    const uint64_t now_done = done - atomic_load(&p->before);
    const double rate = seconds > 0 ? (double)now_done / seconds : 0;
    const double left = p->total > done && rate > 0 ? (double)(p->total - done) / rate : 0;
    p->shown = now;
    if (p->json)
        show_json(p, done, rate, left);
    else
        show_text(p, done, rate, left, last);
}

void progress_add(struct progress *p, uint64_t n)
{
    if (!p)
        return;
    atomic_fetch_add(&p->done, n);
    const double now = clock_seconds();
    if (pthread_mutex_trylock(&p->lock) != 0)
        return; /* somebody else is showing it */
    if (now - p->shown >= (p->terminal ? TERMINAL_EVERY : PLAIN_EVERY))
        show(p, now, false);
    pthread_mutex_unlock(&p->lock);
}

void progress_skip(struct progress *p, uint64_t n)
{
    if (!p)
        return;
    atomic_fetch_add(&p->done, n);
    atomic_fetch_add(&p->before, n);
}

void progress_note(struct progress *p, const char *fmt, ...)
{
    char raw[sizeof p->note];
    struct error escaped = { 0 };
    va_list ap;
    if (!p)
        return;
    va_start(ap, fmt);
    vsnprintf(raw, sizeof raw, fmt, ap);
    va_end(ap);
    error_set(&escaped, ST_FAIL, CAUSE_ARG, "%s", raw);
    pthread_mutex_lock(&p->lock);
    snprintf(p->note, sizeof p->note, "%.150s", escaped.text);
    pthread_mutex_unlock(&p->lock);
}

void progress_close(struct progress **p)
{
    if (!p || !*p)
        return;
    pthread_mutex_lock(&(*p)->lock);
    show(*p, clock_seconds(), true);
    pthread_mutex_unlock(&(*p)->lock);
    pthread_mutex_destroy(&(*p)->lock);
    mem_free(*p);
    *p = NULL;
}
