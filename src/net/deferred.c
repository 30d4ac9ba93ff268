#include "net/deferred_int.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/check.h"

/* Bytes that were not fetched are no handler's business: the address sanitizer watches that nobody reads them. */
#if defined(__SANITIZE_ADDRESS__)
#define IS_WATCHED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define IS_WATCHED 1
#endif
#endif
#ifdef IS_WATCHED
#include <sanitizer/asan_interface.h>
#define FORBID(p, n) ASAN_POISON_MEMORY_REGION((p), (n))
#define PERMIT(p, n) ASAN_UNPOISON_MEMORY_REGION((p), (n))
#else
#define FORBID(p, n) ((void)(p), (void)(n))
#define PERMIT(p, n) ((void)(p), (void)(n))
#endif

static int fd_of(const struct http_conn *c)
{
    uv_os_fd_t fd;
    return uv_fileno(&c->uv.handle, &fd) == 0 ? fd : -1;
}

bool deferred_is_possible(struct http_conn *c)
{
    char *at;
    int there = 0;
    if (!c->server->may_defer || !c->in.x || c->in.x->head.content_encoding.p)
        return false;
    size_t left = message_room(&c->in, &at);
    return left >= DEFERRED_BYTES_MIN && c->server->may_defer(&c->in.x->req) &&
           ioctl(fd_of(c), FIONREAD, &there) == 0 && there > 0 && (size_t)there >= c->seen_bytes + left;
}

/* n bytes that the kernel has, behind those that were seen. It has them no longer when the client has reset the connection. */
static bool take(struct http_conn *c, char *to, size_t n)
{
    char seen[HEAD_READ_BYTES];
    int fd = fd_of(c);
    STAT_ADD(c->server, bytes_in, c->seen_bytes + n);
    while (c->seen_bytes + n > 0) {
        struct iovec parts[] = {{seen, c->seen_bytes}, {to, n}};
        ssize_t got = readv(fd, parts, 2); /* does not block: nor does anything on a socket of libuv */
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            memset(to, 0, n);
            c->seen_bytes = 0;
            c->is_broken = true;
            server_mark_dirty(c);
            return false;
        }
        size_t again = (size_t)got < c->seen_bytes ? (size_t)got : c->seen_bytes;
        c->seen_bytes -= again;
        to += (size_t)got - again;
        n -= (size_t)got - again;
    }
    return true;
}

bool deferred_look(struct http_conn *c)
{
    ssize_t n = recv(fd_of(c), c->server->read_buf, c->look_bytes, MSG_PEEK | MSG_DONTWAIT);
    c->seen_bytes = n > 0 ? (size_t)n : 0;
    return n > 0;
}

void deferred_leave(struct http_conn *c)
{
    char none;
    if (c->seen_bytes > 0)
        (void)take(c, &none, 0);
}

static char *first_away(const struct exchange *x)
{
    return x->body.p + (x->body.len - x->req.body_away);
}

void deferred_begin(struct http_conn *c, struct exchange *x)
{
    c->look_bytes = HEAD_READ_BYTES;
    if (x->req.body_away == 0)
        return;
    FORBID(first_away(x), x->req.body_away);
    c->deferred = x;
    if (c->is_near)
        near_keep_window(fd_of(c), c->server->near_room);
}

void deferred_answered(struct http_conn *c, struct exchange *x)
{
    if (c->deferred != x)
        return;
    c->skip_bytes = x->req.body_away;
    c->deferred = NULL;
}

/* What an answered request's client has sent in vain. */
static void skip(struct http_conn *c)
{
    while (c->skip_bytes > 0) {
        size_t n = c->skip_bytes < READ_BUF_BYTES ? c->skip_bytes : READ_BUF_BYTES;
        c->skip_bytes -= n;
        if (!take(c, c->server->read_buf, n))
            c->skip_bytes = 0;
    }
}

void deferred_end(struct http_conn *c)
{
    if (c->deferred)
        (void)http_body_fetch(&c->deferred->req); /* a failure has marked the connection broken */
    c->deferred = NULL;
    skip(c);
}

void deferred_forget(struct exchange *x)
{
    PERMIT(x->body.p, x->body.cap);
}

/* A longer look would copy more of the next body than its handler wants to see; a shorter one than the head would be in vain. */
void http_body_reads(struct http_req *req, size_t n)
{
    size_t look = exchange_of(req)->head.bytes + LOOK_SPARE_BYTES;
    req->conn->look_bytes = look < HEAD_READ_BYTES && n < HEAD_READ_BYTES - look ? look + n : HEAD_READ_BYTES;
}

bool http_body_fetch(struct http_req *req)
{
    struct exchange *x = exchange_of(req);
    if (req->body_away == 0)
        return true;
    char *to = first_away(x);
    size_t n = req->body_away;
    PERMIT(to, n);
    req->body_away = 0;
    return take(req->conn, to, n);
}

bool http_body_copy(struct http_req *req, struct str part, void *to)
{
    struct exchange *x = exchange_of(req);
    CHECK(part.p >= x->body.p && part.n <= x->body.len && (size_t)(part.p - x->body.p) <= x->body.len - part.n);
    if (part.p > first_away(x) && !http_body_fetch(req))
        return false;
    size_t here = (size_t)(first_away(x) - part.p);
    here = here < part.n ? here : part.n;
    memcpy(to, part.p, here);
    req->body_away -= part.n - here;
    req->body_was_copied = req->body_was_copied || here < part.n;
    return here == part.n || take(req->conn, (char *)to + here, part.n - here);
}
