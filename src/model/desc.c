#include "model/desc.h"

#include <string.h>
#include <sys/mman.h>

#include "base/check.h"
#include "base/utf8.h"

/* Most elements along one dimension; the same bound as tensor_count has for all of them together. */
#define DIM_MAX        (INT64_C(1) << 40)
#define BATCH_ROWS_MAX 65536
#define MEASURE_NS_MAX (UINT64_C(3600) * 1000000000) /* a longer run is a clock gone wrong */

/* ---- copies ---- */

/* As pages that take no memory before they are touched: of 100 KB most models need two. */
struct model_desc *model_desc_new(void)
{
    struct model_desc *d =
        mmap(NULL, sizeof *d, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(d != MAP_FAILED);
    return d;
}

static size_t tensors_of(uint32_t len)
{
    return len < MODEL_TENSORS_MAX ? len : MODEL_TENSORS_MAX;
}

struct model_desc *model_desc_copy(const struct model_desc *from)
{
    struct model_desc *d = model_desc_new();
    memcpy(d, from, offsetof(struct model_desc, inputs));
    memcpy(d->inputs, from->inputs, tensors_of(d->inputs_len) * sizeof d->inputs[0]);
    memcpy(d->outputs, from->outputs, tensors_of(d->outputs_len) * sizeof d->outputs[0]);
    return d;
}

void model_desc_free(const struct model_desc *d)
{
    if (d)
        (void)munmap((void *)(uintptr_t)d, sizeof *d);
}

size_t model_desc_pack(const struct model_desc *d, void *out)
{
    unsigned char *at = out;
    size_t head = offsetof(struct model_desc, inputs), in = tensors_of(d->inputs_len) * sizeof d->inputs[0],
           outs = tensors_of(d->outputs_len) * sizeof d->outputs[0];
    memcpy(at, d, head);
    memcpy(at + head, d->inputs, in);
    memcpy(at + head + in, d->outputs, outs);
    return head + in + outs;
}

struct model_desc *model_desc_unpack(const void *packed, size_t n)
{
    const unsigned char *at = packed;
    size_t head = offsetof(struct model_desc, inputs);
    if (n < head)
        return NULL;
    struct model_desc *d = model_desc_new();
    memcpy(d, at, head);
    size_t in = tensors_of(d->inputs_len) * sizeof d->inputs[0],
           outs = tensors_of(d->outputs_len) * sizeof d->outputs[0];
    if (n != head + in + outs) {
        model_desc_free(d);
        return NULL;
    }
    memcpy(d->inputs, at + head, in);
    memcpy(d->outputs, at + head + in, outs);
    return d;
}

/* ---- checks ---- */

static bool text_ok(const char *p, size_t size)
{
    const char *nul = memchr(p, 0, size);
    if (nul == NULL)
        return false;
    struct str s = {p, (size_t)(nul - p)};
    if (utf8_check(s) != s.n)
        return false;
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f)
            return false;
    return true;
}

static enum err_code check_spec(const struct tensor_spec *t, const char *side, uint32_t index, struct err *err)
{
    if (!text_ok(t->name, sizeof t->name) || t->name[0] == 0)
        return err_set(err, ERR_INVALID, "%s %u has an empty or unprintable name", side, index);
    if (t->dtype == DT_NONE || t->dtype >= DT_MAX_)
        return err_set(err, ERR_INVALID, "%s '%s' has the unknown type %u", side, t->name, t->dtype);
    if (t->ndim < 0 || t->ndim > TENSOR_DIMS_MAX)
        return err_set(err, ERR_INVALID, "%s '%s' has %d dimensions; at most %d are served", side, t->name, t->ndim,
                       TENSOR_DIMS_MAX);
    for (int i = 0; i < t->ndim; i++) {
        if (t->dims[i] < -1 || t->dims[i] > DIM_MAX)
            return err_set(err, ERR_INVALID, "%s '%s': dimension %d has the impossible size %lld", side, t->name, i,
                           (long long)t->dims[i]);
        if (!text_ok(t->symbols[i], sizeof t->symbols[i]))
            return err_set(err, ERR_INVALID, "%s '%s': dimension %d has an unprintable name", side, t->name, i);
    }
    return ERR_OK;
}

static enum err_code check_side(const struct tensor_spec *t, uint32_t len, const char *side, struct err *err)
{
    if (len > MODEL_TENSORS_MAX)
        return err_set(err, ERR_INVALID, "%u %ss; at most %d are served", len, side, MODEL_TENSORS_MAX);
    for (uint32_t i = 0; i < len; i++) {
        enum err_code code = check_spec(&t[i], side, i, err);
        if (code != ERR_OK)
            return code;
        for (uint32_t k = 0; k < i; k++)
            if (strcmp(t[k].name, t[i].name) == 0)
                return err_set(err, ERR_INVALID, "two %ss are named '%s'", side, t[i].name);
    }
    return ERR_OK;
}

static bool all_free_first(const struct tensor_spec *t, uint32_t len)
{
    for (uint32_t i = 0; i < len; i++)
        if (t[i].ndim < 1 || t[i].dims[0] != -1)
            return false;
    return true;
}

static enum err_code check_batching(const struct model_desc *d, struct err *err)
{
    if (d->has_batch_dim > 1 || d->may_share > 1)
        return err_set(err, ERR_INVALID, "flags are neither 0 nor 1");
    if (d->max_batch < 1 || d->max_batch > BATCH_ROWS_MAX)
        return err_set(err, ERR_INVALID, "%u rows in one run; 1 to %d are possible", d->max_batch, BATCH_ROWS_MAX);
    if (!d->has_batch_dim && (d->may_share || d->max_batch != 1))
        return err_set(err, ERR_INVALID, "batches without a batch dimension");
    if (d->has_batch_dim && (d->inputs_len == 0 || !all_free_first(d->inputs, d->inputs_len) ||
                             !all_free_first(d->outputs, d->outputs_len)))
        return err_set(err, ERR_INVALID, "a batch dimension that some input or output does not have");
    return ERR_OK;
}

static enum err_code check_measures(const struct model_desc *d, struct err *err)
{
    if (d->measures_len > MODEL_MEASURES_MAX)
        return err_set(err, ERR_INVALID, "%u measurements; at most %d are kept", d->measures_len, MODEL_MEASURES_MAX);
    uint32_t before = 0;
    for (uint32_t i = 0; i < d->measures_len; i++) {
        const struct model_measure *m = &d->measures[i];
        if (m->rows <= before || m->rows > BATCH_ROWS_MAX || m->ns == 0 || m->ns > MEASURE_NS_MAX)
            return err_set(err, ERR_INVALID, "an impossible measurement: %u rows in %llu ns", m->rows,
                           (unsigned long long)m->ns);
        before = m->rows;
    }
    return ERR_OK;
}

enum err_code model_desc_check(const struct model_desc *d, struct err *err)
{
    if (!text_ok(d->backend, sizeof d->backend) || !text_ok(d->platform, sizeof d->platform) ||
        !text_ok(d->producer, sizeof d->producer) || !text_ok(d->description, sizeof d->description) ||
        !text_ok(d->batch_reason, sizeof d->batch_reason))
        return err_set(err, ERR_INVALID, "a text of the model's description is not terminated or unprintable");
    enum err_code code = check_side(d->inputs, d->inputs_len, "input", err);
    if (code == ERR_OK)
        code = check_side(d->outputs, d->outputs_len, "output", err);
    if (code == ERR_OK && d->outputs_len == 0)
        code = err_set(err, ERR_INVALID, "the model has no outputs");
    if (code == ERR_OK)
        code = check_batching(d, err);
    return code == ERR_OK ? check_measures(d, err) : code;
}

static int find(const struct tensor_spec *t, uint32_t len, struct str name)
{
    for (uint32_t i = 0; i < len; i++)
        if (str_eq_c(name, t[i].name))
            return (int)i;
    return -1;
}

int model_desc_input(const struct model_desc *d, struct str name)
{
    return find(d->inputs, d->inputs_len, name);
}

int model_desc_output(const struct model_desc *d, struct str name)
{
    return find(d->outputs, d->outputs_len, name);
}
