/* weft devices: OpenCL platforms and devices, the one weft would take, and why. */
#include <stdio.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/exec/exec_cl.h"
#include "src/cli.h"

static enum weft_rc print_json(const struct exec_cl_device *list, unsigned n, struct weft_err *err)
{
    json_t *devices = json_array();
    for (unsigned i = 0; i < n; i++) {
        const struct exec_cl_device *d = &list[i];
        const struct {
            const char *key, *text;
        } texts[] = {{"platform", d->platform}, {"name", d->name}, {"version", d->version},
                     {"driver", d->driver},     {"type", d->type}, {"why", d->why}};
        json_t *row =
            json_pack("{s:i, s:i, s:I, s:I, s:b, s:b}", "index", (int)i, "compute_units",
                      (int)d->compute_units, "memory_bytes", (json_int_t)d->memory_bytes, "max_alloc_bytes",
                      (json_int_t)d->max_alloc_bytes, "usable", d->usable, "chosen", d->chosen);
        for (size_t t = 0; row && t < sizeof texts / sizeof texts[0]; t++)
            json_object_set_new(row, texts[t].key, cli_json_text(texts[t].text, strlen(texts[t].text)));
        json_array_append_new(devices, row);
    }
    return cli_print_json(json_pack("{s:o}", "devices", devices), err);
}

/* Names come from drivers: foreign text. */
static enum weft_rc print_table(const struct exec_cl_device *list, unsigned n, struct weft_err *err)
{
    struct buf text = BUF_INIT;
    for (unsigned i = 0; i < n; i++) {
        const struct exec_cl_device *d = &list[i];
        buf_addf(&text, "%c %u  %s\n", d->chosen ? '*' : ' ', i, d->name);
        buf_addf(&text, "     %s, %u compute units, %.1f GiB, largest buffer %.1f GiB\n", d->type,
                 d->compute_units, (double)d->memory_bytes / 0x1p30, (double)d->max_alloc_bytes / 0x1p30);
        buf_addf(&text, "     %s, %s, driver %s\n", d->platform, d->version, d->driver);
        if (*d->why)
            buf_addf(&text, "     %s%s\n", d->usable ? "" : "not usable: ", d->why);
    }
    enum weft_rc rc = cli_text_print(buf_str(&text), text.len, err);
    buf_free(&text);
    return rc;
}

static enum weft_rc run_devices(struct cli *cli, struct weft_err *err)
{
    struct exec_cl_device *list = NULL;
    unsigned n = 0;
    enum weft_rc rc = exec_cl_devices(cli->cfg.device.select, &list, &n, err);
    if (rc == WEFT_OK)
        rc = cli->opt.json ? print_json(list, n, err) : print_table(list, n, err);
    mem_free(list);
    return rc;
}

static const struct opt_spec options[] = {CLI_END};

const struct cli_verb cli_devices = {
    .name = "devices",
    .operands = "",
    .summary =
        "List OpenCL platforms and devices; the one weft would take is marked with *, and it is said why.",
    .details = "",
    .options = options,
    .run = run_devices,
};
