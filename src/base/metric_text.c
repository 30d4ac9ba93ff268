/* Series as Prometheus text, format 0.0.4. */
#include <math.h>
#include <string.h>

#include "base/metric.h"
#include "base/metric_int.h"
#include "base/num.h"

static double gauge_value(const struct metric *m)
{
    uint64_t bits = atomic_load_explicit(&m->cells[0], memory_order_relaxed);
    double v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

static void add_number(struct buf *out, double v)
{
    char digits[NUM_FLOAT_MAX];
    if (isnan(v))
        buf_c(out, "NaN");
    else if (isinf(v))
        buf_c(out, v > 0 ? "+Inf" : "-Inf");
    else
        buf_add(out, digits, num_format_f64(v, digits));
}

static void add_scaled(struct buf *out, const struct metric *m, uint64_t raw)
{
    if (m->per_unit >= 1 && m->per_unit <= 1)
        buf_u64(out, raw); /* exact also above 2^53 */
    else
        add_number(out, (double)raw / m->per_unit);
}

static void add_series_start(struct buf *out, const struct metric *m, const char *suffix)
{
    bool bare = m->labels[0] == '\0';
    buf_printf(out, "%s%s%s%s%s ", m->family->name, suffix, bare ? "" : "{", m->labels, bare ? "" : "}");
}

static void add_histogram(struct buf *out, const struct metric *m)
{
    uint64_t count = 0;
    for (size_t i = 0; i <= (size_t)m->thresholds_len; i++) {
        count += metric_sum_cells(m, i + 1);
        buf_printf(out, "%s_bucket{%s%sle=\"", m->family->name, m->labels, m->labels[0] == '\0' ? "" : ",");
        add_number(out, i < (size_t)m->thresholds_len ? m->family->bounds[i] : (double)INFINITY);
        buf_c(out, "\"} ");
        buf_u64(out, count);
        buf_char(out, '\n');
    }
    add_series_start(out, m, "_sum");
    add_scaled(out, m, metric_sum_cells(m, 0));
    buf_char(out, '\n');
    add_series_start(out, m, "_count");
    buf_u64(out, count);
    buf_char(out, '\n');
}

static void add_series(struct buf *out, const struct metric *m)
{
    switch (m->family->kind) {
    case METRIC_HISTOGRAM:
        add_histogram(out, m);
        return;
    case METRIC_COUNTER:
        add_series_start(out, m, "");
        add_scaled(out, m, metric_sum_cells(m, 0));
        buf_char(out, '\n');
        return;
    case METRIC_GAUGE:
        add_series_start(out, m, "");
        add_number(out, gauge_value(m));
        buf_char(out, '\n');
        return;
    }
}

static void add_head(struct buf *out, const struct metric_family *f)
{
    static const char *const kinds[] = {"counter", "gauge", "histogram"};
    buf_printf(out, "# HELP %s ", f->name);
    for (const char *c = f->help; *c != '\0'; c++) {
        if (*c == '\n')
            buf_c(out, "\\n");
        else if (*c == '\\')
            buf_c(out, "\\\\");
        else
            buf_char(out, *c);
    }
    buf_printf(out, "\n# TYPE %s %s\n", f->name, kinds[f->kind]);
}

void metric_write(struct metric_set *s, struct buf *out)
{
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < s->len; i++) {
        const struct group *g = &s->groups[i];
        if (g->len == 0) /* all dropped */
            continue;
        add_head(out, g->family);
        for (size_t k = 0; k < g->len; k++)
            add_series(out, g->series[k]);
    }
    pthread_mutex_unlock(&s->lock);
}
