/* Chats as Markdown and JSON: what they hold, where they go, and that JSON comes back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/hash.h"
#include "engine/base/mem.h"
#include "src/export.h"
#include "tests/support/store_rig.h"

static const struct store_settings defaults = {
    .title = "session 1", .system = "", .prio = PRIO_NORMAL, .sampling = SAMPLING_DEFAULT, .max_tokens = 512};
static struct store_chat chat;
static struct weft_err err;
static char top[64];

static int setup(void **state)
{
    (void)state;
    struct store_settings s = defaults;
    s.title = "Plan: Three days!";
    s.system = "Be brief.\n\nAnd kind.";
    s.prio = PRIO_HIGH;
    s.sampling.temperature = 0.25;
    snprintf(s.model, sizeof s.model, "smollm2");
    store_rig_make(top);
    if (!store_chat_init(&chat, &s))
        return -1;
    snprintf(chat.id, sizeof chat.id, "20260131-120000-abc");
    chat.created_ms = 1769860800000;
    store_chat_add(&chat, 0, STORE_USER, 1769860800000, "Where to?", 9);
    store_chat_add(&chat, 0, STORE_ASSISTANT, 1769860801000, "```c\nint lisbon;\n```\n", 21);
    chat.messages[1].footer = (struct store_footer){"length", 82.4, 41.25, 3, 318, 96, 2};
    store_chat_add(&chat, 0, STORE_USER, 1769860802000, "And?", 4);
    store_chat_add(&chat, 0, STORE_ASSISTANT, 1769860803000, "Then \"\xe2\x82\xac\"\0\x1b[2J", 15);
    return store_chat_draft(&chat, "half", 4) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    store_chat_deinit(&chat);
    store_rig_remove(top);
    return 0;
}

static void markdown_reads_as_a_chat(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    chat.n_messages = 3;
    assert_true(export_chat(&chat, EXPORT_MARKDOWN, &b));
    chat.n_messages = 4;
    assert_string_equal(b.data, "# Plan: Three days!\n"
                                "\n"
                                "- model: smollm2\n"
                                "- begun: 2026-01-31 12:00 UTC\n"
                                "- priority: high\n"
                                "\n"
                                "## System\n"
                                "\n"
                                "> Be brief.\n"
                                ">\n"
                                "> And kind.\n"
                                "\n"
                                "## You\n"
                                "\n"
                                "Where to?\n"
                                "\n"
                                "## Reply\n"
                                "\n"
                                "```c\nint lisbon;\n```\n"
                                "\n"
                                "*318 tokens · 41.2 tok/s · first after 82 ms · waited 3 ms · 96 cached · "
                                "preempted 2× · length*\n"
                                "\n"
                                "## You\n"
                                "\n"
                                "And?\n");
    buf_free(&b);
}

/* A reply that was cut inside a code block doesn't swallow what follows. */
static void an_open_code_block_is_closed(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    store_chat_truncate(&chat, 1);
    assert_true(store_chat_add(&chat, 0, STORE_ASSISTANT, 0, "So:\n```c\nint x;", 15));
    assert_true(export_chat(&chat, EXPORT_MARKDOWN, &b));
    assert_non_null(strstr(b.data, "int x;\n```\n\n*unfinished*\n"));
    buf_free(&b);
}

static void json_comes_back(void **state)
{
    (void)state;
    struct buf b = BUF_INIT, again = BUF_INIT;
    struct store_chat back;
    assert_true(export_chat(&chat, EXPORT_JSON, &b));
    assert_int_equal(export_parse(b.data, b.len, &defaults, &back, &err), WEFT_OK);
    assert_string_equal(back.settings.title, chat.settings.title);
    assert_string_equal(back.settings.system, chat.settings.system);
    assert_int_equal(back.settings.prio, PRIO_HIGH);
    assert_true(back.settings.sampling.temperature == 0.25);
    assert_int_equal(back.n_messages, 4);
    assert_int_equal(back.messages[3].text.len, 15);
    assert_memory_equal(back.messages[3].text.data, chat.messages[3].text.data, 15);
    assert_string_equal(back.draft, "half");
    assert_string_equal(back.id, "");
    snprintf(back.id, sizeof back.id, "%s", chat.id);
    assert_true(export_chat(&back, EXPORT_JSON, &again));
    assert_string_equal(again.data, b.data);
    store_chat_deinit(&back);
    buf_free(&b);
    buf_free(&again);
}

static void an_array_of_messages_is_a_chat(void **state)
{
    (void)state;
    static const char text[] =
        "[{\"role\":\"system\",\"content\":\"Be terse.\"},"
        "{\"role\":\"user\",\"content\":\"Hi\"},{\"role\":\"assistant\",\"content\":\"Yes\"}]";
    struct store_chat c;
    assert_int_equal(export_parse(text, sizeof text - 1, &defaults, &c, &err), WEFT_OK);
    assert_string_equal(c.settings.system, "Be terse.");
    assert_string_equal(c.settings.title, "session 1");
    assert_int_equal(c.n_messages, 2);
    assert_string_equal(c.messages[1].footer.reason, "stop");
    store_chat_deinit(&c);
}

static void assert_refused(const char *text, const char *in_message)
{
    struct store_chat c;
    assert_int_equal(export_parse(text, strlen(text), &defaults, &c, &err), WEFT_FILE_INVALID);
    if (!strstr(err.message, in_message))
        fail_msg("\"%s\" isn't in: %s", in_message, err.message);
}

static void other_documents_are_refused_by_field_and_value(void **state)
{
    (void)state;
    assert_refused("", "no JSON: line 1");
    assert_refused("{\"schema\":1,\n\"messages\":[}", "no JSON: line 2");
    assert_refused("{}", "schema is missing, must be 1");
    assert_refused("{\"schema\":2,\"messages\":[]}", "schema is 2, must be 1");
    assert_refused("{\"schema\":1}", "messages is missing");
    assert_refused("{\"schema\":1,\"messages\":{}}", "messages is an object");
    assert_refused("3", "no JSON: line 1");
    assert_refused("[3]", "messages[0].content is missing, must be a text");
    assert_refused("[{\"role\":\"user\",\"content\":null}]", "messages[0].content is null");
    assert_refused("[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"tool\",\"content\":\"b\"}]",
                   "messages[1].role is \"tool\", must be user or assistant");
    assert_refused("[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"system\",\"content\":\"b\"}]",
                   "messages[1].role");
    assert_refused("{\"schema\":1,\"settings\":3,\"messages\":[]}", "settings is 3, must be an object");
    assert_refused("{\"schema\":1,\"settings\":{\"priority\":\"urgent\"},\"messages\":[]}",
                   "priority is \"urgent\", must be critical, high, normal or low");
    assert_refused("{\"schema\":1,\"settings\":{\"top_p\":7},\"messages\":[]}", "top_p");
    assert_refused("{\"schema\":1,\"settings\":{\"seed\":1.5},\"messages\":[]}", "seed is 1.5");
    assert_refused("{\"schema\":1,\"schema\":1,\"messages\":[]}", "duplicate");
}

static void hostile_documents_end_with_a_verdict(void **state)
{
    (void)state;
    struct buf whole = BUF_INIT, b = BUF_INIT;
    struct rng r;
    rng_seed(&r, 11);
    assert_true(export_chat(&chat, EXPORT_JSON, &whole));
    for (int round = 0; round < 3000; round++) {
        struct store_chat c;
        buf_clear(&b);
        buf_add(&b, whole.data, whole.len);
        for (uint64_t i = rng_below(&r, 4) + 1; i; i--)
            b.data[rng_below(&r, b.len)] = "\"{}[],:0-9ax\xff\\"[rng_below(&r, 15)];
        enum weft_rc rc =
            export_parse(b.data, rng_below(&r, 3) ? b.len : rng_below(&r, b.len), &defaults, &c, &err);
        assert_true(rc == WEFT_OK || rc == WEFT_FILE_INVALID);
        if (rc == WEFT_OK)
            store_chat_deinit(&c);
    }
    buf_clear(&b);
    for (int i = 0; i < 100000; i++)
        buf_addc(&b, '[');
    assert_refused(b.data, "no JSON");
    buf_free(&whole);
    buf_free(&b);
}

static void files_go_where_they_were_asked_to(void **state)
{
    (void)state;
    struct buf path = BUF_INIT, text = BUF_INIT, want = BUF_INIT;
    struct stat st;
    char name[160];
    umask(0);
    /* into a directory: with a name of its own */
    assert_int_equal(export_write(&chat, EXPORT_MARKDOWN, top, false, &path, &err), WEFT_OK);
    snprintf(name, sizeof name, "%s/weft-plan-three-days-20260131-120000.md", top);
    assert_string_equal(buf_str(&path), name);
    assert_int_equal(stat(name, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_true(store_rig_read(name, &text));
    assert_true(export_chat(&chat, EXPORT_MARKDOWN, &want));
    assert_string_equal(text.data, want.data);
    /* to the home directory */
    assert_int_equal(setenv("HOME", top, 1), 0);
    assert_int_equal(export_write(&chat, EXPORT_JSON, "~/mine.json", false, &path, &err), WEFT_OK);
    snprintf(name, sizeof name, "%s/mine.json", top);
    assert_string_equal(buf_str(&path), name);
    struct store_chat c;
    assert_int_equal(export_read("~/mine.json", &defaults, &c, &err), WEFT_OK);
    assert_int_equal(c.n_messages, 4);
    store_chat_deinit(&c);
    /* beside the present directory */
    char before[512];
    assert_non_null(getcwd(before, sizeof before));
    assert_int_equal(chdir(top), 0);
    assert_int_equal(export_write(&chat, EXPORT_JSON, "", false, &path, &err), WEFT_OK);
    assert_int_equal(export_write(&chat, EXPORT_JSON, "here.json", false, &path, &err), WEFT_OK);
    assert_int_equal(chdir(before), 0);
    snprintf(name, sizeof name, "%s/here.json", top);
    assert_int_equal(access(name, R_OK), 0);
    assert_int_equal(store_rig_count(top, ".json", NULL), 3);
    umask(022);
    buf_free(&path);
    buf_free(&text);
    buf_free(&want);
}

static void nothing_is_overwritten_unless_told(void **state)
{
    (void)state;
    struct buf path = BUF_INIT, text = BUF_INIT;
    char name[160], target[160];
    snprintf(name, sizeof name, "%s/mine.md", top);
    store_rig_write(name, "precious", 8);
    assert_int_equal(export_write(&chat, EXPORT_MARKDOWN, name, false, &path, &err), WEFT_INVALID_REQUEST);
    assert_non_null(strstr(err.message, name));
    assert_string_equal(buf_str(&path), name);
    assert_true(store_rig_read(name, &text));
    assert_string_equal(text.data, "precious");
    /* Through a link too: told so, the link is replaced and what it led to stays. */
    snprintf(target, sizeof target, "%s/link.md", top);
    assert_int_equal(symlink(name, target), 0);
    assert_int_equal(export_write(&chat, EXPORT_MARKDOWN, target, false, &path, &err), WEFT_INVALID_REQUEST);
    assert_int_equal(export_write(&chat, EXPORT_MARKDOWN, target, true, &path, &err), WEFT_OK);
    buf_clear(&text);
    assert_true(store_rig_read(name, &text));
    assert_string_equal(text.data, "precious");
    assert_int_equal(export_write(&chat, EXPORT_MARKDOWN, name, true, &path, &err), WEFT_OK);
    buf_clear(&text);
    assert_true(store_rig_read(name, &text));
    assert_memory_equal(text.data, "# Plan", 6);
    snprintf(target, sizeof target, "%s/no/such/place.md", top);
    assert_int_equal(export_write(&chat, EXPORT_MARKDOWN, target, false, &path, &err), WEFT_INTERNAL_ERROR);
    assert_non_null(strstr(err.message, "No such file or directory"));
    struct buf left = BUF_INIT;
    assert_int_equal(store_rig_count(top, "", &left), 4); /* . .. mine.md link.md: no rests of attempts */
    buf_free(&left);
    buf_free(&path);
    buf_free(&text);
}

static void unreadable_files_are_refused_by_name(void **state)
{
    (void)state;
    struct store_chat c;
    char name[160];
    snprintf(name, sizeof name, "%s/absent.json", top);
    assert_int_equal(export_read(name, &defaults, &c, &err), WEFT_FILE_INVALID);
    assert_non_null(strstr(err.message, "absent.json: No such file"));
    assert_int_equal(export_read(top, &defaults, &c, &err), WEFT_FILE_INVALID);
    assert_non_null(strstr(err.message, "directory"));
}

static void formats_have_names(void **state)
{
    (void)state;
    enum export_format f = EXPORT_JSON;
    assert_true(export_format_parse("md", &f));
    assert_int_equal(f, EXPORT_MARKDOWN);
    assert_true(export_format_parse("json", &f));
    assert_int_equal(f, EXPORT_JSON);
    assert_false(export_format_parse("pdf", &f));
    assert_int_equal(f, EXPORT_JSON);
}

static void each_allocation_fails_once(void **state)
{
    (void)state;
    struct buf path = BUF_INIT;
    char name[160];
    snprintf(name, sizeof name, "%s/x.json", top);
    for (size_t n = 1;; n++) {
        struct store_chat c;
        mem_fail_at(0);
        mem_fail_at(n);
        enum weft_rc rc = export_write(&chat, EXPORT_JSON, name, true, &path, &err);
        if (rc == WEFT_OK) {
            rc = export_read(name, &defaults, &c, &err);
            if (rc == WEFT_OK) {
                assert_int_equal(c.n_messages, 4);
                store_chat_deinit(&c);
            }
        }
        bool reached = mem_fail_at(0) >= n;
        if (!reached)
            assert_int_equal(rc, WEFT_OK);
        buf_free(&path);
        if (!reached)
            break;
        assert_true(n < 1000);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(markdown_reads_as_a_chat),
        TEST(an_open_code_block_is_closed),
        TEST(json_comes_back),
        TEST(an_array_of_messages_is_a_chat),
        TEST(other_documents_are_refused_by_field_and_value),
        TEST(hostile_documents_end_with_a_verdict),
        TEST(files_go_where_they_were_asked_to),
        TEST(nothing_is_overwritten_unless_told),
        TEST(unreadable_files_are_refused_by_name),
        TEST(formats_have_names),
        TEST(each_allocation_fails_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
