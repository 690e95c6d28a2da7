/*
 * A terminal for tests: bytes in, a screen of cells out (libvterm), plus what libvterm keeps to itself: the private
 * modes that were switched (bracketed paste, mouse, alternate screen), and counts of bytes and full clears.
 *
 * Positions are 0-based rows and columns. One owner.
 */
#ifndef TEST_SUPPORT_VT_H
#define TEST_SUPPORT_VT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vt;

struct vt_cell {
    uint32_t chars
        [6]; /* base and combining characters; chars[0] 0: an empty cell, or the right half of a wide one */
    int width;
    bool bold, reverse, underline;
    bool fg_default, bg_default;
    uint8_t fg, bg; /* palette index, when not default */
};

struct vt *vt_create(int rows, int cols);
void vt_destroy(struct vt *vt);
/* Takes bytes up to the end of the first frame among them (see vt_in_frame), or all n; returns how many. */
size_t vt_feed(struct vt *vt, const char *bytes, size_t n);
void vt_resize(struct vt *vt, int rows, int cols);
void vt_size(const struct vt *vt, int *rows, int *cols);
/* Empties the screen, so that what is on it afterwards was written afterwards. */
void vt_wipe(struct vt *vt);

void vt_cell(struct vt *vt, int row, int col, struct vt_cell *out);
/* The text of a row, trailing blanks cut, as UTF-8; valid until the next call. Columns are kept: a wide character is
 * followed by nothing, so use vt_cell where columns matter. */
const char *vt_row(struct vt *vt, int row);
/* The whole screen, a line a row; valid until the next call. */
const char *vt_text(struct vt *vt);
/* First row that contains `text`, or -1; its byte offset in that row goes to *offset (may be NULL). */
int vt_find(struct vt *vt, const char *text, int *offset);

void vt_cursor(const struct vt *vt, int *row, int *col);
bool vt_cursor_visible(const struct vt *vt);
/* Whether DEC private mode n (1049: alternate screen, 2004: bracketed paste, 1000/1002/1006: mouse) is set. */
bool vt_mode(const struct vt *vt, int n);
/* Whether the last byte fed lies between the marks of synchronized output (mode 2026): the screen is half a frame. */
bool vt_in_frame(const struct vt *vt);
/* How many frames, in such marks, are complete. */
unsigned vt_frames(const struct vt *vt);
/* What has been fed so far. */
size_t vt_bytes(const struct vt *vt);
/* How often the whole screen was erased (CSI 2 J, or CSI J from the home position). */
unsigned vt_clears(const struct vt *vt);
/* How many SGR sequences set a colour. */
unsigned vt_colours(const struct vt *vt);

#endif
