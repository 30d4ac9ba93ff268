/* The load: one thread, many keep-alive connections of HTTP/1.1, one request again and again.
 *
 * Closed loop: each connection sends its next request when the last one was answered. What it shows is throughput; its latencies are those that so many patient
 * clients see. Open loop: requests come at times that do not depend on the server, as those of people do, at a fixed distance or by a Poisson
 * process. Each has an intended start; when all connections are busy it waits here, and that wait is part of its latency, which is always counted from the
 * intended start. So a server that stops for a second is shown as slow for all who came in that second, and not only for the few whose requests it
 * held ("coordinated omission"). Requests of the window that are never answered count with the time that they have waited so far.
 *
 * Script: not one request again and again but a list of them, each at its time, as they were recorded. Latency is as in the open loop; with speed 0 each is
 * sent as soon as a connection is free, and counts from then. */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include "base/err.h"
#include "bench/histogram.h"
#include "bench/subject.h"

#define LOAD_CONNECTIONS_MAX 20000

#define LOAD_ANSWER_MAX ((size_t)128 << 20) /* of a script */

enum load_kind { LOAD_CLOSED, LOAD_POISSON, LOAD_FIXED, LOAD_SCRIPT };

struct load_item {
    uint64_t at_ns;     /* from the script's beginning; ascending */
    struct str request; /* all its bytes */
};

struct load_answer {
    int status;
    struct str body;          /* with BUF_PAD readable bytes behind it */
    struct str header_length; /* Inference-Header-Content-Length; "": none */
    uint64_t latency_ns;
};

struct load_script {
    const struct load_item *items;
    size_t len;
    double speed; /* 2: twice as fast as the times say; 0: as fast as it goes */
    void (*on_answer)(void *arg, size_t item, const struct load_answer *a); /* the answer is borrowed */
    void *arg;
};

struct load_options {
    const struct subject *subject;
    enum load_kind kind;
    int connections;                           /* open loop: most requests in flight */
    double rate;                               /* open loop: requests a second */
    uint64_t warmup_ns, window_ns, timeout_ns; /* of a script only timeout_ns counts */
    const struct load_script *script;          /* LOAD_SCRIPT; its requests go to subject's address */
    const int *pids;                           /* whose CPU time is measured; none: not measured */
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
