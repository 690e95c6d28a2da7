/* What there is in the sessions' directory. */
#include "src/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/mem.h"
#include "src/store_int.h"

static const char SUFFIX[] = STORE_SUFFIX, TEMP_SUFFIX[] = STORE_SUFFIX ".tmp";

/* --- names --- */

bool store_id_valid(const char *id)
{
    size_t n = strspn(id, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-");
    return n > 0 && n < STORE_ID_MAX && !id[n] && *id != '-';
}

void store_file_name(const char *id, char out[STORE_NAME_MAX])
{
    snprintf(out, STORE_NAME_MAX, "%s%s", id, SUFFIX);
}

static bool ends_with(const char *name, const char *suffix)
{
    size_t n = strlen(name), m = strlen(suffix);
    return n > m && strcmp(name + n - m, suffix) == 0;
}

/* --- the directory --- */

const struct store_dir *store_directory(struct store *st, struct weft_err *err)
{
    return store_dir_open(&st->dir, err) == WEFT_OK ? &st->dir : NULL;
}

/* The entries of the directory; NULL when it can't be read. */
static DIR *read_directory(struct store *st, struct weft_err *err)
{
    if (!store_directory(st, err))
        return NULL;
    int fd = openat(st->dir.fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    if (!d) {
        store_dir_failed(&st->dir, "reading", "", err);
        if (fd >= 0)
            close(fd);
    }
    return d;
}

/* New files that a killed weft didn't get to rename. One that is being written is locked. */
void store_sweep(struct store *st)
{
    DIR *d = read_directory(st, NULL);
    for (const struct dirent *e; d && (e = readdir(d));) {
        int fd = ends_with(e->d_name, TEMP_SUFFIX)
                     ? openat(st->dir.fd, e->d_name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)
                     : -1;
        if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
            unlinkat(st->dir.fd, e->d_name, 0);
        if (fd >= 0)
            close(fd);
    }
    if (d)
        closedir(d);
}

/* --- sessions in it --- */

static int newest_first(const void *a, const void *b)
{
    const struct store_entry *x = a, *y = b;
    return x->changed_ms != y->changed_ms ? (x->changed_ms < y->changed_ms ? 1 : -1) : strcmp(y->id, x->id);
}

/* Makes an entry of a file's name; false when it is no session's. */
static bool fill_entry(const struct store *st, const char *name, struct store_entry *out)
{
    struct stat s;
    size_t n = strlen(name);
    if (!ends_with(name, SUFFIX) || n - strlen(SUFFIX) >= STORE_ID_MAX)
        return false;
    snprintf(out->id, sizeof out->id, "%.*s", (int)(n - strlen(SUFFIX)), name);
    /* An empty one was made and not yet written. */
    if (!store_id_valid(out->id) || fstatat(st->dir.fd, name, &s, AT_SYMLINK_NOFOLLOW) != 0 ||
        !S_ISREG(s.st_mode) || s.st_size == 0)
        return false;
    out->changed_ms = s.st_mtim.tv_sec * 1000 + s.st_mtim.tv_nsec / 1000000;
    out->bytes = (uint64_t)s.st_size;
    return true;
}

enum weft_rc store_list(struct store *st, struct store_entry **entries, size_t *n, struct weft_err *err)
{
    struct store_entry *list = NULL, entry;
    size_t count = 0, cap = 0;
    *entries = NULL;
    *n = 0;
    DIR *d = read_directory(st, err);
    if (!d)
        return err ? err->code : WEFT_INTERNAL_ERROR;
    enum weft_rc rc = WEFT_OK;
    for (const struct dirent *e; rc == WEFT_OK && (e = readdir(d));) {
        if (!fill_entry(st, e->d_name, &entry))
            continue;
        if (mem_grow(&list, &cap, count + 1, sizeof *list) != 0)
            rc = weft_err_nomem(err, "the list of sessions", (count + 1) * sizeof *list);
        else
            list[count++] = entry;
    }
    closedir(d);
    if (rc != WEFT_OK) {
        mem_free(list);
        return rc;
    }
    if (count)
        qsort(list, count, sizeof *list, newest_first);
    *entries = list;
    *n = count;
    return WEFT_OK;
}

enum weft_rc store_check_id(const char *id, struct weft_err *err)
{
    if (store_id_valid(id))
        return WEFT_OK;
    weft_err_set(err, WEFT_FILE_INVALID, "%.64s is no session's id: letters, digits and dashes, at most %d",
                 id, STORE_ID_MAX - 1);
    weft_err_str(err, "field", "id");
    weft_err_str(err, "value", id);
    return WEFT_FILE_INVALID;
}

enum weft_rc store_peek(struct store *st, const char *id, const struct store_settings *defaults,
                        struct store_chat *chat, struct store_report *report, struct weft_err *err)
{
    char name[STORE_NAME_MAX];
    struct store_parser parser;
    bool more = true;
    enum weft_rc rc = store_check_id(id, err);
    if (rc == WEFT_OK)
        rc = store_dir_open(&st->dir, err);
    if (rc != WEFT_OK)
        return rc;
    if (!store_chat_init(chat, defaults))
        return weft_err_nomem(err, "a session", sizeof *chat);
    store_file_name(id, name);
    struct weft_err own = {.code = WEFT_OK};
    int fd = store_file_open_read(&st->dir, name, &own);
    rc = own.code;
    store_parser_init(&parser, chat);
    while (rc == WEFT_OK && more)
        rc = store_file_read_some(&st->dir, name, fd, &parser, &more, &own);
    if (fd >= 0)
        close(fd);
    snprintf(chat->id, sizeof chat->id, "%s", id);
    if (report)
        *report = parser.report;
    store_parser_deinit(&parser);
    if (rc != WEFT_OK) {
        store_chat_deinit(chat);
        if (err)
            *err = own;
    }
    return rc;
}
