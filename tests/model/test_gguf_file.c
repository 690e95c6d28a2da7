/* GGUF files on disk: what isn't one, metadata longer than one read, and files that somebody changes while they are open. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/base/mem.h"
#include "engine/model/gguf.h"
#include "tests/support/err_check.h"
#include "tests/support/gguf_build.h"

struct place {
    char dir[64], path[96];
};

static int open_place(void **state)
{
    static struct place p;
    strcpy(p.dir, "/tmp/weft-gguf-XXXXXX");
    if (!mkdtemp(p.dir))
        return -1;
    snprintf(p.path, sizeof p.path, "%s/model.gguf", p.dir);
    *state = &p;
    return 0;
}

static int close_place(void **state)
{
    struct place *p = *state;
    unlink(p->path);
    return rmdir(p->dir);
}

enum { BIG_ROWS = 1024, BIG_ROW = 1024, BIG_BYTES = BIG_ROWS * BIG_ROW * 4 };

/* A key of key_bytes, and a tensor of 4 MB whose bytes are known: more than is read when a file is opened. */
static void save_big(const struct place *p, size_t key_bytes)
{
    struct gguf_build b;
    char *text = malloc(key_bytes + 1);
    uint8_t *data = malloc(BIG_BYTES);
    assert_true(text && data);
    memset(text, 'x', key_bytes);
    text[key_bytes] = 0;
    for (size_t i = 0; i < BIG_BYTES; i++)
        data[i] = (uint8_t)(i * 7 + i / 4096);
    gguf_build_init(&b);
    gguf_build_str(&b, "long", text);
    gguf_build_str(&b, "last", "end");
    gguf_build_tensor(&b, "big", QUANT_F32, 2, (const uint64_t[]){BIG_ROW, BIG_ROWS}, data, BIG_BYTES);
    assert_int_equal(gguf_build_save(&b, p->path), 0);
    gguf_build_free(&b);
    free(text);
    free(data);
}

static struct gguf *open_big(const struct place *p)
{
    struct gguf *g;
    struct weft_err e = {0};
    if (gguf_open(p->path, &g, &e))
        fail_msg("%s", e.message);
    return g;
}

static void what_is_not_a_file_is_refused(void **state)
{
    struct place *p = *state;
    struct gguf *g;
    struct weft_err e;
    assert_int_equal(gguf_open(p->dir, &g, &e), WEFT_FILE_INVALID);
    assert_non_null(strstr(e.message, "directory"));
    assert_int_equal(gguf_open(p->path, &g, &e), WEFT_FILE_INVALID);
    assert_non_null(strstr(e.message, "No such file"));
    assert_string_equal(err_context_text(&e, "path"), p->path);
    assert_int_equal(mkfifo(p->path, 0600), 0);
    assert_int_equal(gguf_open(p->path, &g, &e), WEFT_FILE_INVALID);
    assert_non_null(strstr(e.message, "regular"));
    assert_int_equal(unlink(p->path), 0);
    FILE *f = fopen(p->path, "w");
    assert_non_null(f);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(gguf_open(p->path, &g, &e), WEFT_FILE_INVALID);
    assert_non_null(strstr(e.message, "empty"));
}

static void tensors_are_read_from_the_file(void **state)
{
    struct place *p = *state;
    uint8_t bytes[5000];
    static const size_t begins[] = {0, 1, 4095, BIG_BYTES / 2, BIG_BYTES - sizeof bytes};
    save_big(p, 10);
    struct gguf *g = open_big(p);
    const struct gguf_tensor *t = gguf_tensor(g, "big");
    assert_null(t->data);
    assert_int_equal(t->size, BIG_BYTES);
    for (size_t b = 0; b < sizeof begins / sizeof *begins; b++) {
        assert_int_equal(gguf_read(g, t, begins[b], sizeof bytes, bytes, NULL), WEFT_OK);
        for (size_t i = 0, at = begins[b]; i < sizeof bytes; i++, at++)
            assert_int_equal(bytes[i], (uint8_t)(at * 7 + at / 4096));
    }
    assert_int_equal(gguf_check_unchanged(g, NULL), WEFT_OK);
    gguf_close(g);
}

/* Below, at and above what is read first, and what is read then. */
static void metadata_of_any_length_are_read(void **state)
{
    struct place *p = *state;
    static const size_t lengths[] = {(2 << 20) - 200, (2 << 20) - 50, 2 << 20, 5 << 20, 9 << 20};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        struct gguf_str s;
        uint8_t byte;
        save_big(p, lengths[i]);
        struct gguf *g = open_big(p);
        assert_int_equal(gguf_string(g, "long", &s, NULL), WEFT_OK);
        assert_int_equal(s.n, lengths[i]);
        assert_true(s.s[0] == 'x' && s.s[s.n - 1] == 'x');
        assert_int_equal(gguf_string(g, "last", &s, NULL), WEFT_OK);
        assert_memory_equal(s.s, "end", 3);
        assert_int_equal(gguf_read(g, gguf_tensor(g, "big"), 1, 1, &byte, NULL), WEFT_OK);
        assert_int_equal(byte, 7);
        gguf_close(g);
    }
}

/* However few bytes are at hand, parsing asks for more of them or ends with the whole: it never takes it for a fault. */
static void parts_of_a_file_ask_for_more(void **state)
{
    (void)state;
    struct gguf_build b;
    struct buf bytes = BUF_INIT;
    static const char *const words[] = {"one", "", "three"};
    gguf_build_init(&b);
    gguf_build_strings(&b, "list", words, 3);
    gguf_build_array(&b, "numbers", GGUF_U16, 2, "\x01\x00\x00\x01", 4);
    gguf_build_bool(&b, "flag", true);
    gguf_build_tensor(&b, "t", QUANT_F32, 1, (const uint64_t[]){64}, NULL, 256);
    gguf_build_write(&b, &bytes);
    gguf_build_free(&b);
    size_t n_whole = 0;
    for (size_t n = 0; n <= bytes.len; n++) {
        struct gguf *g;
        struct weft_err e = {0};
        uint64_t want = 0;
        void *part = mem_memdup(bytes.data, n); /* as long as it is, for the sanitizer */
        assert_non_null(part);
        if (gguf_parse_part(part, n, bytes.len, "part", &g, &want, &e))
            fail_msg("%zu bytes: %s", n, e.message);
        if (g) {
            assert_true((gguf_tensor(g, "t")->data != NULL) == (n == bytes.len));
            n_whole++;
        } else {
            assert_true(want > n);
            assert_int_equal(n_whole, 0);
        }
        gguf_close(g);
        mem_free(part);
    }
    assert_true(n_whole > 256); /* all that have the metadata, with whatever part of the data */
    buf_free(&bytes);
}

/* What would be SIGBUS with a mapping is an error, and the keys stay readable. */
static void a_file_that_becomes_shorter_is_noticed(void **state)
{
    struct place *p = *state;
    struct weft_err e = {0};
    uint8_t bytes[4096];
    struct gguf_str s;
    save_big(p, 3 << 20);
    struct gguf *g = open_big(p);
    const struct gguf_tensor *t = gguf_tensor(g, "big");
    assert_int_equal(truncate(p->path, (off_t)(t->at + 6000)), 0);
    assert_int_equal(gguf_read(g, t, 0, sizeof bytes, bytes, &e), WEFT_OK);
    assert_int_equal(gguf_read(g, t, sizeof bytes, sizeof bytes, bytes, &e), WEFT_FILE_INVALID);
    assert_string_equal(err_context_text(&e, "path"), p->path);
    assert_non_null(strstr(e.message, "when it was opened"));
    assert_int_equal(truncate(p->path, 0), 0);
    assert_int_equal(gguf_read(g, t, 0, 1, bytes, &e), WEFT_FILE_INVALID);
    assert_int_equal(gguf_check_unchanged(g, &e), WEFT_FILE_INVALID);
    assert_int_equal(gguf_string(g, "long", &s, NULL), WEFT_OK);
    for (size_t i = 0; i < s.n; i++)
        assert_int_equal(s.s[i], 'x');
    gguf_close(g);
}

static void a_file_that_is_written_to_is_noticed(void **state)
{
    struct place *p = *state;
    struct weft_err e = {0};
    const struct timespec times[2] = {{.tv_sec = 1000},
                                      {.tv_sec = 1000}}; /* so that a quick write shows in the time */
    save_big(p, 10);
    assert_int_equal(utimensat(AT_FDCWD, p->path, times, 0), 0);
    struct gguf *g = open_big(p);
    int fd = open(p->path, O_WRONLY);
    assert_int_equal(pwrite(fd, "!", 1, BIG_BYTES / 2), 1);
    close(fd);
    assert_int_equal(gguf_check_unchanged(g, &e), WEFT_FILE_INVALID);
    assert_non_null(strstr(e.message, "written to"));
    gguf_close(g);
}

/* Replacing by renaming is how it should be done: the open file stays what it was. */
static void a_file_that_is_replaced_stays(void **state)
{
    struct place *p = *state;
    uint8_t byte = 0;
    save_big(p, 10);
    struct gguf *g = open_big(p);
    assert_int_equal(unlink(p->path), 0);
    save_big(p, 20);
    assert_int_equal(gguf_read(g, gguf_tensor(g, "big"), 1, 1, &byte, NULL), WEFT_OK);
    assert_int_equal(byte, 7);
    assert_int_equal(gguf_check_unchanged(g, NULL), WEFT_OK);
    gguf_close(g);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, open_place, close_place)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_not_a_file_is_refused),          TEST(tensors_are_read_from_the_file),
        TEST(metadata_of_any_length_are_read),        TEST(parts_of_a_file_ask_for_more),
        TEST(a_file_that_becomes_shorter_is_noticed), TEST(a_file_that_is_written_to_is_noticed),
        TEST(a_file_that_is_replaced_stays),
    };
    return cmocka_run_group_tests_name("gguf_file", tests, NULL, NULL);
}
