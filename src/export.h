/*
 * Chats as documents: Markdown to read, JSON to read and to load again.
 *
 * The JSON is {"schema":1,"weft":"session","id","created_ms","changed_ms","settings":{…},"messages":[{"role",
 * "content","ms","reply":{…}?}],"draft"?}; settings and reply as in the session file. Loading also takes a plain
 * array of {"role","content"}, as `weft generate --chat` does; a system message in it becomes the system prompt.
 *
 * Texts are as the model wrote them; terminal controls among them are left to whoever shows the file. Making and
 * parsing are pure; files are made 0600, by a new file that is renamed, and are never written through a link.
 */
#ifndef WEFT_EXPORT_H
#define WEFT_EXPORT_H

#include "src/store_chat.h"

enum export_format { EXPORT_MARKDOWN, EXPORT_JSON };
enum { EXPORT_SCHEMA = 1, EXPORT_FILE_MAX = 256 * 1024 * 1024 };

/* "md", "markdown", "json"; false: *out unchanged. */
bool export_format_parse(const char *name, enum export_format *out);
/* Appends the document. False when out of memory. */
bool export_chat(const struct store_chat *c, enum export_format format, struct buf *out);
/* A file's name made of title and time: "weft-plan-three-days-20260131-120000.md". */
bool export_file_name(const struct store_chat *c, enum export_format format, struct buf *out);

/*
 * Writes the document to `path`: a file, or a directory (also one that ends in a slash), where it gets the name
 * above; "~/" at its start is the home directory, "" the current one. *written: the path it has (absolute), also
 * when it is refused because it exists: INVALID_REQUEST with field, value and limit, unless `overwrite`.
 */
enum weft_rc export_write(const struct store_chat *c, enum export_format format, const char *path,
                          bool overwrite, struct buf *written, struct weft_err *err);

/* Whether there is something at that path which export_write would refuse to overwrite. A directory is none. */
bool export_exists(const char *path);

/* Reads an exported chat from its bytes, or from a file. What it doesn't say is as in `defaults`. *out is the
 * caller's on WEFT_OK, without an id. FILE_INVALID with path, field, value and limit. */
enum weft_rc export_parse(const char *bytes, size_t n, const struct store_settings *defaults,
                          struct store_chat *out, struct weft_err *err);
enum weft_rc export_read(const char *path, const struct store_settings *defaults, struct store_chat *out,
                         struct weft_err *err);

#endif
