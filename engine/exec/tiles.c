#include "engine/exec/tiles.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/buf.h"
#include "engine/base/hash.h"
#include "engine/base/log.h"
#include "engine/exec/kernel_cache.h"

enum {
    FIRST_BAND = 8,
    WORTH_PERCENT = 3, /* less may be noise */
    FILE_MAX = 1024
};

static const char *const names[PRODUCTS] = {
    [PRODUCT_QKV] = "qkv",   [PRODUCT_OUT] = "out",       [PRODUCT_FF] = "ff",
    [PRODUCT_DOWN] = "down", [PRODUCT_LOGITS] = "logits",
};

const char *tiles_product_name(enum product p)
{
    return names[p];
}

uint32_t tiles_band_tokens(unsigned band)
{
    return (uint32_t)FIRST_BAND << band;
}

uint8_t tiles_for(const struct tiles *t, enum product p, uint32_t n)
{
    unsigned band = 0;
    while (band + 1 < TILES_BANDS && n > tiles_band_tokens(band))
        band++;
    return t->of[p][band];
}

uint32_t tiles_pack(const struct tiles *t, uint32_t n_tokens, uint32_t n_rows)
{
    uint32_t packed = 0;
    for (unsigned p = 0; p < PRODUCTS; p++)
        packed |= (uint32_t)tiles_for(t, (enum product)p, p == PRODUCT_LOGITS ? n_rows : n_tokens)
                  << TILES_BITS * p;
    return packed;
}

unsigned tiles_variants(enum precision precision, enum dot_path dot, uint8_t out[TILES_VARIANTS_MAX])
{
    static const uint8_t all[TILES_VARIANTS_MAX] = {TILES_RULE, TILES_SHORT, TILES_AMX, TILES_NO_AMX,
                                                    TILES_NO_AMX | TILES_SHORT};
    const unsigned n = precision == PRECISION_BF16                     ? (dot == DOT_AMX ? 2 : 1)
                       : precision == PRECISION_INT8 && dot == DOT_AMX ? TILES_VARIANTS_MAX
                                                                       : 2;
    memcpy(out, all, n);
    return n;
}

bool tiles_faster(int64_t time, int64_t than)
{
    return time > 0 && time * 100 <= than * (100 - WORTH_PERCENT);
}

unsigned tiles_choose(const int64_t *times, const bool *may, unsigned n)
{
    unsigned best = 0;
    for (unsigned i = 1; i < n; i++)
        if (may[i] && tiles_faster(times[i], times[0]) && (!best || times[i] < times[best]))
            best = i;
    return best;
}

void tiles_restrict(struct tiles *t, const uint8_t *variants, unsigned n)
{
    for (unsigned p = 0; p < PRODUCTS; p++)
        for (unsigned b = 0; b < TILES_BANDS; b++)
            if (!memchr(variants, t->of[p][b], n))
                t->of[p][b] = TILES_RULE;
}

/* ---- the file ---- */

static const char title[] = "weft tiles 1\n";

static void add_line(struct buf *text, const struct tiles *t, unsigned p)
{
    buf_adds(text, names[p]);
    for (unsigned c = 0; c < TILES_BANDS; c++)
        buf_addf(text, " %u", t->of[p][c]);
}

/* A line a product, and the sum of all that stands before it. */
static void format(const struct tiles *t, struct buf *text)
{
    buf_adds(text, title);
    for (unsigned p = 0; p < PRODUCTS; p++) {
        add_line(text, t, p);
        buf_addc(text, '\n');
    }
    buf_addf(text, "sum %016" PRIx64 "\n", fnv1a64(FNV1A64_INIT, buf_str(text), text->len));
}

/* The values, where they stand; whether the rest is as it should be, format says. */
static bool parse(const char *p, struct tiles *out)
{
    if (strncmp(p, title, sizeof title - 1) != 0)
        return false;
    p += sizeof title - 1;
    for (unsigned i = 0; i < PRODUCTS; i++) {
        const size_t n = strlen(names[i]);
        if (strncmp(p, names[i], n) != 0)
            return false;
        p += n;
        for (unsigned c = 0; c < TILES_BANDS; c++, p += 2) {
            if (p[0] != ' ' || p[1] < '0' || p[1] > '7')
                return false;
            out->of[i][c] = (uint8_t)(p[1] - '0');
        }
        if (*p++ != '\n')
            return false;
    }
    return true;
}

bool tiles_load(int dir_fd, const char *name, const uint8_t *variants, unsigned n, struct tiles *out)
{
    struct buf text = BUF_INIT, again = BUF_INIT;
    struct tiles t = {0};
    bool good = kernel_cache_get(dir_fd, name, FILE_MAX, &text);
    if (good) {
        good = parse(buf_str(&text), &t);
        tiles_restrict(&t, variants, n); /* a foreign value becomes another's, and the sums differ */
        format(&t, &again);
        good = good && !again.failed && again.len == text.len && memcmp(again.data, text.data, text.len) == 0;
        if (!good)
            log_msg(LOG_WARN, "kernel cache: %s is damaged; tiles will be measured anew", name);
    }
    if (good)
        *out = t;
    buf_free(&text);
    buf_free(&again);
    return good;
}

bool tiles_store(int dir_fd, const char *name, const struct tiles *t)
{
    struct buf text = BUF_INIT;
    format(t, &text);
    const bool good = !text.failed && kernel_cache_put(dir_fd, name, text.data, text.len);
    if (!good)
        log_msg(LOG_WARN, "kernel cache: %s wasn't written: %s", name, strerror(errno));
    buf_free(&text);
    return good;
}

void tiles_describe(const struct tiles *t, char *out, size_t size)
{
    struct buf text = BUF_INIT;
    for (unsigned p = 0; p < PRODUCTS; p++) {
        buf_adds(&text, p ? ", " : "");
        add_line(&text, t, p);
    }
    snprintf(out, size, "%s", buf_str(&text));
    buf_free(&text);
}
