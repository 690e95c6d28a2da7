/*
 * The thread that writes session files, so that a slow disk never keeps the console from its keys.
 *
 * The owner (one thread, the console's) hands over bytes; the writer has the files. What fails stays in memory and is
 * tried again every retry_ms, each file for itself; in between nothing is lost but by the process's end. That something
 * failed, and that all is written again, is news, told once each.
 *
 *   owner ── append, replace, remove, release ──► chan ──► writer: store_file_flush ──► news, eventfd ──► owner
 */
#ifndef WEFT_STORE_WRITER_H
#define WEFT_STORE_WRITER_H

#include "src/store_file.h"

struct store_writer;
/* A file in the writer's hands. */
struct store_held;

/* What changed with the disk. */
struct store_news {
    bool offline;        /* something can't be written; false: everything is again */
    struct weft_err why; /* when offline */
};

/* `threaded` false: every call does its writing before it returns; for commands and tests. The path is copied. */
enum weft_rc store_writer_create(const char *path, const struct store_io *io, int64_t retry_ms, bool threaded,
                                 struct store_writer **out, struct weft_err *err);
/* Writes and syncs what there is, once, and ends. False when not everything could be written, or it took longer
 * than timeout_ms: then the thread is left behind. Files still held are closed. */
bool store_writer_destroy(struct store_writer *w, int timeout_ms);

/* Takes over an open (or new) file, and *file is empty then. NULL when out of memory. */
struct store_held *store_writer_take(struct store_writer *w, struct store_file *file);
/* The bytes are taken, also on failure. False: out of memory, and nothing was handed over. */
bool store_writer_append(struct store_writer *w, struct store_held *h, struct buf *bytes, bool sync);
bool store_writer_replace(struct store_writer *w, struct store_held *h, struct buf *bytes);
/* The last thing asked of a file: it is removed, or synced and closed. Can't fail. */
void store_writer_remove(struct store_writer *w, struct store_held *h);
void store_writer_release(struct store_writer *w, struct store_held *h);

/* Waits until all that was handed over is written and synced, trying again at once what failed. False: it
 * isn't, after at most timeout_ms. */
bool store_writer_drain(struct store_writer *w, int timeout_ms);
/* What changed since the last call; false: nothing. */
bool store_writer_news(struct store_writer *w, struct store_news *out);
/* Readable while there is news: for poll. */
int store_writer_fd(const struct store_writer *w);

#endif
