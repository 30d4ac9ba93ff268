#include "model/onnx_external.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sys/fd.h"

void onnx_folder_init(struct onnx_folder *f, const char *root)
{
    memset(f, 0, sizeof *f);
    f->root = root;
    f->fd = -1;
}

void onnx_folder_done(struct onnx_folder *f)
{
    f->fd = fd_close(f->fd);
}

/* Looks at the name alone. The engine has a private meaning for locations with its own marker (addresses in memory), which no file may use. */
static enum err_code check_name(struct str location, struct err *err)
{
    const char *fault = NULL;
    if (location.n == 0)
        fault = "is empty";
    else if (location.n >= sizeof((struct onnx_folder *)0)->last)
        fault = "is too long";
    else if (memchr(location.p, 0, location.n) != NULL || memchr(location.p, '\\', location.n) != NULL)
        fault = "has forbidden characters";
    else if (location.p[0] == '/')
        fault = "is an absolute path";
    else if (str_contains(location, STR("_ORT_MEM_ADDR_")))
        fault = "is an address in memory";
    struct str rest = location;
    while (fault == NULL && rest.n > 0)
        if (str_eq_c(str_cut(rest, '/', &rest), ".."))
            fault = "leaves the folder";
    if (fault == NULL)
        return ERR_OK;
    (void)err_set(err, ERR_DENIED, "external data '%.*s' %s", (int)(location.n < 120 ? location.n : 120), location.p,
                  fault);
    return err_remedy(err, "external data must lie in the model's own folder, named by a relative path");
}

static enum err_code refuse(const char *path, int errnum, struct err *err)
{
    if (errnum == ELOOP || errnum == ENOTDIR)
        return err_set(err, ERR_DENIED, "external data '%.120s' is reached through a symbolic link or a file", path);
    return err_sys(err, errnum == ENOENT ? ERR_NOT_FOUND : ERR_IO, errnum, "external data '%.120s' cannot be opened",
                   path);
}

/* Opens the folders of the path one by one, each without following a link. */
static enum err_code open_beneath(int root, const char *path, int *out, struct err *err)
{
    char part[512];
    int at = dup(root);
    if (at < 0)
        return err_sys(err, ERR_IO, errno, "cannot open the model's folder");
    for (struct str rest = str_c(path); rest.n > 0;) {
        struct str one = str_cut(rest, '/', &rest);
        if (one.n == 0 || str_eq_c(one, "."))
            continue;
        (void)str_copy(part, sizeof part, one);
        int flags = O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | (rest.n > 0 ? O_DIRECTORY : 0);
        int next = openat(at, part, flags);
        int e = errno;
        (void)fd_close(at);
        if (next < 0)
            return refuse(path, e, err);
        at = next;
    }
    *out = at;
    return ERR_OK;
}

enum err_code onnx_external_size(struct onnx_folder *f, struct str location, uint64_t *bytes, struct err *err)
{
    enum err_code code = check_name(location, err);
    if (code != ERR_OK)
        return code;
    if (f->root == NULL)
        return err_set(err, ERR_DENIED, "the model has external data, which is not allowed here");
    if (f->last[0] != 0 && str_eq_c(location, f->last)) {
        *bytes = f->last_bytes;
        return ERR_OK;
    }
    char path[sizeof f->last];
    (void)str_copy(path, sizeof path, location);
    if (f->fd < 0)
        f->fd = open(f->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (f->fd < 0)
        return err_sys(err, ERR_IO, errno, "cannot open the model's folder");
    AUTO_FD fd = -1;
    code = open_beneath(f->fd, path, &fd, err);
    if (code != ERR_OK)
        return code;
    struct stat st;
    if (fstat(fd, &st) < 0)
        return err_sys(err, ERR_IO, errno, "external data '%.120s' cannot be examined", path);
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_DENIED, "external data '%.120s' is not a regular file", path);
    (void)str_copy(f->last, sizeof f->last, location);
    f->last_bytes = *bytes = (uint64_t)st.st_size;
    return ERR_OK;
}
