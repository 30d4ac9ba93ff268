#include "serve/compare.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/num.h"
#include "serve/internal_int.h"

#define ALIGN         64u
#define KEEP_EVERY_NS (10 * NS_PER_MS) /* copying every request would cost those in a hurry */
#define FAR           1e9

const char compare_request_id[] = "compare";

bool compare_is_one(const struct infer *i)
{
    return i->request_id == compare_request_id;
}

/* ---- numbers ---- */

bool compare_is_float(enum dtype type)
{
    return type == DT_FP32 || type == DT_FP64 || type == DT_FP16 || type == DT_BF16;
}

static double element(enum dtype type, const unsigned char *p, size_t e)
{
    float f;
    double d;
    uint16_t h;
    switch ((int)type) {
    case DT_FP32:
        memcpy(&f, p + e * sizeof f, sizeof f);
        return (double)f;
    case DT_FP64:
        memcpy(&d, p + e * sizeof d, sizeof d);
        return d;
    default:
        memcpy(&h, p + e * sizeof h, sizeof h);
        return (double)(type == DT_FP16 ? f16_to_f32(h) : bf16_to_f32(h));
    }
}

double compare_numbers(enum dtype type, const unsigned char *a, const unsigned char *b, size_t bytes, uint64_t *at)
{
    double greatest = 0;
    *at = 0;
    for (size_t e = 0; e < bytes / dtype_size(type); e++) {
        double x = element(type, a, e), y = element(type, b, e);
        if (isnan(x) && isnan(y))
            continue;
        double difference = x == y ? 0 : fabs(x - y) / (1 + fabs(x)); /* NaN for one that is, or for infinities */
        if (isnan(difference))
            difference = FAR;
        if (difference > greatest) {
            greatest = difference;
            *at = e;
        }
    }
    return greatest;
}

/* ---- form ---- */

static bool same_side(const char *side, const struct tensor_spec *a, uint32_t a_len, const struct tensor_spec *b,
                      uint32_t b_len, char *what, size_t what_size)
{
    if (a_len != b_len) {
        (void)snprintf(what, what_size, "it has %u %ss, the version before %u", b_len, side, a_len);
        return false;
    }
    for (uint32_t k = 0; k < a_len; k++) {
        if (strcmp(a[k].name, b[k].name) == 0 && a[k].dtype == b[k].dtype)
            continue;
        (void)snprintf(what, what_size, "%s %u is '%.50s' %s, of the version before '%.50s' %s", side, k, b[k].name,
                       dtype_name((enum dtype)b[k].dtype), a[k].name, dtype_name((enum dtype)a[k].dtype));
        return false;
    }
    return true;
}

bool compare_same_form(const struct model_desc *a, const struct model_desc *b, char *what, size_t what_size)
{
    return same_side("input", a->inputs, a->inputs_len, b->inputs, b->inputs_len, what, what_size) &&
           same_side("output", a->outputs, a->outputs_len, b->outputs, b->outputs_len, what, what_size);
}

/* ---- answers ---- */

struct kept_output {
    enum dtype dtype;
    int ndim;
    int64_t dims[TENSOR_DIMS_MAX];
    size_t off, bytes; /* of BYTES: as they are sent, each with its length before it */
};

struct compare_answer {
    uint32_t len;
    struct kept_output out[MODEL_TENSORS_MAX];
    struct buf bytes;
};

/* Strings of an output, one behind the other, each with its length before it. */
static void put_strings(const struct infer *i, int k, struct buf *out)
{
    for (uint64_t e = 0; e < i->out[k].bytes / sizeof(struct bytes_ref); e++) {
        struct str s = infer_get_bytes(i, k, e);
        uint32_t n = (uint32_t)s.n;
        buf_add(out, &n, sizeof n);
        buf_str(out, s);
    }
}

struct compare_answer *compare_keep(const struct infer *i)
{
    struct compare_answer *a = calloc(1, sizeof *a);
    CHECK(a);
    buf_init(&a->bytes, (size_t)2 << 30);
    a->len = i->model->info.desc->outputs_len;
    for (uint32_t k = 0; k < a->len; k++) {
        const struct infer_tensor *t = &i->out[k];
        struct kept_output *o = &a->out[k];
        *o = (struct kept_output){.dtype = t->dtype, .ndim = t->ndim, .off = a->bytes.len};
        memcpy(o->dims, t->dims, sizeof o->dims);
        if (t->dtype == DT_BYTES)
            put_strings(i, (int)k, &a->bytes);
        else
            buf_add(&a->bytes, t->data, t->bytes);
        o->bytes = a->bytes.len - o->off;
    }
    return a;
}

struct compare_answer *compare_free(struct compare_answer *a)
{
    if (a)
        buf_done(&a->bytes);
    free(a);
    return NULL;
}

static uint64_t row_of(const struct kept_output *o, uint64_t element)
{
    uint64_t count;
    if (o->ndim == 0 || o->dims[0] < 1 || !tensor_count(o->dims, o->ndim, &count))
        return 0;
    uint64_t per_row = count / (uint64_t)o->dims[0];
    return per_row ? element / per_row : 0;
}

static void differs(struct compare_difference *d, const char *name, const char *what)
{
    if (d->is_same) /* the first is told */
        (void)snprintf(d->where, sizeof d->where, "output '%.40s' %.140s", name, what);
    d->is_same = false;
    d->greatest = FAR;
}

static void compare_shapes(const struct kept_output *o, const struct infer_tensor *t, const char *name,
                           struct compare_difference *d)
{
    char before[128], now[128], what[160];
    tensor_dims_format(o->dims, o->ndim, before, sizeof before);
    tensor_dims_format(t->dims, t->ndim, now, sizeof now);
    (void)snprintf(what, sizeof what, "has the shape %.60s, before %.60s", now, before);
    differs(d, name, what);
}

static void compare_output(const struct compare_answer *a, uint32_t k, const struct infer *i, double tolerance,
                           struct compare_difference *d)
{
    const struct kept_output *o = &a->out[k];
    const struct infer_tensor *t = &i->out[k];
    const char *name = i->model->info.desc->outputs[k].name;
    const unsigned char *before = (const unsigned char *)a->bytes.p + o->off;
    char what[60];
    uint64_t at;
    if (o->ndim != t->ndim || memcmp(o->dims, t->dims, sizeof o->dims[0] * (size_t)t->ndim) != 0) {
        compare_shapes(o, t, name, d);
    } else if (t->dtype == DT_BYTES) {
        struct buf now;
        buf_init(&now, (size_t)2 << 30);
        put_strings(i, (int)k, &now);
        if (now.len != o->bytes || (now.len > 0 && memcmp(now.p, before, now.len) != 0))
            differs(d, name, "has other text");
        buf_done(&now);
    } else if (o->bytes != t->bytes) {
        differs(d, name, "has another size");
    } else if (compare_is_float(t->dtype)) {
        double g = compare_numbers(t->dtype, before, t->data, t->bytes, &at);
        if (g > d->greatest)
            (void)snprintf(d->where, sizeof d->where, "in output '%.60s', row %llu", name,
                           (unsigned long long)row_of(o, at));
        d->greatest = g > d->greatest ? g : d->greatest;
        d->is_same = d->is_same && g <= tolerance;
    } else if (t->bytes > 0 && memcmp(before, t->data, t->bytes) != 0) {
        size_t byte = 0;
        while (before[byte] == t->data[byte])
            byte++;
        (void)snprintf(what, sizeof what, "differs in row %llu",
                       (unsigned long long)row_of(o, byte / dtype_size(t->dtype)));
        differs(d, name, what);
    }
}

void compare_with(const struct compare_answer *before, const struct infer *i, double tolerance,
                  struct compare_difference *out)
{
    *out = (struct compare_difference){.is_same = true};
    for (uint32_t k = 0; k < before->len; k++)
        compare_output(before, k, i, tolerance, out);
}

/* ---- kept requests ---- */

struct compare_ring {
    pthread_mutex_t lock;
    _Atomic uint64_t next_ns; /* no request before is looked at */
    size_t cap, len, at;
    struct warmup_tensors *kept; /* at: the next to be overwritten */
};

struct compare_ring *compare_ring_new(size_t cap)
{
    struct compare_ring *r = calloc(1, sizeof *r);
    CHECK(r && cap >= 1 && cap <= COMPARE_KEPT_MAX);
    r->kept = calloc(cap, sizeof *r->kept);
    CHECK(r->kept);
    r->cap = cap;
    pthread_mutex_init(&r->lock, NULL);
    return r;
}

struct compare_ring *compare_ring_free(struct compare_ring *r)
{
    if (!r)
        return NULL;
    for (size_t i = 0; i < r->len; i++)
        warmup_free(&r->kept[i]);
    pthread_mutex_destroy(&r->lock);
    free(r->kept);
    free(r);
    return NULL;
}

static uint64_t strings_of(const struct infer_tensor *t)
{
    return t->given && t->dtype == DT_BYTES ? t->bytes / sizeof(struct bytes_ref) : 0;
}

static struct str input_string(const struct infer *i, uint32_t k, uint64_t e)
{
    const struct lane_block *b = i->block;
    struct bytes_ref ref;
    if (i->ensemble)
        return ensemble_in_bytes(i, (int)k, e);
    memcpy(&ref, i->in[k].data + e * sizeof ref, sizeof ref);
    if ((uint64_t)ref.off + ref.len > b->lane->map->in_cap)
        return STR("");
    return (struct str){(const char *)segment_in(b->lane->map, b->lane->index, b->index) + ref.off, ref.len};
}

/* 0: is not kept. */
static size_t size_of(const struct infer *i, uint32_t inputs)
{
    size_t n = ALIGN;
    for (uint32_t k = 0; k < inputs; k++) {
        const struct infer_tensor *t = &i->in[k];
        if (t->given && t->bytes > COMPARE_KEPT_BYTES)
            return 0;
        n += t->given ? ROUND_UP(t->bytes, ALIGN) : 0;
        for (uint64_t e = 0; e < strings_of(t) && n <= COMPARE_KEPT_BYTES; e++)
            n += input_string(i, k, e).n;
        n = ROUND_UP(n, ALIGN);
    }
    return n <= COMPARE_KEPT_BYTES ? n : 0;
}

/* Behind the references, which count from the base. */
static size_t copy_strings(const struct infer *i, uint32_t k, size_t at, const struct warmup_tensors *out)
{
    for (uint64_t e = 0; e < strings_of(&i->in[k]); e++) {
        struct str s = input_string(i, k, e);
        struct bytes_ref ref = {.off = (uint32_t)at, .len = (uint32_t)s.n};
        memcpy((unsigned char *)out->in[k].data + e * sizeof ref, &ref, sizeof ref);
        if (s.n > 0)
            memcpy(out->base + at, s.p, s.n);
        at += s.n;
    }
    return ROUND_UP(at, ALIGN);
}

static void copy_inputs(const struct infer *i, uint32_t inputs, size_t size, struct warmup_tensors *out)
{
    size_t at = 0;
    *out = (struct warmup_tensors){.base = aligned_alloc(ALIGN, size), .bytes = size, .rows = i->rows};
    CHECK(out->base);
    for (uint32_t k = 0; k < inputs; k++) {
        const struct infer_tensor *t = &i->in[k];
        struct backend_tensor *to = &out->in[k];
        *to = (struct backend_tensor){.dtype = t->dtype, .ndim = t->ndim, .bytes = t->given ? t->bytes : 0};
        memcpy(to->dims, t->dims, sizeof to->dims);
        if (!t->given)
            continue;
        to->data = out->base + at;
        if (t->dtype != DT_BYTES && t->bytes > 0)
            memcpy(to->data, t->data, t->bytes);
        at = copy_strings(i, k, at + ROUND_UP(t->bytes, ALIGN), out);
    }
}

bool compare_ring_is_due(const struct compare_ring *r)
{
    return r && clock_now_ns() >= atomic_load_explicit(&r->next_ns, memory_order_relaxed);
}

void compare_ring_offer(struct compare_ring *r, const struct infer *i)
{
    uint32_t inputs = i->model->info.desc->inputs_len;
    if (!compare_ring_is_due(r) || pthread_mutex_trylock(&r->lock) != 0)
        return;
    size_t size = size_of(i, inputs);
    if (size > 0) {
        atomic_store_explicit(&r->next_ns, clock_now_ns() + KEEP_EVERY_NS, memory_order_relaxed);
        warmup_free(&r->kept[r->at]);
        copy_inputs(i, inputs, size, &r->kept[r->at]);
        r->at = (r->at + 1) % r->cap;
        r->len = r->len < r->cap ? r->len + 1 : r->len;
    }
    pthread_mutex_unlock(&r->lock);
}

static void copy_kept(const struct warmup_tensors *from, struct warmup_tensors *to)
{
    *to = *from;
    to->base = aligned_alloc(ALIGN, from->bytes);
    CHECK(to->base);
    memcpy(to->base, from->base, from->bytes);
    for (size_t k = 0; k < MODEL_TENSORS_MAX; k++)
        if (from->in[k].data)
            to->in[k].data = to->base + ((const unsigned char *)from->in[k].data - from->base);
}

size_t compare_ring_copy(struct compare_ring *r, struct warmup_tensors *out, size_t max)
{
    size_t n = 0;
    pthread_mutex_lock(&r->lock);
    for (; n < r->len && n < max; n++)
        copy_kept(&r->kept[(r->at + r->cap - 1 - n) % r->cap], &out[n]);
    pthread_mutex_unlock(&r->lock);
    return n;
}
