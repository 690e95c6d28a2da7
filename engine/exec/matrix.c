#include "engine/exec/matrix.h"

#include <pthread.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/base/parallel.h"

/* Bytes of the file that one piece of work reads: they and what they become stay in a core's second cache. */
enum { PIECE_BYTES = 64 << 10 };

bool matrix_joinable(const struct gguf_tensor *const *parts, unsigned n)
{
    for (unsigned i = 1; i < n; i++)
        if (parts[i]->type != parts[0]->type || parts[i]->dim[0] != parts[0]->dim[0])
            return false;
    return n <= MATRIX_PARTS_MAX;
}

static uint32_t groups_of(const struct gguf_tensor *t)
{
    return (uint32_t)((t->dim[1] + REPACK_ROWS - 1) / REPACK_ROWS);
}

void matrix_free(struct ocl *o, struct matrix *m)
{
    if (m->has_scales)
        ocl_buf_free(o, &m->scales);
    ocl_buf_free(o, &m->weights);
    *m = (struct matrix){0};
}

/* ---- begin and end ---- */

static enum weft_rc refuse_type(const char *path, const struct gguf_tensor *t, struct weft_err *err)
{
    const char *name = quant_info(t->type)->name;
    name = name ? name : "unknown";
    weft_err_set(err, WEFT_MODEL_LOAD_FAILED, "%s: tensor %s has type %s, which can't be computed with", path,
                 t->name_z, name);
    weft_err_str(err, "path", path);
    weft_err_str(err, "field", t->name_z);
    weft_err_str(err, "value", name);
    return WEFT_MODEL_LOAD_FAILED;
}

static enum weft_rc map_whole(struct ocl *o, const struct ocl_buf *b, uint8_t **out, struct weft_err *err)
{
    void *p = NULL;
    enum weft_rc rc = ocl_map(o, b, true, 0, b->bytes, &p, err);
    *out = p;
    return rc;
}

enum weft_rc matrix_begin(struct ocl *o, const struct gguf_tensor *const *parts, unsigned n, const char *path,
                          struct matrix *out, struct matrix_job *job, struct weft_err *err)
{
    struct matrix *m = &job->m;
    struct repack_size size;
    *out = (struct matrix){0};
    *job = (struct matrix_job){.out = out, .m = {.type = parts[0]->type, .n_parts = n}};
    if (!repack_size(m->type, &size))
        return refuse_type(path, parts[0], err);
    m->n_blocks = (uint32_t)((parts[0]->dim[0] + REPACK_INPUTS - 1) / REPACK_INPUTS);
    for (unsigned i = 0; i < n; i++) {
        job->part[i] = parts[i];
        m->row_at[i] = m->n_groups * REPACK_ROWS;
        m->n_groups += groups_of(parts[i]);
    }
    const size_t blocks = (size_t)m->n_groups * m->n_blocks;
    enum weft_rc rc = ocl_buf_create(o, blocks * size.weights, parts[0]->name_z, &m->weights, err);
    if (!rc && size.scales)
        rc = ocl_buf_create(o, blocks * size.scales, parts[0]->name_z, &m->scales, err);
    m->has_scales = m->scales.mem != NULL;
    if (!rc)
        rc = map_whole(o, &m->weights, &job->weights, err);
    if (!rc && m->has_scales)
        rc = map_whole(o, &m->scales, &job->scales, err);
    return rc;
}

enum weft_rc matrix_end(struct ocl *o, struct matrix_job *job, bool good, struct weft_err *err)
{
    struct matrix *m = &job->m;
    enum weft_rc rc = WEFT_OK;
    if (job->weights)
        rc = ocl_unmap(o, &m->weights, job->weights, err);
    if (job->scales) {
        enum weft_rc late = ocl_unmap(o, &m->scales, job->scales, rc ? NULL : err);
        rc = rc ? rc : late;
    }
    if (!good || rc) {
        matrix_free(o, m);
    } else {
        if (!m->has_scales)
            m->scales = m->weights; /* kernels take both; never read */
        *job->out = *m;
    }
    *job = (struct matrix_job){0};
    return rc;
}

/* ---- packing ---- */

struct packing {
    const struct gguf *file;
    const char *path;
    const struct matrix_job *jobs;
    unsigned n_jobs;
    pthread_mutex_t lock; /* of what follows */
    size_t failed_at;     /* the piece that failed, of several the first */
    enum weft_rc rc;
    struct weft_err err;
};

/* Some groups of one part of one job. */
struct piece {
    const struct matrix_job *job;
    const struct gguf_tensor *t;
    uint32_t first, n;        /* groups of the tensor */
    uint32_t first_in_matrix; /* the same group in the matrix */
};

static uint32_t groups_a_piece(const struct gguf_tensor *t)
{
    size_t group = repack_row_bytes(t) * REPACK_ROWS;
    return group < PIECE_BYTES ? (uint32_t)(PIECE_BYTES / group) : 1;
}

static size_t pieces_of(const struct gguf_tensor *t)
{
    const uint32_t each = groups_a_piece(t);
    return (groups_of(t) + each - 1) / each;
}

static size_t count_pieces(const struct packing *p)
{
    size_t n = 0;
    for (unsigned j = 0; j < p->n_jobs; j++)
        for (unsigned i = 0; i < p->jobs[j].m.n_parts; i++)
            n += pieces_of(p->jobs[j].part[i]);
    return n;
}

static struct piece find_piece(const struct packing *p, size_t index)
{
    for (unsigned j = 0; j < p->n_jobs; j++) {
        const struct matrix_job *job = &p->jobs[j];
        for (unsigned i = 0; i < job->m.n_parts; i++) {
            const struct gguf_tensor *t = job->part[i];
            const size_t n = pieces_of(t);
            if (index >= n) {
                index -= n;
                continue;
            }
            const uint32_t each = groups_a_piece(t), first = (uint32_t)index * each,
                           left = groups_of(t) - first;
            return (struct piece){job, t, first, left < each ? left : each,
                                  job->m.row_at[i] / REPACK_ROWS + first};
        }
    }
    return (struct piece){0}; /* not reached: index < count_pieces */
}

static enum weft_rc not_finite(const char *path, const struct gguf_tensor *t, int64_t row,
                               struct weft_err *err)
{
    weft_err_set(err, WEFT_MODEL_LOAD_FAILED, "%s: tensor %s has a value that isn't finite in row %lld", path,
                 t->name_z, (long long)row);
    weft_err_str(err, "path", path);
    weft_err_str(err, "field", t->name_z);
    weft_err_num(err, "value", (double)row);
    weft_err_str(err, "limit", "finite values");
    return WEFT_MODEL_LOAD_FAILED;
}

static enum weft_rc pack_piece(const struct packing *p, const struct piece *piece, struct weft_err *err)
{
    const struct gguf_tensor *t = piece->t;
    const struct matrix *m = &piece->job->m;
    const size_t row_bytes = repack_row_bytes(t);
    const uint64_t first_row = (uint64_t)piece->first * REPACK_ROWS, rows = (uint64_t)piece->n * REPACK_ROWS,
                   left = t->dim[1] - first_row;
    const size_t n = (size_t)(rows < left ? rows : left) * row_bytes;
    const uint8_t *bytes = t->data ? t->data + first_row * row_bytes : NULL;
    uint8_t *own = NULL;
    enum weft_rc rc = WEFT_OK;
    if (!bytes) {
        bytes = own = mem_alloc(n);
        rc = own ? gguf_read(p->file, t, first_row * row_bytes, n, own, err)
                 : weft_err_nomem(err, t->name_z, n);
    }
    struct repack_size size = {0};
    repack_size(m->type, &size);
    for (uint32_t g = 0; g < piece->n && !rc; g++) {
        const size_t at = (size_t)(piece->first_in_matrix + g) * m->n_blocks;
        uint8_t *scales = m->has_scales ? piece->job->scales + at * size.scales : piece->job->weights;
        int64_t bad = repack_group(t, piece->first + g, bytes + g * REPACK_ROWS * row_bytes,
                                   piece->job->weights + at * size.weights, scales);
        if (bad >= 0)
            rc = not_finite(p->path, t, bad, err);
    }
    mem_free(own);
    return rc;
}

/* parallel_for */
static bool pack_one(void *ctx, size_t index)
{
    struct packing *p = ctx;
    struct weft_err err = {0};
    const struct piece piece = find_piece(p, index);
    enum weft_rc rc = pack_piece(p, &piece, &err);
    if (!rc)
        return true;
    pthread_mutex_lock(&p->lock);
    if (!p->rc || index < p->failed_at) {
        p->failed_at = index;
        p->rc = rc;
        p->err = err;
    }
    pthread_mutex_unlock(&p->lock);
    return false;
}

enum weft_rc matrix_pack(const struct gguf *file, const char *path, const struct matrix_job *jobs, unsigned n,
                         unsigned n_threads, struct weft_err *err)
{
    struct packing p = {
        .file = file, .path = path, .jobs = jobs, .n_jobs = n, .lock = PTHREAD_MUTEX_INITIALIZER};
    parallel_for(n_threads, count_pieces(&p), pack_one, &p);
    if (p.rc && err)
        *err = p.err;
    return p.rc;
}

enum weft_rc matrix_create(struct ocl *o, const struct gguf_tensor *const *parts, unsigned n,
                           const char *path, struct matrix *out, struct weft_err *err)
{
    struct matrix_job job;
    enum weft_rc rc = matrix_begin(o, parts, n, path, out, &job, err);
    if (!rc)
        rc = matrix_pack(NULL, path, &job, 1, 1, err);
    enum weft_rc late = matrix_end(o, &job, !rc, rc ? NULL : err);
    return rc ? rc : late;
}
