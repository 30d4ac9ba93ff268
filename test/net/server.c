/* The server over sockets: answers, their order, 100 Continue, compression, streams. */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zlib.h>

#include "base/clock.h"
#include "rig.h"
#include "t.h"

#define CRLF      "\r\n"
#define HOST      "Host: a" CRLF
#define END       CRLF
#define GET(path) "GET " path " HTTP/1.1" CRLF HOST END
#define LATER     GET("/later")

static void start(struct rig *r)
{
    rig_init(r);
    rig_start(r);
}

/* ---- Answers ---- */

TEST(answers_on_tcp_and_unix_sockets)
{
    struct rig r;
    start(&r);
    int fds[2] = {rig_connect(&r), rig_connect_unix(&r)};
    for (int i = 0; i < 2; i++) {
        rig_send(&r, fds[i], "GET /hello HTTP/1.1" CRLF HOST "X-Request-Id: abc" CRLF END);
        EXPECT(rig_expect(&r, fds[i], "hello\n", 1, 1000));
        EXPECT_EQ(rig_count(&r, "HTTP/1.1 200 OK\r\n"), 1);
        EXPECT_EQ(rig_count(&r, "Content-Length: 6\r\n"), 1);
        EXPECT_EQ(rig_count(&r, "X-Request-Id: abc\r\n"), 1);
        EXPECT_EQ(rig_count(&r, "Traceparent: 00-"), 1);
        EXPECT_EQ(rig_count(&r, " GMT\r\n"), 1);
        EXPECT_EQ(rig_count(&r, "Connection:"), 0);
        EXPECT_EQ(r.last_bytes_out, r.in.len);
        (void)close(fds[i]);
    }
    EXPECT_EQ(r.done, 2);
    EXPECT_EQ(r.last_status, 200);
    EXPECT_CSTR(r.last_path, "/hello");
    EXPECT(r.flushed >= 2);
    EXPECT_EQ(server_stats(r.server)->requests, 2);
    rig_stop(&r);
}

TEST(many_requests_on_one_connection)
{
    struct rig r;
    start(&r);
    int fd = rig_connect(&r);
    for (int i = 0; i < 100; i++) {
        rig_send(&r, fd, GET("/hello"));
        EXPECT(rig_expect(&r, fd, "hello\n", 1, 1000));
    }
    EXPECT_EQ(server_stats(r.server)->connections, 1);
    EXPECT_EQ(server_stats(r.server)->connections_open, 1);
    (void)close(fd);
    rig_turn(&r, 5);
    EXPECT_EQ(server_stats(r.server)->connections_open, 0);
    rig_stop(&r);
}

TEST(connection_ends_when_the_client_or_its_version_says_so)
{
    static const char *const texts[] = {
        "GET /hello HTTP/1.1" CRLF HOST "Connection: close" CRLF END,
        "GET /hello HTTP/1.0" CRLF END,
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct rig r;
        start(&r);
        int fd = rig_connect(&r);
        rig_send(&r, fd, texts[i]);
        EXPECT(rig_read_all(&r, fd, 1000));
        EXPECT_EQ(rig_count(&r, "Connection: close\r\n"), 1);
        EXPECT_EQ(rig_count(&r, "hello\n"), 1);
        (void)close(fd);
        rig_stop(&r);
    }
}

TEST(http10_keeps_the_connection_when_asked)
{
    struct rig r;
    start(&r);
    int fd = rig_connect(&r);
    for (int i = 0; i < 2; i++) {
        rig_send(&r, fd, "GET /hello HTTP/1.0" CRLF "Connection: keep-alive" CRLF END);
        EXPECT(rig_expect(&r, fd, "hello\n", 1, 1000));
        EXPECT_EQ(rig_count(&r, "Connection: keep-alive\r\n"), 1);
    }
    (void)close(fd);
    rig_stop(&r);
}

/* As those of a batch: each is one small write, and none is sent before all are made. */
TEST(small_answers_leave_together_at_the_end_of_the_iteration)
{
    struct rig r;
    int fd[3];
    start(&r);
    for (int i = 0; i < 3; i++) {
        fd[i] = rig_connect(&r);
        rig_send(&r, fd[i], LATER);
    }
    EXPECT_EQ(r.later_len, 3);
    for (int i = 0; i < 3; i++)
        rig_answer(&r, i, "small");
    EXPECT_EQ(server_stats(r.server)->bytes_out, 0);
    EXPECT_EQ(r.done, 0);
    for (int i = 0; i < 3; i++)
        EXPECT(rig_expect(&r, fd[i], "small", 1, 1000));
    EXPECT_EQ(r.done, 3);
    for (int i = 0; i < 3; i++)
        (void)close(fd[i]);
    rig_stop(&r);
}

TEST(an_answer_too_large_to_be_copied_leaves_at_once)
{
    struct rig r;
    start(&r);
    int fd = rig_connect(&r);
    rig_send(&r, fd, LATER);
    char text[8192];
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    rig_answer(&r, 0, text);
    EXPECT(server_stats(r.server)->bytes_out > sizeof text);
    EXPECT_EQ(r.done, 1);
    EXPECT(rig_expect(&r, fd, "xxxx", 1, 1000));
    (void)close(fd);
    rig_stop(&r);
}

TEST(head_request_gets_the_length_and_no_body)
{
    struct rig r;
    start(&r);
    int fd = rig_connect(&r);
    rig_send(&r, fd, "HEAD /hello HTTP/1.1" CRLF HOST END GET("/hello"));
    EXPECT(rig_expect(&r, fd, "hello\n", 1, 1000));
    EXPECT_EQ(rig_count(&r, "Content-Length: 6\r\n"), 2);
    EXPECT_EQ(rig_count(&r, "\r\n\r\nHTTP/1.1 200"), 1);
    (void)close(fd);
    rig_stop(&r);
}

TEST(large_bodies_go_through_whole)
{
    struct rig r;
    size_t n = (size_t)5 << 20;
    char *body = malloc(n);
    EXPECT(body != NULL);
    for (size_t i = 0; i < n; i++)
        body[i] = (char)(i * 7919 >> 5);
    start(&r);
    int fd = rig_connect(&r);
    rig_send(&r, fd, "POST /echo HTTP/1.1" CRLF HOST "Content-Length: 5242880" CRLF END);
    rig_write(&r, fd, (struct str){body, n});
    buf_clear(&r.in);
    while (r.in.len < n) {
        char bytes[65536];
        rig_turn(&r, 0);
        ssize_t got = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
        EXPECT(got != 0);
        if (got > 0)
            buf_add(&r.in, bytes, (size_t)got);
    }
    rig_turn(&r, 20);
    char rest[4096];
    ssize_t got = recv(fd, rest, sizeof(rest), MSG_DONTWAIT);
    if (got > 0)
        buf_add(&r.in, rest, (size_t)got);
    EXPECT(memcmp(r.in.p + r.in.len - n, body, n) == 0);
    free(body);
    (void)close(fd);
    rig_stop(&r);
}

TEST(errors_are_json_with_the_request_id)
{
    struct rig r;
    start(&r);
    int fd = rig_connect(&r);
    rig_send(&r, fd, "GET /nowhere HTTP/1.1" CRLF HOST "X-Request-Id: q1" CRLF END);
    EXPECT(rig_expect(&r, fd, "}\n", 1, 1000));
    EXPECT_EQ(rig_count(&r, "HTTP/1.1 404 Not Found\r\n"), 1);
    EXPECT_EQ(rig_count(&r, "{\"error\":\"no such path\",\"code\":404,\"request_id\":\"q1\"}\n"), 1);
    (void)close(fd);
    rig_stop(&r);
}

TEST(header_of_a_handler_cannot_break_out_of_its_line)
{
    struct rig r;
    start(&r);
    int fd = rig_connect(&r);
    rig_send(&r, fd, LATER);
    rig_turn(&r, 5);
    struct http_header h = {STR("X-A"), STR("b\r\nX-Evil: c")};
    struct str body = STR("x");
    http_respond(r.later[0], 200, STR("text/plain"), &h, 1, &body, 1);
    EXPECT(rig_expect(&r, fd, "\r\n\r\nx", 1, 1000));
    EXPECT_EQ(rig_count(&r, "\r\nX-Evil"), 0);
    EXPECT_EQ(rig_count(&r, "X-A: b  X-Evil: c\r\n"), 1);
    (void)close(fd);
    rig_stop(&r);
}

TEST(answer_of_many_parts_arrives_in_order)
{
    struct rig r;
    struct str parts[100];
    char digits[100];
    start(&r);
    int fd = rig_connect(&r);
    rig_send(&r, fd, LATER);
    rig_turn(&r, 5);
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        digits[i] = (char)('0' + i % 10);
        parts[i] = (struct str){digits + i, 1};
    }
    http_respond(r.later[0], 200, STR("text/plain"), NULL, 0, parts, ARRAY_LEN(parts));
    EXPECT(rig_expect(&r, fd, "0123456789", 10, 1000));
    EXPECT_EQ(rig_count(&r, "Content-Length: 100\r\n"), 1);
    (void)close(fd);
    rig_stop(&r);
}

/* ---- Pipelining ---- */

TEST(pipelined_answers_leave_in_one_write_and_in_order)
{
    struct rig r;
    start(&r);
    int fd = rig_connect(&r);
    rig_send(&r, fd, GET("/hello") GET("/nowhere") GET("/big/10") GET("/hello"));
    rig_turn(&r, 20);
    char bytes[65536];
    ssize_t n =
        recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT); /* one segment of a UNIX or loopback socket for one write */
    EXPECT(n > 0);
    buf_add(&r.in, bytes, (size_t)n);
    EXPECT_EQ(rig_count(&r, "HTTP/1.1 "), 4);
    const char *a = memmem(r.in.p, r.in.len, "hello\n", 6), *b = memmem(r.in.p, r.in.len, " 404 ", 5),
               *c = memmem(r.in.p, r.in.len, "bbbbbbbbbb", 10);
    EXPECT(a && b && c && a < b && b < c);
    EXPECT_EQ(r.done, 4);
    (void)close(fd);
    rig_stop(&r);
}

TEST(answers_out_of_order_wait_for_their_turn)
{
    struct rig r;
    start(&r);
    int fd = rig_connect(&r);
    rig_send(&r, fd, LATER LATER LATER GET("/hello"));
    rig_turn(&r, 5);
    EXPECT_EQ(r.later_len, 3);
    rig_answer(&r, 2, "third");
    EXPECT(!rig_expect(&r, fd, "H", 1, 30));
    rig_answer(&r, 0, "first");
    EXPECT(rig_expect(&r, fd, "first", 1, 1000));
    EXPECT_EQ(rig_count(&r, "HTTP/1.1 "), 1);
    EXPECT_EQ(r.done, 1);
    rig_answer(&r, 1, "second");
    EXPECT(rig_expect(&r, fd, "hello\n", 1, 1000));
    EXPECT_EQ(rig_count(&r, "HTTP/1.1 "), 3);
    const char *b = memmem(r.in.p, r.in.len, "second", 6), *c = memmem(r.in.p, r.in.len, "third", 5);
    EXPECT(b && c && b < c);
    EXPECT_EQ(r.done, 4);
    (void)close(fd);
    rig_stop(&r);
}

TEST(stream_waits_for_its_turn_too)
{
    struct rig r;
    start(&r);
    int fd = rig_connect(&r);
    rig_send(&r, fd, LATER GET("/stream") GET("/hello"));
    EXPECT(!rig_expect(&r, fd, "H", 1, 30));
    rig_answer(&r, 0, "first");
    EXPECT(rig_expect(&r, fd, "hello\n", 1, 1000));
    EXPECT_EQ(rig_count(&r, "4\r\none \r\n4\r\ntwo \r\n5\r\nthree\r\n0\r\n\r\nHTTP/1.1 200"), 1);
    (void)close(fd);
    rig_stop(&r);
}

TEST(pipeline_is_limited_and_goes_on)
{
    struct rig r;
    rig_init(&r);
    r.limits.pipeline_max = 4;
    rig_start(&r);
    int fd = rig_connect(&r);
    for (int i = 0; i < 10; i++)
        rig_send(&r, fd, LATER);
    rig_turn(&r, 10);
    EXPECT_EQ(r.later_len, 4);
    for (int i = 0; i < 10; i++) {
        rig_answer(&r, i, "x");
        rig_turn(&r, 2);
        EXPECT_EQ(r.later_len, i + 5 < 10 ? i + 5 : 10);
    }
    EXPECT(rig_expect(&r, fd, "\r\n\r\nx", 10, 1000));
    (void)close(fd);
    rig_stop(&r);
}

TEST(nothing_is_read_behind_the_last_request)
{
    struct rig r;
    start(&r);
    int fd = rig_connect(&r);
    rig_send(&r, fd, "GET /hello HTTP/1.1" CRLF HOST "Connection: close" CRLF END GET("/hello"));
    EXPECT(rig_read_all(&r, fd, 5000));
    EXPECT_EQ(rig_count(&r, "hello\n"), 1);
    EXPECT_EQ(r.requests, 1);
    (void)close(fd);
    rig_stop(&r);
}

TEST(request_behind_an_invalid_one_is_not_served)
{
    struct rig r;
    start(&r);
    int fd = rig_connect(&r);
    rig_send(&r, fd, GET("/hello") "POST /echo HTTP/1.1" CRLF HOST "Content-Length: 0x5" CRLF END GET("/hello"));
    EXPECT(rig_read_all(&r, fd, 5000));
    EXPECT_EQ(rig_count(&r, "hello\n"), 1);
    EXPECT_EQ(rig_count(&r, "HTTP/1.1 400 Bad Request\r\n"), 1);
    EXPECT_EQ(r.requests, 1);
    EXPECT_EQ(r.done, 2); /* the access log sees the refusal */
    EXPECT_EQ(server_stats(r.server)->bad_requests, 1);
    (void)close(fd);
    rig_stop(&r);
}

TEST(refusal_waits_behind_earlier_answers)
{
    struct rig r;
    start(&r);
    int fd = rig_connect(&r);
    rig_send(&r, fd, LATER "BAD" CRLF CRLF);
    EXPECT(!rig_expect(&r, fd, "H", 1, 30));
    rig_answer(&r, 0, "first");
    EXPECT(rig_read_all(&r, fd, 5000));
    const char *a = memmem(r.in.p, r.in.len, "first", 5), *b = memmem(r.in.p, r.in.len, " 400 ", 5);
    EXPECT(a && b && a < b);
    (void)close(fd);
    rig_stop(&r);
}

TEST(refused_client_that_still_sends_reads_the_answer)
{
    struct rig r;
    rig_init(&r);
    r.limits.body_bytes_max = 1000;
    rig_start(&r);
    int fd = rig_connect(&r);
    struct str body = {calloc(1, 1 << 20), 1 << 20};
    rig_send(&r, fd, "POST /echo HTTP/1.1" CRLF HOST "Content-Length: 1048576" CRLF END);
    rig_write(&r, fd, body);
    EXPECT(rig_expect(&r, fd, "\n", 8, 1000));
    EXPECT_EQ(rig_count(&r, "HTTP/1.1 413 Content Too Large\r\n"), 1);
    free((void *)(uintptr_t)body.p);
    (void)close(fd);
    rig_stop(&r);
}

/* ---- 100 Continue ---- */

TEST(continue_is_sent_when_the_client_waits)
{
    struct rig r;
    start(&r);
    int fd = rig_connect(&r);
    rig_send(&r, fd, "POST /echo HTTP/1.1" CRLF HOST "Expect: 100-continue" CRLF "Content-Length: 4" CRLF END);
    EXPECT(rig_expect(&r, fd, "HTTP/1.1 100 Continue\r\n\r\n", 1, 1000));
    rig_send(&r, fd, "body");
    EXPECT(rig_expect(&r, fd, "\r\n\r\nbody", 1, 1000));
    (void)close(fd);
    rig_stop(&r);
}

TEST(continue_waits_behind_earlier_answers)
{
    struct rig r;
    start(&r);
    int fd = rig_connect(&r);
    rig_send(&r, fd, LATER "POST /echo HTTP/1.1" CRLF HOST "Expect: 100-continue" CRLF "Content-Length: 4" CRLF END);
    EXPECT(!rig_expect(&r, fd, "H", 1, 30));
    rig_answer(&r, 0, "first");
    EXPECT(rig_expect(&r, fd, "firstHTTP/1.1 100 Continue\r\n\r\n", 1, 1000));
    rig_send(&r, fd, "body");
    EXPECT(rig_expect(&r, fd, "\r\n\r\nbody", 1, 1000));
    (void)close(fd);
    rig_stop(&r);
}

TEST(too_large_body_is_refused_instead_of_continued)
{
    struct rig r;
    rig_init(&r);
    r.limits.body_bytes_max = 3;
    rig_start(&r);
    int fd = rig_connect(&r);
    rig_send(&r, fd, "POST /echo HTTP/1.1" CRLF HOST "Expect: 100-continue" CRLF "Content-Length: 4" CRLF END);
    EXPECT(rig_expect(&r, fd, "}\n", 1, 1000));
    EXPECT_EQ(rig_count(&r, "100 Continue"), 0);
    EXPECT_EQ(rig_count(&r, "HTTP/1.1 413 "), 1);
    (void)close(fd);
    rig_stop(&r);
}

/* ---- Compression ---- */

static void expect_plain(struct rig *r, const char *accept, bool is_packed)
{
    char text[256];
    static char body[5000];
    int fd = rig_connect(r);
    memset(body, 'j', sizeof(body));
    (void)snprintf(text, sizeof(text), "GET /later HTTP/1.1" CRLF HOST "Accept-Encoding: %s" CRLF END, accept);
    rig_send(r, fd, text);
    rig_turn(r, 5);
    http_respond_json(r->later[0], 200, (struct str){body, sizeof(body)});
    r->later_len = 0;
    EXPECT(rig_expect(r, fd, "\r\n\r\n", 1, 1000));
    rig_turn(r, 5);
    EXPECT_EQ(rig_count(r, "Content-Encoding: gzip\r\n"), is_packed);
    EXPECT_EQ(rig_count(r, "Vary: Accept-Encoding\r\n"), 1);
    if (is_packed) {
        const char *packed = (const char *)memmem(r->in.p, r->in.len, "\r\n\r\n", 4) + 4;
        static unsigned char out[6000];
        z_stream z = {.next_in = (Bytef *)(uintptr_t)packed, .avail_in = (uInt)(r->in.p + r->in.len - packed)};
        z.next_out = out;
        z.avail_out = sizeof(out);
        EXPECT_EQ(inflateInit2(&z, 31), Z_OK);
        EXPECT_EQ(inflate(&z, Z_FINISH), Z_STREAM_END);
        EXPECT_EQ(z.total_out, sizeof(body));
        EXPECT(memcmp(out, body, sizeof(body)) == 0);
        EXPECT_EQ(inflateEnd(&z), Z_OK);
    }
    (void)close(fd);
}

TEST(answers_are_compressed_only_for_those_who_want_it)
{
    struct rig r;
    start(&r);
    expect_plain(&r, "gzip", true);
    expect_plain(&r, "deflate, gzip;q=0.5", true);
    expect_plain(&r, "gzip;q=0", false);
    expect_plain(&r, "br", false);
    rig_stop(&r);
}

TEST(small_and_binary_answers_are_not_compressed)
{
    struct rig r;
    start(&r);
    int fd = rig_connect(&r);
    rig_send(&r, fd, "GET /hello HTTP/1.1" CRLF HOST "Accept-Encoding: gzip" CRLF END);
    EXPECT(rig_expect(&r, fd, "hello\n", 1, 1000));
    EXPECT_EQ(rig_count(&r, "gzip"), 0);
    rig_send(&r, fd, "GET /big/5000 HTTP/1.1" CRLF HOST "Accept-Encoding: gzip" CRLF END);
    EXPECT(rig_expect(&r, fd, "bbbbb", 4996, 1000));
    EXPECT_EQ(rig_count(&r, "gzip"), 0);
    (void)close(fd);
    rig_stop(&r);
}

/* ---- Streams ---- */

TEST(stream_is_chunked)
{
    struct rig r;
    start(&r);
    int fd = rig_connect(&r);
    rig_send(&r, fd, GET("/stream"));
    EXPECT(rig_expect(&r, fd, "0\r\n\r\n", 1, 1000));
    EXPECT_EQ(rig_count(&r, "Transfer-Encoding: chunked\r\n"), 1);
    EXPECT_EQ(rig_count(&r, "Content-Length"), 0);
    EXPECT_EQ(rig_count(&r, "4\r\none \r\n4\r\ntwo \r\n5\r\nthree\r\n0\r\n\r\n"), 1);
    rig_send(&r, fd, GET("/hello"));
    EXPECT(rig_expect(&r, fd, "hello\n", 1, 1000));
    (void)close(fd);
    rig_stop(&r);
}

TEST(stream_for_http10_ends_with_the_connection)
{
    struct rig r;
    start(&r);
    int fd = rig_connect(&r);
    rig_send(&r, fd, "GET /stream HTTP/1.0" CRLF "Connection: keep-alive" CRLF END);
    EXPECT(rig_read_all(&r, fd, 1000));
    EXPECT_EQ(rig_count(&r, "\r\n\r\none two three"), 1);
    EXPECT_EQ(rig_count(&r, "Connection: close\r\n"), 1);
    (void)close(fd);
    rig_stop(&r);
}

TEST(stream_that_is_not_read_is_cut_not_ended)
{
    struct rig r;
    static char piece[100000];
    start(&r);
    int fd = rig_connect_unix(&r);
    rig_send(&r, fd, LATER);
    rig_turn(&r, 5);
    http_stream_begin(r.later[0], 200, STR("text/event-stream"));
    int written = 0;
    memset(piece, 's', sizeof(piece));
    while (http_stream_write(r.later[0], (struct str){piece, sizeof(piece)})) {
        rig_turn(&r, 0);
        EXPECT(++written < 1000);
    }
    EXPECT(written >= 10); /* 1 MiB may wait */
    http_stream_end(r.later[0]);
    EXPECT(rig_read_all(&r, fd, 2000));
    EXPECT_EQ(rig_count(&r, "\r\n0\r\n\r\n"), 0);
    EXPECT_EQ(r.last_status, 499);
    (void)close(fd);
    rig_stop(&r);
}
