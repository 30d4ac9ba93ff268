#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "net/server_int.h"

/* Kept for reuse; beyond that memory goes back: a burst of connections must not be paid for ever. */
#define CONN_POOL_MAX 256u

/* ---- Memory ---- */

static struct http_conn *take_conn(struct server *s)
{
    struct http_conn *c = s->conn_pool;
    if (c) {
        s->conn_pool = c->next;
        s->conn_pool_len--;
        *c = (struct http_conn){0};
    } else {
        c = calloc(1, sizeof(*c));
        if (!c)
            return NULL;
    }
    c->server = s;
    c->queue_end = &c->queue;
    c->finishing_end = &c->finishing;
    c->is_fresh = true;
    message_init(&c->in, &s->limits, &s->coder, &s->err);
    c->in.bodies = &s->bodies;
    buf_init(&c->rest, 2 * READ_BUF_BYTES);
    buf_init(&c->out, (size_t)256 << 20);
    buf_init(&c->writing, (size_t)256 << 20);
    return c;
}

void conn_release_if_unused(struct http_conn *c)
{
    struct server *s = c->server;
    if (!c->is_closed || c->queue || c->is_dirty) /* [I3] */
        return;
    message_done(&c->in);
    buf_done(&c->rest);
    buf_done(&c->out);
    buf_done(&c->writing);
    if (s->conn_pool_len < CONN_POOL_MAX && !s->is_freed) {
        c->next = s->conn_pool;
        s->conn_pool = c;
        s->conn_pool_len++;
    } else {
        free(c);
    }
    s->conns_alive--;
    server_conn_gone(s);
}

static void link_conn(struct http_conn *c)
{
    struct server *s = c->server;
    c->next = s->conns;
    if (c->next)
        c->next->prev = c;
    s->conns = c;
    s->conns_len++;
    s->conns_alive++;
    STAT_ADD(s, connections, 1);
    STAT_ADD(s, connections_open, 1);
}

void conn_unlink(struct http_conn *c)
{
    struct server *s = c->server;
    if (c->prev)
        c->prev->next = c->next;
    else
        s->conns = c->next;
    if (c->next)
        c->next->prev = c->prev;
    c->prev = c->next = NULL;
    s->conns_len--;
    STAT_ADD(s, connections_open, UINT64_MAX); /* minus one */
}

/* ---- Opening ---- */

static const char too_many[] =
    "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: 45\r\n"
    "Retry-After: 1\r\nConnection: close\r\n\r\n"
    "{\"error\":\"too many connections\",\"code\":503}\r\n";

/* Who may be closed for a new client: the one that was idle longest; else the one whose head has been on its way longest, if it has been
 * for a second: sockets that send nothing must not lock everybody out, and no answer was promised to them. */
static struct deadline *least_missed(struct server *s)
{
    struct deadline *d = deadline_first(&s->deadlines[DEADLINE_IDLE]);
    if (d)
        return d;
    d = deadline_first(&s->deadlines[DEADLINE_HEAD]);
    uint64_t began_ns = d ? d->at_ns - s->limits.head_timeout_ns : 0;
    return d && began_ns + NS_PER_S <= clock_now_ns() ? d : NULL;
}

/* False: nobody makes room, the new client was told to come back. */
static bool make_room(struct server *s, int fd)
{
    if (s->conns_len < s->limits.connections_max)
        return true;
    struct deadline *d = least_missed(s);
    if (d) {
        conn_close((struct http_conn *)(void *)((char *)d - offsetof(struct http_conn, read_deadline)));
        return true;
    }
    /* Best effort: a fresh socket takes this many bytes. */
    (void)!send(fd, too_many, sizeof(too_many) - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
    (void)shutdown(fd, SHUT_WR);
    return false;
}

static int open_handle(struct http_conn *c, int fd, bool is_unix)
{
    uv_loop_t *loop = c->server->loop;
    int rc;
    if (is_unix) {
        (void)uv_pipe_init(loop, &c->uv.pipe, 0); /* only fills the structure */
        rc = uv_pipe_open(&c->uv.pipe, fd);
    } else {
        (void)uv_tcp_init(loop, &c->uv.tcp); /* as above */
        rc = uv_tcp_open(&c->uv.tcp, fd);
        if (rc == 0)
            (void)uv_tcp_nodelay(&c->uv.tcp, 1); /* without it answers are only slower */
        c->is_near = near_make_room(fd, c->server->near_room);
    }
    c->uv.handle.data = c;
    return rc;
}

/* One client may have a whole /64 of IPv6, or many connections: neither makes it many clients. */
static uint64_t peer_of(int fd)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } a = {.v6 = {0}};
    socklen_t n = sizeof a;
    if (getpeername(fd, &a.any, &n) != 0)
        return 0;
    uint64_t hash = 0;
    if (a.any.sa_family == AF_INET)
        hash = hash64(&a.v4.sin_addr, sizeof a.v4.sin_addr, hash_seed());
    else if (a.any.sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&a.v6.sin6_addr))
        hash = hash64(&a.v6.sin6_addr.s6_addr[12], 4, hash_seed());
    else if (a.any.sa_family == AF_INET6)
        hash = hash64(&a.v6.sin6_addr, 8, hash_seed());
    return hash;
}

void conn_open(struct server *s, int fd, bool is_unix)
{
    if (s->is_draining || !make_room(s, fd)) {
        (void)close(fd);
        return;
    }
    struct http_conn *c = take_conn(s);
    if (!c) {
        (void)close(fd);
        return;
    }
    c->peer = is_unix ? 0 : peer_of(fd);
    c->is_unix = is_unix;
    int rc = open_handle(c, fd, is_unix);
    link_conn(c);
    if (rc != 0) {
        (void)close(fd);
        conn_close(c);
        return;
    }
    conn_start_reading(c);
    conn_update_deadline(c);
}
