#include "net/message_int.h"

#include <string.h>

#include "base/check.h"
#include "net/refuse_int.h"
#include "net/trace_int.h"

#define KEEP_BYTES 4096u

void message_init(struct message *m, const struct server_limits *l, struct coder *coder, struct err *err)
{
    *m = (struct message){.limits = l, .coder = coder, .err = err};
    buf_init(&m->partial, l->head_bytes_max);
}

void message_done(struct message *m)
{
    coder_forget(m->coder, &m->inflater);
    buf_done(&m->partial);
}

bool message_is_partial(const struct message *m)
{
    return m->state != MESSAGE_HEAD || m->partial.len > 0;
}

static void start_next(struct message *m)
{
    coder_forget(m->coder, &m->inflater);
    m->state = MESSAGE_HEAD;
    m->scan = (struct head_scan){0};
    m->chunked = (struct chunked){0};
    buf_clear(&m->partial);
    buf_shrink(&m->partial, KEEP_BYTES);
}

static enum message_result bad(struct message *m, int status)
{
    CHECK(status >= 400);
    start_next(m);
    m->status = status;
    return MESSAGE_BAD;
}

/* The body is decoded, or is to be refused: fills in what handlers see. */
static enum message_result decoded(struct message *m, int status)
{
    struct exchange *x = m->x;
    if (status == CODER_MORE) {
        m->state = MESSAGE_DECODING;
        return MESSAGE_BUSY;
    }
    if (status != 0)
        return bad(m, status);
    buf_pad(&x->body);
    x->req.body = buf_view(&x->body);
    start_next(m);
    return MESSAGE_DONE;
}

/* The body is complete. */
static enum message_result finish(struct message *m)
{
    struct exchange *x = m->x;
    return decoded(m, coder_decode(m->coder, x->head.content_encoding, &x->body, &m->inflater, m->err));
}

enum message_result message_decode(struct message *m)
{
    CHECK(m->state == MESSAGE_DECODING);
    return decoded(m, coder_decode_more(m->coder, &m->inflater, &m->x->body, m->err));
}

/* ---- Head ---- */

static void publish_head(struct exchange *x)
{
    const struct head *h = &x->head;
    struct http_req *req = &x->req;
    req->method = h->method;
    req->path = h->path;
    req->query = h->query;
    req->headers = h->headers;
    req->headers_len = h->headers_len;
    x->keep_alive = h->keep_alive;
    trace_identify(req, h->request_id, h->traceparent);
}

static enum message_result start_body(struct message *m, const struct str *in)
{
    struct exchange *x = m->x;
    const struct head *h = &x->head;
    switch (h->framing) {
    case FRAMING_NONE:
        return finish(m);
    case FRAMING_LENGTH:
        if (h->length == 0)
            return finish(m);
        if (h->length > m->limits->body_bytes_max)
            return bad(m, refuse(m->err, 413, "the body has %llu bytes; the limit is %zu",
                                 (unsigned long long)h->length, m->limits->body_bytes_max));
        if (m->bodies && h->length > EXCHANGE_KEEP_BYTES)
            body_pool_take(m->bodies, &x->body, (size_t)h->length);
        if (!buf_reserve(&x->body, (size_t)h->length))
            return bad(m, refuse(m->err, 503, "no memory for a body of %llu bytes", (unsigned long long)h->length));
        m->state = MESSAGE_LENGTH;
        break;
    case FRAMING_CHUNKED:
        m->state = MESSAGE_CHUNKED;
        break;
    }
    /* A client that has begun to send the body does not wait. */
    return h->expects_continue && in->n == 0 ? MESSAGE_CONTINUE : MESSAGE_MORE;
}

/* p, n: the complete head. Copied into the request's arena, where the parsed head points into. */
static enum message_result take_head(struct message *m, const char *p, size_t n, const struct str *in)
{
    struct exchange *x = m->x;
    p += m->scan.skip;
    n -= m->scan.skip;
    char *text = arena_try_alloc(&x->arena, n);
    if (!text)
        return bad(m, refuse(m->err, 503, "no memory for the request head"));
    memcpy(text, p, n);
    size_t lines = m->scan.lines;
    buf_clear(&m->partial);
    int status = head_parse(&x->head, text, n, lines, &x->arena, m->err);
    x->head.bytes = m->scan.at;
    publish_head(x);
    return status == 0 ? start_body(m, in) : bad(m, status);
}

static enum message_result refuse_head(struct message *m, enum head_found found)
{
    if (found == HEAD_TOO_MANY_LINES)
        return bad(m, refuse(m->err, 431, "the request has more than %zu headers", m->limits->headers_max));
    return bad(m, refuse(m->err, 400, "a line of the request head does not end with CR LF"));
}

/* TLS hello, HTTP/2 preface and other protocols: said at once instead of waiting for a line end that never comes. */
static bool is_foreign(struct message *m, const char *p)
{
    if ((unsigned char)p[0] == 0x16) {
        (void)refuse(m->err, 400, "this looks like TLS, but the listener speaks plain HTTP");
        (void)err_remedy(m->err, "use http:// instead of https://");
        return true;
    }
    return false;
}

/* Looks for the end of the head in p[0..n), which begins with the head's first byte. old: how many of these bytes came with
 * earlier input. */
static enum message_result find_head(struct message *m, const char *p, size_t n, size_t old, struct str *in)
{
    if (is_foreign(m, p))
        return bad(m, 400);
    size_t max = m->limits->head_bytes_max;
    enum head_found found = head_find_end(&m->scan, p, n < max ? n : max, m->limits->headers_max + 1);
    if (found == HEAD_FOUND) {
        *in = str_sub(*in, m->scan.at - old, in->n);
        return take_head(m, p, m->scan.at, in);
    }
    if (found != HEAD_MORE)
        return refuse_head(m, found);
    if (n >= max)
        return bad(m, refuse(m->err, 431, "the request head is longer than the limit of %zu bytes", max));
    return MESSAGE_MORE;
}

static enum message_result feed_head(struct message *m, struct str *in)
{
    enum message_result r;
    size_t old = m->partial.len;
    if (old == 0) { /* the usual case: the head lies whole in the input, and is looked at there */
        r = find_head(m, in->p, in->n, 0, in);
        if (r != MESSAGE_MORE || m->state != MESSAGE_HEAD)
            return r;
        buf_str(&m->partial, *in);
        *in = str_sub(*in, in->n, 0);
    } else {
        size_t room = m->limits->head_bytes_max - old;
        buf_add(&m->partial, in->p, in->n < room ? in->n : room);
        if (!m->partial.failed) {
            r = find_head(m, m->partial.p, m->partial.len, old, in);
            if (r != MESSAGE_MORE || m->state != MESSAGE_HEAD)
                return r;
            *in = str_sub(*in, in->n, 0);
        }
    }
    return m->partial.failed ? bad(m, refuse(m->err, 503, "no memory for the request head")) : MESSAGE_MORE;
}

/* ---- Body ---- */

static enum message_result feed_length(struct message *m, struct str *in)
{
    struct exchange *x = m->x;
    size_t left = (size_t)x->head.length - x->body.len;
    size_t n = in->n < left ? in->n : left;
    buf_add(&x->body, in->p, n); /* reserved by start_body */
    *in = str_sub(*in, n, in->n);
    return n == left ? finish(m) : MESSAGE_MORE;
}

static enum message_result feed_chunked(struct message *m, struct str *in)
{
    int status = chunked_feed(&m->chunked, in, &m->x->body, &m->partial, m->limits, m->err);
    if (status != 0)
        return bad(m, status);
    return m->chunked.state == CHUNKED_DONE ? finish(m) : MESSAGE_MORE;
}

enum message_result message_feed(struct message *m, struct str *in)
{
    CHECK(m->x != NULL && m->state != MESSAGE_DECODING);
    enum message_result r = MESSAGE_MORE;
    while (in->n > 0 && r == MESSAGE_MORE) {
        switch (m->state) {
        case MESSAGE_HEAD:
            r = feed_head(m, in);
            break;
        case MESSAGE_LENGTH:
            r = feed_length(m, in);
            break;
        case MESSAGE_CHUNKED:
            r = feed_chunked(m, in);
            break;
        case MESSAGE_DECODING: /* r says so, see above */
            break;
        }
    }
    return r;
}

size_t message_room(struct message *m, char **at)
{
    if (m->state != MESSAGE_LENGTH)
        return 0;
    *at = m->x->body.p + m->x->body.len;
    return (size_t)m->x->head.length - m->x->body.len;
}

enum message_result message_took(struct message *m, size_t n)
{
    struct buf *body = &m->x->body;
    CHECK(n <= (size_t)m->x->head.length - body->len);
    body->len += n;
    return body->len == m->x->head.length ? finish(m) : MESSAGE_MORE;
}

enum message_result message_defer(struct message *m)
{
    struct exchange *x = m->x;
    CHECK(m->state == MESSAGE_LENGTH && !x->head.content_encoding.p);
    x->req.body_away = (size_t)x->head.length - x->body.len;
    x->body.len = (size_t)x->head.length;
    buf_pad(&x->body);
    x->req.body = buf_view(&x->body);
    start_next(m);
    return MESSAGE_DONE;
}
