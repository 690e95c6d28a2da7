#include "src/bench_report.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/mem.h"
#include "src/cli.h"

/* ---- figures ---- */

struct bench_cost bench_cost_of(const struct model *m, const struct exec_info *info)
{
    const struct model_shape *s = &m->shape;
    struct bench_cost c = {
        .attention_operations = 4.0 * s->n_layer * s->n_head * s->head_dim,
        .kv_bytes = (double)info->block_bytes / info->block_tokens,
    };
    for (uint64_t i = 0; i < m->file->n_tensors; i++) {
        const struct gguf_tensor *t = &m->file->tensors[i];
        if (t->n_dims < 2 || (t == m->token_embd && m->output != m->token_embd))
            continue;
        *(t == m->output ? &c.output_weights : &c.layer_weights) += (double)t->dim[0] * (double)t->dim[1];
        c.weight_bytes += (double)t->size;
    }
    return c;
}

/* The steps of one phase. From a step's start to the next one's: so what the engine does between them counts. */
struct phase_sum {
    size_t n_steps;
    double us, inside_us, tokens; /* inside_us: in the executor */
    double kernel_us, matrix_us;  /* on the device */
};

static bool is_matrix_kernel(const struct bench_kernel *k)
{
    return strncmp(k->name, "matmul", strlen("matmul")) == 0;
}

static struct phase_sum sum_phase(const struct bench_record *r, enum bench_phase phase)
{
    struct phase_sum sum = {.n_steps = 0};
    for (size_t i = 0; i < r->n_steps; i++) {
        const struct bench_step *s = &r->steps[i];
        if (s->phase != phase)
            continue;
        sum.us += (double)((i + 1 < r->n_steps ? s[1].start_us : s->end_us) - s->start_us);
        sum.inside_us += (double)(s->end_us - s->start_us);
        sum.tokens += s->n_tokens;
        sum.n_steps++;
    }
    for (size_t i = 0; i < r->n_kernels[phase]; i++) {
        const struct bench_kernel *k = &r->kernels[phase][i];
        sum.kernel_us += k->total_us;
        sum.matrix_us += is_matrix_kernel(k) ? k->total_us : 0;
    }
    return sum;
}

struct figures {
    double prefill_tps, decode_tps, step_ms;
    double roofline;        /* of the speed that a decode step could have */
    double weights_read;    /* of the read bandwidth, if a decode step only read the weights */
    double outside_kernels; /* of a decode step: planning, launching, waiting, sampling, events */
    double between;         /* of a decode step, outside the executor: that without launching and waiting */
    size_t decode_steps;
};

static double peak_operations(const struct bench_report *r, const struct bench_row *row)
{
    const struct exec_cl_peaks *p = &row->peaks;
    double special = strcmp(r->precision, "int8") == 0   ? p->int8_gops
                     : strcmp(r->precision, "bf16") == 0 ? p->bf16_gflops
                                                         : 0;
    return (special > 0 ? special : p->fma_gflops) * 1e9;
}

/* The least time that a decode step could take: the weights and the context's KV read once at the measured bandwidth, or
 * its multiplications at the measured peak (Williams, Waterman and Patterson 2009). */
static double floor_s(const struct bench_report *r, const struct bench_row *row)
{
    const struct bench_cost *c = &r->cost;
    double context = row->prompt + 0.5 * row->gen;
    double operations = 2 * (c->layer_weights + c->output_weights) + context * c->attention_operations;
    double read_bytes = c->weight_bytes + row->batch * context * c->kv_bytes;
    return fmax(row->batch * operations / peak_operations(r, row), read_bytes / (row->peaks.read_gbs * 1e9));
}

static struct figures figures_of(const struct bench_report *r, const struct bench_row *row)
{
    struct phase_sum prefill = sum_phase(&row->record, BENCH_PREFILL);
    struct phase_sum decode = sum_phase(&row->record, BENCH_DECODE);
    double step_s = decode.us / 1e6 / (double)decode.n_steps;
    return (struct figures){
        .prefill_tps = prefill.tokens / prefill.us * 1e6,
        .decode_tps = row->batch / step_s,
        .step_ms = step_s * 1e3,
        .roofline = floor_s(r, row) / step_s,
        .weights_read = r->cost.weight_bytes / step_s / (row->peaks.read_gbs * 1e9),
        .outside_kernels = 1 - decode.kernel_us / decode.us,
        .between = 1 - decode.inside_us / decode.us,
        .decode_steps = decode.n_steps,
    };
}

/* Operations of the matrix products in all steps of a phase. Prompts need the output layer for their last token only. */
static double matrix_operations(const struct bench_report *r, const struct bench_row *row,
                                enum bench_phase phase, const struct phase_sum *sum)
{
    double outputs = phase == BENCH_PREFILL ? row->batch : sum->tokens;
    return 2 * (sum->tokens * r->cost.layer_weights + outputs * r->cost.output_weights);
}

/* Of the decoding rate that the same number of streams has with the run's shortest prompt; NaN for that row itself. */
static double kept_rate(const struct bench_report *r, const struct bench_row *row)
{
    const struct bench_row *shortest = row;
    for (size_t i = 0; i < r->n_rows; i++)
        if (r->rows[i].batch == row->batch && r->rows[i].prompt < shortest->prompt)
            shortest = &r->rows[i];
    return shortest == row ? NAN : figures_of(r, row).decode_tps / figures_of(r, shortest).decode_tps;
}

/* The highest of all rows. */
static struct exec_cl_peaks highest_peaks(const struct bench_report *r)
{
    struct exec_cl_peaks p = {0};
    for (size_t i = 0; i < r->n_rows; i++) {
        p.fma_gflops = fmax(p.fma_gflops, r->rows[i].peaks.fma_gflops);
        p.int8_gops = fmax(p.int8_gops, r->rows[i].peaks.int8_gops);
        p.bf16_gflops = fmax(p.bf16_gflops, r->rows[i].peaks.bf16_gflops);
        p.read_gbs = fmax(p.read_gbs, r->rows[i].peaks.read_gbs);
    }
    return p;
}

/* What the profile tells in a phase; those in which nothing happened are left out. */
static const struct {
    enum bench_phase phase;
    const char *name;
} told_phases[] = {{BENCH_PREFILL, "prefill"}, {BENCH_DECODE, "decode"}};
enum { N_TOLD_PHASES = sizeof told_phases / sizeof *told_phases };

struct phase_profile {
    struct phase_sum sum;
    double matrix_gops, matrix_peak; /* of matrix products, while they run; as a fraction of the peak */
    double outside_kernels;          /* of the steps' time */
};

static struct phase_profile profile_of(const struct bench_report *r, const struct bench_row *row,
                                       enum bench_phase phase)
{
    struct phase_profile p = {.sum = sum_phase(&row->record, phase)};
    double per_s = matrix_operations(r, row, phase, &p.sum) / (p.sum.matrix_us / 1e6);
    p.matrix_gops = per_s / 1e9;
    p.matrix_peak = per_s / peak_operations(r, row);
    p.outside_kernels = 1 - p.sum.kernel_us / p.sum.us;
    return p;
}

static int longer(const void *a, const void *b)
{
    double x = ((const struct bench_kernel *)a)->total_us, y = ((const struct bench_kernel *)b)->total_us;
    return (x < y) - (x > y);
}

/* ---- JSON ---- */

static json_t *peaks_json(const struct exec_cl_peaks *p)
{
    return json_pack("{s:o, s:o, s:o, s:o}", "fma_gflops", cli_json_number(p->fma_gflops), "int8_gops",
                     cli_json_number(p->int8_gops), "bf16_gflops", cli_json_number(p->bf16_gflops),
                     "read_gbs", cli_json_number(p->read_gbs));
}

static json_t *row_json(const struct bench_report *r, const struct bench_row *row)
{
    struct figures f = figures_of(r, row);
    return json_pack("{s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:I, s:o}", "batch",
                     (json_int_t)row->batch, "prompt", (json_int_t)row->prompt, "prefill_tps",
                     cli_json_number(f.prefill_tps), "decode_tps", cli_json_number(f.decode_tps), "step_ms",
                     cli_json_number(f.step_ms), "roofline", cli_json_number(f.roofline), "weights_read",
                     cli_json_number(f.weights_read), "outside_kernels", cli_json_number(f.outside_kernels),
                     "between_steps", cli_json_number(f.between), "kept_rate",
                     cli_json_number(kept_rate(r, row)), "decode_steps", (json_int_t)f.decode_steps, "peaks",
                     peaks_json(&row->peaks));
}

static json_t *phase_json(const struct bench_report *r, const struct bench_row *row, unsigned phase)
{
    const struct bench_record *record = &row->record;
    struct phase_profile p = profile_of(r, row, told_phases[phase].phase);
    json_t *kernels = json_array();
    for (size_t i = 0; i < record->n_kernels[told_phases[phase].phase]; i++) {
        const struct bench_kernel *k = &record->kernels[told_phases[phase].phase][i];
        json_array_append_new(kernels,
                              json_pack("{s:s, s:I, s:o}", "kernel", k->name, "calls", (json_int_t)k->calls,
                                        "total_ms", cli_json_number(k->total_us / 1e3)));
    }
    return json_pack("{s:I, s:I, s:s, s:I, s:o, s:o, s:o, s:o, s:o, s:o}", "batch", (json_int_t)row->batch,
                     "prompt", (json_int_t)row->prompt, "phase", told_phases[phase].name, "steps",
                     (json_int_t)p.sum.n_steps, "total_ms", cli_json_number(p.sum.us / 1e3), "kernels_ms",
                     cli_json_number(p.sum.kernel_us / 1e3), "outside_kernels",
                     cli_json_number(p.outside_kernels), "matrix_gops", cli_json_number(p.matrix_gops),
                     "matrix_peak", cli_json_number(p.matrix_peak), "kernels", kernels);
}

json_t *bench_report_json(const struct bench_report *r)
{
    struct exec_cl_peaks peaks = highest_peaks(r);
    json_t *rows = json_array(), *profile = r->profile ? json_array() : NULL;
    for (size_t i = 0; i < r->n_rows; i++) {
        json_array_append_new(rows, row_json(r, &r->rows[i]));
        for (unsigned p = 0; p < N_TOLD_PHASES && profile; p++)
            json_array_append_new(profile, phase_json(r, &r->rows[i], p));
    }
    return json_pack("{s:o, s:o, s:s, s:o, s:o, s:o*}", "device", cli_json_text(r->device, strlen(r->device)),
                     "model", cli_json_text(r->model, strlen(r->model)), "precision", r->precision, "peaks",
                     peaks_json(&peaks), "rows", rows, "profile", profile);
}

/* ---- for people ---- */

static void print_rows(const struct bench_report *r)
{
    printf("%6s %6s %14s %14s %9s %9s %13s %16s %10s\n", "prompt", "batch", "prefill tok/s", "decode tok/s",
           "step ms", "roofline", "weights read", "outside kernels", "kept rate");
    for (size_t i = 0; i < r->n_rows; i++) {
        const struct bench_row *row = &r->rows[i];
        struct figures f = figures_of(r, row);
        double kept = kept_rate(r, row);
        printf("%6u %6u %14.1f %14.1f %9.2f %7.0f %% %11.0f %% %14.1f %%", row->prompt, row->batch,
               f.prefill_tps, f.decode_tps, f.step_ms, 100 * f.roofline, 100 * f.weights_read,
               100 * f.outside_kernels);
        if (isnan(kept))
            printf("\n");
        else
            printf(" %7.0f %%\n", 100 * kept);
    }
}

static void print_phase(const struct bench_report *r, const struct bench_row *row, unsigned phase)
{
    const struct bench_record *record = &row->record;
    struct phase_profile p = profile_of(r, row, told_phases[phase].phase);
    size_t n = record->n_kernels[told_phases[phase].phase];
    struct bench_kernel *kernels = n ? mem_calloc(n, sizeof *kernels) : NULL;
    if (!kernels)
        return;
    memcpy(kernels, record->kernels[told_phases[phase].phase], n * sizeof *kernels);
    qsort(kernels, n, sizeof *kernels, longer);
    double steps = (double)p.sum.n_steps;
    printf("\n%s, batch %u, prompt %u: a step of %.2f ms, %.1f %% of it outside kernels; matrix products at "
           "%.0f G/s, %.0f %% of the peak\n",
           told_phases[phase].name, row->batch, row->prompt, p.sum.us / steps / 1e3, 100 * p.outside_kernels,
           p.matrix_gops, 100 * p.matrix_peak);
    printf("  %-28s %11s %12s %10s %7s\n", "kernel", "calls/step", "µs/step", "µs/call", "share");
    for (size_t i = 0; i < n; i++) {
        const struct bench_kernel *k = &kernels[i];
        printf("  %-28s %11.1f %11.1f %9.1f %5.1f %%\n", k->name, (double)k->calls / steps,
               k->total_us / steps, k->total_us / (double)k->calls, 100 * k->total_us / p.sum.us);
    }
    mem_free(kernels);
}

void bench_report_print(const struct bench_report *r)
{
    struct exec_cl_peaks peaks = highest_peaks(r);
    printf("device     %s\nmodel      %s, %s\n", r->device, r->model, r->precision);
    printf("peaks      FMA %.0f GFLOP/s, int8 %.0f Gop/s, bf16 %.0f GFLOP/s, read %.1f GB/s\n\n",
           peaks.fma_gflops, peaks.int8_gops, peaks.bf16_gflops, peaks.read_gbs);
    print_rows(r);
    for (size_t i = 0; i < r->n_rows && r->profile; i++)
        for (unsigned p = 0; p < N_TOLD_PHASES; p++)
            print_phase(r, &r->rows[i], p);
}
