/* A session: its turns, its queue, the order of its transcript, and prompts that fit the context. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/mem.h"
#include "src/session.h"

static struct session *s;

static int make(void **state)
{
    (void)state;
    const struct session_defaults defaults = {PRIO_NORMAL, "", SAMPLING_DEFAULT, 100};
    s = session_create(3, &defaults);
    return s ? 0 : -1;
}

static int drop(void **state)
{
    (void)state;
    session_destroy(s);
    return 0;
}

static void say(const char *text)
{
    assert_true(session_say(s, text, strlen(text)));
}

/* The reply arrives whole. */
static void answer(const char *text, enum finish_reason reason)
{
    struct engine_event ev = {.type = ENGINE_FINISH, .reason = reason};
    char copy[256];
    snprintf(copy, sizeof copy, "%s", text);
    ev.text = copy;
    ev.text_len = strlen(copy);
    ev.timing.ttft_ms = NAN;
    session_end(s, &ev);
}

/* A session's transcript as "kind:text" pieces, a letter a kind. */
static const char *transcript_of(const struct session *shown)
{
    static const char kinds[MSG_KIND_COUNT] = {
        [MSG_USER] = 'u', [MSG_ASSISTANT] = 'a', [MSG_NOTE] = 'n', [MSG_ERROR] = 'e', [MSG_QUEUED] = 'q'};
    static char out[1024];
    size_t used = 0;
    out[0] = 0;
    for (size_t i = 0; i < transcript_count(shown->transcript); i++) {
        size_t n;
        const char *text = transcript_text(shown->transcript, i, &n);
        used += (size_t)snprintf(out + used, sizeof out - used, "%s%c:%.*s", i ? "|" : "",
                                 kinds[transcript_kind(shown->transcript, i)], (int)n, text);
    }
    return out;
}

static const char *transcript(void)
{
    return transcript_of(s);
}

static void exchange(const char *question, const char *reply)
{
    say(question);
    session_ask(s, "r");
    answer(reply, FINISH_STOP);
}

static void question_and_answer(void **state)
{
    (void)state;
    assert_string_equal(s->title, "session 3");
    say("one two three four five six seven");
    assert_string_equal(s->title, "one two three four five");
    assert_false(session_busy(s));
    assert_true(session_ask(s, "r1"));
    assert_true(session_busy(s));
    assert_true(session_reply(s, "he", 2));
    answer("hello", FINISH_STOP); /* the event has what the stream lacked */
    assert_false(session_busy(s));
    assert_int_equal(s->n_turns, 2);
    assert_string_equal(s->turns[1].text, "hello");
    assert_string_equal(transcript(), "u:one two three four five six seven|a:hello");
    assert_true(s->last_ttft_ms < 0); /* not a number on the screen */
}

static void messages_wait_in_order(void **state)
{
    (void)state;
    say("first");
    session_ask(s, "r1");
    say("second");
    say("third");
    assert_string_equal(transcript(), "u:first|a:|q:second|q:third");
    session_note(s, "a remark");
    session_reply(s, "reply", 5);
    assert_string_equal(transcript(), "u:first|a:reply|q:second|q:third|n:a remark");
    assert_false(session_next(s)); /* a request is out */
    answer("reply", FINISH_STOP);
    assert_true(session_next(s));
    assert_int_equal(s->n_turns, 3);
    session_ask(s, "r2");
    session_reply(s, "again", 5);
    assert_string_equal(transcript(), "u:first|a:reply|n:a remark|u:second|a:again|q:third");
    char *taken = session_unqueue(s);
    assert_string_equal(taken, "third");
    mem_free(taken);
    assert_null(session_unqueue(s));
    assert_string_equal(transcript(), "u:first|a:reply|n:a remark|u:second|a:again");
    session_reply(s, "!", 1);
    answer("again!", FINISH_CANCELLED);
    assert_string_equal(transcript(), "u:first|a:reply|n:a remark|u:second|a:again!");
    assert_int_equal(s->n_turns, 4); /* what was made before it was stopped is a turn */
    assert_false(session_next(s));
}

static void a_refused_question_can_be_asked_again(void **state)
{
    (void)state;
    struct weft_err err;
    weft_err_set(&err, WEFT_QUEUE_FULL, "depth 7, limit 7");
    say("first");
    session_ask(s, "r1");
    say("second");
    session_fail(s, &err);
    assert_int_equal(s->n_turns, 0);
    assert_true(s->failed);
    assert_false(session_busy(s));
    assert_string_equal(transcript(), "u:first|e:QUEUE_FULL: depth 7, limit 7|q:second");
    assert_true(session_next(s));
    session_ask(s, "r2");
    assert_false(s->failed);
    answer("fine", FINISH_STOP);
    assert_string_equal(s->turns[0].text, "second");
    assert_string_equal(transcript(), "u:first|e:QUEUE_FULL: depth 7, limit 7|u:second|a:fine");
    say("third");
    session_ask(s, "r3");
    answer("", FINISH_CANCELLED); /* stopped before its first token */
    assert_int_equal(s->n_turns, 2);
}

static void dropping_and_clearing(void **state)
{
    (void)state;
    say("first");
    session_ask(s, "r1");
    say("second");
    say("third");
    session_drop_queue(s);
    assert_string_equal(transcript(), "u:first|a:");
    session_reply(s, "x", 1);
    session_clear(s);
    assert_false(session_busy(s));
    assert_int_equal(s->n_turns, 0);
    assert_string_equal(transcript(), "");
    say("new");
    assert_string_equal(transcript(), "u:new");
}

static void replies_go_on(void **state)
{
    (void)state;
    struct weft_err err;
    weft_err_set(&err, WEFT_QUEUE_FULL, "full");
    assert_false(session_can_go_on(s));
    exchange("first", "half a ");
    assert_true(session_can_go_on(s));
    assert_true(session_ask_on(s, "r2"));
    assert_false(session_can_go_on(s));
    assert_int_equal(s->n_turns, 1);
    assert_string_equal(transcript(), "u:first|a:half a ");
    session_reply(s, "rep", 3);
    say("second");
    answer("reply", FINISH_STOP); /* the event has what is new, and two bytes that the stream lacked */
    assert_string_equal(s->turns[1].text, "half a reply");
    assert_string_equal(transcript(), "u:first|a:half a reply|q:second");
    session_ask_on(s, "r3");
    session_fail(s, &err); /* refused: the reply stays as it was */
    assert_int_equal(s->n_turns, 2);
    assert_string_equal(s->turns[1].text, "half a reply");
    assert_string_equal(transcript(), "u:first|a:half a reply|e:QUEUE_FULL: full|q:second");
}

static void chats_are_rewound(void **state)
{
    (void)state;
    assert_int_equal(session_question(s, 1), SIZE_MAX);
    exchange("q1", "a1");
    session_note(s, "remark");
    exchange("q2", "a2");
    s->paused = true;
    say("later"); /* waits */
    assert_int_equal(session_question(s, 1), 2);
    assert_int_equal(session_question(s, 2), 0);
    assert_int_equal(session_question(s, 3), SIZE_MAX);
    assert_string_equal(transcript(), "u:q1|a:a1|n:remark|u:q2|a:a2|q:later");
    session_rewind(s, 4);
    assert_string_equal(transcript(), "u:q1|a:a1|n:remark|u:q2|a:a2|q:later");
    session_rewind(s, 3);
    assert_string_equal(transcript(), "u:q1|a:a1|n:remark|u:q2|q:later");
    session_rewind(s, 1);
    assert_string_equal(transcript(), "u:q1|q:later");
    assert_int_equal(s->n_turns, 1);
    session_rewind(s, 0);
    assert_string_equal(transcript(), "q:later");
    s->paused = false;
    assert_true(session_next(s));
    session_ask(s, "r");
    answer("fine", FINISH_STOP);
    session_rewind(s, 1);
    assert_string_equal(transcript(), "u:later");
}

static void a_pause_keeps_the_question(void **state)
{
    (void)state;
    say("first");
    session_ask(s, "r1");
    s->paused = s->cut = true;
    answer("", FINISH_CANCELLED);
    assert_true(s->cut);
    assert_int_equal(s->n_turns, 1);
    session_ask(s, "r2");
    assert_false(s->cut);
    s->cut = true;
    answer("done meanwhile", FINISH_STOP);
    assert_false(s->cut); /* there is nothing to go on with */
}

/* A branch of s as it is now, and the question that it is left with. */
static struct session *branch(const char **question)
{
    const struct session_defaults defaults = {PRIO_LOW, "of its own", SAMPLING_DEFAULT, 7};
    struct session *b = session_create(4, &defaults);
    assert_non_null(b);
    assert_true(session_branch(b, s, question));
    assert_int_equal(b->branch_of, 3);
    assert_false(session_busy(b));
    return b;
}

static void branches_have_what_is_complete(void **state)
{
    (void)state;
    const char *question;
    struct session *b = branch(&question);
    assert_null(question);
    assert_string_equal(b->title, "session 4"); /* an untitled one's is its number */
    session_destroy(b);

    s->prio = PRIO_HIGH;
    s->sampling.temperature = 0.25;
    session_set_system(s, "Be terse.");
    exchange("q1", "a1");
    session_note(s, "remark");
    say("q2");
    session_ask(s, "r2");
    say("later");          /* waits */
    b = branch(&question); /* no token of its reply yet */
    assert_string_equal(question, "q2");
    assert_int_equal(b->n_turns, 2);
    assert_string_equal(transcript_of(b), "u:q1|a:a1"); /* what was said, and no remarks */
    assert_string_equal(b->title, "q1");
    assert_string_equal(b->system, "Be terse.");
    assert_true(b->prio == PRIO_HIGH && b->sampling.temperature == 0.25 && b->max_tokens == 100);
    session_destroy(b);

    session_reply(s, "half a ", 7);
    b = branch(&question);
    assert_null(question);
    assert_string_equal(transcript_of(b), "u:q1|a:a1|u:q2|a:half a");
    assert_int_equal(b->n_queue, 0);
    assert_true(session_can_go_on(b));
    session_reply(s, "reply", 5); /* they go different ways */
    assert_true(session_ask_on(b, "r3"));
    session_reply(b, "loaf", 4);
    assert_string_equal(transcript_of(b), "u:q1|a:a1|u:q2|a:half a loaf");
    session_rewind(s, 0);
    answer("half a reply", FINISH_STOP);
    assert_string_equal(b->turns[2].text, "q2");
    session_destroy(b);
}

static void branching_survives_a_lack_of_memory(void **state)
{
    (void)state;
    const struct session_defaults defaults = {PRIO_LOW, "", SAMPLING_DEFAULT, 7};
    const char *question;
    exchange("q1", "a1");
    exchange("q2", "a2");
    bool done = false;
    for (size_t nth = 1; !done; nth++) {
        struct session *b = session_create(4, &defaults);
        assert_non_null(b);
        mem_fail_at(nth);
        done = session_branch(b, s, &question);
        mem_fail_at(0);
        assert_true(b->n_turns <= 4 && (!done || b->n_turns == 4));
        assert_string_equal(transcript(), "u:q1|a:a1|u:q2|a:a2");
        session_destroy(b);
    }
}

static void titles(void **state)
{
    (void)state;
    session_set_title(s, "  two\n words\x1b[2J \t");
    assert_non_null(strstr(s->title, "two words"));
    assert_null(strchr(s->title, 0x1b));
    char longest[300];
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = 0;
    memcpy(longest + 60, "\xe4\xb8\xad\xe4\xb8\xad", 6);
    session_set_title(s, longest);
    assert_int_equal(strlen(s->title), 63);
    assert_memory_equal(s->title + 60, "\xe4\xb8\xad", 3);
    session_set_title(s, "");
    assert_string_equal(s->title, "session 3");
}

/* Ten tokens a message. */
static size_t ten_each(void *ctx, const struct chat_message *messages, size_t n)
{
    (void)messages;
    ++*(int *)ctx;
    return 10 * n;
}

static void prompts_fit_the_context(void **state)
{
    (void)state;
    struct session_prompt p;
    int counted = 0;
    session_set_system(s, "be brief");
    exchange("q1", "a1");
    exchange("q2", "a2");
    exchange("q3", "a3");
    say("q4");
    assert_true(session_prompt(s, ten_each, &counted, 1000, &p));
    assert_int_equal(p.n_messages, 8);
    assert_string_equal(p.messages[0].role, "system");
    assert_string_equal(p.messages[7].role, "user");
    assert_int_equal(p.left_out, 0);
    assert_int_equal(p.max_tokens, 100);
    mem_free(p.messages);
    /* 80 + 100 > 150: two questions with their answers go, which leaves 40 + 100. */
    assert_true(session_prompt(s, ten_each, &counted, 150, &p));
    assert_int_equal(p.left_out, 4);
    assert_int_equal(p.n_messages, 4);
    assert_string_equal(p.messages[0].content, "be brief");
    assert_string_equal(p.messages[1].content, "q3");
    mem_free(p.messages);
    assert_true(session_prompt(s, ten_each, &counted, 150, &p));
    assert_int_equal(p.left_out, 0); /* those stay out */
    assert_int_equal(p.n_messages, 4);
    mem_free(p.messages);
    /* Too little even for the last question with all of max_tokens. */
    assert_true(session_prompt(s, ten_each, &counted, 50, &p));
    assert_int_equal(p.left_out, 2);
    assert_int_equal(p.n_messages, 2);
    assert_int_equal(p.max_tokens, 30);
    mem_free(p.messages);
    /* Before the model is known nothing is measured. */
    assert_true(session_prompt(s, NULL, NULL, 0, &p));
    assert_int_equal(p.max_tokens, 100);
    mem_free(p.messages);
}

static void out_of_memory_changes_nothing(void **state)
{
    (void)state;
    say("first");
    session_ask(s, "r1");
    for (size_t nth = 1; nth < 20; nth++) {
        mem_fail_at(nth);
        size_t turns = s->n_turns, queued = s->n_queue;
        bool said = session_say(s, "more", 4);
        mem_fail_at(0);
        assert_int_equal(s->n_turns, turns);
        assert_int_equal(s->n_queue, queued + (said ? 1 : 0));
    }
    session_drop_queue(s);
    answer("x", FINISH_STOP);
    for (size_t nth = 1; nth < 3; nth++) {
        size_t turns = s->n_turns;
        mem_fail_at(nth);
        bool said = session_say(s, "more", 4);
        mem_fail_at(0);
        assert_int_equal(s->n_turns, turns + (said ? 1 : 0));
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, drop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(question_and_answer),
        TEST(messages_wait_in_order),
        TEST(a_refused_question_can_be_asked_again),
        TEST(dropping_and_clearing),
        TEST(replies_go_on),
        TEST(chats_are_rewound),
        TEST(a_pause_keeps_the_question),
        TEST(branches_have_what_is_complete),
        TEST(branching_survives_a_lack_of_memory),
        TEST(titles),
        TEST(prompts_fit_the_context),
        TEST(out_of_memory_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
