/* The decoder of keys and pastes: every known sequence, split everywhere, and rubbish. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/buf.h"
#include "engine/base/hash.h"
#include "ui/term/decoder.h"

static const struct {
    const char *bytes;
    ui_key key;
} known[] = {
    {"a", 'a'},
    {"\xc3\xa9", 0xe9},
    {"\xf0\x9f\x98\x80", 0x1f600},
    {"\r", UI_KEY_ENTER},
    {"\n", 'j' | UI_MOD_CTRL},
    {"\t", UI_KEY_TAB},
    {"\x7f", UI_KEY_BACKSPACE},
    {"\x03", 'c' | UI_MOD_CTRL},
    {"\x1a", 'z' | UI_MOD_CTRL},
    {"\x1f", '_' | UI_MOD_CTRL},
    {"\x1b"
     "a",
     'a' | UI_MOD_ALT},
    {"\x1b"
     "1",
     '1' | UI_MOD_ALT},
    {"\x1b\xc3\xa9", 0xe9 | UI_MOD_ALT},
    {"\x1b\r", UI_KEY_ENTER | UI_MOD_ALT},
    {"\x1b\x7f", UI_KEY_BACKSPACE | UI_MOD_ALT},
    {"\x1b[A", UI_KEY_UP},
    {"\x1bOB", UI_KEY_DOWN},
    {"\x1b[1;3C", UI_KEY_RIGHT | UI_MOD_ALT},
    {"\x1b[1;5D", UI_KEY_LEFT | UI_MOD_CTRL},
    {"\x1b\x1b[D", UI_KEY_LEFT | UI_MOD_ALT},
    {"\x1b[H", UI_KEY_HOME},
    {"\x1b[8~", UI_KEY_END},
    {"\x1b[2~", UI_KEY_INSERT},
    {"\x1b[3~", UI_KEY_DELETE},
    {"\x1b[5~", UI_KEY_PGUP},
    {"\x1b[6;2~", UI_KEY_PGDN | UI_MOD_SHIFT},
    {"\x1b[Z", UI_KEY_BACKTAB},
    {"\x1bOP", UI_KEY_F1},
    {"\x1b[11~", UI_KEY_F1},
    {"\x1b[[A", UI_KEY_F1},
    {"\x1b[[E", UI_KEY_F1 + 4},
    {"\x1bOS", UI_KEY_F1 + 3},
    {"\x1b[15~", UI_KEY_F1 + 4},
    {"\x1b[18~", UI_KEY_F1 + 6},
    {"\x1b[24~", UI_KEY_F12},
    {"\x1b[1;2P", UI_KEY_F1 | UI_MOD_SHIFT},
    {"\x1b[9;2u", UI_KEY_BACKTAB},
    {"\x1b[13;3u", UI_KEY_ENTER | UI_MOD_ALT},
    {"\x1b[97;5u", 'a' | UI_MOD_CTRL},
    {"\x1b[27;5;97~", 'a' | UI_MOD_CTRL},
    {"\x1b[?1;2c", UI_KEY_NONE},
    {"\x1b[99~", UI_KEY_NONE},
};
enum { N_KNOWN = sizeof known / sizeof *known };

static void put(struct decoder *in, const char *bytes, size_t n)
{
    size_t room;
    char *to = decoder_room(in, &room);
    assert_true(room >= n);
    memcpy(to, bytes, n);
    decoder_fed(in, n);
}

static void every_sequence_split_anywhere(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_KNOWN; i++) {
        size_t n = strlen(known[i].bytes);
        for (size_t cut = 0; cut < n; cut++) {
            struct decoder in;
            struct decoder_event ev;
            decoder_init(&in);
            put(&in, known[i].bytes, cut);
            assert_false(decoder_next(&in, false, &ev));
            put(&in, known[i].bytes + cut, n - cut);
            assert_true(decoder_next(&in, false, &ev));
            assert_int_equal(ev.type, DECODER_KEY);
            assert_int_equal(ev.key, known[i].key);
            assert_int_equal(ev.n, n);
            assert_memory_equal(ev.bytes, known[i].bytes, n);
            assert_false(decoder_next(&in, false, &ev));
            assert_int_equal(decoder_wait_ms(&in), -1);
        }
    }
}

static void keys_in_a_row(void **state)
{
    (void)state;
    struct decoder in;
    struct decoder_event ev;
    decoder_init(&in);
    for (size_t i = 0; i < N_KNOWN; i++)
        put(&in, known[i].bytes, strlen(known[i].bytes));
    for (size_t i = 0; i < N_KNOWN; i++) {
        assert_true(decoder_next(&in, false, &ev));
        assert_int_equal(ev.key, known[i].key);
    }
    assert_false(decoder_next(&in, false, &ev));
}

static void escape_alone_waits(void **state)
{
    (void)state;
    struct decoder in;
    struct decoder_event ev;
    decoder_init(&in);
    put(&in, "\x1b", 1);
    assert_false(decoder_next(&in, false, &ev));
    assert_int_equal(decoder_wait_ms(&in), DECODER_ESC_MS);
    assert_true(decoder_next(&in, true, &ev));
    assert_int_equal(ev.key, UI_KEY_ESC);
    assert_int_equal(ev.n, 1);
    /* Alt-[ is the start of most sequences; typed by itself it comes out when nothing follows. */
    put(&in, "\x1b[", 2);
    assert_false(decoder_next(&in, false, &ev));
    assert_true(decoder_next(&in, true, &ev));
    assert_int_equal(ev.key, '[' | UI_MOD_ALT);
    /* Esc twice, then a letter: the first Esc is a key, the second is Alt. */
    put(&in, "\x1b\x1bx", 3);
    assert_true(decoder_next(&in, false, &ev));
    assert_int_equal(ev.key, UI_KEY_ESC);
    assert_true(decoder_next(&in, false, &ev));
    assert_int_equal(ev.key, 'x' | UI_MOD_ALT);
}

static void terminfo_comes_first(void **state)
{
    (void)state;
    struct decoder in;
    struct decoder_event ev;
    decoder_init(&in);
    decoder_add(&in, "\x1b[18~", UI_KEY_F1); /* a terminal with its own mind */
    decoder_add(&in, "\x1b$x", UI_KEY_HOME);
    decoder_add(&in, "x", UI_KEY_END); /* single bytes have one meaning */
    decoder_add(&in, NULL, UI_KEY_END);
    put(&in, "\x1b[18~\x1b$xx", 9);
    assert_true(decoder_next(&in, false, &ev));
    assert_int_equal(ev.key, UI_KEY_F1);
    assert_true(decoder_next(&in, false, &ev));
    assert_int_equal(ev.key, UI_KEY_HOME);
    assert_true(decoder_next(&in, false, &ev));
    assert_int_equal(ev.key, 'x');
}

static void paste_is_text_only(void **state)
{
    (void)state;
    static const char stream[] = "a\x1b[200~one\r\x1b[A\x03\x1b[201two\x1b[201~b";
    static const char wanted[] = "one\r\x1b[A\x03\x1b[201two";
    for (size_t cut = 0; cut < sizeof stream; cut++) {
        struct decoder in;
        struct decoder_event ev;
        struct buf text = BUF_INIT;
        int ends = 0, keys = 0;
        decoder_init(&in);
        for (int part = 0; part < 2; part++) {
            if (part)
                put(&in, stream + cut,
                    sizeof stream - 1 - (cut < sizeof stream - 1 ? cut : sizeof stream - 1));
            else
                put(&in, stream, cut < sizeof stream - 1 ? cut : sizeof stream - 1);
            while (decoder_next(&in, false, &ev)) {
                if (ev.type == DECODER_PASTE)
                    buf_add(&text, ev.bytes, ev.n);
                else if (ev.type == DECODER_PASTE_END)
                    ends++;
                else
                    assert_int_equal(ev.key, keys++ ? 'b' : 'a');
            }
        }
        assert_string_equal(buf_str(&text), wanted);
        assert_int_equal(ends, 1);
        assert_int_equal(keys, 2);
        buf_free(&text);
    }
}

static void the_mouse(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        enum decoder_button button;
        int x, y;
    } rows[] = {
        {"\x1b[<0;1;1M", DECODER_PRESS, 0, 0},      {"\x1b[<0;120;36m", DECODER_OTHER, 119, 35},
        {"\x1b[<64;10;3M", DECODER_WHEEL_UP, 9, 2}, {"\x1b[<65;10;3M", DECODER_WHEEL_DOWN, 9, 2},
        {"\x1b[<20;10;3M", DECODER_PRESS, 9, 2},    {"\x1b[<2;10;3M", DECODER_OTHER, 9, 2},
        {"\x1b[<32;10;3M", DECODER_OTHER, 9, 2},
    };
    static const char *const none[] = {"\x1b[<0;0;1M", "\x1b[<0;1M", "\x1b[<0;1;2;3M", "\x1b[<0;1;99999999M",
                                       "\x1b[<0:1;1M;M"};
    struct decoder in;
    struct decoder_event ev;
    decoder_init(&in);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        put(&in, rows[i].bytes, strlen(rows[i].bytes));
        assert_true(decoder_next(&in, false, &ev));
        assert_int_equal(ev.type, DECODER_MOUSE);
        assert_int_equal(ev.button, rows[i].button);
        assert_int_equal(ev.x, rows[i].x);
        assert_int_equal(ev.y, rows[i].y);
        assert_false(decoder_next(&in, false, &ev));
    }
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        put(&in, none[i], strlen(none[i]));
        assert_true(decoder_next(&in, false, &ev));
        assert_int_equal(ev.type, DECODER_KEY);
        assert_int_equal(ev.key, UI_KEY_NONE);
        while (decoder_next(&in, true, &ev))
            ;
    }
}

static void rubbish_always_drains(void **state)
{
    (void)state;
    struct rng rng;
    rng_seed(&rng, 20);
    struct decoder in;
    struct decoder_event ev;
    decoder_init(&in);
    for (int i = 0; i < 20000; i++) {
        char bytes[200];
        size_t n = 1 + rng_below(&rng, sizeof bytes);
        for (size_t k = 0; k < n; k++) {
            static const char often[] = "\x1b[O;~0129\x80\xe2";
            bytes[k] = rng_below(&rng, 2) ? often[rng_below(&rng, sizeof often - 1)] : (char)rng_u64(&rng);
        }
        put(&in, bytes, n);
        size_t seen = 0;
        while (decoder_next(&in, false, &ev))
            seen += ev.n;
        while (decoder_next(&in, true, &ev))
            seen += ev.n;
        if (!in.pasting)
            assert_int_equal(in.start, in.end);
        assert_true(seen <= sizeof in.buffer);
        in.pasting = false;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_sequence_split_anywhere),
        cmocka_unit_test(keys_in_a_row),
        cmocka_unit_test(escape_alone_waits),
        cmocka_unit_test(terminfo_comes_first),
        cmocka_unit_test(paste_is_text_only),
        cmocka_unit_test(the_mouse),
        cmocka_unit_test(rubbish_always_drains),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
