#include "net/fetch.h"

#include <errno.h>
#include <llhttp.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "net/chars_int.h"
#include "sys/fd.h"

#define TIMEOUT_NS_DEFAULT (30 * NS_PER_S)
#define BODY_BYTES_DEFAULT ((size_t)64 << 20)
#define HEAD_BYTES_MAX     ((size_t)256 << 10)

struct call {
    const struct fetch_request *q;
    struct fetch_response *r;
    struct err *err;
    uint64_t deadline_ns;
    char peer[160]; /* for error texts */
    struct buf name, value;
    bool is_value; /* the last header piece was one of a value */
    bool is_complete;
};

/* ---- Socket, with the call's one deadline ---- */

static enum err_code wait_for(struct call *k, int fd, short events)
{
    while (true) {
        uint64_t now = clock_now_ns();
        if (k->q->stop && *k->q->stop)
            return err_set(k->err, ERR_CANCELLED, "stopped");
        if (now >= k->deadline_ns)
            return err_set(k->err, ERR_TIMEOUT, "no answer from %s in time", k->peer);
        struct pollfd p = {.fd = fd, .events = events};
        uint64_t wait_ms = (k->deadline_ns - now) / NS_PER_MS + 1;
        int rc = poll(&p, 1, wait_ms > 60000 ? 60000 : (int)wait_ms);
        if (rc > 0)
            return ERR_OK;
        if (rc < 0 && errno != EINTR)
            return err_sys(k->err, ERR_IO, errno, "cannot wait for %s", k->peer);
    }
}

static enum err_code finish_connect(struct call *k, int fd, const struct sockaddr *a, socklen_t n)
{
    if (connect(fd, a, n) == 0)
        return ERR_OK;
    if (errno != EINPROGRESS && errno != EAGAIN)
        return err_sys(k->err, ERR_UNAVAILABLE, errno, "cannot connect to %s", k->peer);
    enum err_code code = wait_for(k, fd, POLLOUT);
    if (code != ERR_OK)
        return code;
    int error = 0;
    socklen_t error_n = sizeof(error);
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &error_n) != 0)
        error = errno;
    return error == 0 ? ERR_OK : err_sys(k->err, ERR_UNAVAILABLE, error, "cannot connect to %s", k->peer);
}

static enum err_code connect_one(struct call *k, int family, const struct sockaddr *a, socklen_t n, int *out_fd)
{
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_sys(k->err, ERR_IO, errno, "cannot make a socket");
    enum err_code code = finish_connect(k, fd, a, n);
    if (code == ERR_OK)
        *out_fd = fd;
    else
        (void)close(fd);
    return code;
}

static enum err_code connect_unix(struct call *k, int *out_fd)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    if (!str_copy(a.sun_path, sizeof(a.sun_path), str_c(k->q->unix_path)))
        return err_set(k->err, ERR_INVALID, "the socket path is too long: %s", k->q->unix_path);
    return connect_one(k, AF_UNIX, (const struct sockaddr *)&a, sizeof(a), out_fd);
}

static enum err_code connect_tcp(struct call *k, int *out_fd)
{
    char service[12];
    (void)snprintf(service, sizeof(service), "%d", k->q->port); /* any int fits */
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *list = NULL;
    int rc = getaddrinfo(k->q->host, service, &hints, &list);
    if (rc != 0)
        return err_set(k->err, ERR_UNAVAILABLE, "cannot find the host '%s': %s", k->q->host, gai_strerror(rc));
    enum err_code code = err_set(k->err, ERR_UNAVAILABLE, "no address for %s", k->peer);
    for (const struct addrinfo *ai = list; ai && code != ERR_OK; ai = ai->ai_next)
        code = connect_one(k, ai->ai_family, ai->ai_addr, ai->ai_addrlen, out_fd);
    freeaddrinfo(list);
    return code;
}

/* A server may answer and close before it has read all: then the answer counts, not the failed write. */
static enum err_code send_all(struct call *k, int fd, struct str s)
{
    while (s.n > 0) {
        ssize_t n = send(fd, s.p, s.n, MSG_NOSIGNAL);
        if (n > 0) {
            s = str_sub(s, (size_t)n, s.n);
        } else if (errno == EAGAIN) {
            enum err_code code = wait_for(k, fd, POLLOUT);
            if (code != ERR_OK)
                return code;
        } else if (errno == EPIPE || errno == ECONNRESET) {
            return ERR_OK;
        } else if (errno != EINTR) {
            return err_sys(k->err, ERR_IO, errno, "cannot send to %s", k->peer);
        }
    }
    return ERR_OK;
}

/* ---- Request ---- */

static bool is_clean(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!char_is_value(s.p[i]))
            return false;
    return true;
}

static enum err_code put_head(struct call *k, struct buf *b)
{
    const struct fetch_request *q = k->q;
    if (!q->path || q->path[0] != '/')
        return err_set(k->err, ERR_INVALID, "the path must begin with '/'");
    for (const char *p = q->path; *p; p++)
        if (!char_is_target(*p))
            return err_set(k->err, ERR_INVALID, "the path holds a byte that must be escaped: %s", q->path);
    const char *method = q->method ? q->method : q->body.p ? "POST" : "GET";
    buf_printf(b, "%s %s HTTP/1.1\r\n", method, q->path);
    if (q->unix_path)
        buf_c(b, "Host: localhost\r\n");
    else
        buf_printf(b, strchr(q->host, ':') ? "Host: [%s]:%d\r\n" : "Host: %s:%d\r\n", q->host, q->port);
    if (q->content_type.n > 0)
        buf_printf(b, "Content-Type: %.*s\r\n", STR_F(q->content_type));
    if (q->body.p)
        buf_printf(b, "Content-Length: %zu\r\n", q->body.n);
    for (size_t i = 0; i < q->headers_len; i++) {
        const struct http_header *h = &q->headers[i];
        if (!is_clean(h->name) || !is_clean(h->value))
            return err_set(k->err, ERR_INVALID, "header %zu holds a control byte", i + 1);
        buf_printf(b, "%.*s: %.*s\r\n", STR_F(h->name), STR_F(h->value));
    }
    buf_c(b, "Connection: close\r\n\r\n");
    return b->failed ? err_set(k->err, ERR_TOO_LARGE, "the request head is too large") : ERR_OK;
}

/* ---- Answer ---- */

static void keep_header(struct call *k)
{
    struct fetch_response *r = k->r;
    if (k->name.len > 0 && r->headers_len < FETCH_HEADERS_MAX) {
        for (size_t i = 0; i < k->name.len; i++)
            if (k->name.p[i] >= 'A' && k->name.p[i] <= 'Z')
                k->name.p[i] = (char)(k->name.p[i] | 0x20);
        struct http_header *h = &r->headers[r->headers_len++];
        h->name = arena_str_dup(&r->arena, buf_view(&k->name));
        h->value = arena_str_dup(&r->arena, str_trim(buf_view(&k->value)));
    }
    buf_clear(&k->name);
    buf_clear(&k->value);
}

static int on_field(llhttp_t *p, const char *at, size_t n)
{
    struct call *k = p->data;
    if (k->is_value)
        keep_header(k);
    k->is_value = false;
    buf_add(&k->name, at, n);
    return k->name.failed ? -1 : 0;
}

static int on_value(llhttp_t *p, const char *at, size_t n)
{
    struct call *k = p->data;
    k->is_value = true;
    buf_add(&k->value, at, n);
    return k->value.failed ? -1 : 0;
}

static int on_headers_complete(llhttp_t *p)
{
    struct call *k = p->data;
    keep_header(k);
    k->r->status = p->status_code;
    /* 1 tells llhttp that no body follows, whatever the headers say. */
    return k->q->method && strcmp(k->q->method, "HEAD") == 0 ? 1 : 0;
}

static int on_body(llhttp_t *p, const char *at, size_t n)
{
    struct call *k = p->data;
    if (k->q->on_body && k->r->status >= 200 && k->r->status < 300)
        return k->q->on_body(k->q->on_body_arg, (struct str){at, n}) ? 0 : HPE_USER;
    buf_add(&k->r->body, at, n);
    return k->r->body.failed ? -1 : 0;
}

static int on_message_complete(llhttp_t *p)
{
    struct call *k = p->data;
    if (k->r->status >= 100 && k->r->status < 200) { /* the real answer follows */
        k->r->headers_len = 0;
        return 0;
    }
    k->is_complete = true;
    return HPE_PAUSED;
}

static const llhttp_settings_t answer_settings = {
    .on_header_field = on_field,
    .on_header_value = on_value,
    .on_headers_complete = on_headers_complete,
    .on_body = on_body,
    .on_message_complete = on_message_complete,
};

static enum err_code explain(struct call *k, const llhttp_t *p)
{
    if (k->r->body.failed)
        return err_set(k->err, ERR_TOO_LARGE, "the answer of %s is larger than %zu bytes", k->peer,
                       k->r->body.max_bytes);
    if (llhttp_get_errno(p) == HPE_USER && k->q->on_body)
        return err_set(k->err, ERR_CANCELLED, "stopped");
    const char *reason = llhttp_get_error_reason(p);
    return err_set(k->err, ERR_BACKEND, "%s does not answer in HTTP/1.1: %s", k->peer, reason ? reason : "malformed");
}

static enum err_code read_answer(struct call *k, int fd)
{
    llhttp_t p;
    llhttp_init(&p, HTTP_RESPONSE, &answer_settings);
    p.data = k;
    char bytes[16384];
    while (!k->is_complete) {
        ssize_t n = recv(fd, bytes, sizeof(bytes), 0);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            enum err_code code = wait_for(k, fd, POLLIN);
            if (code != ERR_OK)
                return code;
            continue;
        }
        if (n < 0)
            return err_sys(k->err, ERR_BACKEND, errno, "%s broke the connection", k->peer);
        llhttp_errno_t rc = n == 0 ? llhttp_finish(&p) : llhttp_execute(&p, bytes, (size_t)n);
        if (rc != HPE_OK && !k->is_complete)
            return explain(k, &p);
        if (n == 0 && !k->is_complete)
            return err_set(k->err, ERR_BACKEND, "%s closed the connection before the answer was complete", k->peer);
    }
    return ERR_OK;
}

static enum err_code exchange(struct call *k)
{
    AUTO_FD fd = -1;
    enum err_code code = k->q->unix_path ? connect_unix(k, &fd) : connect_tcp(k, &fd);
    if (code != ERR_OK)
        return code;
    struct buf head;
    buf_init(&head, HEAD_BYTES_MAX);
    code = put_head(k, &head);
    if (code == ERR_OK)
        code = send_all(k, fd, buf_view(&head));
    buf_done(&head);
    if (code == ERR_OK)
        code = send_all(k, fd, k->q->body);
    return code == ERR_OK ? read_answer(k, fd) : code;
}

enum err_code fetch(const struct fetch_request *q, struct fetch_response *out, struct err *err)
{
    struct fetch_response r = {0};
    arena_init(&r.arena, 4096, 2 * HEAD_BYTES_MAX);
    buf_init(&r.body, q->body_bytes_max ? q->body_bytes_max : BODY_BYTES_DEFAULT);
    struct call k = {.q = q, .r = &r, .err = err};
    k.deadline_ns = clock_now_ns() + (q->timeout_ns ? q->timeout_ns : TIMEOUT_NS_DEFAULT);
    if (q->unix_path)
        (void)snprintf(k.peer, sizeof(k.peer), "%s", q->unix_path); /* cut when long: only for texts */
    else
        (void)snprintf(k.peer, sizeof(k.peer), "%s:%d", q->host, q->port); /* as above */
    buf_init(&k.name, 256);
    buf_init(&k.value, 8192);
    enum err_code code = exchange(&k);
    buf_done(&k.name);
    buf_done(&k.value);
    if (code != ERR_OK) {
        fetch_done(&r);
        return code;
    }
    buf_pad(&r.body); /* an answer is often parsed as JSON next */
    *out = r;
    return ERR_OK;
}

struct str fetch_header(const struct fetch_response *r, const char *name)
{
    for (size_t i = 0; i < r->headers_len; i++)
        if (str_eq_c(r->headers[i].name, name))
            return r->headers[i].value;
    return (struct str){0};
}

void fetch_done(struct fetch_response *r)
{
    buf_done(&r->body);
    arena_done(&r->arena);
    *r = (struct fetch_response){0};
}
