#include "net/accept.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "sys/fd.h"

static enum err_code explain_bind(struct err *err, int errnum, const char *host, int port)
{
    enum err_code code = errnum == EADDRINUSE ? ERR_CONFLICT : ERR_IO;
    (void)err_sys(err, code, errnum, "cannot listen on %s port %d", host, port);
    if (errnum == EADDRINUSE)
        return err_remedy(err,
                          "another program has this port (see: ss -ltnp 'sport = :%d'); stop it, or choose another "
                          "address with --listen HOST:PORT",
                          port);
    if (errnum == EACCES)
        return err_remedy(err, "ports below 1024 need a privilege; choose one above, e.g. --listen %s:8000", host);
    if (errnum == EADDRNOTAVAIL)
        return err_remedy(
            err, "the address does not belong to this machine; use 127.0.0.1, 0.0.0.0 or one shown by: ip addr");
    return code;
}

static int try_listen(const struct addrinfo *ai, int backlog)
{
    int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    int one = 1;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)); /* bind() tells if it mattered */
    if (ai->ai_family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one)); /* IPv4 has listeners of its own */
    if (bind(fd, ai->ai_addr, ai->ai_addrlen) == 0 && listen(fd, backlog) == 0)
        return fd;
    int saved = errno;
    (void)close(fd);
    errno = saved;
    return -1;
}

static int port_of(int fd)
{
    union {
        struct sockaddr_storage any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } a = {0};
    socklen_t n = sizeof(a);
    if (getsockname(fd, (struct sockaddr *)&a, &n) != 0)
        return 0;
    return ntohs(a.any.ss_family == AF_INET6 ? a.v6.sin6_port : a.v4.sin_port);
}

enum err_code listen_tcp(const char *host, int port, int backlog, int *fd, int *bound_port, struct err *err)
{
    char service[12];
    (void)snprintf(service, sizeof(service), "%d", port); /* any int fits */
    struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    int rc = getaddrinfo(host, service, &hints, &list);
    if (rc != 0) {
        (void)err_set(err, ERR_INVALID, "cannot find the address '%s': %s", host, gai_strerror(rc));
        return err_remedy(err, "give an address of this machine, e.g. 127.0.0.1:8000 or [::1]:8000");
    }
    int found = -1;
    errno = EADDRNOTAVAIL;
    for (const struct addrinfo *ai = list; ai && found < 0; ai = ai->ai_next)
        found = try_listen(ai, backlog);
    int saved = errno;
    freeaddrinfo(list);
    if (found < 0)
        return explain_bind(err, saved, host, port);
    *fd = found;
    if (bound_port)
        *bound_port = port_of(found);
    return ERR_OK;
}

/* Does anybody answer on this socket? Only a socket file that nobody serves may be replaced. */
static bool is_living(const struct sockaddr_un *a)
{
    AUTO_FD fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return true;
    int rc = connect(fd, (const struct sockaddr *)a, sizeof(*a));
    return rc == 0 || errno != ECONNREFUSED;
}

static enum err_code remove_stale(const struct sockaddr_un *a, struct err *err)
{
    struct stat st;
    if (lstat(a->sun_path, &st) != 0)
        return errno == ENOENT ? ERR_OK : err_sys(err, ERR_IO, errno, "cannot look at %s", a->sun_path);
    if (!S_ISSOCK(st.st_mode))
        return err_set(err, ERR_CONFLICT, "%s exists and is not a socket", a->sun_path);
    if (is_living(a)) {
        (void)err_set(err, ERR_CONFLICT, "another process listens on %s", a->sun_path);
        return err_remedy(err, "stop the other process, or choose another data directory with --data");
    }
    if (unlink(a->sun_path) != 0 && errno != ENOENT)
        return err_sys(err, ERR_IO, errno, "cannot remove the stale socket %s", a->sun_path);
    return ERR_OK;
}

enum err_code listen_unix(const char *path, unsigned mode, int backlog, int *fd, struct err *err)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    if (!str_copy(a.sun_path, sizeof(a.sun_path), str_c(path))) {
        (void)err_set(err, ERR_INVALID, "the socket path is longer than %zu bytes: %s", sizeof(a.sun_path) - 1, path);
        return err_remedy(err, "choose a data directory with a shorter path");
    }
    enum err_code code = remove_stale(&a, err);
    if (code != ERR_OK)
        return code;
    int own = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (own < 0)
        return err_sys(err, ERR_IO, errno, "cannot make a socket");
    /* Nobody can connect before listen(), so the permission is in force before the first client. */
    if (bind(own, (const struct sockaddr *)&a, sizeof(a)) != 0 || chmod(path, mode) != 0 || listen(own, backlog) != 0) {
        code = err_sys(err, errno == EADDRINUSE ? ERR_CONFLICT : ERR_IO, errno, "cannot listen on %s", path);
        (void)close(own);
        return code;
    }
    *fd = own;
    return ERR_OK;
}
