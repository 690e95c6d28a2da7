#include "tests/support/real_device.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "engine/model/model.h"

#define MODEL "models/SmolLM2-135M-Instruct.Q4_1.gguf"

static char model_path[4096];
static struct model *own_model; /* the executor's */
static struct exec *device;

int real_device_open(const struct exec_cl_config *cfg)
{
    const char *data = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    struct exec_cl_config config = *cfg;
    struct weft_err err = {0};
    config.device = "auto";
    config.cache_dir = TEST_BINARY_DIR "/kernel-cache";
    if (data && *data)
        snprintf(model_path, sizeof model_path, "%s/weft/" MODEL, data);
    else
        snprintf(model_path, sizeof model_path, "%s/.local/share/weft/" MODEL, home ? home : "");
    if (model_open(model_path, &own_model, &err) || exec_cl_create(own_model, &config, &device, &err)) {
        print_error("%s (scripts/setup fetches the model)\n", err.message);
        return -1;
    }
    return 0;
}

void real_device_close(void)
{
    exec_destroy(device);
    model_close(own_model);
    device = NULL;
    own_model = NULL;
}

const struct exec_info *real_device_info(void)
{
    return &device->info;
}

/* ---- an executor that outlives its engine ---- */

static enum weft_rc lent_step(struct exec *x, const struct plan *plan, struct exec_out *out,
                              struct weft_err *err)
{
    (void)x;
    return exec_step(device, plan, out, err);
}

static void lent_destroy(struct exec *x)
{
    free(x);
}

static const struct exec_vtab lent_vtab = {.step = lent_step, .destroy = lent_destroy};

enum weft_rc real_device_lend(uint32_t n_blocks, struct model **model, struct exec **exec,
                              struct weft_err *err)
{
    enum weft_rc rc = model_open(model_path, model, err);
    if (rc)
        return rc;
    struct exec *x = calloc(1, sizeof *x);
    assert_non_null(x);
    x->v = &lent_vtab;
    x->info = device->info;
    x->info.n_blocks = n_blocks;
    *exec = x;
    return WEFT_OK;
}
