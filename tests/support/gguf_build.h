/*
 * Writes small GGUF files, sound ones and broken ones, and a tiny complete llama model.
 *
 * A builder holds keys and tensors as lists, so that a test starts from a sound file and spoils one thing:
 * set or drop a key, change a tensor's record, claim other counts. Sizes and offsets are worked out when the
 * file is written, unless a field says otherwise. Only the formats' descriptions are shared with the reader,
 * no code.
 *
 * One thread. Out of memory aborts: this is for tests.
 */
#ifndef TESTS_SUPPORT_GGUF_BUILD_H
#define TESTS_SUPPORT_GGUF_BUILD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/buf.h"
#include "engine/model/gguf.h"

enum { GGUF_BUILD_AUTO = -1 };

struct gguf_build_kv {
    struct buf key;
    uint32_t type;
    struct buf value; /* as in the file, after the type */
};

struct gguf_build_tensor {
    struct buf name;
    uint32_t type, n_dims;
    uint64_t dim[8];
    int64_t offset; /* GGUF_BUILD_AUTO: after the tensor before, aligned */
    struct buf data;
};

struct gguf_build {
    struct gguf_build_kv *kv;
    struct gguf_build_tensor *tensors;
    size_t n_kv, cap_kv, n_tensors, cap_tensors;
    char magic[4];
    uint32_t version, alignment;     /* alignment: what data is laid out by; the key is set apart */
    int64_t claim_kv, claim_tensors; /* counts in the header; GGUF_BUILD_AUTO: the true ones */
    size_t cut;                      /* bytes left out at the end of the file */
};

void gguf_build_init(struct gguf_build *b);
void gguf_build_free(struct gguf_build *b);

/* Keys: each replaces one of that name in its place, or is added at the end. */
void gguf_build_value(struct gguf_build *b, const char *key, uint32_t type, const void *value, size_t n);
void gguf_build_u32(struct gguf_build *b, const char *key, uint32_t v);
void gguf_build_i32(struct gguf_build *b, const char *key, int32_t v);
void gguf_build_u64(struct gguf_build *b, const char *key, uint64_t v);
void gguf_build_f32(struct gguf_build *b, const char *key, float v);
void gguf_build_bool(struct gguf_build *b, const char *key, bool v);
void gguf_build_str(struct gguf_build *b, const char *key, const char *v);
void gguf_build_strings(struct gguf_build *b, const char *key, const char *const *v, size_t n);
/* An array of n elements that claims to have `claim`; `bytes` long. */
void gguf_build_array(struct gguf_build *b, const char *key, uint32_t elem_type, uint64_t claim,
                      const void *elements, size_t bytes);
/* A second key of that name, or one whose name isn't a C string. */
struct gguf_build_kv *gguf_build_append_kv(struct gguf_build *b, const void *key, size_t key_len,
                                           uint32_t type, const void *value, size_t n);
void gguf_build_drop(struct gguf_build *b, const char *key); /* it must be there */

/* A tensor of `n_dims` dimensions with `bytes` of data (NULL: zeros). */
struct gguf_build_tensor *gguf_build_tensor(struct gguf_build *b, const char *name, uint32_t type,
                                            uint32_t n_dims, const uint64_t *dim, const void *data,
                                            size_t bytes);
struct gguf_build_tensor *gguf_build_find_tensor(struct gguf_build *b,
                                                 const char *name);  /* it must be there */
void gguf_build_drop_tensor(struct gguf_build *b, const char *name); /* it must be there */

/* The file's bytes, appended to *out. */
void gguf_build_write(const struct gguf_build *b, struct buf *out);
/* The same as a file. 0, or -1 with errno. */
int gguf_build_save(const struct gguf_build *b, const char *path);

/* A tiny llama: random weights, a byte-level gpt2 vocabulary (3 control tokens, 256 bytes, then merges of
 * letters), ChatML as its template. Lengths must fit the weight type: rows of Q4 and Q8 are multiples of 32.
 */
struct gguf_tiny {
    uint32_t n_layer, n_embd, n_head, n_head_kv, n_ff;
    uint32_t n_vocab; /* at least 259 */
    uint32_t n_ctx;
    enum quant_type type;        /* of the matrices in the layers, a type that weft computes with */
    enum quant_type output_type; /* of the embedding and the output */
    bool tied;                   /* no output.weight */
    uint64_t seed;
};
#define GGUF_TINY_DEFAULT                                                                                    \
    {                                                                                                        \
        .n_layer = 2, .n_embd = 64, .n_head = 4, .n_head_kv = 2, .n_ff = 96, .n_vocab = 320, .n_ctx = 512,   \
        .type = QUANT_Q4_1, .output_type = QUANT_Q8_0, .tied = true, .seed = 1                               \
    }
enum { GGUF_TINY_ENDOFTEXT, GGUF_TINY_IM_START, GGUF_TINY_IM_END, GGUF_TINY_BYTE_0, GGUF_TINY_MERGE_0 = 259 };

/* Initialises *b with such a model. */
void gguf_build_tiny_llama(struct gguf_build *b, const struct gguf_tiny *tiny);
/* Initialises *b with its tokenizer keys only: a vocabulary of n_vocab tokens. */
void gguf_build_tiny_vocab(struct gguf_build *b, uint32_t n_vocab);

#endif
