/* The floor: the least that any server of its own process must do for raw requests of one size, measured as a server is.
 *
 *   bench_floor MODEL.onnx PORT REQUEST_ROWS RUN_ROWS
 *
 * One thread, and ONNX Runtime in it: no other process, no queue, no parsing (the first request of a connection shows where its body begins, all others are
 * taken to be alike), no metrics, nothing checked. A body is read once, to where the engine takes it; as many requests as lie in the sockets share a run; the answer is
 * about as long as ours. Model: one float input, one float output, the rows in front. Any other use is wrong: it believes whatever a client sends. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "net/accept.h"
#include "net/near.h"
#include "ort_bare.h"
#include "sys/fd.h"

#define CONNECTIONS_MAX 4096
#define REQUESTS_MAX    64
#define HEAD_MAX        8192

struct connection {
    int fd;
    size_t head_bytes; /* of its requests; 0: none came yet */
};

struct floor {
    const struct onnx_model *m;
    struct ort_session *session;
    struct ort_value *in[REQUESTS_MAX + 1], *out[REQUESTS_MAX + 1]; /* by requests in the run */
    unsigned char *rows, *results;
    size_t body_bytes, result_bytes; /* of a request */
    int run_requests;
    int epoll, listener;
    struct near_room room;
    struct connection connections[CONNECTIONS_MAX];
    struct connection *waiting[REQUESTS_MAX];
    int waiting_len;
    char answer_head[512];
    size_t answer_head_bytes;
};

static size_t row_elements(const struct tensor_spec *t)
{
    size_t n = 1;
    for (int d = 1; d < t->ndim; d++)
        n *= (size_t)t->dims[d];
    return n;
}

static struct ort_value *rows_of(struct floor *f, const struct tensor_spec *t, int requests, long request_rows,
                                 void *data)
{
    struct backend_tensor v = {.dtype = t->dtype, .ndim = t->ndim, .data = data};
    memcpy(v.dims, t->dims, sizeof v.dims);
    v.dims[0] = requests * request_rows;
    v.bytes = (size_t)v.dims[0] * row_elements(t) * dtype_size(t->dtype);
    return wrap(f->m, &v);
}

static void prepare(struct floor *f, const char *path, long request_rows, long run_rows)
{
    static struct model_desc desc;
    struct backend_load opt = {.name = "floor", .path = path};
    const struct backend *b = backend_by_path(str_c(path));
    struct arena arena;
    struct str bytes;
    void *instance;
    must(b->engine_open(&opt, &err), "engine");
    must(b->load(&opt, &instance, &err), "load");
    must(b->describe(instance, &desc, &err), "describe");
    arena_init(&arena, 1 << 20, (size_t)1 << 30);
    must(file_read(path, (size_t)1 << 30, &arena, &bytes, &err), "model");
    f->m = instance;
    f->session = bare_session(f->m, bytes, false);
    f->run_requests = (int)(run_rows / request_rows);
    f->body_bytes = (size_t)request_rows * row_elements(&desc.inputs[0]) * dtype_size(desc.inputs[0].dtype);
    f->result_bytes = (size_t)request_rows * row_elements(&desc.outputs[0]) * dtype_size(desc.outputs[0].dtype);
    f->rows = aligned_alloc(64, ((size_t)f->run_requests * f->body_bytes + 63) & ~(size_t)63);
    f->results = aligned_alloc(64, ((size_t)f->run_requests * f->result_bytes + 63) & ~(size_t)63);
    for (int n = 1; n <= f->run_requests; n++) {
        f->in[n] = rows_of(f, &desc.inputs[0], n, request_rows, f->rows);
        f->out[n] = rows_of(f, &desc.outputs[0], n, request_rows, f->results);
    }
    static const char json[] = "{\"model_name\":\"mlp784\",\"model_version\":\"1\",\"outputs\":[{\"name\":\"output\","
                               "\"datatype\":\"FP32\",\"shape\":[32,10],\"parameters\":{\"binary_data_size\":1280}}]}";
    f->answer_head_bytes = (size_t)snprintf(
        f->answer_head, sizeof f->answer_head,
        "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: %zu\r\n"
        "Inference-Header-Content-Length: %zu\r\nX-Request-Id: 00000000000000000000000000000000\r\n\r\n%s",
        sizeof json - 1 + f->result_bytes, sizeof json - 1, json);
}

static void drop(struct connection *c)
{
    (void)close(c->fd);
    c->fd = -1;
}

static void run(struct floor *f)
{
    int n = f->waiting_len;
    bare_run(f->m, f->session, &f->in[n], &f->out[n]);
    for (int i = 0; i < n; i++) {
        struct iovec parts[] = {{f->answer_head, f->answer_head_bytes},
                                {f->results + (size_t)i * f->result_bytes, f->result_bytes}};
        if (writev(f->waiting[i]->fd, parts, 2) < 0)
            drop(f->waiting[i]);
    }
    f->waiting_len = 0;
}

/* The first request of a connection, whole; what is no POST is the harness that looks whether we are up. */
static bool learn_head(struct connection *c)
{
    char text[HEAD_MAX + 1];
    ssize_t n = recv(c->fd, text, HEAD_MAX, MSG_PEEK);
    if (n <= 0)
        return false;
    text[n] = '\0';
    const char *end = strstr(text, "\r\n\r\n");
    if (end == NULL || strncmp(text, "POST ", 5) != 0) {
        static const char ok[] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        (void)!write(c->fd, ok, sizeof ok - 1);
        return false;
    }
    c->head_bytes = (size_t)(end - text) + 4;
    return true;
}

/* The kernel wakes us when a request is there whole, so that one read brings it. */
static void take(struct floor *f, struct connection *c)
{
    char head[HEAD_MAX];
    if (c->head_bytes == 0) {
        int whole;
        if (!learn_head(c)) {
            drop(c);
            return;
        }
        whole = (int)(c->head_bytes + f->body_bytes);
        (void)setsockopt(c->fd, SOL_SOCKET, SO_RCVLOWAT, &whole, sizeof whole);
        return;
    }
    struct iovec parts[] = {{head, c->head_bytes}, {f->rows + (size_t)f->waiting_len * f->body_bytes, f->body_bytes}};
    ssize_t got = readv(c->fd, parts, 2);
    if (got != (ssize_t)(c->head_bytes + f->body_bytes)) {
        drop(c);
        return;
    }
    near_keep_window(c->fd, f->room);
    f->waiting[f->waiting_len++] = c;
    if (f->waiting_len == f->run_requests)
        run(f);
}

static void accept_one(struct floor *f)
{
    int fd = accept4(f->listener, NULL, NULL, SOCK_CLOEXEC), one = 1;
    if (fd < 0)
        return;
    if (fd >= CONNECTIONS_MAX) {
        (void)close(fd);
        return;
    }
    f->connections[fd] = (struct connection){.fd = fd};
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    (void)near_make_room(fd, f->room);
    struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};
    (void)epoll_ctl(f->epoll, EPOLL_CTL_ADD, fd, &e);
}

int main(int argc, char **argv)
{
    static struct floor f;
    struct epoll_event ready[REQUESTS_MAX];
    if (argc != 5) {
        (void)fprintf(stderr, "usage: bench_floor MODEL.onnx PORT REQUEST_ROWS RUN_ROWS\n");
        return 2;
    }
    prepare(&f, argv[1], strtol(argv[3], NULL, 10), strtol(argv[4], NULL, 10));
    f.room = near_room_allowed();
    f.epoll = epoll_create1(EPOLL_CLOEXEC);
    must(listen_tcp("127.0.0.1", (int)strtol(argv[2], NULL, 10), 1024, &f.listener, NULL, &err), "listen");
    struct epoll_event e = {.events = EPOLLIN, .data.fd = f.listener};
    (void)epoll_ctl(f.epoll, EPOLL_CTL_ADD, f.listener, &e);
    for (;;) {
        int n = epoll_wait(f.epoll, ready, REQUESTS_MAX, f.waiting_len > 0 ? 0 : -1);
        if (n == 0)
            run(&f); /* nothing more has come */
        for (int i = 0; i < n; i++) {
            if (ready[i].data.fd == f.listener)
                accept_one(&f);
            else if (f.connections[ready[i].data.fd].fd >= 0)
                take(&f, &f.connections[ready[i].data.fd]);
        }
    }
}
