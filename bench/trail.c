/* bench_trail: what explaining costs a request, in ns of CPU time; medians of 15 rounds. The usual request is judged and asked for room in the sample; one
 * that leaves a record also fills it; a recording that nobody asked for is a look at a flag.
 * Build: ninja -C build/release bench_trail. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "serve/record.h"
#include "serve/trail.h"

#define ROUNDS  15
#define REPEATS 1000000

static volatile uint64_t sink;

static void usual(uint64_t i)
{
    uint64_t mean, now = 1 + i * 1000; /* a million requests a second */
    enum trail_kind k = trail_judge(7 + i % 8, 200000 + i % 1000, &mean);
    sink += trail_wants(k, now) + record_is_on();
}

static void kept(uint64_t i)
{
    static struct trail_record r = {.id = "4bf92f3577b34da6a3ce929d0e0e4736", .model = "iris", .kind = TRAIL_SLOW};
    r.total_ns = i;
    sink += trail_add(&r);
}

static int by_size(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

static void measure(const char *name, void (*run)(uint64_t i))
{
    double ns[ROUNDS];
    for (int r = 0; r < ROUNDS; r++) {
        uint64_t from = clock_thread_ns();
        for (uint64_t i = 0; i < REPEATS; i++)
            run(i);
        ns[r] = (double)(clock_thread_ns() - from) / REPEATS;
    }
    qsort(ns, ROUNDS, sizeof ns[0], by_size);
    (void)printf("%-34s %6.1f ns (%.1f to %.1f)\n", name, ns[ROUNDS / 2], ns[0], ns[ROUNDS - 1]);
}

int main(void)
{
    measure("a usual request", usual);
    measure("one that leaves a record", kept);
    return 0;
}
