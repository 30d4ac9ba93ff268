/* Answers: from what a handler says to bytes. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/check.h"
#include "base/clock.h"
#include "net/chars_int.h"
#include "net/server_int.h"

#define PARTS_ON_STACK 16u
/* Below, gzip's header and tables eat the gain; above, compressing would stall the other connections of the thread for longer than the
 * transfer takes. */
#define GZIP_BYTES_MIN 1024u
#define GZIP_BYTES_MAX ((size_t)1 << 20)
/* What a stream may have waiting for a client that does not keep up. */
#define STREAM_BACKLOG_MAX ((size_t)1 << 20)

enum body_kind { BODY_SIZED, BODY_CHUNKED, BODY_UNTIL_CLOSE };

struct answer {
    int status;
    struct str content_type;
    const struct http_header *extra;
    size_t extra_len;
    enum body_kind kind;
    size_t length;
    bool is_gzip, may_be_gzip;
};

/* ---- Head ---- */

static struct str date_line(struct server *s)
{
    uint64_t second = s->now_ns / NS_PER_S;
    if (second != s->date_s || s->date[0] == '\0') {
        time_t now = (time_t)(clock_wall_ms() / 1000);
        struct tm t;
        (void)gmtime_r(&now, &t); /* cannot fail for a time of today */
        (void)strftime(s->date, sizeof(s->date), "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", &t);
        s->date_s = second;
    }
    return (struct str){s->date, 37};
}

static bool has_no_body(int status)
{
    return status < 200 || status == 204 || status == 304;
}

/* A line end inside a header would let whoever supplied it write headers of their own. */
static void put_clean(struct buf *b, struct str s)
{
    size_t clean = 0;
    while (clean < s.n && char_is_value(s.p[clean]))
        clean++;
    buf_str(b, str_sub(s, 0, clean));
    for (size_t i = clean; i < s.n; i++)
        buf_char(b, char_is_value(s.p[i]) ? s.p[i] : ' ');
}

static void put_line(struct buf *b, struct str name, struct str value)
{
    put_clean(b, name);
    buf_str(b, STR(": "));
    put_clean(b, value);
    buf_str(b, STR("\r\n"));
}

static void put_status(struct buf *b, int status)
{
    if (status == 200) {
        buf_str(b, STR("HTTP/1.1 200 OK\r\n"));
        return;
    }
    buf_str(b, STR("HTTP/1.1 "));
    buf_u64(b, (uint64_t)status);
    buf_char(b, ' ');
    buf_c(b, http_status_text(status));
    buf_str(b, STR("\r\n"));
}

static void put_framing(struct buf *b, const struct answer *w)
{
    if (w->may_be_gzip)
        buf_str(b, STR("Vary: Accept-Encoding\r\n"));
    if (w->is_gzip)
        buf_str(b, STR("Content-Encoding: gzip\r\n"));
    if (has_no_body(w->status) || w->kind == BODY_UNTIL_CLOSE)
        return;
    if (w->kind == BODY_CHUNKED) {
        buf_str(b, STR("Transfer-Encoding: chunked\r\n"));
        return;
    }
    buf_str(b, STR("Content-Length: "));
    buf_u64(b, w->length);
    buf_str(b, STR("\r\n"));
}

static void put_connection(struct buf *b, const struct exchange *x)
{
    if (!x->keep_alive)
        buf_str(b, STR("Connection: close\r\n"));
    else if (x->head.minor == 0)
        buf_str(b, STR("Connection: keep-alive\r\n"));
}

/* Into s->head. */
static void put_head(struct exchange *x, const struct answer *w)
{
    struct server *s = x->req.conn->server;
    struct buf *b = &s->head;
    buf_clear(b);
    put_status(b, w->status);
    if (w->content_type.n > 0) {
        buf_str(b, STR("Content-Type: "));
        put_clean(b, w->content_type);
        buf_str(b, STR("\r\n"));
    }
    put_framing(b, w);
    buf_str(b, date_line(s));
    buf_str(b, STR("X-Request-Id: "));
    buf_c(b, x->req.id);
    buf_str(b, STR("\r\nTraceparent: "));
    buf_add(b, x->req.trace, sizeof(x->req.trace) - 1);
    buf_str(b, STR("\r\n"));
    put_connection(b, x);
    for (size_t i = 0; i < w->extra_len; i++)
        put_line(b, w->extra[i].name, w->extra[i].value);
    buf_str(b, STR("\r\n"));
    CHECK(!b->failed); /* handlers do not make heads of this size */
}

/* ---- The connection's fate ---- */

/* Whether this is the last answer of the connection must be known when its head is written. */
static void decide_keep_alive(struct exchange *x)
{
    struct http_conn *c = x->req.conn;
    bool more_comes = x->next || c->in.x || c->rest.len > 0 || (c->is_in_event && c->has_more);
    if (x->keep_alive && !more_comes && (c->server->is_draining || c->is_eof))
        x->keep_alive = false;
    if (!x->keep_alive)
        c->is_last = true;
}

/* The first half of every answer. False: the client is gone, and the answer is over already. */
static bool begin_answer(struct exchange *x, int status)
{
    CHECK(!x->req.answered); /* a handler answers exactly once */
    CHECK(status >= 200 && status <= 599);
    struct server *s = x->req.conn->server;
    s->now_ns = clock_now_ns();
    x->req.answered = true;
    x->t_answer_ns = s->now_ns;
    x->status = status;
    if (x->is_cancelled)
        return false;
    decide_keep_alive(x);
    return true;
}

/* ---- Whole answers ---- */

static bool gzip_parts(struct exchange *x, struct answer *w, const struct str *parts, size_t parts_len, struct str *out)
{
    if (w->length < GZIP_BYTES_MIN || w->length > GZIP_BYTES_MAX || !coding_is_text(w->content_type))
        return false;
    for (size_t i = 0; i < w->extra_len; i++)
        if (str_eq_nocase(w->extra[i].name, STR("content-encoding")))
            return false; /* the handler has done it */
    w->may_be_gzip = true;
    if (!coding_accepts_gzip(x->head.accept_encoding))
        return false;
    w->is_gzip = coder_gzip(&x->req.conn->server->coder, parts, parts_len, w->length, out);
    if (w->is_gzip)
        w->length = out->n;
    return w->is_gzip;
}

/* Head and parts as one list of buffers. */
static void send_whole(struct exchange *x, const struct answer *w, const struct str *parts, size_t parts_len)
{
    struct server *s = x->req.conn->server;
    uv_buf_t on_stack[PARTS_ON_STACK + 1];
    uv_buf_t *bufs = on_stack;
    if (parts_len > PARTS_ON_STACK)
        bufs = arena_alloc(&x->arena, (parts_len + 1) * sizeof(*bufs)); /* the handler's count, not a stranger's */
    put_head(x, w);
    size_t n = 0;
    bufs[n++] = (uv_buf_t){.base = s->head.p, .len = s->head.len};
    if (x->req.method != HTTP_HEAD_ && !has_no_body(w->status))
        for (size_t i = 0; i < parts_len; i++)
            bufs[n++] = (uv_buf_t){.base = (char *)(uintptr_t)parts[i].p, .len = parts[i].n};
    send_bytes(x, bufs, n);
}

void http_respond(struct http_req *req, int status, struct str content_type, const struct http_header *extra,
                  size_t extra_len, const struct str *parts, size_t parts_len)
{
    struct exchange *x = exchange_of(req);
    if (begin_answer(x, status)) {
        struct answer w = {
            .status = status, .content_type = content_type, .extra = extra, .extra_len = extra_len, .kind = BODY_SIZED};
        for (size_t i = 0; i < parts_len; i++)
            w.length += parts[i].n;
        struct str packed;
        if (gzip_parts(x, &w, parts, parts_len, &packed))
            send_whole(x, &w, &packed, 1);
        else
            send_whole(x, &w, parts, parts_len);
    }
    send_end(x); /* x is gone after this */
}

/* ---- Streams ---- */

void http_stream_begin(struct http_req *req, int status, struct str content_type)
{
    struct exchange *x = exchange_of(req);
    bool is_http10 = x->head.minor == 0;
    if (is_http10)
        x->keep_alive = false; /* the end of the connection is the end of the body */
    bool goes_on = begin_answer(x, status);
    x->is_stream = true;
    if (!goes_on)
        return;
    static const struct http_header no_store = {{"Cache-Control", 13}, {"no-store", 8}};
    struct answer w = {.status = status,
                       .content_type = content_type,
                       .extra = &no_store,
                       .extra_len = 1,
                       .kind = is_http10 ? BODY_UNTIL_CLOSE : BODY_CHUNKED};
    send_whole(x, &w, NULL, 0);
}

size_t http_stream_backlog(struct http_req *req)
{
    return send_backlog(exchange_of(req));
}

bool http_stream_write(struct http_req *req, struct str bytes)
{
    struct exchange *x = exchange_of(req);
    const struct http_conn *c = req->conn;
    CHECK(x->is_stream && !x->is_done);
    if (x->is_cancelled || x->is_broken || c->is_broken || c->state != CONN_OPEN)
        return false;
    if (bytes.n == 0 || req->method == HTTP_HEAD_ || has_no_body(x->status))
        return true;
    if (send_backlog(x) + bytes.n > STREAM_BACKLOG_MAX && send_backlog(x) > 0) {
        x->is_broken = true;
        return false;
    }
    char size[24];
    int n = snprintf(size, sizeof(size), "%zx\r\n", bytes.n);
    uv_buf_t b[3] = {{.base = size, .len = (size_t)n},
                     {.base = (char *)(uintptr_t)bytes.p, .len = bytes.n},
                     {.base = (char *)(uintptr_t) "\r\n", .len = 2}};
    if (x->head.minor == 0)
        send_bytes(x, b + 1, 1);
    else
        send_bytes(x, b, 3);
    return !c->is_broken;
}

void http_stream_end(struct http_req *req)
{
    struct exchange *x = exchange_of(req);
    struct http_conn *c = req->conn;
    CHECK(x->is_stream && !x->is_done);
    if (x->is_broken && !x->is_cancelled) {
        /* Bytes are missing: the client must see a cut, not a clean end. */
        x->is_cancelled = true;
        c->is_broken = true;
        server_mark_dirty(c);
    } else if (x->head.minor == 1 && req->method != HTTP_HEAD_ && !has_no_body(x->status)) {
        uv_buf_t b = {.base = (char *)(uintptr_t) "0\r\n\r\n", .len = 5};
        send_bytes(x, &b, 1);
    }
    send_end(x); /* x is gone after this */
}

/* ---- Errors ---- */

struct http_header http_retry_after(const struct err *err, char *out, size_t out_size)
{
    (void)snprintf(out, out_size, "%u",
                   (err->retry_after_ms + 999) / 1000 > 0 ? (err->retry_after_ms + 999) / 1000 : 1);
    return (struct http_header){STR("Retry-After"), str_c(out)};
}

static void respond_error(struct http_req *req, int status, const struct err *err)
{
    struct buf b;
    buf_init(&b, 16384);
    struct json_writer w;
    jw_init(&w, &b);
    jw_object(&w);
    jw_kv_c(&w, "error", err->text);
    jw_kv_i64(&w, "code", status);
    if (err->remedy[0] != '\0')
        jw_kv_c(&w, "remedy", err->remedy);
    if (err->retry_after_ms > 0)
        jw_kv_u64(&w, "retry_after_ms", err->retry_after_ms);
    jw_kv_c(&w, "request_id", req->id);
    jw_object_end(&w);
    buf_char(&b, '\n');
    char seconds[16];
    struct http_header retry = http_retry_after(err, seconds, sizeof seconds);
    struct str body = buf_view(&b);
    http_respond(req, status, STR("application/json"), &retry, status == 429 || status == 503, &body, 1);
    buf_done(&b);
}

void http_respond_err(struct http_req *req, const struct err *err)
{
    respond_error(req, err_http_status(err->code), err);
}

void answer_refusal(struct exchange *x, int status, const struct err *err)
{
    respond_error(&x->req, status, err);
}
