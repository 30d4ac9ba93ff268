/* Which requests may share a run (backend_probe_batching in backend.h).
 *
 * First the declared shapes: every input and output must start with a free dimension that means the same number of rows. Then made-up rows are
 * run and each row's results are compared in two ways:
 *   - between two runs of the same size in which the row has the same place and other neighbours: must be equal to the bit, since the same
 *     instructions work on the same numbers. This shows the slightest influence of one row on another.
 *   - between the row alone and the row in a batch: may differ by what another order of summation explains. This shows results that depend
 *     on the size of the batch or the place in it. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/num.h"
#include "model/backend.h"
#include "model/trial.h"

#define DEFAULT_MAX_BATCH 64
#define BLOCK_BYTES       ((uint64_t)16 << 20) /* inputs and outputs of one run stay below, see choose_max_batch */

/* The order of runs. Rows run alone are kept and compared with every later run that has them; a batch is also compared with the batch of the
 * same size before it, at the places where both have the same row. The first pair of batches comes early, so that a slow model gets a verdict
 * within its time. Row 0 runs twice alone: a model that answers differently each time cannot be compared. */
struct step {
    uint32_t n;
    int rows[TRIAL_ROWS];
};
static const struct step steps[] = {
    {1, {0}},
    {1, {0}},
    {1, {1}},
    {1, {2}},
    {2, {1, 2}},
    {2, {0, 2}},
    {1, {3}},
    {1, {4}},
    {3, {2, 0, 1}},
    {3, {3, 0, 4}},
    {1, {5}},
    {1, {6}},
    {1, {7}},
    {5, {4, 1, 3, 0, 2}},
    {5, {5, 1, 6, 0, 7}},
    {8, {7, 6, 5, 4, 3, 2, 1, 0}},
    {8, {6, 5, 4, 3, 2, 1, 7, 0}},
    {2, {6, 0}},
    {2, {6, 7}},
};

/* Batches that must have agreed for a verdict when time runs out: one pair. */
#define BATCHES_MIN 2

/* The first pair of batches takes as long as eight rows; the first run of all is the one that trial_init made. */
#define SLOW_RUNS   12
#define SLOW_NS_MAX (1 * NS_PER_S)

struct kept { /* the results of a run, copied out of the trial's area */
    struct backend_tensor out[MODEL_TENSORS_MAX];
    unsigned char *base;
};

struct probe {
    struct model_desc *d;
    struct trial trial;
    struct kept alone[TRIAL_ROWS];
    struct kept batch; /* the last one */
    const struct step *batch_step;
    uint32_t batches; /* runs of several rows that agreed */
    bool varies[MODEL_TENSORS_MAX];
};

static void refuse(struct model_desc *d, bool has_batch_dim, const char *fmt, ...) ATTR_PRINTF(3, 4);
static void refuse(struct model_desc *d, bool has_batch_dim, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(d->batch_reason, sizeof d->batch_reason, fmt, args);
    va_end(args);
    d->has_batch_dim = has_batch_dim;
    d->may_share = 0;
}

/* ---- declared shapes ---- */

static bool starts_free(struct model_desc *d, const struct tensor_spec *s, const char *side)
{
    char dims[128];
    if (s->ndim > 0 && s->dims[0] == -1)
        return true;
    tensor_dims_format(s->dims, s->ndim, dims, sizeof dims);
    if (s->ndim == 0)
        refuse(d, false, "%s '%s' is a scalar: it belongs to the request, not to a row", side, s->name);
    else
        refuse(d, false, "the first dimension of %s '%s' %s is fixed", side, s->name, dims);
    return false;
}

/* A batch dimension that comes back inside a row (a mask of [batch, batch]) ties the rows together. */
static bool symbol_is_inner(struct model_desc *d, const struct tensor_spec *s, const char *symbol)
{
    for (int i = 1; i < s->ndim; i++) {
        if (symbol[0] != 0 && strcmp(s->symbols[i], symbol) == 0) {
            refuse(d, false, "dimension '%s' is also dimension %d of '%s'", symbol, i, s->name);
            return true;
        }
    }
    return false;
}

static bool shapes_allow(struct model_desc *d)
{
    if (d->inputs_len == 0) {
        refuse(d, false, "the model has no inputs");
        return false;
    }
    for (uint32_t i = 0; i < d->inputs_len; i++)
        if (!starts_free(d, &d->inputs[i], "input"))
            return false;
    for (uint32_t i = 0; i < d->outputs_len; i++)
        if (!starts_free(d, &d->outputs[i], "output"))
            return false;
    const char *symbol = d->inputs[0].symbols[0];
    for (uint32_t i = 0; i < d->inputs_len; i++)
        if (symbol_is_inner(d, &d->inputs[i], symbol))
            return false;
    for (uint32_t i = 0; i < d->outputs_len; i++)
        if (symbol_is_inner(d, &d->outputs[i], symbol))
            return false;
    return true;
}

/* ---- comparing ---- */

/* How far a row alone and in a batch may differ. Measured on the file-type model of magika: 4e-5 of the row's largest number, 2e-4 of each number;
 * most models agree to the bit. The second part is for numbers near zero that are differences of large ones. */
struct tolerance {
    double relative, of_row_max;
};

static const struct tolerance to_the_bit = {0, 0};

static struct tolerance tolerance_of(enum dtype t)
{
    if (t == DT_FP16)
        return (struct tolerance){1e-2, 5e-3};
    if (t == DT_BF16)
        return (struct tolerance){6e-2, 3e-2};
    if (t == DT_FP64)
        return (struct tolerance){1e-6, 1e-8};
    return (struct tolerance){1e-3, 1e-4};
}

static bool is_float(enum dtype t)
{
    return t == DT_FP16 || t == DT_BF16 || t == DT_FP32 || t == DT_FP64;
}

static double load_float(enum dtype t, const unsigned char *p)
{
    uint16_t h;
    float f;
    double d;
    if (t == DT_FP16 || t == DT_BF16) {
        memcpy(&h, p, sizeof h);
        return (double)(t == DT_FP16 ? f16_to_f32(h) : bf16_to_f32(h));
    }
    if (t == DT_FP32) {
        memcpy(&f, p, sizeof f);
        return (double)f;
    }
    memcpy(&d, p, sizeof d);
    return d;
}

static bool floats_agree(enum dtype t, const unsigned char *a, const unsigned char *b, size_t bytes,
                         struct tolerance tol)
{
    size_t size = dtype_size(t);
    double row_max = 0;
    for (size_t i = 0; i < bytes; i += size) {
        double v = fabs(load_float(t, a + i));
        if (isfinite(v) && v > row_max)
            row_max = v;
    }
    for (size_t i = 0; i < bytes; i += size) {
        double x = load_float(t, a + i), y = load_float(t, b + i);
        if (x == y || (isnan(x) && isnan(y)))
            continue;
        double allowed = tol.relative * fmax(fabs(x), fabs(y)) + tol.of_row_max * row_max;
        if (!isfinite(x) || !isfinite(y) || fabs(x - y) > allowed)
            return false;
    }
    return true;
}

static bool texts_agree(const struct bytes_ref *a, const unsigned char *a_base, const struct bytes_ref *b,
                        const unsigned char *b_base, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (a[i].len != b[i].len || memcmp(a_base + a[i].off, b_base + b[i].off, a[i].len) != 0)
            return false;
    return true;
}

/* Row `at` of the last run's output k against row `kept_at` of a kept one; each row has row_bytes. */
static bool row_agrees(const struct probe *p, uint32_t k, const struct kept *kept, uint32_t kept_at, uint32_t at,
                       size_t row_bytes, struct tolerance tol)
{
    enum dtype t = kept->out[k].dtype;
    const unsigned char *theirs = (const unsigned char *)kept->out[k].data + kept_at * row_bytes;
    const unsigned char *mine = (const unsigned char *)p->trial.out[k].data + at * row_bytes;
    if (t == DT_BYTES)
        return texts_agree((const struct bytes_ref *)(const void *)theirs, kept->base,
                           (const struct bytes_ref *)(const void *)mine, p->trial.out_base,
                           row_bytes / sizeof(struct bytes_ref));
    if (is_float(t))
        return floats_agree(t, theirs, mine, row_bytes, tol);
    return row_bytes == 0 || memcmp(theirs, mine, row_bytes) == 0;
}

/* Do two rows run alone differ in output k? NaNs tell nothing. */
static bool rows_differ(const struct backend_tensor *a, const struct kept *of_a, const struct backend_tensor *b,
                        const struct kept *of_b)
{
    if (a->bytes != b->bytes)
        return true;
    if (a->dtype == DT_BYTES)
        return !texts_agree(a->data, of_a->base, b->data, of_b->base, a->bytes / sizeof(struct bytes_ref));
    if (!is_float(a->dtype))
        return a->bytes > 0 && memcmp(a->data, b->data, a->bytes) != 0;
    const unsigned char *x = a->data, *y = b->data;
    for (size_t i = 0; i < a->bytes; i += dtype_size(a->dtype)) {
        double u = load_float(a->dtype, x + i), v = load_float(a->dtype, y + i);
        if (u < v || u > v)
            return true;
    }
    return false;
}

/* ---- running ---- */

static bool outputs_have_rows(struct probe *p, uint32_t n)
{
    for (uint32_t k = 0; k < p->d->outputs_len; k++) {
        const struct backend_tensor *o = &p->trial.out[k];
        if (o->ndim < 1 || o->dims[0] != (int64_t)n || o->bytes % n != 0) {
            char dims[128];
            tensor_dims_format(o->dims, o->ndim, dims, sizeof dims);
            refuse(p->d, false, "probe: output '%s' has the shape %s for %u rows of input", p->d->outputs[k].name, dims,
                   n);
            return false;
        }
    }
    return true;
}

/* Copies the last run's results. */
static bool keep(struct probe *p, struct kept *out)
{
    free(out->base);
    out->base = malloc(p->trial.out_used + 1);
    if (out->base == NULL) {
        refuse(p->d, true, "probe: no memory for results");
        return false;
    }
    memcpy(out->base, p->trial.out_base, p->trial.out_used);
    for (uint32_t k = 0; k < p->d->outputs_len; k++) {
        out->out[k] = p->trial.out[k];
        out->out[k].data = out->base + ((unsigned char *)p->trial.out[k].data - p->trial.out_base);
    }
    return true;
}

static bool same_again(struct probe *p, const struct kept *a)
{
    for (uint32_t k = 0; k < p->d->outputs_len; k++) {
        size_t bytes = p->trial.out[k].bytes;
        if (bytes == a->out[k].bytes && row_agrees(p, k, a, 0, 0, bytes, to_the_bit))
            continue;
        refuse(p->d, true, "probe: output '%s' differs between two runs of the same row", p->d->outputs[k].name);
        return false;
    }
    return true;
}

static bool take_alone(struct probe *p, int row)
{
    struct kept *a = &p->alone[row];
    if (a->base != NULL)
        return same_again(p, a);
    if (!keep(p, a))
        return false;
    for (uint32_t k = 0; row != 0 && k < p->d->outputs_len; k++)
        if (rows_differ(&p->alone[0].out[k], &p->alone[0], &a->out[k], a))
            p->varies[k] = true;
    return true;
}

static bool batch_output_agrees(const struct probe *p, const struct step *s, uint32_t k)
{
    size_t bytes = p->trial.out[k].bytes / s->n;
    struct tolerance tol = tolerance_of(p->trial.out[k].dtype);
    bool has_twin = p->batch_step != NULL && p->batch_step->n == s->n;
    for (uint32_t i = 0; i < s->n; i++) {
        const struct kept *alone = &p->alone[s->rows[i]];
        if (bytes != alone->out[k].bytes || !row_agrees(p, k, alone, 0, i, bytes, tol))
            return false;
        if (has_twin && p->batch_step->rows[i] == s->rows[i] &&
            (p->batch.out[k].bytes != p->trial.out[k].bytes || !row_agrees(p, k, &p->batch, i, i, bytes, to_the_bit)))
            return false;
    }
    return true;
}

static bool take_batch(struct probe *p, const struct step *s)
{
    for (uint32_t k = 0; k < p->d->outputs_len; k++) {
        if (batch_output_agrees(p, s, k))
            continue;
        refuse(p->d, true, "probe: output '%s' of a row depends on the other rows of the run", p->d->outputs[k].name);
        return false;
    }
    p->batches++;
    p->batch_step = s;
    return keep(p, &p->batch);
}

/* False: the verdict is written. */
static bool run_step(struct probe *p, const struct step *s)
{
    struct err err = {.code = ERR_OK};
    enum err_code code = trial_run(&p->trial, s->rows, s->n, NULL, &err);
    if (code == ERR_TIMEOUT) {
        if (p->batches >= BATCHES_MIN)
            return true;
        refuse(p->d, true, "probe: no time to compare rows run alone and together (%u runs)", p->trial.runs);
        return false;
    }
    if (code != ERR_OK) {
        refuse(p->d, s->n > 1, "probe: a run of %u rows failed: %s", s->n, err.text);
        return false;
    }
    if (!outputs_have_rows(p, s->n))
        return false;
    return s->n == 1 ? take_alone(p, s->rows[0]) : take_batch(p, s);
}

/* Inputs whose first dimensions have different names may be independent of each other. If the model runs with different numbers of rows, they are. */
static bool inputs_are_tied(struct probe *p)
{
    static const int order[] = {0, 1, 2};
    uint32_t rows[MODEL_TENSORS_MAX];
    const char *first = p->d->inputs[0].symbols[0];
    for (uint32_t k = 1; k < p->d->inputs_len; k++) {
        const char *other = p->d->inputs[k].symbols[0];
        if (first[0] == 0 || other[0] == 0 || strcmp(first, other) == 0)
            continue;
        for (uint32_t i = 0; i < p->d->inputs_len; i++)
            rows[i] = i == k ? 2 : 3;
        struct err err;
        if (trial_run(&p->trial, order, 3, rows, &err) == ERR_OK) {
            refuse(p->d, false, "inputs '%s' and '%s' have numbers of rows of their own ('%s', '%s')",
                   p->d->inputs[0].name, p->d->inputs[k].name, first, other);
            return false;
        }
    }
    return true;
}

static bool all_outputs_vary(struct probe *p)
{
    for (uint32_t k = 0; k < p->d->outputs_len; k++) {
        if (!p->varies[k]) {
            refuse(p->d, true, "probe: output '%s' is the same for all made-up rows, which proves nothing",
                   p->d->outputs[k].name);
            return false;
        }
    }
    return true;
}

static void run_probe(struct probe *p)
{
    if (!inputs_are_tied(p))
        return;
    for (size_t i = 0; i < ARRAY_LEN(steps); i++)
        if (!run_step(p, &steps[i]))
            return;
    if (!all_outputs_vary(p))
        return;
    p->d->has_batch_dim = p->d->may_share = 1;
    (void)snprintf(p->d->batch_reason, sizeof p->d->batch_reason,
                   "probe: rows run alone and together agree (%u batches compared)", p->batches);
}

/* ---- how many rows ---- */

static uint64_t row_bytes(const struct tensor_spec *s, uint32_t len)
{
    uint64_t sum = 0;
    for (uint32_t k = 0; k < len; k++) {
        uint64_t n = dtype_size((enum dtype)s[k].dtype);
        for (int i = 1; i < s[k].ndim; i++)
            if (s[k].dims[i] > 1 && n < BLOCK_BYTES)
                n *= (uint64_t)s[k].dims[i] < BLOCK_BYTES ? (uint64_t)s[k].dims[i] : BLOCK_BYTES;
        sum += n;
    }
    return sum;
}

/* Configured, or as many as fit a block of modest size: a batch of large images costs memory and time, and gains nothing. */
static void choose_max_batch(struct model_desc *d)
{
    if (!d->has_batch_dim) {
        d->max_batch = 1;
        return;
    }
    if (d->max_batch > 0)
        return;
    uint64_t in = row_bytes(d->inputs, d->inputs_len), out = row_bytes(d->outputs, d->outputs_len);
    uint64_t most = in > out ? in : out;
    uint64_t fit = most > 0 ? BLOCK_BYTES / most : 0;
    d->max_batch = fit < 1 ? 1 : fit < DEFAULT_MAX_BATCH ? (uint32_t)fit : DEFAULT_MAX_BATCH;
}

/* A model whose runs, or whose made-up rows, take long gets the time for a verdict, within reason. */
static uint64_t more_time(const struct trial *t)
{
    return t->run_ns < SLOW_NS_MAX / SLOW_RUNS ? t->run_ns * SLOW_RUNS : SLOW_NS_MAX;
}

void backend_probe_batching(const struct backend *b, void *instance, struct model_desc *d, uint64_t budget_ns)
{
    if (d->batch_reason[0] != 0)
        return;
    if (shapes_allow(d)) {
        struct probe *p = calloc(1, sizeof *p); /* too large for a stack */
        CHECK(p != NULL);
        struct err err = {.code = ERR_OK};
        p->d = d;
        uint64_t start_ns = clock_now_ns(), first_ns = budget_ns > 0 ? SLOW_NS_MAX : 0;
        if (trial_init(&p->trial, b, instance, d, start_ns + first_ns, &err) == ERR_OK) {
            uint64_t slow_ns = budget_ns > 0 ? clock_now_ns() + more_time(&p->trial) : 0;
            p->trial.deadline_ns = slow_ns > start_ns + budget_ns ? slow_ns : start_ns + budget_ns;
            run_probe(p);
            trial_done(&p->trial);
        } else {
            refuse(d, false, "probe: a run of made-up values failed: %s", err.text);
        }
        for (int i = 0; i < TRIAL_ROWS; i++)
            free(p->alone[i].base);
        free(p->batch.base);
        free(p);
    }
    choose_max_batch(d);
}
