#include "model/repo/fingerprint.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sys/fd.h"

#define PATH_BYTES 4200

/* A walk over all files below a path, without recursion. visit returns false to end it. */
struct walk {
    bool (*visit)(struct walk *w, const char *path, const struct stat *st);
    uint64_t a, b;
    size_t seen;
    bool found;
    DIR *dirs[FINGERPRINT_DEPTH_MAX];
    size_t ends[FINGERPRINT_DEPTH_MAX]; /* of the folder's name in path */
    size_t depth;
    char path[PATH_BYTES];
};

static void enter(struct walk *w)
{
    if (w->depth == FINGERPRINT_DEPTH_MAX)
        return;
    DIR *d = opendir(w->path);
    if (!d)
        return;
    w->ends[w->depth] = strlen(w->path);
    w->dirs[w->depth++] = d;
}

/* False: the walk is over. */
static bool next(struct walk *w)
{
    const struct dirent *e = readdir(w->dirs[w->depth - 1]);
    size_t end = w->ends[w->depth - 1];
    struct stat st;
    if (!e || w->seen >= FINGERPRINT_FILES_MAX) {
        (void)closedir(w->dirs[--w->depth]);
        return true;
    }
    int n = snprintf(w->path + end, sizeof w->path - end, "/%s", e->d_name);
    if (e->d_name[0] == '.' || n < 0 || (size_t)n >= sizeof w->path - end || stat(w->path, &st) < 0)
        return true;
    w->seen++;
    if (S_ISDIR(st.st_mode))
        enter(w);
    return w->visit(w, w->path, &st);
}

static void walk(struct walk *w, const char *path)
{
    struct stat st;
    if (!str_copy(w->path, sizeof w->path, str_c(path)) || stat(path, &st) < 0)
        return;
    if (S_ISDIR(st.st_mode))
        enter(w);
    bool goes_on = w->visit(w, w->path, &st);
    while (goes_on && w->depth > 0)
        goes_on = next(w);
    while (w->depth > 0)
        (void)closedir(w->dirs[--w->depth]);
}

/* The sum does not depend on the order in which a folder lists its files. A folder counts by its name only: its time changes when a hidden file
 * comes into it. */
static bool add(struct walk *w, const char *path, const struct stat *st)
{
    bool is_file = S_ISREG(st->st_mode);
    struct {
        uint64_t dev, inode, size, seconds, nanoseconds;
    } what = {0};
    if (is_file) {
        what.dev = (uint64_t)st->st_dev;
        what.inode = (uint64_t)st->st_ino;
        what.size = (uint64_t)st->st_size;
        what.seconds = (uint64_t)st->st_mtim.tv_sec;
        what.nanoseconds = (uint64_t)st->st_mtim.tv_nsec;
    }
    struct hash128 name = hash128(path, strlen(path), is_file);
    struct hash128 all = hash128(&what, sizeof what, name.lo ^ name.hi);
    w->a += all.lo;
    w->b += all.hi;
    return true;
}

struct hash128 repo_fingerprint(const char *path)
{
    struct walk *w = calloc(1, sizeof *w);
    struct hash128 h = {0, 0};
    if (!w)
        return h;
    w->visit = add;
    walk(w, path);
    h = (struct hash128){w->a, w->b};
    free(w);
    return h;
}

/* The kernel grants a read lease only while nobody has the file open for writing. It is given back at once. */
static bool check_lease(struct walk *w, const char *path, const struct stat *st)
{
    if (!S_ISREG(st->st_mode))
        return true;
    AUTO_FD fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return true;
    if (fcntl(fd, F_SETLEASE, F_RDLCK) == 0)
        (void)fcntl(fd, F_SETLEASE, F_UNLCK);
    else
        w->found = errno == EAGAIN;
    return !w->found;
}

bool repo_is_being_written(const char *path)
{
    struct walk *w = calloc(1, sizeof *w);
    if (!w)
        return false;
    w->visit = check_lease;
    walk(w, path);
    bool found = w->found;
    free(w);
    return found;
}

/* ---- checksums ---- */

static enum err_code sum_of(const char *path, char hex[65], struct err *err)
{
    static const size_t piece = (size_t)1 << 20;
    struct sha256 s;
    unsigned char sum[32];
    AUTO_FD fd = open(path, O_RDONLY | O_CLOEXEC);
    char *bytes = fd < 0 ? NULL : malloc(piece);
    ssize_t n = -1;
    sha256_init(&s);
    while (bytes && (n = read(fd, bytes, piece)) > 0)
        sha256_add(&s, bytes, (size_t)n);
    int why = errno;
    free(bytes);
    if (n < 0)
        return err_sys(err, ERR_IO, why, "cannot read %s", path);
    sha256_end(&s, sum);
    sha256_hex(sum, hex);
    return ERR_OK;
}

enum err_code repo_verify(const char *path, struct err *err)
{
    char beside[PATH_BYTES], hex[65];
    struct arena a;
    struct str text;
    int n = snprintf(beside, sizeof beside, "%s.sha256", path);
    if (n < 0 || (size_t)n >= sizeof beside || access(beside, F_OK) < 0)
        return ERR_OK;
    arena_init(&a, 4096, 1 << 16);
    enum err_code code = file_read(beside, 4096, &a, &text, err);
    if (!code)
        code = sum_of(path, hex, err);
    if (!code && !str_eq_nocase(str_sub(text, 0, 64), str_c(hex))) {
        code = err_set(err, ERR_INVALID, "%s is not the file that %s.sha256 speaks of: its SHA-256 is %.16s...", path,
                       strrchr(path, '/') ? strrchr(path, '/') + 1 : path, hex);
        err_remedy(err, "copy it again: the copy is incomplete or another file");
    }
    arena_done(&a);
    return code;
}
