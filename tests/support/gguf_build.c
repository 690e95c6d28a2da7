#include "tests/support/gguf_build.h"

#include <assert.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/mem.h"

static void require(bool ok)
{
    if (!ok)
        abort();
}

static void put_le(struct buf *b, uint64_t v, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        require(buf_addc(b, (char)(v >> (8 * i) & 0xff)));
}

static void put_f32(struct buf *b, float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    put_le(b, u, 4);
}

static void put_bytes(struct buf *b, const void *p, size_t n)
{
    require(n == 0 || buf_add(b, p, n));
}

static void put_string(struct buf *b, const void *p, size_t n)
{
    put_le(b, n, 8);
    put_bytes(b, p, n);
}

void gguf_build_init(struct gguf_build *b)
{
    *b = (struct gguf_build){.magic = {'G', 'G', 'U', 'F'},
                             .version = 3,
                             .alignment = 32,
                             .claim_kv = GGUF_BUILD_AUTO,
                             .claim_tensors = GGUF_BUILD_AUTO};
}

static void free_kv(struct gguf_build_kv *kv)
{
    buf_free(&kv->key);
    buf_free(&kv->value);
}

static void free_tensor(struct gguf_build_tensor *t)
{
    buf_free(&t->name);
    buf_free(&t->data);
}

void gguf_build_free(struct gguf_build *b)
{
    for (size_t i = 0; i < b->n_kv; i++)
        free_kv(&b->kv[i]);
    for (size_t i = 0; i < b->n_tensors; i++)
        free_tensor(&b->tensors[i]);
    mem_free(b->kv);
    mem_free(b->tensors);
    *b = (struct gguf_build){0};
}

static struct gguf_build_kv *find_kv(struct gguf_build *b, const char *key)
{
    for (size_t i = 0; i < b->n_kv; i++)
        if (strcmp(buf_str(&b->kv[i].key), key) == 0)
            return &b->kv[i];
    return NULL;
}

struct gguf_build_kv *gguf_build_append_kv(struct gguf_build *b, const void *key, size_t key_len,
                                           uint32_t type, const void *value, size_t n)
{
    require(mem_grow(&b->kv, &b->cap_kv, b->n_kv + 1, sizeof *b->kv) == 0);
    struct gguf_build_kv *kv = &b->kv[b->n_kv++];
    *kv = (struct gguf_build_kv){.key = BUF_INIT, .type = type, .value = BUF_INIT};
    put_bytes(&kv->key, key, key_len);
    put_bytes(&kv->value, value, n);
    return kv;
}

void gguf_build_value(struct gguf_build *b, const char *key, uint32_t type, const void *value, size_t n)
{
    struct gguf_build_kv *kv = find_kv(b, key);
    if (!kv) {
        gguf_build_append_kv(b, key, strlen(key), type, value, n);
        return;
    }
    kv->type = type;
    buf_clear(&kv->value);
    put_bytes(&kv->value, value, n);
}

static void set_taking(struct gguf_build *b, const char *key, uint32_t type, struct buf *value)
{
    gguf_build_value(b, key, type, value->data, value->len);
    buf_free(value);
}

static void set_le(struct gguf_build *b, const char *key, uint32_t type, uint64_t v, unsigned bytes)
{
    struct buf value = BUF_INIT;
    put_le(&value, v, bytes);
    set_taking(b, key, type, &value);
}

void gguf_build_u32(struct gguf_build *b, const char *key, uint32_t v)
{
    set_le(b, key, GGUF_U32, v, 4);
}

void gguf_build_i32(struct gguf_build *b, const char *key, int32_t v)
{
    set_le(b, key, GGUF_I32, (uint32_t)v, 4);
}

void gguf_build_u64(struct gguf_build *b, const char *key, uint64_t v)
{
    set_le(b, key, GGUF_U64, v, 8);
}

void gguf_build_bool(struct gguf_build *b, const char *key, bool v)
{
    set_le(b, key, GGUF_BOOL, v, 1);
}

void gguf_build_f32(struct gguf_build *b, const char *key, float v)
{
    struct buf value = BUF_INIT;
    put_f32(&value, v);
    set_taking(b, key, GGUF_F32, &value);
}

void gguf_build_str(struct gguf_build *b, const char *key, const char *v)
{
    struct buf value = BUF_INIT;
    put_string(&value, v, strlen(v));
    set_taking(b, key, GGUF_STRING, &value);
}

void gguf_build_array(struct gguf_build *b, const char *key, uint32_t elem_type, uint64_t claim,
                      const void *elements, size_t bytes)
{
    struct buf value = BUF_INIT;
    put_le(&value, elem_type, 4);
    put_le(&value, claim, 8);
    put_bytes(&value, elements, bytes);
    set_taking(b, key, GGUF_ARRAY, &value);
}

void gguf_build_strings(struct gguf_build *b, const char *key, const char *const *v, size_t n)
{
    struct buf elements = BUF_INIT;
    for (size_t i = 0; i < n; i++)
        put_string(&elements, v[i], strlen(v[i]));
    gguf_build_array(b, key, GGUF_STRING, n, elements.data, elements.len);
    buf_free(&elements);
}

void gguf_build_drop(struct gguf_build *b, const char *key)
{
    struct gguf_build_kv *kv = find_kv(b, key);
    require(kv != NULL);
    free_kv(kv);
    memmove(kv, kv + 1, (size_t)(b->kv + --b->n_kv - kv) * sizeof *kv);
}

struct gguf_build_tensor *gguf_build_tensor(struct gguf_build *b, const char *name, uint32_t type,
                                            uint32_t n_dims, const uint64_t *dim, const void *data,
                                            size_t bytes)
{
    struct gguf_build_tensor t = {
        .name = BUF_INIT, .type = type, .n_dims = n_dims, .offset = GGUF_BUILD_AUTO, .data = BUF_INIT};
    assert(n_dims <= sizeof t.dim / sizeof *t.dim);
    require(mem_grow(&b->tensors, &b->cap_tensors, b->n_tensors + 1, sizeof t) == 0);
    memcpy(t.dim, dim, n_dims * sizeof *dim);
    put_bytes(&t.name, name, strlen(name));
    for (size_t i = 0; !data && i < bytes; i++)
        put_le(&t.data, 0, 1);
    if (data)
        put_bytes(&t.data, data, bytes);
    b->tensors[b->n_tensors] = t;
    return &b->tensors[b->n_tensors++];
}

struct gguf_build_tensor *gguf_build_find_tensor(struct gguf_build *b, const char *name)
{
    for (size_t i = 0; i < b->n_tensors; i++)
        if (strcmp(buf_str(&b->tensors[i].name), name) == 0)
            return &b->tensors[i];
    require(false);
    return NULL;
}

void gguf_build_drop_tensor(struct gguf_build *b, const char *name)
{
    struct gguf_build_tensor *t = gguf_build_find_tensor(b, name);
    free_tensor(t);
    memmove(t, t + 1, (size_t)(b->tensors + --b->n_tensors - t) * sizeof *t);
}

static void pad(struct buf *out, size_t start, uint32_t alignment)
{
    while (alignment && (out->len - start) % alignment)
        put_le(out, 0, 1);
}

void gguf_build_write(const struct gguf_build *b, struct buf *out)
{
    size_t start = out->len;
    put_bytes(out, b->magic, 4);
    put_le(out, b->version, 4);
    put_le(out, b->claim_tensors == GGUF_BUILD_AUTO ? b->n_tensors : (uint64_t)b->claim_tensors, 8);
    put_le(out, b->claim_kv == GGUF_BUILD_AUTO ? b->n_kv : (uint64_t)b->claim_kv, 8);
    for (size_t i = 0; i < b->n_kv; i++) {
        put_string(out, b->kv[i].key.data, b->kv[i].key.len);
        put_le(out, b->kv[i].type, 4);
        put_bytes(out, b->kv[i].value.data, b->kv[i].value.len);
    }
    uint64_t offset = 0;
    for (size_t i = 0; i < b->n_tensors; i++) {
        const struct gguf_build_tensor *t = &b->tensors[i];
        put_string(out, t->name.data, t->name.len);
        put_le(out, t->n_dims, 4);
        for (uint32_t d = 0; d < t->n_dims && d < sizeof t->dim / sizeof *t->dim; d++)
            put_le(out, t->dim[d], 8);
        put_le(out, t->type, 4);
        put_le(out, t->offset == GGUF_BUILD_AUTO ? offset : (uint64_t)t->offset, 8);
        offset = (offset + t->data.len + b->alignment - 1) / b->alignment * b->alignment;
    }
    if (b->n_tensors)
        pad(out, start, b->alignment);
    for (size_t i = 0; i < b->n_tensors; i++) {
        put_bytes(out, b->tensors[i].data.data, b->tensors[i].data.len);
        if (i + 1 < b->n_tensors)
            pad(out, start, b->alignment);
    }
    assert(b->cut <= out->len - start);
    out->len -= b->cut;
}

int gguf_build_save(const struct gguf_build *b, const char *path)
{
    struct buf bytes = BUF_INIT;
    gguf_build_write(b, &bytes);
    int rc = -1, fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        goto out;
    size_t done = 0;
    while (done < bytes.len) {
        ssize_t n = write(fd, bytes.data + done, bytes.len - done);
        if (n < 0)
            goto out;
        done += (size_t)n;
    }
    rc = 0;
out:
    if (fd >= 0 && close(fd) < 0)
        rc = -1;
    buf_free(&bytes);
    return rc;
}
