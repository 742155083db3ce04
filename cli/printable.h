/* cli/printable.h: text of a dump on its way to a person: nothing in it can drive a terminal or become
 * markup. */
#ifndef DEEM_CLI_PRINTABLE_H
#define DEEM_CLI_PRINTABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/mem.h"

/* Appends UTF-8 for a terminal: control characters (C0 but newline and tab, DEL, C1) and characters
 * that turn the direction of text come as \xNN or \u{NNNN}; invalid UTF-8 as U+FFFD. With `one_line`
 * newlines and tabs are escaped, too. */
enum status printable_terminal(struct buffer *out, const void *text, size_t size, bool one_line,
                               struct error *err);
/* The same, and & < > " ' as character references: fit for an HTML text or a quoted attribute. */
enum status printable_html(struct buffer *out, const void *text, size_t size, struct error *err);
/* Bytes as base64, for a data URI. */
enum status printable_base64(struct buffer *out, const uint8_t *data, size_t size,
                             struct error *err);

#endif
