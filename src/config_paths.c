#include "src/config_paths.h"

#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/mem.h"

static const struct {
    const char *variable;
    const char *fallback; /* below the home directory */
} bases[] = {
    [PATH_CONFIG] = {"XDG_CONFIG_HOME", ".config"},
    [PATH_STATE] = {"XDG_STATE_HOME", ".local/state"},
    [PATH_CACHE] = {"XDG_CACHE_HOME", ".cache"},
    [PATH_DATA] = {"XDG_DATA_HOME", ".local/share"},
};

static bool add_home(struct buf *out)
{
    const char *home = getenv("HOME");
    if (home && *home == '/')
        return buf_adds(out, home);
    struct passwd entry, *found = NULL;
    char text[4096];
    return getpwuid_r(getuid(), &entry, text, sizeof text, &found) == 0 && found && found->pw_dir &&
           buf_adds(out, found->pw_dir);
}

bool paths_of(enum path_base base, const char *name, struct buf *out)
{
    buf_clear(out);
    const char *dir = getenv(bases[base].variable);
    if (dir && *dir == '/') {
        buf_adds(out, dir);
    } else {
        if (!add_home(out))
            return false;
        buf_addf(out, "/%s", bases[base].fallback);
    }
    buf_addf(out, "/weft%s%s", *name ? "/" : "", name);
    return !out->failed;
}

int paths_make(const char *dir)
{
    char *path = mem_strdup(dir);
    if (!path) {
        errno = ENOMEM;
        return -1;
    }
    int rc = 0;
    for (char *p = path + 1; rc == 0; p++) {
        if (*p && *p != '/')
            continue;
        bool last = !*p;
        *p = 0;
        if (mkdir(path, 0700) && errno != EEXIST)
            rc = -1;
        if (last)
            break;
        *p = '/';
    }
    struct stat st;
    if (rc == 0 && (stat(path, &st) || (!S_ISDIR(st.st_mode) && (errno = ENOTDIR))))
        rc = -1;
    int keep = errno;
    mem_free(path);
    errno = keep;
    return rc;
}
