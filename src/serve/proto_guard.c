/* What of requests comes from where it should not. */
#include "serve/proto.h"

static bool is_foreign_page(const struct http_req *req)
{
    struct str site = http_header_get(req, "sec-fetch-site");
    if (site.p)
        return !str_eq_c(site, "same-origin") && !str_eq_c(site, "none");
    struct str origin = http_header_get(req, "origin");
    struct str host = http_header_get(req, "host");
    if (!origin.p)
        return false;
    size_t scheme = str_starts(origin, STR("https://")) ? 8 : 7;
    bool is_web = scheme == 8 || str_starts(origin, STR("http://"));
    return !is_web || host.n == 0 || !str_eq(str_sub(origin, scheme, origin.n), host);
}

bool proto_refuse_foreign(struct http_req *req)
{
    struct err err;
    if (!is_foreign_page(req))
        return false;
    err_set(&err, ERR_DENIED, "a page of another site may not change this server");
    http_respond_err(req, &err);
    return true;
}
