/*
 * GGUF files, versions 2 and 3 (format: the ggml project's docs/gguf.md): metadata keys and a table of tensors.
 *
 * gguf_parse checks everything before it is used and never trusts a length: no read is out of bounds, no allocation is
 * larger than a small multiple of the bytes given. Whether the file is a runnable model is decided later (model.h).
 *
 * Ownership: struct gguf owns its tables; keys, strings and tensor data point into the bytes, which must outlive it
 * (gguf_open maps the file and unmaps it in gguf_close). Immutable once made: any number of threads may read.
 * Errors: FILE_INVALID with context path, field, value, limit.
 */
#ifndef WEFT_MODEL_GGUF_H
#define WEFT_MODEL_GGUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/err.h"
#include "engine/model/quant.h"

/* Value types, numbered as in the file. */
enum gguf_type {
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_ARRAY,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64,
    GGUF_TYPE_COUNT
};

/* "u32", "string" ... */
const char *gguf_type_name(enum gguf_type type);

struct gguf_str {
    const char *s; /* not NUL-terminated */
    uint64_t n;
};

struct gguf_kv {
    struct gguf_str key;
    enum gguf_type type;      /* GGUF_ARRAY: see elem_type */
    enum gguf_type elem_type; /* of an array */
    uint64_t n;               /* elements of an array; else 1 */
    /* The value's (or first element's) bytes, little-endian, maybe unaligned. A string's and an array of strings' start
     * with a u64 length: use gguf_string and `strings`. */
    const uint8_t *data;
    struct gguf_str *strings; /* for arrays of strings: n entries; else NULL */
};

struct gguf_tensor {
    struct gguf_str name;
    char name_z[64]; /* the same, NUL-terminated */
    enum quant_type type;
    uint32_t n_dims;
    uint64_t dim[4];     /* dim[0] is the contiguous one (a row's length); unused dims are 1 */
    const uint8_t *data; /* size bytes */
    uint64_t size;
};

struct gguf {
    const char *path; /* for messages; owned */
    uint32_t version;
    uint32_t alignment;
    uint64_t n_kv, n_tensors;
    struct gguf_kv *kv;
    struct gguf_tensor *tensors;
    struct gguf_kv **kv_by_key; /* the same, sorted: what gguf_find and gguf_tensor search */
    struct gguf_tensor **tensor_by_name;
    const uint8_t *bytes; /* whole file */
    uint64_t n_bytes;
    void *map; /* what gguf_open mapped, or NULL */
};

/* Parses `n` bytes; `path` is only named in messages. On failure *out is NULL. */
enum weft_rc gguf_parse(const void *bytes, size_t n, const char *path, struct gguf **out,
                        struct weft_err *err);
/* Maps a file read-only and parses it. A directory, an empty or an unreadable file is FILE_INVALID. */
enum weft_rc gguf_open(const char *path, struct gguf **out, struct weft_err *err);
/* Tells the system that the mapped pages are no longer needed (they are read again when touched). */
void gguf_release_pages(const struct gguf *g);
void gguf_close(struct gguf *g); /* NULL allowed */

/* Lookups: NULL when absent. */
const struct gguf_kv *gguf_find(const struct gguf *g, const char *key);
const struct gguf_tensor *gguf_tensor(const struct gguf *g, const char *name);

/* An unsigned little-endian number of 1 to 8 bytes. */
static inline uint64_t gguf_load(const uint8_t *p, unsigned bytes)
{
    uint64_t v = 0;
    while (bytes-- > 0)
        v = v << 8 | p[bytes];
    return v;
}

/* Compares as memcmp does, a prefix before what it begins. */
int gguf_str_compare(struct gguf_str a, struct gguf_str b);

/* Typed reads of one key. Integers of any width and sign are accepted where they fit. When the key is absent: *out is
 * set to `fallback` and WEFT_OK is returned. A wrong type or a value out of [min, max] is FILE_INVALID. */
enum weft_rc gguf_u32(const struct gguf *g, const char *key, uint32_t fallback, uint32_t min, uint32_t max,
                      uint32_t *out, struct weft_err *err);
enum weft_rc gguf_f32(const struct gguf *g, const char *key, float fallback, float *out,
                      struct weft_err *err);
enum weft_rc gguf_bool(const struct gguf *g, const char *key, bool fallback, bool *out, struct weft_err *err);
/* Absent: out->s is NULL. */
enum weft_rc gguf_string(const struct gguf *g, const char *key, struct gguf_str *out, struct weft_err *err);

#endif
