/* A run: tensors are wrapped where they lie in the block, so that the engine reads and writes there. Only those that are not aligned as the
 * engine wants, and those that are converted from or to real numbers, go through memory of the model.
 *
 * Where rows are independent, a run of any number of rows is made of runs of a few sizes (tflite_sizes.c), so that a dozen compiled models serve
 * every number, and none is compiled while requests wait once these exist. */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "model/backends/tflite/tflite_int.h"

/* One tensor of one piece, between the block and the engine. */
struct part {
    unsigned char *inside;          /* what the engine sees */
    unsigned char *outside;         /* in the block */
    size_t inside_bytes, row_bytes; /* of the engine's */
    size_t count;                   /* elements that are not padding */
};

struct piece {
    struct tflite_plan *plan;
    bool is_padded; /* the engine runs more rows than there are */
    struct part in[MODEL_TENSORS_MAX], out[MODEL_TENSORS_MAX];
    /* In the engine's order. */
    struct litert_buffer *in_buffers[MODEL_TENSORS_MAX], *out_buffers[MODEL_TENSORS_MAX];
};

int32_t tflite_element(enum dtype t)
{
    static const int32_t elements[DT_MAX_] = {
        [DT_BOOL] = LITERT_BOOL,     [DT_UINT8] = LITERT_UINT8,   [DT_UINT16] = LITERT_UINT16,
        [DT_UINT32] = LITERT_UINT32, [DT_UINT64] = LITERT_UINT64, [DT_INT8] = LITERT_INT8,
        [DT_INT16] = LITERT_INT16,   [DT_INT32] = LITERT_INT32,   [DT_INT64] = LITERT_INT64,
        [DT_FP16] = LITERT_FLOAT16,  [DT_BF16] = LITERT_BFLOAT16, [DT_FP32] = LITERT_FLOAT32,
        [DT_FP64] = LITERT_FLOAT64,
    };
    return elements[t];
}

/* ---- memory ---- */

static bool is_aligned(const void *p)
{
    return (uintptr_t)p % LITERT_ALIGN == 0;
}

static size_t padded(size_t bytes)
{
    return ROUND_UP(bytes + LITERT_READ_PAST, LITERT_ALIGN);
}

/* Whether the part needs memory of ours. */
static bool is_through_scratch(const struct tflite_slot *s, const struct piece *p, const struct part *t)
{
    return s->is_real || p->is_padded || !is_aligned(t->outside);
}

static enum err_code reserve(struct tflite_model *m, size_t bytes, struct err *err)
{
    m->scratch_used = 0;
    if (bytes <= m->scratch_cap)
        return ERR_OK;
    free(m->scratch);
    m->scratch_cap = 0;
    m->scratch = aligned_alloc(LITERT_ALIGN, bytes);
    if (m->scratch == NULL)
        return err_set(err, ERR_TOO_LARGE, "no memory for %zu bytes of tensors", bytes);
    m->scratch_cap = bytes;
    return ERR_OK;
}

static unsigned char *take(struct tflite_model *m, size_t bytes)
{
    unsigned char *p = m->scratch + m->scratch_used;
    m->scratch_used += padded(bytes);
    CHECK(m->scratch_used <= m->scratch_cap);
    return p;
}

/* Rows of padding are the last row again: values that the model can take. */
static void bring_in(const struct tflite_slot *s, const struct part *t)
{
    size_t used = t->count * s->size;
    if (s->is_real)
        tflite_quantize(&s->io, (const float *)(const void *)t->outside, t->count, t->inside);
    else if (t->inside != t->outside)
        memcpy(t->inside, t->outside, used);
    for (; used < t->inside_bytes; used += t->row_bytes)
        memcpy(t->inside + used, t->inside + used - t->row_bytes, t->row_bytes);
}

/* Places for all parts: in the block, or in memory of ours. */
static enum err_code place(struct tflite_model *m, struct piece *p, struct err *err)
{
    size_t need = 0;
    for (uint32_t i = 0; i < m->inputs_len; i++)
        if (is_through_scratch(&m->inputs[i], p, &p->in[i]))
            need += padded(p->in[i].inside_bytes);
    for (uint32_t i = 0; i < m->outputs_len; i++)
        if (is_through_scratch(&m->outputs[i], p, &p->out[i]))
            need += padded(p->out[i].inside_bytes);
    enum err_code code = reserve(m, need, err);
    if (code != ERR_OK)
        return code;
    for (uint32_t i = 0; i < m->inputs_len; i++) {
        struct part *t = &p->in[i];
        t->inside = is_through_scratch(&m->inputs[i], p, t) ? take(m, t->inside_bytes) : t->outside;
        bring_in(&m->inputs[i], t);
    }
    for (uint32_t i = 0; i < m->outputs_len; i++) {
        struct part *t = &p->out[i];
        t->inside = is_through_scratch(&m->outputs[i], p, t) ? take(m, t->inside_bytes) : t->outside;
    }
    return ERR_OK;
}

static void bring_out(const struct tflite_model *m, const struct piece *p)
{
    for (uint32_t i = 0; i < m->outputs_len; i++) {
        const struct part *t = &p->out[i];
        if (m->outputs[i].is_real)
            tflite_dequantize(&m->outputs[i].io, t->inside, t->count, (float *)(void *)t->outside);
        else if (t->inside != t->outside)
            memcpy(t->outside, t->inside, t->count * m->outputs[i].size);
    }
}

/* ---- the engine ---- */

static int wrap(const struct tflite_model *m, const struct tflite_slot *s, const struct litert_layout *layout,
                const struct part *t, struct litert_buffer **out)
{
    struct litert_tensor_type type = {.element = s->element, .layout = *layout};
    return m->api->CreateTensorBufferFromHostMemory(&type, t->inside, t->inside_bytes, NULL, out);
}

static int wrap_all(const struct tflite_model *m, struct piece *p)
{
    int status = LITERT_OK;
    for (uint32_t i = 0; status == LITERT_OK && i < m->inputs_len; i++) {
        const struct tflite_slot *s = &m->inputs[i];
        struct litert_layout layout = {.rank = (uint32_t)s->io.spec.ndim};
        memcpy(layout.dims, p->plan->in_dims[i], sizeof layout.dims);
        status = wrap(m, s, &layout, &p->in[i], &p->in_buffers[s->index]);
    }
    for (uint32_t i = 0; status == LITERT_OK && i < m->outputs_len; i++) {
        const struct tflite_slot *s = &m->outputs[i];
        status = wrap(m, s, &p->plan->outs[s->index], &p->out[i], &p->out_buffers[s->index]);
    }
    return status;
}

static void unwrap_all(const struct tflite_model *m, struct piece *p)
{
    for (uint32_t i = 0; i < m->inputs_len; i++)
        if (p->in_buffers[i] != NULL)
            m->api->DestroyTensorBuffer(p->in_buffers[i]);
    for (uint32_t i = 0; i < m->outputs_len; i++)
        if (p->out_buffers[i] != NULL)
            m->api->DestroyTensorBuffer(p->out_buffers[i]);
}

/* The engine writes only to places whose size it knows beforehand; it says so in terms of its own memory. */
static bool is_size_unknown(const struct err *err)
{
    return strstr(err->text, "allocation_type == kTfLite") != NULL;
}

static enum err_code run_piece(struct tflite_model *m, struct piece *p, struct err *err)
{
    memset(p->in_buffers, 0, sizeof p->in_buffers[0] * m->inputs_len);
    memset(p->out_buffers, 0, sizeof p->out_buffers[0] * m->outputs_len);
    enum err_code code = place(m, p, err);
    if (code != ERR_OK)
        return code;
    int status = wrap_all(m, p);
    if (status == LITERT_OK)
        status = m->api->RunCompiledModel(p->plan->compiled, m->signature, m->inputs_len, p->in_buffers, m->outputs_len,
                                          p->out_buffers);
    unwrap_all(m, p);
    if (status == LITERT_OK) {
        bring_out(m, p);
        return ERR_OK;
    }
    code = litert_fail(status, p->plan->compiled, "the run failed", ERR_BACKEND, err);
    if (atomic_load_explicit(&m->is_aborted, memory_order_acquire))
        return err_set(err, ERR_CANCELLED, "the run was ended");
    if (is_size_unknown(err))
        return err_set(err, ERR_UNSUPPORTED,
                       "the size of an output depends on values, not only on shapes; not supported");
    return code;
}

/* ---- shapes ---- */

static size_t outside_size(const struct tflite_slot *s)
{
    return s->is_real ? sizeof(float) : s->size;
}

static enum err_code input_shape(const struct tflite_slot *s, const struct backend_tensor *t, int32_t *dims,
                                 struct err *err)
{
    uint64_t count;
    if (t->data == NULL)
        return err_set(err, ERR_INVALID, "input '%s' is not given", s->io.spec.name);
    if (t->ndim != s->io.spec.ndim)
        return err_set(err, ERR_INVALID, "input '%s' has %d dimensions instead of %d", s->io.spec.name, t->ndim,
                       s->io.spec.ndim);
    for (int k = 0; k < t->ndim; k++) {
        if (t->dims[k] < 1 || t->dims[k] > INT32_MAX)
            return err_set(err, ERR_INVALID, "dimension %d of input '%s' cannot be %lld", k, s->io.spec.name,
                           (long long)t->dims[k]);
        dims[k] = (int32_t)t->dims[k];
    }
    if (!tensor_count(t->dims, t->ndim, &count) || t->bytes != count * outside_size(s))
        return err_set(err, ERR_INVALID, "input '%s' has %zu bytes, which is not what its shape says", s->io.spec.name,
                       t->bytes);
    return ERR_OK;
}

/* The outputs of the whole run, at their places in the block. rows: of the whole run, where it is made of several pieces; else 0. */
static enum err_code place_outputs(struct tflite_model *m, struct backend_run *run, const struct tflite_plan *plan,
                                   uint32_t rows, struct err *err)
{
    for (uint32_t i = 0; i < m->outputs_len; i++) {
        const struct tflite_slot *s = &m->outputs[i];
        const struct litert_layout *layout = &plan->outs[s->index];
        struct backend_tensor *t = &run->out[i];
        uint64_t count;
        t->dtype = s->is_real ? DT_FP32 : (enum dtype)s->io.spec.dtype;
        t->ndim = (int)layout->rank;
        for (int k = 0; k < t->ndim; k++)
            t->dims[k] = k == 0 && rows > 0 ? (int64_t)rows : layout->dims[k];
        bool is_sane = tensor_count(t->dims, t->ndim, &count);
        t->bytes = is_sane ? (size_t)count * outside_size(s) : 0;
        t->data = is_sane ? backend_out_alloc(run, t->bytes) : NULL;
        if (t->data == NULL)
            return err_set(err, ERR_TOO_LARGE, "output '%s' of %zu bytes does not fit into the batch's memory",
                           s->io.spec.name, t->bytes);
    }
    return ERR_OK;
}

/* Which rows of the whole run a piece has. rows == 0: the run is not made of pieces. */
struct slice {
    uint32_t rows, from, n;
    uint32_t size; /* rows that the engine runs, at least n */
};

static struct part part_of(const struct tflite_slot *s, const struct backend_tensor *t, const struct slice *c)
{
    size_t count = t->bytes / outside_size(s);
    if (c->rows == 0)
        return (struct part){
            .outside = t->data, .inside_bytes = count * s->size, .row_bytes = count * s->size, .count = count};
    size_t row = count / c->rows;
    return (struct part){.outside = (unsigned char *)t->data + c->from * row * outside_size(s),
                         .inside_bytes = c->size * row * s->size,
                         .row_bytes = row * s->size,
                         .count = c->n * row};
}

/* ---- the run ---- */

static enum err_code run_slice(struct tflite_model *m, struct backend_run *run, int32_t (*dims)[LITERT_DIMS_MAX],
                               const struct slice *c, struct err *err)
{
    struct piece p;
    for (uint32_t i = 0; c->rows > 0 && i < m->inputs_len; i++)
        dims[i][0] = (int32_t)c->size;
    p.is_padded = c->size > c->n;
    enum err_code code = tflite_plan(m, (const int32_t(*)[LITERT_DIMS_MAX])dims, &p.plan, err);
    if (code == ERR_OK && c->from == 0)
        code = place_outputs(m, run, p.plan, c->rows, err);
    if (code != ERR_OK)
        return code;
    for (uint32_t i = 0; i < m->inputs_len; i++)
        p.in[i] = part_of(&m->inputs[i], &run->in[i], c);
    for (uint32_t i = 0; i < m->outputs_len; i++)
        p.out[i] = part_of(&m->outputs[i], &run->out[i], c);
    return run_piece(m, &p, err);
}

static enum err_code run_rows(struct tflite_model *m, struct backend_run *run, int32_t (*dims)[LITERT_DIMS_MAX],
                              uint32_t rows, struct err *err)
{
    struct slice c = {.rows = rows};
    enum err_code code = ERR_OK;
    while (code == ERR_OK && c.from < rows) {
        c.size = tflite_next_size(&m->sizes, rows - c.from);
        c.n = c.size < rows - c.from ? c.size : rows - c.from;
        code = run_slice(m, run, dims, &c, err);
        c.from += c.n;
    }
    return code;
}

enum err_code tflite_run(void *instance, struct backend_run *run, struct err *err)
{
    struct tflite_model *m = instance;
    int32_t dims[MODEL_TENSORS_MAX][LITERT_DIMS_MAX];
    CHECK(run->in_len == (int)m->inputs_len);
    CHECK(run->out_len == (int)m->outputs_len);
    atomic_store_explicit(&m->is_aborted, false, memory_order_release);
    for (uint32_t i = 0; i < m->inputs_len; i++) {
        memset(dims[i], 0, sizeof dims[i]);
        enum err_code code = input_shape(&m->inputs[i], &run->in[i], dims[i], err);
        if (code != ERR_OK)
            return code;
    }
    for (uint32_t i = 1; m->may_split && i < m->inputs_len; i++)
        if (dims[i][0] != dims[0][0])
            return err_set(err, ERR_INVALID, "inputs '%s' and '%s' have different numbers of rows",
                           m->inputs[0].io.spec.name, m->inputs[i].io.spec.name);
    if (m->may_split && m->inputs_len > 0)
        return run_rows(m, run, dims, (uint32_t)dims[0][0], err);
    return run_slice(m, run, dims, &(struct slice){0}, err);
}
