#include "rig.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "net/accept.h"
#include "net/server_int.h"
#include "t.h"

static void on_cancel(struct http_req *req, void *arg)
{
    struct rig *r = arg;
    (void)req;
    r->cancelled++;
}

static void answer_big(struct http_req *req)
{
    uint64_t n = 0;
    EXPECT(str_to_u64(str_sub(req->path, 5, req->path.n), &n));
    char *p = malloc((size_t)n + 1);
    memset(p, 'b', (size_t)n);
    struct str part = {p, (size_t)n};
    http_respond(req, 200, STR("application/octet-stream"), NULL, 0, &part, 1);
    memset(p, 'x', (size_t)n); /* nothing may be read after the answer was given */
    free(p);
}

static void answer_stream(struct http_req *req)
{
    http_stream_begin(req, 200, STR("text/event-stream"));
    EXPECT(http_stream_write(req, STR("one ")));
    EXPECT(http_stream_write(req, STR("")));
    EXPECT(http_stream_write(req, STR("two ")));
    EXPECT(http_stream_write(req, STR("three")));
    http_stream_end(req);
}

static void keep(struct rig *r, struct http_req *req)
{
    EXPECT(r->later_len < RIG_LATER_MAX);
    r->later[r->later_len++] = req;
}

/* In three parts, the last of them first if is_backwards. */
static void answer_copy(struct rig *r, struct http_req *req, bool is_backwards)
{
    size_t cut[4] = {0, 700, req->body.n / 2, req->body.n};
    char *copy = calloc(1, req->body.n + 1);
    for (int i = 0; i < 3; i++) {
        int k = is_backwards ? 2 - i : i;
        r->fetched = http_body_copy(req, str_sub(req->body, cut[k], cut[k + 1] - cut[k]), copy + cut[k]);
    }
    http_respond(req, 200, STR("application/octet-stream"), NULL, 0, &(struct str){copy, req->body.n}, 1);
    free(copy);
}

static void reset_client(const struct rig *r)
{
    struct linger now = {.l_onoff = 1};
    EXPECT_EQ(setsockopt(r->reset_fd, SOL_SOCKET, SO_LINGER, &now, sizeof now), 0);
    (void)close(r->reset_fd);
}

static void steal(const struct http_req *req)
{
    char bytes[1000];
    uv_os_fd_t fd;
    EXPECT_EQ(uv_fileno(&req->conn->uv.handle, &fd), 0);
    EXPECT_EQ(recv(fd, bytes, sizeof bytes, MSG_DONTWAIT), 1000);
}

void rig_text(struct http_req *req, int status, struct str text)
{
    http_respond(req, status, STR("text/plain; charset=utf-8"), NULL, 0, &text, 1);
}

static void handle(struct http_req *req, void *arg)
{
    struct rig *r = arg;
    r->requests++;
    r->away = req->body_away;
    http_body_reads(req, r->look);
    if (str_eq_c(req->path, "/hello")) {
        rig_text(req, 200, STR("hello\n"));
    } else if (str_eq_c(req->path, "/echo")) {
        for (int i = 0; i < BUF_PAD; i++)
            EXPECT_EQ(req->body.p[req->body.n + (size_t)i], 0);
        http_respond(req, 200, STR("application/octet-stream"), NULL, 0, &req->body, 1);
    } else if (str_eq_c(req->path, "/later")) {
        keep(r, req);
    } else if (str_eq_c(req->path, "/cancel")) {
        req->on_cancel = on_cancel;
        req->on_cancel_arg = r;
        keep(r, req);
    } else if (str_eq_c(req->path, "/copy") || str_eq_c(req->path, "/backwards")) {
        answer_copy(r, req, str_eq_c(req->path, "/backwards"));
    } else if (str_eq_c(req->path, "/reset-copy")) {
        reset_client(r);
        answer_copy(r, req, false);
    } else if (str_eq_c(req->path, "/reset-later")) {
        reset_client(r);
        keep(r, req);
    } else if (str_eq_c(req->path, "/steal-copy")) {
        steal(req);
        answer_copy(r, req, false);
    } else if (str_eq_c(req->path, "/steal-later")) {
        steal(req);
        keep(r, req);
    } else if (str_starts(req->path, STR("/big/"))) {
        answer_big(req);
    } else if (str_eq_c(req->path, "/stream")) {
        answer_stream(req);
    } else {
        struct err err = {0};
        (void)err_set(&err, ERR_NOT_FOUND, "no such path");
        http_respond_err(req, &err);
    }
}

static void on_done(const struct http_req *req, int status, uint64_t bytes_out, void *arg)
{
    struct rig *r = arg;
    r->done++;
    r->last_status = status;
    r->last_bytes_out = bytes_out;
    (void)str_copy(r->last_path, sizeof(r->last_path), req->path);
}

static bool may_defer(const struct http_req *req)
{
    return req->method == HTTP_POST_;
}

static void on_flush(void *arg)
{
    struct rig *r = arg;
    r->flushed++;
}

void rig_init(struct rig *r)
{
    *r = (struct rig){0};
    server_limits_default(&r->limits);
    buf_init(&r->in, (size_t)256 << 20);
    EXPECT_EQ(uv_loop_init(&r->loop), 0);
}

void rig_start(struct rig *r)
{
    struct err err;
    int fd = -1;
    r->server = server_new(&r->loop, 0, &r->limits, handle, on_done, r);
    server_on_flush(r->server, on_flush, r);
    if (r->defers)
        server_defer_bodies(r->server, may_defer);
    if (listen_tcp("127.0.0.1", 0, 64, &fd, &r->port, &err) != ERR_OK ||
        server_listen_fd(r->server, fd, &err) != ERR_OK)
        FAIL("%s", err.text);
    (void)close(fd);
    (void)snprintf(r->unix_path, sizeof(r->unix_path), "%s/s", t_tmpdir());
    if (listen_unix(r->unix_path, 0600, 64, &fd, &err) != ERR_OK || server_listen_fd(r->server, fd, &err) != ERR_OK)
        FAIL("%s", err.text);
    (void)close(fd);
}

void rig_turn(struct rig *r, int ms)
{
    uint64_t end = clock_now_ns() + (uint64_t)ms * NS_PER_MS;
    do {
        (void)uv_run(&r->loop, UV_RUN_NOWAIT);
        if (ms > 0)
            (void)usleep(500);
    } while (clock_now_ns() < end);
}

void rig_stop(struct rig *r)
{
    server_free(r->server);
    rig_turn(r, 0);
    rig_turn(r, 0);
    EXPECT_EQ(uv_loop_close(&r->loop), 0); /* no handle is left */
    buf_done(&r->in);
}

static int connect_to(const struct sockaddr *a, socklen_t n)
{
    int fd = socket(a->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    EXPECT(fd >= 0);
    EXPECT_EQ(connect(fd, a, n), 0);
    return fd;
}

int rig_connect(struct rig *r)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)r->port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = connect_to((struct sockaddr *)&a, sizeof(a));
    rig_turn(r, 0);
    return fd;
}

int rig_connect_unix(struct rig *r)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    EXPECT(str_copy(a.sun_path, sizeof(a.sun_path), str_c(r->unix_path)));
    return connect_to((struct sockaddr *)&a, sizeof(a));
}

void rig_write(struct rig *r, int fd, struct str bytes)
{
    while (bytes.n > 0) {
        ssize_t n = send(fd, bytes.p, bytes.n, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno != EAGAIN)
            return; /* closed by the server: what it said is what the test looks at */
        if (n > 0)
            bytes = str_sub(bytes, (size_t)n, bytes.n);
        rig_turn(r, 0);
    }
}

void rig_send(struct rig *r, int fd, const char *text)
{
    rig_write(r, fd, str_c(text));
}

int rig_count(const struct rig *r, const char *text)
{
    int n = 0;
    size_t len = strlen(text);
    for (size_t i = 0; i + len <= r->in.len; i++)
        n += memcmp(r->in.p + i, text, len) == 0;
    return n;
}

/* 1: read something; 0: the end; -1: nothing there. */
static int read_some(struct rig *r, int fd)
{
    char bytes[65536];
    ssize_t n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
    if (n > 0)
        buf_add(&r->in, bytes, (size_t)n);
    return n > 0 ? 1 : n < 0 && errno == EAGAIN ? -1 : 0;
}

bool rig_expect(struct rig *r, int fd, const char *text, int n, int ms)
{
    uint64_t end = clock_now_ns() + (uint64_t)ms * NS_PER_MS;
    buf_clear(&r->in);
    do {
        rig_turn(r, 0);
        int got = read_some(r, fd);
        if (got >= 0 && rig_count(r, text) >= n)
            return true;
        if (got == 0)
            return false;
        if (got < 0)
            (void)usleep(200);
    } while (clock_now_ns() < end);
    return false;
}

bool rig_read_all(struct rig *r, int fd, int ms)
{
    uint64_t end = clock_now_ns() + (uint64_t)ms * NS_PER_MS;
    buf_clear(&r->in);
    do {
        rig_turn(r, 0);
        int got = read_some(r, fd);
        if (got == 0)
            return true;
        if (got < 0)
            (void)usleep(200);
    } while (clock_now_ns() < end);
    return false;
}

void rig_answer(struct rig *r, int i, const char *text)
{
    rig_text(r->later[i], 200, str_c(text));
    r->later[i] = NULL;
}
