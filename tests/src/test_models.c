/* Options, directories, models by name, and the hash that tells them from damaged ones. */
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
#include "src/config_paths.h"
#include "src/models.h"
#include "src/opt.h"
#include "src/sha256.h"

static char home[64];
static struct weft_err err;

static int setup(void **state)
{
    (void)state;
    static const char *const names[] = {"XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME",
                                        "XDG_DATA_HOME"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        unsetenv(names[i]);
    strcpy(home, "/tmp/weft-models-XXXXXX");
    return mkdtemp(home) && setenv("HOME", home, 1) == 0 ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    char command[100];
    snprintf(command, sizeof command, "rm -rf '%s'", home);
    return system(command);
}

static void put_file(const char *name, const char *text)
{
    char path[300];
    snprintf(path, sizeof path, "%s/%s", home, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    fclose(f);
}

/* The examples of FIPS 180-4's authors, and a length for each way to pad. */
static void sha256_matches_known_answers(void **state)
{
    (void)state;
    static const struct {
        const char *text, *hash;
    } cases[] = {
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
    };
    char hex[SHA256_HEX], again[SHA256_HEX];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct sha256 s;
        sha256_init(&s);
        sha256_add(&s, cases[i].text, strlen(cases[i].text));
        sha256_hex(&s, hex);
        assert_string_equal(hex, cases[i].hash);
    }
    struct sha256 million;
    sha256_init(&million);
    for (int i = 0; i < 100000; i++)
        sha256_add(&million, "aaaaaaaaaa", 10);
    sha256_hex(&million, hex);
    assert_string_equal(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    /* However it is cut, the same. */
    char text[200];
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (char)(i * 7);
    for (size_t n = 0; n <= sizeof text; n++) {
        struct sha256 whole, pieces;
        sha256_init(&whole);
        sha256_init(&pieces);
        sha256_add(&whole, text, n);
        for (size_t i = 0; i < n; i += 13)
            sha256_add(&pieces, text + i, n - i < 13 ? n - i : 13);
        sha256_hex(&whole, hex);
        sha256_hex(&pieces, again);
        assert_string_equal(hex, again);
    }
}

static void directories_follow_the_specification(void **state)
{
    (void)state;
    struct buf path = BUF_INIT;
    char want[200];
    assert_true(paths_of(PATH_CONFIG, "weft.yaml", &path));
    snprintf(want, sizeof want, "%s/.config/weft/weft.yaml", home);
    assert_string_equal(path.data, want);
    setenv("XDG_STATE_HOME", "/var/state", 1);
    assert_true(paths_of(PATH_STATE, "", &path));
    assert_string_equal(path.data, "/var/state/weft");
    setenv("XDG_STATE_HOME", "relative", 1); /* ignored */
    assert_true(paths_of(PATH_STATE, "", &path));
    snprintf(want, sizeof want, "%s/.local/state/weft", home);
    assert_string_equal(path.data, want);

    snprintf(want, sizeof want, "%s/a/b/c", home);
    assert_int_equal(paths_make(want), 0);
    assert_int_equal(paths_make(want), 0);
    struct stat st;
    assert_int_equal(stat(want, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    put_file("a/file", "");
    snprintf(want, sizeof want, "%s/a/file", home);
    assert_int_equal(paths_make(want), -1);
    snprintf(want, sizeof want, "%s/a/file/x", home);
    assert_int_equal(paths_make(want), -1);
    buf_free(&path);
}

static void models_are_found_by_name_or_path(void **state)
{
    (void)state;
    struct buf path = BUF_INIT, dir = BUF_INIT;
    char want[200];
    assert_int_equal(models_directory(&dir, &err), WEFT_OK);
    assert_int_equal(paths_make(dir.data), 0);
    put_file(".local/share/weft/models/mine.gguf", "x");
    put_file("own.gguf", "x");
    snprintf(want, sizeof want, "%s/mine.gguf", dir.data);
    assert_int_equal(models_resolve("mine", &path, &err), WEFT_OK);
    assert_string_equal(path.data, want);
    assert_int_equal(models_resolve("mine.gguf", &path, &err), WEFT_OK);
    assert_string_equal(path.data, want);
    snprintf(want, sizeof want, "%s/own.gguf", home);
    assert_int_equal(models_resolve("~/own.gguf", &path, &err), WEFT_OK);
    assert_string_equal(path.data, want);
    assert_int_equal(models_resolve(want, &path, &err), WEFT_OK);

    static const char *const missing[] = {"nosuch", "./nosuch", "/", "smollm2"};
    for (size_t i = 0; i < sizeof missing / sizeof missing[0]; i++) {
        assert_int_equal(models_resolve(missing[i], &path, &err), WEFT_FILE_INVALID);
        assert_int_equal(err.n_context, 4);
    }
    buf_free(&path);
    buf_free(&dir);
}

/* A known model's file is verified once, and again when it changes; a small stand-in would do, were its hash not
 * fixed: so what can be shown here is that neither size nor hash is believed. */
static void a_known_model_must_be_what_it_says(void **state)
{
    (void)state;
    const struct models_entry *m = models_find("smollm2");
    assert_non_null(m);
    struct buf path = BUF_INIT, dir = BUF_INIT;
    assert_int_equal(models_directory(&dir, &err), WEFT_OK);
    assert_int_equal(paths_make(dir.data), 0);
    assert_int_equal(models_check(m, &path, &err), MODELS_MISSING);
    assert_non_null(strstr(err.message, m->get));
    int fd = open(path.data, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(models_check(m, &path, &err), MODELS_DAMAGED);
    assert_non_null(strstr(err.message, "bytes is 0, must be 98362432"));
    assert_int_equal(ftruncate(fd, (off_t)m->bytes), 0); /* sparse */
    close(fd);
    assert_int_equal(models_check(m, &path, &err), MODELS_DAMAGED);
    assert_non_null(strstr(err.message, m->sha256));
    assert_int_equal(models_check(m, &path, &err), MODELS_DAMAGED); /* a refusal leaves no note behind */
    buf_free(&path);
    buf_free(&dir);
}

/* ---- options ---- */

struct target {
    bool verbose, dry;
    const char *name;
    uint32_t count;
    struct opt_list words;
};
static const struct opt_spec table[] = {
    {"verbose", 'v', OPT_FLAG, offsetof(struct target, verbose), NULL, "", NULL, 0, 0},
    {"dry", 'd', OPT_FLAG, offsetof(struct target, dry), NULL, "", NULL, 0, 0},
    {"name", 'n', OPT_TEXT, offsetof(struct target, name), "NAME", "", NULL, 0, 0},
    {"count", 0, OPT_UINT, offsetof(struct target, count), "N", "", NULL, 2, 9},
    {"word", 'w', OPT_TEXTS, offsetof(struct target, words), "WORD", "", NULL, 0, 0},
    {"temp", 0, OPT_CONFIG, 0, "X", "", "sampling.temperature", 0, 0},
    {.name = NULL},
};
static const struct opt_spec *const tables[OPT_TABLES] = {table};

static enum weft_rc parse(struct target *t, struct opt_result *r, int *index, bool stop,
                          const char *const *argv)
{
    int argc = 0;
    while (argv[argc])
        argc++;
    *t = (struct target){.count = 0};
    *r = (struct opt_result){.target = t};
    *index = 0;
    return opt_parse(tables, argc, (char *const *)argv, index, stop, r, &err);
}

static void options_are_parsed_as_people_write_them(void **state)
{
    (void)state;
    struct target t;
    struct opt_result r;
    int index;
    const char *all[] = {"-vd",      "a",      "--name=x=y", "-nz", "--count", "7",     "-w", "-v",
                         "--word=2", "--temp", "-1",         "-",   "--",      "--dry", NULL};
    assert_int_equal(parse(&t, &r, &index, false, all), WEFT_OK);
    assert_true(t.verbose && t.dry);
    assert_string_equal(t.name, "z");
    assert_int_equal(t.count, 7);
    assert_int_equal(t.words.n, 2);
    assert_string_equal(t.words.item[0], "-v"); /* a value may begin with "-" */
    assert_int_equal(r.n_assignments, 1);
    assert_string_equal(r.assignments[0].value, "-1");
    assert_int_equal(r.operands.n, 3);
    assert_string_equal(r.operands.item[1], "-");
    assert_string_equal(r.operands.item[2], "--dry");
    opt_result_free(&r);
    mem_free(t.words.item);

    const char *leading[] = {"-v", "verb", "-d", NULL};
    assert_int_equal(parse(&t, &r, &index, true, leading), WEFT_OK);
    assert_int_equal(index, 1);
    assert_false(t.dry);
    opt_result_free(&r);
}

static void wrong_options_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *argv[3];
        const char *text;
    } cases[] = {
        {{"--nope"}, "unknown option --nope"},
        {{"-x"}, "unknown option -x"},
        {{"-vx"}, "unknown option -x"},
        {{"--name"}, "--name needs NAME"},
        {{"-n"}, "-n needs NAME"},
        {{"--verbose=1"}, "--verbose takes no value"},
        {{"--count", "1"}, "whole number in 2 … 9"},
        {{"--count", "10"}, "2 … 9"},
        {{"--count", "3x"}, "2 … 9"},
        {{"--count", ""}, "2 … 9"},
        {{"--count=99999999999999999999"}, "2 … 9"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct target t;
        struct opt_result r;
        int index;
        assert_int_equal(parse(&t, &r, &index, false, cases[i].argv), WEFT_USAGE);
        if (!strstr(err.message, cases[i].text))
            fail_msg("\"%s\" isn't in: %s", cases[i].text, err.message);
        opt_result_free(&r);
    }
}

static void help_is_wrapped(void **state)
{
    (void)state;
    struct buf out = BUF_INIT;
    opt_wrap("aaaa bbbb cccc dddd eeee ffff gggg hhhh iiii jjjj kkkk llll mmmm nnnn oooo pppp qqqq\nend", 10,
             4, &out);
    size_t column = 10;
    for (const char *p = out.data; *p; p++, column++) {
        assert_true(column <= 80);
        if (*p == '\n')
            column = (size_t)-1;
    }
    assert_non_null(strstr(out.data, "\n    end\n"));
    buf_free(&out);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sha256_matches_known_answers),
        TEST(directories_follow_the_specification),
        TEST(models_are_found_by_name_or_path),
        TEST(a_known_model_must_be_what_it_says),
        cmocka_unit_test(options_are_parsed_as_people_write_them),
        cmocka_unit_test(wrong_options_are_named),
        cmocka_unit_test(help_is_wrapped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
