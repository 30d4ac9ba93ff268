/* The load against small servers that misbehave on purpose. */
#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "bench/point.h"
#include "t.h"

struct server {
    int fd;
    const char *answer;
    int stall_at_ms; /* once, this long after the first request, nothing is answered for stall_ms; 0: never */
    int stall_ms;
    bool closes; /* after each answer */
    pthread_t thread;
};

static void serve_one(struct server *s, int fd, uint64_t *first_ns)
{
    char bytes[4096];
    while (recv(fd, bytes, sizeof bytes, 0) > 0) {
        uint64_t now = clock_now_ns();
        *first_ns = *first_ns ? *first_ns : now;
        if (s->stall_at_ms && now - *first_ns > (uint64_t)s->stall_at_ms * NS_PER_MS) {
            s->stall_at_ms = 0;
            (void)usleep((unsigned)s->stall_ms * 1000);
        }
        if (send(fd, s->answer, strlen(s->answer), MSG_NOSIGNAL) < 0 || s->closes)
            break;
    }
    (void)close(fd);
}

static void *serve(void *arg)
{
    struct server *s = arg;
    uint64_t first_ns = 0;
    for (int fd; (fd = accept(s->fd, NULL, NULL)) >= 0;)
        serve_one(s, fd, &first_ns);
    return NULL;
}

static void start(struct server *s, struct subject *t, struct arena *a)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof address;
    struct err err;
    char url[64];
    s->fd = socket(AF_INET, SOCK_STREAM, 0);
    EXPECT(bind(s->fd, (struct sockaddr *)&address, n) == 0 && listen(s->fd, 16) == 0);
    EXPECT(getsockname(s->fd, (struct sockaddr *)&address, &n) == 0);
    EXPECT_EQ(pthread_create(&s->thread, NULL, serve, s), 0);
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%d/x", ntohs(address.sin_port));
    arena_init(a, 4096, 1 << 20);
    EXPECT_EQ(subject_parse(url, a, t, &err), ERR_OK);
    EXPECT_EQ(subject_build(t, &(struct subject_options){.rows = 1}, a, &err), ERR_OK);
}

#define ANSWER(status) "HTTP/1.1 " status "\r\nContent-Length: 2\r\n\r\nok"

static struct point run(struct server *s, struct load_options o)
{
    static struct subject t;
    static struct arena a;
    static struct point p;
    struct err err;
    start(s, &t, &a);
    o.subject = &t;
    o.connections = 1;
    o.timeout_ns = o.timeout_ns ? o.timeout_ns : 5 * NS_PER_S;
    if (point_run(&o, 1, &p, &err) != ERR_OK)
        FAIL("%s", err.text);
    subject_done(&t);
    arena_done(&a);
    return p;
}

TEST(a_closed_loop_counts_answers)
{
    struct server s = {.answer = ANSWER("200 OK")};
    struct point p = run(&s, (struct load_options){.window_ns = 300 * NS_PER_MS});
    EXPECT(p.answers > 0 && point_is_clean(&p));
    EXPECT_NEAR((double)p.latency.total, (double)p.answers, 0);
}

TEST(chunked_answers_are_understood)
{
    struct server s = {.answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"};
    struct point p = run(&s, (struct load_options){.window_ns = 200 * NS_PER_MS});
    EXPECT(p.answers > 0 && point_is_clean(&p));
}

TEST(other_statuses_are_errors_and_named)
{
    struct server s = {.answer = ANSWER("503 Busy")};
    struct point p = run(&s, (struct load_options){.window_ns = 200 * NS_PER_MS});
    EXPECT(p.answers > 0 && p.bad_status == p.answers && p.first_bad == 503 && !point_is_clean(&p));
}

TEST(a_connection_that_says_close_is_opened_again_without_an_error)
{
    struct server s = {.answer = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", .closes = true};
    struct point p = run(&s, (struct load_options){.window_ns = 200 * NS_PER_MS});
    EXPECT(p.answers > 0 && point_is_clean(&p));
}

TEST(half_an_answer_is_a_broken_connection)
{
    struct server s = {.answer = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", .closes = true};
    struct point p = run(&s, (struct load_options){.window_ns = 200 * NS_PER_MS});
    EXPECT(p.answers == 0 && p.broken > 0);
}

TEST(bytes_that_are_not_http_are_a_broken_connection)
{
    struct server s = {.answer = "hello\r\n\r\n"};
    struct point p = run(&s, (struct load_options){.window_ns = 200 * NS_PER_MS});
    EXPECT(p.answers == 0 && p.broken > 0);
}

TEST(a_rate_is_kept)
{
    struct server s = {.answer = ANSWER("200 OK")};
    struct point p = run(&s, (struct load_options){.kind = LOAD_FIXED, .rate = 200, .window_ns = NS_PER_S});
    EXPECT_NEAR(p.rps.median, 200, 40);
    EXPECT(point_is_clean(&p));
}

TEST(poisson_arrivals_have_the_rate_on_average)
{
    struct server s = {.answer = ANSWER("200 OK")};
    struct point p = run(&s, (struct load_options){.kind = LOAD_POISSON, .rate = 1000, .window_ns = NS_PER_S});
    EXPECT_NEAR(p.rps.median, 1000, 300); /* the spread of such a count is 32; the rest is for busy machines */
}

/* 100 requests a second, for 1 s; for 400 ms nothing is answered: about 40 requests wait, 200 ms on average. A generator that measures from the
 * moment of sending would see a single slow one. */
TEST(latency_counts_from_the_intended_start)
{
    struct server s = {.answer = ANSWER("200 OK"), .stall_at_ms = 300, .stall_ms = 400};
    struct point p = run(&s, (struct load_options){.kind = LOAD_FIXED, .rate = 100, .window_ns = NS_PER_S});
    EXPECT(histogram_quantile(&p.latency, 0.75) > 50 * NS_PER_MS);
    EXPECT(p.latency.max_ns > 350 * NS_PER_MS);
    EXPECT_EQ(p.unanswered, 0);
}

TEST(what_is_never_answered_counts)
{
    struct server s = {.answer = ANSWER("200 OK"), .stall_at_ms = 100, .stall_ms = 5000};
    struct point p = run(&s, (struct load_options){.kind = LOAD_FIXED, .rate = 100, .window_ns = 500 * NS_PER_MS});
    EXPECT(p.unanswered > 20 && !point_is_clean(&p) && !point_holds(&p, NS_PER_S * 60));
    EXPECT(p.latency.total >= p.unanswered);
}

TEST(an_answer_that_takes_too_long_is_an_error)
{
    struct server s = {.answer = ANSWER("200 OK"), .stall_at_ms = 50, .stall_ms = 1000};
    struct point p = run(&s, (struct load_options){.timeout_ns = 100 * NS_PER_MS, .window_ns = 400 * NS_PER_MS});
    EXPECT(p.timeouts > 0 && !point_is_clean(&p));
}

TEST(no_server_is_told)
{
    struct arena a;
    struct subject t;
    struct err err;
    static struct point p;
    arena_init(&a, 4096, 1 << 20);
    EXPECT_EQ(subject_parse("http://127.0.0.1:1/x", &a, &t, &err), ERR_OK);
    EXPECT_EQ(subject_build(&t, &(struct subject_options){.rows = 1}, &a, &err), ERR_OK);
    struct load_options o = {.subject = &t, .connections = 2, .window_ns = NS_PER_S, .timeout_ns = NS_PER_S};
    EXPECT_EQ(point_run(&o, 1, &p, &err), ERR_UNAVAILABLE);
    EXPECT(str_contains(str_c(err.text), STR("takes no connection")) && err.remedy[0] != '\0');
    subject_done(&t);
    arena_done(&a);
}

/* ---- scripts ---- */

struct seen {
    int answers, statuses;
    size_t order[8];
    uint64_t latency_ns[8];
    char body[8][16], length[8][8];
};

static void see(void *arg, size_t item, const struct load_answer *a)
{
    struct seen *s = arg;
    s->order[s->answers++] = item;
    s->statuses += a->status;
    s->latency_ns[item] = a->latency_ns;
    (void)str_copy(s->body[item], sizeof s->body[item], a->body);
    (void)str_copy(s->length[item], sizeof s->length[item], a->header_length);
}

static struct seen play(struct server *s, double speed, uint64_t gap_ns, uint64_t timeout_ns, struct load_result *r)
{
    static struct subject t;
    static struct arena a;
    struct load_item items[4];
    struct seen seen = {0};
    struct err err;
    start(s, &t, &a);
    for (size_t i = 0; i < ARRAY_LEN(items); i++)
        items[i] = (struct load_item){.at_ns = i * gap_ns, .request = STR("GET /x HTTP/1.1\r\nHost: h\r\n\r\n")};
    struct load_script script = {
        .items = items, .len = ARRAY_LEN(items), .speed = speed, .on_answer = see, .arg = &seen};
    struct load_options o = {
        .subject = &t, .kind = LOAD_SCRIPT, .connections = 1, .timeout_ns = timeout_ns, .script = &script};
    if (load_run(&o, r, &err) != ERR_OK)
        FAIL("%s", err.text);
    subject_done(&t);
    arena_done(&a);
    return seen;
}

TEST(a_script_sends_each_request_at_its_time_and_hands_the_answers_over)
{
    struct server s = {.answer = "HTTP/1.1 200 OK\r\nX-Empty:\r\nInference-Header-Content-Length: 1\r\n"
                                 "X-Later: 7\r\nContent-Length: 2\r\n\r\nok"};
    static struct load_result r;
    struct seen seen = play(&s, 1, 20 * NS_PER_MS, 5 * NS_PER_S, &r);
    EXPECT_EQ(seen.answers, 4);
    EXPECT_EQ(seen.statuses, 800);
    EXPECT_EQ(r.answers, 4);
    EXPECT(r.window_s >= 0.06); /* not before its time */
    for (size_t i = 0; i < 4; i++) {
        EXPECT_EQ(seen.order[i], i);
        EXPECT_CSTR(seen.body[i], "ok");
        EXPECT_CSTR(seen.length[i], "1");
    }
}

TEST(a_script_at_full_speed_does_not_wait_for_its_times)
{
    struct server s = {.answer = ANSWER("503 Busy")};
    static struct load_result r;
    struct seen seen = play(&s, 0, 3600 * NS_PER_S, 5 * NS_PER_S, &r);
    EXPECT_EQ(seen.answers, 4);
    EXPECT_EQ(seen.statuses, 4 * 503);
}

TEST(a_script_counts_from_the_intended_start_and_gives_up_what_takes_too_long)
{
    struct server s = {.answer = ANSWER("200 OK"), .stall_at_ms = 1, .stall_ms = 300};
    static struct load_result r;
    struct seen seen = play(&s, 1, 50 * NS_PER_MS, 5 * NS_PER_S, &r);
    EXPECT_EQ(seen.answers, 4);
    EXPECT(seen.latency_ns[2] >= 200 * NS_PER_MS); /* it waited for the one before it */
    s = (struct server){.answer = ANSWER("200 OK"), .stall_at_ms = 1, .stall_ms = 500};
    seen = play(&s, 1, 50 * NS_PER_MS, 100 * NS_PER_MS, &r);
    EXPECT(seen.answers < 4);
    EXPECT(r.timeouts >= 1);
}
