/* What tests look at in an error; each function fails the test when it isn't there, and prints the message. */
#ifndef WEFT_TESTS_ERR_CHECK_H
#define WEFT_TESTS_ERR_CHECK_H

#include "engine/base/err.h"

const struct weft_err_context *err_context(const struct weft_err *e, const char *key);
/* The same, of one that is text. */
const char *err_context_text(const struct weft_err *e, const char *key);
void assert_contains(const char *text, const char *part);

#endif
