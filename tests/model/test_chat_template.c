/*
 * Chat templates against what Jinja2 renders (data/chat_templates.json, made by
 * tests/ref/make_chat_templates.py), the marks of foreign bytes, and templates that are wrong, unsupported or
 * hostile.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/buf.h"
#include "engine/base/mem.h"
#include "engine/model/chat_template.h"

#define NOW 1700000000

static struct chat_template *parse(const char *source)
{
    struct chat_template *t;
    struct weft_err err;
    if (chat_template_parse(source, strlen(source), &t, &err))
        fail_msg("%s", err.message);
    return t;
}

static enum weft_rc render(const char *source, const char *content, struct chat_rendered *out,
                           struct weft_err *err)
{
    struct chat_template *t = parse(source);
    struct chat_message m = {"user", content, strlen(content)};
    struct chat_vars vars = {"<s>", "</s>", true, NOW};
    enum weft_rc rc = chat_template_render(t, &m, 1, &vars, out, err);
    chat_template_destroy(t);
    return rc;
}

static void rendered_as_jinja2_does(void **state)
{
    (void)state;
    json_error_t je;
    json_t *data =
               json_load_file(TEST_SOURCE_DIR "/tests/model/data/chat_templates.json", JSON_ALLOW_NUL, &je),
           *c;
    assert_non_null(data);
    size_t i, k, wrong = 0;
    json_t *m, *cases = json_object_get(data, "cases");
    assert_true(json_array_size(cases) > 90);
    json_array_foreach(cases, i, c)
    {
        struct chat_message messages[16];
        json_t *list = json_object_get(c, "messages");
        json_array_foreach(list, k, m)
        {
            json_t *content = json_object_get(m, "content");
            messages[k] = (struct chat_message){json_string_value(json_object_get(m, "role")),
                                                json_string_value(content), json_string_length(content)};
        }
        struct chat_vars vars = {json_string_value(json_object_get(c, "bos")),
                                 json_string_value(json_object_get(c, "eos")),
                                 json_is_true(json_object_get(c, "generation")), NOW};
        struct chat_rendered r;
        struct weft_err err;
        struct chat_template *t = parse(json_string_value(json_object_get(c, "template")));
        enum weft_rc rc = chat_template_render(t, messages, json_array_size(list), &vars, &r, &err);
        chat_template_destroy(t);
        const char *name = json_string_value(json_object_get(c, "name"));
        const char *want = json_string_value(json_object_get(c, "rendered"));
        const char *refused = json_string_value(json_object_get(c, "refused"));
        if (want ? rc != WEFT_OK || strcmp(r.text, want) != 0 || r.len != strlen(want)
                 : rc != WEFT_INVALID_REQUEST || !strstr(err.message, refused)) {
            print_message("%s: %s\n--- want\n%s\n", name, rc ? err.message : r.text, want ? want : refused);
            wrong++;
        }
        chat_rendered_free(&r);
    }
    json_decref(data);
    assert_int_equal(wrong, 0);
}

/* In the result, bytes that came from the message are upper case here, all others lower case: the marks must
 * say the same. */
static void foreign_bytes_are_marked(void **state)
{
    (void)state;
    static const char *const sources[] = {
        "a{{ messages[0].content }}b",
        "{{ 'x' + messages[0]['content'] ~ 'y' }}",
        "{{ messages[0].content|trim }}",
        "{{ messages[0].content.split('C')|join('-') }}",
        "{{ messages[0].content[::-1] }}",
        "{{ messages[0].content.replace('C', 'z') }}",
        "{% for c in messages[0].content %}{{ c }}.{% endfor %}",
        "{% set t %}q{{ messages[0].content }}{% endset %}{{ t }}!",
        "{{ [messages[0].content, 'k'] }}",
        "{{ {'k': messages[0].content}|tojson }}",
        "{{ messages[0].content * 2 }}{{ bos_token }}",
        "{{ messages[0].content|upper }}",
        "{{ messages|map(attribute='content')|join('u') }}",
        "{% set ns = namespace(v='') %}{% for m in messages %}{% set ns.v = ns.v + m.content %}{% endfor "
        "%}{{ ns.v }}",
        "{{ messages[0].content|string|list|join }}",
        "{{ messages[0].content.strip('A') if true else 'n' }}",
    };
    for (size_t i = 0; i < sizeof sources / sizeof *sources; i++) {
        struct chat_rendered r;
        struct weft_err err;
        if (render(sources[i], "ABCD", &r, &err))
            fail_msg("%s: %s", sources[i], err.message);
        size_t foreign = 0;
        for (size_t k = 0; k < r.len; k++) {
            bool upper = r.text[k] >= 'A' && r.text[k] <= 'Z';
            if (upper != (r.foreign[k] != 0))
                fail_msg("%s: byte %zu of '%s'", sources[i], k, r.text);
            foreign += upper;
        }
        assert_true(foreign >= 3);
        chat_rendered_free(&r);
    }
}

static void an_edited_template_changes_the_output(void **state)
{
    (void)state;
    struct chat_rendered r;
    assert_int_equal(render("{{ messages[0].content }}!", "hi", &r, NULL), WEFT_OK);
    assert_string_equal(r.text, "hi!");
    chat_rendered_free(&r);
    assert_int_equal(render("{{ messages[0].content }}?", "hi", &r, NULL), WEFT_OK);
    assert_string_equal(r.text, "hi?");
    chat_rendered_free(&r);
}

static void wrong_templates_are_refused_with_their_line(void **state)
{
    (void)state;
    static const struct {
        const char *source, *says;
    } cases[] = {
        {"{{ 1", "{{ has no }}"},
        {"{% if x", "{% has no %}"},
        {"{# x", "{# has no #}"},
        {"\n\n{{ 'x }}", "line 3: a string has no end"},
        {"{% if x %}a", "'if' has no 'endif'"},
        {"{% for i in x %}a", "'for' has no 'endfor'"},
        {"{% endif %}", "'endif' without its beginning"},
        {"{% if x %}{% endfor %}", "'if' has no 'endif'"},
        {"{% macro f() %}{% endmacro %}", "the statement 'macro' isn't supported"},
        {"{% include 'x' %}", "the statement 'include' isn't supported"},
        {"{% for i in x recursive %}{% endfor %}", "recursive loops"},
        {"{% set x %}", "'set' has no 'endset'"},
        {"{% set x.y %}", "'set' without '='"},
        {"{% break %}", "'break' outside of a loop"},
        {"{{ }}", "expected an expression"},
        {"{{ 1 + }}", "expected an expression"},
        {"{{ a..b }}", "expected a name"},
        {"{{ (1 }}", "{{ has no }}"},
        {"{{ [1, 2 }}", "{{ has no }}"},
        {"{{ {'a' 1} }}", "expected ':'"},
        {"{{ a ? b }}", "unexpected character"},
        {"{{ 1 2 }}", "expected '}}'"},
        {"{% for 1 in x %}{% endfor %}", "expected a name"},
        {"{% for i x %}{% endfor %}", "'for' without 'in'"},
        {"{{ x[] }}", "empty subscript"},
        {"{{ () }}", "empty parentheses"},
        {"{{ 12345678901234567890 }}", "a number is too long"},
        {"{{ x | }}", "expected the name of a filter"},
        {"{{ x is 3 }}", "expected the name of a test"},
        {"a\xff", "isn't UTF-8"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct chat_template *t;
        struct weft_err err;
        enum weft_rc rc = chat_template_parse(cases[i].source, strlen(cases[i].source), &t, &err);
        if (rc != WEFT_FILE_INVALID || t || !strstr(err.message, cases[i].says))
            fail_msg("%s: %s", cases[i].source, rc ? err.message : "accepted");
        assert_non_null(strstr(err.message, "line "));
    }
}

static void what_cannot_be_done_is_an_error(void **state)
{
    (void)state;
    static const struct {
        const char *source, *says;
    } cases[] = {
        {"{{ x|nosuch }}", "filter 'nosuch' isn't supported"},
        {"{{ x is nosuch }}", "test 'nosuch' isn't supported"},
        {"{{ 'a'.nosuch() }}", "no method 'nosuch'"},
        {"{{ nosuch() }}", "'nosuch' is undefined"},
        {"{{ messages.append(1) }}", "a list has no method 'append'"},
        {"{{ nosuch.field }}", "'nosuch' is undefined"},
        {"{{ nosuch[0] }}", "'nosuch' is undefined"},
        {"\n{{ 'a' + 1 }}", "line 2: can't add a string and an integer"},
        {"{{ 'a' + nosuch }}", "'nosuch' is undefined"},
        {"{{ 1 < 'a' }}", "can't order"},
        {"{{ 1 // 0 }}", "division by zero"},
        {"{{ 999999999999999999 * 999999999999999999 }}", "overflow"},
        {"{{ -'a' }}", "can't negate"},
        {"{{ 1|length }}", "has no length"},
        {"{% for i in 1 %}{% endfor %}", "can't loop over an integer"},
        {"{% for a, b in [1] %}{% endfor %}", "can't unpack"},
        {"{% set x = 1 %}{% set x.y = 2 %}", "isn't a namespace"},
        {"{{ 1() }}", "can't be called"},
        {"{{ raise_exception('stop \x1b[2J') }}", "refuses this conversation: stop \\x1b[2J"},
        {"{{ range(0, 10, 0) }}", "range needs"},
        {"{{ 'a'[::0] }}", "slice step 0"},
        {"{{ {'a': 1}|tojson(indent=99) }}", "out of 0 … 16"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct chat_rendered r;
        struct weft_err err;
        enum weft_rc rc = render(cases[i].source, "x", &r, &err);
        if (rc != WEFT_INVALID_REQUEST || r.text || !strstr(err.message, cases[i].says))
            fail_msg("%s: %s", cases[i].source, rc ? err.message : r.text);
    }
}

static void limits_end_what_would_not_end(void **state)
{
    (void)state;
    static const struct {
        const char *source, *says;
    } cases[] = {
        {"{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
         "more than 1000000 loop steps"},
        {"{{ range(99999999) }}", "a range of more than"},
        {"{% set ns = namespace(s='aaaaaaaaaaaaaaaa') %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s "
         "%}{% endfor %}",
         "MiB to render"},
        {"{% set ns = namespace(s='aaaaaaaaaaaaaaaa') %}{% for i in range(17) %}{% set ns.s = ns.s + ns.s "
         "%}{% endfor %}"
         "{% for i in range(99) %}{{ ns.s }}{% endfor %}",
         "longer than 16777216 bytes"},
        {"{{ 'a' * 999999999999 }}", "loop steps"},
        {"{% set ns = namespace(s=[]) %}{% for i in range(99999) %}{% set ns.s = [ns.s] %}{% endfor %}{{ "
         "ns.s }}",
         "MiB to render"},
        {"{% set ns = namespace() %}{% set ns.me = ns %}{{ ns }}", "MiB to render"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct chat_rendered r;
        struct weft_err err;
        enum weft_rc rc = render(cases[i].source, "x", &r, &err);
        if (rc != WEFT_INVALID_REQUEST || !strstr(err.message, cases[i].says))
            fail_msg("%s: %s", cases[i].source, rc ? err.message : "rendered");
        chat_rendered_free(&r);
    }
    /* Deep nesting is refused when parsed. */
    static const char *const deep[][3] = {{"{{ ", "(", ")"}, {"{{ ", "[", "]"},      {"{{ ", "not ", ""},
                                          {"{{ ", "-", ""},  {"", "{% if x %}", ""}, {"{{ ", "{'a': ", "}"}};
    for (size_t i = 0; i < sizeof deep / sizeof *deep; i++) {
        struct buf b = BUF_INIT;
        struct chat_template *t;
        struct weft_err err;
        buf_adds(&b, deep[i][0]);
        for (int k = 0; k < 5000; k++)
            buf_adds(&b, deep[i][1]);
        buf_adds(&b, "1");
        for (int k = 0; k < 5000; k++)
            buf_adds(&b, deep[i][2]);
        buf_adds(&b, " }}");
        assert_int_equal(chat_template_parse(buf_str(&b), b.len, &t, &err), WEFT_FILE_INVALID);
        if (!strstr(err.message, "nested deeper than 64"))
            fail_msg("%s", err.message);
        buf_free(&b);
    }
    /* A long chain isn't nested in the source, but is for the evaluator. */
    struct buf b = BUF_INIT;
    buf_adds(&b, "{{ 1");
    for (int k = 0; k < 5000; k++)
        buf_adds(&b, " + 1");
    buf_adds(&b, " }}");
    struct chat_rendered r;
    struct weft_err err;
    assert_int_equal(render(buf_str(&b), "x", &r, &err), WEFT_INVALID_REQUEST);
    assert_non_null(strstr(err.message, "nested too deep"));
    buf_free(&b);
}

static void messages_must_be_utf8(void **state)
{
    (void)state;
    struct chat_rendered r;
    struct weft_err err;
    assert_int_equal(render("{{ messages[0].content }}", "a\xff", &r, &err), WEFT_INVALID_REQUEST);
    assert_string_equal(err.message, "message 0: its content isn't UTF-8");
}

/* Every allocation fails once: an error each time, nothing leaked (the sanitizer watches), and then it works.
 */
static void out_of_memory_is_an_error(void **state)
{
    (void)state;
    static const char source[] = "{% for m in messages %}{{ m.role + ': ' + m.content|trim }}{% endfor %}";
    struct chat_message m = {"user", " hi ", 4};
    struct chat_vars vars = {"", "", true, NOW};
    for (size_t k = 1;; k++) {
        struct chat_template *t;
        struct chat_rendered r;
        struct weft_err err;
        mem_fail_at(k);
        enum weft_rc rc = chat_template_parse(source, sizeof source - 1, &t, &err);
        if (!rc) {
            rc = chat_template_render(t, &m, 1, &vars, &r, &err);
            chat_template_destroy(t);
        }
        size_t seen = mem_fail_at(0);
        if (!rc) {
            assert_string_equal(r.text, "user: hi");
            chat_rendered_free(&r);
            assert_true(seen < k && k > 4);
            return;
        }
        assert_true(err.message[0] != 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rendered_as_jinja2_does),
        cmocka_unit_test(foreign_bytes_are_marked),
        cmocka_unit_test(an_edited_template_changes_the_output),
        cmocka_unit_test(wrong_templates_are_refused_with_their_line),
        cmocka_unit_test(what_cannot_be_done_is_an_error),
        cmocka_unit_test(limits_end_what_would_not_end),
        cmocka_unit_test(messages_must_be_utf8),
        cmocka_unit_test(out_of_memory_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
