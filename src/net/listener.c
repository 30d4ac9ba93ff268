/* Accepting. Own code on uv_poll instead of uv_listen, because libuv's loop over accept() spins when no descriptor is left and its
 * spare one was lost to another thread. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "net/server_int.h"

/* Few per event, so that edge threads that share a listening socket share its connections, and reading goes on in between. */
#define ACCEPTS_PER_EVENT 8
#define PAUSE_MS          100
#define RESERVE_MIN       4
#define RESERVE_MAX       64

static void on_acceptable(uv_poll_t *poll, int status, int events);

static void on_pause_over(uv_timer_t *t)
{
    struct listener *l = t->data;
    (void)uv_poll_start(&l->poll, UV_READABLE, on_acceptable); /* fails only for a closing handle */
}

static void pause_accepting(struct listener *l)
{
    (void)uv_poll_stop(&l->poll);
    (void)uv_timer_start(&l->pause, on_pause_over, PAUSE_MS, 0); /* fails only for a closing handle */
}

static void warn_no_fd(struct server *s, int errnum)
{
    uint64_t now = clock_now_ns();
    if (s->fd_warned_ns != 0 && now - s->fd_warned_ns < 60 * NS_PER_S)
        return;
    s->fd_warned_ns = now;
    LOG_WARN("connections are turned away: no file descriptors left", LOG_S("error", strerror(errnum)),
             LOG_U("connections", s->conns_len), LOG_S("remedy", "raise the limit of open files (ulimit -n)"));
}

/* Gives up the spare descriptor to accept one connection and close it: a client that is told so at once is better off than one
 * that waits, and the listening socket does not stay readable for ever. */
static bool turn_one_away(struct listener *l, int errnum)
{
    struct server *s = l->server;
    warn_no_fd(s, errnum);
    if (s->spare_fd < 0)
        return false;
    (void)close(s->spare_fd);
    int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0)
        (void)close(fd);
    s->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    return fd >= 0;
}

/* The last descriptors are not for clients: each model that a reload brings comes with one, and a process that cannot take it has to end, with all its
 * connections. The limit may change while we run. An operator on the control socket comes in. */
static bool is_reserved(const struct listener *l, int fd)
{
    struct rlimit files;
    if (l->is_unix || getrlimit(RLIMIT_NOFILE, &files) < 0)
        return false;
    rlim_t reserve = files.rlim_cur / 16;
    reserve = reserve < RESERVE_MIN ? RESERVE_MIN : reserve > RESERVE_MAX ? RESERVE_MAX : reserve;
    return (rlim_t)fd + reserve >= files.rlim_cur;
}

static void on_acceptable(uv_poll_t *poll, int status, int events)
{
    (void)status; /* accept() tells more */
    (void)events;
    struct listener *l = poll->data;
    struct server *s = l->server;
    s->now_ns = clock_now_ns();
    for (int i = 0; i < ACCEPTS_PER_EVENT; i++) {
        int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0 && is_reserved(l, fd)) {
            (void)close(fd);
            warn_no_fd(s, EMFILE);
            continue;
        }
        if (fd >= 0) {
            conn_open(s, fd, l->is_unix);
            continue;
        }
        if (errno == EAGAIN)
            return;
        if (errno == EINTR || errno == ECONNABORTED || errno == EPROTO)
            continue; /* that connection died in the queue */
        if ((errno == EMFILE || errno == ENFILE) && turn_one_away(l, errno))
            continue;
        pause_accepting(l);
        return;
    }
}

static void on_handle_closed(uv_handle_t *h)
{
    struct listener *l = h->data;
    if (--l->handles_open > 0)
        return;
    struct server *s = l->server;
    (void)close(l->fd);
    free(l);
    s->handles_open--;
    server_conn_gone(s);
}

void listener_stop(struct listener *l)
{
    uv_close((uv_handle_t *)&l->poll, on_handle_closed);
    uv_close((uv_handle_t *)&l->pause, on_handle_closed);
}

static bool is_unix_socket(int fd)
{
    struct sockaddr_storage a = {0};
    socklen_t n = sizeof(a);
    return getsockname(fd, (struct sockaddr *)&a, &n) == 0 && a.ss_family == AF_UNIX;
}

enum err_code server_listen_fd(struct server *s, int fd, struct err *err)
{
    int own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (own < 0)
        return err_sys(err, ERR_IO, errno, "cannot duplicate the listening socket");
    struct listener *l = calloc(1, sizeof(*l));
    if (!l) {
        (void)close(own);
        return err_set(err, ERR_IO, "no memory for a listener");
    }
    l->server = s;
    l->fd = own;
    l->is_unix = is_unix_socket(own);
    l->poll.data = l->pause.data = l;
    int rc = uv_poll_init(s->loop, &l->poll, own);
    if (rc != 0) {
        (void)close(own);
        free(l);
        return err_set(err, ERR_IO, "cannot watch the listening socket: %s", uv_strerror(rc));
    }
    (void)uv_timer_init(s->loop, &l->pause);
    l->handles_open = 2;
    s->handles_open++;
    l->next = s->listeners;
    s->listeners = l;
    (void)uv_poll_start(&l->poll, UV_READABLE, on_acceptable); /* fails only for a closing handle */
    return ERR_OK;
}
