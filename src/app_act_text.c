/* Actions on text that comes into the input line from a file, and leaves by the clipboard. */
#include "src/app_actions.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ui/term/editor.h"

enum { READ_MAX = 256 * 1024 }; /* of a file: more than any context holds */

/* Reads a text file. False: `why` says what is wrong with it. */
static bool read_text(const char *path, struct buf *out, char *why, size_t size)
{
    struct buf full = BUF_INIT;
    struct stat st;
    const char *home = getenv("HOME");
    bool at_home = strncmp(path, "~/", 2) == 0 && home;
    buf_addf(&full, "%s%s", at_home ? home : "", at_home ? path + 1 : path);
    /* Not blocking: opening a pipe that nobody writes to would hang. */
    int fd = open(buf_str(&full), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY), rc = -1;
    buf_free(&full);
    if (fd < 0 || fstat(fd, &st) != 0)
        snprintf(why, size, "%s", strerror(errno));
    else if (!S_ISREG(st.st_mode))
        snprintf(why, size, "it is no regular file");
    else if ((rc = buf_read_fd(out, fd, READ_MAX)) < 0)
        snprintf(why, size, "%s", strerror(errno));
    else if (rc > 0)
        snprintf(why, size, "%lld bytes, the limit is %d", (long long)st.st_size, READ_MAX);
    else if (memchr(buf_str(out), 0, out->len)) {
        snprintf(why, size, "it is no text");
        rc = -1;
    }
    if (fd >= 0)
        close(fd);
    return rc == 0;
}

static void read_file(struct app *a, const char *path)
{
    struct buf text = BUF_INIT, clean = BUF_INIT;
    struct text_filter filter = {{0}, 0};
    char why[128];
    if (!read_text(path, &text, why, sizeof why)) {
        app_toast(a, TOAST_ERROR, "/read %.200s: %s", path, why);
    } else if (!text_filter(&filter, buf_str(&text), text.len, &clean) || !text_filter_end(&filter, &clean)) {
        app_toast(a, TOAST_ERROR, "/read %.200s: out of memory", path);
    } else {
        app_focus(a, PANE_INPUT);
        editor_paste_begin(); /* one undo takes it out again */
        size_t n = editor_insert(buf_str(&clean), clean.len);
        editor_paste_end();
        app_toast(a, n < clean.len ? TOAST_WARN : TOAST_INFO, "%.200s: %zu bytes%s; Enter sends them", path,
                  n, n < clean.len ? ", and no more fit a message" : "");
    }
    buf_free(&text);
    buf_free(&clean);
}

void act_read(struct app *a, const char *args)
{
    if (args && *args)
        read_file(a, args);
    else
        overlay_prompt(a, "Read a text file", "", read_file);
}

/* The nth reply from the end, 1 the last, the one under way among them; NULL: there is none. */
static const char *reply_back(const struct session *s, size_t n, size_t *len)
{
    if (session_busy(s) && s->reply.len && --n == 0) {
        *len = s->reply.len;
        return s->reply.data;
    }
    for (size_t i = s->n_turns; i-- > 0;)
        if (s->turns[i].role == SESSION_ASSISTANT && --n == 0) {
            *len = s->turns[i].len;
            return s->turns[i].text;
        }
    return NULL;
}

size_t act_nth(struct app *a, const char *what, const char *args)
{
    char *end = NULL;
    unsigned long nth = args && *args ? strtoul(args, &end, 10) : 1;
    if (nth >= 1 && nth <= APP_NTH_MAX && !(end && *end))
        return nth;
    app_toast(a, TOAST_ERROR, "\"%.64s\": it is 1 for the last %s, 2 for the one before … %d", args, what,
              APP_NTH_MAX);
    return 0;
}

void act_copy(struct app *a, const char *args)
{
    struct buf clean = BUF_INIT;
    struct text_filter filter = {{0}, 0};
    size_t len = 0, nth = act_nth(a, "reply", args);
    if (!nth)
        return;
    const char *text = reply_back(act_chosen_session(a), nth, &len);
    /* What is pasted into a shell must hold no controls either. */
    if (!text)
        app_toast(a, TOAST_INFO, nth == 1 ? "there is no reply to copy" : "there aren't as many replies");
    else if (!text_filter(&filter, text, len, &clean) || !text_filter_end(&filter, &clean))
        app_toast(a, TOAST_ERROR, "out of memory for a copy");
    else if (term_copy(a->term, buf_str(&clean), clean.len))
        app_toast(a, TOAST_INFO, "%zu bytes given to the terminal's clipboard", clean.len);
    else
        app_toast(a, TOAST_ERROR, "/copy: %zu bytes, terminals take %d at most", clean.len, TERM_COPY_MAX);
    buf_free(&clean);
}
