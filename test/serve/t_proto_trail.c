/* The trail of requests: what is kept, for how long, and what it says. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "proto_fake.h"
#include "serve/trail.h"
#include "t.h"

#define MS (UINT64_C(1000) * 1000)

static struct buf text;

static bool find(const char *id)
{
    struct json_writer w;
    buf_done(&text);
    buf_init(&text, 1 << 20);
    jw_init(&w, &text);
    bool is_found = trail_write(str_c(id), &w);
    buf_pad(&text);
    return is_found;
}

static void list(unsigned kinds, const char *model, size_t max)
{
    struct json_writer w;
    buf_done(&text);
    buf_init(&text, 1 << 20);
    jw_init(&w, &text);
    trail_write_latest(&(struct trail_query){.kinds = kinds, .model = str_c(model), .max = max}, &w);
    buf_pad(&text);
}

static bool says(const char *what)
{
    if (strstr(text.p, what))
        return true;
    (void)fprintf(stderr, "not in: %s\n", text.p);
    return false;
}

static void add(enum trail_kind kind, const char *id, const char *model)
{
    struct trail_record r = {.kind = kind, .status = kind == TRAIL_FAILED ? ERR_BACKEND : ERR_OK};
    (void)str_copy(r.id, sizeof r.id, str_c(id));
    (void)str_copy(r.model, sizeof r.model, str_c(model));
    (void)trail_add(&r);
}

/* ---- what is kept ---- */

TEST(a_flood_of_one_kind_leaves_the_others)
{
    char id[40];
    add(TRAIL_FAILED, "broken", "m");
    add(TRAIL_SLOW, "slow", "m");
    for (int i = 0; i < 3000; i++) {
        (void)snprintf(id, sizeof id, "usual-%d", i);
        add(TRAIL_USUAL, id, "m");
        (void)snprintf(id, sizeof id, "refused-%d", i);
        add(TRAIL_REFUSED, id, "m");
    }
    EXPECT(find("broken"));
    EXPECT(find("slow"));
    EXPECT(!find("usual-0"));
    EXPECT(!find("refused-0"));
    EXPECT(find("usual-2999"));
    EXPECT(find("refused-2900"));
    buf_done(&text);
}

TEST(what_is_slow_or_failed_is_kept_longer_than_what_is_usual)
{
    char id[40];
    for (int i = 0; i < 200; i++) {
        (void)snprintf(id, sizeof id, "usual-%d", i);
        add(TRAIL_USUAL, id, "m");
        (void)snprintf(id, sizeof id, "slow-%d", i);
        add(TRAIL_SLOW, id, "m");
    }
    EXPECT(find("slow-0"));
    EXPECT(!find("usual-0"));
    buf_done(&text);
}

TEST(the_newest_of_two_with_one_id_is_told)
{
    add(TRAIL_SLOW, "twice", "first");
    add(TRAIL_FAILED, "twice", "second");
    EXPECT(find("twice"));
    EXPECT(says("\"model\":\"second\""));
    buf_done(&text);
}

TEST(a_list_has_the_newest_first_of_the_kinds_and_the_model_asked_for)
{
    add(TRAIL_SLOW, "a", "m");
    add(TRAIL_FAILED, "b", "m");
    add(TRAIL_USUAL, "c", "other");
    add(TRAIL_SLOW, "d", "other");
    list(0, "", 10);
    const char *at[4];
    for (int i = 0; i < 4; i++)
        at[i] =
            strstr(text.p, (const char *const[]){"\"id\":\"a\"", "\"id\":\"b\"", "\"id\":\"c\"", "\"id\":\"d\""}[i]);
    EXPECT(at[0] && at[3] && at[3] < at[2] && at[2] < at[1] && at[1] < at[0]);
    list(1U << TRAIL_SLOW | 1U << TRAIL_FAILED, "m", 10);
    EXPECT(strstr(text.p, "\"id\":\"a\"") && strstr(text.p, "\"id\":\"b\""));
    EXPECT(!strstr(text.p, "\"id\":\"c\"") && !strstr(text.p, "\"id\":\"d\""));
    list(0, "", 1);
    EXPECT(strstr(text.p, "\"id\":\"d\"") && !strstr(text.p, "\"id\":\"c\""));
    list(0, "nobody", 10);
    EXPECT_CSTR(text.p, "[]");
    buf_done(&text);
}

TEST(a_thread_adds_only_so_many_a_second_of_each_kind)
{
    uint64_t now = 1000 * MS;
    int usual = 0, failed = 0;
    for (int i = 0; i < 10000; i++, now += MS / 10) { /* a second in steps of 0.1 ms */
        usual += trail_wants(TRAIL_USUAL, now);
        failed += trail_wants(TRAIL_FAILED, now);
    }
    EXPECT_EQ(usual, 16 + 5 - 1);
    EXPECT(failed > usual * 4);
    EXPECT(failed <= 64 + 100);
    now += 60000 * MS; /* after a quiet minute the burst is there again, and no more */
    for (usual = 0; trail_wants(TRAIL_USUAL, now);)
        usual++;
    EXPECT_EQ(usual, 16);
}

TEST(slow_is_what_takes_much_longer_than_usual_for_its_model)
{
    uint64_t usual;
    EXPECT_EQ(trail_judge(7, 50 * MS, &usual), TRAIL_USUAL); /* the first: nothing is known */
    EXPECT_EQ(usual, 0);
    for (int i = 0; i < 2000; i++)
        (void)trail_judge(7, MS, &usual);
    EXPECT_EQ(trail_judge(7, 3 * MS, &usual), TRAIL_USUAL);
    EXPECT_EQ(trail_judge(7, 9 * MS, &usual), TRAIL_SLOW);
    EXPECT_NEAR((double)usual, 1e6, 1e5);
    EXPECT_EQ(trail_judge(8, 9 * MS, &usual),
              TRAIL_USUAL); /* another model, whose requests take as long as they take */
    for (int i = 0; i < 2000; i++)
        (void)trail_judge(7, MS / 100, &usual);
    EXPECT_EQ(trail_judge(7, MS * 9 / 10, &usual), TRAIL_USUAL); /* under a millisecond nobody asks */
}

TEST(the_time_of_sending_comes_later_and_finds_its_record_only)
{
    struct trail_record r = {.id = "first", .kind = TRAIL_SLOW, .total_ns = 2 * MS};
    uint64_t first = trail_add(&r);
    (void)str_copy(r.id, sizeof r.id, STR("second"));
    uint64_t second = trail_add(&r);
    EXPECT(first != 0 && first != second);
    trail_sent(first, 7 * MS);
    EXPECT(find("first"));
    EXPECT(says("\"send\":7000"));
    EXPECT(find("second"));
    EXPECT(says("\"send\":0"));
    for (int i = 0; i < 1000; i++)
        (void)trail_add(&r);
    trail_sent(first, 9 * MS); /* replaced long ago */
    EXPECT(find("second"));
    EXPECT(says("\"send\":0"));
    buf_done(&text);
}

/* ---- what it says ---- */

TEST(a_refusal_tells_the_numbers_that_it_went_by)
{
    struct trail_record r = {.id = "r",
                             .kind = TRAIL_REFUSED,
                             .status = ERR_BUSY,
                             .refusal = INFER_BY_DEADLINE,
                             .ahead_rows = 128,
                             .instances = 2,
                             .expected_ns = 64 * MS,
                             .deadline_ns = 50 * MS,
                             .usual_run_ns = MS,
                             .retry_after_ms = 15,
                             .queue_len = 9,
                             .queue_max = 10};
    (void)trail_add(&r);
    EXPECT(find("r"));
    EXPECT(says("\"kind\":\"refused\",\"outcome\":\"busy\",\"status\":429"));
    EXPECT(says("\"refused_by\":\"deadline\",\"ahead_rows\":128,\"expected_us\":64000,\"deadline_us\":50000"));
    EXPECT(says("128 rows were ahead of it on 2 instances, so its answer was expected after 64.0 ms, and it allowed "
                "50.0 ms."));
    EXPECT(says("try again after 15 ms"));
    r.refusal = INFER_BY_QUEUE;
    (void)trail_add(&r);
    EXPECT(find("r"));
    EXPECT(says("the queue was full: 9 requests waited, queue_max is 10"));
    buf_done(&text);
}

TEST(a_timeout_tells_whether_the_run_had_begun)
{
    struct trail_record r = {
        .id = "t", .kind = TRAIL_FAILED, .status = ERR_TIMEOUT, .deadline_ns = 50 * MS, .running_ns = 30 * MS};
    (void)trail_add(&r);
    EXPECT(find("t"));
    EXPECT(says("passed while its run was under way, for 30.0 ms by then"));
    r.running_ns = 0;
    (void)trail_add(&r);
    EXPECT(find("t"));
    EXPECT(says("passed before an instance was free"));
    buf_done(&text);
}

TEST(a_slow_one_tells_where_its_time_went_and_with_whom_it_ran)
{
    struct trail_record r = {.id = "s",
                             .kind = TRAIL_SLOW,
                             .total_ns = 45 * MS,
                             .usual_ns = 2 * MS,
                             .stage_ns = {0, MS, 40 * MS, 4 * MS},
                             .ahead_rows = 3,
                             .expected_ns = 39 * MS,
                             .instances = 1,
                             .rows = 2,
                             .batch_rows = 5,
                             .batch_requests = 3,
                             .attempts = 2,
                             .mates = {"x", "y"},
                             .mates_len = 2};
    (void)trail_add(&r);
    EXPECT(find("s"));
    EXPECT(says("It took 45.0 ms, where 2.00 ms is the mean"));
    EXPECT(says("40.0 ms of its 45.0 ms went by waiting for its run."));
    EXPECT(says("3 rows were ahead of it on 1 instance; its answer was expected after 39.0 ms."));
    EXPECT(says("shared its run with 2 other requests, 5 rows in all"));
    EXPECT(says("1 worker died while running it"));
    EXPECT(says("\"batch_mates\":[\"x\",\"y\"]"));
    r.ahead_rows = 0;
    r.delay_ns = 50 * MS;
    r.run_max = 64;
    (void)trail_add(&r);
    EXPECT(find("s"));
    EXPECT(says("its batch waited for more rows, for up to 50.0 ms (batching.delay)"));
    r.stage_ns[2] = 0;
    r.stage_ns[3] = 44 * MS;
    r.usual_run_ns = 4 * MS;
    (void)trail_add(&r);
    EXPECT(find("s"));
    EXPECT(says("Its run of 5 rows took 44.0 ms where 4.00 ms is usual"));
    r.cache = TRAIL_JOINED;
    (void)trail_add(&r);
    EXPECT(find("s"));
    EXPECT(says("waited for an equal request"));
    buf_done(&text);
}

TEST(a_run_with_other_priorities_tells_hosts_and_guests)
{
    struct trail_record r = {.id = "host",
                             .kind = TRAIL_SLOW,
                             .total_ns = 20 * MS,
                             .stage_ns = {0, 0, 2 * MS, 18 * MS},
                             .rows = 1,
                             .batch_rows = 4,
                             .batch_requests = 4,
                             .guests = 3,
                             .guests_ns = 3 * MS};
    (void)trail_add(&r);
    EXPECT(find("host"));
    EXPECT(says("Free places of its run went to 3 rows of other priorities, which made it about 3.00 ms longer."));
    EXPECT(says("\"batch_guests\":3,\"is_guest\":false"));
    r.guests = 1;
    (void)trail_add(&r);
    EXPECT(find("host"));
    EXPECT(says("went to 1 row of other priorities"));
    r.is_guest = true;
    (void)str_copy(r.id, sizeof r.id, STR("guest"));
    (void)trail_add(&r);
    EXPECT(find("guest"));
    EXPECT(says("It took a free place in a run of requests of another priority."));
    EXPECT(says("\"is_guest\":true") && !strstr(text.p, "of other priorities"));
    r.is_guest = false;
    r.guests = 0;
    (void)trail_add(&r);
    EXPECT(find("guest"));
    EXPECT(!strstr(text.p, "of other priorities") && !strstr(text.p, "of another priority"));
    buf_done(&text);
}

TEST(an_ensemble_tells_its_longest_step)
{
    struct trail_record r = {.id = "e",
                             .kind = TRAIL_USUAL,
                             .total_ns = 45 * MS,
                             .is_ensemble = true,
                             .steps = {{"resize", "scale", 10, 5, 1000, 1}, {"classify", "cnn", 1020, 30000, 9000, 4}},
                             .steps_len = 2};
    (void)trail_add(&r);
    EXPECT(find("e"));
    EXPECT(says("its longest step was 'classify' (model 'cnn'): it waited 30.0 ms and ran 9.00 ms."));
    EXPECT(says("\"steps\":[{\"name\":\"resize\",\"model\":\"scale\",\"from_us\":10,\"wait_us\":5,\"run_us\":1000,"
                "\"batch_rows\":1},"));
    r.is_ensemble = false;
    r.steps_len = 0;
    (void)trail_add(&r);
    EXPECT(find("e"));
    EXPECT(!strstr(text.p, "steps\":"));
    buf_done(&text);
}

/* ---- through the API ---- */

#define INFER "{\"inputs\":[{\"name\":\"X\",\"shape\":[1,4],\"datatype\":\"FP32\",\"data\":[1,2,3,4]}]}"

TEST(a_failed_run_leaves_a_record_that_the_api_shows)
{
    fake_run_fails = "it broke";
    EXPECT_EQ(fake_post("/v2/models/iris/infer", INFER)->status, 502);
    fake_run_fails = NULL;
    const struct fake_answer *a = fake_get("/api/requests");
    EXPECT(strstr(a->body,
                  "\"model\":\"iris\",\"version\":\"1\",\"path\":\"/v2/models/iris/infer\",\"kind\":\"failed\","
                  "\"outcome\":\"backend\",\"status\":502,\"error\":\"it broke\""));
    a = fake_get("/api/requests/nobody");
    EXPECT_EQ(a->status, 404);
    EXPECT(strstr(a->body, "no record of a request 'nobody'"));
    fake_free();
}

TEST(a_request_that_is_wrong_leaves_a_record)
{
    EXPECT_EQ(fake_post("/v2/models/iris/infer", "{\"inputs\":7}")->status, 400);
    EXPECT_EQ(fake_post("/v2/models/nothing/infer", INFER)->status, 404);
    const struct fake_answer *a = fake_get("/api/requests");
    EXPECT(strstr(a->body, "\"kind\":\"invalid\",\"outcome\":\"invalid\",\"status\":400"));
    EXPECT(strstr(a->body, "\"kind\":\"invalid\",\"outcome\":\"not_found\",\"status\":404"));
    fake_free();
}

TEST(a_usual_request_is_in_the_sample_until_there_are_many)
{
    for (int i = 0; i < 3; i++)
        EXPECT_EQ(fake_post("/v2/models/iris/infer", INFER)->status, 200);
    const struct fake_answer *a = fake_get("/api/requests");
    EXPECT(strstr(a->body, "\"outcome\":\"ok\",\"status\":200"));
    fake_free();
}

TEST(questions_for_kinds_that_do_not_exist_are_refused)
{
    const struct fake_answer *a = fake_get("/api/requests?kind=slow,lazy");
    EXPECT_EQ(a->status, 400);
    EXPECT(strstr(a->body, "no kind of request 'lazy'"));
    EXPECT_EQ(fake_get("/api/requests?kind=slow,failed&n=3&model=iris")->status, 200);
    EXPECT_EQ(fake_get("/api/requests?n=0")->status, 400);
    EXPECT_EQ(fake_get("/api/requests?n=501")->status, 400);
    EXPECT_EQ(fake_get("/api/requests?n=x")->status, 400);
    fake_free();
}
