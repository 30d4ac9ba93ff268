/* How connections end: time limits, slow readers, clients that go away, limits, drain. */
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

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

/* ---- Clients that are slow or gone ---- */

TEST(trickling_head_is_timed_out)
{
    struct rig r;
    rig_init(&r);
    r.limits.head_timeout_ns = 80 * NS_PER_MS;
    rig_start(&r);
    int fd = rig_connect(&r);
    const char *text = "GET /hello HTTP/1.1" CRLF "Host: a" CRLF "X-Slow: aaaaaaaaaaaaaaaaaaaaaaaaaaa";
    uint64_t begin = clock_now_ns();
    for (const char *p = text; *p && server_stats(r.server)->timeouts == 0; p++) {
        rig_write(&r, fd, (struct str){p, 1});
        rig_turn(&r, 10);
    }
    uint64_t took_ms = (clock_now_ns() - begin) / NS_PER_MS;
    EXPECT(took_ms >= 80 && took_ms < 400);
    EXPECT(rig_expect(&r, fd, "}\n", 1, 1000));
    EXPECT_EQ(rig_count(&r, "HTTP/1.1 408 Request Timeout\r\n"), 1);
    (void)close(fd);
    rig_stop(&r);
}

TEST(silent_connection_is_closed)
{
    struct rig r;
    rig_init(&r);
    r.limits.head_timeout_ns = 50 * NS_PER_MS;
    rig_start(&r);
    int fd = rig_connect(&r);
    EXPECT(rig_read_all(&r, fd, 1000));
    EXPECT_EQ(r.in.len, 0);
    (void)close(fd);
    rig_stop(&r);
}

TEST(idle_connection_is_closed_in_time)
{
    struct rig r;
    rig_init(&r);
    r.limits.idle_timeout_ns = 60 * NS_PER_MS;
    rig_start(&r);
    int fd = rig_connect(&r);
    for (int i = 0; i < 4; i++) { /* each request starts the limit anew */
        rig_send(&r, fd, GET("/hello"));
        EXPECT(rig_expect(&r, fd, "hello\n", 1, 1000));
        rig_turn(&r, 25);
    }
    EXPECT(rig_read_all(&r, fd, 1000));
    EXPECT_EQ(r.in.len, 0);
    (void)close(fd);
    rig_stop(&r);
}

TEST(stalled_body_is_timed_out_and_a_moving_one_is_not)
{
    struct rig r;
    static char piece[2000];
    rig_init(&r);
    r.limits.body_timeout_ns = 100 * NS_PER_MS;
    rig_start(&r);
    int fd = rig_connect(&r);
    memset(piece, 'x', sizeof(piece));
    rig_send(&r, fd, "POST /echo HTTP/1.1" CRLF HOST "Content-Length: 10000" CRLF END);
    for (int i = 0; i < 5; i++) { /* 250 ms in all */
        rig_write(&r, fd, (struct str){piece, sizeof(piece)});
        rig_turn(&r, 50);
    }
    EXPECT_EQ(r.requests, 1);
    rig_send(&r, fd, "POST /echo HTTP/1.1" CRLF HOST "Content-Length: 10000" CRLF END);
    for (int i = 0; i < 20 && server_stats(r.server)->timeouts == 0; i++) { /* one byte now and then is no progress */
        rig_write(&r, fd, (struct str){piece, 1});
        rig_turn(&r, 20);
    }
    EXPECT_EQ(server_stats(r.server)->timeouts, 1);
    EXPECT(rig_read_all(&r, fd, 3000));
    EXPECT_EQ(rig_count(&r, "HTTP/1.1 408 "), 1);
    (void)close(fd);
    rig_stop(&r);
}

TEST(reader_that_takes_nothing_is_closed)
{
    struct rig r;
    rig_init(&r);
    r.limits.send_timeout_ns = 100 * NS_PER_MS;
    rig_start(&r);
    int fd = rig_connect_unix(&r);
    rig_send(&r, fd, GET("/big/8000000"));
    for (int i = 0; i < 200 && server_stats(r.server)->connections_open > 0; i++)
        rig_turn(&r, 10);
    EXPECT_EQ(server_stats(r.server)->connections_open, 0);
    EXPECT_EQ(server_stats(r.server)->timeouts, 1);
    EXPECT_EQ(r.last_status, 499);
    (void)close(fd);
    rig_stop(&r);
}

TEST(slow_reader_gets_all)
{
    struct rig r;
    rig_init(&r);
    r.limits.send_timeout_ns = 300 * NS_PER_MS;
    rig_start(&r);
    int fd = rig_connect_unix(&r);
    rig_send(&r, fd, GET("/big/2000000") GET("/hello"));
    size_t total = 0;
    char bytes[50000];
    for (int i = 0; i < 200; i++) { /* slower than the send limit as a whole, but it moves */
        rig_turn(&r, 10);
        ssize_t n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
        EXPECT(n != 0);
        total += n > 0 ? (size_t)n : 0;
        if (n > 6 && memcmp(bytes + n - 6, "hello\n", 6) == 0)
            break;
    }
    EXPECT(total > 2000000);
    EXPECT_EQ(r.done, 2);
    (void)close(fd);
    rig_stop(&r);
}

TEST(unread_answers_stop_further_requests)
{
    struct rig r;
    start(&r);
    int fd = rig_connect_unix(&r);
    for (int i = 0; i < 40; i++)
        rig_send(&r, fd, GET("/big/1000000"));
    rig_turn(&r, 30);
    EXPECT(r.requests <= 3);
    size_t total = 0;
    char bytes[65536];
    for (int i = 0; i < 20000 && total < 40000000; i++) {
        rig_turn(&r, 0);
        ssize_t n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
        EXPECT(n != 0);
        total += n > 0 ? (size_t)n : 0;
    }
    EXPECT_EQ(r.requests, 40);
    (void)close(fd);
    rig_stop(&r);
}

TEST(disconnect_cancels_what_is_in_flight)
{
    struct rig r;
    start(&r);
    int fd = rig_connect(&r);
    rig_send(&r, fd, GET("/cancel") GET("/later") GET("/cancel"));
    rig_turn(&r, 5);
    EXPECT_EQ(r.later_len, 3);
    (void)close(fd);
    rig_turn(&r, 10);
    EXPECT_EQ(r.cancelled, 2);
    EXPECT_EQ(r.done, 0);
    for (int i = 0; i < 3; i++)
        rig_answer(&r, 2 - i, "too late");
    EXPECT_EQ(r.done, 3);
    EXPECT_EQ(r.last_status, 499);
    rig_turn(&r, 2);
    EXPECT_EQ(server_stats(r.server)->connections_open, 0);
    rig_stop(&r);
}

TEST(client_that_shuts_its_write_side_still_gets_its_answer)
{
    struct rig r;
    start(&r);
    int fd = rig_connect(&r);
    rig_send(&r, fd, GET("/later"));
    rig_turn(&r, 5);
    EXPECT_EQ(shutdown(fd, SHUT_WR), 0);
    rig_turn(&r, 5);
    rig_answer(&r, 0, "late");
    EXPECT(rig_read_all(&r, fd, 1000));
    EXPECT_EQ(rig_count(&r, "\r\n\r\nlate"), 1);
    (void)close(fd);
    rig_stop(&r);
}

TEST(half_a_request_at_the_end_is_dropped)
{
    struct rig r;
    start(&r);
    int fd = rig_connect(&r);
    rig_send(&r, fd, "POST /echo HTTP/1.1" CRLF HOST "Content-Length: 10" CRLF END "abc");
    EXPECT_EQ(shutdown(fd, SHUT_WR), 0);
    EXPECT(rig_read_all(&r, fd, 1000));
    EXPECT_EQ(r.in.len, 0);
    EXPECT_EQ(r.requests, 0);
    (void)close(fd);
    rig_stop(&r);
}

TEST(reset_in_the_middle_of_an_answer_harms_nobody_else)
{
    struct rig r;
    start(&r);
    int fd = rig_connect(&r), other = rig_connect(&r);
    rig_send(&r, fd, GET("/big/8000000"));
    struct linger hard = {.l_onoff = 1};
    EXPECT_EQ(setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard)), 0);
    (void)close(fd);
    rig_turn(&r, 10);
    rig_send(&r, other, GET("/hello"));
    EXPECT(rig_expect(&r, other, "hello\n", 1, 1000));
    EXPECT_EQ(server_stats(r.server)->connections_open, 1);
    (void)close(other);
    rig_stop(&r);
}

/* ---- Limits ---- */

TEST(oldest_idle_connection_makes_room)
{
    struct rig r;
    rig_init(&r);
    r.limits.connections_max = 2;
    rig_start(&r);
    int a = rig_connect(&r), b = rig_connect(&r);
    rig_send(&r, a, GET("/hello"));
    EXPECT(rig_expect(&r, a, "hello\n", 1, 1000));
    rig_send(&r, b, GET("/hello"));
    EXPECT(rig_expect(&r, b, "hello\n", 1, 1000));
    int c = rig_connect(&r);
    rig_send(&r, c, GET("/hello"));
    EXPECT(rig_expect(&r, c, "hello\n", 1, 1000));
    EXPECT(rig_read_all(&r, a, 1000));
    rig_send(&r, b, GET("/hello"));
    EXPECT(rig_expect(&r, b, "hello\n", 1, 1000));
    (void)close(a);
    (void)close(b);
    (void)close(c);
    rig_stop(&r);
}

TEST(busy_server_says_so_to_one_connection_too_many)
{
    struct rig r;
    rig_init(&r);
    r.limits.connections_max = 1;
    rig_start(&r);
    int a = rig_connect(&r);
    rig_send(&r, a, LATER);
    rig_turn(&r, 5);
    int b = rig_connect(&r);
    EXPECT(rig_read_all(&r, b, 1000));
    EXPECT_EQ(rig_count(&r, "HTTP/1.1 503 "), 1);
    EXPECT_EQ(rig_count(&r, "\"code\":503"), 1);
    rig_answer(&r, 0, "x");
    (void)close(a);
    (void)close(b);
    rig_stop(&r);
}

static void on_tick(uv_timer_t *t)
{
    (void)t; /* only wakes the loop */
}

TEST(lack_of_descriptors_is_survived_without_spinning)
{
    struct rig r;
    start(&r);
    int kept = rig_connect(&r);
    int clients[4];
    for (int i = 0; i < 4; i++)
        clients[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct rlimit old, none = {0};
    EXPECT_EQ(getrlimit(RLIMIT_NOFILE, &old), 0);
    none.rlim_max = old.rlim_max;
    int next = dup(0); /* the lowest free number: every new descriptor is at or above the limit */
    (void)close(next);
    none.rlim_cur = (rlim_t)next;
    EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
    struct sockaddr_storage a;
    socklen_t n = sizeof(a);
    EXPECT_EQ(getpeername(kept, (struct sockaddr *)&a, &n), 0);
    for (int i = 0; i < 4; i++)
        EXPECT_EQ(connect(clients[i], (struct sockaddr *)&a, n), 0);
    struct timespec before, after;
    EXPECT_EQ(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before), 0);
    uv_timer_t tick;
    EXPECT_EQ(uv_timer_init(&r.loop, &tick), 0);
    EXPECT_EQ(uv_timer_start(&tick, on_tick, 20, 20), 0);
    uint64_t end = clock_now_ns() + 300 * NS_PER_MS;
    int turns = 0;
    for (; clock_now_ns() < end; turns++)
        (void)uv_run(&r.loop, UV_RUN_ONCE);
    EXPECT(turns < 60);
    uv_close((uv_handle_t *)&tick, NULL);
    EXPECT_EQ(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after), 0);
    double cpu_s = (double)(after.tv_sec - before.tv_sec) + (double)(after.tv_nsec - before.tv_nsec) / 1e9;
    EXPECT(cpu_s < 0.15);
    rig_send(&r, kept, GET("/hello")); /* who is connected is served */
    EXPECT(rig_expect(&r, kept, "hello\n", 1, 1000));
    EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &old), 0);
    rig_turn(&r, 150);
    int late = rig_connect(&r);
    rig_send(&r, late, GET("/hello"));
    EXPECT(rig_expect(&r, late, "hello\n", 1, 1000));
    for (int i = 0; i < 4; i++)
        (void)close(clients[i]);
    (void)close(late);
    (void)close(kept);
    rig_stop(&r);
}

/* ---- Drain ---- */

static void on_drained(void *arg)
{
    struct rig *r = arg;
    r->drained++;
}

TEST(drain_finishes_what_is_in_flight)
{
    struct rig r;
    start(&r);
    int busy = rig_connect(&r), idle = rig_connect(&r);
    rig_send(&r, idle, GET("/hello"));
    EXPECT(rig_expect(&r, idle, "hello\n", 1, 1000));
    rig_send(&r, busy, LATER LATER);
    rig_turn(&r, 5);
    server_drain(r.server, on_drained, &r);
    EXPECT(rig_read_all(&r, idle, 1000));
    EXPECT_EQ(r.in.len, 0);
    rig_turn(&r, 20);
    EXPECT_EQ(r.drained, 0);
    rig_answer(&r, 0, "first");
    EXPECT(rig_expect(&r, busy, "first", 1, 1000));
    EXPECT_EQ(rig_count(&r, "Connection: close"), 0); /* another answer follows */
    rig_answer(&r, 1, "second");
    EXPECT(rig_read_all(&r, busy, 1000));
    EXPECT_EQ(rig_count(&r, "Connection: close\r\n"), 1);
    EXPECT_EQ(rig_count(&r, "second"), 1);
    rig_turn(&r, 5);
    EXPECT_EQ(r.drained, 1);
    (void)close(busy);
    (void)close(idle);
    rig_stop(&r);
}

TEST(drain_serves_a_request_that_is_half_there)
{
    struct rig r;
    start(&r);
    int fd = rig_connect(&r);
    rig_send(&r, fd, "POST /echo HTTP/1.1" CRLF HOST "Content-Length: 4" CRLF END "bo");
    rig_turn(&r, 5);
    server_drain(r.server, on_drained, &r);
    rig_turn(&r, 5);
    rig_send(&r, fd, "dy");
    EXPECT(rig_read_all(&r, fd, 1000));
    EXPECT_EQ(rig_count(&r, "\r\n\r\nbody"), 1);
    EXPECT_EQ(rig_count(&r, "Connection: close\r\n"), 1);
    rig_turn(&r, 5);
    EXPECT_EQ(r.drained, 1);
    (void)close(fd);
    rig_stop(&r);
}

TEST(drain_serves_a_request_that_was_not_read_yet)
{
    struct rig r;
    start(&r);
    int fd = rig_connect(&r);
    rig_send(&r, fd, GET("/hello"));
    EXPECT(rig_expect(&r, fd, "hello\n", 1, 1000));
    const char *text = GET("/hello");
    EXPECT_EQ(send(fd, text, strlen(text), 0), (ssize_t)strlen(text)); /* the loop does not turn */
    server_drain(r.server, on_drained, &r);
    EXPECT(rig_read_all(&r, fd, 1000));
    EXPECT_EQ(rig_count(&r, "hello\n"), 1);
    EXPECT_EQ(rig_count(&r, "Connection: close\r\n"), 1);
    rig_turn(&r, 5);
    EXPECT_EQ(r.drained, 1);
    (void)close(fd);
    rig_stop(&r);
}

TEST(drain_without_connections_is_over_at_once)
{
    struct rig r;
    start(&r);
    server_drain(r.server, on_drained, &r);
    EXPECT_EQ(r.drained, 1);
    rig_stop(&r);
}

TEST(server_may_be_freed_while_handlers_work)
{
    struct rig r;
    start(&r);
    int fd = rig_connect(&r);
    rig_send(&r, fd, GET("/cancel") GET("/later"));
    rig_turn(&r, 5);
    server_free(r.server);
    EXPECT_EQ(r.cancelled, 1);
    rig_turn(&r, 0);
    rig_turn(&r, 0);
    rig_answer(&r, 0, "x");
    rig_answer(&r, 1, "y"); /* frees the server; the sanitizer watches */
    EXPECT_EQ(r.done, 2);
    EXPECT_EQ(uv_loop_close(&r.loop), 0);
    buf_done(&r.in);
    (void)close(fd);
}
