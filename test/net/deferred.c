/* Bodies that the handler takes from the socket, and the memory of large bodies. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/bodies_int.h"
#include "net/server_int.h"
#include "rig.h"
#include "t.h"

#define CRLF       "\r\n"
#define BODY_BYTES 50000u

static char body[BODY_BYTES + 1];

static void fill_body(void)
{
    for (size_t i = 0; i < BODY_BYTES; i++)
        body[i] = (char)('a' + i * i % 26);
}

/* One request with the body, as one write: the kernel has all of it before the server looks. */
static void send_long_request(int fd, const char *path, int head_spare)
{
    static char text[BODY_BYTES + 10000];
    int n = snprintf(text, sizeof text,
                     "POST %s HTTP/1.1" CRLF "Host: a" CRLF "X: %0*d" CRLF "Content-Length: %u" CRLF CRLF, path,
                     head_spare, 0, BODY_BYTES);
    memcpy(text + n, body, BODY_BYTES);
    EXPECT_EQ(send(fd, text, (size_t)n + BODY_BYTES, MSG_NOSIGNAL), n + (int)BODY_BYTES);
}

static void send_request(int fd, const char *path)
{
    send_long_request(fd, path, 1);
}

/* A connection whose next head is read alone, since a large body came before. */
static int start(struct rig *r, bool is_unix)
{
    fill_body();
    rig_init(r);
    r->defers = true;
    rig_start(r);
    int fd = is_unix ? rig_connect_unix(r) : rig_connect(r);
    int one = 1 << 20;
    EXPECT_EQ(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &one, sizeof one), 0);
    send_request(fd, "/hello");
    EXPECT(rig_expect(r, fd, "hello\n", 1, 1000));
    EXPECT_EQ(r->away, 0);
    return fd;
}

static bool got_body(const struct rig *r)
{
    return r->in.len > BODY_BYTES && memcmp(r->in.p + r->in.len - BODY_BYTES, body, BODY_BYTES) == 0;
}

TEST(deferred_body_is_copied_from_the_socket)
{
    for (int is_unix = 0; is_unix < 2; is_unix++) {
        struct rig r;
        int fd = start(&r, is_unix);
        for (int i = 0; i < 3; i++) {
            r.away = 0;
            send_request(fd, "/copy");
            EXPECT(rig_expect(&r, fd, body + BODY_BYTES - 20, 1, 1000));
            EXPECT(got_body(&r));
            EXPECT(r.away > BODY_BYTES - 4096);
        }
        EXPECT(server_stats(r.server)->bytes_in > 4 * BODY_BYTES);
        EXPECT(server_stats(r.server)->bytes_in < 4 * BODY_BYTES + 1000);
        (void)close(fd);
        rig_stop(&r);
    }
}

TEST(deferred_body_in_another_order_is_fetched)
{
    struct rig r;
    int fd = start(&r, false);
    send_request(fd, "/backwards");
    EXPECT(rig_expect(&r, fd, body + BODY_BYTES - 20, 1, 1000));
    EXPECT(got_body(&r));
    EXPECT(r.away > 0);
    (void)close(fd);
    rig_stop(&r);
}

TEST(deferred_body_that_the_handler_leaves_is_fetched_when_it_returns)
{
    struct rig r;
    int fd = start(&r, false);
    send_request(fd, "/later");
    rig_turn(&r, 5);
    EXPECT_EQ(r.later_len, 1);
    EXPECT(r.away > 0);
    EXPECT_EQ(r.later[0]->body_away, 0);
    EXPECT_EQ(r.later[0]->body.n, BODY_BYTES);
    EXPECT(memcmp(r.later[0]->body.p, body, BODY_BYTES) == 0);
    EXPECT_EQ(r.later[0]->body.p[BODY_BYTES], 0);
    rig_answer(&r, 0, "late\n");
    EXPECT(rig_expect(&r, fd, "late\n", 1, 1000));
    (void)close(fd);
    rig_stop(&r);
}

TEST(deferred_body_of_an_answered_request_is_thrown_away)
{
    struct rig r;
    int fd = start(&r, false);
    send_request(fd, "/nowhere"); /* 404 */
    send_request(fd, "/copy");
    EXPECT(rig_expect(&r, fd, body + BODY_BYTES - 20, 1, 1000));
    EXPECT_EQ(rig_count(&r, "HTTP/1.1 404 "), 1);
    EXPECT_EQ(rig_count(&r, "HTTP/1.1 200 "), 1);
    EXPECT(got_body(&r));
    EXPECT_EQ(server_stats(r.server)->bad_requests, 0);
    (void)close(fd);
    rig_stop(&r);
}

TEST(body_that_is_not_there_yet_is_not_deferred)
{
    struct rig r;
    char head[200];
    int fd = start(&r, false);
    (void)snprintf(head, sizeof head, "POST /copy HTTP/1.1" CRLF "Host: a" CRLF "Content-Length: %u" CRLF CRLF,
                   BODY_BYTES);
    rig_send(&r, fd, head);
    rig_write(&r, fd, (struct str){body, BODY_BYTES - 1});
    rig_turn(&r, 5);
    EXPECT_EQ(r.requests, 1);
    rig_write(&r, fd, (struct str){body + BODY_BYTES - 1, 1});
    EXPECT(rig_expect(&r, fd, body + BODY_BYTES - 20, 1, 1000));
    EXPECT(got_body(&r));
    EXPECT_EQ(r.away, 0);
    (void)close(fd);
    rig_stop(&r);
}

/* After a body that was deferred the beginning of the next request is only looked at, and must be taken where its body does not stay behind. */
static int start_looking(struct rig *r, bool is_unix)
{
    int fd = start(r, is_unix);
    send_request(fd, "/copy");
    EXPECT(rig_expect(r, fd, body + BODY_BYTES - 20, 1, 1000));
    EXPECT(r->away > 0);
    return fd;
}

#define LAST "GET /hello HTTP/1.1" CRLF "Host: a" CRLF "Connection: close" CRLF CRLF

TEST(request_after_a_deferred_body_is_taken_once)
{
    static char long_head[6000];
    (void)snprintf(long_head, sizeof long_head, "GET /hello HTTP/1.1" CRLF "Host: a" CRLF "X: %05000d" CRLF CRLF LAST,
                   0);
    const struct {
        const char *text;
        int ok, bad; /* answers */
    } cases[] = {
        {LAST, 1, 0},
        {"GET /hello HTTP/1.1" CRLF "Host: a" CRLF CRLF LAST, 2, 0},
        {"POST /echo HTTP/1.1" CRLF "Host: a" CRLF "Content-Length: 3" CRLF CRLF "abc" LAST, 2, 0},
        {long_head, 2, 0},
        {LAST "GET /hello HTTP/1.1" CRLF CRLF, 1, 0}, /* what is behind the last one must not reset the connection */
        {"nonsense" CRLF CRLF, 0, 1},
        {"POST /echo HTTP/1.1" CRLF "Host: a" CRLF "Content-Length: x" CRLF CRLF "abc", 0, 1},
    };
    for (size_t i = 0; i < 2 * ARRAY_LEN(cases); i++) {
        struct rig r;
        int fd = start_looking(&r, i % 2 == 1);
        const char *text = cases[i / 2].text;
        uint64_t before = server_stats(r.server)->bytes_in;
        EXPECT_EQ(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
        EXPECT(rig_read_all(&r, fd, 5000));
        EXPECT_EQ(rig_count(&r, "HTTP/1.1 200 "), cases[i / 2].ok);
        EXPECT_EQ(rig_count(&r, "HTTP/1.1 400 "), cases[i / 2].bad);
        EXPECT_EQ(server_stats(r.server)->bytes_in - before, strlen(text));
        (void)close(fd);
        rig_stop(&r);
    }
}

/* What was looked at of the body is copied once more: it is as little as the handler wants to see. */
TEST(look_is_as_long_as_the_last_head_and_what_its_handler_read)
{
    static const size_t looks[] = {0, 700, 100000};
    for (size_t i = 0; i < ARRAY_LEN(looks); i++) {
        struct rig r;
        int fd = start(&r, false);
        r.look = looks[i];
        for (int k = 0; k < 3; k++) {
            send_request(fd, "/copy");
            EXPECT(rig_expect(&r, fd, body + BODY_BYTES - 20, 1, 1000));
            EXPECT(got_body(&r));
        }
        size_t seen = BODY_BYTES - r.away;
        if (seen < looks[i] && seen <= HEAD_READ_BYTES - 300u)
            FAIL("look %zu: %zu bytes were seen", looks[i], seen);
        EXPECT(seen <= looks[i] + 2 * LOOK_SPARE_BYTES);
        (void)close(fd);
        rig_stop(&r);
    }
}

TEST(heads_after_a_deferred_body_may_be_of_any_length)
{
    static const int spares[] = {1, 100, 128, 129, 400, 1, 3000, 2, 6000, 1, 129, 1};
    struct rig r;
    int fd = start(&r, false);
    for (size_t i = 0; i < ARRAY_LEN(spares); i++) {
        send_long_request(fd, "/copy", spares[i]);
        EXPECT(rig_expect(&r, fd, body + BODY_BYTES - 20, 1, 1000));
        EXPECT(got_body(&r));
    }
    EXPECT_EQ(server_stats(r.server)->bad_requests, 0);
    (void)close(fd);
    rig_stop(&r);
}

TEST(body_after_a_deferred_body_may_come_in_pieces)
{
    static const size_t cuts[] = {0, 1, 500, 30000, BODY_BYTES - 1};
    for (size_t i = 0; i < ARRAY_LEN(cuts); i++) {
        struct rig r;
        char head[200];
        int fd = start_looking(&r, false);
        (void)snprintf(head, sizeof head, "POST /echo HTTP/1.1" CRLF "Host: a" CRLF "Content-Length: %u" CRLF CRLF,
                       BODY_BYTES);
        rig_send(&r, fd, head);
        rig_write(&r, fd, (struct str){body, cuts[i]});
        rig_turn(&r, 5);
        EXPECT_EQ(r.requests, 2);
        rig_write(&r, fd, (struct str){body + cuts[i], BODY_BYTES - cuts[i]});
        EXPECT(rig_expect(&r, fd, body + BODY_BYTES - 20, 1, 1000));
        EXPECT(got_body(&r));
        EXPECT_EQ(server_stats(r.server)->bad_requests, 0);
        (void)close(fd);
        rig_stop(&r);
    }
}

TEST(end_after_a_deferred_body_closes)
{
    struct rig r;
    int fd = start_looking(&r, false);
    EXPECT_EQ(shutdown(fd, SHUT_WR), 0);
    EXPECT(rig_read_all(&r, fd, 1000));
    EXPECT_EQ(r.in.len, 0);
    (void)close(fd);
    rig_stop(&r);
}

/* The kernel keeps what had arrived. */
TEST(deferred_body_of_a_client_that_resets_the_connection)
{
    static const char *const paths[] = {"/reset-copy", "/reset-later"};
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        struct rig r;
        int fd = start(&r, false);
        r.reset_fd = fd; /* the handler closes it */
        send_request(fd, paths[i]);
        rig_turn(&r, 5);
        EXPECT_EQ(r.requests, 2);
        EXPECT(r.away > 0);
        if (r.later_len > 0)
            rig_answer(&r, 0, "nobody hears this");
        rig_turn(&r, 5);
        EXPECT_EQ(server_stats(r.server)->connections_open, 0);
        EXPECT_EQ(r.done, 2);
        EXPECT_EQ(r.last_status, 499);
        rig_stop(&r);
    }
}

/* Whatever took them: the request fails, and its connection with it. */
TEST(deferred_body_that_is_not_there_any_more)
{
    static const char *const paths[] = {"/steal-copy", "/steal-later"};
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        struct rig r;
        int fd = start(&r, false);
        send_request(fd, paths[i]);
        EXPECT(rig_read_all(&r, fd, 1000));
        EXPECT_EQ(r.in.len, 0);
        EXPECT_EQ(r.requests, 2);
        EXPECT_EQ(r.fetched, 0);
        if (r.later_len > 0) {
            EXPECT_EQ(r.later[0]->body.p[BODY_BYTES - 1], 0); /* no memory of others */
            rig_answer(&r, 0, "nobody hears this");
        }
        EXPECT_EQ(r.done, 2);
        EXPECT_EQ(r.last_status, 499);
        (void)close(fd);
        rig_stop(&r);
    }
}

/* ---- memory of bodies ---- */

static char *body_of(struct body_pool *p, struct buf *b, size_t n)
{
    buf_init(b, 64 << 20);
    body_pool_take(p, b, n);
    EXPECT(buf_reserve(b, n));
    return b->p;
}

TEST(body_memory_is_used_again_newest_first)
{
    static struct body_pool p;
    struct buf a, b, c;
    char *at_a = body_of(&p, &a, 100000), *at_b = body_of(&p, &b, 100000);
    EXPECT(at_a != at_b);
    body_pool_give(&p, &a);
    EXPECT(a.p == NULL);
    EXPECT_EQ(a.max_bytes, 64 << 20);
    body_pool_give(&p, &b);
    EXPECT(body_of(&p, &c, 90000) == at_b);
    EXPECT_EQ(p.len, 1);
    buf_done(&c);
    EXPECT(body_of(&p, &c, 200000) != at_a); /* too small */
    EXPECT_EQ(p.len, 1);
    buf_done(&c);
    body_pool_done(&p);
}

TEST(body_memory_that_is_kept_is_bounded)
{
    static struct body_pool p;
    struct buf b[BODY_POOL_MAX + 5];
    for (size_t i = 0; i < ARRAY_LEN(b); i++)
        (void)body_of(&p, &b[i], 20000);
    for (size_t i = 0; i < ARRAY_LEN(b); i++)
        body_pool_give(&p, &b[i]);
    EXPECT_EQ(p.len, BODY_POOL_MAX);
    (void)body_of(&p, &b[0], BODY_POOL_BYTES - BUF_PAD - 4096);
    body_pool_give(&p, &b[0]); /* the small ones go for it */
    EXPECT(p.bytes <= BODY_POOL_BYTES);
    EXPECT_EQ(p.kept[p.len - 1].cap, BODY_POOL_BYTES - 4096);
    (void)body_of(&p, &b[0], BODY_POOL_BYTES + 1);
    body_pool_give(&p, &b[0]);
    EXPECT(p.bytes <= BODY_POOL_BYTES);
    body_pool_done(&p);
    EXPECT_EQ(p.bytes, 0);
}
