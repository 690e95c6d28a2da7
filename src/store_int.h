/* What store.c and store_list.c share. */
#ifndef WEFT_STORE_INT_H
#define WEFT_STORE_INT_H

#include "src/store.h"

struct store {
    struct store_writer *writer;
    struct store_dir dir; /* for reading; the writer has its own */
    struct store_session *sessions;
};

/* The name of a session's file. */
void store_file_name(const char *id, char out[STORE_NAME_MAX]);
/* FILE_INVALID when it can't be an id. */
enum weft_rc store_check_id(const char *id, struct weft_err *err);
/* Removes what a killed weft left half written. */
void store_sweep(struct store *st);

#endif
