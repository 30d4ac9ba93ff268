#include "model/scale.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"

int scale_share(int cores, int claimed, int choosing)
{
    int left = cores - claimed;
    int share = choosing > 0 ? left / choosing : left;
    return share > 1 ? share : 1;
}

int scale_useful(int cores, double row_ns)
{
    if (!(row_ns > 0))
        return cores;
    int n = (int)ceil(cores * row_ns / (row_ns + SCALE_REQUEST_NS));
    return n > 1 ? n : 1;
}

static int add(struct scale_try *out, int n, int instances, int threads)
{
    for (int i = 0; i < n; i++)
        if (out[i].instances == instances && out[i].threads == threads)
            return n;
    if (n == SCALE_TRIES_MAX)
        return n;
    out[n] = (struct scale_try){.instances = instances, .threads = threads};
    return n + 1;
}

int scale_candidates(const struct scale_limits *l, struct scale_try out[SCALE_TRIES_MAX])
{
    int n = add(out, 0, l->instances > 0 ? l->instances : 1, l->threads > 0 ? l->threads : 1);
    for (int threads = 1; threads <= l->budget; threads *= 2) { /* threads in twos: engines divide work so */
        int t = l->threads > 0 ? l->threads : threads;
        int most = l->budget / t < l->instances_max ? l->budget / t : l->instances_max;
        int i = l->instances > 0 ? l->instances : most;
        if (i >= 1 && i * t <= l->budget)
            n = add(out, n, i, t);
    }
    /* All threads in one instance, also where their number is no power of two. */
    if (l->threads == 0 && l->budget / out[0].instances >= 1)
        n = add(out, n, out[0].instances, l->budget / out[0].instances);
    return n;
}

/* Rows a second that count: on a busy machine wall time says nothing, but what a row takes of the processors does, as long as an instance keeps one busy. */
static double worth(const struct scale *s, const struct scale_try *t)
{
    if (s->is_calm || t->rows_per_s <= 0)
        return t->rows_per_s;
    return t->threads == s->tries[0].threads && t->cpu_ns > 0 ? t->instances * 1e9 / t->cpu_ns : 0;
}

static int cores_of(const struct scale_try *t)
{
    return t->instances * t->threads;
}

static bool is_smaller(const struct scale_try *a, const struct scale_try *b)
{
    return cores_of(a) != cores_of(b) ? cores_of(a) < cores_of(b) : a->instances < b->instances;
}

static const struct scale_try *best_of(const struct scale *s)
{
    const struct scale_try *best = &s->tries[0];
    double most = 0;
    for (int i = 0; i < s->tries_len; i++)
        most = worth(s, &s->tries[i]) > most ? worth(s, &s->tries[i]) : most;
    if (most <= 0 || most < worth(s, best) * SCALE_GAIN)
        return best;
    bool has_one = false;
    for (int i = 1; i < s->tries_len; i++) {
        const struct scale_try *t = &s->tries[i];
        if (worth(s, t) * SCALE_TIE < most || (has_one && !is_smaller(t, best)))
            continue;
        best = t;
        has_one = true;
    }
    return best;
}

static void explain(struct scale *s)
{
    size_t at = 0;
    for (int i = 0; i < s->tries_len && at < sizeof s->reason; i++) {
        const struct scale_try *t = &s->tries[i];
        if (worth(s, t) <= 0)
            continue;
        at += (size_t)snprintf(s->reason + at, sizeof s->reason - at, "%s%d x %d: %.4g/s", at > 0 ? ", " : "",
                               t->instances, t->threads, worth(s, t));
    }
    if (at < sizeof s->reason)
        (void)snprintf(s->reason + at, sizeof s->reason - at, "%s",
                       s->is_calm ? " (rows, instances x threads)"
                                  : " (rows by processor time: the machine was busy; to be tried again)");
}

void scale_choose(struct scale *s)
{
    CHECK(s->tries_len >= 1 && s->tries_len <= SCALE_TRIES_MAX);
    s->is_calm = 1;
    for (int i = 0; i < s->tries_len; i++)
        s->is_calm = s->is_calm && (s->tries[i].rows_per_s <= 0 || s->tries[i].spread <= SCALE_CALM);
    const struct scale_try *best = best_of(s);
    s->instances = best->instances;
    s->threads = best->threads;
    explain(s);
}

bool scale_is_sane(const struct scale *s, const struct scale_limits *l)
{
    struct scale_try may[SCALE_TRIES_MAX];
    int n = scale_candidates(l, may);
    bool is_known = false;
    if (s->tries_len < 1 || s->tries_len > SCALE_TRIES_MAX || s->budget != l->budget ||
        memchr(s->reason, '\0', sizeof s->reason) == NULL)
        return false;
    for (int i = 0; i < n; i++)
        is_known = is_known || (may[i].instances == s->instances && may[i].threads == s->threads);
    for (int i = 0; i < s->tries_len; i++) {
        const struct scale_try *t = &s->tries[i];
        if (t->instances < 1 || t->instances > 4096 || t->threads < 1 || t->threads > 4096 ||
            !isfinite(t->rows_per_s) || !isfinite(t->cpu_ns) || !isfinite(t->spread))
            return false;
    }
    return is_known;
}
