#include "net/router.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"

#define SEGMENTS_MAX 12

struct compiled {
    const struct route *route;
    void *arg;
    int len;
    struct str segments[SEGMENTS_MAX]; /* a capture has p == NULL */
};

struct router {
    const char *own_form; /* router_error_form */
    route_error_fn *error;
    struct compiled *items;
    size_t len, cap;
};

static bool is_capture(struct str s)
{
    return s.n > 2 && s.p[0] == '{' && s.p[s.n - 1] == '}';
}

/* Splits "/a/b" into "a", "b"; "/" has one empty segment. Returns the count, or -1 when there are too many. */
static int split(struct str path, struct str *out)
{
    int n = 0;
    struct str rest = str_sub(path, 1, path.n);
    while (true) {
        if (n == SEGMENTS_MAX)
            return -1;
        ptrdiff_t slash = str_chr(rest, '/');
        if (slash < 0) {
            out[n++] = rest;
            return n;
        }
        out[n++] = str_sub(rest, 0, (size_t)slash);
        rest = str_sub(rest, (size_t)slash + 1, rest.n);
    }
}

static void compile(struct compiled *c, const struct route *r, void *arg)
{
    c->route = r;
    c->arg = arg;
    CHECK(r->pattern[0] == '/' && r->handle != NULL && r->method != 0);
    c->len = split(str_c(r->pattern), c->segments);
    CHECK(c->len > 0);
    int captures = 0;
    for (int i = 0; i < c->len; i++) {
        if (is_capture(c->segments[i])) {
            c->segments[i] = (struct str){0};
            captures++;
        } else {
            CHECK(str_chr(c->segments[i], '{') < 0 && str_chr(c->segments[i], '}') < 0);
        }
    }
    CHECK(captures <= ROUTE_CAPTURES_MAX);
}

struct router *router_new(const struct route *table, size_t len, void *arg)
{
    struct router *r = calloc(1, sizeof(*r));
    CHECK(r != NULL);
    router_add(r, table, len, arg);
    return r;
}

struct router *router_free(struct router *r)
{
    if (r)
        free(r->items);
    free(r);
    return NULL;
}

void router_add(struct router *r, const struct route *table, size_t len, void *arg)
{
    if (r->len + len > r->cap) {
        r->cap = r->len + len;
        r->items = realloc(r->items, r->cap * sizeof(*r->items));
        CHECK(r->items != NULL);
    }
    for (size_t i = 0; i < len; i++)
        compile(&r->items[r->len++], &table[i], arg);
}

void router_error_form(struct router *r, const char *pattern, route_error_fn *f)
{
    CHECK(!r->own_form);
    r->own_form = pattern;
    r->error = f;
}

static bool matches(const struct compiled *c, const struct str *segments, int len, struct route_match *m)
{
    if (c->len != len)
        return false;
    for (int i = len - 1; i >= 0; i--) /* from the end: many begin alike */
        if (c->segments[i].p ? !str_eq(c->segments[i], segments[i]) : segments[i].n == 0)
            return false;
    m->captures_len = 0;
    for (int i = 0; i < len; i++)
        if (!c->segments[i].p)
            m->captures[m->captures_len++] = segments[i];
    return true;
}

static struct str error_body(struct http_req *req, int status, const struct err *err)
{
    return arena_printf(req->arena, "{\"error\":\"%s\",\"code\":%d,\"remedy\":\"%s\",\"request_id\":\"%s\"}\n",
                        err->text, status, err->remedy, req->id);
}

/* `at` is a route of the path. */
static void answer_method(const struct router *r, struct http_req *req, unsigned allowed, const struct route *at)
{
    struct buf allow;
    buf_init(&allow, 256);
    for (int m = HTTP_GET_; m <= HTTP_PATCH_; m++) {
        if (!(allowed & (1u << m)))
            continue;
        if (allow.len > 0)
            buf_c(&allow, ", ");
        buf_c(&allow, http_method_name((enum http_method)m));
    }
    struct http_header h = {STR("Allow"), buf_view(&allow)};
    if (req->method == HTTP_OPTIONS_) {
        http_respond(req, 204, (struct str){0}, &h, 1, NULL, 0);
    } else {
        struct err err;
        err_set(&err, ERR_METHOD, "method %s is not allowed here", http_method_name(req->method));
        err_remedy(&err, "use %.*s", STR_F(h.value));
        bool is_own = r->own_form && strcmp(r->own_form, at->pattern) == 0;
        struct str body = (is_own ? r->error : error_body)(req, 405, &err);
        http_respond(req, 405, STR("application/json"), &h, 1, &body, 1);
    }
    buf_done(&allow);
}

static void answer_unknown(struct http_req *req)
{
    struct err err = {0};
    (void)err_set(&err, ERR_NOT_FOUND, "no such path: %.*s", (int)(req->path.n < 200 ? req->path.n : 200), req->path.p);
    http_respond_err(req, &err);
}

static unsigned methods_of(const struct route *r)
{
    unsigned m = 1u << r->method | 1u << HTTP_OPTIONS_;
    return r->method == HTTP_GET_ ? m | 1u << HTTP_HEAD_ : m;
}

/* The first route of the table that matches wins; a table lists literal paths before captures. */
void router_dispatch(struct router *r, struct http_req *req)
{
    struct str segments[SEGMENTS_MAX];
    int len = req->path.n > 0 && req->path.p[0] == '/' ? split(req->path, segments) : -1;
    unsigned allowed = 0;
    const struct route *at = NULL;
    for (size_t i = 0; i < r->len && len > 0; i++) {
        const struct compiled *c = &r->items[i];
        struct route_match m;
        if (!matches(c, segments, len, &m))
            continue;
        bool is_it = c->route->method == req->method || (c->route->method == HTTP_GET_ && req->method == HTTP_HEAD_);
        if (is_it) {
            c->route->handle(req, &m, c->arg);
            return;
        }
        allowed |= methods_of(c->route);
        at = c->route;
    }
    if (at)
        answer_method(r, req, allowed, at);
    else
        answer_unknown(req);
}
