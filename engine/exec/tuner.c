#include "engine/exec/tuner.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/embed.h"
#include "engine/base/hash.h"
#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "engine/exec/kernel_cache.h"
#include "engine/exec/trial.h"

enum {
    SLICE_NS = 5000000,
    LAUNCH_NS = 1500000, /* how long a launch should take: so much of a matrix is used */
    FIRST_PAIRS = 4,     /* of rows, for each core, to begin with */
    /* Rounds of a cell, each with all variants: */
    SIZING = 2,   /* to learn how long a launch takes */
    CHECKING = 2, /* bits are compared in these and the sizing ones */
    JUDGING = 15, /* times count */
    WINS = 12     /* rounds in which a variant must beat the first one's launch to be taken */
};

struct tuner {
    struct forward *f;
    const struct crew *crew;
    const char *cache_dir;
    char name[32]; /* of the file */
    uint32_t max_tokens, max_rows;
    uint8_t variants[TILES_VARIANTS_MAX];
    unsigned n_variants;
    bool sound[TILES_VARIANTS_MAX];
    struct tiles found;
    int64_t spent_ns;
    struct trial trial; /* from the first slice on */
    uint32_t n_launches;
    /* The cell that is being measured, a product and a band; where in it; and what it gave so far. */
    enum product product;
    unsigned band, round, variant;
    uint32_t n_groups; /* of the matrix that are used */
    int64_t rule_ns;   /* the first variant's launch of this round */
    int64_t best_ns[TILES_VARIANTS_MAX];
    unsigned wins[TILES_VARIANTS_MAX];
};

/* How many tokens stand for a band in a product; 0: it has none so many. */
static uint32_t tokens_of(const struct tuner *t, enum product product, unsigned band)
{
    const uint32_t limit = product == PRODUCT_LOGITS ? t->max_rows : t->max_tokens;
    const uint32_t most = tiles_band_tokens(band), below = band ? tiles_band_tokens(band - 1) : 0;
    return limit <= below ? 0 : limit < most ? limit : most;
}

static uint32_t most_tokens(const struct tuner *t)
{
    const uint32_t most = t->max_tokens > t->max_rows ? t->max_tokens : t->max_rows;
    const uint32_t last = tiles_band_tokens(TILES_BANDS - 1);
    return most < last ? most : last;
}

static void file_name(struct tuner *t)
{
    const struct ops *ops = t->f->ops;
    const struct ocl *o = ops->o;
    const char *words[] = {o->info.platform, o->platform_version, o->info.name, o->info.version,
                           o->info.driver};
    const uint32_t numbers[] = {
        o->info.compute_units, ops->shape.precision, ops->shape.dot, t->f->w->n_layer, t->crew->n,
        t->max_tokens,         t->max_rows};
    uint64_t h = fnv1a64(FNV1A64_INIT, numbers, sizeof numbers);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        h = fnv1a64(h, words[i], strlen(words[i]) + 1);
    for (const struct weft_embedded *k = weft_embedded_kernels; k->name; k++)
        h = fnv1a64(h, k->data, k->size);
    for (unsigned p = 0; p < PRODUCTS; p++) {
        const struct matrix *m = trial_matrix(t->f, (enum product)p, 0);
        const uint32_t shape[] = {(uint32_t)m->type, m->n_groups, m->n_blocks};
        h = fnv1a64(h, shape, sizeof shape);
    }
    snprintf(t->name, sizeof t->name, "%016" PRIx64 ".tune", mix64(h));
}

struct tuner *tuner_create(struct forward *f, const struct crew *crew, const struct batch_limits *limits,
                           const char *cache_dir, int dir_fd)
{
    uint8_t variants[TILES_VARIANTS_MAX];
    char text[160];
    if (tiles_variants(f->ops->shape.precision, f->ops->shape.dot, variants) < 2)
        return NULL;
    struct tuner *t = mem_calloc(1, sizeof *t);
    if (!t)
        return NULL;
    *t = (struct tuner){.f = f,
                        .crew = crew,
                        .cache_dir = cache_dir,
                        .max_tokens = limits->max_tokens,
                        .max_rows = limits->max_logits};
    t->n_variants = tiles_variants(f->ops->shape.precision, f->ops->shape.dot, t->variants);
    for (unsigned v = 0; v < t->n_variants; v++)
        t->sound[v] = true;
    file_name(t);
    if (dir_fd < 0 || !tiles_load(dir_fd, t->name, t->variants, t->n_variants, &f->tiles))
        return t;
    tiles_describe(&f->tiles, text, sizeof text);
    log_msg(LOG_INFO, "tiles, as measured earlier: %s", text);
    mem_free(t);
    return NULL;
}

/* ---- the order of launches ---- */

static bool judging(const struct tuner *t)
{
    return t->round >= SIZING + CHECKING;
}

static void begin_cell(struct tuner *t)
{
    t->n_groups = trial_groups(&t->trial, t->product, tokens_of(t, t->product, t->band),
                               2 * FIRST_PAIRS * (int64_t)t->f->o->info.compute_units);
    t->round = t->variant = 0;
    memset(t->best_ns, 0, sizeof t->best_ns);
    memset(t->wins, 0, sizeof t->wins);
}

static void end_cell(struct tuner *t)
{
    bool steady[TILES_VARIANTS_MAX];
    char times[96] = "";
    size_t len = 0;
    for (unsigned v = 0; v < t->n_variants; v++) {
        steady[v] = t->sound[v] && t->wins[v] >= WINS;
        if (len < sizeof times)
            len += (size_t)snprintf(times + len, sizeof times - len, " %u: %.0f µs", t->variants[v],
                                    (double)t->best_ns[v] / 1e3);
    }
    const uint8_t chosen = t->variants[tiles_choose(t->best_ns, steady, t->n_variants)];
    t->found.of[t->product][t->band] = chosen;
    log_msg(LOG_DEBUG, "tiles for %s, %u tokens: %u of%s", tiles_product_name(t->product),
            tokens_of(t, t->product, t->band), chosen, times);
}

/* To the next cell that has tokens; false: that was all. */
static bool next_cell(struct tuner *t)
{
    do {
        t->band = (t->band + 1) % TILES_BANDS;
        t->product += t->band == 0;
    } while (t->product < PRODUCTS && !tokens_of(t, t->product, t->band));
    if (t->product < PRODUCTS)
        begin_cell(t);
    return t->product < PRODUCTS;
}

/* To the next variant, round or cell; false: that was all. */
static bool next(struct tuner *t)
{
    if (++t->variant < t->n_variants)
        return true;
    t->variant = 0;
    t->round++;
    if (t->round == SIZING)
        t->n_groups = trial_groups(&t->trial, t->product, tokens_of(t, t->product, t->band),
                                   t->n_groups * (int64_t)LAUNCH_NS / (t->best_ns[0] ? t->best_ns[0] : 1));
    if (t->round == SIZING + CHECKING) /* a small part's times, and those of cleared memory, don't count */
        memset(t->best_ns, 0, sizeof t->best_ns);
    if (t->round < SIZING + CHECKING + JUDGING)
        return true;
    end_cell(t);
    return next_cell(t);
}

/* One launch. In judging rounds each takes the next layer's matrix, as a pass does: otherwise the first variant would fetch it
 * into the caches for the others. */
static enum weft_rc measure(struct tuner *t, struct weft_err *err)
{
    const unsigned v = t->variant;
    const struct trial_run run = {.product = t->product,
                                  .layer = (judging(t) ? t->n_launches++ : t->round) % t->f->w->n_layer,
                                  .n_groups = t->n_groups,
                                  .n_tokens = tokens_of(t, t->product, t->band),
                                  .tiles = t->variants[v]};
    int64_t took = 0;
    bool same = true;
    enum weft_rc rc = judging(t) ? trial_time(&t->trial, &run, &took, err)
                                 : trial_compare(&t->trial, &run, v == 0, &same, &took, err);
    if (!same) {
        t->sound[v] = false;
        log_msg(LOG_WARN, "tiles %u for %s, %u tokens, don't give the bits of the others here: never used",
                t->variants[v], tiles_product_name(t->product), run.n_tokens);
    }
    t->rule_ns = v ? t->rule_ns : took;
    t->wins[v] += judging(t) && tiles_faster(took, t->rule_ns);
    t->best_ns[v] = t->best_ns[v] && t->best_ns[v] < took ? t->best_ns[v] : took;
    return rc;
}

/* What was found is used from now on and, if there is a cache, from the next start's beginning. */
static void finish(struct tuner *t)
{
    char text[160];
    uint8_t sound[TILES_VARIANTS_MAX];
    unsigned n = 0;
    for (unsigned v = 0; v < t->n_variants; v++)
        if (t->sound[v])
            sound[n++] = t->variants[v];
    tiles_restrict(&t->found, sound, n); /* one may have been chosen before it was found wanting */
    t->f->tiles = t->found;
    tiles_describe(&t->found, text, sizeof text);
    log_msg(LOG_INFO, "tiles, measured in %.0f ms: %s", (double)t->spent_ns / 1e6, text);
    const int dir_fd = t->cache_dir ? kernel_cache_open(t->cache_dir) : -1;
    if (dir_fd < 0)
        return;
    tiles_store(dir_fd, t->name, &t->found);
    close(dir_fd);
}

bool tuner_slice(struct tuner *t)
{
    const int64_t start = clock_now_ns();
    struct weft_err err = {0};
    bool more = true;
    enum weft_rc rc = WEFT_OK;
    if (!t->trial.f) {
        rc = trial_init(t->f, t->crew, most_tokens(t), &t->trial, &err);
        if (!rc)
            begin_cell(t);
    }
    for (int64_t now = start, last = 0; !rc && more && now + last < start + SLICE_NS;) {
        if (t->sound[t->variant])
            rc = measure(t, &err);
        more = !rc && next(t);
        last = clock_now_ns() - now;
        now += last;
    }
    t->spent_ns += clock_now_ns() - start;
    if (rc) {
        ocl_finish(t->f->o, NULL);
        log_msg(LOG_WARN, "tiles aren't measured: %s", err.message);
    } else if (!more) {
        finish(t);
    }
    return !rc && more;
}

void tuner_destroy(struct tuner *t)
{
    if (!t)
        return;
    trial_deinit(&t->trial);
    mem_free(t);
}
