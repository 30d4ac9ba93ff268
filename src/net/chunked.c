#include "net/chunked_int.h"

#include <string.h>

#include "net/chars_int.h"
#include "net/head_int.h"
#include "net/refuse_int.h"

/* A body of one-byte chunks costs six bytes and a pass through this machine for each byte: bounded, so that the work for a body
 * stays in proportion to its size. */
#define CHUNKS_MAX          100000u
#define EXTENSION_BYTES_MAX 16384u

static int end_of_size(struct chunked *c, struct buf *out, const struct server_limits *l, struct err *err)
{
    if (c->digits == 0)
        return refuse(err, 400, "chunk %u has no size", c->chunks + 1);
    c->digits = 0;
    if (c->left == 0) {
        c->state = CHUNKED_TRAILER;
        return 0;
    }
    if (++c->chunks > CHUNKS_MAX)
        return refuse(err, 400, "the body has more than %u chunks", CHUNKS_MAX);
    if (c->left > l->body_bytes_max || out->len > l->body_bytes_max - c->left)
        return refuse(err, 413, "the body is larger than the limit of %zu bytes", l->body_bytes_max);
    if (!buf_reserve(out, (size_t)c->left))
        return refuse(err, 503, "no memory for a body of %zu bytes", out->len + (size_t)c->left);
    c->state = CHUNKED_DATA;
    return 0;
}

static int size_byte(struct chunked *c, char b, struct err *err)
{
    int v = char_hex(b);
    if (v >= 0) {
        if (++c->digits > 15) /* 60 bits: no overflow, and far above every limit */
            return refuse(err, 400, "the size of chunk %u has too many digits", c->chunks + 1);
        c->left = c->left * 16 + (uint64_t)v;
        return 0;
    }
    if (c->digits == 0 || (b != '\r' && b != ';'))
        return refuse(err, 400, "the size of chunk %u is not a hexadecimal number", c->chunks + 1);
    c->state = b == '\r' ? CHUNKED_SIZE_LF : CHUNKED_EXTENSION;
    c->extension_at = 'N';
    return 0;
}

/* One ;name or ;name=value in plain tokens. More, and quoted values, are refused: nobody sends them, and parsers disagree about them
 * (llhttp 8.1 refuses a second one). */
static int extension_byte(struct chunked *c, char b, struct err *err)
{
    bool is_inside = c->extension_at == 'n' || c->extension_at == 'v';
    if (++c->extension_bytes > EXTENSION_BYTES_MAX)
        return refuse(err, 400, "the chunk extensions are longer than %u bytes", EXTENSION_BYTES_MAX);
    if (char_is_token(b))
        c->extension_at = c->extension_at == 'N' || c->extension_at == 'n' ? 'n' : 'v';
    else if (b == '=' && c->extension_at == 'n')
        c->extension_at = 'V';
    else if (b == '\r' && is_inside)
        c->state = CHUNKED_SIZE_LF;
    else
        return refuse(err, 400, "the extension of chunk %u is not ;name=value", c->chunks + 1);
    return 0;
}

static int expect_byte(struct chunked *c, char b, char want, enum chunked_state next, struct err *err)
{
    if (b != want)
        return refuse(err, 400, "a line of chunk %u does not end with CR LF", c->chunks);
    c->state = next;
    return 0;
}

/* Fields that would change how the message is framed, routed or read: RFC 9110 6.5.1 forbids them in trailers. */
static bool is_forbidden(struct str name)
{
    static const char *const forbidden[] = {
        "content-length",
        "transfer-encoding",
        "host",
        "connection",
        "content-encoding",
        "content-type",
        "content-range",
        "te",
        "trailer",
        "authorization",
        "cookie",
        "expect",
        "cache-control",
        "max-forwards",
        "upgrade",
        "range",
        "keep-alive",
        "set-cookie",
        "proxy-connection",
        "proxy-authorization",
    };
    for (size_t i = 0; i < ARRAY_LEN(forbidden); i++)
        if (str_eq_c(name, forbidden[i]))
            return true;
    return false;
}

/* One complete line, its CR and LF included. */
static int trailer_line(struct chunked *c, struct buf *line, const struct server_limits *l, struct err *err)
{
    if (line->len < 2 || line->p[line->len - 2] != '\r')
        return refuse(err, 400, "a trailer line does not end with CR LF");
    if (line->len == 2) {
        c->state = CHUNKED_DONE;
        return 0;
    }
    if (++c->trailers > l->headers_max)
        return refuse(err, 431, "there are more than %zu trailers", l->headers_max);
    struct http_header f;
    int status = head_split_line(line->p, line->len - 2, c->trailers, &f, err);
    if (status == 0 && is_forbidden(f.name))
        return refuse(err, 400, "'%.*s' must not be a trailer", STR_F(f.name));
    buf_clear(line);
    return status;
}

static int trailer_bytes(struct chunked *c, struct str *in, struct buf *line, const struct server_limits *l,
                         struct err *err)
{
    const char *lf = memchr(in->p, '\n', in->n);
    size_t n = lf ? (size_t)(lf - in->p) + 1 : in->n;
    c->trailer_bytes += n;
    if (c->trailer_bytes > l->head_bytes_max)
        return refuse(err, 431, "the trailers are longer than the limit of %zu bytes", l->head_bytes_max);
    buf_add(line, in->p, n);
    if (line->failed)
        return refuse(err, 503, "no memory for a trailer line");
    *in = str_sub(*in, n, in->n);
    return lf ? trailer_line(c, line, l, err) : 0;
}

static void take_data(struct chunked *c, struct str *in, struct buf *out)
{
    size_t n = c->left < in->n ? (size_t)c->left : in->n;
    buf_add(out, in->p, n); /* reserved when the size was read */
    c->left -= n;
    *in = str_sub(*in, n, in->n);
    if (c->left == 0)
        c->state = CHUNKED_DATA_CR;
}

static int framing_byte(struct chunked *c, char b, struct buf *out, const struct server_limits *l, struct err *err)
{
    switch (c->state) {
    case CHUNKED_SIZE:
        return size_byte(c, b, err);
    case CHUNKED_EXTENSION:
        return extension_byte(c, b, err);
    case CHUNKED_SIZE_LF:
        if (b != '\n')
            return refuse(err, 400, "the size line of chunk %u does not end with CR LF", c->chunks + 1);
        return end_of_size(c, out, l, err);
    case CHUNKED_DATA_CR:
        return expect_byte(c, b, '\r', CHUNKED_DATA_LF, err);
    case CHUNKED_DATA_LF:
        return expect_byte(c, b, '\n', CHUNKED_SIZE, err);
    case CHUNKED_DATA:
    case CHUNKED_TRAILER:
    case CHUNKED_DONE:
        break; /* not byte by byte */
    }
    return 0;
}

int chunked_feed(struct chunked *c, struct str *in, struct buf *out, struct buf *line, const struct server_limits *l,
                 struct err *err)
{
    while (in->n > 0 && c->state != CHUNKED_DONE) {
        int status = 0;
        if (c->state == CHUNKED_DATA) {
            take_data(c, in, out);
        } else if (c->state == CHUNKED_TRAILER) {
            status = trailer_bytes(c, in, line, l, err);
        } else {
            status = framing_byte(c, in->p[0], out, l, err);
            *in = str_sub(*in, 1, in->n);
        }
        if (status != 0)
            return status;
    }
    return 0;
}
