#include "base/metric_window.h"

#include <math.h>
#include <string.h>

#include "base/check.h"
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
    CHECK(m->family->kind == METRIC_HISTOGRAM);
    const double *bounds = m->family->bounds;
    int n = m->thresholds_len;
    if (l->total == 0 || n == 0)
        return 0;
    double rank = fmin(fmax(q, 0), 1) * (double)l->total, below = 0;
    for (int i = 0; i < n; i++) {
        double inside = (double)l->counts[i];
        double low = i > 0 ? bounds[i - 1] : 0;
        if (inside > 0 && below + inside >= rank)
            return low + (bounds[i] - low) * (rank - below) / inside;
        below += inside;
    }
    return bounds[n - 1]; /* above the last bound: all that is known */
}
