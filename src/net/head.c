#include "net/head_int.h"

#include <llhttp.h>
#include <string.h>

#include "net/chars_int.h"
#include "net/refuse_int.h"
#include "net/target_int.h"

enum head_found head_find_end(struct head_scan *s, const char *p, size_t n, size_t lines_max)
{
    const char *lf;
    while (s->at < n && (lf = memchr(p + s->at, '\n', n - s->at)) != NULL) {
        size_t i = (size_t)(lf - p);
        if (i == s->line || p[i - 1] != '\r')
            return HEAD_BAD_LINE_END;
        s->at = i + 1;
        if (i == s->line + 1) {
            if (s->lines > 0)
                return HEAD_FOUND;
            if (s->skip > 0)
                return HEAD_BAD_LINE_END;
            s->skip = s->at;
        } else if (++s->lines > lines_max) {
            return HEAD_TOO_MANY_LINES;
        }
        s->line = s->at;
    }
    s->at = n;
    return HEAD_MORE;
}

/* ---- llhttp as the second reader ---- */

struct second_reader {
    struct str url;
    size_t fields;
    bool is_complete;
};

static int on_url(llhttp_t *p, const char *at, size_t n)
{
    struct second_reader *r = p->data;
    if (r->url.p)
        return -1;
    r->url = (struct str){at, n};
    return 0;
}

static int on_field_complete(llhttp_t *p)
{
    struct second_reader *r = p->data;
    r->fields++;
    return 0;
}

/* Stops llhttp here: bodies are read by message.c. */
static int on_headers_complete(llhttp_t *p)
{
    struct second_reader *r = p->data;
    r->is_complete = true;
    return HPE_PAUSED;
}

static const llhttp_settings_t second_settings = {
    .on_url = on_url,
    .on_header_field_complete = on_field_complete,
    .on_headers_complete = on_headers_complete,
};

static bool second_agrees_on_framing(const struct head *h, const llhttp_t *p)
{
    switch (h->framing) {
    case FRAMING_NONE:
        return (p->flags & (F_CONTENT_LENGTH | F_TRANSFER_ENCODING | F_CHUNKED)) == 0;
    case FRAMING_LENGTH:
        return (p->flags & F_CONTENT_LENGTH) && !(p->flags & F_TRANSFER_ENCODING) && p->content_length == h->length;
    case FRAMING_CHUNKED:
        return (p->flags & F_CHUNKED) && !(p->flags & F_CONTENT_LENGTH);
    }
    return false;
}

static llhttp_method_t llhttp_method_of(enum http_method m)
{
    switch (m) {
    case HTTP_GET_:
        return HTTP_GET;
    case HTTP_HEAD_:
        return HTTP_HEAD;
    case HTTP_POST_:
        return HTTP_POST;
    case HTTP_PUT_:
        return HTTP_PUT;
    case HTTP_DELETE_:
        return HTTP_DELETE;
    case HTTP_OPTIONS_:
        return HTTP_OPTIONS;
    case HTTP_PATCH_:
        return HTTP_PATCH;
    }
    return HTTP_SOURCE; /* none of ours */
}

static int ask_second_reader(const struct head *h, struct str text, struct str target, struct err *err)
{
    struct second_reader r = {0};
    llhttp_t p;
    llhttp_init(&p, HTTP_REQUEST, &second_settings);
    p.data = &r;
    llhttp_errno_t rc = llhttp_execute(&p, text.p, text.n);
    if (rc != HPE_PAUSED || !r.is_complete) {
        const char *reason = llhttp_get_error_reason(&p);
        return refuse(err, 400, "the request head is malformed: %s", reason && reason[0] ? reason : "not complete");
    }
    bool same = p.method == llhttp_method_of(h->method) && p.http_major == 1 && p.http_minor == h->minor &&
                r.fields == h->headers_len && str_eq(r.url, target) && second_agrees_on_framing(h, &p);
    return same ? 0 : refuse(err, 400, "the request head is ambiguous");
}

/* ---- Request line ---- */

static enum http_method method_of(struct str s)
{
    for (enum http_method m = HTTP_GET_; m <= HTTP_PATCH_; m++)
        if (str_eq_c(s, http_method_name(m)))
            return m;
    return (enum http_method)0;
}

static int parse_version(struct str s, int *minor, struct err *err)
{
    if (s.n != 8 || memcmp(s.p, "HTTP/", 5) != 0 || s.p[6] != '.')
        return refuse(err, 400, "the request line must end with HTTP/1.1");
    if (s.p[5] != '1' || (s.p[7] != '0' && s.p[7] != '1'))
        return refuse(err, 505, "HTTP version '%.3s' is not supported on this listener; use HTTP/1.1", s.p + 5);
    *minor = s.p[7] - '0';
    return 0;
}

/* METHOD SP target SP HTTP/1.x, with single spaces. */
static int parse_request_line(struct head *h, struct str line, struct str *target, struct err *err)
{
    struct str rest, version;
    struct str method = str_cut(line, ' ', &rest);
    *target = str_cut(rest, ' ', &version);
    for (size_t i = 0; i < method.n; i++)
        if (!char_is_token(method.p[i]))
            return refuse(err, 400, "the method holds an invalid byte (is this plain HTTP?)");
    if (method.n == 0 || target->n == 0)
        return refuse(err, 400, "the request line is not 'METHOD target HTTP/1.1'");
    int status = parse_version(version, &h->minor, err);
    if (status != 0)
        return status;
    h->method = method_of(method);
    if (h->method == 0)
        return refuse(err, 501, "method '%.*s' is not supported", (int)(method.n < 32 ? method.n : 32), method.p);
    return 0;
}

/* ---- Header lines ---- */

int head_split_line(char *line, size_t n, size_t line_no, struct http_header *out, struct err *err)
{
    size_t i = 0;
    for (; i < n && char_is_token(line[i]); i++)
        line[i] = (char)chars_token_lower[(unsigned char)line[i]];
    if (i == 0)
        return refuse(err, 400, "header line %zu does not begin with a name (folded lines are refused)", line_no);
    if (i == n || line[i] != ':')
        return refuse(err, 400, "header line %zu: a colon must follow the name at once", line_no);
    out->name = (struct str){line, i};
    for (size_t k = ++i; k < n; k++)
        if (!char_is_value(line[k]))
            return refuse(err, 400, "header '%.*s' holds a control byte", (int)(out->name.n < 64 ? out->name.n : 64),
                          line);
    out->value = str_trim((struct str){line + i, n - i});
    return 0;
}

static void parse_connection(struct head *h, struct str value)
{
    while (value.n > 0) {
        struct str token = str_trim(str_cut(value, ',', &value));
        if (str_eq_nocase(token, STR("close")))
            h->has_close = true;
        else if (str_eq_nocase(token, STR("keep-alive")))
            h->has_keep_alive = true;
    }
}

/* Where the head keeps a header that the server itself reads; NULL for all others. */
static struct str *slot_of(struct head *h, struct str name)
{
    static const struct {
        struct str name;
        size_t offset;
    } slots[] = {
        {STR("host"), offsetof(struct head, host)},
        {STR("expect"), offsetof(struct head, expect)},
        {STR("traceparent"), offsetof(struct head, traceparent)},
        {STR("x-request-id"), offsetof(struct head, request_id)},
        {STR("content-type"), offsetof(struct head, content_type)},
        {STR("authorization"), offsetof(struct head, authorization)},
        {STR("content-length"), offsetof(struct head, content_length)},
        {STR("content-encoding"), offsetof(struct head, content_encoding)},
        {STR("transfer-encoding"), offsetof(struct head, transfer_encoding)},
    };
    for (size_t i = 0; i < ARRAY_LEN(slots); i++)
        if (slots[i].name.n == name.n && memcmp(slots[i].name.p, name.p, name.n) == 0)
            return (struct str *)(void *)((char *)h + slots[i].offset);
    return NULL;
}

static int note_header(struct head *h, const struct http_header *f, struct err *err)
{
    if (str_eq_c(f->name, "connection")) {
        parse_connection(h, f->value);
        return 0;
    }
    if (str_eq_c(f->name, "accept-encoding")) { /* a list: the first line counts, more than one is rare and legal */
        if (!h->accept_encoding.p)
            h->accept_encoding = f->value;
        return 0;
    }
    struct str *slot = slot_of(h, f->name);
    if (!slot)
        return 0;
    if (slot->p)
        return refuse(err, 400, "header '%.*s' is given more than once", STR_F(f->name));
    *slot = f->value;
    return 0;
}

static int parse_headers(struct head *h, char *at, size_t n, size_t lines, struct arena *a, struct err *err)
{
    h->headers = arena_try_alloc(a, lines * sizeof(*h->headers));
    if (!h->headers)
        return refuse(err, 431, "the headers need more memory than a request may have");
    for (size_t no = 1; n > 2; no++) { /* what remains at the end is the empty line */
        const char *lf = memchr(at, '\n', n);
        size_t line_n = (size_t)(lf - at) - 1;
        struct http_header *f = &h->headers[h->headers_len];
        int status = head_split_line(at, line_n, no, f, err);
        if (status == 0)
            status = note_header(h, f, err);
        if (status != 0)
            return status;
        h->headers_len++;
        at += line_n + 2;
        n -= line_n + 2;
    }
    return 0;
}

/* ---- Meaning ---- */

static int judge_framing(struct head *h, struct err *err)
{
    if (h->transfer_encoding.p) {
        if (h->content_length.p)
            return refuse(err, 400, "Content-Length and Transfer-Encoding exclude each other");
        if (h->minor == 0)
            return refuse(err, 400, "Transfer-Encoding does not exist in HTTP/1.0");
        if (!str_eq_nocase(h->transfer_encoding, STR("chunked")))
            return refuse(err, 400, "Transfer-Encoding must be exactly 'chunked'");
        h->framing = FRAMING_CHUNKED;
    } else if (h->content_length.p) {
        /* Digits only, below 2^63: no sign, no list, no hex. */
        if (!str_to_u64(h->content_length, &h->length) || h->length > INT64_MAX)
            return refuse(err, 400, "Content-Length is not a number of bytes");
        h->framing = FRAMING_LENGTH;
    }
    return 0;
}

static int judge_host(const struct head *h, struct err *err)
{
    if (!h->host.p)
        return h->minor == 0 ? 0 : refuse(err, 400, "the Host header is missing");
    return target_host_is_valid(h->host) ? 0 : refuse(err, 400, "the Host header is not a host name with a port");
}

static int judge_expect(struct head *h, struct err *err)
{
    if (!h->expect.p)
        return 0;
    if (!str_eq_nocase(h->expect, STR("100-continue")))
        return refuse(err, 417, "the only expectation that is understood is 100-continue");
    h->expects_continue = h->minor == 1; /* HTTP/1.0 clients do not know 1xx */
    return 0;
}

int head_parse(struct head *h, char *text, size_t n, size_t lines, struct arena *a, struct err *err)
{
    const char *lf = memchr(text, '\n', n);
    size_t line_n = (size_t)(lf - text) - 1;
    struct str target = {0};
    int status = parse_request_line(h, (struct str){text, line_n}, &target, err);
    if (status == 0)
        status = parse_headers(h, text + line_n + 2, n - line_n - 2, lines, a, err);
    if (status == 0)
        status = judge_framing(h, err);
    if (status == 0)
        status = judge_host(h, err);
    if (status == 0)
        status = target_parse(h->method, target, h->host, a, &h->path, &h->query, err);
    if (status == 0)
        status = judge_expect(h, err);
    if (status == 0)
        status = ask_second_reader(h, (struct str){text, n}, target, err);
    h->keep_alive = !h->has_close && (h->minor == 1 || h->has_keep_alive);
    return status;
}
