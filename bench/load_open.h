/* Open loop, for load.c alone: requests begin at the times of a Poisson process, whatever the server does, and are judged from then on. A request for which no
 * connection is free waits here, and its time runs. */
#ifndef BENCH_LOAD_OPEN_H
#define BENCH_LOAD_OPEN_H

#include <math.h>
#include <stdint.h>

#include "base/json.h"
#include "base/rand.h"

#define LOAD_DUE_MAX 65536

struct load_open {
    double rate; /* requests a second; 0: closed loop */
    uint64_t deadline_ns, next_ns;
    uint64_t due[LOAD_DUE_MAX]; /* ring of begin times that found no free connection */
    uint32_t due_first, due_len;
    uint64_t dropped, in_time, late, refused, failed;
    uint64_t refused_ns, refused_max_ns;
};

/* The begin time of the next request that is due, or 0. */
static inline uint64_t load_open_take(struct load_open *o)
{
    if (o->due_len == 0)
        return 0;
    uint64_t at = o->due[o->due_first];
    o->due_first = (o->due_first + 1) % LOAD_DUE_MAX;
    o->due_len--;
    return at;
}

static inline void load_open_arrive(struct load_open *o, uint64_t now_ns)
{
    while (o->next_ns <= now_ns) {
        if (o->due_len < LOAD_DUE_MAX)
            o->due[(o->due_first + o->due_len++) % LOAD_DUE_MAX] = o->next_ns;
        else
            o->dropped++;
        o->next_ns += (uint64_t)(-log(1 - rand_unit()) / o->rate * 1e9) + 1;
    }
}

static inline void load_open_count(struct load_open *o, int status, uint64_t took_ns)
{
    if (status >= 200 && status <= 299) {
        o->in_time += o->deadline_ns == 0 || took_ns <= o->deadline_ns;
        o->late += o->deadline_ns != 0 && took_ns > o->deadline_ns;
    } else if (status == 429 || status == 503) {
        o->refused++;
        o->refused_ns += took_ns;
        o->refused_max_ns = took_ns > o->refused_max_ns ? took_ns : o->refused_max_ns;
    } else {
        o->failed++;
    }
}

/* Members of the object that is open. */
static inline void load_open_report(const struct load_open *o, double wall_s, struct json_writer *w)
{
    jw_kv_f64(w, "rate", o->rate);
    jw_kv_f64(w, "deadline_ms", (double)o->deadline_ns / 1e6);
    jw_kv_f64(w, "in_time_per_s", (double)o->in_time / wall_s);
    jw_kv_u64(w, "in_time", o->in_time);
    jw_kv_u64(w, "late", o->late);
    jw_kv_u64(w, "refused", o->refused);
    jw_kv_f64(w, "refused_mean_us", o->refused ? (double)o->refused_ns / (double)o->refused / 1e3 : 0);
    jw_kv_f64(w, "refused_max_us", (double)o->refused_max_ns / 1e3);
    jw_kv_u64(w, "failed", o->failed);
    jw_kv_u64(w, "dropped", o->dropped);
}

#endif
