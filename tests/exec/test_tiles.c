/* labels: unit */
/* Tiles as data: which variant a token count gets, which one measured times choose, and the file they are kept in. */
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

#include "engine/exec/kernel_cache.h"
#include "engine/exec/tiles.h"

static void each_count_has_its_band(void **state)
{
    static const struct {
        uint32_t n, band;
    } cases[] = {{0, 0},  {1, 0},  {8, 0},   {9, 1},   {16, 1},  {17, 2},  {32, 2},   {33, 3},
                 {64, 3}, {65, 4}, {128, 4}, {129, 5}, {256, 5}, {257, 5}, {1000, 5}, {UINT32_MAX, 5}};
    struct tiles t = {0};
    (void)state;
    for (uint8_t p = 0; p < PRODUCTS; p++)
        for (uint8_t b = 0; b < TILES_BANDS; b++)
            t.of[p][b] = (uint8_t)(p * TILES_BANDS + b);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (unsigned p = 0; p < PRODUCTS; p++)
            assert_int_equal(tiles_for(&t, (enum product)p, cases[i].n), p * TILES_BANDS + cases[i].band);
    for (unsigned b = 0; b < TILES_BANDS; b++)
        assert_int_equal(tiles_for(&t, PRODUCT_QKV, tiles_band_tokens(b)), b);
}

/* The logits' count is that of rows, all others' that of tokens. */
static void a_pass_has_one_word(void **state)
{
    struct tiles t = {0};
    (void)state;
    assert_int_equal(tiles_pack(&t, 300, 5), 0);
    t.of[PRODUCT_QKV][5] = TILES_SHORT;
    t.of[PRODUCT_DOWN][5] = TILES_NO_AMX | TILES_SHORT;
    t.of[PRODUCT_LOGITS][0] = TILES_AMX;
    assert_int_equal(tiles_pack(&t, 300, 5), 025001);
    assert_int_equal(tiles_pack(&t, 300, 9), 005001);
    assert_int_equal(tiles_pack(&t, 8, 1), 020000);
}

static void only_what_differs_is_tried(void **state)
{
    uint8_t v[TILES_VARIANTS_MAX];
    (void)state;
    assert_int_equal(tiles_variants(PRECISION_FP32, DOT_AMX, v), 2);
    assert_int_equal(v[0], TILES_RULE);
    assert_int_equal(v[1], TILES_SHORT);
    assert_int_equal(tiles_variants(PRECISION_BF16, DOT_PLAIN, v), 1);
    assert_int_equal(tiles_variants(PRECISION_BF16, DOT_AMX, v), 2);
    assert_int_equal(v[1], TILES_SHORT);
    assert_int_equal(tiles_variants(PRECISION_INT8, DOT_VNNI, v), 2);
    assert_int_equal(tiles_variants(PRECISION_INT8, DOT_AMX, v), TILES_VARIANTS_MAX);
    for (unsigned i = 0; i < TILES_VARIANTS_MAX; i++)
        for (unsigned j = 0; j < i; j++)
            assert_int_not_equal(v[i], v[j]);
}

static void another_is_chosen_when_it_is_worth_it(void **state)
{
    static const struct {
        int64_t times[4];
        bool may[4];
        unsigned want;
    } cases[] = {
        {{1000, 1000, 1000, 1000}, {true, true, true, true}, 0},
        {{1000, 971, 980, 999}, {true, true, true, true}, 0},  /* 2.9 %: as good as nothing */
        {{1000, 970, 980, 999}, {true, true, true, true}, 1},  /* 3 % */
        {{1000, 970, 960, 969}, {true, true, true, true}, 2},  /* the best one of several */
        {{1000, 970, 500, 969}, {true, true, false, true}, 3}, /* not one with other bits, however fast */
        {{1000, 500, 500, 500}, {true, false, false, false}, 0},
        {{1000, 500, 400, 400}, {true, true, true, true}, 2}, /* of equals the first */
        {{1000, 0, 0, 0}, {true, true, true, true}, 0},       /* not measured */
        {{0, 500, 0, 0}, {true, true, true, true}, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(tiles_choose(cases[i].times, cases[i].may, 4), cases[i].want);
}

static void what_may_not_be_used_becomes_the_rule(void **state)
{
    static const uint8_t known[] = {TILES_RULE, TILES_SHORT};
    struct tiles t = {0};
    (void)state;
    t.of[PRODUCT_QKV][0] = TILES_SHORT;
    t.of[PRODUCT_OUT][5] = TILES_AMX;
    t.of[PRODUCT_LOGITS][5] = TILES_NO_AMX | TILES_SHORT;
    tiles_restrict(&t, known, sizeof known);
    assert_int_equal(t.of[PRODUCT_QKV][0], TILES_SHORT);
    assert_int_equal(t.of[PRODUCT_OUT][5], TILES_RULE);
    assert_int_equal(t.of[PRODUCT_LOGITS][5], TILES_RULE);
}

/* ---- the file ---- */

static const char name[] = "0123456789abcdef.tune";
static const uint8_t amx_variants[] = {TILES_RULE, TILES_SHORT, TILES_AMX};

struct place {
    char dir[64];
    int fd;
    struct tiles t;
    char text[1024];
    size_t len;
};

static int open_place(void **state)
{
    static struct place p;
    p = (struct place){.dir = "/tmp/weft-tiles-XXXXXX"};
    if (!mkdtemp(p.dir) || (p.fd = kernel_cache_open(p.dir)) < 0)
        return -1;
    p.t.of[PRODUCT_QKV][1] = TILES_SHORT;
    p.t.of[PRODUCT_LOGITS][5] = TILES_AMX;
    if (!tiles_store(p.fd, name, &p.t))
        return -1;
    int fd = openat(p.fd, name, O_RDONLY);
    p.len = (size_t)read(fd, p.text, sizeof p.text);
    close(fd);
    *state = &p;
    return p.len > 50 && p.len < sizeof p.text ? 0 : -1;
}

static int close_place(void **state)
{
    struct place *p = *state;
    fchmod(p->fd, 0700);
    kernel_cache_clear(p->fd, NULL);
    close(p->fd);
    return rmdir(p->dir);
}

static void put(const struct place *p, const char *text, size_t n, mode_t mode)
{
    unlinkat(p->fd, name, 0);
    int fd = openat(p->fd, name, O_WRONLY | O_CREAT | O_EXCL, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, n), n);
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

static bool loads(const struct place *p, struct tiles *out)
{
    return tiles_load(p->fd, name, amx_variants, sizeof amx_variants, out);
}

/* And leaves what was there. */
static void expect_refused(const struct place *p)
{
    struct tiles t;
    memset(&t, 0x55, sizeof t);
    const struct tiles before = t;
    assert_false(loads(p, &t));
    assert_memory_equal(&t, &before, sizeof t);
}

static void what_is_stored_is_loaded(void **state)
{
    const struct place *p = *state;
    struct tiles t;
    struct stat st;
    assert_true(loads(p, &t));
    assert_memory_equal(&t, &p->t, sizeof t);
    assert_int_equal(fstatat(p->fd, name, &st, AT_SYMLINK_NOFOLLOW), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    t.of[PRODUCT_OUT][0] = TILES_AMX; /* and replaced */
    assert_true(tiles_store(p->fd, name, &t));
    struct tiles again;
    assert_true(loads(p, &again));
    assert_memory_equal(&again, &t, sizeof t);
}

static void a_missing_file_is_no_answer(void **state)
{
    const struct place *p = *state;
    assert_int_equal(unlinkat(p->fd, name, 0), 0);
    expect_refused(p);
}

static void a_damaged_file_is_ignored(void **state)
{
    struct place *p = *state;
    for (size_t i = 0; i < p->len; i++) { /* any byte changed, any end cut off */
        p->text[i] ^= 1;
        put(p, p->text, p->len, 0600);
        expect_refused(p);
        p->text[i] ^= 1;
        put(p, p->text, i, 0600);
        expect_refused(p);
    }
    p->text[p->len] = '\n';
    put(p, p->text, p->len + 1, 0600);
    expect_refused(p);
    put(p, p->text, p->len, 0600);
    struct tiles t;
    assert_true(loads(p, &t));
}

/* Whole, but with what this device doesn't have. */
static void foreign_values_are_ignored(void **state)
{
    struct place *p = *state;
    struct tiles t;
    assert_true(tiles_load(p->fd, name, amx_variants, 3, &t));
    assert_false(tiles_load(p->fd, name, amx_variants, 2, &t));
    p->t.of[PRODUCT_FF][3] = 7;
    assert_true(tiles_store(p->fd, name, &p->t));
    expect_refused(p);
}

static void only_a_file_of_ours_is_read(void **state)
{
    const struct place *p = *state;
    put(p, p->text, p->len, 0644); /* others may read it: it isn't what weft wrote */
    expect_refused(p);
    assert_int_equal(unlinkat(p->fd, name, 0), 0);
    put(p, p->text, p->len, 0600);
    assert_int_equal(renameat(p->fd, name, p->fd, "elsewhere"), 0);
    assert_int_equal(symlinkat("elsewhere", p->fd, name), 0);
    expect_refused(p);
    assert_int_equal(unlinkat(p->fd, name, 0), 0);
    assert_int_equal(mkfifoat(p->fd, name, 0600), 0); /* nobody writes to it: opening it must not wait */
    expect_refused(p);
}

static void what_cant_be_written_is_left(void **state)
{
    const struct place *p = *state;
    struct tiles t;
    assert_int_equal(unlinkat(p->fd, name, 0), 0);
    assert_int_equal(mkdirat(p->fd, name, 0700), 0); /* a file can't take a directory's place */
    assert_false(tiles_store(p->fd, name, &p->t));
    assert_int_equal(unlinkat(p->fd, name, AT_REMOVEDIR), 0);
    struct kernel_cache_size s;
    assert_true(kernel_cache_measure(p->fd, &s));
    assert_int_equal(s.bytes, 0); /* nor is a half-made one left */
    assert_false(loads(p, &t));
}

int main(void)
{
#define ON_FILE(f) cmocka_unit_test_setup_teardown(f, open_place, close_place)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_count_has_its_band),
        cmocka_unit_test(a_pass_has_one_word),
        cmocka_unit_test(only_what_differs_is_tried),
        cmocka_unit_test(another_is_chosen_when_it_is_worth_it),
        cmocka_unit_test(what_may_not_be_used_becomes_the_rule),
        ON_FILE(what_is_stored_is_loaded),
        ON_FILE(a_missing_file_is_no_answer),
        ON_FILE(a_damaged_file_is_ignored),
        ON_FILE(foreign_values_are_ignored),
        ON_FILE(only_a_file_of_ours_is_read),
        ON_FILE(what_cant_be_written_is_left),
    };
    return cmocka_run_group_tests_name("tiles", tests, NULL, NULL);
}
