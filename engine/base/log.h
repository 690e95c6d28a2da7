/*
 * The log: one line a message, "2026-01-31T12:00:00.123Z LEVEL text", to a file descriptor. Levels below the set one
 * cost a comparison. Any thread; a message is written with one write(2), so lines don't mix. Foreign text in a
 * message is escaped, so that a log can be read on a terminal. Until log_open is called, warnings and errors go to stderr.
 */
#ifndef WEFT_BASE_LOG_H
#define WEFT_BASE_LOG_H

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* "error" … "debug" → level; -1 when unknown. */
int log_level_parse(const char *name);
void log_set_level(enum log_level level);
/* Appends to `path` (mode 0600, never through a symbolic link). Above 4 MiB the file is first renamed to path.1. 0, or
 * -1 with errno and the log left as it was. */
int log_open(const char *path);
void log_to_fd(int fd); /* e.g. 2 */
void log_close(void);
void log_msg(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
