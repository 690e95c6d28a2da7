/* The chat as it was at a time gone by: when each message came, and how far a reply had come. */
#include <string.h>

#include "engine/base/mem.h"
#include "ui/transcript_priv.h"

void transcript_now(struct transcript *t, int64_t now_us)
{
    t->now_us = now_us;
}

void transcript_show_at(struct transcript *t, int64_t at_us)
{
    t->shown_at_us = at_us;
}

void transcript_note_piece(struct transcript *t, size_t i)
{
    if (!t->now_us) /* nobody tells the time */
        return;
    if (!t->pieces) {
        t->pieces = mem_calloc(TRANSCRIPT_PIECES, sizeof *t->pieces);
        if (!t->pieces)
            return;
    }
    struct piece *last = t->n_pieces ? &t->pieces[(t->n_pieces - 1) % TRANSCRIPT_PIECES] : NULL;
    if (!last || last->at_us != t->now_us || last->message != i)
        last = &t->pieces[t->n_pieces++ % TRANSCRIPT_PIECES];
    *last = (struct piece){t->now_us, i, t->messages[i].text.len};
}

void transcript_forget_pieces(struct transcript *t, size_t i)
{
    size_t n = t->n_pieces < TRANSCRIPT_PIECES ? t->n_pieces : TRANSCRIPT_PIECES;
    for (size_t k = 0; k < n; k++) {
        struct piece *p = &t->pieces[k];
        if (p->message == i)
            p->message = SIZE_MAX;
        else if (p->message > i && p->message != SIZE_MAX)
            p->message--;
    }
}

void transcript_cut(struct transcript *t)
{
    int64_t at = t->shown_at_us;
    for (size_t i = 0; i < t->n; i++) {
        struct message *m = &t->messages[i];
        m->hidden = m->born_us > at;
        m->unfinished = m->ended_us > at;
        m->shown_len = SIZE_MAX;
    }
    if (at == INT64_MAX)
        return;
    /* From the newest piece to the oldest: as long as they came later than what is shown, what each added is cut off. */
    size_t oldest = t->n_pieces > TRANSCRIPT_PIECES ? t->n_pieces - TRANSCRIPT_PIECES : 0;
    for (size_t k = t->n_pieces; k-- > oldest;) {
        const struct piece *p = &t->pieces[k % TRANSCRIPT_PIECES];
        if (p->message >= t->n)
            continue;
        struct message *m = &t->messages[p->message];
        if (p->at_us > at)
            m->shown_len = 0; /* or what an earlier piece says */
        else if (m->shown_len == 0)
            m->shown_len = p->len;
    }
}
