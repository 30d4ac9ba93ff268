#include <string.h>

#include "base/check.h"
#include "model/backends/onnx/onnx_int.h"

/* Everything of one run that must be released, however it ends. */
struct values {
    uint32_t in_len, out_len;
    struct ort_value *in[MODEL_TENSORS_MAX], *out[MODEL_TENSORS_MAX];
};

static void release(const struct onnx_model *m, struct values *v)
{
    for (uint32_t i = 0; i < v->in_len; i++)
        if (v->in[i] != NULL)
            m->api->ReleaseValue(v->in[i]);
    for (uint32_t i = 0; i < v->out_len; i++)
        if (v->out[i] != NULL)
            m->api->ReleaseValue(v->out[i]);
}

static enum err_code fail(const struct onnx_model *m, struct ort_status *s, struct err *err)
{
    return ort_check(s, m->root, err, ERR_BACKEND);
}

/* ---- inputs ---- */

static enum err_code wrap_strings(const struct onnx_model *m, const struct backend_run *run,
                                  const struct backend_tensor *t, struct ort_value **out, struct err *err)
{
    enum err_code code =
        fail(m, m->api->CreateTensorAsOrtValue(m->allocator, t->dims, (size_t)t->ndim, ORT_STRING, out), err);
    const struct bytes_ref *refs = t->data;
    size_t n = t->bytes / sizeof *refs;
    for (size_t i = 0; code == ERR_OK && i < n; i++) {
        char *text;
        code = fail(m, m->api->GetResizedStringTensorElementBuffer(*out, i, refs[i].len, &text), err);
        if (code == ERR_OK && refs[i].len > 0)
            memcpy(text, run->in_base + refs[i].off, refs[i].len);
    }
    return code;
}

static enum err_code wrap_input(const struct onnx_model *m, const struct backend_run *run, uint32_t i, struct values *v,
                                struct err *err)
{
    const struct backend_tensor *t = &run->in[i];
    if (t->data == NULL)
        return err_set(err, ERR_INVALID, "input '%s' is not given", m->inputs[i].name);
    if (t->dtype == DT_BYTES)
        return wrap_strings(m, run, t, &v->in[i], err);
    return fail(m,
                m->api->CreateTensorWithDataAsOrtValue(m->memory, t->data, t->bytes, t->dims, (size_t)t->ndim,
                                                       onnx_element(t->dtype), &v->in[i]),
                err);
}

/* ---- outputs ---- */

/* The rows of this run: the first dimension of the first input that has a free one. */
static int64_t rows_of(const struct onnx_model *m, const struct backend_run *run)
{
    for (uint32_t i = 0; i < m->inputs_len; i++)
        if (m->inputs[i].ndim > 0 && m->inputs[i].dims[0] == -1)
            return run->in[i].dims[0];
    return 1;
}

static enum err_code no_room(const char *name, uint64_t bytes, struct err *err)
{
    return err_set(err, ERR_TOO_LARGE, "output '%s' of %llu bytes does not fit into the batch's memory", name,
                   (unsigned long long)bytes);
}

/* Output i at its place in the block, when its size is known. */
static enum err_code place_output(const struct onnx_model *m, struct backend_run *run, uint32_t i, int64_t rows,
                                  struct values *v, struct err *err)
{
    const struct tensor_spec *s = &m->outputs[i];
    struct backend_tensor *t = &run->out[i];
    uint64_t count;
    t->ndim = s->ndim;
    t->dtype = (enum dtype)s->dtype;
    for (int k = 0; k < s->ndim; k++)
        t->dims[k] = s->dims[k] >= 0 ? s->dims[k] : rows;
    if (!tensor_count(t->dims, t->ndim, &count))
        return no_room(s->name, UINT64_MAX, err);
    t->bytes = (size_t)count * dtype_size(t->dtype);
    t->data = backend_out_alloc(run, t->bytes);
    if (t->data == NULL)
        return no_room(s->name, t->bytes, err);
    return fail(m,
                m->api->CreateTensorWithDataAsOrtValue(m->memory, t->data, t->bytes, t->dims, (size_t)t->ndim,
                                                       onnx_element(t->dtype), &v->out[i]),
                err);
}

static enum err_code read_dims(const struct onnx_model *m, uint32_t i, struct ort_value *value,
                               struct backend_tensor *t, struct err *err)
{
    struct ort_tensor_info *info;
    size_t ndim = 0;
    enum err_code code = fail(m, m->api->GetTensorTypeAndShape(value, &info), err);
    if (code != ERR_OK)
        return code;
    code = fail(m, m->api->GetDimensionsCount(info, &ndim), err);
    if (code == ERR_OK && ndim > TENSOR_DIMS_MAX)
        code = err_set(err, ERR_UNSUPPORTED, "output '%s' has %zu dimensions; at most %d are served",
                       m->outputs[i].name, ndim, TENSOR_DIMS_MAX);
    if (code == ERR_OK)
        code = fail(m, m->api->GetDimensions(info, t->dims, ndim), err);
    m->api->ReleaseTensorTypeAndShapeInfo(info);
    t->ndim = (int)ndim;
    return code;
}

/* The engine gives all texts end to end, with offsets. They go to the block as they are; offsets become references. */
static enum err_code copy_strings(const struct onnx_model *m, struct backend_run *run, uint32_t i,
                                  struct ort_value *value, uint64_t count, struct err *err)
{
    struct backend_tensor *t = &run->out[i];
    struct bytes_ref *refs = t->data;
    size_t len = 0;
    enum err_code code = fail(m, m->api->GetStringTensorDataLength(value, &len), err);
    if (code != ERR_OK || count == 0)
        return code;
    char *text = backend_out_alloc(run, len);
    size_t *offsets = backend_out_alloc(run, (size_t)count * sizeof *offsets);
    if (text == NULL || offsets == NULL || run->out_used > UINT32_MAX)
        return no_room(m->outputs[i].name, len, err);
    code = fail(m, m->api->GetStringTensorContent(value, text, len, offsets, (size_t)count), err);
    if (code != ERR_OK)
        return code;
    size_t base = (size_t)((unsigned char *)text - run->out_base);
    for (uint64_t k = 0; k < count; k++) {
        size_t end = k + 1 < count ? offsets[k + 1] : len;
        refs[k] = (struct bytes_ref){.off = (uint32_t)(base + offsets[k]), .len = (uint32_t)(end - offsets[k])};
    }
    return ERR_OK;
}

/* An output that the engine allocated. */
static enum err_code copy_output(const struct onnx_model *m, struct backend_run *run, uint32_t i,
                                 struct ort_value *value, struct err *err)
{
    struct backend_tensor *t = &run->out[i];
    uint64_t count;
    t->dtype = (enum dtype)m->outputs[i].dtype;
    enum err_code code = read_dims(m, i, value, t, err);
    if (code != ERR_OK)
        return code;
    if (!tensor_count(t->dims, t->ndim, &count))
        return no_room(m->outputs[i].name, UINT64_MAX, err);
    t->bytes = (size_t)count * dtype_size(t->dtype);
    t->data = backend_out_alloc(run, t->bytes);
    if (t->data == NULL)
        return no_room(m->outputs[i].name, t->bytes, err);
    if (t->dtype == DT_BYTES)
        return copy_strings(m, run, i, value, count, err);
    void *data = NULL;
    code = fail(m, m->api->GetTensorMutableData(value, &data), err);
    if (code == ERR_OK && t->bytes > 0)
        memcpy(t->data, data, t->bytes);
    return code;
}

/* ---- the run ---- */

static enum err_code run_once(const struct onnx_model *m, struct backend_run *run, struct values *v, struct err *err)
{
    enum err_code code = ERR_OK;
    int64_t rows = rows_of(m, run);
    for (uint32_t i = 0; code == ERR_OK && i < m->inputs_len; i++)
        code = wrap_input(m, run, i, v, err);
    for (uint32_t i = 0; code == ERR_OK && i < m->outputs_len; i++)
        if (m->is_placed[i])
            code = place_output(m, run, i, rows, v, err);
    if (code == ERR_OK)
        code = fail(m,
                    m->api->Run(m->session, m->options, (const char *const *)m->input_names,
                                (const struct ort_value *const *)v->in, m->inputs_len,
                                (const char *const *)m->output_names, m->outputs_len, v->out),
                    err);
    for (uint32_t i = 0; code == ERR_OK && i < m->outputs_len; i++)
        if (!m->is_placed[i])
            code = copy_output(m, run, i, v->out[i], err);
    return code;
}

/* The shape that trial runs showed did not hold this time: sizes depend on values. Such outputs are copied from now on. */
static bool stop_placing(struct onnx_model *m, const struct err *err)
{
    bool any = false;
    if (strstr(err->text, "shape verification failed") == NULL)
        return false;
    for (uint32_t i = 0; i < m->outputs_len; i++) {
        any = any || m->is_placed[i];
        m->is_placed[i] = false;
    }
    return any;
}

enum err_code onnx_run(void *instance, struct backend_run *run, struct err *err)
{
    struct onnx_model *m = instance;
    CHECK(run->in_len == (int)m->inputs_len);
    CHECK(run->out_len == (int)m->outputs_len);
    onnx_take_packed(m);
    if (atomic_load_explicit(&m->is_aborted, memory_order_acquire)) {
        ort_ignore(m->api->RunOptionsUnsetTerminate(m->options));
        atomic_store_explicit(&m->is_aborted, false, memory_order_release);
    }
    size_t used = run->out_used;
    enum err_code code;
    do {
        struct values v;
        run->out_used = used;
        v.in_len = m->inputs_len;
        v.out_len = m->outputs_len;
        for (uint32_t i = 0; i < v.in_len; i++) /* the rest of both arrays stays unused */
            v.in[i] = NULL;
        for (uint32_t i = 0; i < v.out_len; i++)
            v.out[i] = NULL;
        code = run_once(m, run, &v, err);
        release(m, &v);
    } while (code == ERR_BACKEND && stop_placing(m, err));
    if (code == ERR_BACKEND && atomic_load_explicit(&m->is_aborted, memory_order_acquire))
        return err_set(err, ERR_CANCELLED, "the run was ended");
    return code;
}
