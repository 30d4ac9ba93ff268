#include "sys/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

int fd_close(int fd)
{
    if (fd >= 0)
        (void)close(fd); /* nothing of ours is lost by a failed close: durable writes fsync first */
    return -1;
}

void fd_auto_close(int *fd)
{
    *fd = fd_close(*fd);
}

enum err_code fd_set_nonblock(int fd, struct err *err)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return err_sys(err, ERR_IO, errno, "cannot make descriptor %d non-blocking", fd);
    return ERR_OK;
}

void fd_append(int fd)
{
    struct stat st;
    int flags = fcntl(fd, F_GETFL);
    if (flags >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
        (void)fcntl(fd, F_SETFL, flags | O_APPEND);
}

static enum err_code read_all(int fd, const char *path, char *out, size_t n, struct err *err)
{
    size_t have = 0;
    while (have < n) {
        ssize_t got = read(fd, out + have, n - have);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return err_sys(err, ERR_IO, errno, "cannot read %s", path);
        if (got == 0)
            return err_set(err, ERR_IO, "%s became shorter while it was read", path);
        have += (size_t)got;
    }
    return ERR_OK;
}

enum err_code file_read(const char *path, size_t max_bytes, struct arena *a, struct str *out, struct err *err)
{
    AUTO_FD fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return err_sys(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, errno, "cannot open %s", path);
    struct stat st;
    if (fstat(fd, &st) < 0)
        return err_sys(err, ERR_IO, errno, "cannot stat %s", path);
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_INVALID, "%s is not a regular file", path);
    if ((uint64_t)st.st_size > max_bytes)
        return err_set(err, ERR_TOO_LARGE, "%s has %lld bytes, more than the limit of %zu", path, (long long)st.st_size,
                       max_bytes);
    size_t n = (size_t)st.st_size;
    char *p = arena_try_alloc(a, n + 1);
    if (!p)
        return err_set(err, ERR_TOO_LARGE, "no room for the %zu bytes of %s", n, path);
    if (read_all(fd, path, p, n, err))
        return err->code;
    p[n] = '\0';
    *out = (struct str){p, n};
    return ERR_OK;
}

static enum err_code write_all(int fd, const char *path, struct str s, struct err *err)
{
    while (s.n > 0) {
        ssize_t put = write(fd, s.p, s.n);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0) {
            err_sys(err, ERR_IO, errno, "cannot write %s", path);
            if (err->sys == ENOSPC || err->sys == EDQUOT)
                err_remedy(err, "free space on the disk of %s, or choose another folder with --data DIR", path);
            return err->code;
        }
        s.p += put;
        s.n -= (size_t)put;
    }
    return ERR_OK;
}

enum err_code file_replace(const char *path, struct str content, bool durable, struct err *err)
{
    char beside[PATH_MAX];
    if (snprintf(beside, sizeof beside, "%s.tmp", path) >= (int)sizeof beside)
        return err_set(err, ERR_INVALID, "path too long: %s", path);
    AUTO_FD fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0)
        return err_sys(err, ERR_IO, errno, "cannot create %s", beside);
    if (write_all(fd, beside, content, err)) {
        (void)unlink(beside);
        return err->code;
    }
    if ((durable && fsync(fd) < 0) || rename(beside, path) < 0) {
        err_sys(err, ERR_IO, errno, "cannot replace %s", path);
        (void)unlink(beside);
        return err->code;
    }
    return ERR_OK;
}

enum err_code dir_make(const char *path, unsigned mode, struct err *err)
{
    char part[PATH_MAX];
    struct stat st;
    if (!str_copy(part, sizeof part, str_c(path)))
        return err_set(err, ERR_INVALID, "path too long: %s", path);
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) /* asking costs less than trying to make each part */
        return ERR_OK;
    for (char *p = part + 1;; p++) {
        if (*p != '/' && *p != '\0')
            continue;
        char was = *p;
        *p = '\0';
        if (mkdir(part, mode) < 0 && errno != EEXIST)
            return err_sys(err, ERR_IO, errno, "cannot make folder %s", part);
        *p = was;
        if (was == '\0')
            break;
    }
    if (stat(path, &st) < 0 || !S_ISDIR(st.st_mode))
        return err_set(err, ERR_IO, "%s exists and is not a folder", path);
    return ERR_OK;
}

enum err_code file_lock(const char *path, int *out_fd, struct err *err)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0)
        return err_sys(err, ERR_IO, errno, "cannot open lock file %s", path);
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        int was = errno;
        (void)fd_close(fd);
        if (was == EWOULDBLOCK)
            return err_set(err, ERR_CONFLICT, "%s is locked by another process", path);
        return err_sys(err, ERR_IO, was, "cannot lock %s", path);
    }
    *out_fd = fd;
    return ERR_OK;
}

uint64_t fd_limit_raise(void)
{
    struct rlimit lim;
    if (getrlimit(RLIMIT_NOFILE, &lim) < 0)
        return 1024;
    lim.rlim_cur = lim.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &lim); /* what remains in force is read back */
    (void)getrlimit(RLIMIT_NOFILE, &lim);
    return (uint64_t)lim.rlim_cur;
}
