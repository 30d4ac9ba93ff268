/* Routes: an explicit table of method, pattern, handler. Patterns are literal segments and one-segment captures:
 * "/v2/models/{model}/versions/{version}/infer". Unknown path: 404; known path, wrong method: 405 with Allow. */
#ifndef NET_ROUTER_H
#define NET_ROUTER_H

#include "net/http.h"

#define ROUTE_CAPTURES_MAX 4

struct route_match {
    struct str captures[ROUTE_CAPTURES_MAX]; /* in order of the pattern */
    int captures_len;
};

typedef void route_fn(struct http_req *req, const struct route_match *m, void *arg);

struct route {
    enum http_method method; /* HTTP_GET_ answers HEAD too */
    const char *pattern;
    route_fn *handle;
    const char *summary; /* for the API page and /openapi.json */
};

struct router;
/* tables: the array must outlive the router. Aborts on a malformed pattern (programmer error). */
struct router *router_new(const struct route *table, size_t len, void *arg);
struct router *router_free(struct router *r);
/* Further tables may be added, each with its own arg. */
void router_add(struct router *r, const struct route *table, size_t len, void *arg);
/* Wrong methods on this pattern are answered in a form of its own: f writes JSON that lives until the answer is given. One pattern at most. */
typedef struct str route_error_fn(struct http_req *req, int status, const struct err *err);
void router_error_form(struct router *r, const char *pattern, route_error_fn *f);
void router_dispatch(struct router *r, struct http_req *req);

#endif
