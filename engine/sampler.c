#include "engine/sampler.h"

#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/mem.h"

struct candidate {
    float logit;
    uint32_t id;
};

struct sampler {
    struct sampling cfg;
    uint32_t n_vocab;
    uint64_t n_chosen; /* tokens so far: the index of the next draw */
    bool penalised;
    float *work;            /* penalised: n_vocab logits after penalties; else NULL */
    uint32_t *seen;         /* penalised: n_vocab counts, all 0 between calls; else NULL */
    struct candidate *best; /* cap_best, ranked; NULL when greedy */
    double *weight;         /* cap_best: unnormalised probabilities of best[] */
    uint32_t cap_best;
};

/* When top-p has no top-k before it, this many candidates are ranked first: enough for nearly every nucleus.
 */
enum { NUCLEUS_FIRST = 256 };

/* Logits looked at together where their order doesn't matter. */
enum { LANES = 32 };

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
    s->n_vocab = n_vocab;
    s->penalised = has_penalties(cfg);
    if (s->penalised) {
        s->work = mem_calloc(n_vocab, sizeof *s->work);
        s->seen = mem_calloc(n_vocab, sizeof *s->seen);
    }
    if (cfg->temperature > 0) {
        s->cap_best = cfg->top_k && cfg->top_k < n_vocab ? cfg->top_k : n_vocab;
        s->best = mem_calloc(s->cap_best, sizeof *s->best);
        s->weight = mem_calloc(s->cap_best, sizeof *s->weight);
    }
    if ((s->penalised && (!s->work || !s->seen)) || (cfg->temperature > 0 && (!s->best || !s->weight))) {
        sampler_destroy(s);
        return weft_err_nomem(err, "sampler_create", (size_t)n_vocab * sizeof(struct candidate));
    }
    *out = s;
    return WEFT_OK;
}

void sampler_destroy(struct sampler *s)
{
    if (!s)
        return;
    mem_free(s->work);
    mem_free(s->seen);
    mem_free(s->best);
    mem_free(s->weight);
    mem_free(s);
}

/* ---- ranking ---- */

static bool ranks_above(struct candidate a, struct candidate b)
{
    return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

/* Restores a heap whose root is its lowest rank, after heap[i] changed for a higher one. */
static void sift_down(struct candidate *heap, uint32_t n, uint32_t i)
{
    struct candidate c = heap[i];
    for (uint32_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && ranks_above(heap[child], heap[child + 1]))
            child++;
        if (!ranks_above(c, heap[child]))
            break;
        heap[i] = heap[child];
    }
    heap[i] = c;
}

/* Whether any of LANES logits is above the bar: one branch for all of them, and vector instructions. */
static bool any_above(const float *logits, float bar)
{
    int any = 0;
    for (uint32_t j = 0; j < LANES; j++)
        any |= logits[j] > bar;
    return any;
}

/* Writes the k highest of n logits to best[0..k), best first; k ≤ n. O(n + k log n) expected: a heap of the
 * best so far, whose root is what a newcomer has to beat; nearly all of the n fail that one comparison. */
static void rank_best(const float *logits, uint32_t n, struct candidate *best, uint32_t k)
{
    if (!k)
        return;
    for (uint32_t i = 0; i < k; i++)
        best[i] = (struct candidate){logits[i], i};
    for (uint32_t i = k / 2; i-- > 0;)
        sift_down(best, k, i);
    for (uint32_t i = k; i < n;) {
        if (i + LANES <= n && !any_above(logits + i, best[0].logit)) {
            i += LANES;
            continue;
        }
        uint32_t end = i + LANES < n ? i + LANES : n;
        for (; i < end; i++) {
            if (logits[i] > best[0].logit) { /* an equal one has a higher id, so it ranks below */
                best[0] = (struct candidate){logits[i], i};
                sift_down(best, k, 0);
            }
        }
    }
    for (uint32_t m = k; m > 1; m--) { /* heap sort: the lowest goes to the end */
        struct candidate worst = best[0];
        best[0] = best[m - 1];
        sift_down(best, m - 1, 0);
        best[m - 1] = worst;
    }
}

/* The highest logit's id, ties to the lowest. False when something is NaN or +inf, or all are -inf. Lanes that don't
 * depend on each other let the compiler use vector instructions. */
static bool find_max(const float *logits, uint32_t n, uint32_t *id)
{
    float lane[LANES], max = -INFINITY;
    int bad = 0;
    uint32_t i = 0;
    for (uint32_t j = 0; j < LANES; j++)
        lane[j] = -INFINITY;
    for (; i + LANES <= n; i += LANES) {
        for (uint32_t j = 0; j < LANES; j++) {
            float v = logits[i + j];
            bad |= !(v <= FLT_MAX);
            lane[j] = v > lane[j] ? v : lane[j];
        }
    }
    for (; i < n; i++) {
        bad |= !(logits[i] <= FLT_MAX);
        max = logits[i] > max ? logits[i] : max;
    }
    for (uint32_t j = 0; j < LANES; j++)
        max = lane[j] > max ? lane[j] : max;
    uint32_t at = 0;
    bool finite = !bad && max >= -FLT_MAX;
    while (finite && logits[at] != max)
        at++;
    *id = at;
    return finite;
}

/* ---- the steps of sampler_next ---- */

/* Copies the logits into s->work with the penalties of the last ids taken off. */
static void penalise(struct sampler *s, const float *logits, const uint32_t *ids, uint32_t n_ids)
{
    const struct sampling *c = &s->cfg;
    uint32_t n = n_ids < c->penalty_window ? n_ids : c->penalty_window;
    const uint32_t *window = n ? ids + (n_ids - n) : ids; /* NULL of none is no array to point into */
    memcpy(s->work, logits, (size_t)s->n_vocab * sizeof *logits);
    for (uint32_t i = 0; i < n; i++)
        if (window[i] < s->n_vocab)
            s->seen[window[i]]++;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t id = window[i];
        if (id >= s->n_vocab || !s->seen[id])
            continue;
        double v = logits[id];
        v = v > 0 ? v / c->repeat_penalty : v * c->repeat_penalty;
        v -= c->presence_penalty + c->frequency_penalty * s->seen[id];
        s->work[id] = (float)v;
        s->seen[id] = 0; /* each once; and all are 0 again for the next call */
    }
}

/* What a candidate weighs in the draw: its probability, times a factor that all share; the best one's is 1. In
 * single precision, as the logits are. */
static double weight(const struct sampler *s, float logit, float best)
{
    return expf((float)(((double)logit - best) / s->cfg.temperature));
}

/* Weighs the first n candidates, of which best[0] is the best; returns the sum. */
static double weigh(struct sampler *s, uint32_t n)
{
    double sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        s->weight[i] = weight(s, s->best[i].logit, s->best[0].logit);
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

/* All ids are candidates: in their own order, but for the best, which comes first. */
static uint32_t take_all(struct sampler *s, const float *logits, uint32_t best_id)
{
    for (uint32_t i = 0; i < s->n_vocab; i++)
        s->best[i] = (struct candidate){logits[i], i};
    s->best[0] = (struct candidate){logits[best_id], best_id};
    s->best[best_id] = (struct candidate){logits[0], 0};
    weigh(s, s->n_vocab);
    return s->n_vocab;
}

/* The top_k best, then of those the nucleus. */
static uint32_t take_top_k(struct sampler *s, const float *logits)
{
    uint32_t n = s->cap_best;
    rank_best(logits, s->n_vocab, s->best, n);
    double total = weigh(s, n);
    uint32_t kept = s->cfg.top_p < 1 ? nucleus(s, n, total) : n;
    return kept < n ? kept : n;
}

/* The nucleus of the whole vocabulary: ever more are ranked until it is complete. */
static uint32_t take_nucleus(struct sampler *s, const float *logits, uint32_t best_id)
{
    double total = 0;
    for (uint32_t i = 0; i < s->n_vocab; i++)
        total += weight(s, logits[i], logits[best_id]);
    for (uint32_t n = NUCLEUS_FIRST;; n *= 4) {
        n = n < s->n_vocab ? n : s->n_vocab;
        rank_best(logits, s->n_vocab, s->best, n);
        weigh(s, n);
        uint32_t kept = nucleus(s, n, total);
        if (kept <= n || n == s->n_vocab)
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
        s->best[kept] = s->best[i];
        s->weight[kept++] = s->weight[i];
    }
    return kept;
}

/* Fills s->best and s->weight with what may be drawn; returns how many. */
static uint32_t choose_candidates(struct sampler *s, const float *logits, uint32_t best_id)
{
    uint32_t n;
    if (s->cap_best < s->n_vocab)
        n = take_top_k(s, logits);
    else if (s->cfg.top_p < 1)
        n = take_nucleus(s, logits, best_id);
    else
        n = take_all(s, logits, best_id);
    return s->cfg.min_p > 0 ? apply_min_p(s, n) : n;
}

/* Uniform in [0, 1), from the seed and the index of the draw alone. */
static double draw_unit(int64_t seed, uint64_t index)
{
    struct rng r;
    rng_seed(&r, mix64((uint64_t)seed) + index * 0x9e3779b97f4a7c15ull);
    return rng_unit(&r);
}

static uint32_t draw(const struct sampler *s, uint32_t n)
{
    double total = 0, sum = 0;
    for (uint32_t i = 0; i < n; i++)
        total += s->weight[i];
    double at = draw_unit(s->cfg.seed, s->n_chosen) * total;
    for (uint32_t i = 0; i < n; i++)
        if (at < (sum += s->weight[i]))
            return s->best[i].id;
    return s->best[n - 1].id; /* rounding alone leads here */
}

/* log of the sum of exp(logits), in double. */
static double log_sum_exp(const float *logits, uint32_t n)
{
    float max = logits[0];
    for (uint32_t i = 1; i < n; i++)
        max = logits[i] > max ? logits[i] : max;
    double sum = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += exp((double)logits[i] - max);
    return max + log(sum);
}

static void report_logprobs(const float *logits, uint32_t n_vocab, uint32_t n_top, struct sampler_out *out)
{
    struct candidate top[SAMPLER_LOGPROBS_MAX];
    double norm = log_sum_exp(logits, n_vocab);
    n_top = n_top < n_vocab ? n_top : n_vocab;
    n_top = n_top < SAMPLER_LOGPROBS_MAX ? n_top : SAMPLER_LOGPROBS_MAX;
    rank_best(logits, n_vocab, top, n_top);
    out->logprob = (float)(logits[out->id] - norm);
    out->n_top = n_top;
    for (uint32_t i = 0; i < n_top; i++)
        out->top[i] = (struct sampler_logprob){top[i].id, (float)(top[i].logit - norm)};
}

void sampler_next(struct sampler *s, const float *logits, const uint32_t *ids, uint32_t n_ids, uint32_t n_top,
                  struct sampler_out *out)
{
    const float *ranked_by = logits;
    out->n_top = 0;
    out->logprob = 0;
    if (s->penalised) { /* what isn't finite stays so */
        penalise(s, logits, ids, n_ids);
        ranked_by = s->work;
    }
    out->finite = find_max(ranked_by, s->n_vocab, &out->id);
    if (out->finite && s->cfg.temperature > 0)
        out->id = draw(s, choose_candidates(s, ranked_by, out->id));
    if (out->finite && n_top)
        report_logprobs(logits, s->n_vocab, n_top, out);
    s->n_chosen++;
}

double sampler_nll(const float *logits, uint32_t n_vocab, uint32_t id)
{
    return log_sum_exp(logits, n_vocab) - logits[id];
}
