#include "tests/support/store_rig.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void store_rig_make(char path[64])
{
    /* In memory where there is such a place: thousands of fsyncs are waited for. */
    snprintf(path, 64, "/dev/shm/weft-store-XXXXXX");
    if (mkdtemp(path))
        return;
    snprintf(path, 64, "/tmp/weft-store-XXXXXX");
    if (!mkdtemp(path))
        abort();
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st, (void)at;
    return type == FTW_DP ? rmdir(path) : unlink(path);
}

void store_rig_remove(const char *path)
{
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

bool store_rig_read(const char *path, struct buf *out)
{
    int fd = open(path, O_RDONLY);
    bool done = fd >= 0 && buf_read_fd(out, fd, (size_t)1 << 30) == 0;
    if (fd >= 0)
        close(fd);
    return done;
}

void store_rig_write(const char *path, const void *bytes, size_t n)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || write(fd, bytes, n) != (ssize_t)n)
        abort();
    close(fd);
}

size_t store_rig_count(const char *dir, const char *suffix, struct buf *first)
{
    size_t count = 0;
    DIR *d = opendir(dir);
    for (const struct dirent *e; d && (e = readdir(d));) {
        size_t n = strlen(e->d_name), m = strlen(suffix);
        if (n <= m || strcmp(e->d_name + n - m, suffix) != 0)
            continue;
        if (!count++ && first) {
            buf_clear(first);
            buf_addf(first, "%s/%s", dir, e->d_name);
        }
    }
    if (d)
        closedir(d);
    return count;
}
