#include <string.h>

#include "engine/base/utf8.h"
#include "engine/model/tok_stream.h"

static const char replacement[] = "\xef\xbf\xbd"; /* U+FFFD */

void tok_stream_init(struct tok_stream *s, const struct tok *t)
{
    *s = (struct tok_stream){.t = t};
}

/* Appends the whole characters of text[0..n), and returns how many bytes are left: the start of a character.
 */
static size_t add_characters(const char *text, size_t n, struct buf *out)
{
    size_t done = 0;
    while (done < n) {
        uint32_t cp;
        size_t len = utf8_decode(text + done, n - done, &cp);
        if (len == 0)
            break;
        if (len == 1 && cp == 0xfffd)
            buf_add(out, replacement, 3);
        else
            buf_add(out, text + done, len);
        done += len;
    }
    return n - done;
}

/* Adds bytes to the held-back ones until these make a character or are shown to be none. Returns how many it took. */
static size_t complete_pending(struct tok_stream *s, const char *bytes, size_t n, struct buf *out)
{
    size_t took = 0;
    while (s->n_pending > 0 && took < n) {
        s->pending[s->n_pending++] = bytes[took++];
        size_t left = add_characters(s->pending, s->n_pending, out);
        memmove(s->pending, s->pending + s->n_pending - left, left);
        s->n_pending = left;
    }
    return took;
}

bool tok_stream_push(struct tok_stream *s, uint32_t id, struct buf *out)
{
    if (id >= tok_n_vocab(s->t) || tok_is_control(s->t, id))
        return !out->failed;
    size_t n;
    const char *bytes = tok_bytes(s->t, id, &n);
    size_t took = complete_pending(s, bytes, n, out);
    if (took < n) {
        size_t left = add_characters(bytes + took, n - took, out);
        memcpy(s->pending, bytes + n - left, left);
        s->n_pending = left;
    }
    return !out->failed;
}

bool tok_stream_end(struct tok_stream *s, struct buf *out)
{
    for (; s->n_pending > 0; s->n_pending--)
        buf_add(out, replacement, 3);
    return !out->failed;
}
