/* libFuzzer entry: any bytes as a chat template, rendered over a fixed conversation. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "engine/model/chat_template.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct chat_message messages[] = {{"system", "Be brief.", 9},
                                                   {"user", "Gr\xc3\xbc\xc3\x9f\x65", 7},
                                                   {"assistant", " ok ", 4},
                                                   {"user", "", 0}};
    struct chat_vars vars = {"<s>", "</s>", true, 1700000000};
    struct chat_template *t;
    struct chat_rendered r;
    struct weft_err err;
    if (chat_template_parse((const char *)data, size, &t, &err) == WEFT_OK) {
        chat_template_render(t, messages, sizeof messages / sizeof *messages, &vars, &r, &err);
        chat_rendered_free(&r);
        chat_template_destroy(t);
    }
    return 0;
}
