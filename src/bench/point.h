/* One measured point: a load at one setting, run several times; medians with their spread, and how they are shown. */
#ifndef BENCH_POINT_H
#define BENCH_POINT_H

#include "base/buf.h"
#include "base/json.h"
#include "bench/load.h"

#define POINT_REPEATS_MAX 100

struct figure {
    double median, low, high; /* over the repeats */
};

struct point {
    enum load_kind kind;
    int connections;
    double rate; /* open loop */
    int repeats;
    bool has_cpu;
    struct figure rps, p50_us, p90_us, p99_us, p999_us, max_us, mean_us;
    struct figure cpu_us;                                       /* of the server, for each request */
    struct figure cores;                                        /* that the server kept busy */
    uint64_t answers, bad_status, broken, timeouts, unanswered; /* of all repeats */
    int first_bad;
    struct histogram latency; /* of all repeats */
};

enum err_code point_run(const struct load_options *o, int repeats, struct point *out, struct err *err);
/* All answers came, and were fine. */
bool point_is_clean(const struct point *p);
/* The point kept up with its rate, was clean, and its p99 is within the objective. */
bool point_holds(const struct point *p, uint64_t p99_ns);

/* An object with all figures. */
void point_json(const struct point *p, struct json_writer *w);
/* A line for each point, and what went wrong below. */
void point_table(const struct point *points, size_t len, struct buf *out);
/* The latencies by quantile, as bars on a logarithmic scale. */
void point_plot(const struct point *p, struct buf *out);

#endif
