/* Router and client, each against a real server. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "net/accept.h"
#include "net/fetch.h"
#include "net/router.h"
#include "net/server.h"
#include "rig.h"
#include "t.h"

/* ---- A server in a thread of its own ---- */

struct host {
    uv_loop_t loop;
    uv_async_t stop;
    struct server *server;
    struct router *router;
    pthread_t thread;
    int port;
    char unix_path[108];
};

static void show(struct http_req *req, const struct route_match *m, void *arg)
{
    struct buf b;
    buf_init(&b, 4096);
    buf_printf(&b, "%s %s", (const char *)arg, http_method_name(req->method));
    for (int i = 0; i < m->captures_len; i++)
        buf_printf(&b, " [%.*s]", STR_F(m->captures[i]));
    rig_text(req, 200, buf_view(&b));
    buf_done(&b);
}

static void echo(struct http_req *req, const struct route_match *m, void *arg)
{
    (void)m;
    (void)arg;
    http_respond(req, 201, http_header_get(req, "content-type"), NULL, 0, &req->body, 1);
}

static void stream(struct http_req *req, const struct route_match *m, void *arg)
{
    (void)m;
    (void)arg;
    http_stream_begin(req, 200, STR("text/plain"));
    if (http_stream_write(req, STR("one ")) && !http_stream_write(req, STR("two")))
        abort();
    http_stream_end(req);
}

static void never(struct http_req *req, const struct route_match *m, void *arg)
{
    (void)m;
    *(struct http_req **)arg = req;
}

static const struct route first[] = {
    {HTTP_GET_, "/", show, "root"},
    {HTTP_GET_, "/v2/models/{model}", show, "one model"},
    {HTTP_POST_, "/v2/models/{model}", show, "change"},
    {HTTP_GET_, "/v2/models/{model}/versions/{version}", show, "one version"},
};
static const struct route second[] = {
    {HTTP_POST_, "/echo", echo, "echo"},
    {HTTP_GET_, "/stream", stream, "stream"},
};
static struct http_req *pending;
static const struct route third[] = {{HTTP_GET_, "/never", never, "never"}};

static void dispatch(struct http_req *req, void *arg)
{
    router_dispatch(arg, req);
}

static void on_stop(uv_async_t *a)
{
    struct host *h = a->data;
    server_free(h->server);
    if (pending)
        rig_text(pending, 200, STR("too late"));
    pending = NULL;
    uv_close((uv_handle_t *)a, NULL);
}

static void *run(void *arg)
{
    struct host *h = arg;
    (void)uv_run(&h->loop, UV_RUN_DEFAULT);
    return NULL;
}

static void host_start(struct host *h)
{
    static char arg_first[] = "first";
    struct err err;
    struct server_limits limits;
    int fd = -1;
    *h = (struct host){0};
    server_limits_default(&limits);
    EXPECT_EQ(uv_loop_init(&h->loop), 0);
    h->router = router_new(first, ARRAY_LEN(first), arg_first);
    router_add(h->router, second, ARRAY_LEN(second), NULL);
    router_add(h->router, third, ARRAY_LEN(third), &pending);
    h->server = server_new(&h->loop, 0, &limits, dispatch, NULL, h->router);
    (void)snprintf(h->unix_path, sizeof(h->unix_path), "%s/s", t_tmpdir());
    if (listen_tcp("127.0.0.1", 0, 16, &fd, &h->port, &err) != ERR_OK ||
        server_listen_fd(h->server, fd, &err) != ERR_OK)
        FAIL("%s", err.text);
    (void)close(fd);
    if (listen_unix(h->unix_path, 0600, 16, &fd, &err) != ERR_OK || server_listen_fd(h->server, fd, &err) != ERR_OK)
        FAIL("%s", err.text);
    (void)close(fd);
    EXPECT_EQ(uv_async_init(&h->loop, &h->stop, on_stop), 0);
    h->stop.data = h;
    EXPECT_EQ(pthread_create(&h->thread, NULL, run, h), 0);
}

static void host_stop(struct host *h)
{
    EXPECT_EQ(uv_async_send(&h->stop), 0);
    EXPECT_EQ(pthread_join(h->thread, NULL), 0);
    router_free(h->router);
    EXPECT_EQ(uv_loop_close(&h->loop), 0);
}

static int get(struct host *h, const char *method, const char *path, struct fetch_response *out)
{
    struct err err;
    struct fetch_request q = {.host = "127.0.0.1", .port = h->port, .method = method, .path = path};
    if (fetch(&q, out, &err) != ERR_OK)
        FAIL("%s %s: %s", method, path, err.text);
    return out->status;
}

/* ---- Router ---- */

TEST(routes_match_literals_and_captures)
{
    static const struct {
        const char *method, *path;
        int status;
        const char *body; /* NULL: not looked at */
    } cases[] = {
        {"GET", "/", 200, "first GET"},
        {"GET", "/v2/models/iris", 200, "first GET [iris]"},
        {"HEAD", "/v2/models/iris", 200, ""},
        {"POST", "/v2/models/iris?x=1", 200, "first POST [iris]"},
        {"GET", "/v2/models/a%20b/versions/3", 200, "first GET [a b] [3]"},
        {"GET", "/v2/models/", 404, NULL},
        {"GET", "/v2/models", 404, NULL},
        {"GET", "/v2/models/iris/", 404, NULL},
        {"GET", "/v2/models/iris/versions/", 404, NULL},
        {"GET", "/V2/models/iris", 404, NULL},
        {"GET", "//", 404, NULL},
        {"GET", "/a/b/c/d/e/f/g/h/i/j/k/l/m/n/o", 404, NULL},
        {"DELETE", "/v2/models/iris", 405, NULL},
        {"PUT", "/", 405, NULL},
        {"OPTIONS", "/echo", 204, ""},
    };
    struct host h;
    host_start(&h);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct fetch_response r;
        int status = get(&h, cases[i].method, cases[i].path, &r);
        if (status != cases[i].status)
            FAIL("%s %s: %d", cases[i].method, cases[i].path, status);
        if (cases[i].body)
            EXPECT_STR(buf_view(&r.body), cases[i].body);
        fetch_done(&r);
    }
    struct fetch_response r;
    EXPECT_EQ(get(&h, "DELETE", "/v2/models/iris", &r), 405);
    EXPECT_STR(fetch_header(&r, "allow"), "GET, HEAD, POST, OPTIONS");
    EXPECT(str_contains(buf_view(&r.body), STR("\"code\":405")));
    fetch_done(&r);
    host_stop(&h);
}

/* ---- Client ---- */

TEST(client_posts_and_reads_on_both_kinds_of_socket)
{
    struct host h;
    struct err err;
    struct fetch_response r;
    host_start(&h);
    struct fetch_request q = {
        .unix_path = h.unix_path, .path = "/echo", .content_type = STR("a/b"), .body = STR("payload")};
    EXPECT_EQ(fetch(&q, &r, &err), ERR_OK);
    EXPECT_EQ(r.status, 201);
    EXPECT_STR(buf_view(&r.body), "payload");
    EXPECT_STR(fetch_header(&r, "content-type"), "a/b");
    fetch_done(&r);
    EXPECT_EQ(get(&h, NULL, "/stream", &r), 200);
    EXPECT_STR(buf_view(&r.body), "one two");
    fetch_done(&r);
    host_stop(&h);
}

TEST(client_has_limits)
{
    struct host h;
    struct err err;
    struct fetch_response r;
    host_start(&h);
    struct fetch_request q = {.unix_path = h.unix_path, .path = "/stream", .body_bytes_max = 6};
    EXPECT_EQ(fetch(&q, &r, &err), ERR_TOO_LARGE);
    q = (struct fetch_request){.unix_path = h.unix_path, .path = "/never", .timeout_ns = 100 * NS_PER_MS};
    uint64_t begin = clock_now_ns();
    EXPECT_EQ(fetch(&q, &r, &err), ERR_TIMEOUT);
    EXPECT(clock_now_ns() - begin < 2 * NS_PER_S);
    q.path = "no slash";
    EXPECT_EQ(fetch(&q, &r, &err), ERR_INVALID);
    q.path = "/a b";
    EXPECT_EQ(fetch(&q, &r, &err), ERR_INVALID);
    host_stop(&h);
}

TEST(client_says_who_does_not_answer)
{
    struct err err;
    struct fetch_response r;
    int fd = -1, port = 0;
    EXPECT_EQ(listen_tcp("127.0.0.1", 0, 1, &fd, &port, &err), ERR_OK);
    (void)close(fd);
    struct fetch_request q = {.host = "127.0.0.1", .port = port, .path = "/"};
    EXPECT_EQ(fetch(&q, &r, &err), ERR_UNAVAILABLE);
    EXPECT(strstr(err.text, "127.0.0.1:") != NULL);
    q = (struct fetch_request){.unix_path = "/nonexistent/socket", .path = "/"};
    EXPECT_EQ(fetch(&q, &r, &err), ERR_UNAVAILABLE);
    EXPECT(strstr(err.text, "/nonexistent/socket") != NULL);
}
