/* One YAML document from any text: what is composed, and what is refused with which line and words. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "engine/base/buf.h"
#include "engine/base/yamldoc.h"

static enum weft_rc compose(const char *text, size_t n, yaml_document_t *doc, struct yamldoc_problem *problem)
{
    struct weft_err err = {0};
    *problem = (struct yamldoc_problem){.line = 999};
    enum weft_rc rc = yamldoc_compose(text, n, doc, problem, &err);
    assert_int_equal(err.code, WEFT_OK);
    return rc;
}

static void assert_refused(const char *text, unsigned line, const char *words, const char *limit)
{
    yaml_document_t doc;
    struct yamldoc_problem problem;
    assert_int_equal(compose(text, strlen(text), &doc, &problem), WEFT_FILE_INVALID);
    assert_int_equal(problem.line, line);
    assert_non_null(strstr(problem.text, words));
    assert_string_equal(problem.limit, limit);
}

static void test_composed(void **state)
{
    (void)state;
    static const char text[] = "# a comment\na: &x [1, 2]\nb: *x\n...\n";
    yaml_document_t doc;
    struct yamldoc_problem problem;
    assert_int_equal(compose(text, sizeof text - 1, &doc, &problem), WEFT_OK);
    yaml_node_t *root = yaml_document_get_root_node(&doc);
    assert_int_equal(root->type, YAML_MAPPING_NODE);
    const yaml_node_pair_t *pairs = root->data.mapping.pairs.start;
    assert_int_equal(root->data.mapping.pairs.top - pairs, 2);
    assert_int_equal(pairs[0].value, pairs[1].value); /* an alias is the node itself */
    yaml_document_delete(&doc);
}

static void test_nothing_in_it(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "\n\n", "# only a comment\n"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        yaml_document_t doc;
        struct yamldoc_problem problem;
        assert_int_equal(compose(texts[i], strlen(texts[i]), &doc, &problem), WEFT_OK);
        assert_null(yaml_document_get_root_node(&doc));
        yaml_document_delete(&doc);
    }
}

static void test_refused_with_the_line(void **state)
{
    (void)state;
    assert_refused("a: 1\nb: [\nc: 2\n", 4, "not YAML", "YAML"); /* where it ends */
    assert_refused("a: 1\n b: 2\n", 2, "not YAML", "YAML");
    assert_refused("a: 1\nb: *nothing\n", 2, "not YAML", "YAML");
    assert_refused("a: 1\n---\nb: 2\n", 3, "a second document", "one document");
    assert_refused("a: 1\n---\nb: ]\n", 3, "not YAML", "YAML");
    assert_refused("\xff\xfe\xfd", 1, "not YAML", "YAML");
    assert_refused("a: 1\nb: \xc3\x28\n", 2, "not YAML", "YAML"); /* not UTF-8 */
    assert_refused("a: 1\nb: 2\nc: \x01\n", 3, "not YAML", "YAML");
}

/* `depth` levels of `open`, with what closes them. */
static void nested(struct buf *out, int depth, const char *open, const char *close)
{
    buf_clear(out);
    for (int i = 0; i < depth; i++)
        buf_adds(out, open);
    for (int i = 0; i < depth && close; i++)
        buf_adds(out, close);
}

static void test_depth(void **state)
{
    (void)state;
    static const struct {
        const char *open, *close;
    } kinds[] = {{"[", "]"}, {"{a: ", "}"}, {"- ", NULL}, {"? ", NULL}};
    struct buf text = BUF_INIT;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        yaml_document_t doc;
        struct yamldoc_problem problem;
        nested(&text, YAMLDOC_DEPTH_MAX, kinds[i].open, kinds[i].close);
        assert_int_equal(compose(buf_str(&text), text.len, &doc, &problem), WEFT_OK);
        yaml_document_delete(&doc);
        nested(&text, YAMLDOC_DEPTH_MAX + 1, kinds[i].open, kinds[i].close);
        assert_refused(buf_str(&text), 1, "nested too deeply", "at most 32 levels");
    }
    buf_free(&text);
}

/* What took libyaml minutes: refused at once, wherever in the file it stands. */
static void test_a_megabyte_of_brackets(void **state)
{
    (void)state;
    struct buf text = BUF_INIT;
    buf_adds(&text, "a: 1\nb:\n  ");
    for (int i = 0; i < 1 << 20; i++)
        buf_adds(&text, "[");
    clock_t start = clock();
    assert_refused(buf_str(&text), 3, "nested too deeply", "at most 32 levels");
    assert_true(clock() - start < 5 * CLOCKS_PER_SEC); /* a second at the very most, without sanitizers */
    buf_free(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_composed),
        cmocka_unit_test(test_nothing_in_it),
        cmocka_unit_test(test_refused_with_the_line),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_a_megabyte_of_brackets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
