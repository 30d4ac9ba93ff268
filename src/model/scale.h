/* How many instances of a model, and how many threads of the engine in each: chosen by trying on the model itself.
 *
 * The machine's processors are divided among the models that are to choose; a model tries what it may: all its processors as instances, all as threads of
 * one instance, and between. What counts is rows a second with everything busy; what gains less than SCALE_GAIN is not worth its memory. */
#ifndef MODEL_SCALE_H
#define MODEL_SCALE_H

#include "model/backend.h"

#define SCALE_TRIES_MAX  10
#define SCALE_GAIN       1.10    /* more rows a second than one instance with one thread, or it stays that */
#define SCALE_TIE        1.05    /* within that of the best one, fewer processors and then fewer instances are better */
#define SCALE_CALM       1.10    /* repeated measurements differ by less, or they are not believed */
#define SCALE_REQUEST_NS 20000.0 /* what the smallest request costs beside the model (docs/benchmarks.md) */

struct scale_try {
    int32_t instances, threads;
    double rows_per_s; /* 0: not tried, or it failed */
    double cpu_ns;     /* processor time for a row, all threads */
    double spread;     /* greatest of the repeats to the smallest; 1: they agree */
};

/* Written by the process that tries, read by the master, which believes nothing of it unchecked. Fixed layout, no pointers. */
struct scale {
    int32_t budget;             /* processors that were divided */
    int32_t instances, threads; /* chosen */
    int32_t rows;               /* of each run */
    int32_t is_calm;            /* 0: the machine was busy; the choice goes by processor time, and is not to be kept */
    int32_t tries_len;
    struct scale_try tries[SCALE_TRIES_MAX]; /* the first one is one instance with one thread */
    char reason[240];
};

struct scale_limits {
    int budget;             /* processors */
    int instances, threads; /* set by the user; 0: to be chosen */
    int instances_max;      /* what memory allows, and what is worth having (scale_useful) */
};

/* A model's part of the machine: what those that are set by hand leave is divided among those that choose; 1 at least. */
int scale_share(int cores, int claimed, int choosing);
/* Instances beyond which the connections cannot bring enough rows, when a row costs row_ns at its best: the machine's processors are divided between both. row_ns 0: unknown,
 * no limit. */
int scale_useful(int cores, double row_ns);
/* What to try, the first one is the least there is; returns how many, at most SCALE_TRIES_MAX. One: there is nothing to choose. */
int scale_candidates(const struct scale_limits *l, struct scale_try out[SCALE_TRIES_MAX]);
/* Sets instances, threads, is_calm and reason from the tries. */
void scale_choose(struct scale *s);
/* Bounds and sense of what another process wrote. */
bool scale_is_sane(const struct scale *s, const struct scale_limits *l);

/* Loads and runs what scale_candidates says, and chooses. instance: a loaded one with one thread (or with the threads that are set). In a process of its own: it
 * takes as much memory as the instances together. Ends after deadline_ns (clock_now_ns time) plus one run. */
void scale_try_all(const struct backend *b, const struct backend_load *opt, void *instance, const struct model_desc *d,
                   const struct scale_limits *l, uint64_t deadline_ns, struct scale *out);

#endif
