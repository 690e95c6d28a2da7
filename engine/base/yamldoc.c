#include "engine/base/yamldoc.h"

#include <stdbool.h>
#include <stdio.h>

#define DEPTH_LIMIT "at most 32 levels"
_Static_assert(YAMLDOC_DEPTH_MAX == 32, "the words above say so");

static enum weft_rc refuse(struct yamldoc_problem *p, unsigned line, const char *text, const char *limit)
{
    p->line = line;
    p->limit = limit;
    snprintf(p->text, sizeof p->text, "%s", text);
    return WEFT_FILE_INVALID;
}

static unsigned line_of(const yaml_mark_t *mark)
{
    return (unsigned)mark->line + 1;
}

/* Bytes that are no characters have an offset where other mistakes have a mark. */
static unsigned line_of_offset(const char *text, size_t n, size_t offset)
{
    unsigned line = 1;
    for (size_t i = 0; i < n && i < offset; i++)
        line += text[i] == '\n';
    return line;
}

/* libyaml's complaint, with its line. */
static enum weft_rc refuse_syntax(const yaml_parser_t *parser, const char *text, size_t n,
                                  struct yamldoc_problem *p, struct weft_err *err)
{
    char words[sizeof p->text];
    if (parser->error == YAML_MEMORY_ERROR)
        return weft_err_nomem(err, "yamldoc_compose", 0);
    snprintf(words, sizeof words, "not YAML: %s%s%s", parser->problem ? parser->problem : "unreadable",
             parser->context ? " " : "", parser->context ? parser->context : "");
    return refuse(p,
                  parser->error == YAML_READER_ERROR ? line_of_offset(text, n, parser->problem_offset)
                                                     : line_of(&parser->problem_mark),
                  words, "YAML");
}

static enum weft_rc start(yaml_parser_t *parser, const char *text, size_t n, struct weft_err *err)
{
    if (!yaml_parser_initialize(parser))
        return weft_err_nomem(err, "yamldoc_compose", sizeof *parser);
    yaml_parser_set_input_string(parser, (const unsigned char *)text, n);
    return WEFT_OK;
}

static int depth_change(yaml_event_type_t type)
{
    bool in = type == YAML_SEQUENCE_START_EVENT || type == YAML_MAPPING_START_EVENT;
    bool out = type == YAML_SEQUENCE_END_EVENT || type == YAML_MAPPING_END_EVENT;
    return in - out;
}

/* The first pass: the depth, and whatever isn't YAML. */
static enum weft_rc check_depth(const char *text, size_t n, struct yamldoc_problem *problem,
                                struct weft_err *err)
{
    yaml_parser_t parser;
    enum weft_rc rc = start(&parser, text, n, err);
    if (rc)
        return rc;
    yaml_event_type_t type = YAML_NO_EVENT;
    for (int depth = 0; !rc && type != YAML_STREAM_END_EVENT;) {
        yaml_event_t event;
        if (!yaml_parser_parse(&parser, &event)) {
            rc = refuse_syntax(&parser, text, n, problem, err);
            break;
        }
        type = event.type;
        depth += depth_change(type);
        if (depth > YAMLDOC_DEPTH_MAX)
            rc = refuse(problem, line_of(&event.start_mark), "nested too deeply", DEPTH_LIMIT);
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    return rc;
}

enum weft_rc yamldoc_compose(const char *text, size_t n, yaml_document_t *out,
                             struct yamldoc_problem *problem, struct weft_err *err)
{
    yaml_parser_t parser;
    yaml_document_t doc, extra;
    enum weft_rc rc = check_depth(text, n, problem, err);
    if (rc || (rc = start(&parser, text, n, err)))
        return rc;
    if (!yaml_parser_load(&parser, &doc)) {
        rc = refuse_syntax(&parser, text, n, problem,
                           err); /* an alias of nothing, say: only composing finds that */
        goto out;
    }
    if (!yaml_parser_load(&parser, &extra)) {
        rc = refuse_syntax(&parser, text, n, problem, err);
    } else {
        const yaml_node_t *second = yaml_document_get_root_node(&extra);
        if (second)
            rc = refuse(problem, line_of(&second->start_mark), "a second document", "one document");
        yaml_document_delete(&extra);
    }
    if (rc)
        yaml_document_delete(&doc);
    else
        *out = doc;
out:
    yaml_parser_delete(&parser);
    return rc;
}
