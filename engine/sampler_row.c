#include "engine/sampler_row.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "engine/base/clones.h"
#include "engine/base/mem.h"

/* Chunks whose maxima are found together: enough that each halving below is whole vectors. */
enum { GROUP = 16 };

/* Ranks sorted together, before runs of them are merged. */
enum { RUN = 64 };

/* ---- maxima ---- */

/* The higher one of each pair of neighbours: 2 n numbers to n. */
CLONED void halve(const float *restrict in, float *restrict out, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        out[i] = in[2 * i] > in[2 * i + 1] ? in[2 * i] : in[2 * i + 1];
}

/* Has the processor fetch a chunk that is looked at soon. */
CLONED void fetch_ahead(const float *logits)
{
    enum { CACHE_LINE = 64 / sizeof *logits };
    for (uint32_t i = 0; i < ROW_CHUNK; i += CACHE_LINE)
        __builtin_prefetch(logits + i);
}

/* The maxima of GROUP chunks. False when a logit is NaN or +inf. */
CLONED bool group_maxima(const float *logits, float *maxima)
{
    enum { N = GROUP * ROW_CHUNK };
    float a[N / 2], b[N / 4], c[N / 8], d[N / 16];
    uint32_t bad = 0;
    for (uint32_t i = 0; i < N; i++)
        bad |= !(logits[i] <= FLT_MAX);
    halve(logits, a, N / 2);
    halve(a, b, N / 4);
    halve(b, c, N / 8);
    halve(c, d, N / 16);
    halve(d, maxima, GROUP);
    return !bad;
}

/* The maxima of n_groups groups of chunks, one after the other. False when a logit is NaN or +inf. */
CLONES static bool find_maxima(const float *logits, uint32_t n_groups, float *maxima)
{
    bool finite = true;
    for (uint32_t g = 0; g < n_groups; g++, logits += GROUP * ROW_CHUNK, maxima += GROUP) {
        for (uint32_t c = 0; g + 2 < n_groups && c < GROUP; c++)
            fetch_ahead(logits + (2 * GROUP + c) * ROW_CHUNK);
        finite &= group_maxima(logits, maxima);
    }
    return finite;
}

/* The maximum of one chunk. False when a logit is NaN or +inf. */
CLONED bool chunk_maximum(const float *logits, float *maximum)
{
    float a[ROW_CHUNK / 2], b[ROW_CHUNK / 4], max = -INFINITY;
    uint32_t bad = 0;
    for (uint32_t i = 0; i < ROW_CHUNK; i++)
        bad |= !(logits[i] <= FLT_MAX);
    halve(logits, a, ROW_CHUNK / 2);
    halve(a, b, ROW_CHUNK / 4);
    for (uint32_t i = 0; i < ROW_CHUNK / 4; i++)
        max = b[i] > max ? b[i] : max;
    *maximum = max;
    return !bad;
}

/* Copies n maxima, a multiple of ROW_CHUNK. False when one is NaN. */
CLONES static bool copy_maxima(const float *restrict from, float *restrict to, uint32_t n)
{
    uint32_t bad = 0;
    for (const float *end = from + n; from < end; from += ROW_CHUNK, to += ROW_CHUNK) {
        for (uint32_t j = 0; j < ROW_CHUNK; j++)
            bad |= !(from[j] <= FLT_MAX);
        memcpy(to, from, ROW_CHUNK * sizeof *to);
    }
    return !bad;
}

/* The highest of n numbers, a multiple of ROW_CHUNK. */
CLONES static float highest(const float *numbers, uint32_t n)
{
    float lane[ROW_CHUNK], max;
    for (uint32_t j = 0; j < ROW_CHUNK; j++)
        lane[j] = -INFINITY;
    for (const float *end = numbers + n; numbers < end; numbers += ROW_CHUNK)
        for (uint32_t j = 0; j < ROW_CHUNK; j++)
            lane[j] = numbers[j] > lane[j] ? numbers[j] : lane[j];
    chunk_maximum(lane, &max);
    return max;
}

/* How many of n numbers, a multiple of ROW_CHUNK, are at least t. */
CLONES static uint32_t count_from(const float *numbers, uint32_t n, float t)
{
    uint32_t lane[ROW_CHUNK] = {0}, count = 0;
    for (const float *end = numbers + n; numbers < end; numbers += ROW_CHUNK)
        for (uint32_t j = 0; j < ROW_CHUNK; j++)
            lane[j] += numbers[j] >= t;
    for (uint32_t j = 0; j < ROW_CHUNK; j++)
        count += lane[j];
    return count;
}

/* Which of a chunk's numbers are at least t: bit i says it of the i-th. */
CLONES static uint32_t lanes_from(const float *numbers, float t)
{
    uint32_t lanes = 0;
    for (uint32_t i = 0; i < ROW_CHUNK; i++)
        lanes |= (uint32_t)(numbers[i] >= t) << i;
    return lanes;
}

/* ---- the row ---- */

static uint32_t whole(uint32_t n)
{
    return (n + ROW_CHUNK - 1) / ROW_CHUNK * ROW_CHUNK;
}

enum weft_rc row_init(struct row *r, uint32_t n_vocab, uint32_t max_changed, struct weft_err *err)
{
    uint32_t n_chunks = (uint32_t)(((uint64_t)n_vocab + ROW_CHUNK - 1) / ROW_CHUNK);
    *r = (struct row){.n_vocab = n_vocab, .n_chunks = n_chunks};
    r->cap_patches = (max_changed < n_chunks ? max_changed : n_chunks - 1) + 1; /* and the last chunk */
    r->maxima = mem_calloc(whole(n_chunks), sizeof *r->maxima);
    r->patch_of = mem_calloc(n_chunks, sizeof *r->patch_of);
    r->patches = mem_alloc(r->cap_patches * sizeof *r->patches);
    r->picked = mem_alloc(n_chunks * sizeof *r->picked);
    if (!r->maxima || !r->patch_of || !r->patches || !r->picked) {
        row_deinit(r);
        return weft_err_nomem(err, "row_init", r->cap_patches * sizeof *r->patches);
    }
    for (uint32_t c = n_chunks; c < whole(n_chunks); c++)
        r->maxima[c] = -INFINITY;
    return WEFT_OK;
}

void row_deinit(struct row *r)
{
    mem_free(r->maxima);
    mem_free(r->patch_of);
    mem_free(r->patches);
    mem_free(r->picked);
    *r = (struct row){0};
}

struct row_patch *row_patch(struct row *r, uint32_t chunk)
{
    if (r->patch_of[chunk])
        return &r->patches[r->patch_of[chunk] - 1];
    struct row_patch *p = &r->patches[r->n_patches];
    const float *from = r->logits + (size_t)chunk * ROW_CHUNK;
    if (chunk < r->n_vocab / ROW_CHUNK) {
        memcpy(p->logits, from, sizeof p->logits);
    } else {
        const uint32_t n = r->n_vocab % ROW_CHUNK;
        memcpy(p->logits, from, n * sizeof *p->logits);
        for (uint32_t i = n; i < ROW_CHUNK; i++)
            p->logits[i] = -INFINITY;
    }
    memset(p->seen, 0, sizeof p->seen);
    p->chunk = chunk;
    r->patch_of[chunk] = ++r->n_patches;
    return p;
}

/* Notes the highest logit. False when there is none above -inf. */
static bool find_highest(struct row *r)
{
    r->highest = highest(r->maxima, whole(r->n_chunks));
    return r->highest >= -FLT_MAX;
}

bool row_repair(struct row *r)
{
    bool finite = true;
    for (uint32_t i = 0; i < r->n_patches; i++)
        finite &= chunk_maximum(r->patches[i].logits, &r->maxima[r->patches[i].chunk]);
    return finite && find_highest(r);
}

bool row_open(struct row *r, const float *logits, const float *maxima)
{
    for (uint32_t i = 0; i < r->n_patches; i++)
        r->patch_of[r->patches[i].chunk] = 0;
    r->n_patches = 0;
    r->logits = logits;

    /* The vector loops take whole groups; the rest follows chunk by chunk, of which the cut off one is a patch. */
    uint32_t n_full = r->n_vocab / ROW_CHUNK, done;
    bool finite;
    if (maxima) {
        done = n_full / ROW_CHUNK * ROW_CHUNK;
        finite = copy_maxima(maxima, r->maxima, done);
    } else {
        done = n_full / GROUP * GROUP;
        finite = find_maxima(logits, n_full / GROUP, r->maxima);
    }
    for (uint32_t c = done; c < n_full; c++)
        finite &= chunk_maximum(logits + (size_t)c * ROW_CHUNK, &r->maxima[c]);
    if (n_full < r->n_chunks)
        finite &= chunk_maximum(row_patch(r, n_full)->logits, &r->maxima[n_full]);
    return finite && find_highest(r);
}

uint32_t row_best(const struct row *r)
{
    uint32_t c = 0, best = 0;
    while (r->maxima[c] != r->highest)
        c++;
    const float *logits = row_chunk(r, c);
    for (uint32_t i = 1; i < ROW_CHUNK; i++)
        best = logits[i] > logits[best] ? i : best;
    return c * ROW_CHUNK + best;
}

/* ---- ranks ---- */

/* Floats in their order as unsigned numbers: those below zero have all bits turned, the others only the first. */
static uint32_t ordered(float v)
{
    uint32_t bits;
    v += 0.0F; /* -0 equals 0, so it must not rank below it */
    memcpy(&bits, &v, sizeof bits);
    return bits ^ (bits >> 31 ? 0xffffffffU : 0x80000000U);
}

static row_rank rank_of(float logit, uint32_t id)
{
    return (uint64_t)ordered(logit) << 32 | ~id;
}

uint32_t row_rank_id(row_rank rank)
{
    return ~(uint32_t)rank;
}

float row_rank_logit(row_rank rank)
{
    uint32_t bits = (uint32_t)(rank >> 32);
    float v;
    bits ^= bits >> 31 ? 0x80000000U : 0xffffffffU;
    memcpy(&v, &bits, sizeof v);
    return v;
}

/* Merges two descending runs that lie one after the other, a and b in all. No branch depends on the ranks but the
 * loop's end, because which run is next can't be foretold. */
static void merge(const row_rank *runs, uint32_t a, uint32_t b, row_rank *out)
{
    const row_rank *left = runs, *right = runs + a, *left_end = right, *right_end = right + b;
    while (left < left_end && right < right_end) {
        uint32_t from_right = *right > *left;
        *out++ = from_right ? *right : *left;
        right += from_right;
        left += !from_right;
    }
    memcpy(out, left, (size_t)(left_end - left) * sizeof *out);
    out += left_end - left;
    memcpy(out, right, (size_t)(right_end - right) * sizeof *out);
}

/* Sorts up to RUN ranks, the highest first: each goes to the place that as many precede as are greater. Quadratic, but in
 * vector instructions and without a branch. */
CLONES static void sort_run(const row_rank *in, uint32_t n, row_rank *out)
{
    row_rank v[RUN] = {0}; /* less than any */
    memcpy(v, in, n * sizeof *v);
    for (uint32_t i = 0; i < n; i++) {
        uint64_t greater = 0;
        for (uint32_t j = 0; j < RUN; j++)
            greater += v[j] > v[i];
        out[greater] = v[i];
    }
}

/* Sorts n ranks, the highest first: runs, then merged two by two between v and spare. */
static void sort_ranks(row_rank *v, uint32_t n, row_rank *spare)
{
    row_rank *from = spare, *to = v;
    for (uint32_t i = 0; i < n; i += RUN)
        sort_run(v + i, n - i < RUN ? n - i : RUN, spare + i);
    for (uint32_t run = RUN; run < n; run *= 2) {
        for (uint32_t i = 0; i < n; i += 2 * run) {
            uint32_t a = n - i < run ? n - i : run;
            uint32_t b = n - i - a < run ? n - i - a : run;
            merge(from + i, a, b, to + i);
        }
        row_rank *t = from;
        from = to;
        to = t;
    }
    if (from != v)
        memcpy(v, from, (size_t)n * sizeof *v);
}

/* A number that at least k of the maxima reach, and not many more: so at least k logits reach it too. -inf when there
 * aren't that many chunks. */
static float find_bar(const struct row *r, uint32_t k)
{
    enum { TRIES = 24 }; /* ends the search where many are equal */
    const uint32_t n = whole(r->n_chunks), enough = k + k / 4;
    if (k >= r->n_chunks)
        return -INFINITY;
    float above = r->highest, bar = -INFINITY, step = 1;
    for (int i = 0; i < TRIES; i++) {
        float t = bar > -INFINITY ? bar + (above - bar) / 2 : above - step;
        uint32_t count = count_from(r->maxima, n, t);
        if (count >= k)
            bar = t;
        else
            above = t;
        if (count >= k && count <= enough)
            break;
        step *= 2;
    }
    return bar;
}

uint32_t row_top_room(uint32_t n_vocab, uint32_t k)
{
    uint64_t twice = 2 * (uint64_t)k;
    return (uint32_t)((twice < n_vocab ? twice : whole(n_vocab)) + ROW_CHUNK);
}

/* Lists the chunks with a logit of at least `bar`; returns how many. Without a branch, which couldn't be foretold. */
static uint32_t pick_chunks(struct row *r, float bar)
{
    uint32_t n = 0;
    for (uint32_t c = 0; c < r->n_chunks; c++) {
        r->picked[n] = c;
        n += r->maxima[c] >= bar;
    }
    return n;
}

void row_top(struct row *r, uint32_t k, row_rank *top, row_rank *spare)
{
    enum { AHEAD = 12 };
    const uint32_t most = row_top_room(r->n_vocab, k) - ROW_CHUNK;
    float bar = find_bar(r, k);
    row_rank least = rank_of(bar, UINT32_MAX);
    const uint32_t n_picked = pick_chunks(r, bar);
    uint32_t n = 0;
    for (uint32_t p = 0; p < n_picked; p++) {
        const uint32_t c = r->picked[p];
        const float *logits = row_chunk(r, c);
        if (p + AHEAD < n_picked)
            fetch_ahead(row_chunk(r, r->picked[p + AHEAD]));
        for (uint32_t lanes = lanes_from(logits, bar); lanes; lanes &= lanes - 1) {
            const uint32_t i = (uint32_t)__builtin_ctz(lanes);
            top[n] = rank_of(logits[i], c * ROW_CHUNK + i);
            n += top[n] >= least;
        }
        if (n > most) { /* only those that rank higher than the k found may still come in */
            sort_ranks(top, n, spare);
            n = k;
            least = top[k - 1];
            bar = row_rank_logit(least);
        }
    }
    sort_ranks(top, n, spare);
}
