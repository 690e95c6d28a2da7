/*
 * Reading the GGUF format: header, keys and tensor table in the order of the file, with one cursor that can't
 * leave the bytes. Sizes are checked as they are read; where tensors lie, once all of them are known.
 *
 *   header    magic u32 | version u32 | number of tensors u64 | number of keys u64
 *   a key     length u64, bytes | type u32 | value
 *   a value   of fixed size; string: length u64, bytes; array: type u32, number u64, elements
 *   a tensor  length u64, bytes | dimensions u32 | each u64 | type u32 | offset within the data u64
 *   data      from the next multiple of general.alignment
 *
 * Of a file only the beginning is at hand. When it ends within the metadata, parsing ends with `short_of` set, and the
 * caller comes again with more: two ends are checked, that of the file and that of the bytes.
 */
#include "engine/model/gguf.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/model/gguf_refuse.h"

enum {
    MAGIC = 0x46554747, /* "GGUF", little-endian */
    VERSION_MIN = 2,
    VERSION_MAX = 3,
    KEY_BYTES_MAX = 65535, /* as the format's description has it */
    DIMS_MAX = 4,
    ALIGNMENT_DEFAULT = 32,
    ALIGNMENT_MIN = 8, /* "must be a multiple of 8" */
    ALIGNMENT_MAX = 1 << 20,
    /* The least that a key or a tensor takes: bounds the counts before anything is allocated by them. */
    KV_BYTES_MIN = 8 + 1 + 4 + 1,
    TENSOR_BYTES_MIN = 8 + 1 + 4 + 8 + 4 + 8,
};

/* Bytes of one value; 0: of variable length. */
static const uint8_t value_bytes[GGUF_TYPE_COUNT] = {
    [GGUF_U8] = 1,  [GGUF_I8] = 1,   [GGUF_U16] = 2, [GGUF_I16] = 2, [GGUF_U32] = 4, [GGUF_I32] = 4,
    [GGUF_F32] = 4, [GGUF_BOOL] = 1, [GGUF_U64] = 8, [GGUF_I64] = 8, [GGUF_F64] = 8,
};

struct reader {
    struct gguf *g;
    uint64_t pos;      /* <= g->n_held */
    uint64_t short_of; /* how many bytes are needed to go on; 0: enough were there */
    uint64_t *offset;  /* of each tensor, from the start of the data */
    struct weft_err *err;
};

static uint64_t left(const struct reader *r)
{
    return r->g->n_bytes - r->pos;
}

static enum weft_rc refuse(struct reader *r, const char *field, const char *value, const char *limit)
{
    return gguf_refuse(r->err, WEFT_FILE_INVALID, r->g->path, field, value, limit);
}

static enum weft_rc refuse_end(struct reader *r, const char *field, uint64_t need)
{
    return refuse(r, field, gguf_text("%" PRIu64 " bytes at offset %" PRIu64, need, r->pos).s,
                  gguf_text("the file ends at %" PRIu64, r->g->n_bytes).s);
}

/* The next n bytes, or FILE_INVALID where the file ends before, or the bytes at hand do: then short_of is set. */
static enum weft_rc take(struct reader *r, const char *field, uint64_t n, const uint8_t **out)
{
    *out = r->g->bytes + r->pos;
    if (n > left(r))
        return refuse_end(r, field, n);
    if (n > r->g->n_held - r->pos) {
        r->short_of = r->pos + n;
        return WEFT_FILE_INVALID;
    }
    r->pos += n;
    return WEFT_OK;
}

static enum weft_rc take_u32(struct reader *r, const char *field, uint32_t *out)
{
    const uint8_t *p;
    enum weft_rc rc = take(r, field, 4, &p);
    if (rc == WEFT_OK)
        *out = (uint32_t)gguf_load(p, 4);
    return rc;
}

static enum weft_rc take_u64(struct reader *r, const char *field, uint64_t *out)
{
    const uint8_t *p;
    enum weft_rc rc = take(r, field, 8, &p);
    if (rc == WEFT_OK)
        *out = gguf_load(p, 8);
    return rc;
}

static enum weft_rc take_string(struct reader *r, const char *field, struct gguf_str *out)
{
    uint64_t n;
    enum weft_rc rc = take_u64(r, field, &n);
    const uint8_t *p;
    if (rc == WEFT_OK)
        rc = take(r, field, n, &p);
    if (rc == WEFT_OK)
        *out = (struct gguf_str){(const char *)p, n};
    return rc;
}

/* A key or a tensor's name: 1 to `max` bytes, no NUL within (it would end the name early elsewhere). */
static enum weft_rc take_name(struct reader *r, const char *field, uint64_t max, struct gguf_str *out)
{
    uint64_t n;
    enum weft_rc rc = take_u64(r, field, &n);
    if (rc != WEFT_OK)
        return rc;
    if (n < 1 || n > max)
        return refuse(r, field, gguf_text("%" PRIu64 " bytes long", n).s,
                      gguf_text("must be 1 to %" PRIu64 " bytes", max).s);
    const uint8_t *p;
    rc = take(r, field, n, &p);
    if (rc != WEFT_OK)
        return rc;
    *out = (struct gguf_str){(const char *)p, n};
    if (memchr(p, 0, n))
        return refuse(r, field, gguf_quote(*out).s, "must not contain a NUL byte");
    return WEFT_OK;
}

static enum weft_rc parse_header(struct reader *r)
{
    struct gguf *g = r->g;
    uint32_t magic;
    enum weft_rc rc = take_u32(r, "magic", &magic);
    if (rc != WEFT_OK)
        return rc;
    if (magic != MAGIC)
        return refuse(r, "magic", gguf_quote((struct gguf_str){(const char *)g->bytes, 4}).s, "must be GGUF");
    rc = take_u32(r, "version", &g->version);
    if (rc != WEFT_OK)
        return rc;
    if (g->version && (g->version & 0xffff) == 0)
        return refuse(r, "version", gguf_text("0x%08x, big-endian", g->version).s, "must be little-endian");
    if (g->version < VERSION_MIN || g->version > VERSION_MAX)
        return refuse(r, "version", gguf_text("%u", g->version).s, "must be 2 or 3");
    if ((rc = take_u64(r, "tensor_count", &g->n_tensors)) != WEFT_OK ||
        (rc = take_u64(r, "metadata_kv_count", &g->n_kv)) != WEFT_OK)
        return rc;
    const struct {
        const char *field;
        uint64_t n, each;
    } counts[] = {{"tensor_count", g->n_tensors, TENSOR_BYTES_MIN},
                  {"metadata_kv_count", g->n_kv, KV_BYTES_MIN}};
    for (size_t i = 0; i < 2; i++)
        if (counts[i].n > left(r) / counts[i].each)
            return refuse(r, counts[i].field, gguf_text("%" PRIu64, counts[i].n).s,
                          gguf_text("at most %" PRIu64 " fit in %" PRIu64 " bytes", left(r) / counts[i].each,
                                    g->n_bytes)
                              .s);
    return WEFT_OK;
}

static enum weft_rc check_type(struct reader *r, const char *field, uint32_t type)
{
    if (type >= GGUF_TYPE_COUNT)
        return refuse(r, field, gguf_text("of type %u", type).s,
                      gguf_text("types are 0 to %u", GGUF_TYPE_COUNT - 1).s);
    return WEFT_OK;
}

static enum weft_rc check_bools(struct reader *r, const char *field, const uint8_t *p, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        if (p[i] > 1)
            return refuse(r, field, gguf_text("boolean %u", p[i]).s, "must be 0 or 1");
    return WEFT_OK;
}

static enum weft_rc parse_array(struct reader *r, const char *field, struct gguf_kv *kv)
{
    uint32_t type;
    enum weft_rc rc;
    if ((rc = take_u32(r, field, &type)) != WEFT_OK || (rc = check_type(r, field, type)) != WEFT_OK)
        return rc;
    if (type == GGUF_ARRAY)
        return refuse(r, field, "an array of arrays", "elements must be plain values or strings");
    kv->elem_type = (enum gguf_type)type;
    if ((rc = take_u64(r, field, &kv->n)) != WEFT_OK)
        return rc;
    uint64_t each = type == GGUF_STRING ? 8 : value_bytes[type];
    if (kv->n > left(r) / each)
        return refuse(r, field, gguf_text("an array of %" PRIu64 " elements", kv->n).s,
                      gguf_text("at most %" PRIu64 " fit in the file", left(r) / each).s);
    kv->data = r->g->bytes + r->pos;
    if (type != GGUF_STRING) {
        rc = take(r, field, kv->n * each, &kv->data);
        return rc == WEFT_OK && type == GGUF_BOOL ? check_bools(r, field, kv->data, kv->n) : rc;
    }
    kv->strings = mem_calloc(kv->n, sizeof *kv->strings);
    if (!kv->strings)
        return weft_err_nomem(r->err, "gguf_parse", kv->n * sizeof *kv->strings);
    for (uint64_t i = 0; i < kv->n && rc == WEFT_OK; i++)
        rc = take_string(r, field, &kv->strings[i]);
    return rc;
}

static enum weft_rc parse_kv(struct reader *r, struct gguf_kv *kv)
{
    uint32_t type;
    enum weft_rc rc = take_name(r, "key", KEY_BYTES_MAX, &kv->key);
    if (rc != WEFT_OK)
        return rc;
    struct gguf_text field = gguf_quote(kv->key);
    if ((rc = take_u32(r, field.s, &type)) != WEFT_OK || (rc = check_type(r, field.s, type)) != WEFT_OK)
        return rc;
    kv->type = (enum gguf_type)type;
    kv->n = 1;
    if (type == GGUF_ARRAY)
        return parse_array(r, field.s, kv);
    if (type == GGUF_STRING) {
        struct gguf_str s;
        kv->data = r->g->bytes + r->pos;
        return take_string(r, field.s, &s);
    }
    rc = take(r, field.s, value_bytes[type], &kv->data);
    return rc == WEFT_OK && type == GGUF_BOOL ? check_bools(r, field.s, kv->data, 1) : rc;
}

/* Sets t->size; refuses rows that aren't whole blocks, and every product that overflows, with padding too. */
static enum weft_rc check_size(struct reader *r, const char *field, struct gguf_tensor *t)
{
    const struct quant_info *q = quant_info(t->type);
    if (t->dim[0] % q->block_values)
        return refuse(r, field, gguf_text("%" PRIu64 " values a row", t->dim[0]).s,
                      gguf_text("must be a multiple of %u for %s", q->block_values, q->name).s);
    uint64_t values = 1, padded;
    for (uint32_t i = 0; i < t->n_dims; i++)
        if (__builtin_mul_overflow(values, t->dim[i], &values) || values > INT64_MAX)
            return refuse(r, field, "a product of dimensions that overflows", "at most 2^63 - 1 values");
    if (__builtin_mul_overflow(values / q->block_values, (uint64_t)q->block_bytes, &t->size) ||
        __builtin_add_overflow(t->size, (uint64_t)r->g->alignment - 1, &padded))
        return refuse(r, field, gguf_text("%" PRIu64 " values of %s", values, q->name).s,
                      "the size in bytes must be below 2^64");
    return WEFT_OK;
}

static enum weft_rc parse_tensor(struct reader *r, struct gguf_tensor *t, uint64_t *offset)
{
    enum weft_rc rc = take_name(r, "tensor name", sizeof t->name_z - 1, &t->name);
    if (rc != WEFT_OK)
        return rc;
    memcpy(t->name_z, t->name.s, t->name.n);
    struct gguf_text field = gguf_quote(t->name);
    if ((rc = take_u32(r, field.s, &t->n_dims)) != WEFT_OK)
        return rc;
    if (t->n_dims < 1 || t->n_dims > DIMS_MAX)
        return refuse(r, field.s, gguf_text("of %u dimensions", t->n_dims).s,
                      gguf_text("must be 1 to %d", DIMS_MAX).s);
    for (uint32_t i = 0; i < DIMS_MAX; i++) {
        t->dim[i] = 1;
        if (i < t->n_dims && (rc = take_u64(r, field.s, &t->dim[i])) != WEFT_OK)
            return rc;
        if (t->dim[i] < 1 || t->dim[i] > INT64_MAX)
            return refuse(r, field.s, gguf_text("of dimension %" PRId64, (int64_t)t->dim[i]).s,
                          "must be 1 to 2^63 - 1");
    }
    uint32_t type;
    if ((rc = take_u32(r, field.s, &type)) != WEFT_OK)
        return rc;
    if (!quant_info(type)->name)
        return refuse(r, field.s, gguf_text("of weight type %u", type).s,
                      "unknown or removed from the format");
    t->type = (enum quant_type)type;
    if ((rc = take_u64(r, field.s, offset)) != WEFT_OK)
        return rc;
    if (*offset % r->g->alignment)
        return refuse(r, field.s, gguf_text("at offset %" PRIu64, *offset).s,
                      gguf_text("must be a multiple of %u", r->g->alignment).s);
    return check_size(r, field.s, t);
}

/* general.alignment, once all keys are known. The format asks for exactly a u32 here. */
static enum weft_rc parse_alignment(struct reader *r)
{
    static const char field[] = "general.alignment";
    const struct gguf_kv *kv = gguf_find(r->g, field);
    r->g->alignment = ALIGNMENT_DEFAULT;
    if (!kv)
        return WEFT_OK;
    if (kv->type != GGUF_U32)
        return refuse(r, field, gguf_text("of type %s", gguf_type_name(kv->type)).s, "must be of type u32");
    uint32_t a = (uint32_t)gguf_load(kv->data, 4);
    if (a < ALIGNMENT_MIN || a > ALIGNMENT_MAX || (a & (a - 1)))
        return refuse(r, field, gguf_text("%u", a).s,
                      gguf_text("must be a power of two, %d to %d", ALIGNMENT_MIN, ALIGNMENT_MAX).s);
    r->g->alignment = a;
    return WEFT_OK;
}

static int by_key(const void *a, const void *b)
{
    return gguf_str_compare((*(struct gguf_kv *const *)a)->key, (*(struct gguf_kv *const *)b)->key);
}

static int by_name(const void *a, const void *b)
{
    return gguf_str_compare((*(struct gguf_tensor *const *)a)->name, (*(struct gguf_tensor *const *)b)->name);
}

static int by_place(const void *a, const void *b)
{
    const uint64_t x = (*(struct gguf_tensor *const *)a)->at, y = (*(struct gguf_tensor *const *)b)->at;
    return (x > y) - (x < y);
}

static enum weft_rc parse_kvs(struct reader *r)
{
    struct gguf *g = r->g;
    g->kv = mem_calloc(g->n_kv, sizeof *g->kv);
    g->kv_by_key = mem_calloc(g->n_kv, sizeof *g->kv_by_key);
    if (!g->kv || !g->kv_by_key)
        return weft_err_nomem(r->err, "gguf_parse", g->n_kv * sizeof *g->kv);
    for (uint64_t i = 0; i < g->n_kv; i++) {
        enum weft_rc rc = parse_kv(r, &g->kv[i]);
        if (rc != WEFT_OK)
            return rc;
        g->kv_by_key[i] = &g->kv[i];
    }
    qsort(g->kv_by_key, g->n_kv, sizeof *g->kv_by_key, by_key);
    for (uint64_t i = 1; i < g->n_kv; i++)
        if (by_key(&g->kv_by_key[i - 1], &g->kv_by_key[i]) == 0)
            return refuse(r, "key", gguf_quote(g->kv_by_key[i]->key).s, "a key may appear once");
    return WEFT_OK;
}

static enum weft_rc parse_tensors(struct reader *r)
{
    struct gguf *g = r->g;
    g->tensors = mem_calloc(g->n_tensors, sizeof *g->tensors);
    g->tensor_by_name = mem_calloc(g->n_tensors, sizeof *g->tensor_by_name);
    r->offset = mem_calloc(g->n_tensors, sizeof *r->offset);
    if (!g->tensors || !g->tensor_by_name || !r->offset)
        return weft_err_nomem(r->err, "gguf_parse", g->n_tensors * sizeof *g->tensors);
    uint64_t total = 0;
    for (uint64_t i = 0; i < g->n_tensors; i++) {
        struct gguf_tensor *t = &g->tensors[i];
        enum weft_rc rc = parse_tensor(r, t, &r->offset[i]);
        if (rc != WEFT_OK)
            return rc;
        if (__builtin_add_overflow(total, t->size, &total))
            return refuse(r, gguf_quote(t->name).s, gguf_text("%" PRIu64 " bytes long", t->size).s,
                          "all tensors together must be below 2^64 bytes");
        g->tensor_by_name[i] = t;
    }
    qsort(g->tensor_by_name, g->n_tensors, sizeof *g->tensor_by_name, by_name);
    for (uint64_t i = 1; i < g->n_tensors; i++)
        if (by_name(&g->tensor_by_name[i - 1], &g->tensor_by_name[i]) == 0)
            return refuse(r, "tensor name", gguf_quote(g->tensor_by_name[i]->name).s,
                          "a tensor may appear once");
    return WEFT_OK;
}

/* Says of each tensor where its data are: inside the file, no two on the same bytes. */
static enum weft_rc place_tensors(struct reader *r)
{
    struct gguf *g = r->g;
    if (!g->n_tensors)
        return WEFT_OK;
    uint64_t start = (r->pos + g->alignment - 1) / g->alignment * g->alignment;
    uint64_t room = start < g->n_bytes ? g->n_bytes - start : 0;
    for (uint64_t i = 0; i < g->n_tensors; i++) {
        struct gguf_tensor *t = &g->tensors[i];
        if (r->offset[i] > room || t->size > room - r->offset[i])
            return refuse(r, gguf_quote(t->name).s,
                          gguf_text("%" PRIu64 " bytes at %" PRIu64 " of the data", t->size, r->offset[i]).s,
                          gguf_text("the file holds %" PRIu64 " bytes of data", room).s);
        t->at = start + r->offset[i];
        t->data = g->n_held == g->n_bytes ? g->bytes + t->at : NULL;
    }
    struct gguf_tensor **order = mem_calloc(g->n_tensors, sizeof *order);
    if (!order)
        return weft_err_nomem(r->err, "gguf_parse", g->n_tensors * sizeof *order);
    memcpy(order, g->tensor_by_name, g->n_tensors * sizeof *order);
    qsort(order, g->n_tensors, sizeof *order, by_place);
    enum weft_rc rc = WEFT_OK;
    for (uint64_t i = 1; i < g->n_tensors && rc == WEFT_OK; i++)
        if (order[i]->at - order[i - 1]->at < order[i - 1]->size)
            rc = refuse(r, gguf_quote(order[i]->name).s,
                        gguf_text("at %" PRIu64 " of the data", order[i]->at - start).s,
                        gguf_text("must not overlap %s", gguf_quote(order[i - 1]->name).s).s);
    mem_free(order);
    return rc;
}

enum weft_rc gguf_parse_part(const void *bytes, uint64_t n_held, uint64_t n_file, const char *path,
                             struct gguf **out, uint64_t *want, struct weft_err *err)
{
    *out = NULL;
    struct gguf *g = mem_calloc(1, sizeof *g);
    if (!g)
        return weft_err_nomem(err, "gguf_parse", sizeof *g);
    struct reader r = {.g = g, .err = err};
    g->bytes = bytes;
    g->n_held = n_held;
    g->n_bytes = n_file;
    g->path = mem_strdup(path);
    enum weft_rc rc = g->path ? WEFT_OK : weft_err_nomem(err, "gguf_parse", strlen(path) + 1);
    static enum weft_rc (*const stages[])(struct reader *) = {parse_header, parse_kvs, parse_alignment,
                                                              parse_tensors, place_tensors};
    for (size_t i = 0; i < sizeof stages / sizeof *stages && rc == WEFT_OK; i++)
        rc = stages[i](&r);
    mem_free(r.offset);
    if (rc == WEFT_OK) {
        *out = g;
        return WEFT_OK;
    }
    gguf_close(g);
    if (!r.short_of)
        return rc;
    *want = r.short_of > 2 * n_held ? r.short_of : 2 * n_held;
    return WEFT_OK;
}

enum weft_rc gguf_parse(const void *bytes, size_t n, const char *path, struct gguf **out,
                        struct weft_err *err)
{
    uint64_t want;
    return gguf_parse_part(bytes, n, n, path, out, &want, err);
}
