/* Who runs first, and who is refused early. Pure functions over a small state, so that tests need neither processes nor clocks.
 *
 * Order. Every request gets a number in nanoseconds; smaller runs sooner:
 *
 *     tag(client) + (priority - 1) * AGE + min(time to its deadline, AGE)
 *
 * - tag: start-time fair queueing (Goyal, Vin, Cheng 1996) with real time as virtual time: the later of now and the finish of the client's previous request, as
 *   if the client had the model for itself. A client that floods only pushes its own tags into the future, and only those of the priority that it floods.
 * - priorities (1 most urgent) are AGE apart: a request of priority 2 overtakes later ones of priority 1 after AGE, so nobody starves, and the bound is known.
 * - within one priority the earlier deadline goes first, as far as it is nearer than AGE.
 *
 * Tags are of all edge threads together: a client with connections on several threads has one share, and blocks of all lanes stand in one order.
 *
 * Cost. Runs of n rows take about a + b n; a and b are learned from runs (exponentially forgetting least squares). From them comes the predicted finish of
 * a new request, and with it the early refusal of what cannot be in time, and the Retry-After that it is told. */
#ifndef SERVE_SCHEDULE_H
#define SERVE_SCHEDULE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define SCHEDULE_AGE_NS       UINT64_C(500000000)
#define SCHEDULE_PRIORITY_MAX 10
#define SCHEDULE_CLIENTS      1024 /* tags remembered; clients that collide share one */

struct cost {
    double n, r, t, rr, rt; /* decayed sums: samples, rows, ns, rows squared, rows times ns */
    double a_ns, b_ns;      /* the fit; both >= 0 */
};

void cost_learn(struct cost *c, uint32_t rows, uint64_t run_ns);
/* ns of one run; 0 before anything was learned. */
double cost_run_ns(const struct cost *c, double rows);

struct schedule_tags {
    _Atomic uint64_t tag[SCHEDULE_CLIENTS];
};

/* Of one thread. */
struct schedule {
    struct cost cost;
    struct schedule_tags *tags; /* borrowed; any thread may have the same */
};

struct schedule_ask {
    uint64_t now_ns, deadline_ns, client;
    uint32_t priority; /* 1 ... SCHEDULE_PRIORITY_MAX */
    uint32_t rows;
};

/* Number of a new request. */
uint64_t schedule_order(const struct schedule *s, const struct schedule_ask *a);
/* It was admitted: its client's tag advances by what it costs. */
void schedule_charge(struct schedule *s, const struct schedule_ask *a, uint32_t batch, int instances);
/* What was measured before the first run. */
void schedule_expect(struct schedule *s, uint32_t rows, uint64_t run_ns);
/* When a request would be answered that comes behind `rows_ahead` rows in runs of up to batch rows on `instances` workers. 0: unknown. */
uint64_t schedule_finish(const struct schedule *s, uint64_t now_ns, double rows_ahead, uint32_t rows, uint32_t batch,
                         int instances);

#endif
