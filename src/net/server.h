/* HTTP/1.1 server: one per edge thread, on that thread's libuv loop, over listening sockets that somebody else opened.
 * Keep-alive, pipelining (answers of one read event leave in one write, in order), chunked both ways, Expect: 100-continue,
 * gzip and deflate, time limits for slow heads, bodies and readers, limits on every size and count, graceful drain.
 * Every ambiguity that could let two parsers disagree (request smuggling) is answered with 400 and a closed connection. */
#ifndef NET_SERVER_H
#define NET_SERVER_H

#include <stdatomic.h>
#include <uv.h>

#include "net/http.h"

struct server_limits {
    size_t head_bytes_max;    /* request line and headers: 431 */
    size_t headers_max;       /* count: 431 */
    size_t body_bytes_max;    /* before and after decompression: 413 */
    size_t connections_max;   /* per thread; the oldest idle one is closed to make room, else 503 */
    size_t pipeline_max;      /* requests in flight per connection; reading pauses beyond */
    uint64_t head_timeout_ns; /* 408 */
    uint64_t body_timeout_ns; /* without progress: 408 */
    uint64_t idle_timeout_ns; /* keep-alive */
    uint64_t send_timeout_ns; /* reader does not take bytes: closed */
};

struct server_stats { /* written by the server's thread, read by others with relaxed loads */
    _Atomic uint64_t connections, connections_open, requests, bad_requests, timeouts, bytes_in, bytes_out;
};

struct server;

void server_limits_default(struct server_limits *l);
/* handler is called for every complete request; on_done (may be NULL) after the last byte of an answer was handed to the
 * kernel, for access log and metrics: status and sizes are those sent; 499 and 0 when the client was gone. It also sees the
 * answers to requests that the server itself refused (400, 408, 413, 431 ...): their method may be 0 and their path empty. */
typedef void server_done_fn(const struct http_req *req, int status, uint64_t bytes_out, void *arg);
struct server *server_new(uv_loop_t *loop, int thread, const struct server_limits *limits, http_handler_fn *handler,
                          server_done_fn *on_done, void *arg);
/* Adds a listening socket (TCP or UNIX stream, already listening, non-blocking). The fd is duplicated. */
enum err_code server_listen_fd(struct server *s, int fd, struct err *err);
/* Stops accepting, closes idle connections, answers requests in flight with Connection: close. on_drained is called when none is left. */
void server_drain(struct server *s, void (*on_drained)(void *arg), void *arg);
/* Closes everything now; the loop must still run once for libuv's close callbacks before it is closed. */
void server_free(struct server *s);
/* Requests of which `may_defer` says so, looking at their head, may come to the handler with bytes of their body away (http.h). */
typedef bool http_defer_fn(const struct http_req *req);
void server_defer_bodies(struct server *s, http_defer_fn *may_defer);
const struct server_stats *server_stats(const struct server *s);
/* Called at the end of a loop iteration's reads by the server itself; a handler that batches work (inference) registers here to be
 * told "all that was readable has been read" so that it wakes a worker once, not once per request. */
void server_on_flush(struct server *s, void (*flush)(void *arg), void *arg);

#endif
