#include "tests/support/ui_scene.h"

#include <fcntl.h>
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/base/hash.h"
#include "engine/base/utf8.h"

static const char poem[] =
    "The loom hums low, a patient drone,\nand every thread that's thrown\ncrosses another, never its own,\n"
    "till what was many is one cloth, sewn.";

static const char plan[] =
    "## Day 1\n\nStart at the **river**, where the trams turn, and walk uphill while it is cool:\n\n"
    "- *Alfama* before ten, when its lanes are still empty\n- the cathedral, then coffee at a kiosk\n"
    "- tram `28E` back down, standing at the rear\n\n## Day 2\n\n"
    "Take the train to Sintra early. Buy the ticket at the machine:\n\n```sh\nlisboa --zone 4 --return \\\n  "
    "  --date tomorrow\n```\n\n"
    "1. Castle first, it fills up\n2. Lunch in the old town\n3. The gardens last; **bring water**\n\n"
    "> The palace is closed on Wednesdays.\n\nOn the third day do nothing at all: 日本語 works too, and so "
    "do 🚋 and café.";

static size_t add(struct transcript *t, enum message_kind kind, const char *text)
{
    size_t i = transcript_add(t, kind, text, strlen(text));
    assert_true(i != SIZE_MAX);
    return i;
}

static void build_sessions(struct scene *s)
{
    static const struct view_session made[SCENE_SESSIONS] = {
        {.number = 1, .title = "poet", .prio = PRIO_NORMAL, .busy = true},
        {.number = 2, .title = "planner", .prio = PRIO_HIGH, .busy = true},
        {.number = 3, .title = "digest of the week's reports", .prio = PRIO_LOW, .busy = true},
        {.number = 4, .title = "coder", .prio = PRIO_NORMAL, .busy = true, .n_queued = 1},
        {.number = 5, .title = "翻訳 translator", .prio = PRIO_NORMAL, .unread = true},
        {.number = 6, .title = "", .prio = PRIO_NORMAL, .failed = true},
    };
    memcpy(s->sessions, made, sizeof made);
    for (int i = 0; i < SCENE_SESSIONS; i++) {
        s->sessions[i].transcript = transcript_create();
        assert_non_null(s->sessions[i].transcript);
        s->sessions[i].last_tps = s->sessions[i].last_ttft_ms = -1;
    }
    struct transcript *t = s->sessions[1].transcript;
    add(t, MSG_NOTE, "SmolLM2-135M-Instruct on pocl. Enter sends, F1 helps.");
    add(t, MSG_USER, "Write four lines about a loom.");
    size_t i = add(t, MSG_ASSISTANT, poem);
    transcript_end(t, i,
                   &(struct reply_stats){
                       .ttft_ms = 96, .tps = 43.7, .queue_ms = 1204, .tokens = 41, .cached_tokens = 32});
    add(t, MSG_USER, "Plan three days in Lisbon.");
    add(t, MSG_ASSISTANT, plan);
}

static struct snap_request request(uint32_t tag, enum prio base, enum req_state state)
{
    struct snap_request r = {
        .tag = tag, .arrival = tag, .base = base, .effective = base, .state = state, .ttft_us = -1};
    snprintf(r.id, sizeof r.id, "s%u-1", (unsigned)tag);
    r.n_prompt = 100 + 40 * tag;
    r.max_tokens = 2048;
    return r;
}

static void build_requests(struct snapshot *s)
{
    static const struct {
        uint32_t tag;
        enum prio base;
        double tps;
        uint32_t generated;
    } running[] = {{2, PRIO_HIGH, 41.3, 318}, {1, PRIO_NORMAL, 38.1, 97}, {7, PRIO_LOW, 37.9, 12}};
    for (size_t i = 0; i < 3; i++) {
        struct snap_request r = request(running[i].tag, running[i].base, REQ_RUNNING);
        r.tps = running[i].tps;
        r.n_generated = running[i].generated;
        r.n_computed = r.n_prompt + r.n_generated;
        r.ttft_us = 82000;
        s->running[s->n_running++] = r;
    }
    struct snap_request prefilling = request(4, PRIO_NORMAL, REQ_PREFILLING);
    prefilling.n_computed = 143;
    s->running[s->n_running++] = prefilling;

    static const struct {
        uint32_t tag;
        enum prio base;
        double waited_s;
        enum wait_reason why;
    } waiting[] = {{8, PRIO_CRITICAL, 0.1, WAIT_SLOTS}, {9, PRIO_NORMAL, 12.4, WAIT_BLOCKS},
                   {3, PRIO_LOW, 16.1, WAIT_BLOCKS},    {10, PRIO_LOW, 9.2, WAIT_BLOCKS},
                   {11, PRIO_LOW, 4.0, WAIT_PREFIX},    {0, PRIO_LOW, 1.3, WAIT_SLOTS}};
    for (size_t i = 0; i < 6; i++) {
        struct snap_request r = request(waiting[i].tag, waiting[i].base, REQ_WAITING);
        r.waited_us = (int64_t)(waiting[i].waited_s * 1e6);
        r.effective = (double)r.base - waiting[i].waited_s * 0.1;
        r.wait_reason = waiting[i].why;
        if (r.tag == 0)
            snprintf(r.id, sizeof r.id, "batch-17");
        s->queue[s->n_queue++] = r;
    }
    s->queue_total = s->n_queue;
    s->queue_depth = s->n_queue;
    for (uint32_t i = 0; i < s->n_queue; i++)
        s->waiting_by_reason[s->queue[i].wait_reason]++;
}

/* Sequences that come and go in eight slots: a few chunks of prefill each, then decodes. */
static void build_steps(struct snapshot *s)
{
    enum { SLOTS = 8 };
    struct rng rng;
    rng_seed(&rng, 20);
    uint32_t tag[SLOTS] = {0}, prefill[SLOTS] = {0}, left[SLOTS] = {0};
    for (int i = 0; i < SNAP_STEPS; i++) {
        struct snap_step *step = &s->step_ring[i];
        step->step = 17949 + (uint64_t)i;
        step->start_us = i * 22000;
        step->budget = 256;
        for (int slot = 0; slot < SLOTS; slot++) {
            if (left[slot] == 0 && rng_below(&rng, 12) == 0) {
                tag[slot] = 1 + (uint32_t)rng_below(&rng, 9);
                prefill[slot] = 1 + (uint32_t)rng_below(&rng, 5);
                left[slot] = prefill[slot] + 10 + (uint32_t)rng_below(&rng, 60);
            }
            if (left[slot] == 0)
                continue;
            bool chunk = prefill[slot] > 0;
            struct snap_step_item *item = &step->items[step->n_items++];
            *item = (struct snap_step_item){tag[slot], tag[slot], chunk ? 64 : 1, (uint8_t)slot, chunk};
            step->n_prefill_tokens += chunk ? 64 : 0;
            step->n_decodes += !chunk;
            prefill[slot] -= chunk;
            left[slot]--;
        }
        if (i % 41 == 30) { /* the first of the step loses its place to one that comes in its stead */
            const struct snap_step_item *first = &step->items[0];
            step->preempted[step->n_preempted++] = (struct snap_preemption){
                1 + tag[first->slot] % 9, 1 + tag[first->slot] % 9, first->slot, true};
        }
        step->dur_us = 9000 + 900 * step->n_decodes + 260 * step->n_prefill_tokens / 4;
    }
    s->n_steps = SNAP_STEPS;
    s->step_ring[SNAP_STEPS - 1].dur_us = -1;
    s->in_flight = true;
    s->step = 18204;
}

/* Something of every kind, the newest of it 1.2 s ago. */
static void build_events(struct snapshot *s)
{
    static const struct snap_event made[] = {
        {.kind = SNAP_EVENT_STATE, .from = ENGINE_WARMING, .to = ENGINE_READY},
        {.kind = SNAP_EVENT_ADMIT, .tag = 1, .effective = 1},
        {.kind = SNAP_EVENT_ADMIT, .tag = 3, .effective = 1.4f, .tokens = 32},
        {.kind = SNAP_EVENT_PREEMPT, .tag = 3, .by_tag = 2, .by_arrival = 2, .parked = true, .blocks = 14},
        {.kind = SNAP_EVENT_ADMIT, .tag = 2, .effective = 0},
        {.kind = SNAP_EVENT_RESUME, .tag = 3, .effective = 0.4f, .blocks = 12, .tokens = 32},
        {.kind = SNAP_EVENT_FINISH, .tag = 5, .code = FINISH_STOP, .tokens = 318},
        {.kind = SNAP_EVENT_PRESSURE, .to = 1},
        {.kind = SNAP_EVENT_REJECT, .id = "batch-16", .code = WEFT_RESOURCE_LIMIT_EXCEEDED},
        {.kind = SNAP_EVENT_PRESSURE, .from = 1},
        {.kind = SNAP_EVENT_FINISH, .tag = 6, .code = FINISH_ERROR, .tokens = 3},
        {.kind = SNAP_EVENT_PREEMPT, .tag = 3, .arrival = 3, .by_tag = 3, .by_arrival = 3, .blocks = 9},
        {.kind = SNAP_EVENT_PRIORITY, .tag = 2, .from = PRIO_NORMAL, .to = PRIO_HIGH},
        {.kind = SNAP_EVENT_FINISH, .id = "batch-15", .code = FINISH_TIMEOUT, .tokens = 0},
        {.kind = SNAP_EVENT_FINISH, .tag = 12, .code = FINISH_CANCELLED, .tokens = 77},
        {.kind = SNAP_EVENT_ADMIT, .tag = 4, .effective = 0.8f},
    };
    enum { N = sizeof made / sizeof made[0] };
    for (int i = 0; i < N; i++) {
        s->events[i] = made[i];
        s->events[i].t_us = s->now_us - 1200000 - (N - 1 - i) * 700000;
    }
    s->n_events = N;
}

static void build_blocks(struct scene *s)
{
    static const struct {
        uint8_t kind;
        uint32_t tag, n;
    } runs[] = {{SNAP_BLOCK_USED, 1, 47}, {SNAP_BLOCK_USED, 2, 61},   {SNAP_BLOCK_SHARED, 0, 14},
                {SNAP_BLOCK_USED, 4, 38}, {SNAP_BLOCK_CACHED, 0, 33}, {SNAP_BLOCK_USED, 7, 26},
                {SNAP_BLOCK_FREE, 0, 72}, {SNAP_BLOCK_USED, 2, 26},   {SNAP_BLOCK_FREE, 0, 195}};
    uint32_t at = 0;
    for (size_t i = 0; i < sizeof runs / sizeof runs[0]; i++)
        for (uint32_t k = 0; k < runs[i].n; k++)
            s->blocks[at++] = (struct snap_block){runs[i].kind, runs[i].tag, runs[i].tag};
    assert_int_equal(at, SCENE_BLOCKS);
    s->snap.blocks = s->blocks;
    s->snap.cap_blocks = s->snap.kv_total = SCENE_BLOCKS;
    s->snap.kv_used = 212;
    s->snap.kv_cached = 33;
    s->snap.kv_free = 267;
    s->snap.block_tokens = 16;
}

static void build_figures(struct snapshot *s)
{
    for (int i = 0; i < SNAP_RATES; i++) {
        double x = i / 17.0;
        s->rates[i].decode_tps = (float)(420 + 160 * sin(x) + 60 * sin(3.1 * x));
        s->rates[i].prefill_tps = (float)(i % 37 < 6 ? 900 - 120 * (i % 37) : 20);
        s->rates[i].depth = (uint16_t)(6.5 + 3 * sin(x) + 2 * sin(2.3 * x));
    }
    s->n_rates = SNAP_RATES;
    s->decode_tps = 580;
    s->prefill_tps = 32;
    s->ttft = (struct snap_percentiles){82.4, 1310};
    s->itl = (struct snap_percentiles){21.7, 48};
    s->completed = 1482;
    s->failed = 2;
    s->total_requests = 1494;
    s->total_batches = 18204;
    s->avg_batch_size = 5.2;
    s->avg_batch_size_10s = 6.4;
    s->prefix_query_tokens = 20000;
    s->prefix_hit_tokens = 7400;
    s->preemptions = 3;
    s->memory_mb = 412;
    s->max_memory_mb = 5734;
    s->critical_memory_mb = 6963;
    s->uptime_us = 3725 * 1000000ll;
    s->max_batch_size = 16;
    s->max_batch_tokens = 256;
    s->max_depth = 1000;
    s->aging_rate = 0.1;
}

void scene_init(struct scene *s, const char *top)
{
    memset(s, 0, sizeof *s);
    s->snap.state = ENGINE_READY;
    snprintf(s->snap.model, sizeof s->snap.model, "SmolLM2-135M-Instruct Q4_1");
    snprintf(s->snap.device, sizeof s->snap.device, "pocl cpu");
    snprintf(s->snap.precision, sizeof s->snap.precision, "fp32");
    build_sessions(s);
    build_requests(&s->snap);
    build_steps(&s->snap);
    s->snap.now_us = 3724ll * 1000000;
    build_events(&s->snap);
    build_blocks(s);
    build_figures(&s->snap);
    scene_theme(&s->theme, top, "default");
    static const char draft[] = "write the packing list too";
    s->view = (struct view){.snap = &s->snap,
                            .theme = &s->theme,
                            .sessions = s->sessions,
                            .n_sessions = SCENE_SESSIONS,
                            .active = 1,
                            .preset = LAYOUT_BALANCED,
                            .focus = PANE_INPUT,
                            .input = {.text = draft, .len = sizeof draft - 1, .cursor = sizeof draft - 1}};
}

void scene_deinit(struct scene *s)
{
    for (int i = 0; i < SCENE_SESSIONS; i++)
        transcript_destroy(s->sessions[i].transcript);
}

int scene_set_up(void **state)
{
    scene_init(*state, TEST_SOURCE_DIR);
    return 0;
}

int scene_tear_down(void **state)
{
    scene_deinit(*state);
    return 0;
}

void scene_theme(struct theme *out, const char *top, const char *name)
{
    char path[512];
    struct buf yaml = BUF_INIT;
    struct weft_err err = {0};
    snprintf(path, sizeof path, "%s/themes/%s.yaml", top, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(buf_read_fd(&yaml, fd, 1 << 20), 0);
    close(fd);
    enum weft_rc rc = theme_parse(buf_str(&yaml), yaml.len, path, out, &err);
    if (rc)
        fail_msg("%s", err.message);
    buf_free(&yaml);
}

static void add_sgr(struct buf *out, struct theme_style s)
{
    static const struct {
        uint8_t attr;
        int code;
    } codes[] = {{ATTR_BOLD, 1}, {ATTR_DIM, 2}, {ATTR_ITALIC, 3}, {ATTR_UNDERLINE, 4}, {ATTR_REVERSE, 7}};
    buf_adds(out, "\x1b[0");
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++)
        if (s.attrs & codes[i].attr)
            buf_addf(out, ";%d", codes[i].code);
    if (s.fg >= 0)
        buf_addf(out, ";38;5;%d", s.fg);
    if (s.bg >= 0)
        buf_addf(out, ";48;5;%d", s.bg);
    buf_addc(out, 'm');
}

void scene_ansi(const struct grid *g, const struct theme *t, int n_colours, struct buf *out)
{
    for (int y = 0; y < g->h; y++) {
        struct theme_style now = {-1, -1, 0};
        bool any = false;
        for (int x = 0; x < g->w; x++) {
            const struct cell *c = grid_at(g, x, y);
            struct theme_style s = theme_style(t, c->style, n_colours);
            if (s.fg != now.fg || s.bg != now.bg || s.attrs != now.attrs) {
                add_sgr(out, s);
                now = s;
                any = true;
            }
            for (int i = 0; c->width && i < TEXT_CLUSTER_CPS && c->cp[i]; i++) {
                char utf8[4];
                buf_add(out, utf8, utf8_encode(c->cp[i], utf8));
            }
        }
        if (any)
            buf_adds(out, "\x1b[0m");
        buf_addc(out, '\n');
    }
    assert_false(out->failed);
}
