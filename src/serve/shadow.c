#include "serve/shadow.h"

#include <stdlib.h>
#include <string.h>

#include "serve/compare.h"

#define MILLION 1e6

struct tensor_copy {
    enum dtype dtype;
    int ndim;
    int64_t dims[TENSOR_DIMS_MAX];
    size_t off, bytes;
};

struct shadow {
    struct infer infer;
    struct rollout_counts *counts; /* of the canary's model_shared, which its `served` holds */
    double tolerance;
    uint32_t inputs_len, outputs_len;
    struct infer_tensor in[MODEL_TENSORS_MAX];
    struct tensor_copy in_copy[MODEL_TENSORS_MAX], out_copy[MODEL_TENSORS_MAX];
    size_t used;
    unsigned char bytes[]; /* copies of inputs, then of outputs */
};

static enum err_code decode(struct infer *i, struct err *err)
{
    const struct shadow *w = i->owner;
    for (uint32_t k = 0; k < w->inputs_len; k++) {
        if (!i->in[k].given)
            continue;
        if (i->in[k].bytes != w->in_copy[k].bytes)
            return err_set(err, ERR_INVALID, "input %u has another size in the canary", k);
        memcpy(i->in[k].data, w->bytes + w->in_copy[k].off, w->in_copy[k].bytes);
    }
    return ERR_OK;
}

/* ---- comparing ---- */

static void note_greatest(struct rollout_counts *c, double difference)
{
    uint64_t v = difference < 1e9 ? (uint64_t)(difference * MILLION) : UINT64_C(1000000000000000);
    uint64_t seen = atomic_load_explicit(&c->greatest_difference, memory_order_relaxed);
    while (v > seen && !atomic_compare_exchange_weak(&c->greatest_difference, &seen, v))
        ;
}

static bool same_numbers(const struct shadow *w, enum dtype type, const unsigned char *a, const unsigned char *b,
                         size_t bytes)
{
    uint64_t at;
    double greatest = compare_numbers(type, a, b, bytes, &at);
    note_greatest(w->counts, greatest);
    return greatest <= w->tolerance;
}

static bool same_output(const struct shadow *w, const struct tensor_copy *a, const struct infer_tensor *b)
{
    const unsigned char *bytes = w->bytes + a->off;
    if (a->dtype == DT_BYTES) /* text is not compared, only its shape */
        return b->dtype == DT_BYTES && a->ndim == b->ndim &&
               memcmp(a->dims, b->dims, sizeof a->dims[0] * (size_t)a->ndim) == 0;
    if (a->dtype != b->dtype || a->ndim != b->ndim || a->bytes != b->bytes ||
        memcmp(a->dims, b->dims, sizeof a->dims[0] * (size_t)a->ndim) != 0)
        return false;
    return compare_is_float(a->dtype) ? same_numbers(w, a->dtype, bytes, b->data, a->bytes)
                                      : memcmp(bytes, b->data, a->bytes) == 0;
}

static void done(struct infer *i)
{
    struct shadow *w = i->owner;
    struct serve *s = i->serve;
    enum err_code code = i->err.code;
    bool is_outside = code == ERR_BUSY || code == ERR_UNAVAILABLE || code == ERR_TIMEOUT || code == ERR_CANCELLED;
    bool same = code == ERR_OK;
    for (uint32_t k = 0; k < w->outputs_len && same; k++)
        same = same_output(w, &w->out_copy[k], &i->out[k]);
    if (!is_outside) {
        atomic_fetch_add_explicit(&w->counts->compared, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&w->counts->differed, !same, memory_order_relaxed);
    }
    s->shadows--;
    free(w);
}

bool shadow_is_one(const struct infer *i)
{
    return i->done == done;
}

/* ---- copying ---- */

static size_t size_of(const struct infer *i, uint32_t inputs, uint32_t outputs)
{
    size_t n = 0;
    for (uint32_t k = 0; k < inputs; k++) {
        if (i->in[k].given && i->in[k].dtype == DT_BYTES)
            return SIZE_MAX;
        n += i->in[k].given ? i->in[k].bytes : 0;
    }
    for (uint32_t k = 0; k < outputs; k++)
        n += i->out[k].bytes;
    return n;
}

static void copy(struct shadow *w, const struct infer_tensor *t, struct tensor_copy *out)
{
    *out = (struct tensor_copy){.dtype = t->dtype, .ndim = t->ndim, .off = w->used, .bytes = t->bytes};
    memcpy(out->dims, t->dims, sizeof out->dims);
    memcpy(w->bytes + w->used, t->data, t->bytes);
    w->used += t->bytes;
}

void shadow_send(const struct infer *i, struct served *canary)
{
    const struct model_desc *d = i->model->info.desc;
    struct serve *s = i->model->serve;
    struct rollout_counts *counts = &canary->shared->rollout;
    size_t size = size_of(i, d->inputs_len, d->outputs_len);
    char what[200];
    if (!compare_same_form(d, canary->info.desc, what, sizeof what)) { /* it differs without a run */
        atomic_fetch_add_explicit(&counts->compared, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&counts->differed, 1, memory_order_relaxed);
        return;
    }
    if (s->shadows >= SHADOWS_MAX || size > SHADOW_BYTES_MAX)
        return;
    struct shadow *w = malloc(sizeof *w + size);
    if (!w)
        return;
    *w = (struct shadow){.counts = counts,
                         .tolerance = canary->rollout.tolerance,
                         .inputs_len = d->inputs_len,
                         .outputs_len = d->outputs_len};
    for (uint32_t k = 0; k < d->inputs_len; k++) {
        w->in[k] = i->in[k];
        if (i->in[k].given)
            copy(w, &i->in[k], &w->in_copy[k]);
    }
    for (uint32_t k = 0; k < d->outputs_len; k++)
        copy(w, &i->out[k], &w->out_copy[k]);
    w->infer = (struct infer){.serve = s,
                              .model = canary,
                              .in = w->in,
                              .decode = decode,
                              .done = done,
                              .owner = w,
                              .priority = SCHEDULE_PRIORITY_MAX,
                              .request_id = "shadow"};
    s->shadows++;
    infer_submit(&w->infer);
}
