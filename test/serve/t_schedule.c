/* Order and cost as pure functions. */
#include "serve/schedule.h"

#include <pthread.h>
#include <string.h>

#include "base/clock.h"
#include "t.h"

#define NOW (1000 * NS_PER_S)

static struct schedule s;
static struct schedule_tags tags;

static void start(void)
{
    memset(&tags, 0, sizeof tags);
    s = (struct schedule){.tags = &tags};
}

/* Runs of 1 ms and 0.1 ms a row. */
static void learn(void)
{
    for (int i = 0; i < 40; i++)
        cost_learn(&s.cost, 1U << i % 5, NS_PER_MS + (NS_PER_MS / 10 << i % 5));
}

static struct schedule_ask ask(uint64_t client, uint32_t priority, uint64_t given_ms)
{
    return (struct schedule_ask){
        .now_ns = NOW, .deadline_ns = NOW + given_ms * NS_PER_MS, .client = client, .priority = priority, .rows = 1};
}

static uint64_t take(struct schedule_ask a)
{
    uint64_t order = schedule_order(&s, &a);
    schedule_charge(&s, &a, 16, 1);
    return order;
}

TEST(cost_is_a_line)
{
    start();
    learn();
    EXPECT_NEAR(s.cost.a_ns, 1e6, 1e4);
    EXPECT_NEAR(s.cost.b_ns, 1e5, 1e3);
    EXPECT_NEAR(cost_run_ns(&s.cost, 20), 3e6, 1e5);
}

TEST(cost_is_unknown_at_first)
{
    start();
    cost_learn(&s.cost, 1, 1000);
    EXPECT_EQ(cost_run_ns(&s.cost, 1), 0);
    EXPECT_EQ(schedule_finish(&s, NOW, 100, 1, 16, 1), 0);
}

TEST(cost_follows_a_model_that_became_slower)
{
    start();
    learn();
    for (int i = 0; i < 200; i++)
        cost_learn(&s.cost, 1U << i % 5, 10 * NS_PER_MS);
    EXPECT_NEAR(cost_run_ns(&s.cost, 8), 1e7, 5e5);
}

/* One size only tells nothing about a and b: what such runs cost is known all the same. */
TEST(cost_of_runs_of_one_size)
{
    start();
    learn();
    for (int i = 0; i < 500; i++)
        cost_learn(&s.cost, 16, 2 * (NS_PER_MS + 16 * NS_PER_MS / 10));
    EXPECT_NEAR(cost_run_ns(&s.cost, 16), 5.2e6, 1e5);
}

TEST(cost_is_never_negative)
{
    start();
    for (int i = 0; i < 50; i++) /* noise: more rows in less time */
        cost_learn(&s.cost, i % 2 ? 1 : 32, i % 2 ? 3 * NS_PER_MS : NS_PER_MS);
    EXPECT(s.cost.a_ns >= 0 && s.cost.b_ns >= 0);
    start();
    for (int i = 0; i < 50; i++) /* an offset below zero */
        cost_learn(&s.cost, i % 2 ? 1 : 2, i % 2 ? NS_PER_MS : 5 * NS_PER_MS);
    EXPECT(s.cost.a_ns >= 0 && s.cost.b_ns >= 0);
}

TEST(what_was_measured_counts_before_the_first_run)
{
    start();
    schedule_expect(&s, 1, 1100000);
    schedule_expect(&s, 4, 1400000);
    schedule_expect(&s, 16, 2600000);
    EXPECT_NEAR(cost_run_ns(&s.cost, 8), 1.8e6, 1e5);
}

TEST(requests_of_one_kind_run_in_the_order_of_their_arrival)
{
    start();
    struct schedule_ask a = ask(0, 1, 30000), b = a;
    b.now_ns += 1000;
    b.deadline_ns += 1000;
    EXPECT(take(a) < take(b));
}

TEST(the_nearer_deadline_runs_first)
{
    start();
    EXPECT(take(ask(1, 1, 20)) < take(ask(2, 1, 30)));
    EXPECT_EQ(take(ask(3, 1, 5000)), take(ask(4, 1, 30000))); /* both far away: arrival decides */
}

TEST(a_client_that_floods_comes_behind_the_one_that_asks_once)
{
    start();
    learn();
    uint64_t last = 0;
    for (int i = 0; i < 100; i++) {
        uint64_t order = take(ask(1, 1, 30000));
        EXPECT(order > last);
        last = order;
    }
    EXPECT(take(ask(2, 1, 30000)) < last - 10 * NS_PER_MS);
    EXPECT_NEAR((double)(last - NOW - SCHEDULE_AGE_NS), 99 * (1e6 / 16 + 1e5), 1e6);
}

#define THREADS 4
#define CHARGES 5000

static void *charge_many(void *arg)
{
    struct schedule mine = s; /* each thread learns by itself; the tags are of all */
    struct schedule_ask a = ask(7, 1, 30000);
    for (int i = 0; i < CHARGES; i++)
        schedule_charge(&mine, &a, 1, 1);
    return arg;
}

TEST(charges_of_all_threads_count)
{
    pthread_t t[THREADS];
    start();
    s.cost = (struct cost){.n = 10, .a_ns = 1000, .b_ns = 500};
    struct schedule_ask a = ask(7, 1, 30000);
    uint64_t before = schedule_order(&s, &a);
    for (int i = 0; i < THREADS; i++)
        EXPECT_EQ(pthread_create(&t[i], NULL, charge_many, NULL), 0);
    for (int i = 0; i < THREADS; i++)
        EXPECT_EQ(pthread_join(t[i], NULL), 0);
    EXPECT_EQ(schedule_order(&s, &a) - before, UINT64_C(1500) * THREADS * CHARGES);
}

TEST(a_clients_own_flood_does_not_delay_what_it_calls_urgent)
{
    start();
    learn();
    struct schedule_ask urgent = ask(1, 1, 30000);
    for (int i = 0; i < 10000; i++)
        (void)take(ask(1, 2, 30000));
    EXPECT_EQ(schedule_order(&s, &urgent), NOW + SCHEDULE_AGE_NS);
}

TEST(more_instances_charge_less)
{
    start();
    learn();
    struct schedule_ask a = ask(1, 1, 30000);
    uint64_t first = schedule_order(&s, &a);
    schedule_charge(&s, &a, 16, 4);
    EXPECT_NEAR((double)(schedule_order(&s, &a) - first), (1e6 / 16 + 1e5) / 4, 1e4);
}

/* Looking costs nothing: who is refused is not charged. */
TEST(a_look_does_not_charge)
{
    start();
    learn();
    struct schedule_ask a = ask(1, 1, 30000);
    uint64_t first = schedule_order(&s, &a);
    EXPECT_EQ(schedule_order(&s, &a), first);
}

TEST(a_lower_priority_is_overtaken_for_half_a_second_only)
{
    start();
    struct schedule_ask low = ask(1, 2, 30000), high = ask(2, 1, 30000);
    uint64_t order = take(low);
    high.now_ns = NOW + SCHEDULE_AGE_NS - 1;
    high.deadline_ns = high.now_ns + 30 * NS_PER_S;
    EXPECT(schedule_order(&s, &high) < order);
    high.now_ns += 2;
    high.deadline_ns += 2;
    EXPECT(schedule_order(&s, &high) > order);
}

TEST(predicted_finish)
{
    start();
    learn();
    /* 32 rows ahead are two runs of 16: 2 (1 + 1.6) ms; then our own, which others join: 2.6 ms */
    EXPECT_NEAR((double)(schedule_finish(&s, NOW, 32, 1, 16, 1) - NOW), 7.8e6, 2e5);
    EXPECT_NEAR((double)(schedule_finish(&s, NOW, 32, 1, 16, 2) - NOW), 5.2e6, 2e5);
    EXPECT_NEAR((double)(schedule_finish(&s, NOW, 4, 1, 16, 1) - NOW), 0.65e6 + 1.5e6,
                1e5); /* few are ahead, few join */
    EXPECT_EQ(schedule_finish(&s, NOW, 32, 1, 16, 0), 0);
}

TEST(lag_grows_at_once_and_shrinks_slowly)
{
    struct lag l = {0};
    EXPECT_NEAR(lag_times(&l, NOW), 1, 1e-9);
    for (int i = 0; i < 20; i++)
        lag_learn(&l, 10 * NS_PER_MS, 15 * NS_PER_MS, NOW + (uint64_t)i * NS_PER_MS);
    uint64_t now = NOW + 20 * NS_PER_MS;
    EXPECT_NEAR(lag_times(&l, now), 1.5, 0.03);
    for (int i = 0; i < 20; i++)
        lag_learn(&l, 10 * NS_PER_MS, 10 * NS_PER_MS, now);
    EXPECT(lag_times(&l, now) > 1.45);
    for (int i = 0; i < 10000; i++)
        lag_learn(&l, 10 * NS_PER_MS, 9 * NS_PER_MS, now);
    EXPECT_NEAR(lag_times(&l, now), 1, 1e-3);
}

/* Else who is refused for it would be refused for ever. */
TEST(lag_is_forgotten_when_nobody_is_admitted)
{
    struct lag l = {0};
    for (int i = 0; i < 100; i++)
        lag_learn(&l, NS_PER_MS, 1000 * NS_PER_MS, NOW);
    EXPECT_NEAR(lag_times(&l, NOW), 8, 0.01); /* however long it took */
    EXPECT(lag_times(&l, NOW + NS_PER_S) < 5);
    EXPECT(lag_times(&l, NOW + 100 * NS_PER_S) < 1.1);
}

TEST(who_had_more_than_his_share_is_greedy)
{
    start();
    learn();
    struct schedule_ask a = ask(1, 1, 100), b = ask(2, 1, 100), c = ask(3, 2, 100);
    for (int i = 0; i < 30; i++)
        schedule_charge(&s, &a, 16, 1);
    EXPECT(!schedule_is_greedy(&s, &a)); /* nobody else is there */
    for (int i = 0; i < 10; i++)
        schedule_charge(&s, &b, 16, 1);
    EXPECT(schedule_is_greedy(&s, &a));
    EXPECT(!schedule_is_greedy(&s, &b));
    EXPECT(!schedule_is_greedy(&s, &c)); /* who comes new */
    a.now_ns += 10 * NS_PER_S;
    EXPECT(!schedule_is_greedy(&s, &a)); /* that was long ago */
    a.rows = 65000;
    for (int i = 0; i < 3; i++)
        schedule_charge(&s, &a, 16, 1); /* counts have a limit */
    EXPECT_EQ(s.share.clients, 1);
}
