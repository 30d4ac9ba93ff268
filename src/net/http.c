#include "net/http.h"

#include <string.h>

#include "base/check.h"
#include "net/coding_int.h"
#include "net/exchange_int.h"
#include "net/target_int.h"

const char *http_method_name(enum http_method m)
{
    static const char *const names[] = {"-", "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"};
    CHECK((size_t)m < ARRAY_LEN(names));
    return names[m];
}

const char *http_status_text(int status)
{
    static const struct {
        int status;
        const char *text;
    } texts[] = {
        {200, "OK"},
        {201, "Created"},
        {202, "Accepted"},
        {204, "No Content"},
        {301, "Moved Permanently"},
        {302, "Found"},
        {303, "See Other"},
        {304, "Not Modified"},
        {307, "Temporary Redirect"},
        {308, "Permanent Redirect"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {406, "Not Acceptable"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {411, "Length Required"},
        {412, "Precondition Failed"},
        {413, "Content Too Large"},
        {415, "Unsupported Media Type"},
        {417, "Expectation Failed"},
        {422, "Unprocessable Content"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {499, "Client Closed Request"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        if (texts[i].status == status)
            return texts[i].text;
    return "";
}

struct str http_header_get(const struct http_req *req, const char *name)
{
    size_t n = strlen(name);
    for (size_t i = 0; i < req->headers_len; i++)
        if (req->headers[i].name.n == n && memcmp(req->headers[i].name.p, name, n) == 0)
            return req->headers[i].value;
    return (struct str){0};
}

struct str http_query_get(struct http_req *req, const char *name)
{
    struct str rest = req->query;
    while (rest.n > 0) {
        struct str value, key, text;
        struct str pair = str_cut(rest, '&', &rest);
        struct str raw_key = str_cut(pair, '=', &value);
        if (!target_decode(raw_key, true, req->arena, &key) || !str_eq_c(key, name))
            continue;
        if (target_decode(value, true, req->arena, &text))
            return text;
    }
    return (struct str){0};
}

void http_respond_json(struct http_req *req, int status, struct str json)
{
    http_respond(req, status, STR("application/json"), NULL, 0, &json, 1);
}

bool http_accepts_gzip(struct http_req *req)
{
    return coding_accepts_gzip(exchange_of(req)->head.accept_encoding);
}
