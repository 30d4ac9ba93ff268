/* Does a model gain from batches, and up to which size (backend_measure_batching in backend.h).
 *
 * Sizes are tried in ascending order until the last two brought nothing, each until its two shortest runs agree; if time is left, all once more, and again while that
 * makes a time shorter by more than a hundredth, five times at most. The shortest time of each
 * counts: what a busy machine adds is not the model's. A run during which the thread was preempted counts with its processor time. Where no two runs of a size agreed, or
 * the later ones were much shorter, the machine was not calm: the verdict is the best to be had today. Measured again another day, the shortest of both days
 * count. */
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "base/clock.h"
#include "model/backend.h"
#include "model/trial.h"

#define GAIN        1.05            /* less more throughput is not worth the longer run */
#define GAIN_SHORT  1.02            /* ... but where nobody notices how long it is */
#define SHORT_NS    (1 * NS_PER_MS) /* such a run */
#define OVERHEAD_NS 50000.0         /* what a run costs beside the model: to wake, claim, hand back, with cold caches */
#define ROWS_MAX    2048
#define IN_BYTES    ((size_t)64 << 20) /* inputs of the largest run that is tried */
#define REPEATS     2                  /* runs of each size at least, since the first one may make room, or compile */
#define REPEATS_MAX 5
#define CALM        1.05 /* runs that differ by less agree */
#define STEADY      1.01 /* ... and these need not be looked at again */
#define ROUNDS_MAX  5
#define SHARE_MIN                                                                                                      \
    32 /* a run that had less of its time than this share of a processor waited for something else than its turn */
#define SLOW_RUNS   16 /* a slow model may take as long as so many rows */
#define SLOW_NS_MAX (1 * NS_PER_S)

static long preemptions(void)
{
    struct rusage u;
    return getrusage(RUSAGE_THREAD, &u) == 0 ? u.ru_nivcsw : 0;
}

/* One run; 0: it failed or is out of time. */
static uint64_t time_run(struct trial *t, uint32_t rows)
{
    int order[ROWS_MAX];
    struct err err;
    for (uint32_t i = 0; i < rows; i++)
        order[i] = (int)(i % TRIAL_ROWS);
    long preempted = preemptions();
    uint64_t cpu = clock_thread_ns(), start = clock_now_ns();
    if (trial_run(t, order, rows, NULL, &err) != ERR_OK)
        return 0;
    uint64_t wall = clock_now_ns() - start;
    cpu = clock_thread_ns() - cpu;
    bool is_disturbed = preemptions() != preempted && cpu > wall / SHARE_MIN && cpu < wall;
    uint64_t ns = is_disturbed ? cpu : wall;
    return ns > 0 ? ns : 1;
}

static double throughput(const struct model_measure *m)
{
    return m->rows / ((double)m->ns + OVERHEAD_NS);
}

/* Is it worth to run as many rows as `more` does, where one could run as many as `fewer` does? */
static bool gains(const struct model_measure *fewer, const struct model_measure *more)
{
    double gain = more->ns <= SHORT_NS ? GAIN_SHORT : GAIN;
    return throughput(more) > throughput(fewer) * gain;
}

/* The smallest size over which no larger one gains. */
static uint32_t best_rows(const struct model_desc *d)
{
    const struct model_measure *m = d->measures;
    for (uint32_t i = 0; i < d->measures_len; i++) {
        uint32_t k = i + 1;
        while (k < d->measures_len && !gains(&m[i], &m[k]))
            k++;
        if (k == d->measures_len)
            return m[i].rows;
    }
    return 1;
}

/* The last two sizes brought nothing over the one before them. */
static bool has_levelled_off(const struct model_desc *d)
{
    uint32_t n = d->measures_len;
    const struct model_measure *m = d->measures;
    return n >= 3 && !gains(&m[n - 3], &m[n - 2]) && !gains(&m[n - 3], &m[n - 1]);
}

static bool agree(uint64_t shorter, uint64_t longer)
{
    return (double)longer <= (double)shorter * CALM;
}

static bool is_in_time(const struct trial *t, uint64_t run_ns)
{
    return clock_now_ns() + run_ns <= t->deadline_ns;
}

/* One size: enough runs that the two shortest agree. False: no time, or the model refuses. */
static bool try_rows(struct trial *t, struct model_desc *d, uint32_t rows, bool *is_calm)
{
    uint64_t least = UINT64_MAX, second = UINT64_MAX;
    uint64_t expected = d->measures_len > 0 ? 2 * d->measures[d->measures_len - 1].ns : 0;
    int n = 0;
    for (; n < REPEATS || (n < REPEATS_MAX && !agree(least, second)); n++) {
        if (!is_in_time(t, expected))
            break;
        uint64_t ns = time_run(t, rows);
        if (ns == 0)
            return false;
        second = ns < least ? least : ns < second ? ns : second;
        least = ns < least ? ns : least;
        expected = least;
    }
    if (n < REPEATS)
        return false;
    *is_calm = *is_calm && agree(least, second);
    d->measures[d->measures_len++] = (struct model_measure){.rows = rows, .ns = least};
    return true;
}

/* True: it ended because more rows bring nothing, or the largest size was reached. */
static bool try_sizes(struct trial *t, struct model_desc *d, uint32_t rows_max, bool *is_calm)
{
    uint32_t rows = 1;
    while (d->measures_len < MODEL_MEASURES_MAX) {
        if (!try_rows(t, d, rows, is_calm))
            return false;
        if (rows == rows_max || has_levelled_off(d))
            return true;
        rows = rows * 2 < rows_max ? rows * 2 : rows_max;
    }
    return true;
}

/* All sizes once more. False: nothing became shorter by more than what does not matter for the choice, or time is up. */
static bool try_again(struct trial *t, struct model_desc *d, bool *is_calm)
{
    bool is_better = false;
    for (uint32_t i = 0; i < d->measures_len; i++) {
        if (!is_in_time(t, d->measures[i].ns))
            return false;
        uint64_t ns = time_run(t, d->measures[i].rows);
        if (ns == 0 || ns >= d->measures[i].ns)
            continue;
        *is_calm = *is_calm && agree(ns, d->measures[i].ns);
        is_better = is_better || (double)ns * STEADY < (double)d->measures[i].ns;
        d->measures[i].ns = ns;
    }
    return is_better;
}

/* Times of another day, where they are shorter. */
static void take_shorter(struct model_desc *d, const struct model_measure *before, uint32_t before_len)
{
    for (uint32_t i = 0; i < d->measures_len && i < before_len; i++)
        if (before[i].rows == d->measures[i].rows && before[i].ns > 0 && before[i].ns < d->measures[i].ns)
            d->measures[i].ns = before[i].ns;
}

static int write_time(char *out, size_t size, uint64_t ns)
{
    return ns < 1000000 ? snprintf(out, size, "%.3g us", (double)ns / 1e3)
                        : snprintf(out, size, "%.3g ms", (double)ns / 1e6);
}

/* Appends to batch_reason: "; 1 row 4.2 ms, 4 rows 17.9 ms: ...". */
static void explain(struct model_desc *d, uint32_t chosen, bool is_configured, bool is_complete)
{
    const struct model_measure *last = &d->measures[d->measures_len - 1], *shown = last;
    char one[32], many[32], text[200];
    for (uint32_t i = 1; i < d->measures_len; i++)
        if (d->measures[i].rows == chosen)
            shown = &d->measures[i];
    (void)write_time(one, sizeof one, d->measures[0].ns);
    (void)write_time(many, sizeof many, shown->ns);
    int n = shown->rows == 1 ? snprintf(text, sizeof text, "1 row %s", one)
                             : snprintf(text, sizeof text, "1 row %s, %u rows %s", one, shown->rows, many);
    const char *verdict = is_configured          ? ""
                          : d->measures_len == 1 ? ": no time to measure more"
                          : chosen == 1          ? ": no gain, parallel instances instead"
                          : chosen < last->rows  ? ": larger runs gain nothing"
                          : is_complete          ? ": the largest run"
                                                 : ": no time to measure more";
    (void)snprintf(text + n, sizeof text - (size_t)n, "%s", verdict);
    size_t at = strlen(d->batch_reason);
    (void)snprintf(d->batch_reason + at, sizeof d->batch_reason - at, "%s%s", at > 0 ? "; " : "", text);
}

static uint32_t most_rows(const struct trial *t, const struct model_desc *d)
{
    size_t row = 1;
    for (uint32_t k = 0; k < d->inputs_len; k++)
        row += t->row_bytes[k];
    uint32_t rows = d->max_batch < ROWS_MAX ? d->max_batch : ROWS_MAX;
    return rows > IN_BYTES / row ? (uint32_t)(IN_BYTES / row) + 1 : rows;
}

bool backend_measure_batching(const struct backend *b, void *instance, struct model_desc *d, bool is_configured,
                              uint64_t budget_ns)
{
    struct trial t;
    struct err err;
    struct model_measure before[MODEL_MEASURES_MAX];
    uint32_t before_len = d->measures_len;
    bool is_calm = true;
    uint64_t start_ns = clock_now_ns();
    memcpy(before, d->measures, sizeof before);
    d->measures_len = 0;
    bool is_built_in =
        b->extensions != NULL && b->extensions[0] == NULL; /* made for tests; their runs may be made long */
    if (is_built_in || !d->may_share || d->max_batch < 2 ||
        trial_init(&t, b, instance, d, start_ns + SLOW_NS_MAX, &err) != ERR_OK)
        return true;
    uint32_t rows_max = most_rows(&t, d);
    if (trial_grow(&t, rows_max, &err) == ERR_OK) {
        uint64_t slow_ns = t.run_ns < SLOW_NS_MAX / SLOW_RUNS ? t.run_ns * SLOW_RUNS : SLOW_NS_MAX;
        t.deadline_ns = clock_now_ns() + (slow_ns > budget_ns ? slow_ns : budget_ns);
        bool is_complete = try_sizes(&t, d, rows_max, &is_calm);
        for (int i = 0; i < ROUNDS_MAX && try_again(&t, d, &is_calm); i++)
            ;
        take_shorter(d, before, before_len);
        if (d->measures_len > 0) {
            uint32_t chosen = is_configured ? d->max_batch : best_rows(d);
            explain(d, chosen, is_configured, is_complete);
            if (d->measures_len > 1)
                d->max_batch = chosen;
        }
        is_calm = is_calm && d->measures_len > 0;
    }
    trial_done(&t);
    return is_calm;
}
