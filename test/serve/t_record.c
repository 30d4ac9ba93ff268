/* Recording: who gets which requests, limits, and what is lost. */
#include "serve/record.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "net/recording.h"
#include "t.h"

static _Atomic int wakes;

static void wake(void *arg)
{
    (void)arg;
    wakes++;
}

static struct record *begin(const char *model, uint32_t one_in, uint64_t requests, uint64_t bytes)
{
    struct record_options o = {
        .model = str_c(model), .one_in = one_in, .requests_max = requests, .bytes_max = bytes, .wake = wake};
    return record_begin(&o);
}

static void note_body(const char *model, struct str body, struct str type)
{
    struct http_header headers[] = {{STR("content-type"), type}};
    struct http_req req = {.path = STR("/predict"),
                           .id = "r-7",
                           .body = body,
                           .headers = headers,
                           .headers_len = 1,
                           .t_start_ns = clock_now_ns(),
                           .t_ready_ns = clock_now_ns()};
    const struct str parts[] = {STR("{\"a\":"), STR("1}")};
    record_note(&req, str_c(model), STR("1"), 200, STR("application/json"), STR(""), parts, 2);
}

static void note(const char *model)
{
    note_body(model, STR("body"), STR("text/plain"));
}

static bool take(struct record *r, struct recorded *out)
{
    static struct buf kept;
    struct buf *frame = record_take(r);
    struct recording_reader reader;
    struct recording_frame f;
    struct err err = {0};
    if (!frame)
        return false;
    buf_done(&kept);
    buf_init(&kept, 1 << 20);
    recording_put_head(&kept);
    buf_str(&kept, buf_view(frame));
    buf_done(frame);
    free(frame);
    EXPECT_EQ(recording_open(buf_view(&kept), &reader, &err), ERR_OK);
    EXPECT(recording_next(&reader, &f, &err) && f.kind == RECORDING_EXCHANGE);
    *out = f.x;
    return true;
}

static void expect_end(struct record *r, const char *want)
{
    struct buf text;
    struct json_writer w;
    buf_init(&text, 1000);
    jw_init(&w, &text);
    record_write_end(r, &w);
    EXPECT_STR(buf_view(&text), want);
    buf_done(&text);
}

TEST(off_unless_asked)
{
    EXPECT(!record_is_on());
    struct record *r = begin("m", 1, 10, 1 << 20);
    EXPECT(record_is_on());
    record_end(r);
    EXPECT(!record_is_on());
}

TEST(a_request_with_its_answer_is_taken_once_by_each_who_asked_for_its_model)
{
    struct record *a = begin("m", 1, 10, 1 << 20), *b = begin("m", 1, 10, 1 << 20), *c = begin("other", 1, 10, 1 << 20);
    struct recorded x;
    wakes = 0;
    note("m");
    EXPECT_EQ(wakes, 2);
    EXPECT(take(a, &x));
    EXPECT_STR(x.id, "r-7");
    EXPECT_STR(x.model, "m");
    EXPECT_STR(x.body, "body");
    EXPECT_STR(x.type, "text/plain");
    EXPECT_STR(x.answer, "{\"a\":1}");
    EXPECT_EQ(x.status, 200);
    EXPECT(!take(a, &x));
    EXPECT(take(b, &x) && !take(b, &x));
    EXPECT(!take(c, &x));
    expect_end(a, "{\"recorded\":1,\"seen\":1,\"lost\":0,\"too_large\":0}");
    record_end(a);
    record_end(b);
    record_end(c);
}

TEST(it_is_complete_when_enough_requests_or_bytes_were_taken)
{
    struct recorded x;
    struct record *r = begin("m", 1, 2, 1 << 20), *s = begin("m", 1, 100, 1);
    for (int i = 0; i < 5; i++)
        note("m");
    EXPECT(!record_is_complete(r)); /* nothing was taken yet */
    EXPECT(take(r, &x) && take(r, &x) && !take(r, &x));
    EXPECT(record_is_complete(r));
    expect_end(r, "{\"recorded\":2,\"seen\":2,\"lost\":0,\"too_large\":0}");
    EXPECT(take(s, &x) && !take(s, &x));
    EXPECT(record_is_complete(s));
    record_end(r);
    record_end(s);
}

TEST(a_sample_takes_about_its_share)
{
    struct recorded x;
    int n = 0;
    struct record *r = begin("m", 10, 100000, 1 << 20);
    for (int i = 0; i < 2000; i++)
        note("m");
    while (take(r, &x))
        n++;
    EXPECT(n > 120 && n < 300); /* 200 +- 6 sigma */
    record_end(r);
}

TEST(what_is_not_taken_in_time_is_lost_and_counted)
{
    struct record *r = begin("m", 1, 1000, 1 << 30);
    size_t n = (size_t)20 << 20;
    char *large = calloc(1, n + 1);
    for (int i = 0; i < 5; i++) /* 64 MiB wait at most */
        note_body("m", (struct str){large, n}, STR(""));
    expect_end(r, "{\"recorded\":3,\"seen\":5,\"lost\":2,\"too_large\":0}");
    struct buf *frame = record_take(r);
    buf_done(frame);
    free(frame);
    note("m");
    expect_end(r, "{\"recorded\":4,\"seen\":6,\"lost\":2,\"too_large\":0}");
    record_end(r);
    free(large);
}

TEST(one_that_is_too_large_or_would_spoil_the_file_is_left_out)
{
    struct record *r = begin("m", 1, 1000, 1 << 30);
    struct recorded x;
    size_t n = RECORDING_FRAME_MAX;
    char *large = calloc(1, n + 1);
    note_body("m", (struct str){large, n}, STR(""));
    note_body("m", STR("x"), STR("text/plain; name=\"\xc3\xa4\""));
    expect_end(r, "{\"recorded\":0,\"seen\":2,\"lost\":1,\"too_large\":1}");
    EXPECT(!take(r, &x));
    record_end(r);
    free(large);
}

TEST(a_request_that_was_under_way_when_it_began_is_not_taken)
{
    struct http_req old = {.path = STR("/predict"), .id = "old", .t_start_ns = 1, .t_ready_ns = 1};
    struct record *r = begin("m", 1, 10, 1 << 20);
    record_note(&old, STR("m"), STR("1"), 200, STR(""), STR(""), NULL, 0);
    expect_end(r, "{\"recorded\":0,\"seen\":0,\"lost\":0,\"too_large\":0}");
    record_end(r);
}

TEST(only_so_many_record_at_a_time)
{
    struct record *all[RECORDS_MAX];
    for (int i = 0; i < RECORDS_MAX; i++)
        EXPECT((all[i] = begin("m", 1, 10, 1 << 20)) != NULL);
    EXPECT(begin("m", 1, 10, 1 << 20) == NULL);
    note("m"); /* frames that nobody takes are freed at the end */
    for (int i = 0; i < RECORDS_MAX; i++)
        record_end(all[i]);
    struct record *r = begin("m", 1, 10, 1 << 20);
    EXPECT(r != NULL);
    record_end(r);
}

/* ---- several threads ---- */

#define NOTES 400

static void *note_many(void *arg)
{
    (void)arg;
    for (int i = 0; i < NOTES; i++)
        note("m");
    return NULL;
}

TEST(threads_that_note_do_not_disturb_who_takes_begins_and_ends)
{
    pthread_t threads[3];
    struct recorded x;
    uint64_t taken = 0;
    struct record *r = begin("m", 1, 1000000, 1 << 30);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        EXPECT_EQ(pthread_create(&threads[i], NULL, note_many, NULL), 0);
    for (int i = 0; i < 200; i++) {
        struct record *other = begin("m", 1, 5, 1 << 20);
        while (take(r, &x))
            taken++;
        record_end(other); /* with whatever it has */
    }
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        EXPECT_EQ(pthread_join(threads[i], NULL), 0);
    while (take(r, &x))
        taken++;
    EXPECT_EQ(taken, ARRAY_LEN(threads) * NOTES);
    record_end(r);
    EXPECT(!record_is_on());
}
