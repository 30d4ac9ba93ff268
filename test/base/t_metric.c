#include "t.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/metric.h"
#include "base/rand.h"

static const double seconds[] = {0.001, 0.005, 0.01, 0.1, 1};
static const struct metric_family requests = {
    .name = "quern_requests_total", .help = "Requests answered.", .kind = METRIC_COUNTER};
static const struct metric_family busy = {
    .name = "quern_busy_seconds_total", .help = "Time spent working.", .kind = METRIC_COUNTER, .scale = 1e-9};
static const struct metric_family depth = {.name = "quern_queue_rows", .help = "Rows that wait.", .kind = METRIC_GAUGE};
static const struct metric_family latency = {.name = "quern_request_seconds",
                                             .help = "Time from first to last byte,\nwith a \\ in its help.",
                                             .kind = METRIC_HISTOGRAM,
                                             .bounds = seconds,
                                             .bounds_len = ARRAY_LEN(seconds),
                                             .scale = 1e-9};

static const char *const iris[] = {"model", "iris", "version", "1", NULL};

static struct str text_of(struct metric_set *s)
{
    static struct buf out;
    buf_done(&out);
    buf_init(&out, 1 << 20);
    metric_write(s, &out);
    EXPECT(!out.failed);
    return buf_view(&out);
}

TEST(metric_counter_sums_its_threads)
{
    struct metric_set *s = metric_set_new(3);
    struct metric *m = metric_get(s, &requests, iris);
    metric_add(m, 0, 1);
    metric_add(m, 2, UINT64_C(1) << 60);
    metric_add(m, 0, 1);
    EXPECT_EQ(metric_value(m), (UINT64_C(1) << 60) + 2);
    EXPECT_ABORT(metric_add(m, 3, 1));
    EXPECT_ABORT(metric_add(m, -1, 1));
    EXPECT_STR(text_of(s), "# HELP quern_requests_total Requests answered.\n"
                           "# TYPE quern_requests_total counter\n"
                           "quern_requests_total{model=\"iris\",version=\"1\"} 1152921504606846978\n");
    EXPECT(metric_set_free(s) == NULL);
    EXPECT(metric_set_free(NULL) == NULL);
}

TEST(metric_same_labels_same_series)
{
    static const char *const swapped[] = {"version", "1", "model", "iris", NULL};
    static const char *const other[] = {"version", "2", "model", "iris", NULL};
    struct metric_set *s = metric_set_new(1);
    struct metric *m = metric_get(s, &requests, iris);
    EXPECT(metric_get(s, &requests, swapped) == m);
    EXPECT(metric_get(s, &requests, other) != m);
    EXPECT(metric_get(s, &requests, NULL) != m);
    EXPECT(metric_get(s, &depth, iris) != m);
    metric_set_free(s);
}

TEST(metric_text_is_sorted_and_escaped)
{
    static const char *const odd[] = {"model", "a\"b\\c\nd\xFF", NULL};
    struct metric_set *s = metric_set_new(2);
    metric_set_value(metric_get(s, &depth, odd), -0.5);
    metric_set_value(metric_get(s, &depth, NULL), 1e300);
    metric_add(metric_get(s, &busy, NULL), 1, UINT64_C(1500000000));
    metric_set_value(metric_get(s, &depth, iris), (double)INFINITY);
    EXPECT_STR(text_of(s), "# HELP quern_busy_seconds_total Time spent working.\n"
                           "# TYPE quern_busy_seconds_total counter\n"
                           "quern_busy_seconds_total 1.5\n"
                           "# HELP quern_queue_rows Rows that wait.\n"
                           "# TYPE quern_queue_rows gauge\n"
                           "quern_queue_rows 1e300\n"
                           "quern_queue_rows{model=\"a\\\"b\\\\c\\nd\xEF\xBF\xBD\"} -0.5\n"
                           "quern_queue_rows{model=\"iris\",version=\"1\"} +Inf\n");
    metric_set_free(s);
}

TEST(metric_histogram_text)
{
    struct metric_set *s = metric_set_new(2);
    struct metric *m = metric_get(s, &latency, iris);
    metric_observe(m, 0, 1000000);    /* exactly on the first bound: belongs to it */
    metric_observe(m, 1, 1000001);    /* just above */
    metric_observe(m, 1, 2000000000); /* above all */
    EXPECT_STR(text_of(s), "# HELP quern_request_seconds Time from first to last byte,\\nwith a \\\\ in its help.\n"
                           "# TYPE quern_request_seconds histogram\n"
                           "quern_request_seconds_bucket{model=\"iris\",version=\"1\",le=\"0.001\"} 1\n"
                           "quern_request_seconds_bucket{model=\"iris\",version=\"1\",le=\"0.005\"} 2\n"
                           "quern_request_seconds_bucket{model=\"iris\",version=\"1\",le=\"0.01\"} 2\n"
                           "quern_request_seconds_bucket{model=\"iris\",version=\"1\",le=\"0.1\"} 2\n"
                           "quern_request_seconds_bucket{model=\"iris\",version=\"1\",le=\"1\"} 2\n"
                           "quern_request_seconds_bucket{model=\"iris\",version=\"1\",le=\"+Inf\"} 3\n"
                           "quern_request_seconds_sum{model=\"iris\",version=\"1\"} 2.002000001\n"
                           "quern_request_seconds_count{model=\"iris\",version=\"1\"} 3\n");
    EXPECT_EQ(metric_value(m), 3);
    metric_set_free(s);
}

/* One observation at every bound and on both sides of it, for each possible number of bounds. */
TEST(metric_bucket_search_is_exact)
{
    double bounds[METRIC_BOUNDS_MAX];
    for (int n = 0; n <= METRIC_BOUNDS_MAX; n++) {
        struct metric_family f = {
            .name = "x_seconds", .help = "X.", .kind = METRIC_HISTOGRAM, .bounds = bounds, .bounds_len = n};
        for (int i = 0; i < n; i++)
            bounds[i] = 10 * (i + 1);
        struct metric_set *s = metric_set_new(1);
        struct metric *m = metric_get(s, &f, NULL);
        for (uint64_t raw = 0; raw <= 10 * (uint64_t)n + 5; raw++)
            metric_observe(m, 0, raw);
        struct str rest = text_of(s);
        for (int i = 0; i < n; i++) {
            char want[64];
            snprintf(want, sizeof want, "x_seconds_bucket{le=\"%d\"} %d\n", 10 * (i + 1), 10 * (i + 1) + 1);
            EXPECT(str_contains(rest, str_c(want)));
        }
        EXPECT_EQ(metric_value(m), 10 * n + 6);
        metric_set_free(s);
    }
}

TEST(metric_quantile_is_linear_inside_a_bucket)
{
    struct metric_set *s = metric_set_new(1);
    struct metric *m = metric_get(s, &latency, NULL);
    EXPECT_NEAR(metric_quantile(m, 0.5), 0, 0);
    for (int i = 0; i < 100; i++)
        metric_observe(m, 0, 20000000); /* in (0.01, 0.1] */
    EXPECT_NEAR(metric_quantile(m, 0.5), 0.055, 1e-12);
    EXPECT_NEAR(metric_quantile(m, 1), 0.1, 1e-12);
    EXPECT_NEAR(metric_quantile(m, 0), 0.01, 1e-12);
    for (int i = 0; i < 300; i++)
        metric_observe(m, 0, UINT64_C(5000000000));
    EXPECT_NEAR(metric_quantile(m, 0.25), 0.1, 1e-12);
    EXPECT_NEAR(metric_quantile(m, 0.99), 1, 1e-12); /* the last bound is all that is known */
    EXPECT_NEAR(metric_quantile(m, 7), 1, 1e-12);
    metric_set_free(s);
}

TEST(metric_drop_removes_a_series)
{
    struct metric_set *s = metric_set_new(1);
    struct metric *m = metric_get(s, &requests, iris), *all = metric_get(s, &requests, NULL);
    metric_drop(s, m);
    EXPECT_STR(text_of(s), "# HELP quern_requests_total Requests answered.\n"
                           "# TYPE quern_requests_total counter\n"
                           "quern_requests_total 0\n");
    metric_drop(s, all);
    EXPECT_STR(text_of(s), "");
    EXPECT_EQ(metric_value(metric_get(s, &requests, iris)), 0);
    metric_set_free(s);
}

TEST(metric_refuses_wrong_declarations)
{
    static const double falling[] = {2, 1}, negative[] = {-1, 1};
    static const char *const bad_name[] = {"0model", "x", NULL}, *const bad_char[] = {"mo-del", "x", NULL};
    struct metric_family wrong = {
        .name = "w", .help = "W.", .kind = METRIC_HISTOGRAM, .bounds = falling, .bounds_len = 2};
    struct metric_family twice = {.name = "quern_requests_total", .help = "R.", .kind = METRIC_GAUGE};
    struct metric_set *s = metric_set_new(1);
    metric_get(s, &requests, NULL);
    EXPECT_ABORT(metric_get(s, &wrong, NULL));
    wrong.bounds = negative;
    EXPECT_ABORT(metric_get(s, &wrong, NULL));
    EXPECT_ABORT(metric_get(s, &twice, NULL));
    EXPECT_ABORT(metric_get(s, &requests, bad_name));
    EXPECT_ABORT(metric_get(s, &requests, bad_char));
    EXPECT_ABORT(metric_set_new(0));
    EXPECT_ABORT(metric_set_new(METRIC_THREADS_MAX + 1));
    metric_set_free(s);
}

TEST(metric_many_series_stay_sorted)
{
    struct metric_set *s = metric_set_new(1);
    struct metric *series[300];
    char value[16];
    const char *labels[] = {"id", value, NULL};
    rand_seed(9);
    for (int i = 0; i < 300; i++) {
        snprintf(value, sizeof value, "%d", (i * 7919) % 300);
        series[i] = metric_get(s, &requests, labels);
        metric_add(series[i], 0, (uint64_t)i);
    }
    for (int i = 0; i < 300; i++) {
        snprintf(value, sizeof value, "%d", (i * 7919) % 300);
        EXPECT(metric_get(s, &requests, labels) == series[i]);
        EXPECT_EQ(metric_value(series[i]), i);
    }
    metric_set_free(s);
}

TEST(metric_text_that_does_not_fit_is_marked)
{
    struct metric_set *s = metric_set_new(1);
    struct buf out;
    buf_init(&out, 100);
    metric_get(s, &latency, NULL);
    metric_write(s, &out);
    EXPECT(out.failed);
    buf_done(&out);
    metric_set_free(s);
}

struct race {
    struct metric_set *set;
    struct metric *counter, *histogram, *gauge;
    _Atomic int threads, stop;
};

enum { RACE_THREADS = 4, RACE_STEPS = 20000 };

static void *race_write(void *arg)
{
    struct race *r = arg;
    int thread = atomic_fetch_add(&r->threads, 1);
    for (int i = 0; i < RACE_STEPS; i++) {
        metric_add(r->counter, thread, 1);
        metric_observe(r->histogram, thread, (uint64_t)i * 1000);
        metric_set_value(r->gauge, i);
        if (i % 1000 == 0)
            metric_get(r->set, &requests, iris);
    }
    return NULL;
}

static void *race_scrape(void *arg)
{
    struct race *r = arg;
    uint64_t before = 0;
    while (!atomic_load(&r->stop)) {
        struct buf out;
        buf_init(&out, 1 << 16);
        metric_write(r->set, &out);
        EXPECT(!out.failed);
        buf_done(&out);
        uint64_t now = metric_value(r->counter);
        EXPECT(now >= before);
        before = now;
    }
    return NULL;
}

/* Also built under ThreadSanitizer. */
TEST(metric_threads_and_a_scrape_do_not_race)
{
    struct race r = {.set = metric_set_new(RACE_THREADS)};
    pthread_t writers[RACE_THREADS], scraper;
    r.counter = metric_get(r.set, &requests, NULL);
    r.histogram = metric_get(r.set, &latency, NULL);
    r.gauge = metric_get(r.set, &depth, NULL);
    EXPECT(pthread_create(&scraper, NULL, race_scrape, &r) == 0);
    for (int i = 0; i < RACE_THREADS; i++)
        EXPECT(pthread_create(&writers[i], NULL, race_write, &r) == 0);
    for (int i = 0; i < RACE_THREADS; i++)
        EXPECT(pthread_join(writers[i], NULL) == 0);
    atomic_store(&r.stop, 1);
    EXPECT(pthread_join(scraper, NULL) == 0);
    EXPECT_EQ(metric_value(r.counter), RACE_THREADS * RACE_STEPS);
    EXPECT_EQ(metric_value(r.histogram), RACE_THREADS * RACE_STEPS);
    metric_set_free(r.set);
}

static bool has_promtool(void)
{
    int status = system("command -v promtool >/dev/null 2>&1");
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

TEST_SLOW(metric_text_passes_promtool, 30)
{
    if (!has_promtool())
        SKIP("promtool is not installed (Debian package prometheus): the metric text was not checked with it");
    static const char *const odd[] = {"model", "a\"b\\c\nd\xFF", NULL};
    struct metric_set *s = metric_set_new(2);
    metric_add(metric_get(s, &requests, odd), 0, 1);
    metric_add(metric_get(s, &busy, NULL), 0, 123456789);
    metric_set_value(metric_get(s, &depth, iris), (double)NAN);
    metric_observe(metric_get(s, &latency, iris), 1, 77777);
    metric_observe(metric_get(s, &latency, NULL), 1, UINT64_MAX / 2);
    struct str text = text_of(s);
    FILE *promtool = popen("promtool check metrics 2>&1", "w");
    EXPECT(promtool != NULL);
    EXPECT_EQ(fwrite(text.p, 1, text.n, promtool), text.n);
    EXPECT_EQ(pclose(promtool), 0);
    metric_set_free(s);
}
