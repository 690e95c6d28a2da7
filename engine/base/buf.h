/*
 * A growable byte buffer, always NUL-terminated. A failed allocation sets `failed` and later appends do nothing, so a
 * caller checks once at the end (as curl's dynbuf does). Not thread-safe: one owner.
 */
#ifndef WEFT_BASE_BUF_H
#define WEFT_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>

struct buf {
    char *data; /* NULL while empty and never written: use buf_str */
    size_t len, cap;
    bool failed;
};

#define BUF_INIT                                                                                             \
    {                                                                                                        \
        0, 0, 0, false                                                                                       \
    }

void buf_free(struct buf *b);  /* leaves an empty buffer, ready for use */
void buf_clear(struct buf *b); /* length 0, `failed` reset, memory kept */
bool buf_add(struct buf *b, const void *p, size_t n);
bool buf_adds(struct buf *b, const char *s);
bool buf_addc(struct buf *b, char c);
bool buf_addf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
const char *buf_str(const struct buf *b);   /* "" when empty; valid until the next change */
char *buf_take(struct buf *b, size_t *len); /* hands over the memory (mem_free); NULL when failed */
/* Reads a whole file descriptor; at most `limit` bytes. 0, -1 on error (errno), 1 when over the limit. */
int buf_read_fd(struct buf *b, int fd, size_t limit);

#endif
