/* Large compressed bodies: others are served meanwhile, and requests keep their order. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "rig.h"
#include "t.h"

#define CRLF "\r\n"
#define HOST "Host: a" CRLF

#define PLAIN_BYTES ((size_t)16 << 20)

/* A request of n zeros for /later, packed to a thousandth of that; `behind` follows it. */
static void send_packed(struct rig *r, int fd, size_t n, size_t cut, const char *behind)
{
    char *zeros = calloc(1, n);
    struct buf text, packed;
    z_stream z = {0};
    buf_init(&text, 1 << 20);
    buf_init(&packed, 1 << 20);
    EXPECT(zeros && buf_reserve(&packed, 1 << 19));
    EXPECT_EQ(deflateInit2(&z, 9, Z_DEFLATED, 31, 9, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = (Bytef *)zeros;
    z.avail_in = (uInt)n;
    z.next_out = (Bytef *)packed.p;
    z.avail_out = 1 << 19;
    EXPECT_EQ(deflate(&z, Z_FINISH), Z_STREAM_END);
    packed.len = (1 << 19) - z.avail_out - cut;
    EXPECT_EQ(deflateEnd(&z), Z_OK);
    free(zeros);
    buf_printf(&text, "POST /later HTTP/1.1" CRLF HOST "Content-Encoding: gzip" CRLF "Content-Length: %zu" CRLF CRLF,
               packed.len);
    buf_str(&text, buf_view(&packed));
    buf_c(&text, behind);
    rig_write(r, fd, buf_view(&text));
    buf_done(&packed);
    buf_done(&text);
}

static void hello(struct rig *r, int fd)
{
    rig_send(r, fd, "GET /hello HTTP/1.1" CRLF HOST CRLF);
    EXPECT(rig_expect(r, fd, "hello\n", 1, 2000));
}

static void wait_for_later(struct rig *r, int n)
{
    for (int i = 0; r->later_len < n && i < 5000; i++)
        rig_turn(r, 1);
    EXPECT_EQ(r->later_len, n);
}

TEST(others_are_answered_while_a_large_body_is_decoded)
{
    struct rig r;
    rig_init(&r);
    rig_start(&r);
    int other = rig_connect(&r), fd = rig_connect(&r);
    hello(&r, other);
    send_packed(&r, fd, PLAIN_BYTES, 0, "GET /hello HTTP/1.1" CRLF HOST CRLF "GET /nowhere HTTP/1.1" CRLF HOST CRLF);
    for (int i = 0; i < 5; i++)
        hello(&r, other);
    EXPECT_EQ(r.requests, 6); /* none of those behind the body, nor itself */
    wait_for_later(&r, 1);
    EXPECT_EQ(r.later[0]->body.n, PLAIN_BYTES);
    EXPECT(r.later[0]->body.p[0] == 0 && r.later[0]->body.p[PLAIN_BYTES - 1] == 0);
    rig_answer(&r, 0, "first");
    EXPECT(rig_expect(&r, fd, "HTTP/1.1 ", 3, 2000));
    buf_char(&r.in, '\0');
    const char *first = strstr(r.in.p, "first"), *second = strstr(r.in.p, "hello\n"),
               *third = strstr(r.in.p, "404 Not Found"); /* not the digits of an id */
    EXPECT(first && second && third && first < second && second < third);
    hello(&r, fd); /* the connection goes on */
    (void)close(fd);
    (void)close(other);
    rig_stop(&r);
}

TEST(large_bodies_of_several_clients_advance_together)
{
    struct rig r;
    int fds[3];
    rig_init(&r);
    rig_start(&r);
    for (int i = 0; i < 3; i++)
        send_packed(&r, fds[i] = rig_connect(&r), PLAIN_BYTES >> i, 0, "");
    wait_for_later(&r, 3);
    for (int i = 0; i < 3; i++) /* the smallest came last and was first */
        EXPECT_EQ(r.later[i]->body.n, PLAIN_BYTES >> (2 - i));
    for (int i = 0; i < 3; i++)
        rig_answer(&r, i, "done");
    for (int i = 0; i < 3; i++) {
        EXPECT(rig_expect(&r, fds[i], "done", 1, 2000));
        (void)close(fds[i]);
    }
    rig_stop(&r);
}

TEST(limits_and_damage_are_found_in_later_steps)
{
    struct rig r;
    rig_init(&r);
    r.limits.body_bytes_max = PLAIN_BYTES;
    rig_start(&r);
    int fd = rig_connect(&r);
    send_packed(&r, fd, PLAIN_BYTES + 1, 0, "GET /hello HTTP/1.1" CRLF HOST CRLF);
    EXPECT(rig_read_all(&r, fd, 5000));
    EXPECT_EQ(rig_count(&r, "HTTP/1.1 413"), 1);
    EXPECT_EQ(rig_count(&r, "hello"), 0); /* nothing behind it can be trusted */
    (void)close(fd);
    fd = rig_connect(&r);
    send_packed(&r, fd, PLAIN_BYTES, 1, "");
    EXPECT(rig_read_all(&r, fd, 5000));
    EXPECT_EQ(rig_count(&r, "HTTP/1.1 400"), 1);
    EXPECT_EQ(rig_count(&r, "ends too early"), 1);
    (void)close(fd);
    EXPECT_EQ(r.requests, 0);
    rig_stop(&r);
}

TEST(client_leaves_and_server_ends_in_the_middle)
{
    struct rig r;
    rig_init(&r);
    rig_start(&r);
    int other = rig_connect(&r), gone = rig_connect(&r), left = rig_connect(&r);
    send_packed(&r, gone, PLAIN_BYTES, 0, "");
    hello(&r, other);
    (void)close(gone);
    hello(&r, other);
    wait_for_later(&r, 1);
    rig_answer(&r, 0, "to nobody");
    hello(&r, other);
    send_packed(&r, left, PLAIN_BYTES, 0, "");
    hello(&r, other);
    EXPECT_EQ(r.later_len, 1); /* still at it */
    rig_stop(&r);
    (void)close(left);
    (void)close(other);
}
