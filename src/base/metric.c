/* The registry of series, and adding to them. */
#include "base/metric.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/metric_int.h"
#include "base/metric_window.h"
#include "base/utf8.h"

#define LABELS_MAX            16
#define LABEL_VALUE_BYTES_MAX 200u
#define LABELS_BYTES_MAX      16384u /* of a whole rendered set: 16 values of which each byte may become 3, and their keys */

struct metric_set *metric_set_new(int threads)
{
    CHECK(threads >= 1 && threads <= METRIC_THREADS_MAX);
    struct metric_set *s = calloc(1, sizeof *s);
    CHECK(s != NULL);
    CHECK(pthread_mutex_init(&s->lock, NULL) == 0);
    s->threads = threads;
    return s;
}

static void series_free(struct metric *m)
{
    free(m->labels);
    free(m);
}

struct metric_set *metric_set_free(struct metric_set *s)
{
    if (s == NULL)
        return NULL;
    for (size_t i = 0; i < s->len; i++) {
        for (size_t k = 0; k < s->groups[i].len; k++)
            series_free(s->groups[i].series[k]);
        free(s->groups[i].series);
    }
    free(s->groups);
    pthread_mutex_destroy(&s->lock);
    free(s);
    return NULL;
}

/* ---- labels ---- */

static bool is_label_name(const char *name)
{
    if (*name >= '0' && *name <= '9')
        return false;
    for (const char *c = name; *c != '\0'; c++)
        if (!((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') || *c == '_'))
            return false;
    return *name != '\0';
}

static void add_label_value(struct buf *out, struct str value)
{
    value.n = utf8_cut(value, LABEL_VALUE_BYTES_MAX);
    while (value.n > 0) {
        size_t n = utf8_len(value);
        if (n == 0)
            buf_str(out, STR("\xEF\xBF\xBD")); /* U+FFFD: the format allows only UTF-8 */
        else if (value.p[0] == '\n')
            buf_str(out, STR("\\n"));
        else if (value.p[0] == '"' || value.p[0] == '\\')
            buf_printf(out, "\\%c", value.p[0]);
        else
            buf_add(out, value.p, n);
        value = str_sub(value, n == 0 ? 1 : n, value.n);
    }
}

/* Sorted by key, so that the order in which a caller gives them makes no second series. */
static char *render_labels(const char *const *labels)
{
    const char *const *sorted[LABELS_MAX];
    size_t n = 0;
    for (; labels != NULL && labels[0] != NULL; labels += 2) {
        CHECK(n < LABELS_MAX);
        CHECK(is_label_name(labels[0]));
        CHECK(labels[1] != NULL);
        size_t at = n++;
        for (; at > 0 && strcmp(sorted[at - 1][0], labels[0]) > 0; at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = labels;
    }
    struct buf out;
    buf_init(&out, LABELS_BYTES_MAX);
    for (size_t i = 0; i < n; i++) {
        buf_printf(&out, "%s%s=\"", i == 0 ? "" : ",", sorted[i][0]);
        add_label_value(&out, str_c(sorted[i][1]));
        buf_char(&out, '"');
    }
    buf_char(&out, '\0');
    CHECK(!out.failed);
    char *fits = realloc(out.p, out.len); /* there are thousands of them */
    return fits ? fits : out.p;
}

/* ---- series ---- */

/* Raw units in one unit of the family: 1e9 for a scale of 1e-9. Where that is meant to be a whole number it is made one, so that
 * values come out as division rounds them: 2.002000001, not 2.0020000010000002. */
static double per_unit_of(const struct metric_family *f)
{
    double per_unit = f->scale > 0 ? 1 / f->scale : 1;
    double whole = round(per_unit);
    return fabs(per_unit - whole) <= whole * 1e-12 ? whole : per_unit;
}

/* The largest raw value that is not above the bound; 0.3 s in ns may be 299999999.99999994, which is meant to be whole as well. */
static uint64_t threshold(double bound, double per_unit)
{
    double raw = bound * per_unit;
    double whole = round(raw);
    double limit = fabs(raw - whole) <= fabs(whole) * 1e-12 ? whole : floor(raw);
    if (limit >= 0x1p64)
        return UINT64_MAX;
    return limit <= 0 ? 0 : (uint64_t)limit;
}

static void prepare_buckets(struct metric *m, const double *bounds)
{
    for (int i = 0; i < m->thresholds_len; i++)
        m->thresholds[i] = threshold(bounds[i], m->per_unit);
    m->thresholds[m->thresholds_len] = UINT64_MAX;
    for (unsigned width = 1; width <= 64; width++) {
        uint64_t smallest = UINT64_C(1) << (width - 1);
        unsigned char i = 0;
        while (m->thresholds[i] < smallest)
            i++;
        m->first_of_width[width] = i;
    }
}

static struct metric *series_new(const struct metric_family *f, char *labels, int threads)
{
    int bounds_len = f->kind == METRIC_HISTOGRAM ? f->bounds_len : 0;
    size_t used = f->kind == METRIC_HISTOGRAM ? (size_t)bounds_len + 2 : 1;
    size_t stride = ROUND_UP(used, CACHE_LINE / sizeof(cell));
    size_t runs = f->kind == METRIC_GAUGE ? 1 : (size_t)threads;
    size_t bytes = ROUND_UP(sizeof(struct metric) + runs * stride * sizeof(cell), (size_t)CACHE_LINE);
    struct metric *m = aligned_alloc(CACHE_LINE, bytes);
    CHECK(m != NULL);
    memset(m, 0, bytes);
    m->family = f;
    m->labels = labels;
    m->threads = (int)runs;
    m->stride = stride;
    m->scale = f->scale > 0 ? f->scale : 1;
    m->per_unit = per_unit_of(f);
    m->thresholds_len = bounds_len;
    prepare_buckets(m, f->bounds);
    return m;
}

/* Grows an array of pointers or groups for one more, opening a hole at `at`. */
static void *open_hole(void *array, size_t *len, size_t *cap, size_t item_bytes, size_t at)
{
    if (*len == *cap) {
        *cap = *cap == 0 ? 8 : *cap * 2;
        array = reallocarray(array, *cap, item_bytes);
        CHECK(array != NULL);
    }
    char *hole = (char *)array + at * item_bytes;
    memmove(hole + item_bytes, hole, (*len - at) * item_bytes);
    (*len)++;
    return array;
}

static void check_family(const struct metric_family *f)
{
    CHECK(f->bounds_len >= 0 && f->bounds_len <= METRIC_BOUNDS_MAX);
    CHECK(f->kind == METRIC_HISTOGRAM || f->bounds_len == 0);
    CHECK(f->bounds_len == 0 || f->bounds[0] >= 0); /* raw values are unsigned */
    for (int i = 1; i < f->bounds_len; i++)
        CHECK(f->bounds[i - 1] < f->bounds[i]);
}

static struct group *group_of(struct metric_set *s, const struct metric_family *f)
{
    size_t low = 0, high = s->len;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(s->groups[middle].family->name, f->name);
        if (order == 0) {
            CHECK(s->groups[middle].family->kind == f->kind);
            return &s->groups[middle];
        }
        low = order < 0 ? middle + 1 : low;
        high = order < 0 ? high : middle;
    }
    check_family(f);
    s->groups = open_hole(s->groups, &s->len, &s->cap, sizeof *s->groups, low);
    s->groups[low] = (struct group){.family = f};
    return &s->groups[low];
}

/* Index of the series with these labels, or where it belongs. */
static size_t series_place(const struct group *g, const char *labels, bool *found)
{
    size_t low = 0, high = g->len;
    *found = false;
    while (low < high && !*found) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(g->series[middle]->labels, labels);
        *found = order == 0;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return *found ? high : low;
}

struct metric *metric_get(struct metric_set *s, const struct metric_family *f, const char *const *labels)
{
    bool found;
    char *text = render_labels(labels);
    pthread_mutex_lock(&s->lock);
    struct group *g = group_of(s, f);
    size_t at = series_place(g, text, &found);
    if (found) {
        free(text);
    } else {
        g->series = open_hole(g->series, &g->len, &g->cap, sizeof(struct metric *), at);
        g->series[at] = series_new(f, text, s->threads);
    }
    struct metric *m = g->series[at];
    pthread_mutex_unlock(&s->lock);
    return m;
}

void metric_drop(struct metric_set *s, struct metric *m)
{
    bool found;
    pthread_mutex_lock(&s->lock);
    struct group *g = group_of(s, m->family);
    size_t at = series_place(g, m->labels, &found);
    CHECK(found);
    CHECK(g->series != NULL && g->series[at] == m);
    memmove(&g->series[at], &g->series[at + 1], (g->len - at - 1) * sizeof(struct metric *));
    g->len--;
    pthread_mutex_unlock(&s->lock);
    series_free(m);
}

/* ---- hot path ---- */

static cell *cells_of(struct metric *m, int thread)
{
    CHECK((unsigned)thread < (unsigned)m->threads);
    return m->cells + (size_t)thread * m->stride;
}

static void bump(cell *c, uint64_t n)
{
    atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + n, memory_order_relaxed);
}

void metric_add(struct metric *m, int thread, uint64_t n)
{
    bump(cells_of(m, thread), n);
}

void metric_set_value(struct metric *m, double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    atomic_store_explicit(&m->cells[0], bits, memory_order_relaxed);
}

/* Bits that raw needs: 0 for 0, 64 for the largest. */
static unsigned width_of(uint64_t raw)
{
    return raw == 0 ? 0 : 64 - (unsigned)__builtin_clzll(raw);
}

/* Index of the first threshold that is not below raw, or their number (+Inf). Bounds grow about as powers do, so from the first one
 * that a number of this width can reach it is a step or two. */
static size_t bucket_of(const struct metric *m, uint64_t raw)
{
    size_t i = m->first_of_width[width_of(raw)];
    while (m->thresholds[i] < raw) /* ends at the sentinel: nothing is above UINT64_MAX */
        i++;
    return i;
}

void metric_observe(struct metric *m, int thread, uint64_t raw)
{
    cell *c = cells_of(m, thread);
    bump(&c[0], raw);
    bump(&c[1 + bucket_of(m, raw)], 1);
}

/* ---- reading ---- */

uint64_t metric_sum_cells(const struct metric *m, size_t index)
{
    uint64_t sum = 0;
    for (size_t t = 0; t < (size_t)m->threads; t++)
        sum += atomic_load_explicit(&m->cells[t * m->stride + index], memory_order_relaxed);
    return sum;
}

uint64_t metric_value(const struct metric *m)
{
    CHECK(m->family->kind != METRIC_GAUGE);
    if (m->family->kind == METRIC_COUNTER)
        return metric_sum_cells(m, 0);
    uint64_t samples = 0;
    for (size_t i = 0; i <= (size_t)m->thresholds_len; i++)
        samples += metric_sum_cells(m, i + 1);
    return samples;
}

double metric_quantile(const struct metric *m, double q)
{
    struct metric_look all;
    metric_look(m, &all);
    return metric_look_quantile(m, &all, q);
}
