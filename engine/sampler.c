#include "engine/sampler.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/sampler_row.h"
#include "engine/sampler_sum.h"

struct sampler {
    struct sampling cfg;
    uint64_t n_chosen; /* tokens so far: the index of the next draw */
    bool penalised;
    struct row row;
    /* Candidates in their rank, and what they weigh: for top_k, or for any number where top_p alone decides, when only
     * the memory that is touched is taken; NULL otherwise. */
    row_rank *top, *spare;
    float *weight;
    uint32_t cap_top; /* most candidates: top_k or the whole vocabulary */
    double *sums;     /* by chunk; NULL unless the whole vocabulary may be drawn from */
};

/* When top-p has no top-k before it, this many candidates are ranked first: enough for nearly every nucleus. */
enum { NUCLEUS_FIRST = 256 };

static double field_value(const struct sampling *s, size_t offset)
{
    double v;
    memcpy(&v, (const char *)s + offset, sizeof v);
    return v;
}

enum weft_rc sampling_check(const struct sampling *s, struct weft_err *err)
{
    static const struct {
        const char *name;
        size_t offset;
        double min, max;
        bool above_min; /* min itself is out of range */
    } fields[] = {
        {"temperature", offsetof(struct sampling, temperature), 0, 100, false},
        {"top_p", offsetof(struct sampling, top_p), 0, 1, true},
        {"min_p", offsetof(struct sampling, min_p), 0, 1, false},
        {"repeat_penalty", offsetof(struct sampling, repeat_penalty), 0, 10, true},
        {"presence_penalty", offsetof(struct sampling, presence_penalty), -2, 2, false},
        {"frequency_penalty", offsetof(struct sampling, frequency_penalty), -2, 2, false},
    };
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        double v = field_value(s, fields[i].offset);
        /* Written so that NaN fails. */
        if (v >= fields[i].min && v <= fields[i].max && !(fields[i].above_min && v == fields[i].min))
            continue;
        char limit[64];
        snprintf(limit, sizeof limit, "%s %g and at most %g", fields[i].above_min ? "above" : "at least",
                 fields[i].min, fields[i].max);
        weft_err_set(err, WEFT_INVALID_REQUEST, "%s is %g, but must be %s", fields[i].name, v, limit);
        weft_err_str(err, "field", fields[i].name);
        weft_err_num(err, "value", v);
        weft_err_str(err, "limit", limit);
        return WEFT_INVALID_REQUEST;
    }
    if (s->seed < -1) {
        weft_err_set(err, WEFT_INVALID_REQUEST,
                     "seed is %lld, but must be at least 0, or -1 to have one chosen", (long long)s->seed);
        weft_err_str(err, "field", "seed");
        weft_err_num(err, "value", (double)s->seed);
        weft_err_num(err, "limit", -1);
        return WEFT_INVALID_REQUEST;
    }
    return WEFT_OK;
}

static bool has_penalties(const struct sampling *c)
{
    return c->penalty_window > 0 &&
           (c->repeat_penalty != 1 || c->presence_penalty != 0 || c->frequency_penalty != 0);
}

/* Takes the memory for the draws. False when there is none. */
static bool make_room(struct sampler *s, uint32_t n_vocab)
{
    const bool whole = !s->cfg.top_k || s->cfg.top_k >= n_vocab;
    s->cap_top = whole ? n_vocab : s->cfg.top_k;
    if (s->cfg.temperature <= 0)
        return true;
    if (!whole || s->cfg.top_p < 1) {
        const size_t room = row_top_room(n_vocab, s->cap_top);
        s->top = mem_alloc(room * sizeof *s->top);
        s->spare = mem_alloc(room * sizeof *s->spare);
        s->weight = mem_alloc(s->cap_top * sizeof *s->weight);
        if (!s->top || !s->spare || !s->weight)
            return false;
    }
    if (whole)
        s->sums = mem_alloc(s->row.n_chunks * sizeof *s->sums);
    return !whole || s->sums;
}

enum weft_rc sampler_create(const struct sampling *cfg, uint32_t n_vocab, struct sampler **out,
                            struct weft_err *err)
{
    *out = NULL;
    enum weft_rc rc = sampling_check(cfg, err);
    if (rc)
        return rc;
    struct sampler *s = mem_calloc(1, sizeof *s);
    if (!s)
        return weft_err_nomem(err, "sampler_create", sizeof *s);
    s->cfg = *cfg;
    s->penalised = has_penalties(cfg);
    rc = row_init(&s->row, n_vocab, s->penalised ? cfg->penalty_window : 0, err);
    if (!rc && !make_room(s, n_vocab))
        rc = weft_err_nomem(err, "sampler_create", row_top_room(n_vocab, s->cap_top) * sizeof *s->top);
    if (rc) {
        sampler_destroy(s);
        return rc;
    }
    *out = s;
    return WEFT_OK;
}

void sampler_destroy(struct sampler *s)
{
    if (!s)
        return;
    row_deinit(&s->row);
    mem_free(s->top);
    mem_free(s->spare);
    mem_free(s->weight);
    mem_free(s->sums);
    mem_free(s);
}

/* ---- penalties ---- */

/* Takes the penalties of the last ids off their logits. False when that leaves none that is finite. */
static bool penalise(struct sampler *s, const uint32_t *ids, uint32_t n_ids)
{
    const struct sampling *c = &s->cfg;
    uint32_t first = n_ids > c->penalty_window ? n_ids - c->penalty_window : 0;
    for (uint32_t i = first; i < n_ids; i++)
        if (ids[i] < s->row.n_vocab)
            row_patch(&s->row, ids[i] / ROW_CHUNK)->seen[ids[i] % ROW_CHUNK]++;
    for (uint32_t i = first; i < n_ids; i++) {
        if (ids[i] >= s->row.n_vocab)
            continue;
        struct row_patch *p = row_patch(&s->row, ids[i] / ROW_CHUNK);
        uint32_t at = ids[i] % ROW_CHUNK;
        if (!p->seen[at])
            continue; /* each once */
        double v = p->logits[at];
        v = v > 0 ? v / c->repeat_penalty : v * c->repeat_penalty;
        v -= c->presence_penalty + c->frequency_penalty * p->seen[at];
        p->logits[at] = (float)v;
        p->seen[at] = 0;
    }
    return row_repair(&s->row);
}

/* ---- candidates in their rank: top-k, top-p, min-p ---- */

/* Weighs the n best, which s->top holds; returns the sum. */
static double weigh(struct sampler *s, uint32_t n)
{
    const float best = row_rank_logit(s->top[0]);
    double sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        s->weight[i] = sample_weight(row_rank_logit(s->top[i]), best, s->cfg.temperature);
        sum += s->weight[i];
    }
    return sum;
}

/* How many of the n ranked candidates the nucleus takes when all that there are weigh `total`; n + 1 when these don't
 * suffice. */
static uint32_t nucleus(const struct sampler *s, uint32_t n, double total)
{
    double sum = 0;
    for (uint32_t i = 0; i < n; i++)
        if ((sum += s->weight[i]) >= s->cfg.top_p * total)
            return i + 1;
    return n + 1;
}

/* The top_k best, then of those the nucleus. */
static uint32_t take_top_k(struct sampler *s)
{
    uint32_t n = s->cap_top;
    row_top(&s->row, n, s->top, s->spare);
    double total = weigh(s, n);
    uint32_t kept = s->cfg.top_p < 1 ? nucleus(s, n, total) : n;
    return kept < n ? kept : n;
}

/* What the whole vocabulary weighs, id by id. */
static double exact_total(const struct sampler *s, float best)
{
    double total = 0;
    for (uint32_t c = 0; c < s->row.n_chunks; c++)
        for (uint32_t i = 0; i < ROW_CHUNK; i++)
            total += sample_weight(row_chunk(&s->row, c)[i], best, s->cfg.temperature);
    return total;
}

/* The nucleus of the whole vocabulary: ever more are ranked until it is complete. The exact total is needed only when the
 * edge of the nucleus lies within the error of the quick one. */
static uint32_t take_nucleus(struct sampler *s)
{
    const uint32_t n_vocab = s->cap_top;
    const float best = s->row.highest;
    double least = weight_sums(&s->row, best, s->cfg.temperature, s->sums);
    double most = least * (1 + 2 * WEIGHT_SUM_ERROR);
    least *= 1 - 2 * WEIGHT_SUM_ERROR;
    for (uint32_t n = NUCLEUS_FIRST;; n = n < n_vocab / 4 ? n * 4 : n_vocab) {
        n = n < n_vocab ? n : n_vocab;
        row_top(&s->row, n, s->top, s->spare);
        weigh(s, n);
        uint32_t kept = nucleus(s, n, least);
        if (kept != nucleus(s, n, most)) {
            least = most = exact_total(s, best);
            kept = nucleus(s, n, least);
        }
        if (kept <= n || n == n_vocab)
            return kept < n ? kept : n;
    }
}

/* Drops those below min_p times the best one's probability; keeps the order. */
static uint32_t apply_min_p(struct sampler *s, uint32_t n)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (s->weight[i] < s->cfg.min_p)
            continue;
        s->top[kept] = s->top[i];
        s->weight[kept++] = s->weight[i];
    }
    return kept;
}

/* The candidate at `unit` of the way through the n candidates' weights. */
static uint32_t pick_ranked(const struct sampler *s, uint32_t n, double unit)
{
    double total = 0, sum = 0;
    for (uint32_t i = 0; i < n; i++)
        total += s->weight[i];
    double at = unit * total;
    for (uint32_t i = 0; i < n; i++)
        if (at < (sum += s->weight[i]))
            return row_rank_id(s->top[i]);
    return row_rank_id(s->top[n - 1]); /* rounding alone leads here */
}

/* ---- the whole vocabulary, in the order of the ids, but that the best one and id 0 have changed places ---- */

struct all {
    const struct sampler *s;
    uint32_t best_id;
    float best;
    double bar; /* a chunk whose maximum is below has nothing that counts */
};

static struct all all_of(const struct sampler *s)
{
    const float best = s->row.highest;
    double log_bar = WEIGHT_LOG_NEGLIGIBLE;
    if (s->cfg.min_p > 0 && log(s->cfg.min_p) - 0.01 > log_bar) /* a little less, for the rounding of both */
        log_bar = log(s->cfg.min_p) - 0.01;
    return (struct all){s, row_best(&s->row), best, best + s->cfg.temperature * log_bar};
}

static bool matters(const struct all *a, uint32_t chunk)
{
    return a->s->row.maxima[chunk] >= a->bar;
}

/* The chunk's logits by place. The first place is -inf: the best one, which is there, is counted before all others. */
static void by_place(const struct all *a, uint32_t chunk, float logits[ROW_CHUNK])
{
    memcpy(logits, row_chunk(&a->s->row, chunk), ROW_CHUNK * sizeof *logits);
    if (chunk == a->best_id / ROW_CHUNK)
        logits[a->best_id % ROW_CHUNK] = row_logit(&a->s->row, 0);
    if (!chunk)
        logits[0] = -INFINITY;
}

static uint32_t id_at(const struct all *a, uint32_t chunk, uint32_t i)
{
    uint32_t place = chunk * ROW_CHUNK + i;
    return place == a->best_id ? 0 : place;
}

/* Sums what counts until the sum is above `at`; *id: where that was. */
static double walk(const struct all *a, double at, uint32_t *id)
{
    float logits[ROW_CHUNK];
    double sum = 1; /* the best one's */
    *id = a->best_id;
    for (uint32_t c = 0; c < a->s->row.n_chunks && at >= sum; c++) {
        if (!matters(a, c))
            continue;
        by_place(a, c, logits);
        for (uint32_t i = 0; i < ROW_CHUNK && at >= sum; i++) {
            float w = sample_weight(logits[i], a->best, a->s->cfg.temperature);
            if (w <= 0 || w < a->s->cfg.min_p)
                continue;
            sum += w;
            *id = id_at(a, c, i);
        }
    }
    return sum;
}

/* The candidate at `unit` of the way, by the quick sums: only the chunk where it lies is looked at. False when it lies
 * too near to another to be sure. */
static bool pick_quickly(const struct all *a, double unit, uint32_t *id)
{
    const double temperature = a->s->cfg.temperature;
    double *sums = a->s->sums, sum = 1;
    const double total = weight_sums(&a->s->row, a->best, temperature, sums);
    const double at = unit * total, error = 2 * WEIGHT_SUM_ERROR * total;
    const double first = sample_weight(row_logit(&a->s->row, 0), a->best, temperature);
    sums[a->best_id / ROW_CHUNK] += first - 1; /* they change places */
    sums[0] -= first;
    *id = a->best_id;
    if (at < sum)
        return sum - at > error;
    uint32_t c = 0;
    while (c < a->s->row.n_chunks && at >= sum + sums[c])
        sum += sums[c++];
    if (c == a->s->row.n_chunks)
        return false;
    float logits[ROW_CHUNK];
    by_place(a, c, logits);
    for (uint32_t i = 0; i < ROW_CHUNK; i++) {
        double from = sum;
        sum += sample_weight(logits[i], a->best, temperature);
        *id = id_at(a, c, i);
        if (at < sum)
            return at - from > error && sum - at > error;
    }
    return false;
}

static uint32_t pick_from_all(const struct sampler *s, double unit)
{
    const struct all a = all_of(s);
    uint32_t id;
    if (s->cfg.min_p > 0 || !pick_quickly(&a, unit, &id)) {
        double total = walk(&a, INFINITY, &id);
        walk(&a, unit * total, &id);
    }
    return id;
}

/* ---- sampler_next ---- */

/* Uniform in [0, 1), from the seed and the index of the draw alone. */
static double draw_unit(int64_t seed, uint64_t index)
{
    struct rng r;
    rng_seed(&r, mix64((uint64_t)seed) + index * 0x9e3779b97f4a7c15ull);
    return rng_unit(&r);
}

static uint32_t draw(struct sampler *s)
{
    const double unit = draw_unit(s->cfg.seed, s->n_chosen);
    uint32_t n;
    if (s->cap_top < s->row.n_vocab)
        n = take_top_k(s);
    else if (s->cfg.top_p < 1)
        n = take_nucleus(s);
    else
        return pick_from_all(s, unit);
    if (s->cfg.min_p > 0)
        n = apply_min_p(s, n);
    return pick_ranked(s, n, unit);
}

/* Of the raw logits, before penalties: the row is opened anew. */
static void report_logprobs(struct sampler *s, const float *logits, const float *maxima, uint32_t n_top,
                            struct sampler_out *out)
{
    row_rank top[2 * SAMPLER_LOGPROBS_MAX + 2 * ROW_CHUNK], spare[sizeof top / sizeof *top];
    const double norm = log_sum_exp(logits, s->row.n_vocab);
    n_top = n_top < s->row.n_vocab ? n_top : s->row.n_vocab;
    n_top = n_top < SAMPLER_LOGPROBS_MAX ? n_top : SAMPLER_LOGPROBS_MAX;
    row_open(&s->row, logits, maxima);
    row_top(&s->row, n_top, top, spare);
    out->logprob = (float)(logits[out->id] - norm);
    out->n_top = n_top;
    for (uint32_t i = 0; i < n_top; i++)
        out->top[i] = (struct sampler_logprob){row_rank_id(top[i]), (float)(row_rank_logit(top[i]) - norm)};
}

void sampler_next(struct sampler *s, const float *logits, const float *maxima, const uint32_t *ids,
                  uint32_t n_ids, uint32_t n_top, struct sampler_out *out)
{
    out->id = out->n_top = 0;
    out->logprob = 0;
    out->finite = row_open(&s->row, logits, maxima) && (!s->penalised || penalise(s, ids, n_ids));
    if (out->finite) {
        out->id = s->cfg.temperature > 0 ? draw(s) : row_best(&s->row);
        if (n_top)
            report_logprobs(s, logits, maxima, n_top, out);
    }
    s->n_chosen++;
}

double sampler_nll(const float *logits, uint32_t n_vocab, uint32_t id)
{
    return log_sum_exp(logits, n_vocab) - logits[id];
}
