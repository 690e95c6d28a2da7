/*
 * The default model against an independent float32 implementation (shared/reference): prompts' first logits, greedy
 * continuations, and the likelihood of a text. Tolerances are those of the reference's description.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "engine/exec/exec_cl.h"
#include "tests/support/ways.h"

enum { MAX_IDS = 2048, BLOCK_TOKENS = 16, N_BLOCKS = 256, MAX_TOKENS = 256 };

/* A choice with a smaller lead over the next may fall otherwise under another order of summation. */
#define CLEAR_MARGIN 0.02

struct world {
    json_t *reference;
    double nll_tolerance; /* of mean_nll */
    struct model *model;
    struct exec *x;
    uint32_t blocks[N_BLOCKS];
};

static void model_path(char out[512])
{
    const char *data = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    if (data && *data)
        snprintf(out, 512, "%s/weft/models/SmolLM2-135M-Instruct.Q4_1.gguf", data);
    else
        snprintf(out, 512, "%s/.local/share/weft/models/SmolLM2-135M-Instruct.Q4_1.gguf", home ? home : ".");
}

static int open_as(void **state, const char *precision)
{
    static struct world w;
    struct weft_err err = {0};
    char path[512];
    const struct exec_cl_config cfg = {.device = "auto",
                                       .precision = precision,
                                       .cache_dir = TEST_BINARY_DIR "/kernel-cache",
                                       .block_tokens = BLOCK_TOKENS,
                                       .n_blocks = N_BLOCKS,
                                       .max_tokens = MAX_TOKENS,
                                       .max_seqs = 16,
                                       .max_logits = MAX_TOKENS};
    w.reference = json_load_file(TEST_SOURCE_DIR "/../shared/reference/smollm2-chats.json", 0, NULL);
    if (!w.reference) {
        fprintf(stderr, "no reference data beside the checkout: shared/reference/smollm2-chats.json\n");
        return -1;
    }
    model_path(path);
    if (model_open(path, &w.model, &err) || exec_cl_create(w.model, &cfg, &w.x, &err)) {
        fprintf(stderr, "%s\n", err.message);
        return -1;
    }
    for (uint32_t i = 0; i < N_BLOCKS; i++)
        w.blocks[i] = N_BLOCKS - 1 - i;
    *state = &w;
    return 0;
}

static int open_fp32(void **state)
{
    int failed = open_as(state, "fp32");
    if (!failed)
        ((struct world *)*state)->nll_tolerance = 0.0005;
    return failed;
}

/* Within a share of the reference's. */
static int open_coded(void **state, const char *precision, double share)
{
    int failed = open_as(state, precision);
    if (!failed)
        ((struct world *)*state)->nll_tolerance =
            share * json_number_value(json_object_get(
                        json_object_get(((struct world *)*state)->reference, "text"), "mean_nll"));
    return failed;
}

static int open_int8(void **state)
{
    return open_coded(state, "int8", 0.01);
}

static int open_bf16(void **state)
{
    return open_coded(state, "bf16", 0.002);
}

static int close_world(void **state)
{
    struct world *w = *state;
    exec_destroy(w->x);
    model_close(w->model);
    json_decref(w->reference);
    return 0;
}

static uint32_t read_ids(const json_t *array, uint32_t *ids)
{
    size_t n = json_array_size(array);
    assert_in_range(n, 1, MAX_IDS);
    for (size_t i = 0; i < n; i++)
        ids[i] = (uint32_t)json_integer_value(json_array_get(array, i));
    return (uint32_t)n;
}

static struct exec_out step(struct world *w, const uint32_t *ids, uint32_t n, uint32_t pos, uint32_t n_logits)
{
    struct plan_item it = {.tokens = ids,
                           .n_tokens = n,
                           .pos = pos,
                           .blocks = w->blocks,
                           .n_blocks = N_BLOCKS,
                           .n_logits = n_logits,
                           .prefill = n > 1};
    struct plan plan = {.step = 1, .items = &it, .n_items = 1};
    struct exec_out out;
    struct weft_err err = {0};
    if (exec_step(w->x, &plan, &out, &err))
        fail_msg("%s", err.message);
    return out;
}

static uint32_t greedy(const float *logits, uint32_t n)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < n; i++)
        if (logits[i] > logits[best])
            best = i;
    return best;
}

static void first_logits_and_greedy_ids(void **state)
{
    struct world *w = *state;
    const uint32_t n_vocab = w->x->info.n_vocab;
    size_t c, steps = 0;
    json_t *chat;
    json_array_foreach(json_object_get(w->reference, "chats"), c, chat)
    {
        uint32_t ids[MAX_IDS], n = read_ids(json_object_get(chat, "prompt_ids"), ids);
        const json_t *want = json_object_get(chat, "greedy_ids"),
                     *margin = json_object_get(chat, "greedy_margin");
        const json_t *top = json_object_get(chat, "first_top10_ids"),
                     *logits = json_object_get(chat, "first_top10_logits");
        struct exec_out out = step(w, ids, n, 0, 1);
        for (size_t i = 0; i < json_array_size(top); i++) {
            double a = json_number_value(json_array_get(logits, i));
            double b = (double)out.rows[0].logits[json_integer_value(json_array_get(top, i))];
            if (!(fabs(a - b) <= 0.01))
                fail_msg("chat %zu, top %zu: logit %.5f, reference %.5f", c, i, b, a);
        }
        for (size_t i = 0; i < json_array_size(want); i++) {
            if (json_number_value(json_array_get(margin, i)) < CLEAR_MARGIN)
                break;
            uint32_t id = greedy(out.rows[0].logits, n_vocab);
            assert_int_equal(id, json_integer_value(json_array_get(want, i)));
            steps++;
            out = step(w, &id, 1, n++, 1);
        }
    }
    assert_true(steps > 100); /* the comparison wasn't cut short by small margins */
}

static void likelihood_of_a_text(void **state)
{
    struct world *w = *state;
    const uint32_t n_vocab = w->x->info.n_vocab;
    const json_t *text = json_object_get(w->reference, "text");
    uint32_t ids[MAX_IDS], n = read_ids(json_object_get(text, "ids"), ids);
    double sum = 0;
    assert_in_range(n, 2, MAX_TOKENS);
    const struct exec_out out = step(w, ids, n, 0, n);
    for (uint32_t i = 0; i + 1 < n; i++) {
        const float *l = out.rows[i].logits;
        double top = (double)l[greedy(l, n_vocab)], total = 0;
        for (uint32_t v = 0; v < n_vocab; v++)
            total += exp((double)l[v] - top);
        sum += top + log(total) - (double)l[ids[i + 1]];
    }
    print_message("%s: mean nll %.6f, reference %.6f\n", w->x->info.precision, sum / (n - 1),
                  json_number_value(json_object_get(text, "mean_nll")));
    if (!(fabs(sum / (n - 1) - json_number_value(json_object_get(text, "mean_nll"))) <= w->nll_tolerance))
        fail_msg("mean nll %.6f, reference %.6f", sum / (n - 1),
                 json_number_value(json_object_get(text, "mean_nll")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_logits_and_greedy_ids),
        cmocka_unit_test(likelihood_of_a_text),
    };
    const struct CMUnitTest coded_tests[] = {
        cmocka_unit_test(likelihood_of_a_text),
    };
    choose_ways(NULL);
    int failed = cmocka_run_group_tests_name("reference, int8", coded_tests, open_int8, close_world) +
                 cmocka_run_group_tests_name("reference, bf16", coded_tests, open_bf16, close_world);
    return failed + cmocka_run_group_tests_name("reference, fp32", tests, open_fp32, close_world);
}
