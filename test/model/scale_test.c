/* Instances and threads: what is tried, what is chosen, and that it runs at the same time. */
#include "model/scale.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "rows_desc.h"
#include "t.h"

#define ENOUGH_NS (50 * NS_PER_S) /* also on a machine that does other things too */

/* ---- shares ---- */

TEST(a_model_alone_has_the_machine)
{
    EXPECT_EQ(scale_share(16, 0, 1), 16);
    EXPECT_EQ(scale_share(1, 0, 1), 1);
}

TEST(models_divide_the_machine)
{
    EXPECT_EQ(scale_share(16, 0, 4), 4);
    EXPECT_EQ(scale_share(16, 0, 5), 3);
    EXPECT_EQ(scale_share(16, 4, 2), 6);
}

TEST(many_models_get_one_processor_each)
{
    EXPECT_EQ(scale_share(2, 0, 8), 1);
    EXPECT_EQ(scale_share(2, 5, 1), 1);
    EXPECT_EQ(scale_share(8, 8, 3), 1);
}

/* Together they never start more than the machine has, unless each has only one. */
TEST(shares_never_add_up_to_more_than_the_machine)
{
    for (int cores = 1; cores <= 64; cores++)
        for (int models = 1; models <= 70; models++) {
            int share = scale_share(cores, 0, models);
            EXPECT(share >= 1);
            EXPECT(share == 1 || share * models <= cores);
            EXPECT(models > cores || (share + 1) * models > cores); /* and nothing is left lying */
        }
}

TEST(a_quick_model_needs_no_more_than_the_connections_bring)
{
    EXPECT_EQ(scale_useful(2, 1000), 1);
    EXPECT_EQ(scale_useful(2, 14500), 1);
    EXPECT_EQ(scale_useful(16, 14500), 7);
    EXPECT_EQ(scale_useful(2, 9.4e6), 2);
    EXPECT_EQ(scale_useful(64, 9.4e6), 64);
    EXPECT_EQ(scale_useful(8, 0), 8); /* not known */
    EXPECT_EQ(scale_useful(1, 9.4e6), 1);
}

/* ---- candidates ---- */

static struct scale_limits limits(int budget, int instances, int threads, int instances_max)
{
    return (struct scale_limits){
        .budget = budget, .instances = instances, .threads = threads, .instances_max = instances_max};
}

static void expect_candidates(struct scale_limits l, const int (*pairs)[2], int len)
{
    struct scale_try t[SCALE_TRIES_MAX];
    int n = scale_candidates(&l, t);
    EXPECT_EQ(n, len);
    for (int i = 0; i < n; i++)
        if (t[i].instances != pairs[i][0] || t[i].threads != pairs[i][1])
            FAIL("candidate %d is %d x %d", i, t[i].instances, t[i].threads);
}

TEST(one_processor_leaves_no_choice)
{
    expect_candidates(limits(1, 0, 0, 64), (const int[][2]){{1, 1}}, 1);
}

TEST(two_processors)
{
    expect_candidates(limits(2, 0, 0, 64), (const int[][2]){{1, 1}, {2, 1}, {1, 2}}, 3);
}

TEST(six_processors)
{
    expect_candidates(limits(6, 0, 0, 64), (const int[][2]){{1, 1}, {6, 1}, {3, 2}, {1, 4}, {1, 6}}, 5);
}

TEST(sixteen_processors_and_memory_for_three)
{
    expect_candidates(limits(16, 0, 0, 3), (const int[][2]){{1, 1}, {3, 1}, {3, 2}, {3, 4}, {2, 8}, {1, 16}}, 6);
}

TEST(what_the_user_set_is_not_tried_otherwise)
{
    expect_candidates(limits(4, 0, 2, 64), (const int[][2]){{1, 2}, {2, 2}}, 2);
    expect_candidates(limits(4, 2, 0, 64), (const int[][2]){{2, 1}, {2, 2}}, 2);
    expect_candidates(limits(4, 3, 2, 64), (const int[][2]){{3, 2}}, 1);
}

TEST(no_candidate_takes_more_than_the_budget)
{
    struct scale_try t[SCALE_TRIES_MAX];
    for (int budget = 1; budget <= 256; budget++) {
        struct scale_limits l = limits(budget, 0, 0, 64);
        int n = scale_candidates(&l, t);
        EXPECT(n >= 1 && n <= SCALE_TRIES_MAX);
        for (int i = 0; i < n; i++)
            EXPECT(t[i].instances >= 1 && t[i].instances * t[i].threads <= budget);
    }
}

/* ---- the choice ---- */

static struct scale s;

static void choose(const struct scale_try *tries, int len)
{
    s = (struct scale){.budget = 2, .tries_len = len};
    memcpy(s.tries, tries, sizeof *tries * (size_t)len);
    scale_choose(&s);
}

#define TRY(i, t, rows, cpu, spread_)                                                                                  \
    {                                                                                                                  \
        .instances = (i), .threads = (t), .rows_per_s = (rows), .cpu_ns = (cpu), .spread = (spread_)                   \
    }

TEST(instances_win_where_threads_lose_time)
{
    choose((struct scale_try[]){TRY(1, 1, 106, 9.4e6, 1), TRY(2, 1, 204, 9.8e6, 1.02), TRY(1, 2, 171, 11e6, 1.01)}, 3);
    EXPECT_EQ(s.instances, 2);
    EXPECT_EQ(s.threads, 1);
    EXPECT_EQ(s.is_calm, 1);
    EXPECT_CSTR(s.reason, "1 x 1: 106/s, 2 x 1: 204/s, 1 x 2: 171/s (rows, instances x threads)");
}

/* As quick, with less memory, and a lone request is answered sooner. */
TEST(threads_win_a_tie)
{
    choose((struct scale_try[]){TRY(1, 1, 100, 1e7, 1), TRY(2, 1, 200, 1e7, 1), TRY(1, 2, 195, 1e7, 1)}, 3);
    EXPECT_EQ(s.instances, 1);
    EXPECT_EQ(s.threads, 2);
}

TEST(little_gain_is_not_worth_it)
{
    choose((struct scale_try[]){TRY(1, 1, 100, 1e7, 1), TRY(2, 1, 108, 1.8e7, 1), TRY(1, 2, 90, 2e7, 1)}, 3);
    EXPECT_EQ(s.instances, 1);
    EXPECT_EQ(s.threads, 1);
}

TEST(fewer_processors_win_a_tie)
{
    choose((struct scale_try[]){TRY(1, 1, 100, 1e7, 1), TRY(8, 1, 300, 2e7, 1), TRY(4, 1, 295, 1e7, 1)}, 3);
    EXPECT_EQ(s.instances, 4);
}

TEST(a_try_that_failed_does_not_count)
{
    choose((struct scale_try[]){TRY(1, 1, 100, 1e7, 1), TRY(2, 1, 0, 0, 0), TRY(1, 2, 150, 1.2e7, 1)}, 3);
    EXPECT_EQ(s.instances, 1);
    EXPECT_EQ(s.threads, 2);
    EXPECT(!str_contains(str_c(s.reason), STR("2 x 1")));
}

TEST(nothing_ran_at_all)
{
    choose((struct scale_try[]){TRY(1, 1, 0, 0, 0), TRY(2, 1, 0, 0, 0)}, 2);
    EXPECT_EQ(s.instances, 1);
    EXPECT_EQ(s.threads, 1);
}

/* Two instances had one processor between them: wall time says that they gain nothing, processor time that they cost no more each. */
TEST(on_a_busy_machine_processor_time_counts)
{
    choose((struct scale_try[]){TRY(1, 1, 60, 9.4e6, 1.6), TRY(2, 1, 62, 9.8e6, 1.7), TRY(1, 2, 70, 9.0e6, 1.3)}, 3);
    EXPECT_EQ(s.is_calm, 0);
    EXPECT_EQ(s.instances, 2);
    EXPECT_EQ(s.threads, 1);
    EXPECT(str_contains(str_c(s.reason), STR("the machine was busy")));
}

/* Every run waits for the same memory: twice the processor time for each. */
TEST(on_a_busy_machine_instances_in_each_others_way_show_too)
{
    choose((struct scale_try[]){TRY(1, 1, 60, 1e7, 1.6), TRY(2, 1, 62, 1.95e7, 1.7)}, 2);
    EXPECT_EQ(s.instances, 1);
}

TEST(what_another_process_wrote_is_checked)
{
    struct scale_limits l = limits(2, 0, 0, 64);
    const struct scale_try tries[] = {TRY(1, 1, 106, 9.4e6, 1), TRY(2, 1, 204, 9.8e6, 1), TRY(1, 2, 171, 11e6, 1)};
    choose(tries, 3);
    EXPECT(scale_is_sane(&s, &l));
    const struct scale good = s;
    s.instances = 3;
    EXPECT(!scale_is_sane(&s, &l));
    s = good;
    s.threads = 0;
    EXPECT(!scale_is_sane(&s, &l));
    s = good;
    s.budget = 4;
    EXPECT(!scale_is_sane(&s, &l));
    s = good;
    s.tries_len = SCALE_TRIES_MAX + 1;
    EXPECT(!scale_is_sane(&s, &l));
    s = good;
    s.tries[1].rows_per_s = 1.0 / 0.0;
    EXPECT(!scale_is_sane(&s, &l));
    s = good;
    memset(s.reason, 'x', sizeof s.reason);
    EXPECT(!scale_is_sane(&s, &l));
}

/* ---- real runs at the same time ---- */

struct copy {
    int threads;
};

static _Atomic int loaded, most_loaded, running, most_running, unloads, fail_threads;
static int expected;          /* a run waits until so many have run at a time, where so many are loaded */
static pthread_t main_thread; /* its runs are alone */

static enum err_code copy_load(const struct backend_load *opt, void **out, struct err *err)
{
    if (opt->threads == fail_threads)
        return err_set(err, ERR_BACKEND, "not so many threads");
    struct copy *c = calloc(1, sizeof *c);
    EXPECT(c != NULL);
    c->threads = opt->threads;
    int n = atomic_fetch_add(&loaded, 1) + 1;
    if (n > most_loaded)
        most_loaded = n;
    *out = c;
    return ERR_OK;
}

static enum err_code copy_describe(void *instance, struct model_desc *d, struct err *err)
{
    (void)instance;
    (void)d;
    (void)err;
    return ERR_OK;
}

static void copy_unload(void *instance)
{
    atomic_fetch_sub(&loaded, 1);
    unloads++;
    free(instance);
}

static enum err_code copy_run(void *instance, struct backend_run *run, struct err *err)
{
    (void)instance;
    int n = atomic_fetch_add(&running, 1) + 1, most = atomic_load(&most_running);
    while (n > most && !atomic_compare_exchange_weak(&most_running, &most, n))
        ;
    bool waits = atomic_load(&loaded) + 1 >= expected && !pthread_equal(pthread_self(), main_thread);
    for (int i = 0; i < 20000 && waits && atomic_load(&most_running) < expected; i++)
        (void)nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
    run->out[0] = run->in[0];
    run->out[0].data = backend_out_alloc(run, run->in[0].bytes);
    if (run->out[0].data)
        memcpy(run->out[0].data, run->in[0].data, run->in[0].bytes);
    atomic_fetch_sub(&running, 1);
    return run->out[0].data ? ERR_OK : err_set(err, ERR_TOO_LARGE, "no room");
}

static const char *const extensions[] = {".copy", NULL};
static const struct backend backend = {.name = "copy",
                                       .extensions = extensions,
                                       .load = copy_load,
                                       .describe = copy_describe,
                                       .run = copy_run,
                                       .unload = copy_unload};

static void try_all(int budget, uint64_t time_ns)
{
    static struct model_desc d;
    static struct copy first = {.threads = 1};
    struct backend_load opt = {.name = "m", .threads = 1};
    struct scale_limits l = limits(budget, 0, 0, 64);
    rows_desc(&d, 4);
    d.has_batch_dim = d.may_share = 1;
    d.max_batch = 4;
    d.measures_len = 2;
    d.measures[0] = (struct model_measure){.rows = 1, .ns = 1000};
    d.measures[1] = (struct model_measure){.rows = 4, .ns = 1000};
    main_thread = pthread_self();
    scale_try_all(&backend, &opt, &first, &d, &l, clock_now_ns() + time_ns, &s);
}

TEST_SLOW(instances_run_at_the_same_time_and_are_unloaded, 60)
{
    expected = 3;
    fail_threads = -1;
    try_all(3, ENOUGH_NS);
    EXPECT_EQ(most_running, 3);
    EXPECT_EQ(most_loaded, 2); /* beside the one that was there */
    EXPECT_EQ(loaded, 0);
    EXPECT_EQ(s.tries_len, 4); /* 1 x 1, 3 x 1, 1 x 2, 1 x 3 */
    EXPECT_EQ(s.rows, 4);
    for (int i = 0; i < s.tries_len; i++)
        EXPECT(s.tries[i].rows_per_s > 0 && s.tries[i].spread >= 1);
}

TEST_SLOW(an_engine_that_refuses_threads_is_not_tried_with_them, 60)
{
    expected = 1;
    fail_threads = 2;
    try_all(2, ENOUGH_NS);
    EXPECT_EQ(s.tries_len, 3);
    EXPECT(s.tries[2].threads == 2 && s.tries[2].rows_per_s <= 0);
    EXPECT_EQ(s.threads, 1);
    EXPECT_EQ(loaded, 0);
}

TEST(no_time_at_all_leaves_one_instance)
{
    expected = 1;
    fail_threads = -1;
    try_all(2, 0);
    EXPECT_EQ(s.instances, 1);
    EXPECT_EQ(s.threads, 1);
    EXPECT_EQ(loaded, 0);
}
