/* The HTTP server with nothing behind it: what src/net costs per request, measured against nginx's `return 200`.
 * usage: bench_hello PORT [BODY_BYTES]     GET / or POST anything: 200 with JSON. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "net/accept.h"
#include "net/server.h"

static struct str answer = {"{\"ok\":true}", 11};

static void hello(struct http_req *req, void *arg)
{
    (void)arg;
    http_respond_json(req, 200, answer);
}

static void fail(const struct err *err)
{
    (void)fprintf(stderr, "bench_hello: %s\n%s\n", err->text, err->remedy);
    exit(1);
}

int main(int argc, char **argv)
{
    struct err err;
    struct server_limits limits;
    uint64_t port = 8080, bytes = 0;
    int fd = -1;
    if (argc > 3 || (argc > 1 && !str_to_u64(str_c(argv[1]), &port)) || port > 65535 ||
        (argc > 2 && !str_to_u64(str_c(argv[2]), &bytes)) || bytes > (uint64_t)64 << 20) {
        (void)fprintf(stderr, "usage: bench_hello PORT [BODY_BYTES]\n");
        return 2;
    }
    if (bytes > 0) {
        char *p = malloc((size_t)bytes);
        if (!p)
            return 1;
        memset(p, '1', (size_t)bytes);
        answer = (struct str){p, (size_t)bytes};
    }
    server_limits_default(&limits);
    if (listen_tcp("127.0.0.1", (int)port, 1024, &fd, NULL, &err) != ERR_OK)
        fail(&err);
    struct server *s = server_new(uv_default_loop(), 0, &limits, hello, NULL, NULL);
    if (server_listen_fd(s, fd, &err) != ERR_OK)
        fail(&err);
    (void)uv_run(uv_default_loop(), UV_RUN_DEFAULT); /* until killed */
    return 0;
}
