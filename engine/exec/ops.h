/*
 * A launcher for each kernel, of the same name. All queue work and return at once; buffers are float32,
 * row-major, one row a token, with OPS_SPARE_ROWS unused rows at the end, since tiles of tokens may reach
 * over it.
 *
 * Which variant of a kernel runs never changes a result's bits (kernels/common.clh), so the choice is speed alone.
 */
#ifndef WEFT_EXEC_OPS_H
#define WEFT_EXEC_OPS_H

#include "engine/exec/dot.h"
#include "engine/exec/matrix.h"
#include "engine/exec/ocl.h"
#include "engine/exec/program.h"

enum {
    OPS_SPARE_ROWS = 16,      /* the widest tile */
    OPS_ATTENTION_TOKENS = 4, /* tokens a prefill job holds */
    OPS_PART = 256,           /* positions that attention sums up at a time: fixed, or bits would change */
    OPS_PROGRAMS_MAX = 8
};

/* What the kernels are compiled for. */
struct ops_shape {
    uint32_t n_layer, n_head, n_head_kv, head_dim, block_tokens;
    uint64_t types;             /* bit t: weight type t occurs … */
    uint64_t end_types;         /* … in the embedding or the output layer */
    enum quant_type layer_type; /* of all the layers' matrices; QUANT_TYPE_LIMIT where they differ */
    enum precision precision;
    enum dot_path dot; /* how products with coded activations are summed */
};

struct ops {
    struct ocl *o;
    struct ops_shape shape;
    struct program programs[OPS_PROGRAMS_MAX];
    unsigned n_programs;
    struct ocl_kernel matmul[QUANT_TYPE_LIMIT]; /* matmul_coded where ops_takes_codes */
    struct ocl_kernel embed[QUANT_TYPE_LIMIT];
    struct ocl_kernel quantize, rmsnorm, rope_store, attention_decode, attention_prefill, attention_merge;
    struct ocl_kernel
        forward; /* all layers in one launch (crew.h); its kernel is NULL where that can't be had */
};

/* The options that all programs are built with: language version, rounding, LWS. */
void ops_options(const struct ocl *o, struct program_spec *spec);
/* Builds the programs that this device and model want. On failure nothing is left. */
enum weft_rc ops_create(struct ocl *o, const struct ops_shape *shape, int cache_fd, struct ops *out,
                        struct weft_err *err);
/* Gives up the launch for a whole pass, and builds what single launches want. */
enum weft_rc ops_without_crew(struct ops *ops, int cache_fd, struct weft_err *err);
/* Launches every kernel that will be wanted once with extents of 0 (each checks them before it touches memory), so that runtimes
 * which generate code at the first launch do it now. `any`: a buffer. Waits. */
enum weft_rc ops_prime(struct ops *ops, const struct ocl_buf *any, struct weft_err *err);
/* Writes newly built programs to the cache. */
void ops_keep(struct ops *ops, int cache_fd);
void ops_destroy(struct ops *ops); /* zeroed struct allowed */

/* A buffer of rows. */
struct rows {
    const struct ocl_buf *buf;
    uint32_t stride; /* floats from row to row */
    uint32_t at;     /* first column */
};

/* As the kernels read them. */
struct ops_token {
    cl_int id, pos, block, slot;
};
struct ops_job { /* attention: up to OPS_ATTENTION_TOKENS neighbouring tokens of a sequence */
    cl_int row, n, pos, table, first_part, n_parts, partial, unused;
};
struct ops_merge {
    cl_int row, first_partial, n_parts, unused;
};

/* x[i] = embedding of tokens[i]. */
enum weft_rc ops_embed(struct ops *ops, const struct matrix *m, const struct ocl_buf *tokens, struct rows x,
                       uint32_t n_tokens, struct weft_err *err);

enum ops_mode { OPS_STORE, OPS_ADD, OPS_SILU_MUL, OPS_LOGITS }; /* kernels/matmul.cl */
/* y[i] (mode) m x[i], for n rows. tiles: tiles.h. */
enum weft_rc ops_matmul(struct ops *ops, const struct matrix *m, struct rows x, struct rows y, uint32_t n,
                        enum ops_mode mode, uint32_t tiles, struct weft_err *err);

/* Whether products with m take coded activations: ops_matmul_coded instead of ops_matmul. */
bool ops_takes_codes(const struct ops *ops, const struct matrix *m);
/* Bytes that a value takes in codes; 0: there are none. */
size_t ops_code_bytes(enum precision p);
/* Codes of n rows of n_blocks × 32 values: in int8 xq has 32 bytes a block and factors 8 (kernels/quantize.cl); in bf16 xq
 * has 64, for rows in sixteens, and factors aren't used (kernels/round.cl). */
enum weft_rc ops_quantize(struct ops *ops, struct rows x, uint32_t n_blocks, const struct ocl_buf *xq,
                          const struct ocl_buf *factors, uint32_t n, struct weft_err *err);
enum weft_rc ops_matmul_coded(struct ops *ops, const struct matrix *m, const struct ocl_buf *xq,
                              const struct ocl_buf *factors, struct rows y, uint32_t n, enum ops_mode mode,
                              uint32_t tiles, struct weft_err *err);

/* y[i] = normalised x[rows[i]] × w; rows NULL: x[i]. */
enum weft_rc ops_rmsnorm(struct ops *ops, struct rows x, const struct ocl_buf *w, const struct ocl_buf *rows,
                         struct rows y, uint32_t n_values, float eps, uint32_t n, struct weft_err *err);

/* Bytes of one block of the KV cache (kernels/attention.clh), `kv` below. */
size_t ops_block_bytes(const struct ops_shape *s);

/* Rotates q and k of qkv's rows; q goes to q, k and v to their slots. k_at, v_at: columns. */
enum weft_rc ops_rope_store(struct ops *ops, struct rows qkv, uint32_t k_at, uint32_t v_at,
                            const struct ocl_buf *tokens, const struct ocl_buf *table, uint32_t n_rot,
                            struct rows q, const struct ocl_buf *kv, uint32_t layer, uint32_t n_tokens,
                            struct weft_err *err);

/* Attention of the jobs' tokens; rows of q and out have the same stride. */
enum weft_rc ops_attention(struct ops *ops, bool decode, struct rows q, const struct ocl_buf *kv,
                           const struct ocl_buf *tables, const struct ocl_buf *jobs, struct rows out,
                           const struct ocl_buf *partials, uint32_t layer, uint32_t n_jobs,
                           struct weft_err *err);
/* Floats of a partial result (one slot, all heads). */
size_t ops_partial_floats(const struct ops_shape *s);
enum weft_rc ops_attention_merge(struct ops *ops, const struct ocl_buf *partials, const struct ocl_buf *jobs,
                                 struct rows out, uint32_t n_jobs, struct weft_err *err);

/* All layers of a batch by n_crew work-groups; table, counters: crew.h; tiles: of all products (tiles_pack). n_tokens 0:
 * only tries the table out. */
struct ops_counts {
    uint32_t n_tokens, n_decode, n_prefill, n_merges, n_rows;
};
enum weft_rc ops_forward(struct ops *ops, const struct ocl_buf *table, const struct ocl_buf *counters,
                         const struct ocl_buf *x, uint32_t n_crew, const struct ops_counts *counts,
                         uint32_t tiles, struct weft_err *err);

#endif
