/* The session file's format: what is written reads back; a cut, damaged or hostile file gives what can be had. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/hash.h"
#include "engine/base/mem.h"
#include "engine/base/utf8.h"
#include "src/store_record.h"

static const struct store_settings defaults = {
    .title = "session 1", .system = "", .prio = PRIO_NORMAL, .sampling = SAMPLING_DEFAULT, .max_tokens = 512};
static const struct store_footer footer = {"length", 82.5, 41.25, 3, 318, 96, 2};

static void assert_same_settings(const struct store_settings *a, const struct store_settings *b)
{
    assert_string_equal(a->title, b->title);
    assert_string_equal(a->system, b->system);
    assert_string_equal(a->model, b->model);
    assert_int_equal(a->titled, b->titled);
    assert_int_equal(a->prio, b->prio);
    assert_int_equal(a->max_tokens, b->max_tokens);
    assert_true(a->sampling.temperature == b->sampling.temperature);
    assert_true(a->sampling.top_p == b->sampling.top_p);
    assert_int_equal(a->sampling.top_k, b->sampling.top_k);
    assert_true(a->sampling.seed == b->sampling.seed);
    assert_string_equal(a->fork_of, b->fork_of);
    assert_int_equal(a->paused, b->paused);
    assert_int_equal(a->cut, b->cut);
}

static void assert_same(const struct store_chat *a, const struct store_chat *b)
{
    assert_same_settings(&a->settings, &b->settings);
    assert_int_equal(a->n_messages, b->n_messages);
    for (size_t i = 0; i < a->n_messages; i++) {
        const struct store_message *m = &a->messages[i], *n = &b->messages[i];
        assert_int_equal(m->id, n->id);
        assert_int_equal(m->role, n->role);
        assert_int_equal(m->text.len, n->text.len);
        assert_memory_equal(buf_str(&m->text), buf_str(&n->text), m->text.len);
        assert_string_equal(m->footer.reason, n->footer.reason);
        assert_true(m->footer.ttft_ms == n->footer.ttft_ms);
        assert_int_equal(m->footer.tokens, n->footer.tokens);
    }
    assert_int_equal(a->n_inputs, b->n_inputs);
    for (size_t i = 0; i < a->n_inputs; i++)
        assert_string_equal(a->inputs[i], b->inputs[i]);
    assert_string_equal(a->draft ? a->draft : "", b->draft ? b->draft : "");
    assert_int_equal(a->n_waiting, b->n_waiting);
    for (size_t i = 0; i < a->n_waiting; i++)
        assert_string_equal(buf_str(&a->waiting[i]), buf_str(&b->waiting[i]));
}

/* A chat with everything in it. */
static void fill(struct store_chat *c)
{
    struct store_settings s = defaults;
    s.title = "Gr\xc3\xbc\xc3\x9f"
              "e \"quoted\"\\";
    s.system = "Be brief.\nAnd kind.";
    s.titled = true;
    s.prio = PRIO_CRITICAL;
    s.sampling.temperature = 0.35;
    s.sampling.seed = INT64_C(1) << 40;
    snprintf(s.model, sizeof s.model, "smollm2");
    snprintf(s.fork_of, sizeof s.fork_of, "20260130-110000-def");
    s.paused = s.cut = true;
    assert_true(store_chat_init(c, &s));
    snprintf(c->id, sizeof c->id, "20260131-120000-abc");
    c->created_ms = 1769860800000;
    assert_true(store_chat_add(c, 0, STORE_USER, 1769860800100, "Hello\n\tthere", 12));
    assert_true(store_chat_add(c, 0, STORE_ASSISTANT, 1769860800200, "Hi! \xf0\x9f\x98\x80\x1b[2J", 12));
    c->messages[1].footer = footer;
    assert_true(store_chat_add(c, 0, STORE_USER, 1769860800300, "zero\0byte", 9));
    assert_true(store_chat_add(c, 0, STORE_ASSISTANT, 1769860800400, "unfinis", 7));
    assert_true(store_chat_input(c, "/set seed 3", 11));
    assert_true(store_chat_input(c, "Hello\n\tthere", 12));
    assert_true(store_chat_draft(c, "half a tho", 10));
    assert_true(store_chat_wait(c, "next", 4));
    assert_true(store_chat_wait(c, "and after \xff that", 15));
}

static void everything_comes_back(void **state)
{
    (void)state;
    struct store_chat c, back;
    struct buf b = BUF_INIT, again = BUF_INIT;
    struct store_report report;
    fill(&c);
    assert_true(record_chat(&b, &c));
    assert_true(store_chat_init(&back, &defaults));
    assert_int_equal(store_parse(b.data, b.len, &back, &report, NULL), WEFT_OK);
    assert_same(&c, &back);
    assert_int_equal(back.created_ms, c.created_ms);
    assert_int_equal(back.changed_ms, 1769860800400);
    assert_int_equal(back.next_id, 5);
    assert_int_equal(report.good_bytes, b.len);
    assert_int_equal(report.damaged, 0);
    assert_false(report.torn);
    assert_null(memchr(b.data, 0x1b, b.len)); /* a file that can be shown on a terminal */
    snprintf(back.id, sizeof back.id, "%s", c.id);
    assert_true(record_chat(&again, &back));
    assert_string_equal(b.data, again.data);
    /* In pieces of any size it is the same. */
    for (size_t piece = 1; piece < 40; piece += 3) {
        struct store_parser p;
        struct store_chat third;
        assert_true(store_chat_init(&third, &defaults));
        store_parser_init(&p, &third);
        for (size_t at = 0; at < b.len; at += piece)
            assert_int_equal(
                store_parser_feed(&p, b.data + at, b.len - at < piece ? b.len - at : piece, NULL), WEFT_OK);
        assert_int_equal(store_parser_end(&p, NULL), WEFT_OK);
        assert_same(&c, &third);
        store_parser_deinit(&p);
        store_chat_deinit(&third);
    }
    store_chat_deinit(&c);
    store_chat_deinit(&back);
    buf_free(&b);
    buf_free(&again);
}

static void only_what_changed_is_written(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    struct store_settings s = defaults;
    assert_true(record_set(&b, &s, &defaults));
    assert_int_equal(b.len, 0);
    s.prio = PRIO_LOW;
    s.sampling.top_k = 7;
    assert_true(record_set(&b, &s, &defaults));
    assert_string_equal(b.data, "{\"type\":\"set\",\"priority\":\"low\",\"top_k\":7}\n");
    buf_free(&b);
}

static void expect_waiting(const char *lines, const char *joined)
{
    struct store_chat c;
    struct store_report report;
    struct buf got = BUF_INIT;
    assert_true(store_chat_init(&c, &defaults));
    assert_int_equal(store_parse(lines, strlen(lines), &c, &report, NULL), WEFT_OK);
    assert_int_equal(report.damaged, 0);
    for (size_t i = 0; i < c.n_waiting; i++)
        buf_addf(&got, "%s%s", i ? "|" : "", buf_str(&c.waiting[i]));
    assert_string_equal(buf_str(&got), joined);
    buf_free(&got);
    store_chat_deinit(&c);
}

static void the_last_word_on_what_waits_counts(void **state)
{
    (void)state;
#define WAITS(at, text) "{\"type\":\"waiting\",\"at\":" #at ",\"text\":\"" text "\"}\n"
#define ONLY(at)        "{\"type\":\"waiting\",\"at\":" #at "}\n"
    expect_waiting(WAITS(0, "a") WAITS(1, "b") WAITS(2, "c"), "a|b|c");
    expect_waiting(WAITS(0, "a") WAITS(1, "b") WAITS(0, "c"), "c");
    expect_waiting(WAITS(0, "a") WAITS(1, "b") WAITS(2, "c") ONLY(1), "a");
    expect_waiting(WAITS(0, "a") ONLY(0), "");
    expect_waiting(WAITS(0, "a") WAITS(7, "b"), "a|b"); /* those between were lost */
    expect_waiting(WAITS(0, ""), "");
#undef ONLY
#undef WAITS
}

/* The length of a chat's text: grows with each byte that was saved. */
static size_t weight(const struct store_chat *c)
{
    size_t n = c->n_inputs + (c->draft ? strlen(c->draft) : 0) + c->n_messages * 1000;
    for (size_t i = 0; i < c->n_messages; i++)
        n += c->messages[i].text.len + (*c->messages[i].footer.reason ? 100 : 0);
    for (size_t i = 0; i < c->n_waiting; i++)
        n += c->waiting[i].len;
    return n;
}

/* Cut anywhere, a file reads back to what the whole records in it say, and the place to go on at is their end. */
static void a_cut_file_keeps_all_whole_records(void **state)
{
    (void)state;
    struct store_chat c;
    struct buf b = BUF_INIT;
    fill(&c);
    assert_true(record_chat(&b, &c));
    assert_true(record_text(&b, 4, 7, "hed \xe2\x82\xac", 7));
    assert_true(record_end(&b, 4, &footer, 1769860800500));
    size_t last_weight = 0, whole = 0;
    for (size_t cut = 0; cut <= b.len; cut++) {
        struct store_chat got;
        struct store_report report;
        assert_true(store_chat_init(&got, &defaults));
        enum weft_rc rc = store_parse(b.data, cut, &got, &report, NULL);
        if (cut && b.data[cut - 1] == '\n')
            whole = cut;
        bool newline_missing = b.data[cut] == '\n';
        assert_int_equal(rc, whole || newline_missing ? WEFT_OK : WEFT_FILE_INVALID);
        assert_int_equal(report.good_bytes, newline_missing ? cut : whole);
        assert_int_equal(report.no_newline, newline_missing);
        assert_int_equal(report.torn, cut != whole && !newline_missing);
        assert_int_equal(report.damaged, 0);
        assert_true(weight(&got) >= last_weight);
        last_weight = weight(&got);
        store_chat_deinit(&got);
    }
    assert_int_equal(whole, b.len);
    buf_free(&b);
    store_chat_deinit(&c);
}

static void a_damaged_line_costs_itself_alone(void **state)
{
    (void)state;
    static const char *const junk[] = {
        "",
        "{",
        "null",
        "[]",
        "\xff\xfe\xfd",
        "{\"type\":\"nothing known\"}",
        "{\"type\":\"message\",\"id\":-3,\"role\":\"user\",\"text\":\"x\"}",
        "{\"type\":\"message\",\"id\":99999999999,\"role\":\"user\",\"text\":\"x\"}",
        "{\"type\":\"set\",\"temperature\":1e9}",
        "{\"type\":\"set\",\"top_k\":\"many\"}",
        "{\"type\":\"set\",\"max_tokens\":0}",
        "{\"type\":\"text\",\"id\":1,\"at\":0}",
        "{\"type\":\"end\",\"id\":77}"};
    struct store_chat c, got;
    struct store_report report;
    struct buf b = BUF_INIT, bad = BUF_INIT;
    fill(&c);
    assert_true(record_chat(&b, &c));
    for (size_t j = 0; j < sizeof junk / sizeof *junk; j++) {
        const char *line = b.data;
        for (size_t k = 0; *line; k++) { /* behind line k */
            const char *end = strchr(line, '\n') + 1;
            buf_clear(&bad);
            buf_add(&bad, b.data, (size_t)(end - b.data));
            buf_addf(&bad, "%s\n%s", junk[j], end);
            assert_true(store_chat_init(&got, &defaults));
            assert_int_equal(store_parse(bad.data, bad.len, &got, &report, NULL), WEFT_OK);
            assert_same(&c, &got);
            assert_int_equal(report.damaged, *junk[j] ? 1 : 0);
            assert_int_equal(report.damaged_line, *junk[j] ? k + 2 : 0);
            store_chat_deinit(&got);
            line = end;
        }
    }
    buf_free(&bad);
    /* A line overwritten: all others still count. */
    size_t n_lines = 0;
    for (char *line = b.data; *line; line = strchr(line, '\n') + 1, n_lines++) {
        char keep = *line;
        *line = '#';
        assert_true(store_chat_init(&got, &defaults));
        assert_int_equal(store_parse(b.data, b.len, &got, &report, NULL), WEFT_OK);
        assert_true(report.damaged >= 1);
        assert_int_equal(report.damaged_line, n_lines + 1);
        assert_true(got.n_messages + 1 >= c.n_messages);
        store_chat_deinit(&got);
        *line = keep;
    }
    store_chat_deinit(&c);
    buf_free(&b);
}

static void a_lost_beginning_of_a_reply_leaves_its_rest(void **state)
{
    (void)state;
    static const char text[] = "{\"type\":\"session\",\"schema\":1,\"id\":\"a\",\"created_ms\":1}\n"
                               "{\"type\":\"message\",\"id\":1,\"role\":\"user\",\"ms\":5,\"text\":\"q\"}\n"
                               "{\"type\":\"text\",\"id\":2,\"at\":6,\"text\":\"world\"}\n"
                               "{\"type\":\"text\",\"id\":2,\"at\":20,\"text\":\"!\"}\n";
    struct store_chat c;
    struct store_report report;
    assert_true(store_chat_init(&c, &defaults));
    assert_int_equal(store_parse(text, sizeof text - 1, &c, &report, NULL), WEFT_OK);
    assert_int_equal(c.n_messages, 2);
    assert_int_equal(c.messages[1].role, STORE_ASSISTANT);
    assert_string_equal(buf_str(&c.messages[1].text), "world!");
    assert_int_equal(report.damaged, 2); /* two gaps */
    store_chat_deinit(&c);
}

static void removed_messages_are_gone_and_ids_go_on(void **state)
{
    (void)state;
    struct store_chat c, got;
    struct buf b = BUF_INIT;
    fill(&c);
    assert_true(record_chat(&b, &c));
    assert_true(record_remove(&b, 2));
    store_chat_truncate(&c, 1);
    assert_true(store_chat_add(&c, 0, STORE_ASSISTANT, 7, "anew", 4));
    assert_int_equal(c.messages[1].id, 5);
    assert_true(record_message(&b, &c.messages[1]));
    assert_true(store_chat_init(&got, &defaults));
    assert_int_equal(store_parse(b.data, b.len, &got, NULL, NULL), WEFT_OK);
    assert_same(&c, &got);
    store_chat_deinit(&got);
    store_chat_deinit(&c);
    buf_free(&b);
}

static void a_newer_schema_is_refused(void **state)
{
    (void)state;
    static const char text[] = "{\"type\":\"session\",\"schema\":2,\"id\":\"a\",\"created_ms\":1}\n";
    struct store_chat c;
    struct weft_err err;
    assert_true(store_chat_init(&c, &defaults));
    assert_int_equal(store_parse(text, sizeof text - 1, &c, NULL, &err), WEFT_FILE_INVALID);
    assert_non_null(strstr(err.message, "schema 2, this one reads up to 1"));
    store_chat_deinit(&c);
}

static void long_texts_take_several_records_and_long_lines_are_skipped(void **state)
{
    (void)state;
    enum { N = 5 * STORE_PIECE_MAX / 2 };
    struct store_chat c, got;
    struct buf b = BUF_INIT;
    struct store_report report;
    char *text = malloc(N);
    for (size_t i = 0; i < N; i++)
        text[i] = "\xe2\x82\xac"[i % 3];
    assert_true(store_chat_init(&c, &defaults));
    assert_true(store_chat_add(&c, 0, STORE_USER, 1, text, N / 3 * 3));
    snprintf(c.id, sizeof c.id, "a");
    assert_true(record_chat(&b, &c));
    size_t n_lines = 0;
    for (const char *p = b.data; *p; p = strchr(p, '\n') + 1) {
        assert_true((size_t)(strchr(p, '\n') - p) < STORE_LINE_MAX);
        n_lines++;
    }
    assert_int_equal(n_lines, 5);
    /* One line longer than any may be, made of what would be a record. */
    assert_true(buf_adds(&b, "{\"type\":\"draft\",\"text\":\""));
    for (int i = 0; i < 17; i++)
        for (size_t k = 0; k < (1 << 20); k += 1024)
            buf_add(&b, text, 1023);
    assert_true(buf_adds(&b, "\"}\n"));
    assert_true(record_input(&b, "after", 5));
    assert_true(store_chat_init(&got, &defaults));
    struct store_parser p;
    store_parser_init(&p, &got);
    for (size_t at = 0; at < b.len; at += 65536)
        assert_int_equal(store_parser_feed(&p, b.data + at, b.len - at < 65536 ? b.len - at : 65536, NULL),
                         WEFT_OK);
    assert_int_equal(store_parser_end(&p, NULL), WEFT_OK);
    report = p.report;
    store_parser_deinit(&p);
    assert_int_equal(got.messages[0].text.len, N / 3 * 3);
    assert_memory_equal(got.messages[0].text.data, text, N / 3 * 3);
    assert_int_equal(report.damaged, 1);
    assert_int_equal(report.good_bytes, b.len);
    assert_null(got.draft);
    assert_int_equal(got.n_inputs, 1);
    store_chat_deinit(&got);
    store_chat_deinit(&c);
    buf_free(&b);
    free(text);
}

static void bytes_that_are_no_text_become_replacement_characters(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    struct store_chat c;
    assert_true(store_chat_init(&c, &defaults));
    assert_true(store_chat_add(&c, 0, STORE_USER, 1, "a\xff\xc3(\xe2\x82", 6));
    assert_string_equal(buf_str(&c.messages[0].text), "a\xef\xbf\xbd\xef\xbf\xbd(\xef\xbf\xbd\xef\xbf\xbd");
    assert_true(record_input(&b, "\x80", 1));
    assert_true(utf8_valid(b.data, b.len));
    buf_free(&b);
    store_chat_deinit(&c);
}

/* Whatever bytes come, reading ends with a verdict, and what it gives can be written (run under the sanitizers). */
static void hostile_bytes_end_with_a_verdict(void **state)
{
    (void)state;
    static const char *const parts[] = {
        "\"type\":",  "\"text\"",          "\"message\"", "\"id\":",    "1",       "2147483648",
        "-1",         "\"role\":\"user\"", "\"at\":",     "{",          "}",       ",",
        "\n",         "\"remove\"",        "\"from\":",   "[[[[[[[[[[", "\\u0000", "\"",
        "\"set\"",    "\"top_p\":",        "1e308",       "\"end\"",    "\xff",    "\"schema\":1",
        "\"session\""};
    struct rng r;
    rng_seed(&r, 5);
    struct store_chat c;
    struct buf whole = BUF_INIT, b = BUF_INIT, out = BUF_INIT;
    fill(&c);
    assert_true(record_chat(&whole, &c));
    store_chat_deinit(&c);
    for (int round = 0; round < 4000; round++) {
        buf_clear(&b);
        if (round % 2) { /* a good file with some bytes changed */
            buf_add(&b, whole.data, whole.len);
            for (uint64_t i = rng_below(&r, 8) + 1; i; i--)
                b.data[rng_below(&r, b.len)] = (char)rng_u64(&r);
        } else {
            for (uint64_t i = rng_below(&r, 40); i; i--)
                buf_adds(&b, parts[rng_below(&r, sizeof parts / sizeof *parts)]);
        }
        assert_true(store_chat_init(&c, &defaults));
        enum weft_rc rc = store_parse(buf_str(&b), b.len, &c, NULL, NULL);
        assert_true(rc == WEFT_OK || rc == WEFT_FILE_INVALID);
        buf_clear(&out);
        assert_true(record_chat(&out, &c));
        store_chat_deinit(&c);
    }
    buf_free(&whole);
    buf_free(&b);
    buf_free(&out);
}

static void running_out_of_memory_is_an_error_and_no_shorter_chat(void **state)
{
    (void)state;
    struct store_chat c, got;
    struct buf b = BUF_INIT;
    fill(&c);
    assert_true(record_chat(&b, &c));
    for (size_t n = 1;; n++) {
        mem_fail_at(0);
        assert_true(store_chat_init(&got, &defaults));
        mem_fail_at(n);
        enum weft_rc rc = store_parse(b.data, b.len, &got, NULL, NULL);
        bool reached = mem_fail_at(0) >= n;
        assert_int_equal(rc, reached ? WEFT_INTERNAL_ERROR : WEFT_OK);
        store_chat_deinit(&got);
        if (!reached)
            break;
        assert_true(n < 1000);
    }
    store_chat_deinit(&c);
    buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_comes_back),
        cmocka_unit_test(only_what_changed_is_written),
        cmocka_unit_test(the_last_word_on_what_waits_counts),
        cmocka_unit_test(a_cut_file_keeps_all_whole_records),
        cmocka_unit_test(a_damaged_line_costs_itself_alone),
        cmocka_unit_test(a_lost_beginning_of_a_reply_leaves_its_rest),
        cmocka_unit_test(removed_messages_are_gone_and_ids_go_on),
        cmocka_unit_test(a_newer_schema_is_refused),
        cmocka_unit_test(long_texts_take_several_records_and_long_lines_are_skipped),
        cmocka_unit_test(bytes_that_are_no_text_become_replacement_characters),
        cmocka_unit_test(hostile_bytes_end_with_a_verdict),
        cmocka_unit_test(running_out_of_memory_is_an_error_and_no_shorter_chat),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
