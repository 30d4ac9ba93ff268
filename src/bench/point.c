#include "bench/point.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"

#define PLOT_WIDTH 48
#define KEEPS_UP   0.98 /* of the rate: less is a queue that grows */
#define US_PER_NS  1e-3

static const char *const kind_names[] = {"closed", "poisson", "fixed"};

/* ---- Figures ---- */

struct samples {
    double rps[POINT_REPEATS_MAX], p50[POINT_REPEATS_MAX], p90[POINT_REPEATS_MAX], p99[POINT_REPEATS_MAX],
        p999[POINT_REPEATS_MAX], max[POINT_REPEATS_MAX], mean[POINT_REPEATS_MAX], cpu[POINT_REPEATS_MAX],
        cores[POINT_REPEATS_MAX];
};

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static struct figure figure_of(double *v, int n)
{
    qsort(v, (size_t)n, sizeof *v, by_value);
    double median = n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
    return (struct figure){.median = median, .low = v[0], .high = v[n - 1]};
}

static double quantile_us(const struct histogram *h, double q)
{
    return (double)histogram_quantile(h, q) * US_PER_NS;
}

static void add_run(struct point *p, struct samples *s, int i, const struct load_result *r)
{
    s->rps[i] = r->window_s > 0 ? (double)r->answers / r->window_s : 0;
    s->p50[i] = quantile_us(&r->latency, 0.5);
    s->p90[i] = quantile_us(&r->latency, 0.9);
    s->p99[i] = quantile_us(&r->latency, 0.99);
    s->p999[i] = quantile_us(&r->latency, 0.999);
    s->max[i] = quantile_us(&r->latency, 1);
    s->mean[i] = histogram_mean(&r->latency) * US_PER_NS;
    s->cpu[i] = r->answers ? r->cpu_s * 1e6 / (double)r->answers : 0;
    s->cores[i] = r->window_s > 0 ? r->cpu_s / r->window_s : 0;
    p->answers += r->answers;
    p->bad_status += r->bad_status;
    p->broken += r->broken;
    p->timeouts += r->timeouts;
    p->unanswered += r->unanswered;
    if (!p->first_bad)
        p->first_bad = r->first_bad;
    histogram_merge(&p->latency, &r->latency);
}

enum err_code point_run(const struct load_options *o, int repeats, struct point *out, struct err *err)
{
    CHECK(repeats > 0 && repeats <= POINT_REPEATS_MAX);
    struct samples s;
    struct load_result *r = malloc(sizeof *r); /* large for a stack */
    CHECK(r);
    *out = (struct point){.kind = o->kind, .connections = o->connections, .rate = o->rate, .repeats = repeats};
    out->has_cpu = o->pids_len > 0;
    enum err_code code = ERR_OK;
    for (int i = 0; i < repeats && code == ERR_OK; i++) {
        code = load_run(o, r, err);
        if (code == ERR_OK)
            add_run(out, &s, i, r);
    }
    free(r);
    if (code != ERR_OK)
        return code;
    out->rps = figure_of(s.rps, repeats);
    out->p50_us = figure_of(s.p50, repeats);
    out->p90_us = figure_of(s.p90, repeats);
    out->p99_us = figure_of(s.p99, repeats);
    out->p999_us = figure_of(s.p999, repeats);
    out->max_us = figure_of(s.max, repeats);
    out->mean_us = figure_of(s.mean, repeats);
    out->cpu_us = figure_of(s.cpu, repeats);
    out->cores = figure_of(s.cores, repeats);
    return ERR_OK;
}

bool point_is_clean(const struct point *p)
{
    return p->answers > 0 && p->bad_status + p->broken + p->timeouts + p->unanswered == 0;
}

bool point_holds(const struct point *p, uint64_t p99_ns)
{
    bool keeps_up = p->kind == LOAD_CLOSED || p->rps.median >= p->rate * KEEPS_UP - 3 * sqrt(p->rate);
    /* at a low rate a short window may see none begin */
    return keeps_up && point_is_clean(p) && p->latency.total > 0 && p->p99_us.median <= (double)p99_ns * US_PER_NS;
}

/* ---- JSON ---- */

static void put_figure(struct json_writer *w, const char *key, const struct point *p, struct figure f)
{
    jw_kv_f64(w, key, f.median);
    if (p->repeats < 2)
        return;
    char name[40];
    (void)snprintf(name, sizeof name, "%s_spread", key); /* keys are short constants */
    jw_key(w, name);
    jw_numbers(w, JSON_F64, (double[]){f.low, f.high}, 2);
}

void point_json(const struct point *p, struct json_writer *w)
{
    jw_object(w);
    jw_kv_c(w, "loop", kind_names[p->kind]);
    jw_kv_i64(w, "connections", p->connections);
    if (p->kind != LOAD_CLOSED)
        jw_kv_f64(w, "rate", p->rate);
    jw_kv_i64(w, "repeats", p->repeats);
    jw_kv_u64(w, "requests", p->answers);
    jw_kv_u64(w, "errors", p->bad_status + p->broken + p->timeouts);
    jw_kv_u64(w, "errors_status", p->bad_status);
    jw_kv_u64(w, "errors_connection", p->broken);
    jw_kv_u64(w, "errors_timeout", p->timeouts);
    jw_kv_u64(w, "unanswered", p->unanswered);
    put_figure(w, "rps", p, p->rps);
    put_figure(w, "mean_us", p, p->mean_us);
    put_figure(w, "p50_us", p, p->p50_us);
    put_figure(w, "p90_us", p, p->p90_us);
    put_figure(w, "p99_us", p, p->p99_us);
    put_figure(w, "p999_us", p, p->p999_us);
    put_figure(w, "max_us", p, p->max_us);
    if (p->has_cpu) {
        put_figure(w, "cpu_us_per_request", p, p->cpu_us);
        put_figure(w, "server_cores", p, p->cores);
    }
    jw_object_end(w);
}

/* ---- Text ---- */

/* "850 us", "12.3 ms", "1.20 s" in at most 10 bytes. */
static void put_time(double us, struct buf *out)
{
    char text[32];
    if (us < 1000)
        (void)snprintf(text, sizeof text, "%.0f us", us);
    else if (us < 1e6)
        (void)snprintf(text, sizeof text, "%.*f ms", us < 1e5 ? 2 : 0, us / 1e3);
    else
        (void)snprintf(text, sizeof text, "%.2f s", us / 1e6);
    buf_printf(out, "%10s", text);
}

static void put_load(const struct point *p, struct buf *out)
{
    char text[64];
    if (p->kind == LOAD_CLOSED)
        (void)snprintf(text, sizeof text, "%d connection%s", p->connections, p->connections == 1 ? "" : "s");
    else
        (void)snprintf(text, sizeof text, "%.0f/s %s", p->rate, kind_names[p->kind]);
    buf_printf(out, "%-22s", text);
}

static double spread_percent(struct figure f)
{
    return f.median > 0 ? 100 * (f.high - f.low) / 2 / f.median : 0;
}

static void put_faults(const struct point *p, struct buf *out)
{
    if (p->bad_status)
        buf_printf(out, "  %llu answers were not 2xx, the first one %d\n", (unsigned long long)p->bad_status,
                   p->first_bad);
    if (p->broken)
        buf_printf(out, "  %llu connections broke within a request\n", (unsigned long long)p->broken);
    if (p->timeouts)
        buf_printf(out, "  %llu requests timed out\n", (unsigned long long)p->timeouts);
    if (p->unanswered)
        buf_printf(out, "  %llu requests had no answer at the end: the rate is above what the server does\n",
                   (unsigned long long)p->unanswered);
}

void point_table(const struct point *points, size_t len, struct buf *out)
{
    buf_printf(out, "%-22s%11s%10s%10s%10s%10s", "LOAD", "ANSWERS/S", "P50", "P90", "P99", "P99.9");
    if (len > 0 && points[0].has_cpu)
        buf_printf(out, "%10s%8s", "CPU/REQ", "CORES");
    buf_c(out, "\n");
    for (size_t i = 0; i < len; i++) {
        const struct point *p = &points[i];
        put_load(p, out);
        buf_printf(out, "%11.0f", p->rps.median);
        put_time(p->p50_us.median, out);
        put_time(p->p90_us.median, out);
        put_time(p->p99_us.median, out);
        put_time(p->p999_us.median, out);
        if (p->has_cpu)
            buf_printf(out, "%7.*f %s%8.2f", p->cpu_us.median < 1e3 ? 1 : 2,
                       p->cpu_us.median < 1e3 ? p->cpu_us.median : p->cpu_us.median / 1e3,
                       p->cpu_us.median < 1e3 ? "us" : "ms", p->cores.median);
        if (p->repeats > 1)
            buf_printf(out, "   medians of %d, answers/s +-%.1f %%, p99 +-%.0f %%", p->repeats, spread_percent(p->rps),
                       spread_percent(p->p99_us));
        buf_c(out, "\n");
        put_faults(p, out);
    }
}

void point_plot(const struct point *p, struct buf *out)
{
    static const double quantiles[] = {0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1};
    double low = quantile_us(&p->latency, quantiles[0]), high = quantile_us(&p->latency, 1);
    if (p->latency.total == 0)
        return;
    low = low > 0 ? low / 2 : 0.5;
    double range = log(high > low * 1.01 ? high / low : 1.01);
    for (size_t i = 0; i < ARRAY_LEN(quantiles); i++) {
        double us = quantile_us(&p->latency, quantiles[i]);
        int bar = us > low ? (int)(log(us / low) / range * PLOT_WIDTH) : 0;
        buf_printf(out, "  %5.1f %% ", 100 * quantiles[i]);
        put_time(us, out);
        buf_c(out, "  ");
        for (int k = 0; k < bar; k++)
            buf_char(out, '#');
        buf_c(out, "\n");
    }
}
