/* A request to end a run ends that run or none. */
#include <pthread.h>
#include <stdatomic.h>

#include "base/clock.h"
#include "serve/current_run.h"
#include "t.h"

#define LATE_NS (100 * NS_PER_MS) /* for what must not happen */

static const struct exec_block first = {.lane = 1, .block = 2, .gen = 3}, next = {.lane = 1, .block = 2, .gen = 4};

static void count_abort(void *instance)
{
    (*(int *)instance)++;
}

static const struct backend counting = {.name = "counting", .abort = count_abort};

static int aborts(struct current_run *r, const struct exec_block *b)
{
    int asked = 0;
    bool told = current_run_abort(r, b, &counting, &asked);
    EXPECT_EQ(told, asked);
    return asked;
}

TEST(only_the_run_in_progress_is_ended)
{
    struct current_run r;
    current_run_init(&r);
    EXPECT_EQ(aborts(&r, &first), 0);
    EXPECT_EQ(aborts(&r, &(struct exec_block){0}), 0); /* no run is not run 0 of block 0 */
    current_run_begin(&r, &first);
    EXPECT_EQ(aborts(&r, &first), 1);
    EXPECT_EQ(aborts(&r, &next), 0);
    EXPECT_EQ(aborts(&r, &(struct exec_block){.lane = 0, .block = 2, .gen = 3}), 0);
    EXPECT_EQ(aborts(&r, &(struct exec_block){.lane = 1, .block = 0, .gen = 3}), 0);
    current_run_end(&r);
    EXPECT_EQ(aborts(&r, &first), 0);
    current_run_begin(&r, &next);
    EXPECT_EQ(aborts(&r, &first), 0);
    EXPECT_EQ(aborts(&r, &next), 1);
}

TEST(run_zero_of_the_first_block_can_be_ended)
{
    struct current_run r;
    struct exec_block zero = {0};
    current_run_init(&r);
    current_run_begin(&r, &zero);
    EXPECT_EQ(aborts(&r, &zero), 1);
}

TEST(a_backend_that_cannot_end_runs_is_not_asked)
{
    static const struct backend deaf = {.name = "deaf"};
    struct current_run r;
    current_run_init(&r);
    current_run_begin(&r, &first);
    EXPECT(!current_run_abort(&r, &first, &deaf, NULL));
}

/* ---- the run ends at the very moment when it is to be ended ---- */

struct race {
    struct current_run current;
    _Atomic bool is_asked, has_next_begun;
    bool hit_next;
};

static void slow_abort(void *instance)
{
    struct race *race = instance;
    atomic_store(&race->is_asked, true);
    for (uint64_t end = clock_now_ns() + LATE_NS; clock_now_ns() < end && !atomic_load(&race->has_next_begun);)
        ;
    race->hit_next = atomic_load(&race->has_next_begun);
}

static void *run_loop(void *arg)
{
    struct race *race = arg;
    while (!atomic_load(&race->is_asked))
        ;
    current_run_end(&race->current);
    current_run_begin(&race->current, &next);
    atomic_store(&race->has_next_begun, true);
    return NULL;
}

TEST(the_next_run_does_not_begin_while_the_one_before_is_being_ended)
{
    static const struct backend slow = {.name = "slow", .abort = slow_abort};
    static struct race race;
    pthread_t runner;
    current_run_init(&race.current);
    current_run_begin(&race.current, &first);
    EXPECT_EQ(pthread_create(&runner, NULL, run_loop, &race), 0);
    EXPECT(current_run_abort(&race.current, &first, &slow, &race));
    EXPECT_EQ(pthread_join(runner, NULL), 0);
    EXPECT(!race.hit_next);
    EXPECT(atomic_load(&race.has_next_begun));
}
