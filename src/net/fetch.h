/* Small blocking HTTP/1.1 client for the command line and for tests: one request, one connection, over TCP or a UNIX
 * socket. The whole exchange has one time limit. Do not call it on a thread that runs a loop.
 *
 *     struct fetch_response r;
 *     struct fetch_request q = {.unix_path = "/run/quern/edge.sock", .path = "/v2/health/ready"};
 *     if (fetch(&q, &r, &err) == ERR_OK) { ... r.status, buf_view(&r.body) ... fetch_done(&r); }
 *
 * A status of 4xx or 5xx is an answer, not an error. */
#ifndef NET_FETCH_H
#define NET_FETCH_H

#include <signal.h>

#include "net/http.h"

#define FETCH_HEADERS_MAX 64

struct fetch_request {
    const char *unix_path; /* NULL: TCP to host:port */
    const char *host;
    int port;
    const char *method; /* NULL: GET, or POST when there is a body */
    const char *path;   /* with the query; must begin with '/' */
    struct str content_type;
    struct str body;
    const struct http_header *headers; /* more of them; Host, Content-Length and Connection are added */
    size_t headers_len;
    uint64_t timeout_ns;   /* 0: 30 s */
    size_t body_bytes_max; /* 0: 64 MiB */
    /* For an answer that is a stream: gets the body of a 2xx answer as it comes, in place of `body`. False ends the call with ERR_CANCELLED. */
    bool (*on_body)(void *arg, struct str bytes);
    void *on_body_arg;
    const volatile sig_atomic_t *stop; /* not NULL: when a signal has set it, the call ends with ERR_CANCELLED */
};

struct fetch_response {
    int status;
    struct buf body;
    struct http_header headers[FETCH_HEADERS_MAX]; /* names in lower case; further ones are dropped */
    size_t headers_len;
    struct arena arena; /* owns the headers */
};

enum err_code fetch(const struct fetch_request *q, struct fetch_response *out, struct err *err);
struct str fetch_header(const struct fetch_response *r, const char *name); /* p == NULL: absent */
void fetch_done(struct fetch_response *r);

#endif
