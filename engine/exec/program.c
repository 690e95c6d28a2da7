#include "engine/exec/program.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/buf.h"
#include "engine/base/embed.h"
#include "engine/base/hash.h"
#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "engine/exec/kernel_cache.h"

static const char magic[8] = "WEFTCL1\n";

struct cache_header {
    char magic[8];
    uint64_t key, n_bytes, checksum;
};

enum { CACHE_FILE_MAX = 64 << 20 };

/* Source text of a spec; the buffer is failed when out of memory or a file is missing. */
static enum weft_rc assemble(const struct program_spec *spec, struct buf *text, struct weft_err *err)
{
    for (const char *const *part = spec->parts; *part; part++) {
        if (**part == '#') {
            buf_adds(text, *part);
            buf_addc(text, '\n');
            continue;
        }
        const struct weft_embedded *file = weft_embedded_find(weft_embedded_kernels, *part);
        if (!file) {
            weft_err_set(err, WEFT_INTERNAL_ERROR, "kernel program %s: no embedded file %s", spec->name,
                         *part);
            weft_err_str(err, "where", *part);
            return WEFT_INTERNAL_ERROR;
        }
        /* Names the file in the compiler's messages. */
        buf_addf(text, "#line 1 \"%s\"\n", file->name);
        buf_add(text, file->data, file->size);
    }
    return text->failed ? weft_err_nomem(err, spec->name, text->len) : WEFT_OK;
}

static uint64_t hash_string(uint64_t h, const char *s)
{
    return fnv1a64(h, s, strlen(s) + 1); /* with its NUL, so that fields can't run together */
}

static uint64_t key_of(const struct ocl *o, const char *options, const struct buf *text)
{
    uint64_t h = fnv1a64(FNV1A64_INIT, magic, sizeof magic);
    h = hash_string(h, o->info.platform);
    h = hash_string(h, o->platform_version);
    h = hash_string(h, o->info.name);
    h = hash_string(h, o->info.version);
    h = hash_string(h, o->info.driver);
    h = hash_string(h, options);
    return mix64(hash_string(h, buf_str(text)));
}

static void file_name(const struct program *p, char out[32])
{
    snprintf(out, 32, "%s.clbin", p->key);
}

/* Fills *payload with a sound cache file, its binary behind the header. */
static bool cache_load(int dir_fd, const struct program *p, struct buf *payload)
{
    char name[32], key[17];
    struct cache_header h;
    file_name(p, name);
    if (!kernel_cache_get(dir_fd, name, CACHE_FILE_MAX, payload))
        return false;
    bool good = payload->len >= sizeof h;
    if (good) {
        memcpy(&h, payload->data, sizeof h);
        const char *bytes = payload->data + sizeof h;
        snprintf(key, sizeof key, "%016" PRIx64, h.key);
        good = memcmp(h.magic, magic, sizeof magic) == 0 && strcmp(key, p->key) == 0 &&
               h.n_bytes == payload->len - sizeof h && h.checksum == fnv1a64(FNV1A64_INIT, bytes, h.n_bytes);
    }
    if (!good)
        log_msg(LOG_WARN, "kernel cache: %s is damaged; building anew", name);
    return good;
}

static bool cache_store(int dir_fd, const struct program *p, uint64_t key, const void *bytes, size_t n)
{
    char name[32];
    struct buf file = BUF_INIT;
    struct cache_header h = {.key = key, .n_bytes = n, .checksum = fnv1a64(FNV1A64_INIT, bytes, n)};
    memcpy(h.magic, magic, sizeof magic);
    file_name(p, name);
    const bool good = buf_add(&file, &h, sizeof h) && buf_add(&file, bytes, n) &&
                      kernel_cache_put(dir_fd, name, file.data, file.len);
    buf_free(&file);
    return good;
}

static enum weft_rc build_failed(struct ocl *o, const struct program_spec *spec, cl_program program, cl_int e,
                                 struct weft_err *err)
{
    char log[512] = "";
    size_t n = 0;
    char *whole = NULL;
    if (!clGetProgramBuildInfo(program, o->device, CL_PROGRAM_BUILD_LOG, 0, NULL, &n) && n)
        whole = mem_calloc(n + 1, 1);
    if (whole && !clGetProgramBuildInfo(program, o->device, CL_PROGRAM_BUILD_LOG, n, whole, NULL)) {
        snprintf(log, sizeof log, "%s", whole);
        log_msg(LOG_ERROR, "kernel program %s (%s): build log: %s", spec->name, spec->options, whole);
    }
    mem_free(whole);
    weft_err_set(err, WEFT_INTERNAL_ERROR, "kernel program %s doesn't build on %s: %s (%d): %s", spec->name,
                 o->info.name, ocl_error_name(e), (int)e, log);
    weft_err_str(err, "where", "clBuildProgram");
    return WEFT_INTERNAL_ERROR;
}

/* A program from a stored binary, or NULL when the runtime doesn't take it. */
static cl_program from_binary(struct ocl *o, const struct program_spec *spec, const void *bytes, size_t n)
{
    const unsigned char *data = bytes;
    cl_int status = CL_SUCCESS, e = CL_SUCCESS;
    cl_program program = clCreateProgramWithBinary(o->context, 1, &o->device, &n, &data, &status, &e);
    if (!program)
        return NULL;
    if (!status && !e && !clBuildProgram(program, 1, &o->device, spec->options, NULL, NULL))
        return program;
    clReleaseProgram(program);
    return NULL;
}

enum weft_rc program_open(struct ocl *o, const struct program_spec *spec, int dir_fd, struct program *out,
                          struct weft_err *err)
{
    struct buf text = BUF_INIT, binary = BUF_INIT;
    *out = (struct program){0};
    enum weft_rc rc = assemble(spec, &text, err);
    if (rc)
        goto out;
    snprintf(out->key, sizeof out->key, "%016" PRIx64, key_of(o, spec->options, &text));
    if (dir_fd >= 0 && cache_load(dir_fd, out, &binary)) {
        out->program = from_binary(o, spec, binary.data + sizeof(struct cache_header),
                                   binary.len - sizeof(struct cache_header));
        out->from_cache = out->program != NULL;
        if (out->program)
            goto out;
        log_msg(LOG_WARN, "kernel cache: the runtime refuses %s.clbin; building anew", out->key);
    }
    cl_int e = CL_OUT_OF_RESOURCES;
    const char *source = buf_str(&text);
    out->program = ocl_fault() ? NULL : clCreateProgramWithSource(o->context, 1, &source, NULL, &e);
    if (!out->program) {
        rc = ocl_error(err, "clCreateProgramWithSource", e);
        goto out;
    }
    e = ocl_fault() ? CL_OUT_OF_RESOURCES
                    : clBuildProgram(out->program, 1, &o->device, spec->options, NULL, NULL);
    if (e) {
        rc = build_failed(o, spec, out->program, e, err);
        program_close(out);
    }
out:
    buf_free(&text);
    buf_free(&binary);
    return rc;
}

void program_keep(struct program *p, int dir_fd)
{
    size_t n = 0;
    unsigned char *bytes = NULL;
    uint64_t key = 0;
    if (dir_fd < 0 || p->from_cache || !p->program)
        return;
    if (clGetProgramInfo(p->program, CL_PROGRAM_BINARY_SIZES, sizeof n, &n, NULL) || !n ||
        sscanf(p->key, "%" SCNx64, &key) != 1)
        return;
    bytes = mem_alloc(n);
    if (!bytes || clGetProgramInfo(p->program, CL_PROGRAM_BINARIES, sizeof bytes, &bytes, NULL) ||
        !cache_store(dir_fd, p, key, bytes, n))
        log_msg(LOG_WARN, "kernel cache: %s.clbin wasn't written: %s", p->key, strerror(errno));
    mem_free(bytes);
}

void program_close(struct program *p)
{
    if (p->program)
        clReleaseProgram(p->program);
    *p = (struct program){0};
}

enum weft_rc program_kernel(const struct program *p, const char *function, const char *label,
                            struct ocl_kernel *out, struct weft_err *err)
{
    char call[96];
    cl_int e = CL_OUT_OF_RESOURCES;
    out->kernel = ocl_fault() ? NULL : clCreateKernel(p->program, function, &e);
    out->name = label;
    if (out->kernel)
        return WEFT_OK;
    snprintf(call, sizeof call, "clCreateKernel(%s)", function);
    return ocl_error(err, call, e);
}

void program_kernel_free(struct ocl_kernel *k)
{
    if (k->kernel)
        clReleaseKernel(k->kernel);
    *k = (struct ocl_kernel){0};
}
