#include "engine/model/chat_template.h"

#include <string.h>

#include "engine/base/mem.h"
#include "engine/base/utf8.h"
#include "engine/model/jinja.h"

struct chat_template {
    struct arena arena; /* holds the nodes */
    struct jnode *first;
};

enum weft_rc chat_template_parse(const char *source, size_t n, struct chat_template **out,
                                 struct weft_err *err)
{
    struct weft_err local;
    struct jtoken *tokens = NULL;
    *out = NULL;
    struct chat_template *t = mem_calloc(1, sizeof *t);
    if (!t)
        return weft_err_nomem(err, "chat template", sizeof *t);
    t->arena.limit = JINJA_MEMORY_MAX;
    local.code = WEFT_OK;
    bool ok =
        jinja_lex(source, n, &t->arena, &tokens, &local) && jinja_parse(tokens, &t->arena, &t->first, &local);
    mem_free(tokens);
    if (ok) {
        *out = t;
        return WEFT_OK;
    }
    if (err)
        *err = local;
    chat_template_destroy(t);
    return local.code;
}

void chat_template_destroy(struct chat_template *t)
{
    if (!t)
        return;
    arena_free(&t->arena);
    mem_free(t);
}

/* A string from outside: every byte marked. */
static bool foreign(struct jinja *x, const char *s, size_t n, struct jval *out)
{
    uint8_t *marks = arena_alloc(x->arena, n);
    if (!marks)
        return jinja_nomem(x);
    memset(marks, 1, n);
    *out = jval_str((struct jstr){s, marks, n});
    return true;
}

static bool add_message(struct jinja *x, struct jlist *list, const struct chat_message *m)
{
    struct jval d = jval_new_dict(x), role, content;
    return foreign(x, m->role, strlen(m->role), &role) && foreign(x, m->content, m->content_len, &content) &&
           jdict_set(x, d.u.dict, jval_str(jstr_z("role")), role) &&
           jdict_set(x, d.u.dict, jval_str(jstr_z("content")), content) && jlist_add(x, list, d);
}

static bool set_variables(struct jinja *x, const struct chat_message *messages, size_t n)
{
    struct jval list = jval_new_list(x);
    for (size_t i = 0; i < n; i++)
        if (!add_message(x, list.u.list, &messages[i]))
            return false;
    return (list.u.list || jinja_nomem(x)) && jinja_set(x, jstr_z("messages"), list) &&
           jinja_set(x, jstr_z("bos_token"), jval_str(jstr_z(x->vars->bos_token))) &&
           jinja_set(x, jstr_z("eos_token"), jval_str(jstr_z(x->vars->eos_token))) &&
           jinja_set(x, jstr_z("add_generation_prompt"), jval_bool(x->vars->add_generation_prompt));
}

static enum weft_rc check_messages(const struct chat_message *messages, size_t n, struct weft_err *err)
{
    for (size_t i = 0; i < n; i++) {
        bool role_ok = utf8_valid(messages[i].role, strlen(messages[i].role));
        if (role_ok && utf8_valid(messages[i].content, messages[i].content_len))
            continue;
        weft_err_set(err, WEFT_INVALID_REQUEST, "message %zu: its %s isn't UTF-8", i,
                     role_ok ? "content" : "role");
        weft_err_str(err, "field", "messages");
        weft_err_num(err, "value", (double)i);
        return WEFT_INVALID_REQUEST;
    }
    return WEFT_OK;
}

enum weft_rc chat_template_render(const struct chat_template *t, const struct chat_message *messages,
                                  size_t n, const struct chat_vars *vars, struct chat_rendered *out,
                                  struct weft_err *err)
{
    struct weft_err local = {.code = WEFT_OK};
    struct arena arena = {.limit = JINJA_MEMORY_MAX};
    struct jinja x = {.arena = &arena, .err = &local, .vars = vars, .line = 1};
    memset(out, 0, sizeof *out);
    enum weft_rc rc = check_messages(messages, n, err);
    if (rc)
        return rc;
    bool ok = set_variables(&x, messages, n) && jinja_run(&x, t->first) &&
              jinja_write(&x, (struct jstr){"", NULL, 0});
    arena_free(&arena);
    if (ok) {
        *out = (struct chat_rendered){x.text, x.mark, x.n};
        return WEFT_OK;
    }
    mem_free(x.text);
    mem_free(x.mark);
    if (err)
        *err = local;
    return local.code;
}

void chat_rendered_free(struct chat_rendered *r)
{
    mem_free(r->text);
    mem_free(r->foreign);
    memset(r, 0, sizeof *r);
}
