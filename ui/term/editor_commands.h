/*
 * The input line's own readline commands, for editor.c alone: new lines, moving between the lines of a message, and watching
 * those commands that take one more character. They stand where readline's own stood; what inputrc binds stays.
 */
#ifndef WEFT_UI_TERM_EDITOR_COMMANDS_H
#define WEFT_UI_TERM_EDITOR_COMMANDS_H

/* A command that wants a character, of which readline has no state that tells. */
enum editor_awaits {
    AWAITS_NOTHING,
    AWAITS_QUOTED, /* it will be inserted */
    AWAITS_SOUGHT  /* it will be looked for in the line */
};

/* After rl_initialize: puts them into the keymaps. */
void editor_commands_bind(void);
/* What the last byte left behind; editor_commands_got_byte: before each byte that readline gets. */
enum editor_awaits editor_commands_awaits(void);
void editor_commands_got_byte(void);

#endif
