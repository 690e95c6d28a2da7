/*
 * The KV map: who owns which block. A cell is a block where there is room, else it stands for a run of
 * equally many and shows what most of them are (whatever is in use before what is free).
 */
#include <stdio.h>
#include <string.h>

#include "ui/format.h"
#include "ui/view.h"

enum { LEGEND_MIN_H = 4, CANDIDATES = 8 };

/* How a kind of block is drawn; USED takes its session's sign and colour. */
static const struct {
    enum glyph glyph;
    uint8_t role;
    const char *name;
} kinds[] = {
    [SNAP_BLOCK_FREE] = {GLYPH_FREE, ROLE_KV_FREE, "free"},
    [SNAP_BLOCK_USED] = {GLYPH_FULL, ROLE_TEXT, "used"},
    [SNAP_BLOCK_SHARED] = {GLYPH_SHADE_DARK, ROLE_KV_SHARED, "shared"},
    [SNAP_BLOCK_CACHED] = {GLYPH_SHADE_LIGHT, ROLE_KV_CACHED, "cached"},
};
enum { N_KINDS = sizeof kinds / sizeof kinds[0] };

/* The most frequent of blocks [from, to). Counts a few candidates exactly; a run is short, and of few owners.
 */
static struct snap_block majority(const struct snap_block *b, uint32_t from, uint32_t to)
{
    struct snap_block seen[CANDIDATES];
    uint32_t count[CANDIDATES];
    int n = 0;
    for (uint32_t i = from; i < to; i++) {
        int k = 0;
        while (k < n &&
               (seen[k].kind != b[i].kind || (b[i].kind == SNAP_BLOCK_USED && seen[k].tag != b[i].tag)))
            k++;
        if (k == n) {
            if (n == CANDIDATES)
                continue;
            seen[n] = b[i];
            count[n++] = 0;
        }
        count[k]++;
    }
    int best = 0;
    for (int k = 1; k < n; k++) {
        bool best_free = seen[best].kind == SNAP_BLOCK_FREE, free = seen[k].kind == SNAP_BLOCK_FREE;
        if (best_free ? !free : !free && count[k] > count[best])
            best = k;
    }
    return seen[best];
}

static void draw_block(struct grid *g, int x, int y, const struct snap_block *b)
{
    if (b->kind == SNAP_BLOCK_USED)
        grid_putc(g, x, y, (uint32_t)theme_session_char(b->tag), theme_session_role(b->tag));
    else if (b->kind < N_KINDS)
        grid_puts(g, x, y, kinds[b->kind].role, glyph(g, kinds[b->kind].glyph));
}

/* "░ cached 33" at x; returns where the next item goes, or `end` when this one doesn't fit. */
static int legend_item(struct grid *g, int x, int y, int end, enum snap_block_kind kind, uint32_t n)
{
    char text[2 * FORMAT_MAX];
    snprintf(text, sizeof text, "%s %u", kinds[kind].name, (unsigned)n);
    if (x + 2 + (int)strlen(text) > end)
        return end;
    x = grid_puts(g, x, y, kinds[kind].role, glyph(g, kinds[kind].glyph));
    return grid_puts(g, x + 1, y, ROLE_DIM, text) + 2;
}

static uint32_t count_shared(const struct snapshot *s)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->kv_total; i++)
        n += s->blocks[i].kind == SNAP_BLOCK_SHARED;
    return n;
}

static void draw_legend(const struct snapshot *s, struct grid *g, struct rect row, uint32_t per_cell)
{
    int x = row.x, y = row.y, end = row.x + row.w;
    char text[2 * FORMAT_MAX] = "";
    if (s->kv_parked) /* in host memory, so in no cell of the map */
        snprintf(text, sizeof text, "parked %u", (unsigned)s->kv_parked);
    else if (per_cell > 1)
        snprintf(text, sizeof text, "1 = %u blocks", (unsigned)per_cell);
    int room = s->kv_parked ? end - (int)strlen(text) : end; /* what is parked comes before what is free */
    x = legend_item(g, x, y, room, SNAP_BLOCK_SHARED, count_shared(s));
    x = legend_item(g, x, y, room, SNAP_BLOCK_CACHED, s->kv_cached);
    x = legend_item(g, x, y, room, SNAP_BLOCK_FREE, s->kv_free);
    if (*text && (s->kv_parked || x + (int)strlen(text) <= end))
        grid_right(g, row.x, end, y, ROLE_DIM, text);
}

static void draw(const struct view *v, struct grid *g, struct rect body)
{
    const struct snapshot *s = v->snap;
    if (!s->kv_total || !s->blocks || s->cap_blocks < s->kv_total) {
        grid_puts(g, body.x, body.y, ROLE_DIM, "no blocks yet");
        return;
    }
    struct rect map = body;
    bool legend = body.h >= LEGEND_MIN_H;
    map.h -= legend;
    uint32_t cells = (uint32_t)(map.w * map.h);
    uint32_t per_cell = (s->kv_total + cells - 1) / cells;
    uint32_t cell = 0;
    for (uint32_t from = 0; from < s->kv_total; from += per_cell, cell++) {
        uint32_t to = from + per_cell < s->kv_total ? from + per_cell : s->kv_total;
        struct snap_block b = per_cell > 1 ? majority(s->blocks, from, to) : s->blocks[from];
        draw_block(g, map.x + (int)(cell % (uint32_t)map.w), map.y + (int)(cell / (uint32_t)map.w), &b);
    }
    if (legend)
        draw_legend(s, g, (struct rect){body.x, body.y + body.h - 1, body.w, 1}, per_cell);
}

static void summary(const struct view *v, char *out, size_t size)
{
    snprintf(out, size, "%u/%u", (unsigned)v->snap->kv_used, (unsigned)v->snap->kv_total);
}

const struct pane pane_kv = {PANE_KV, "KV", 8, 1, summary, draw};
