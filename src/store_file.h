/*
 * One append-only file that survives kill -9, power cuts, full disks and a second console.
 *
 *      append            flush: pwrite            flush: fsync
 *   ────────────► tail ────────────────► written ───────────────► synced (known to be on disk)
 *                   ▲                                    │ fails: all of the tail is written again
 *                   └────────────────────────────────────┘
 *
 * What isn't known to be on disk stays in memory, and is written at its own offset: so any call may fail at any
 * time, and repeating the flush later ends with the same bytes. A kernel that fails fsync drops the pages that
 * it couldn't write, so these are written anew too. A file is replaced by way of a new one in the same directory:
 * written, synced, renamed over it, the directory synced.
 *
 * Whoever has a file open holds its lock (flock); a file that somebody else holds can be read, not written.
 * Files are made 0600, never through a symbolic link, and must be regular ones of this user.
 *
 * One thread at a time. On failure a function fills *err (INTERNAL_ERROR where the system refused, with the
 * system's words; FILE_INVALID for what is no session file), and may be called again.
 */
#ifndef WEFT_STORE_FILE_H
#define WEFT_STORE_FILE_H

#include <sys/types.h>

#include "src/store_record.h"

/* The system calls that can fail, as a seam: tests make the Nth one fail. Each is as the one it is named after;
 * `dir` is a directory's descriptor, files are made with mode 0600. */
struct store_io {
    int (*open)(void *ctx, int dir, const char *name, int flags);
    ssize_t (*read)(void *ctx, int fd, void *to, size_t n);
    ssize_t (*pwrite)(void *ctx, int fd, const void *from, size_t n, off_t at);
    int (*truncate)(void *ctx, int fd, off_t length);
    int (*sync)(void *ctx, int fd);
    int (*rename)(void *ctx, int dir, const char *from, const char *to);
    int (*unlink)(void *ctx, int dir, const char *name);
    void *ctx;
};
extern const struct store_io store_io_system;

/* Where the files are. */
struct store_dir {
    const struct store_io *io;
    char *path; /* mem_free */
    int fd;     /* -1: not open */
};

/* Makes the directory where it is missing, and opens it; does nothing when it is open. It is made 0700; one of
 * another user is refused. */
enum weft_rc store_dir_open(struct store_dir *d, struct weft_err *err);
void store_dir_close(struct store_dir *d);
/* What a failed system call on `name` in the directory means: fills *err from errno. */
enum weft_rc store_dir_failed(const struct store_dir *d, const char *what, const char *name,
                              struct weft_err *err);

#define STORE_SUFFIX ".jsonl"
enum { STORE_NAME_MAX = STORE_ID_MAX + 8, STORE_READ_BYTES = 1 << 16 };

struct store_file {
    char name[STORE_NAME_MAX];
    int fd;            /* -1: not made, or not open yet */
    bool exists;       /* made before: never to be made anew */
    bool read_only;    /* could only be opened so */
    bool locked;       /* is ours to write */
    struct buf tail;   /* from `synced` on */
    uint64_t synced;   /* bytes of the file known to be on disk */
    size_t written;    /* bytes of the tail that are in the file */
    bool sync_due;     /* of the file */
    bool dir_sync_due; /* of its directory: it was made, renamed or removed */
    bool cut_due;      /* there is something torn behind `synced` */
    bool replace;      /* the tail is the whole new file */
    bool removed;
};

/* A file that isn't there yet; nothing is touched before store_file_flush. */
void store_file_new(struct store_file *f, const char *name);
/*
 * Opens one that is, locks it and reads it through `parser`. When somebody else holds it *in_use is set, and it
 * is read all the same but can't be written; so it is closed at once.
 */
enum weft_rc store_file_open(struct store_file *f, const struct store_dir *d, const char *name,
                             struct store_parser *parser, bool *in_use, struct weft_err *err);
/* Opens a file to be read only, without its lock: for looking into a session, whoever has it. -1 on failure. */
int store_file_open_read(const struct store_dir *d, const char *name, struct weft_err *err);
/* Reads a piece of it, at most STORE_READ_BYTES; at its end, ends the parser and sets *more to false. */
enum weft_rc store_file_read_some(const struct store_dir *d, const char *name, int fd,
                                  struct store_parser *parser, bool *more, struct weft_err *err);
/* Adds to what is to be written. `sync`: the next flush puts it on disk. False when out of memory. */
bool store_file_append(struct store_file *f, const char *bytes, size_t n, bool sync);
/* These bytes are to be the whole file. False when out of memory. */
bool store_file_replace(struct store_file *f, const char *bytes, size_t n);
/* The file is to go. */
void store_file_remove(struct store_file *f);
/* Whether a flush has something to do. */
bool store_file_due(const struct store_file *f);
/* Does it. The directory must be open. */
enum weft_rc store_file_flush(struct store_file *f, const struct store_dir *d, struct weft_err *err);
void store_file_close(struct store_file *f);

#endif
