#include "base/metric_window.h"

#include <string.h>

#include "base/metric_int.h"

void metric_look(const struct metric *m, struct metric_look *out)
{
    memset(out, 0, sizeof *out);
    out->sum = metric_sum_cells(m, 0);
    for (int i = 0; i <= m->thresholds_len; i++) {
        out->counts[i] = metric_sum_cells(m, (size_t)i + 1);
        out->total += out->counts[i];
    }
}

void metric_look_less(struct metric_look *now, const struct metric_look *before)
{
    for (size_t i = 0; i < ARRAY_LEN(now->counts); i++)
        now->counts[i] -= before->counts[i];
    now->total -= before->total;
    now->sum -= before->sum;
}

double metric_look_quantile(const struct metric *m, const struct metric_look *l, double q)
{
    if (l->total == 0)
        return 0;
    double rank = q * (double)l->total, below = 0;
    for (int i = 0; i < m->thresholds_len; i++) {
        double count = (double)l->counts[i];
        double low = i > 0 ? (double)m->thresholds[i - 1] : 0;
        if (count > 0 && below + count >= rank)
            return (low + ((double)m->thresholds[i] - low) * (rank - below) / count) * m->scale;
        below += count;
    }
    return m->thresholds_len > 0 ? (double)m->thresholds[m->thresholds_len - 1] * m->scale : 0;
}
