/* core/error.c: see error.h. No allocation, no locks: usable when everything else has failed. */
#include "core/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Copies `in` to out[0..cap) with control bytes as \xNN, so that input can neither move the cursor of
 * a terminal nor break a log line. */
static void escape_controls(char *out, size_t cap, const char *in)
{
    static const char hex[] = "0123456789abcdef";
    size_t n = 0;

    for (; *in && n + 5 < cap; in++) {
        const unsigned char b = (unsigned char)*in;
        if (b >= 0x20 && b != 0x7f) {
            out[n++] = (char)b;
            continue;
        }
        out[n++] = '\\';
        out[n++] = 'x';
        out[n++] = hex[b >> 4];
        out[n++] = hex[b & 15];
    }
    out[n] = '\0';
}

void error_note(struct error *err, enum cause cause, const char *fmt, ...)
{
    const int sys = errno;
    char raw[sizeof err->text], full[sizeof err->text];
    const bool from_system = cause == CAUSE_IO || cause == CAUSE_CREATE;

    if (!err || err->cause != CAUSE_NONE)
        return;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(raw, sizeof raw, fmt, ap);
    va_end(ap);
    if (from_system && sys != 0) {
        char why[128];
        const char *text = strerror_r(sys, why, sizeof why); /* the GNU form returns the text */
        snprintf(full, sizeof full, "%.800s: %.200s", raw, text);
    } else {
        memcpy(full, raw, sizeof full);
    }
    err->cause = cause;
    err->sys = from_system ? sys : 0;
    err->code[0] = '\0';
    escape_controls(err->text, sizeof err->text, full);
}

void error_note_code(struct error *err, const char *code)
{
    if (err && err->code[0] == '\0')
        snprintf(err->code, sizeof err->code, "%s", code);
}

void error_note_prefix(struct error *err, const char *fmt, ...)
{
    char raw[sizeof err->text], where[sizeof err->text], joined[2 * sizeof err->text + 4];

    if (!err || err->cause == CAUSE_NONE)
        return;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(raw, sizeof raw, fmt, ap);
    va_end(ap);
    escape_controls(where, sizeof where, raw);
    snprintf(joined, sizeof joined, "%s: %s", where, err->text);
    joined[sizeof err->text - 1] = '\0';
    memcpy(err->text, joined, strlen(joined) + 1);
}

void error_clear(struct error *err)
{
    if (err)
        *err = (struct error){ 0 };
}

static const struct {
    int exit_code;
    const char *name;
} causes[CAUSE_COUNT] = {
    [CAUSE_NONE] = { 0, "none" },          [CAUSE_ARG] = { 64, "usage" },
    [CAUSE_NOMEM] = { 71, "memory" },      [CAUSE_IO] = { 74, "io" },
    [CAUSE_FORMAT] = { 65, "format" },     [CAUSE_CHECKSUM] = { 65, "checksum" },
    [CAUSE_LIMIT] = { 65, "limit" },       [CAUSE_LOCKED] = { 69, "locked" },
    [CAUSE_CREATE] = { 73, "create" },     [CAUSE_SIGNAL] = { 75, "signal" },
    [CAUSE_PEER] = { 76, "peer" },         [CAUSE_CUDA] = { 76, "cuda" },
    [CAUSE_INTERNAL] = { 70, "internal" },
};

int error_exit_code(enum cause cause)
{
    return cause < CAUSE_COUNT ? causes[cause].exit_code : 70;
}

const char *error_cause_name(enum cause cause)
{
    return cause < CAUSE_COUNT ? causes[cause].name : "unknown";
}
