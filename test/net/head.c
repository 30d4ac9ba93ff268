/* Requests that must be refused, and some near them that must not: one table. Each is fed at once and byte by byte. */
#include <string.h>

#include "parse.h"
#include "t.h"

#define CRLF "\r\n"
#define HOST "Host: a" CRLF
#define GET  "GET / HTTP/1.1" CRLF HOST
#define POST "POST / HTTP/1.1" CRLF HOST
#define TE   "Transfer-Encoding: chunked" CRLF
#define END  CRLF

struct item {
    const char *name;
    struct str text;
    int status; /* 200: accepted */
};

#define ITEM(name, status, text)                                                                                       \
    {                                                                                                                  \
        name, {text, sizeof(text) - 1}, status                                                                         \
    }

static const struct item items[] = {
    ITEM("plain", 200, GET END),
    ITEM("one empty line before", 200, CRLF GET END),
    ITEM("two empty lines before", 400, CRLF CRLF GET END),
    ITEM("space before the method", 400, " GET / HTTP/1.1" CRLF HOST END),

    ITEM("bare LF behind the request line", 400, "GET / HTTP/1.1\n" HOST END),
    ITEM("bare LF behind a header", 400, GET "X: y\nZ: z" CRLF END),
    ITEM("bare LF as the empty line", 400, GET "\n"),
    ITEM("LF alone at the start", 400, "\n" GET END),
    ITEM("bare CR in a value", 400, GET "X: a\rb" CRLF END),
    ITEM("bare CR in a name", 400, GET "X\r: a" CRLF END),
    ITEM("bare CR in the request line", 400, "GET /\r HTTP/1.1" CRLF HOST END),
    ITEM("CR CR LF", 400, GET "X: a\r\r\n" END),
    ITEM("NUL in a value", 400, GET "X: a\0b" CRLF END),
    ITEM("NUL in a name", 400, GET "X\0: a" CRLF END),
    ITEM("NUL in the target", 400, "GET /\0 HTTP/1.1" CRLF HOST END),
    ITEM("DEL in a value", 400, GET "X: a\177" CRLF END),
    ITEM("control byte in a value", 400, GET "X: a\001" CRLF END),
    ITEM("tab and obs-text in a value", 200, GET "X: a\tb\351" CRLF END),

    ITEM("space before the colon", 400, GET "X : a" CRLF END),
    ITEM("tab before the colon", 400, GET "X\t: a" CRLF END),
    ITEM("space before the first header", 400, "GET / HTTP/1.1" CRLF " X: a" CRLF HOST END),
    ITEM("folded line", 400, GET "X: a" CRLF " b" CRLF END),
    ITEM("folded line with a tab", 400, GET "X: a" CRLF "\tb" CRLF END),
    ITEM("empty name", 400, GET ": a" CRLF END),
    ITEM("no colon", 400, GET "X" CRLF END),
    ITEM("bytes that no name may have", 400, GET "X(y): a" CRLF END),
    ITEM("non-ASCII name", 400, GET "X\351: a" CRLF END),
    ITEM("empty value", 200, GET "X:" CRLF END),
    ITEM("value of spaces", 200, GET "X:    " CRLF END),
    ITEM("spaces around a value", 200, GET "X: \t a \t " CRLF END),

    ITEM("unknown method", 501, "BREW / HTTP/1.1" CRLF HOST END),
    ITEM("method in lower case", 501, "get / HTTP/1.1" CRLF HOST END),
    ITEM("CONNECT", 501, "CONNECT a:80 HTTP/1.1" CRLF HOST END),
    ITEM("TRACE", 501, "TRACE / HTTP/1.1" CRLF HOST END),
    ITEM("method with a bracket", 400, "GE(T / HTTP/1.1" CRLF HOST END),
    ITEM("method with a colon", 400, "GET: / HTTP/1.1" CRLF HOST END),
    ITEM("no method", 400, "/ HTTP/1.1" CRLF HOST END),
    ITEM("no version (HTTP/0.9)", 400, "GET /" CRLF END),
    ITEM("two spaces before the target", 400, "GET  / HTTP/1.1" CRLF HOST END),
    ITEM("two spaces before the version", 400, "GET /  HTTP/1.1" CRLF HOST END),
    ITEM("space behind the version", 400, "GET / HTTP/1.1 " CRLF HOST END),
    ITEM("tab for a space", 400, "GET\t/ HTTP/1.1" CRLF HOST END),
    ITEM("version 1.2", 505, "GET / HTTP/1.2" CRLF HOST END),
    ITEM("version 2.0", 505, "GET / HTTP/2.0" CRLF HOST END),
    ITEM("version 0.9", 505, "GET / HTTP/0.9" CRLF HOST END),
    ITEM("HTTP/2 preface", 505, "PRI * HTTP/2.0" CRLF CRLF "SM" CRLF CRLF),
    ITEM("version 1.10", 400, "GET / HTTP/1.10" CRLF HOST END),
    ITEM("version 11.1", 400, "GET / HTTP/11.1" CRLF HOST END),
    ITEM("version in lower case", 400, "GET / http/1.1" CRLF HOST END),
    ITEM("version with a letter", 505, "GET / HTTP/1.a" CRLF HOST END),
    ITEM("TLS hello", 400, "\026\003\001\002\000\001\000\001\374\003\003"),

    ITEM("length 0", 200, POST "Content-Length: 0" CRLF END),
    ITEM("length with leading zeros", 200, POST "Content-Length: 003" CRLF END "abc"),
    ITEM("empty length", 400, POST "Content-Length:" CRLF END),
    ITEM("length of a space", 400, POST "Content-Length:  " CRLF END),
    ITEM("length +5", 400, POST "Content-Length: +5" CRLF END "abcde"),
    ITEM("length -5", 400, POST "Content-Length: -5" CRLF END "abcde"),
    ITEM("length 0x5", 400, POST "Content-Length: 0x5" CRLF END "abcde"),
    ITEM("length 5,5", 400, POST "Content-Length: 5,5" CRLF END "abcde"),
    ITEM("length 5, 6", 400, POST "Content-Length: 5, 6" CRLF END "abcde"),
    ITEM("length 5_0", 400, POST "Content-Length: 5_0" CRLF END "abcde"),
    ITEM("length 5 5", 400, POST "Content-Length: 5 5" CRLF END "abcde"),
    ITEM("length 5.0", 400, POST "Content-Length: 5.0" CRLF END "abcde"),
    ITEM("length 2^63", 400, POST "Content-Length: 9223372036854775808" CRLF END),
    ITEM("length 2^64", 400, POST "Content-Length: 18446744073709551616" CRLF END),
    ITEM("length 2^64 + 5", 400, POST "Content-Length: 18446744073709551621" CRLF END "abcde"),
    ITEM("length 2^63 - 1", 413, POST "Content-Length: 9223372036854775807" CRLF END),
    ITEM("the same length twice", 400, POST "Content-Length: 5" CRLF "Content-Length: 5" CRLF END "abcde"),
    ITEM("two lengths", 400, POST "Content-Length: 5" CRLF "content-length: 6" CRLF END "abcde"),
    ITEM("length over the limit", 413, POST "Content-Length: 1048577" CRLF END),
    ITEM("body of a GET", 200, GET "Content-Length: 3" CRLF END "abc"),

    ITEM("chunked", 200, POST TE END "0" CRLF END),
    ITEM("CHUNKED in capitals", 200, POST "transfer-encoding: CHUNKED" CRLF END "0" CRLF END),
    ITEM("chunked with length", 400, POST TE "Content-Length: 5" CRLF END "0" CRLF END),
    ITEM("length with chunked", 400, POST "Content-Length: 5" CRLF TE END "0" CRLF END),
    ITEM(",chunked", 400, POST "Transfer-Encoding: ,chunked" CRLF END "0" CRLF END),
    ITEM("chunked,", 400, POST "Transfer-Encoding: chunked," CRLF END "0" CRLF END),
    ITEM("chunked twice in a list", 400, POST "Transfer-Encoding: chunked, chunked" CRLF END "0" CRLF END),
    ITEM("chunked on two lines", 400, POST TE TE END "0" CRLF END),
    ITEM("xchunked", 400, POST "Transfer-Encoding: xchunked" CRLF END "0" CRLF END),
    ITEM("chunked with a vertical tab", 400, POST "Transfer-Encoding: \013chunked" CRLF END "0" CRLF END),
    ITEM("quoted chunked", 400, POST "Transfer-Encoding: \"chunked\"" CRLF END "0" CRLF END),
    ITEM("gzip, chunked", 400, POST "Transfer-Encoding: gzip, chunked" CRLF END "0" CRLF END),
    ITEM("chunked, identity", 400, POST "Transfer-Encoding: chunked, identity" CRLF END "0" CRLF END),
    ITEM("identity", 400, POST "Transfer-Encoding: identity" CRLF END),
    ITEM("empty transfer coding", 400, POST "Transfer-Encoding:" CRLF END),
    ITEM("chunked in HTTP/1.0", 400, "POST / HTTP/1.0" CRLF HOST TE END "0" CRLF END),

    ITEM("no Host", 400, "GET / HTTP/1.1" CRLF END),
    ITEM("no Host in HTTP/1.0", 200, "GET / HTTP/1.0" CRLF END),
    ITEM("empty Host", 400, "GET / HTTP/1.1" CRLF "Host:" CRLF END),
    ITEM("Host twice", 400, GET HOST END),
    ITEM("Host twice in HTTP/1.0", 400, "GET / HTTP/1.0" CRLF HOST HOST END),
    ITEM("Host with a port", 200, "GET / HTTP/1.1" CRLF "Host: a.b-c_d:65535" CRLF END),
    ITEM("Host with an IPv6 address", 200, "GET / HTTP/1.1" CRLF "Host: [::1]:80" CRLF END),
    ITEM("Host with an open bracket", 400, "GET / HTTP/1.1" CRLF "Host: [::1" CRLF END),
    ITEM("Host with a fragment", 400, "GET / HTTP/1.1" CRLF "Host: a#b" CRLF END),
    ITEM("Host with a user", 400, "GET / HTTP/1.1" CRLF "Host: u@a" CRLF END),
    ITEM("Host with #@", 400, "GET / HTTP/1.1" CRLF "Host: a#@b" CRLF END),
    ITEM("Host with a path", 400, "GET / HTTP/1.1" CRLF "Host: a/b" CRLF END),
    ITEM("Host with a list", 400, "GET / HTTP/1.1" CRLF "Host: a, b" CRLF END),
    ITEM("Host with a port out of range", 400, "GET / HTTP/1.1" CRLF "Host: a:65536" CRLF END),
    ITEM("Host with an empty port", 400, "GET / HTTP/1.1" CRLF "Host: a:" CRLF END),

    ITEM("absolute form", 200, "GET http://a/x HTTP/1.1" CRLF HOST END),
    ITEM("absolute form in capitals", 200, "GET HTTP://A/x HTTP/1.1" CRLF HOST END),
    ITEM("absolute form without path", 200, "GET http://a HTTP/1.1" CRLF HOST END),
    ITEM("absolute form of another host", 400, "GET http://b/ HTTP/1.1" CRLF HOST END),
    ITEM("absolute form with a user", 400, "GET http://u@a/ HTTP/1.1" CRLF HOST END),
    ITEM("absolute form of https", 400, "GET https://a/ HTTP/1.1" CRLF HOST END),
    ITEM("authority form", 400, "GET a:80 HTTP/1.1" CRLF HOST END),
    ITEM("asterisk", 200, "OPTIONS * HTTP/1.1" CRLF HOST END),
    ITEM("asterisk for GET", 400, "GET * HTTP/1.1" CRLF HOST END),
    ITEM("fragment", 400, "GET /#a HTTP/1.1" CRLF HOST END),
    ITEM("non-ASCII target", 400, "GET /\303\251 HTTP/1.1" CRLF HOST END),
    ITEM("relative target", 400, "GET x HTTP/1.1" CRLF HOST END),

    ITEM("encoded slash", 400, "GET /a%2Fb HTTP/1.1" CRLF HOST END),
    ITEM("encoded slash in lower case", 400, "GET /a%2fb HTTP/1.1" CRLF HOST END),
    ITEM("encoded NUL", 400, "GET /a%00 HTTP/1.1" CRLF HOST END),
    ITEM("encoded line end", 400, "GET /a%0d%0ab HTTP/1.1" CRLF HOST END),
    ITEM("encoded backslash", 400, "GET /a%5cb HTTP/1.1" CRLF HOST END),
    ITEM("dot segment", 400, "GET /a/./b HTTP/1.1" CRLF HOST END),
    ITEM("dot dot segment", 400, "GET /a/../b HTTP/1.1" CRLF HOST END),
    ITEM("dot dot at the end", 400, "GET /.. HTTP/1.1" CRLF HOST END),
    ITEM("encoded dot dot", 400, "GET /a/%2e%2E/b HTTP/1.1" CRLF HOST END),
    ITEM("dots inside a name", 200, "GET /a..b/...c HTTP/1.1" CRLF HOST END),
    ITEM("short escape", 400, "GET /a%4 HTTP/1.1" CRLF HOST END),
    ITEM("escape without hex", 400, "GET /a%zz HTTP/1.1" CRLF HOST END),
    ITEM("escape that is not UTF-8", 400, "GET /a%ff HTTP/1.1" CRLF HOST END),
    ITEM("UTF-8 in escapes", 200, "GET /caf%C3%A9 HTTP/1.1" CRLF HOST END),

    ITEM("unknown expectation", 417, POST "Expect: tea" CRLF "Content-Length: 1" CRLF END "a"),
    ITEM("expectation twice", 400, POST "Expect: 100-continue" CRLF "Expect: 100-continue" CRLF END),
    ITEM("content type twice", 400, POST "Content-Type: a/b" CRLF "Content-Type: c/d" CRLF END),
    ITEM("two credentials", 400, GET "Authorization: a" CRLF "Authorization: b" CRLF END),
    ITEM("upgrade is ignored", 200, GET "Connection: Upgrade" CRLF "Upgrade: h2c" CRLF END),
    ITEM("unknown content coding", 415, POST "Content-Encoding: br" CRLF "Content-Length: 1" CRLF END "a"),
    ITEM("two content codings", 415, POST "Content-Encoding: gzip, gzip" CRLF "Content-Length: 1" CRLF END "a"),
};

TEST(every_form_of_request_has_its_status)
{
    for (size_t i = 0; i < ARRAY_LEN(items); i++) {
        for (size_t step = 0; step < 3; step++) {
            struct parse p;
            parse_init(&p);
            int status = parse_feed(&p, items[i].text, step, NULL);
            if (status != items[i].status)
                FAIL("%s (step %zu): status %d (%s), expected %d", items[i].name, step, status, p.err.text,
                     items[i].status);
            parse_done(&p);
        }
    }
}

TEST(head_is_understood)
{
    struct parse p;
    parse_init(&p);
    struct str text = STR("PATCH /a%20b/c?x=%2F&y=1 HTTP/1.1" CRLF "HOST: Example:80" CRLF "X-One:  1 2 " CRLF
                          "Connection: close" CRLF "Content-Length: 5" CRLF END "hello" GET);
    size_t used = 0;
    EXPECT_EQ(parse_feed(&p, text, 0, &used), 200);
    struct http_req *req = &p.m.x->req;
    EXPECT_EQ(used, text.n - strlen(GET));
    EXPECT_EQ(req->method, HTTP_PATCH_);
    EXPECT_STR(req->path, "/a b/c");
    EXPECT_STR(req->query, "x=%2F&y=1");
    EXPECT_STR(req->body, "hello");
    EXPECT_EQ(req->headers_len, 4);
    EXPECT_STR(req->headers[0].name, "host");
    EXPECT_STR(http_header_get(req, "host"), "Example:80");
    EXPECT_STR(http_header_get(req, "x-one"), "1 2");
    EXPECT(http_header_get(req, "x-two").p == NULL);
    EXPECT(!p.m.x->keep_alive);
    EXPECT_STR(http_query_get(req, "x"), "/");
    EXPECT_STR(http_query_get(req, "y"), "1");
    EXPECT(http_query_get(req, "z").p == NULL);
    parse_done(&p);
}

TEST(keep_alive_follows_version_and_connection)
{
    static const struct {
        const char *text;
        bool keep_alive;
    } cases[] = {
        {"GET / HTTP/1.1" CRLF HOST END, true},
        {"GET / HTTP/1.1" CRLF HOST "Connection: x, CLOSE" CRLF END, false},
        {"GET / HTTP/1.1" CRLF HOST "Connection: x" CRLF "Connection: close" CRLF END, false},
        {"GET / HTTP/1.1" CRLF HOST "Connection: closer" CRLF END, true},
        {"GET / HTTP/1.0" CRLF END, false},
        {"GET / HTTP/1.0" CRLF "Connection: Keep-Alive" CRLF END, true},
        {"GET / HTTP/1.0" CRLF "Connection: keep-alive, close" CRLF END, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct parse p;
        parse_init(&p);
        EXPECT_EQ(parse_feed(&p, str_c(cases[i].text), 0, NULL), 200);
        if (p.m.x->keep_alive != cases[i].keep_alive)
            FAIL("case %zu", i);
        parse_done(&p);
    }
}

static int feed_long_head(size_t header_bytes, size_t count, size_t step)
{
    struct parse p;
    struct buf b;
    parse_init(&p);
    buf_init(&b, 1 << 24);
    buf_c(&b, "GET / HTTP/1.1" CRLF HOST);
    for (size_t i = 0; i < count; i++)
        buf_printf(&b, "X%zu: %0*d" CRLF, i, (int)header_bytes, 0);
    buf_c(&b, END);
    int status = parse_feed(&p, buf_view(&b), step, NULL);
    buf_done(&b);
    parse_done(&p);
    return status;
}

TEST(limits_of_the_head_hold)
{
    EXPECT_EQ(feed_long_head(10, 99, 0), 200); /* with Host: 100 */
    EXPECT_EQ(feed_long_head(10, 100, 0), 431);
    EXPECT_EQ(feed_long_head(10, 100, 7), 431);
    EXPECT_EQ(feed_long_head(60000, 1, 0), 200);
    EXPECT_EQ(feed_long_head(60000, 1, 999), 200);
    EXPECT_EQ(feed_long_head(70000, 1, 0), 431);
    EXPECT_EQ(feed_long_head(70000, 1, 999), 431);
}
