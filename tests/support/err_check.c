#include "tests/support/err_check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

const struct weft_err_context *err_context(const struct weft_err *e, const char *key)
{
    for (unsigned i = 0; i < e->n_context; i++)
        if (strcmp(e->context[i].key, key) == 0)
            return &e->context[i];
    fail_msg("no context %s in: %s", key, e->message);
    return NULL;
}

const char *err_context_text(const struct weft_err *e, const char *key)
{
    const struct weft_err_context *c = err_context(e, key);
    if (!c->is_text)
        fail_msg("context %s is no text in: %s", key, e->message);
    return c->text;
}

void assert_contains(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("\"%s\" is not in \"%s\"", part, text);
}
