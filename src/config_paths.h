/*
 * Where weft keeps things, by the XDG base directory specification. Pure but for the environment; any thread,
 * as long as nobody changes the environment meanwhile.
 */
#ifndef WEFT_CONFIG_PATHS_H
#define WEFT_CONFIG_PATHS_H

#include <stdbool.h>

#include "engine/base/buf.h"

enum path_base {
    PATH_CONFIG, /* weft.yaml */
    PATH_STATE,  /* sessions, history, log */
    PATH_CACHE,  /* compiled kernels, verified models */
    PATH_DATA    /* models/ */
};

/* Sets *out to "$XDG_…_HOME/weft/NAME", or its default below the home directory. A relative $XDG_…_HOME is
 * ignored, as the specification wants. NAME may be "": then the directory itself. False when there is no home
 * directory, or no memory. */
bool paths_of(enum path_base base, const char *name, struct buf *out);

/* Makes a directory and its missing parents, mode 0700. 0, or -1 with errno. An existing directory is left as it is. */
int paths_make(const char *dir);

#endif
