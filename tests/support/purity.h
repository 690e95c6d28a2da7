/* Which symbols a library asks for from outside: how the tests see that a pure module is pure. */
#ifndef WEFT_TESTS_PURITY_H
#define WEFT_TESTS_PURITY_H

#include <stdbool.h>
#include <stddef.h>

/* A symbol's name against a pattern; a trailing * stands for anything, a trailing [A-Z] for a capital letter and then
 * anything. */
bool purity_matches(const char *symbol, const char *pattern);
/*
 * Fails the test when the library TEST_BINARY_DIR/lib<name>.a has an undefined symbol that one of n patterns matches,
 * having printed each; or when nm lists fewer than `at_least` in all, as then nothing was looked at.
 */
void purity_check(const char *name, const char *const *forbidden, size_t n, unsigned at_least);

#endif
