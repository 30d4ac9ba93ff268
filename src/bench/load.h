/* The load: one thread, many keep-alive connections of HTTP/1.1, one request again and again.
 *
 * Closed loop: each connection sends its next request when the last one was answered. What it shows is throughput; its latencies are those that so many patient
 * clients see. Open loop: requests come at times that do not depend on the server, as those of people do, at a fixed distance or by a Poisson
 * process. Each has an intended start; when all connections are busy it waits here, and that wait is part of its latency, which is always counted from the
 * intended start. So a server that stops for a second is shown as slow for all who came in that second, and not only for the few whose requests it
 * held ("coordinated omission"). Requests of the window that are never answered count with the time that they have waited so far. */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include "base/err.h"
#include "bench/histogram.h"
#include "bench/subject.h"

#define LOAD_CONNECTIONS_MAX 20000

enum load_kind { LOAD_CLOSED, LOAD_POISSON, LOAD_FIXED };

struct load_options {
    const struct subject *subject;
    enum load_kind kind;
    int connections; /* open loop: most requests in flight */
    double rate;     /* open loop: requests a second */
    uint64_t warmup_ns, window_ns, timeout_ns;
    const int *pids; /* whose CPU time is measured; none: not measured */
    size_t pids_len;
};

struct load_result {
    uint64_t answers;    /* that came within the window, of any status */
    uint64_t bad_status; /* of these, not 2xx */
    uint64_t broken;     /* connections that ended within a request */
    uint64_t timeouts;
    uint64_t unanswered; /* open loop: meant to start in the window, without an answer at the end */
    uint64_t bytes_in;
    double window_s, cpu_s;
    int first_bad; /* first status that was not 2xx; 0: none */
    struct histogram latency;
};

/* Errors: the server cannot be reached, or no longer. */
enum err_code load_run(const struct load_options *o, struct load_result *out, struct err *err);

#endif
