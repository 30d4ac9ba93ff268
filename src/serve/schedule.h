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
 * - where requests have deadlines that is not enough, since what was admitted keeps its place: of the clients of a thread, those that have lately had more than
 *   their share are refused earlier, so that the others find room. A queue that is a little shorter costs nothing.
 *
 * Tags are of all edge threads together: a client with connections on several threads has one share, and blocks of all lanes stand in one order.
 *
 * Cost. Runs of n rows take about a + b n; a and b are learned from runs (exponentially forgetting least squares). From them comes the predicted finish of
 * a new request, and with it the early refusal of what cannot be in time, and the Retry-After that it is told.
 *
 * Lag. What is admitted is a promise, and much is not in a + b n: time between two runs, a processor that others use too, later requests that overtake.
 * So the predictions are held against what came of them: how many times as long nearly all requests of a priority took is learned, and counted in. It
 * grows at once and shrinks slowly, because a queue that is a little shorter costs nothing, and a broken promise costs a run for nobody. */
#ifndef SERVE_SCHEDULE_H
#define SERVE_SCHEDULE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define SCHEDULE_AGE_NS       UINT64_C(500000000)
#define SCHEDULE_PRIORITY_MAX 10
#define SCHEDULE_CLIENTS      1024 /* tags remembered; clients that collide share one */
#define SCHEDULE_GREEDY       1.5  /* what is predicted counts so much for who had more than his share */
#define LAG_SPARE             0.05 /* beyond what was learned: what shrinks until something is late would be late now and then */

struct cost {
    double n, r, t, rr, rt; /* decayed sums: samples, rows, ns, rows squared, rows times ns */
    double a_ns, b_ns;      /* the fit; both >= 0 */
};

void cost_learn(struct cost *c, uint32_t rows, uint64_t run_ns);
/* ns of one run; 0 before anything was learned. */
double cost_run_ns(const struct cost *c, double rows);

struct lag {
    double times;   /* as long as predicted, nearly always; 0: nothing is known */
    uint64_t at_ns; /* learned last */
};

/* `now_ns`: when the request ended that was predicted to take expected_ns and took took_ns. */
void lag_learn(struct lag *l, uint64_t expected_ns, uint64_t took_ns, uint64_t now_ns);
/* At least 1. When nobody has been admitted for a while, for it, it goes back: what it is now is found out by trying. */
double lag_times(const struct lag *l, uint64_t now_ns);

struct schedule_tags {
    _Atomic uint64_t tag[SCHEDULE_CLIENTS];
};

/* Rows that were admitted of each client, halved again and again. */
struct share {
    uint64_t since_ns;
    uint32_t total, clients;
    uint16_t rows[SCHEDULE_CLIENTS];
};

/* Of one thread. */
struct schedule {
    struct cost cost;
    struct lag lag[SCHEDULE_PRIORITY_MAX];
    struct share share;
    struct schedule_tags *tags; /* borrowed; any thread may have the same */
};

struct schedule_ask {
    uint64_t now_ns, deadline_ns, client;
    uint32_t priority; /* 1 ... SCHEDULE_PRIORITY_MAX */
    uint32_t rows;
};

/* Number of a new request. */
uint64_t schedule_order(const struct schedule *s, const struct schedule_ask *a);
/* Its client has lately had more than others want to leave it. */
bool schedule_is_greedy(struct schedule *s, const struct schedule_ask *a);
/* It was admitted: its client's tag advances by what it costs. */
void schedule_charge(struct schedule *s, const struct schedule_ask *a, uint32_t batch, int instances);
/* What was measured before the first run. */
void schedule_expect(struct schedule *s, uint32_t rows, uint64_t run_ns);
/* When a request would be answered that comes behind `rows_ahead` rows in runs of up to batch rows on `instances` workers. 0: unknown. */
uint64_t schedule_finish(const struct schedule *s, uint64_t now_ns, double rows_ahead, uint32_t rows, uint32_t batch,
                         int instances);

#endif
