#include "engine/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { ROTATE_BYTES = 4 << 20 };

static const char *const names[] = {"error", "warn", "info", "debug"};
static atomic_int log_fd = -1; /* -1: stderr, warnings and errors only */
static atomic_int log_level = LOG_INFO;

int log_level_parse(const char *name)
{
    for (int i = 0; i < 4; i++)
        if (strcmp(name, names[i]) == 0)
            return i;
    return -1;
}

void log_set_level(enum log_level level)
{
    atomic_store(&log_level, (int)level);
}

void log_to_fd(int fd)
{
    int old = atomic_exchange(&log_fd, fd);
    if (old > 2)
        close(old);
}

void log_close(void)
{
    log_to_fd(-1);
}

int log_open(const char *path)
{
    struct stat st;
    if (lstat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > ROTATE_BYTES) {
        char old[4096];
        if (snprintf(old, sizeof old, "%s.1", path) < (int)sizeof old)
            rename(path, old);
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -1;
    log_to_fd(fd);
    return 0;
}

void log_msg(enum log_level level, const char *fmt, ...)
{
    int fd = atomic_load_explicit(&log_fd, memory_order_relaxed);
    if ((int)level > atomic_load_explicit(&log_level, memory_order_relaxed) || (fd < 0 && level > LOG_WARN))
        return;
    char text[1024], line[2200];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);

    size_t n = 0;
    if (fd < 0) {
        fd = STDERR_FILENO;
        n = (size_t)snprintf(line, sizeof line, "weft: %s: ", names[level]);
    } else {
        struct timespec now;
        struct tm tm;
        clock_gettime(CLOCK_REALTIME, &now);
        gmtime_r(&now.tv_sec, &tm);
        n = strftime(line, sizeof line, "%Y-%m-%dT%H:%M:%S", &tm);
        n += (size_t)snprintf(line + n, sizeof line - n, ".%03ldZ %s ", now.tv_nsec / 1000000, names[level]);
    }
    for (const unsigned char *p = (const unsigned char *)text; *p && n + 6 < sizeof line; p++) {
        if (*p < 0x20 || *p == 0x7f)
            n += (size_t)snprintf(line + n, sizeof line - n, "\\x%02x", *p);
        else
            line[n++] = (char)*p;
    }
    line[n++] = '\n';
    ssize_t done;
    do
        done = write(fd, line, n);
    while (done < 0 && errno == EINTR);
}
