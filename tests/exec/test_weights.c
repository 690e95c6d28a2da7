/* Weights on their way from the file to the device: the same from a file and from memory, whatever the threads; and files
 * that change meanwhile. */
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

#include "engine/exec/weights.h"
#include "tests/support/err_check.h"
#include "tests/support/gguf_build.h"

enum { N_CTX = 700, BIG_VOCAB = 40000 };

struct place {
    char dir[64], path[96];
    struct ocl o;
    struct buf bytes; /* of the same model as the file's */
};

/* A model whose data are more than is read when a file is opened. */
static int open_place(void **state)
{
    static struct place p;
    struct weft_err err = {0};
    struct gguf_build b;
    const struct gguf_tiny tiny = {.n_layer = 3,
                                   .n_embd = 64,
                                   .n_head = 4,
                                   .n_head_kv = 2,
                                   .n_ff = 96,
                                   .n_vocab = BIG_VOCAB,
                                   .n_ctx = 512,
                                   .type = QUANT_Q4_1,
                                   .output_type = QUANT_Q8_0,
                                   .tied = true,
                                   .seed = 1};
    p = (struct place){.dir = "/tmp/weft-weights-XXXXXX"};
    if (!mkdtemp(p.dir) || ocl_open("auto", 0, false, &p.o, &err))
        return -1;
    snprintf(p.path, sizeof p.path, "%s/model.gguf", p.dir);
    gguf_build_tiny_llama(&b, &tiny);
    gguf_build_write(&b, &p.bytes);
    int rc = gguf_build_save(&b, p.path);
    gguf_build_free(&b);
    *state = &p;
    return rc;
}

static int close_place(void **state)
{
    struct place *p = *state;
    ocl_close(&p->o);
    buf_free(&p->bytes);
    unlink(p->path);
    return rmdir(p->dir);
}

static struct model *open_model(const struct place *p)
{
    struct model *m;
    struct weft_err err = {0};
    if (model_open(p->path, &m, &err))
        fail_msg("%s", err.message);
    return m;
}

static struct weights load(struct place *p, const struct model *m, unsigned threads)
{
    struct weights w;
    struct weft_err err = {0};
    p->o.info.compute_units = threads;
    if (weights_load(&p->o, m, N_CTX, NULL, NULL, &w, &err))
        fail_msg("%s", err.message);
    return w;
}

static void assert_same(struct place *p, const struct ocl_buf *a, const struct ocl_buf *b)
{
    void *x, *y;
    assert_int_equal(a->bytes, b->bytes);
    assert_int_equal(ocl_map(&p->o, a, false, 0, a->bytes, &x, NULL), WEFT_OK);
    assert_int_equal(ocl_map(&p->o, b, false, 0, b->bytes, &y, NULL), WEFT_OK);
    assert_memory_equal(x, y, a->bytes);
    ocl_unmap(&p->o, a, x, NULL);
    ocl_unmap(&p->o, b, y, NULL);
}

static void assert_same_matrix(struct place *p, const struct matrix *a, const struct matrix *b)
{
    assert_true(a->type == b->type && a->n_groups == b->n_groups && a->n_blocks == b->n_blocks);
    assert_same(p, &a->weights, &b->weights);
    assert_same(p, &a->scales, &b->scales);
}

static void file_and_memory_give_the_same_with_any_threads(void **state)
{
    static const unsigned threads[] = {1, 2, 5};
    struct place *p = *state;
    struct model *held;
    assert_int_equal(model_parse(p->bytes.data, p->bytes.len, "held", &held, NULL), WEFT_OK);
    struct weights want = load(p, held, 1);
    for (size_t k = 0; k < sizeof threads / sizeof *threads; k++) {
        struct model *m = open_model(p);
        assert_null(m->token_embd->data); /* it must be read */
        struct weights w = load(p, m, threads[k]);
        assert_same_matrix(p, &w.embd, &want.embd);
        assert_same(p, &w.rope, &want.rope);
        assert_same(p, &w.output_norm, &want.output_norm);
        for (uint32_t i = 0; i < w.n_layer; i++) {
            const struct weights_layer *a = &w.layers[i], *b = &want.layers[i];
            assert_int_equal(a->n_qkv, b->n_qkv);
            for (unsigned j = 0; j < a->n_qkv; j++)
                assert_same_matrix(p, &a->qkv[j], &b->qkv[j]);
            assert_same_matrix(p, &a->attn_output, &b->attn_output);
            assert_same_matrix(p, &a->gate, &b->gate);
            assert_same_matrix(p, &a->up, &b->up);
            assert_same_matrix(p, &a->down, &b->down);
            assert_same(p, &a->attn_norm, &b->attn_norm);
            assert_same(p, &a->ffn_norm, &b->ffn_norm);
        }
        weights_free(&p->o, &w);
        model_close(m);
    }
    weights_free(&p->o, &want);
    model_close(held);
    assert_int_equal(p->o.allocated, 0);
}

static void assert_refused(struct place *p, const struct model *m, enum weft_rc code, const char *text)
{
    struct weights w;
    struct weft_err err = {0};
    assert_int_equal(weights_load(&p->o, m, N_CTX, NULL, NULL, &w, &err), code);
    assert_int_equal(err.code, code);
    assert_non_null(strstr(err.message, text));
    assert_string_equal(err_context_text(&err, "path"), p->path);
    assert_null(w.layers);
    assert_int_equal(p->o.allocated, 0);
}

static void a_file_shortened_while_it_is_loaded_is_refused(void **state)
{
    struct place *p = *state;
    static const uint64_t parts[] = {
        2, 3, 100}; /* cut in the middle of the data, later, and just before their end */
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        struct model *m = open_model(p);
        const off_t cut = (off_t)(p->bytes.len - p->bytes.len / parts[i] / 2);
        assert_int_equal(truncate(p->path, cut), 0);
        p->o.info.compute_units = 3;
        assert_refused(p, m, WEFT_FILE_INVALID, "when it was opened");
        model_close(m);
        FILE *f = fopen(p->path, "w"); /* whole again */
        assert_non_null(f);
        assert_int_equal(fwrite(p->bytes.data, 1, p->bytes.len, f), p->bytes.len);
        assert_int_equal(fclose(f), 0);
    }
}

static void a_file_written_to_while_it_is_loaded_is_refused(void **state)
{
    struct place *p = *state;
    const struct timespec times[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
    assert_int_equal(utimensat(AT_FDCWD, p->path, times, 0), 0);
    struct model *m = open_model(p);
    int fd = open(p->path, O_WRONLY);
    assert_int_equal(pwrite(fd, p->bytes.data + p->bytes.len - 1, 1, (off_t)p->bytes.len - 1), 1);
    close(fd);
    assert_refused(p, m, WEFT_FILE_INVALID, "written to");
    model_close(m);
}

/* Of several rows with a NaN the first is named, whichever thread finds which. */
static void the_first_bad_row_is_named(void **state)
{
    struct place *p = *state;
    enum { FIRST = 12345, SECOND = 12999, THIRD = 39999 };
    static const uint32_t rows[] = {THIRD, FIRST, SECOND};
    static const uint16_t nan16 = 0x7e00;
    struct model *m = open_model(p);
    const uint64_t row_bytes = repack_row_bytes(m->token_embd), at = m->token_embd->at;
    model_close(m);
    int fd = open(p->path, O_WRONLY);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_int_equal(pwrite(fd, &nan16, sizeof nan16, (off_t)(at + rows[i] * row_bytes)), sizeof nan16);
    close(fd);
    for (unsigned threads = 1; threads <= 8; threads *= 2) {
        m = open_model(p);
        p->o.info.compute_units = threads;
        assert_refused(p, m, WEFT_MODEL_LOAD_FAILED,
                       "token_embd.weight has a value that isn't finite in row 12345");
        model_close(m);
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, open_place, close_place)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(file_and_memory_give_the_same_with_any_threads),
        TEST(a_file_shortened_while_it_is_loaded_is_refused),
        TEST(a_file_written_to_while_it_is_loaded_is_refused),
        TEST(the_first_bad_row_is_named),
    };
    return cmocka_run_group_tests_name("weights", tests, NULL, NULL);
}
