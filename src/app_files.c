#include "src/app_state.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/embed.h"
#include "engine/base/log.h"
#include "src/config_paths.h"
#include "ui/term/guard.h"

enum { THEME_BYTES_MAX = 256 * 1024 };

/* --- the log --- */

/* Where the log goes: log.file, or weft.log in the state directory, which is made. */
static bool log_path(const struct weft_config *cfg, struct buf *path, struct weft_err *err)
{
    struct buf dir = BUF_INIT;
    bool found = false;
    if (*cfg->log.file) {
        found = buf_adds(path, cfg->log.file);
    } else if (!paths_of(PATH_STATE, "", &dir) || !paths_of(PATH_STATE, "weft.log", path)) {
        weft_err_set(err, WEFT_FILE_INVALID, "there is no home directory for the log");
    } else if (paths_make(buf_str(&dir)) != 0) {
        weft_err_set(err, WEFT_FILE_INVALID, "%s: %s", buf_str(&dir), strerror(errno));
    } else {
        found = true;
    }
    buf_free(&dir);
    return found;
}

void app_log_open(const struct weft_config *cfg, struct weft_err *err)
{
    struct buf path = BUF_INIT;
    int fd = -1;
    log_set_level((enum log_level)cfg->log.level);
    if (log_path(cfg, &path, err)) {
        if (log_open(buf_str(&path)) == 0)
            fd = open(buf_str(&path), O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0)
            weft_err_set(err, WEFT_FILE_INVALID, "%s: %s", buf_str(&path), strerror(errno));
    }
    if (fd < 0) /* messages for nobody: they must not reach the screen */
        fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (fd >= 0) {
        guard_stderr_to(fd);
        close(fd);
    }
    buf_free(&path);
}

/* --- themes --- */

/* "NAME.yaml" → NAME into out; false when it is no such name, or too long. */
static bool theme_name(const char *file, char out[32])
{
    const char *dot = strrchr(file, '.');
    if (!dot || strcmp(dot, ".yaml") != 0 || dot == file || dot - file > 31)
        return false;
    snprintf(out, 32, "%.*s", (int)(dot - file), file);
    return true;
}

static void add_theme(struct app *a, const char *file)
{
    char name[32];
    if (!theme_name(file, name) || a->n_themes == APP_THEMES_MAX)
        return;
    for (size_t i = 0; i < a->n_themes; i++)
        if (strcmp(a->themes[i], name) == 0)
            return;
    memcpy(a->themes[a->n_themes++], name, sizeof name);
}

void app_find_themes(struct app *a)
{
    struct theme scratch;
    struct buf dir = BUF_INIT;
    /* The table has other files too (configuration, workloads): what reads as a theme is one. */
    for (const struct weft_embedded *e = weft_embedded_defaults; e->name; e++)
        if (theme_parse(e->data, e->size, e->name, &scratch, NULL) == WEFT_OK)
            add_theme(a, e->name);
    DIR *d = paths_of(PATH_CONFIG, "themes", &dir) ? opendir(buf_str(&dir)) : NULL;
    for (const struct dirent *f; d && (f = readdir(d));)
        add_theme(a, f->d_name);
    if (d)
        closedir(d);
    buf_free(&dir);
}

/* Reads a theme's file. False, and no error set, when there is none. */
static bool read_theme(const char *path, struct buf *out, struct weft_err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return false;
    int rc = fd < 0 ? -1 : buf_read_fd(out, fd, THEME_BYTES_MAX);
    if (rc < 0)
        weft_err_set(err, WEFT_CONFIG_INVALID, "theme %s: %s", path, strerror(errno));
    else if (rc > 0)
        weft_err_set(err, WEFT_CONFIG_INVALID, "theme %s: larger than %d bytes", path, THEME_BYTES_MAX);
    if (fd >= 0)
        close(fd);
    return rc == 0;
}

enum weft_rc app_load_theme(struct app *a, const char *name, struct weft_err *err)
{
    struct buf path = BUF_INIT, text = BUF_INIT;
    struct weft_err own = {.code = WEFT_OK};
    struct theme theme;
    char file[64];
    enum weft_rc rc;
    snprintf(file, sizeof file, "%s.yaml", name);
    const struct weft_embedded *built_in = weft_embedded_find(weft_embedded_defaults, file);
    const char *what = file; /* what messages call it */
    /* A path is taken as it is; of a name, the user's file comes before the one that is built in. */
    if (strchr(name, '/'))
        buf_adds(&path, name);
    else if (paths_of(PATH_CONFIG, "themes/", &path))
        buf_adds(&path, file);
    if (read_theme(buf_str(&path), &text, &own)) {
        what = buf_str(&path);
        rc = theme_parse(buf_str(&text), text.len, what, &theme, &own);
    } else if (own.code != WEFT_OK) {
        rc = own.code;
    } else if (built_in && !strchr(name, '/')) {
        rc = theme_parse(built_in->data, built_in->size, what, &theme, &own);
    } else {
        rc = weft_err_set(&own, WEFT_CONFIG_INVALID, "there is no theme %.64s; those known: /theme and Tab",
                          name);
        weft_err_str(&own, "key", "ui.theme");
        weft_err_str(&own, "value", name);
    }
    if (rc == WEFT_OK) {
        if (term_colours(a->term) == 0)
            theme_plain(&theme);
        a->theme = theme;
        snprintf(a->theme_name, sizeof a->theme_name, "%.31s", name);
    } else if (!*a->theme_name) { /* nothing to keep: something that can be read */
        theme_plain(&a->theme);
    }
    if (rc != WEFT_OK && err)
        *err = own;
    buf_free(&path);
    buf_free(&text);
    return rc;
}
