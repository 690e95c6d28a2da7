/* The way back: a configuration as YAML that reads to the same values. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/embed.h"
#include "engine/base/utf8.h"
#include "src/config_internal.h"

static const char PLAIN[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./";

/* What YAML wants escaped inside double quotes: controls, line breaks of all kinds, byte order marks. */
static bool must_escape(uint32_t cp)
{
    return cp < 0x20 || (cp >= 0x7f && cp < 0xa0) || cp == 0x2028 || cp == 0x2029 || cp == 0xfeff ||
           cp == 0xfffe || cp == 0xffff;
}

void config_print_word(const char *s, struct buf *out)
{
    size_t n = strlen(s);
    if (n && strspn(s, PLAIN) == n) {
        buf_adds(out, s);
        return;
    }
    buf_addc(out, '"');
    for (size_t i = 0; i < n;) {
        uint32_t cp;
        size_t len = utf8_decode(s + i, n - i, &cp);
        if (len == 0) { /* cut short: not a character */
            len = 1;
            cp = 0xfffd;
        }
        if (cp == '"' || cp == '\\')
            buf_addf(out, "\\%c", (char)cp);
        else if (cp == '\n')
            buf_adds(out, "\\n");
        else if (must_escape(cp))
            buf_addf(out, "\\u%04x", cp);
        else if (cp == 0xfffd)
            buf_adds(out, "\xef\xbf\xbd");
        else
            buf_add(out, s + i, len);
        i += len;
    }
    buf_addc(out, '"');
}

void config_print_real(double v, struct buf *out)
{
    char text[40];
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, v);
        if (strtod(text, NULL) == v)
            break;
    }
    buf_adds(out, text);
}

static void print_value(const struct weft_config *cfg, const struct config_key *key, struct buf *out)
{
    const void *p = (const char *)cfg + key->offset;
    switch (key->type) {
    case CONFIG_BOOL: buf_adds(out, *(const bool *)p ? "true" : "false"); break;
    case CONFIG_INT: buf_addf(out, "%lld", (long long)*(const int64_t *)p); break;
    case CONFIG_REAL: config_print_real(*(const double *)p, out); break;
    case CONFIG_CHOICE: buf_adds(out, key->choices[*(const int *)p]); break;
    case CONFIG_TEXT: config_print_word(*(char *const *)p, out); break;
    case CONFIG_LIST: {
        const struct config_list *list = p;
        if (list->n != 1)
            buf_addc(out, '[');
        for (unsigned i = 0; i < list->n; i++) {
            buf_adds(out, i ? ", " : "");
            config_print_word(list->item[i], out);
        }
        if (list->n != 1)
            buf_addc(out, ']');
        break;
    }
    }
}

static void print_origin(const struct weft_config *cfg, const struct config_key *key, struct buf *out)
{
    const struct config_origin *o = &cfg->origin[config_key_index(key)];
    buf_adds(out, "  # ");
    config_print_word(cfg->sources[o->source], out);
    if (o->line)
        buf_addf(out, ":%u", o->line);
}

void config_print(const struct weft_config *cfg, bool origins, struct buf *out)
{
    size_t n;
    const struct config_key *keys = config_keys(&n);
    for (size_t i = 0; i < n; i++) {
        size_t section = config_section_length(&keys[i]);
        if (i == 0 || config_section_length(&keys[i - 1]) != section ||
            memcmp(keys[i - 1].path, keys[i].path, section) != 0)
            buf_addf(out, "%.*s:\n", (int)section, keys[i].path);
        buf_addf(out, "  %s: ", keys[i].path + section + 1);
        print_value(cfg, &keys[i], out);
        if (origins)
            print_origin(cfg, &keys[i], out);
        buf_addc(out, '\n');
    }
}

static json_t *list_json(const struct config_list *list)
{
    json_t *array = json_array();
    for (unsigned i = 0; i < list->n; i++)
        json_array_append_new(array, json_string(list->item[i]));
    return array;
}

json_t *config_json(const struct weft_config *cfg, const struct config_key *key)
{
    const void *p = (const char *)cfg + key->offset;
    switch (key->type) {
    case CONFIG_BOOL: return json_boolean(*(const bool *)p);
    case CONFIG_INT: return json_integer(*(const int64_t *)p);
    case CONFIG_REAL: return json_real(*(const double *)p);
    case CONFIG_CHOICE: return json_string(key->choices[*(const int *)p]);
    case CONFIG_TEXT: return json_string(*(char *const *)p);
    case CONFIG_LIST: return list_json(p);
    }
    return NULL;
}

const char *config_default_text(void)
{
    return weft_embedded_find(weft_embedded_defaults, "weft.yaml")->data;
}
