/*
 * The bytes of a terminal, cut into keys and pastes. Pure: bytes and time-outs come in, events go out.
 *
 * Every key keeps the bytes that were typed, so that what weft doesn't use itself goes to readline as it
 * came. Known are the sequences of xterm and its kin (CSI and SS3 with modifiers, "CSI code;modifiers u"), of
 * the Linux console and rxvt, and whatever terminfo says about this terminal (decoder_add); ESC before any of
 * them is Alt. Bracketed paste is decoded here, in pieces as it arrives, so that nothing in a paste is ever
 * taken for a key. Of the mouse, xterm's mode 1006 is understood, which is the one that term_mouse asks for.
 */
#ifndef WEFT_UI_TERM_DECODER_H
#define WEFT_UI_TERM_DECODER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ui/keymap.h"

enum { DECODER_SEQUENCE_MAX = 32, DECODER_SEQUENCES_MAX = 64, DECODER_BUFFER = 4096 };

/* A lone ESC is the Esc key once this long has passed without more; a longer sequence that was cut short gets
 * the second limit, as a slow line may have split it. */
enum { DECODER_ESC_MS = 25, DECODER_SEQUENCE_MS = 100 };

enum decoder_type {
    DECODER_KEY,       /* key, and its bytes; key is UI_KEY_NONE for a sequence without a name here */
    DECODER_PASTE,     /* a piece of a paste: bytes, as the terminal sent them (line ends are usually CR) */
    DECODER_PASTE_END, /* the paste is over; no bytes */
    DECODER_MOUSE,     /* button, x, y */
};

enum decoder_button {
    DECODER_PRESS, /* the left one */
    DECODER_WHEEL_UP,
    DECODER_WHEEL_DOWN,
    DECODER_OTHER /* another one, a release, a movement */
};

struct decoder_event {
    enum decoder_type type;
    ui_key key;
    const char *bytes; /* in the decoder's buffer: valid until the next call */
    size_t n;
    enum decoder_button button;
    int x, y; /* of a cell, from 0 */
};

struct decoder {
    char buffer[DECODER_BUFFER];
    size_t start, end; /* what hasn't been handed out yet */
    bool pasting;
    struct decoder_sequence {
        char bytes[DECODER_SEQUENCE_MAX];
        uint8_t n;
        ui_key key;
    } sequences[DECODER_SEQUENCES_MAX];
    size_t n_sequences;
};

void decoder_init(struct decoder *d);
/* A sequence of this terminal's own; taken before those known otherwise. Empty, overlong and surplus ones are
 * left out, and so are single bytes, which have one meaning everywhere. */
void decoder_add(struct decoder *d, const char *bytes, ui_key key);
/* Where to read bytes to, and how many fit; then decoder_fed says how many came. There is always room once
 * decoder_next has returned false. */
char *decoder_room(struct decoder *d, size_t *n);
void decoder_fed(struct decoder *d, size_t n);
/* The next event; false when there is none yet. `timed_out`: decoder_wait_ms has passed since the last byte.
 */
bool decoder_next(struct decoder *d, bool timed_out, struct decoder_event *out);
/* How long to wait for the rest of a sequence; -1: nothing is incomplete. */
int decoder_wait_ms(const struct decoder *d);

#endif
