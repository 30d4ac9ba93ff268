#include "serve/rollout.h"

#include <string.h>

#include "base/clock.h"
#include "net/http.h"
#include "serve/rollout_int.h"
#include "t.h"

static struct model_shared shared;
static struct serve serve;
static struct served model;

static void answered(uint64_t took_ns, enum err_code code)
{
    struct infer i = {.serve = &serve, .model = &model, .t_submit_ns = clock_now_ns() - took_ns};
    i.err.code = code;
    rollout_end(&i);
}

static void begin(void)
{
    serve = (struct serve){.canaries = 1};
    model = (struct served){.serve = &serve, .shared = &shared};
    model.rollout.is_canary = true;
}

TEST(rollout_quantiles_are_upper_bounds_within_a_quarter)
{
    begin();
    EXPECT_EQ(rollout_quantile_us(&shared.rollout, NULL, 0.95), 0);
    for (int k = 0; k < 90; k++)
        answered(1 * NS_PER_MS, ERR_OK);
    for (int k = 0; k < 10; k++)
        answered(80 * NS_PER_MS, ERR_OK);
    uint64_t p50 = rollout_quantile_us(&shared.rollout, NULL, 0.5),
             p95 = rollout_quantile_us(&shared.rollout, NULL, 0.95);
    EXPECT(p50 >= 1000 && p50 <= 1300);
    EXPECT(p95 >= 80000 && p95 <= 101000);
    uint32_t since[ROLLOUT_BUCKETS];
    memcpy(since, shared.rollout.latency, sizeof since);
    answered(9 * NS_PER_MS, ERR_OK);
    uint64_t news = rollout_quantile_us(&shared.rollout, since, 0.95);
    EXPECT(news >= 9000 && news <= 11400);
}

TEST(rollout_latencies_of_any_size_have_a_bucket)
{
    begin();
    answered(0, ERR_OK);
    EXPECT(rollout_quantile_us(&shared.rollout, NULL, 1) <= 1000);
    answered(clock_now_ns() - 1, ERR_OK);
    EXPECT(rollout_quantile_us(&shared.rollout, NULL, 1) > 1000);
}

TEST(rollout_counts_the_models_faults_only)
{
    static const enum err_code faults[] = {ERR_BACKEND, ERR_INTERNAL, ERR_TIMEOUT},
                               others[] = {ERR_INVALID, ERR_BUSY, ERR_CANCELLED, ERR_UNAVAILABLE, ERR_NOT_FOUND};
    begin();
    for (size_t k = 0; k < ARRAY_LEN(faults); k++)
        answered(1, faults[k]);
    for (size_t k = 0; k < ARRAY_LEN(others); k++)
        answered(1, others[k]);
    EXPECT_EQ(shared.rollout.failed, ARRAY_LEN(faults));
    EXPECT_EQ(shared.rollout.answered, 0);
    serve.canaries = 0; /* nobody is tried: nothing is counted */
    answered(1, ERR_OK);
    EXPECT_EQ(shared.rollout.answered, 0);
}

static struct served *two[2];
static struct served stable, canary;

static void pair(uint32_t percent)
{
    serve = (struct serve){.canaries = 1, .models = two, .models_len = 2, .models_cap = 2};
    stable = (struct served){.serve = &serve, .info = {.name = "m", .version = "1", .state = SERVED_READY}};
    canary = (struct served){.serve = &serve, .info = {.name = "m", .version = "2", .state = SERVED_READY}};
    canary.rollout = (struct rollout_policy){.is_canary = true, .percent = percent, .header = "x-canary"};
    two[0] = &stable;
    two[1] = &canary;
}

static struct served *chosen(const char *header, uint64_t peer)
{
    struct http_header h = {STR("x-canary"), str_c(header)};
    struct http_req req = {.headers = &h, .headers_len = header ? 1 : 0, .peer = peer};
    serve_set_caller(&serve, &req);
    return rollout_choose(&serve, &stable);
}

TEST(rollout_shares_by_caller)
{
    int n = 0;
    pair(30);
    for (uint64_t peer = 1; peer <= 2000; peer++)
        n += chosen(NULL, peer) == &canary;
    EXPECT(n > 500 && n < 700);
    EXPECT(chosen("ann", 1) == chosen("ann", 2)); /* by name, wherever from */
    EXPECT(chosen("always", 1) == &canary);
    EXPECT(chosen("never", 1) == &stable);
    pair(0);
    EXPECT(chosen("ann", 1) == &stable);
    EXPECT(chosen("always", 1) == &canary);
    pair(100);
    EXPECT(chosen("ann", 1) == &canary);
    canary.info.state = SERVED_FAILED;
    EXPECT(chosen("always", 1) == &stable);
}
