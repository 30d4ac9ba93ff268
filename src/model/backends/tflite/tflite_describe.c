/* What a model says of itself, and which of its shapes hold.
 *
 * Most files have a fixed first dimension of 1, though the network in them would take more rows. Where every input and output begins with 1, two rows
 * are tried; if the engine takes them and the probe finds that rows do not influence each other, the model is served with a free number of rows.
 * Otherwise it stays as the file says. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/utf8.h"
#include "model/backends/tflite/tflite_int.h"
#include "model/trial.h"

/* Trial runs end after this. */
#define LEARN_NS (5 * NS_PER_S)
/* Most time for comparing rows run alone and together; each size of batch is compiled first. */
#define PROBE_NS (100 * NS_PER_MS)
/* For the cost of a run: runs are repeated until one of these is reached. */
#define MEASURE_RUNS 5
#define MEASURE_NS   (2 * NS_PER_MS)

static void fill_specs(const struct tflite_slot *slots, uint32_t len, struct tensor_spec *out)
{
    for (uint32_t i = 0; i < len; i++) {
        const struct tflite_io *io = &slots[i].io;
        out[i] = io->spec;
        if (slots[i].is_real) {
            out[i].dtype = DT_FP32;
        } else if (io->is_quantized && io->zero >= INT16_MIN && io->zero <= INT16_MAX) {
            out[i].scale = io->scale;
            out[i].zero = (int16_t)io->zero;
        }
    }
}

static void fill(const struct tflite_model *m, struct model_desc *d)
{
    memset(d, 0, sizeof *d);
    (void)str_copy(d->backend, sizeof d->backend, STR("tflite"));
    (void)str_copy(d->platform, sizeof d->platform, STR("litert_tflite"));
    (void)str_copy(d->description, sizeof d->description, str_c(m->info.description));
    d->description[utf8_check(str_c(d->description))] = 0;
    d->inputs_len = m->inputs_len;
    d->outputs_len = m->outputs_len;
    fill_specs(m->inputs, m->inputs_len, d->inputs);
    fill_specs(m->outputs, m->outputs_len, d->outputs);
    d->max_batch = (uint32_t)m->max_batch;
    d->file_bytes = m->bytes_len;
    d->load_ns = m->load_ns;
}

/* ---- what trial runs show ---- */

static void relax(struct tensor_spec *s, const struct backend_tensor *seen)
{
    if (s->ndim != seen->ndim) {
        s->ndim = seen->ndim;
        for (int i = 0; i < s->ndim; i++)
            s->dims[i] = -1;
        return;
    }
    for (int i = 0; i < s->ndim; i++)
        if (s->dims[i] != seen->dims[i])
            s->dims[i] = -1;
}

static bool begins_free(const struct tensor_spec *s, uint32_t len)
{
    for (uint32_t i = 0; i < len; i++)
        if (s[i].ndim < 1 || s[i].dims[0] != -1)
            return false;
    return len > 0;
}

/* Runs one row, then two: shapes of outputs that do not hold become free. False when the second run failed or outputs did not follow the number of
 * rows. An error only when not even one row runs. */
static enum err_code learn(struct tflite_model *m, struct model_desc *d, bool *rows_follow, struct err *err)
{
    static const int order[] = {0, 1};
    struct trial t;
    struct err ignored;
    *rows_follow = true;
    enum err_code code = trial_init(&t, &backend_tflite, m, d, clock_now_ns() + LEARN_NS, err);
    if (code != ERR_OK)
        return code;
    for (uint32_t i = 0; i < d->outputs_len; i++) {
        relax(&d->outputs[i], &t.out[i]);
        *rows_follow = *rows_follow && t.out[i].ndim > 0 && t.out[i].dims[0] == 1;
    }
    *rows_follow =
        *rows_follow && begins_free(d->inputs, d->inputs_len) && trial_run(&t, order, 2, NULL, &ignored) == ERR_OK;
    for (uint32_t i = 0; *rows_follow && i < d->outputs_len; i++) {
        *rows_follow = t.out[i].ndim == d->outputs[i].ndim && t.out[i].dims[0] == 2;
        if (*rows_follow)
            relax(&d->outputs[i], &t.out[i]);
    }
    trial_done(&t);
    return ERR_OK;
}

/* ---- batches ---- */

static bool begins_with_one(const struct tensor_spec *s, uint32_t len)
{
    for (uint32_t i = 0; i < len; i++)
        if (s[i].ndim < 1 || s[i].dims[0] != 1)
            return false;
    return len > 0;
}

static void free_first(struct tensor_spec *s, uint32_t len)
{
    for (uint32_t i = 0; i < len; i++)
        s[i].dims[0] = -1;
}

/* Whether the engine lays out two rows, before values are made up and runs spend time: most networks with a fixed batch have it in their middle too. */
static bool takes_two_rows(struct tflite_model *m, const struct model_desc *d)
{
    int32_t dims[MODEL_TENSORS_MAX][LITERT_DIMS_MAX] = {{0}};
    struct tflite_plan *plan;
    struct err ignored;
    for (uint32_t i = 0; i < d->inputs_len; i++)
        for (int k = 0; k < d->inputs[i].ndim; k++)
            dims[i][k] = k == 0 ? 2 : (int32_t)d->inputs[i].dims[k];
    if (tflite_plan(m, (const int32_t(*)[LITERT_DIMS_MAX])dims, &plan, &ignored) != ERR_OK)
        return false;
    for (uint32_t i = 0; i < d->outputs_len; i++)
        if (plan->outs[i].rank < 1 || plan->outs[i].dims[0] != 2)
            return false;
    return true;
}

static bool has_inner_free_dim(const struct model_desc *d)
{
    for (uint32_t i = 0; i < d->inputs_len; i++)
        for (int k = 1; k < d->inputs[i].ndim; k++)
            if (d->inputs[i].dims[k] == -1)
                return true;
    return false;
}

static void stay_fixed(struct model_desc *d, const char *why)
{
    (void)snprintf(d->batch_reason, sizeof d->batch_reason, "the file has one row; with more, %.180s", why);
    d->batch_reason[utf8_cut(str_c(d->batch_reason), sizeof d->batch_reason - 1)] = 0;
    d->has_batch_dim = d->may_share = 0;
    d->max_batch = 1;
}

/* More rows than the file says. Changes d only to say that it works, or why it does not. */
static bool try_rows(struct tflite_model *m, struct model_desc *d, struct model_desc *work)
{
    struct err err;
    bool rows_follow;
    if (!begins_with_one(d->inputs, d->inputs_len) || !begins_with_one(d->outputs, d->outputs_len))
        return false;
    if (!has_inner_free_dim(d) && !takes_two_rows(m, d)) {
        stay_fixed(d, "the network's inner shapes do not follow");
        return false;
    }
    *work = *d;
    free_first(work->inputs, work->inputs_len);
    free_first(work->outputs, work->outputs_len);
    if (learn(m, work, &rows_follow, &err) != ERR_OK || !rows_follow) {
        stay_fixed(d, "a trial run failed or its outputs do not follow");
        return false;
    }
    backend_probe_batching(&backend_tflite, m, work, PROBE_NS);
    if (!work->may_share) {
        stay_fixed(d, work->batch_reason);
        return false;
    }
    *d = *work;
    return true;
}

/* A model that the engine does not prepare cannot be served. One that only does not like made-up values, or sizes that we guessed, can. */
static bool is_fatal(enum err_code code, const struct model_desc *d)
{
    return (code == ERR_INVALID || code == ERR_UNSUPPORTED) && !has_inner_free_dim(d);
}

/* Shortest of a few runs of n rows, in nanoseconds; 0: it failed. */
static uint64_t time_rows(struct trial *t, uint32_t n)
{
    static const int order[TRIAL_ROWS] = {0, 1, 2, 3, 4, 5, 6, 7};
    struct err ignored;
    uint64_t best = UINT64_MAX, spent = 0;
    for (int i = 0; i < MEASURE_RUNS && spent < MEASURE_NS; i++) {
        uint64_t start = clock_now_ns();
        if (trial_run(t, order, n, NULL, &ignored) != ERR_OK)
            return 0;
        uint64_t took = clock_now_ns() - start;
        spent += took;
        best = took < best ? took : best;
    }
    return best;
}

/* What a run costs beside its rows decides of which sizes runs are made. Slow models are not measured: such costs are nothing to them. */
static void choose_sizes(struct tflite_model *m, const struct model_desc *d)
{
    struct trial t;
    struct err ignored;
    uint64_t one = 0, many = 0;
    tflite_sizes_choose(&m->sizes, 0, 1);
    if (trial_init(&t, &backend_tflite, m, d, clock_now_ns() + LEARN_NS, &ignored) != ERR_OK)
        return;
    one = time_rows(&t, 1);
    if (one > 0 && one < MEASURE_NS)
        many = time_rows(&t, TRIAL_ROWS);
    trial_done(&t);
    if (many <= one)
        return;
    double per_row = (double)(many - one) / (TRIAL_ROWS - 1), fixed = (double)one - per_row;
    tflite_sizes_choose(&m->sizes, fixed > 0 ? fixed : 0, per_row);
}

enum err_code tflite_describe(void *instance, struct model_desc *out, struct err *err)
{
    struct tflite_model *m = instance;
    struct model_desc *work = malloc(sizeof *work); /* too large for a stack */
    bool rows_follow;
    CHECK(work != NULL);
    fill(m, out);
    m->deadline_ns = clock_now_ns() + LEARN_NS; /* a loop may not end for made-up values */
    enum err_code code = ERR_OK;
    if (!try_rows(m, out, work)) {
        code = learn(m, out, &rows_follow, err);
        if (!is_fatal(code, out)) {
            code = ERR_OK;
            backend_probe_batching(&backend_tflite, m, out, PROBE_NS);
        }
    }
    free(work);
    if (code == ERR_OK && out->may_share)
        choose_sizes(m, out);
    /* Sizes that only these trials needed. */
    tflite_plans_done(m);
    m->may_split = code == ERR_OK && out->may_share;
    m->deadline_ns = 0;
    return code;
}
