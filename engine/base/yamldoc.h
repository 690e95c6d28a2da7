/*
 * One YAML document from text that may hold anything: composed by libyaml, once its depth is known to be harmless.
 *
 * libyaml's time to compose a document grows with the square of its depth, so that a megabyte of "[" would take it
 * minutes. The text is therefore read once without keeping anything, and refused where it goes deeper than any file of
 * ours. Pure; any thread.
 */
#ifndef WEFT_BASE_YAMLDOC_H
#define WEFT_BASE_YAMLDOC_H

#include <stddef.h>

#include <yaml.h>

#include "engine/base/err.h"

enum { YAMLDOC_DEPTH_MAX = 32 }; /* sequences and mappings within each other */

/* Why a text was refused, for messages: who reads the file knows what to call it. */
struct yamldoc_problem {
    unsigned line;     /* from 1 */
    char text[224];    /* "not YAML: …", "nested too deeply", "a second document" */
    const char *limit; /* what is allowed instead, in words */
};

/*
 * Composes the only document of text[0..n). *out is the caller's, for yaml_document_delete; its root is NULL when the
 * text holds nothing but comments. FILE_INVALID: *problem says why, *err and *out are untouched. INTERNAL_ERROR: out of
 * memory; *err says so.
 */
enum weft_rc yamldoc_compose(const char *text, size_t n, yaml_document_t *out,
                             struct yamldoc_problem *problem, struct weft_err *err);

#endif
