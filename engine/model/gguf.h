/*
 * GGUF files, versions 2 and 3 (format: the ggml project's docs/gguf.md): metadata keys and a table of tensors.
 *
 * gguf_parse checks everything before it is used and never trusts a length: no read is out of bounds, no allocation is
 * larger than a small multiple of the bytes given. Whether the file is a runnable model is decided later (model.h).
 *
 * A file isn't mapped: somebody who shortens it would end the process. gguf_open reads keys and table into memory and
 * keeps the file open; tensor data are read by gguf_read, which fails where the file has ended.
 *
 * Ownership: struct gguf owns its tables; keys and strings point into the bytes, which gguf_parse's caller keeps and
 * gguf_open's result owns. Immutable once made: any number of threads may read, tensor data too.
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
    const uint8_t *data; /* size bytes; NULL where they must be read from the file: gguf_read */
    uint64_t at, size;   /* bytes of the file: the first, and how many */
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
    const uint8_t *bytes; /* of the file, from its beginning: n_held of n_bytes */
    uint64_t n_held, n_bytes;
    struct gguf_source *source; /* the open file; NULL: all bytes are held, and others' */
};

/* Parses `n` bytes; `path` is only named in messages. On failure *out is NULL. */
enum weft_rc gguf_parse(const void *bytes, size_t n, const char *path, struct gguf **out,
                        struct weft_err *err);
/* The same of a file's first n_held bytes of n_file. Where they end within the metadata: WEFT_OK with *out NULL and in
 * *want how many to come again with. Where they end before the tensor data, those have no `data`. */
enum weft_rc gguf_parse_part(const void *bytes, uint64_t n_held, uint64_t n_file, const char *path,
                             struct gguf **out, uint64_t *want, struct weft_err *err);
/* Opens a file and parses what comes before the tensor data. A directory, an empty or an unreadable file is FILE_INVALID. */
enum weft_rc gguf_open(const char *path, struct gguf **out, struct weft_err *err);
/* Copies n bytes of a tensor's data, from its byte `from`; the range must lie in it. FILE_INVALID where the file has
 * become shorter or can't be read. */
enum weft_rc gguf_read(const struct gguf *g, const struct gguf_tensor *t, uint64_t from, size_t n, void *out,
                       struct weft_err *err);
/* FILE_INVALID when the file was written to since it was opened: then what was read is of both versions. */
enum weft_rc gguf_check_unchanged(const struct gguf *g, struct weft_err *err);
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
