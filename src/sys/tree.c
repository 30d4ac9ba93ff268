#include "sys/tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define OPEN_FLAGS (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

/* The folders that are open, from the top down. */
struct walk {
    DIR *open[TREE_DEPTH_MAX];
    char names[TREE_DEPTH_MAX][256]; /* of each in the one above */
    size_t depth, entries;
    uint64_t bytes;
};

static bool push(struct walk *w, int parent, const char *name)
{
    if (w->depth == TREE_DEPTH_MAX || strlen(name) >= sizeof w->names[0]) {
        errno = ENAMETOOLONG;
        return false;
    }
    int fd = openat(parent, name, OPEN_FLAGS);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        int why = errno;
        if (fd >= 0)
            (void)close(fd);
        errno = why;
        return false;
    }
    memcpy(w->names[w->depth], name, strlen(name) + 1);
    w->open[w->depth++] = d;
    return true;
}

static int fd_of(const struct walk *w)
{
    return dirfd(w->open[w->depth - 1]);
}

static void pop(struct walk *w)
{
    (void)closedir(w->open[--w->depth]);
}

static void close_all(struct walk *w)
{
    while (w->depth > 0)
        pop(w);
}

/* The next entry of the innermost folder; NULL: it has no more, or the walk has seen enough. */
static const char *next(struct walk *w)
{
    const struct dirent *e;
    while (w->entries < TREE_ENTRIES_MAX && (e = readdir(w->open[w->depth - 1])) != NULL) {
        w->entries++;
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            return e->d_name;
    }
    return NULL;
}

static bool open_top(struct walk *w, const char *path)
{
    int fd = open(path, OPEN_FLAGS);
    w->open[0] = fd < 0 ? NULL : fdopendir(fd);
    w->depth = w->open[0] ? 1 : 0;
    return w->depth == 1;
}

uint64_t tree_bytes(const char *path)
{
    struct walk w = {0};
    struct stat st;
    if (!open_top(&w, path))
        return 0;
    while (w.depth > 0) {
        const char *name = next(&w);
        if (!name)
            pop(&w);
        else if (fstatat(fd_of(&w), name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        else if (S_ISDIR(st.st_mode))
            (void)push(&w, fd_of(&w), name); /* too deep: not counted */
        else
            w.bytes += st.st_size > 0 ? (uint64_t)st.st_size : 0;
    }
    return w.bytes;
}

/* Empties what is open; each folder that is empty goes from the one above. False: errno. */
static bool empty(struct walk *w)
{
    for (;;) {
        const char *name = next(w);
        if (name && unlinkat(fd_of(w), name, 0) == 0)
            continue;
        if (name && (errno != EISDIR && errno != EPERM))
            return false;
        if (name) {
            if (!push(w, fd_of(w), name))
                return false;
            continue;
        }
        if (w->entries >= TREE_ENTRIES_MAX) {
            errno = EFBIG;
            return false;
        }
        if (w->depth == 1)
            return true;
        pop(w);
        if (unlinkat(fd_of(w), w->names[w->depth], AT_REMOVEDIR) < 0)
            return false;
    }
}

enum err_code tree_remove(const char *path, struct err *err)
{
    struct walk w = {0};
    if (!open_top(&w, path))
        return err_sys(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, errno, "cannot remove the folder %s", path);
    bool is_empty = empty(&w);
    int why = errno;
    close_all(&w);
    if (is_empty && rmdir(path) == 0)
        return ERR_OK;
    return err_sys(err, ERR_IO, is_empty ? errno : why, "cannot remove the folder %s", path);
}
