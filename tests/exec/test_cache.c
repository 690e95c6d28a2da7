/* Programs on disk: kept, found again, and built anew where a file is damaged, foreign or open to others; and the seal
 * of PoCL's own cache. */
#include <dirent.h>
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
#include "engine/exec/pocl_cache.h"
#include "engine/exec/program.h"

struct place {
    char dir[64];
    struct ocl o;
    struct program_spec spec;
};

static int open_place(void **state)
{
    static struct place p;
    struct weft_err err = {0};
    p = (struct place){
        .spec = {.name = "test", .parts = {"common.clh", "norm.cl"}, .options = "-cl-std=CL1.2"}};
    strcpy(p.dir, "/tmp/weft-cache-XXXXXX");
    if (!mkdtemp(p.dir) || ocl_open("auto", 0, false, &p.o, &err))
        return -1;
    *state = &p;
    return 0;
}

static void remove_all(const char *dir)
{
    char path[512];
    DIR *d = opendir(dir);
    struct dirent *e;
    while (d && (e = readdir(d)) != NULL) {
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 && unlink(path))
            remove_all(path);
    }
    if (d)
        closedir(d);
    rmdir(dir);
}

static int close_place(void **state)
{
    struct place *p = *state;
    ocl_close(&p->o);
    remove_all(p->dir);
    return 0;
}

/* Opens, keeps and closes the program; whether it came from disk. key: its file's name, without suffix. */
static bool opened_from_cache(struct place *p, int fd, char key[17])
{
    struct weft_err err = {0};
    struct program program;
    struct ocl_kernel k;
    if (program_open(&p->o, &p->spec, fd, &program, &err))
        fail_msg("%s", err.message);
    assert_int_equal(program_kernel(&program, "rmsnorm", "rmsnorm", &k, &err), WEFT_OK);
    program_keep(&program, fd);
    bool from_cache = program.from_cache;
    if (key)
        memcpy(key, program.key, sizeof program.key);
    program_kernel_free(&k);
    program_close(&program);
    return from_cache;
}

static void spoil(const char *path, long at, int with)
{
    FILE *f = fopen(path, "r+");
    assert_non_null(f);
    assert_int_equal(fseek(f, at, at < 0 ? SEEK_END : SEEK_SET), 0);
    assert_int_not_equal(fputc(with, f), EOF);
    assert_int_equal(fclose(f), 0);
}

static void programs_are_kept_and_damage_is_noticed(void **state)
{
    struct place *p = *state;
    char key[17], other[17], path[128];
    struct stat st;
    int fd = kernel_cache_open(p->dir);
    assert_true(fd >= 0);
    assert_false(opened_from_cache(p, fd, key));
    assert_true(opened_from_cache(p, fd, NULL));
    snprintf(path, sizeof path, "%s/%s.clbin", p->dir, key);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);

    static const long places[] = {0, 9, 17, 25, 40, -1}; /* magic, key, length, checksum, payload, end */
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        spoil(path, places[i], 0xa5);
        assert_false(opened_from_cache(p, fd, NULL));
        assert_true(opened_from_cache(p, fd, NULL)); /* written anew */
    }
    assert_int_equal(truncate(path, st.st_size - 1), 0);
    assert_false(opened_from_cache(p, fd, NULL));
    assert_int_equal(truncate(path, 3), 0);
    assert_false(opened_from_cache(p, fd, NULL));
    assert_int_equal(chmod(path, 0644), 0);
    assert_false(opened_from_cache(p, fd, NULL));

    strcpy(p->spec.options, "-cl-std=CL1.2 -DOTHER"); /* other options are another program */
    assert_false(opened_from_cache(p, fd, other));
    assert_string_not_equal(key, other);
    close(fd);
}

static void unsafe_directories_are_not_used(void **state)
{
    struct place *p = *state;
    char path[128];
    snprintf(path, sizeof path, "%s/a/b/c", p->dir);
    int fd = kernel_cache_open(path); /* made with its parents */
    assert_true(fd >= 0);
    close(fd);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_int_equal(chmod(path, 0777), 0);
    assert_int_equal(kernel_cache_open(path), -1);
    snprintf(path, sizeof path, "%s/link", p->dir);
    assert_int_equal(symlink("/tmp", path), 0);
    assert_int_equal(kernel_cache_open(path), -1);
}

static void a_build_error_shows_the_log(void **state)
{
    struct place *p = *state;
    const struct program_spec bad = {
        .name = "bad", .parts = {"#error this cannot be"}, .options = "-cl-std=CL1.2"};
    struct program program;
    struct weft_err err = {0};
    assert_int_equal(program_open(&p->o, &bad, -1, &program, &err), WEFT_INTERNAL_ERROR);
    assert_non_null(strstr(err.message, "this cannot be"));
    assert_null(program.program);
}

static void put(const char *dir, const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static bool exists(const char *dir, const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return access(path, F_OK) == 0;
}

/* What a new process would do: the variable isn't set yet. */
static void begin(struct place *p, int fd, struct pocl_cache *c)
{
    unsetenv("POCL_CACHE_DIR");
    pocl_cache_begin(p->dir, fd, c);
}

static void only_sealed_files_of_pocl_survive(void **state)
{
    struct place *p = *state;
    struct pocl_cache c;
    char before[256] = "", path[256];
    const char *set = getenv("POCL_CACHE_DIR");
    if (set)
        snprintf(before, sizeof before, "%s", set);
    int fd = kernel_cache_open(p->dir);
    begin(p, fd, &c);
    assert_true(exists(p->dir, "pocl"));
    snprintf(path, sizeof path, "%s/pocl/AB", p->dir);
    assert_int_equal(mkdir(path, 0700), 0);
    put(p->dir, "pocl/AB/program.bc", "sealed");
    put(p->dir, "pocl/AB/kernel.so", "sealed too");
    pocl_cache_end(&c, true, 0);

    put(p->dir, "pocl/AB/late.so", "not sealed");
    begin(p, fd, &c);
    assert_true(exists(p->dir, "pocl/AB/program.bc"));
    assert_true(exists(p->dir, "pocl/AB/kernel.so"));
    assert_false(exists(p->dir, "pocl/AB/late.so"));
    pocl_cache_end(&c, false, 0);

    put(p->dir, "pocl/AB/kernel.so", "changed");
    begin(p, fd, &c);
    assert_true(exists(p->dir, "pocl/AB/program.bc"));
    assert_false(exists(p->dir, "pocl/AB/kernel.so"));
    pocl_cache_end(&c, true, 0);

    put(p->dir, "pocl.seal", "weft seal 2\n6 0000000000000000 pocl/AB/program.bc\n0000000000000000\n");
    begin(p, fd, &c);
    assert_false(exists(p->dir, "pocl/AB/program.bc")); /* a forged seal vouches for nothing */
    pocl_cache_end(&c, true, 0);

    setenv("POCL_CACHE_DIR", "/somewhere/else", 1); /* a user's choice stands */
    pocl_cache_begin(p->dir, fd, &c);
    assert_string_equal(getenv("POCL_CACHE_DIR"), "/somewhere/else");
    assert_int_equal(c.dir_fd, -1);
    pocl_cache_end(&c, true, 0);
    close(fd);
    if (*before)
        setenv("POCL_CACHE_DIR", before, 1);
    else
        unsetenv("POCL_CACHE_DIR");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(programs_are_kept_and_damage_is_noticed, open_place, close_place),
        cmocka_unit_test_setup_teardown(unsafe_directories_are_not_used, open_place, close_place),
        cmocka_unit_test_setup_teardown(a_build_error_shows_the_log, open_place, close_place),
        cmocka_unit_test_setup_teardown(only_sealed_files_of_pocl_survive, open_place, close_place),
    };
    return cmocka_run_group_tests_name("cache", tests, NULL, NULL);
}
