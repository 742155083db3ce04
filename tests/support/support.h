/* tests/support/support.h: what tests of every folder share. Include after nothing: it brings cmocka. */
#ifndef DEEM_TESTS_SUPPORT_H
#define DEEM_TESTS_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>

/* A copy in a block of exactly `size` bytes, so that AddressSanitizer sees the first byte too far.
 * Free with free(). size 0 gives a block of one byte. */
uint8_t *test_copy_exact(const void *data, size_t size);
/* Whole file; fails the test when it is not there. Free with free(). NUL-terminated. */
uint8_t *test_read_file(const char *path, size_t *size);
/* A fresh folder under TMPDIR; free the string; test_remove_tree deletes it. */
char *test_temp_folder(void);
void test_remove_tree(const char *path);
/* A whole number out of the environment, as slow runs of a test set it; else `otherwise`. */
size_t test_number(const char *name, size_t otherwise);

#endif
