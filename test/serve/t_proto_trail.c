/* The trail of failed and slow requests. */
#include <stdio.h>
#include <string.h>

#include "proto_fake.h"
#include "serve/trail.h"
#include "t.h"

static struct buf text;

static bool find(const char *id)
{
    struct json_writer w;
    buf_init(&text, 1 << 20);
    jw_init(&w, &text);
    bool is_found = trail_write(str_c(id), &w);
    buf_pad(&text);
    return is_found;
}

TEST(a_failed_request_is_told_with_the_others_of_its_run)
{
    struct trail_record r = {.id = "a",
                             .model = "m",
                             .version = "1",
                             .status = ERR_TIMEOUT,
                             .error = "too late",
                             .run_ns = 7,
                             .rows = 2,
                             .batch_rows = 5,
                             .attempts = 1,
                             .stage_ns = {0, 0, 9000}};
    trail_add(&r);
    (void)str_copy(r.id, sizeof r.id, STR("b"));
    trail_add(&r);
    r.run_ns = 8;
    (void)str_copy(r.id, sizeof r.id, STR("c"));
    trail_add(&r);
    EXPECT(find("a"));
    EXPECT(strstr(text.p, "\"outcome\":\"timeout\",\"error\":\"too late\""));
    EXPECT(strstr(text.p, "\"queue\":9,"));
    EXPECT(strstr(text.p, "\"rows\":2,\"batch_rows\":5,\"attempts\":1,\"batch_mates\":[\"b\"]}"));
    buf_done(&text);
    EXPECT(!find("d"));
    buf_done(&text);
}

TEST(the_ring_forgets_the_oldest)
{
    struct trail_record r = {.status = ERR_BUSY};
    for (int i = 0; i <= TRAIL_LEN; i++) {
        (void)snprintf(r.id, sizeof r.id, "id-%d", i);
        trail_add(&r);
    }
    EXPECT(!find("id-0"));
    buf_done(&text);
    EXPECT(find("id-1"));
    buf_done(&text);
    EXPECT(find("id-1024"));
    buf_done(&text);
}

TEST(slow_is_what_takes_much_longer_than_usual)
{
    EXPECT(!trail_is_slow(50 * 1000 * 1000)); /* the first: nothing is known */
    for (int i = 0; i < 2000; i++)
        (void)trail_is_slow(1000 * 1000);
    EXPECT(!trail_is_slow(3 * 1000 * 1000));
    EXPECT(trail_is_slow(9 * 1000 * 1000));
    for (int i = 0; i < 2000; i++)
        (void)trail_is_slow(10 * 1000);
    EXPECT(!trail_is_slow(900 * 1000)); /* under a millisecond nobody asks */
}

TEST(a_failed_run_leaves_a_record_that_the_api_shows)
{
    fake_run_fails = "it broke";
    EXPECT_EQ(fake_post("/v2/models/iris/infer",
                        "{\"inputs\":[{\"name\":\"X\",\"shape\":[1,4],\"datatype\":\"FP32\",\"data\":[1,2,3,4]}]}")
                  ->status,
              502);
    fake_run_fails = NULL;
    const struct fake_answer *a = fake_get("/api/requests");
    EXPECT(strstr(a->body, "\"model\":\"iris\",\"version\":\"1\",\"outcome\":\"backend\",\"error\":\"it broke\""));
    a = fake_get("/api/requests/nobody");
    EXPECT_EQ(a->status, 404);
    EXPECT(strstr(a->body, "no record of a request 'nobody'"));
    fake_free();
}
