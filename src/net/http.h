/* The version-neutral HTTP request and response: what handlers see, whichever protocol carried it.
 *
 * A request lives in its connection's thread and in an arena of its own. Its body is complete and contiguous in memory, with
 * BUF_PAD readable bytes behind it, already freed from chunked and content codings. A handler answers exactly once,
 * at once or later, with one of http_respond*; until then the request stays valid. If the client goes away before, on_cancel is
 * called (once, if set); the handler must still end the request with http_respond* (the bytes are dropped).
 * Everything here is called on the thread of the connection's loop. */
#ifndef NET_HTTP_H
#define NET_HTTP_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"

enum http_method { HTTP_GET_ = 1, HTTP_HEAD_, HTTP_POST_, HTTP_PUT_, HTTP_DELETE_, HTTP_OPTIONS_, HTTP_PATCH_ };

struct http_header {
    struct str name;  /* lower case in requests */
    struct str value; /* trimmed */
};

struct http_conn;

struct http_req {
    struct http_conn *conn; /* private to net */
    struct arena *arena;    /* lives as long as the request */
    enum http_method method;
    struct str path;  /* percent-decoded once; never contains NUL, "..", or an encoded slash */
    struct str query; /* raw, behind the '?' */
    struct http_header *headers;
    size_t headers_len;
    struct str body;
    bool body_was_copied; /* by http_body_copy: it has holes, and must not be read any more */
    size_t body_away;     /* so many bytes at its end are not fetched yet, see http_body_copy */
    char id[37];          /* request id: the client's x-request-id when it is sane, else ours (32 hex digits) */
    char trace[56];       /* traceparent to pass on: the client's trace id with a span id of ours */
    uint64_t t_start_ns;  /* first byte of the request was there */
    uint64_t t_ready_ns;  /* head and body complete */
    int thread;           /* index of the edge thread */
    uint64_t peer;        /* who asks: a hash of the address, without port; 0 = unknown (UNIX socket) */
    bool is_unix;         /* it came over a UNIX socket: from this machine, let in by the socket's permissions */
    void (*on_cancel)(struct http_req *req, void *arg);
    void *on_cancel_arg;
    /* For the access log, set by handlers that know: */
    struct str log_model, log_series; /* the model's name; name/version */
    uint64_t stage_ns[6];             /* see enum http_stage */
    struct trace *trace_record;       /* serve/trace.h; ends when the answer has left; NULL: none */
    uint64_t trail;                   /* a record of it is kept under this number; 0: none */
    bool answered;                    /* private */
};

/* Stage times of a request, ns, shown in logs and metrics. */
enum http_stage { STAGE_RECEIVE, STAGE_DECODE, STAGE_QUEUE, STAGE_COMPUTE, STAGE_ENCODE, STAGE_SEND };

typedef void http_handler_fn(struct http_req *req, void *arg);

const char *
http_method_name(enum http_method m);     /* "GET"; "-" for 0 (a request refused before its method was understood) */
const char *http_status_text(int status); /* "Not Found"; "" for a status that we do not know */

/* A server that was told so (server_defer_bodies) hands a large body over while its last body_away bytes still lie in the kernel, so that they are copied
 * once, to where they are needed. They must not be read from req->body. This holds only during the handler's call: what it leaves is fetched when it
 * returns. Both return false when the connection broke meanwhile; the request is answered as any other.
 * fetch: brings the rest. copy: a part of the body to where it is needed; each byte at most once, in ascending order if it is to be cheap. */
bool http_body_fetch(struct http_req *req);
ATTR_MUST_USE bool http_body_copy(struct http_req *req, struct str part, void *to);
/* The handler reads n bytes of the body's beginning itself: of the connection's next body no more is fetched before the handler's call. */
void http_body_reads(struct http_req *req, size_t n);

/* Value of a header (name in lower case), or an empty str with p == NULL. */
struct str http_header_get(const struct http_req *req, const char *name);
/* Accept-Encoding allows gzip: for handlers that keep a compressed form. */
bool http_accepts_gzip(struct http_req *req);
/* First value of a query parameter, percent-decoded into the arena; p == NULL when absent. */
struct str http_query_get(struct http_req *req, const char *name);

/* Answers. `parts` are sent in order as the body in one write with the head; what the socket does not take at once is copied, so
 * the caller may release the parts as soon as this returns. Content-Length, Date, x-request-id, traceparent, connection handling
 * and (if the client accepts it and it pays) gzip are added here. */
void http_respond(struct http_req *req, int status, struct str content_type, const struct http_header *extra,
                  size_t extra_len, const struct str *parts, size_t parts_len);
void http_respond_json(struct http_req *req, int status, struct str json);
/* {"error": text, "code": status, "remedy": ..., "request_id": ...}, the form of all our APIs but /predict. */
void http_respond_err(struct http_req *req, const struct err *err);
/* The Retry-After header for 429 and 503: whole seconds, at least 1. Its value lies in out. */
struct http_header http_retry_after(const struct err *err, char *out, size_t out_size);

/* Chunked answers whose end is not known (server-sent events). stream_write returns false when the client does not keep up (more than
 * 1 MiB waiting) or is gone; then only stream_end is left to call. */
void http_stream_begin(struct http_req *req, int status, struct str content_type);
ATTR_MUST_USE bool http_stream_write(struct http_req *req, struct str bytes);
void http_stream_end(struct http_req *req);
/* Bytes that wait for the client; who can wait too writes when they are few. The loop turns when they become fewer. */
size_t http_stream_backlog(struct http_req *req);

#endif
