/* What batches gain, measured on scripted backends in virtual time. */
#include <string.h>

#include "base/clock.h"
#include "model/backend.h"
#include "rows_desc.h"
#include "t.h"

static uint64_t now_ns;
static uint64_t (*cost_ns)(uint32_t rows);
static uint32_t runs, most_rows, fail_above;

static uint64_t virtual_clock(void)
{
    return now_ns;
}

static enum err_code script_run(void *instance, struct backend_run *run, struct err *err)
{
    (void)instance;
    runs++;
    most_rows = run->rows > most_rows ? run->rows : most_rows;
    now_ns += cost_ns(run->rows);
    if (fail_above > 0 && run->rows > fail_above)
        return err_set(err, ERR_BACKEND, "too many rows");
    run->out[0] = run->in[0];
    run->out[0].data = backend_out_alloc(run, run->in[0].bytes);
    if (run->out[0].data == NULL)
        return err_set(err, ERR_TOO_LARGE, "no room");
    memcpy(run->out[0].data, run->in[0].data, run->in[0].bytes);
    return ERR_OK;
}

static const char *const extensions[] = {".script", NULL};
static const struct backend script = {.name = "script", .extensions = extensions, .run = script_run};

static struct model_desc d;
static bool is_calm;

static struct model_measure before[2];
static uint32_t before_len;

static void measure(uint64_t (*cost)(uint32_t rows), uint32_t max_batch, bool is_configured)
{
    struct err err;
    rows_desc(&d, 4);
    d.measures_len = before_len;
    memcpy(d.measures, before, sizeof before);
    d.has_batch_dim = d.may_share = 1;
    d.max_batch = max_batch;
    (void)str_copy(d.batch_reason, sizeof d.batch_reason, STR("probe: rows agree"));
    runs = most_rows = 0;
    cost_ns = cost;
    now_ns = 1000 * NS_PER_S;
    clock_set_source(virtual_clock);
    is_calm = backend_measure_batching(&script, NULL, &d, is_configured, 20 * NS_PER_MS);
    clock_set_source(NULL);
    if (model_desc_check(&d, &err) != ERR_OK)
        FAIL("%s", err.text);
}

static void expect_reason(const char *part)
{
    if (!str_contains(str_c(d.batch_reason), str_c(part)))
        FAIL("'%s' does not contain '%s'", d.batch_reason, part);
}

static uint64_t constant(uint32_t rows)
{
    (void)rows;
    return 100 * NS_PER_US;
}

static uint64_t linear(uint32_t rows)
{
    return rows * 4 * NS_PER_MS;
}

static uint64_t worse(uint32_t rows)
{
    return rows * NS_PER_MS + (rows > 1 ? rows * 200 * NS_PER_US : 0);
}

static uint64_t half_and_half(uint32_t rows)
{
    return 50 * NS_PER_US + rows * 50 * NS_PER_US;
}

static uint64_t cheap_and_linear(uint32_t rows)
{
    return rows * NS_PER_US;
}

static uint64_t knee(uint32_t rows)
{
    return rows <= 8 ? 2 * NS_PER_MS : 2 * NS_PER_MS * rows / 8;
}

static uint64_t short_and_flat(uint32_t rows)
{
    return rows * 15500;
}

static uint64_t long_and_flat(uint32_t rows)
{
    return 200 * NS_PER_US + rows * 110 * NS_PER_US;
}

static uint64_t slow(uint32_t rows)
{
    return 200 * NS_PER_MS + rows * NS_PER_MS;
}

TEST(a_run_that_costs_the_same_takes_all_rows)
{
    measure(constant, 64, false);
    EXPECT_EQ(d.max_batch, 64);
    EXPECT_EQ(d.measures_len, 7);
    EXPECT_EQ(d.measures[6].rows, 64);
    EXPECT_EQ(d.measures[6].ns, 100000);
    expect_reason("probe: rows agree; 1 row 100 us, 64 rows 100 us: the largest run");
}

TEST(a_model_that_gains_nothing_is_never_batched)
{
    measure(linear, 64, false);
    EXPECT_EQ(d.max_batch, 1);
    EXPECT_EQ(d.may_share, 1); /* it may, but does not gain */
    EXPECT_EQ(most_rows, 4);   /* no larger runs for nothing */
    expect_reason("1 row 4 ms, 4 rows 16 ms: no gain, parallel instances instead");
}

TEST(a_model_that_loses_is_never_batched)
{
    measure(worse, 64, false);
    EXPECT_EQ(d.max_batch, 1);
    expect_reason("1 row 1 ms, 4 rows 4.8 ms: no gain");
}

/* With 50 us for handing over: from 32 to 64 rows throughput rises by 3.0 percent, from 16 to 64 by 9.1. */
TEST(rows_beyond_which_throughput_rises_by_less_than_five_percent)
{
    measure(half_and_half, 64, false);
    EXPECT_EQ(d.max_batch, 32);
    expect_reason("1 row 100 us, 32 rows 1.65 ms: larger runs gain nothing");
}

/* From 32 to 64 rows 4.8 percent: a run of 992 us hurts nobody. */
TEST(of_a_short_run_two_percent_are_enough)
{
    measure(short_and_flat, 64, false);
    EXPECT_EQ(d.max_batch, 64);
    expect_reason("64 rows 992 us: the largest run");
}

/* From 32 to 64 rows 3.4 percent: not worth 7.2 ms in place of 3.7. */
TEST(of_a_long_run_three_percent_are_not_enough)
{
    measure(long_and_flat, 64, false);
    EXPECT_EQ(d.max_batch, 32);
}

TEST(a_knee_is_found)
{
    measure(knee, 64, false);
    EXPECT_EQ(d.max_batch, 8);
}

/* A row costs less than handing over a run: together they share it. */
TEST(what_a_run_costs_beside_the_model_counts)
{
    measure(cheap_and_linear, 64, false);
    EXPECT_EQ(d.max_batch, 64);
}

TEST(the_users_choice_wins)
{
    measure(linear, 8, true);
    EXPECT_EQ(d.max_batch, 8);
    EXPECT_EQ(d.measures_len, 3);
    expect_reason("1 row 4 ms, 4 rows 16 ms");
}

TEST(a_largest_size_that_is_no_power_of_two)
{
    measure(constant, 12, false);
    EXPECT_EQ(d.max_batch, 12);
    EXPECT_EQ(d.measures[d.measures_len - 1].rows, 12);
}

TEST(a_slow_model_gets_its_verdict_in_time)
{
    measure(slow, 64, false);
    EXPECT(now_ns - 1000 * NS_PER_S < 1500 * NS_PER_MS);
    EXPECT_EQ(d.measures_len, 2);
    EXPECT_EQ(d.max_batch, 2);
    expect_reason("1 row 201 ms, 2 rows 202 ms: no time to measure more");
}

TEST(time_is_bounded_for_fast_models)
{
    measure(half_and_half, 2048, false);
    EXPECT(now_ns - 1000 * NS_PER_S < 25 * NS_PER_MS);
    EXPECT(d.max_batch >= 16);
}

TEST(a_model_that_refuses_many_rows_keeps_to_few)
{
    fail_above = 8;
    measure(constant, 64, false);
    fail_above = 0;
    EXPECT_EQ(d.max_batch, 8);
    EXPECT_EQ(d.measures_len, 4);
}

TEST(what_may_not_share_is_not_measured)
{
    measure(constant, 1, true);
    EXPECT_EQ(runs, 0);
    EXPECT_EQ(d.measures_len, 0);
    EXPECT_EQ(d.max_batch, 1);
    EXPECT_CSTR(d.batch_reason, "probe: rows agree");
}

TEST(lies_about_measurements_are_refused)
{
    struct err err;
    measure(constant, 64, false);
    const struct model_desc good = d;
    EXPECT_EQ(model_desc_check(&d, &err), ERR_OK);
    d.measures_len = MODEL_MEASURES_MAX + 1;
    EXPECT_EQ(model_desc_check(&d, &err), ERR_INVALID);
    d = good;
    d.measures[1].rows = 1;
    EXPECT_EQ(model_desc_check(&d, &err), ERR_INVALID);
    d = good;
    d.measures[0].ns = 0;
    EXPECT_EQ(model_desc_check(&d, &err), ERR_INVALID);
    d = good;
    d.measures[6].ns = UINT64_MAX;
    EXPECT_EQ(model_desc_check(&d, &err), ERR_INVALID);
    d = good;
    d.measures[6].rows = UINT32_MAX;
    EXPECT_EQ(model_desc_check(&d, &err), ERR_INVALID);
}

/* ---- a machine that is not calm ---- */

static uint64_t nth_ns[64]; /* what the runs cost in turn, then the last one again */
static uint32_t nth;

static uint64_t in_turn(uint32_t rows)
{
    (void)rows;
    uint64_t ns = nth_ns[nth];
    if (nth + 1 < ARRAY_LEN(nth_ns) && nth_ns[nth + 1] != 0)
        nth++;
    return ns;
}

static bool is_calm_with(const uint64_t *us, size_t len)
{
    memset(nth_ns, 0, sizeof nth_ns);
    for (size_t i = 0; i < len; i++)
        nth_ns[i] = us[i] * NS_PER_US;
    nth = 0;
    measure(in_turn, 2, false);
    return is_calm;
}

TEST(equal_runs_are_calm)
{
    EXPECT(is_calm_with((uint64_t[]){100}, 1));
    EXPECT_EQ(d.measures[0].ns, 100000);
}

/* Runs 0 to 2 belong to the trial's own search for sizes and to the first size: a first run that makes room is not noise. */
TEST(a_long_first_run_is_not_noise)
{
    EXPECT(is_calm_with((uint64_t[]){900, 900, 101, 100}, 4));
    EXPECT_EQ(d.measures[0].ns, 100000);
}

TEST(runs_that_never_agree_are_noise)
{
    static const uint64_t us[] = {100, 500, 440, 380, 320, 270, 230};
    EXPECT(!is_calm_with(us, ARRAY_LEN(us)));
}

TEST(runs_that_become_shorter_later_are_noise)
{
    static const uint64_t us[] = {200, 200, 200, 200, 200, 100};
    EXPECT(!is_calm_with(us, ARRAY_LEN(us)));
    EXPECT_EQ(d.measures[0].ns, 100000);
}

TEST(what_was_not_measured_is_calm)
{
    measure(constant, 1, true);
    EXPECT(is_calm);
}

/* Today two rows cost as much as one; on another day one row took half as long. */
TEST(the_shortest_time_of_all_days_counts)
{
    before_len = 2;
    before[0] = (struct model_measure){.rows = 1, .ns = 50 * NS_PER_US};
    before[1] = (struct model_measure){.rows = 2, .ns = 900 * NS_PER_US};
    measure(constant, 2, false);
    EXPECT_EQ(d.measures_len, 2);
    EXPECT_EQ(d.measures[0].ns, 50000);
    EXPECT_EQ(d.measures[1].ns, 100000);
    EXPECT_EQ(d.max_batch, 2);
}

TEST(times_of_other_sizes_do_not_count)
{
    before_len = 2;
    before[0] = (struct model_measure){.rows = 3, .ns = 1};
    before[1] = (struct model_measure){.rows = 7, .ns = 1};
    measure(constant, 2, false);
    EXPECT_EQ(d.measures[0].ns, 100000);
    EXPECT_EQ(d.measures[1].ns, 100000);
}
