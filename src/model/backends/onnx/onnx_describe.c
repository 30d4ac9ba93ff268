#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/utf8.h"
#include "model/backends/onnx/onnx_int.h"
#include "model/trial.h"

/* Trial runs stop being started after this; a model that takes longer is served with its declared shapes. */
#define LEARN_NS (10 * NS_PER_S)

#define RANK_UNKNOWN (-1)

static const enum dtype dtypes[ORT_ELEMENT_MAX_] = {
    [ORT_FLOAT] = DT_FP32,    [ORT_UINT8] = DT_UINT8,   [ORT_INT8] = DT_INT8,   [ORT_UINT16] = DT_UINT16,
    [ORT_INT16] = DT_INT16,   [ORT_INT32] = DT_INT32,   [ORT_INT64] = DT_INT64, [ORT_STRING] = DT_BYTES,
    [ORT_BOOL] = DT_BOOL,     [ORT_FLOAT16] = DT_FP16,  [ORT_DOUBLE] = DT_FP64, [ORT_UINT32] = DT_UINT32,
    [ORT_UINT64] = DT_UINT64, [ORT_BFLOAT16] = DT_BF16,
};

/* DT_NONE: not served. */
static enum dtype dtype_of(enum ort_element e)
{
    return (unsigned)e < ORT_ELEMENT_MAX_ ? dtypes[e] : DT_NONE;
}

enum ort_element onnx_element(enum dtype t)
{
    for (unsigned e = 0; e < ORT_ELEMENT_MAX_; e++)
        if (dtypes[e] == t)
            return (enum ort_element)e;
    return ORT_UNDEFINED;
}

/* Two long names that begin alike must stay different: the end becomes a hash. */
static void copy_symbol(char *out, size_t out_size, const char *symbol)
{
    if (!str_copy(out, out_size, str_c(symbol))) {
        uint64_t h = hash64(symbol, strlen(symbol), 1);
        (void)snprintf(out + out_size - 10, 10, "~%08x", (unsigned)(h & UINT32_MAX));
    }
    for (char *c = out; *c != 0; c++)
        if ((unsigned char)*c < 0x20 || (unsigned char)*c >= 0x7f)
            *c = '?';
}

static enum err_code read_shape(const struct ort_api *api, const struct ort_tensor_info *t, struct tensor_spec *s,
                                struct err *err)
{
    size_t ndim;
    const char *symbols[TENSOR_DIMS_MAX] = {NULL};
    enum err_code code = ort_check(api->GetDimensionsCount(t, &ndim), NULL, err, ERR_BACKEND);
    if (code != ERR_OK)
        return code;
    if (ndim > TENSOR_DIMS_MAX)
        return err_set(err, ERR_UNSUPPORTED, "'%s' has %zu dimensions; at most %d are served", s->name, ndim,
                       TENSOR_DIMS_MAX);
    s->ndim = (int32_t)ndim;
    code = ort_check(api->GetDimensions(t, s->dims, ndim), NULL, err, ERR_BACKEND);
    if (code == ERR_OK)
        code = ort_check(api->GetSymbolicDimensions(t, symbols, ndim), NULL, err, ERR_BACKEND);
    if (code != ERR_OK)
        return code;
    for (size_t i = 0; i < ndim; i++) {
        if (s->dims[i] >= 0)
            continue;
        s->dims[i] = -1;
        copy_symbol(s->symbols[i], sizeof s->symbols[i], symbols[i] != NULL ? symbols[i] : "");
    }
    return ERR_OK;
}

static enum err_code read_type(const struct ort_api *api, const struct ort_type_info *type, const char *side,
                               struct tensor_spec *s, struct err *err)
{
    enum ort_kind kind;
    enum err_code code = ort_check(api->GetOnnxTypeFromTypeInfo(type, &kind), NULL, err, ERR_BACKEND);
    if (code != ERR_OK)
        return code;
    if (kind != ORT_KIND_TENSOR) {
        static const char *const names[] = {"of unknown type", "a tensor",        "a sequence", "a map",
                                            "opaque",          "a sparse tensor", "optional"};
        return err_set(err, ERR_UNSUPPORTED, "%s '%s' is %s; only tensors are served", side, s->name,
                       (unsigned)kind < ARRAY_LEN(names) ? names[kind] : names[0]);
    }
    const struct ort_tensor_info *tensor;
    enum ort_element element = ORT_UNDEFINED;
    code = ort_check(api->CastTypeInfoToTensorInfo(type, &tensor), NULL, err, ERR_BACKEND);
    if (code == ERR_OK)
        code = ort_check(api->GetTensorElementType(tensor, &element), NULL, err, ERR_BACKEND);
    if (code != ERR_OK)
        return code;
    s->dtype = (uint32_t)dtype_of(element);
    if (s->dtype == DT_NONE)
        return err_set(err, ERR_UNSUPPORTED, "%s '%s' has an element type that is not served (number %d)", side,
                       s->name, (int)element);
    return read_shape(api, tensor, s, err);
}

static enum err_code copy_name(const char *name, const char *side, struct tensor_spec *s, struct err *err)
{
    struct str n = str_c(name);
    if (utf8_check(n) != n.n || !str_copy(s->name, sizeof s->name, n))
        return err_set(err, ERR_UNSUPPORTED, "the name of an %s is over %d bytes or not UTF-8", side,
                       TENSOR_NAME_MAX - 1);
    return ERR_OK;
}

static enum err_code read_spec(struct onnx_model *m, bool is_input, uint32_t i, struct err *err)
{
    const struct ort_api *api = m->api;
    const char *side = is_input ? "input" : "output";
    struct tensor_spec *s = is_input ? &m->inputs[i] : &m->outputs[i];
    char **name = is_input ? &m->input_names[i] : &m->output_names[i];
    struct ort_type_info *type;
    enum err_code code = ort_check(is_input ? api->SessionGetInputName(m->session, i, m->allocator, name)
                                            : api->SessionGetOutputName(m->session, i, m->allocator, name),
                                   NULL, err, ERR_BACKEND);
    if (code == ERR_OK)
        code = copy_name(*name, side, s, err);
    if (code == ERR_OK)
        code = ort_check(is_input ? api->SessionGetInputTypeInfo(m->session, i, &type)
                                  : api->SessionGetOutputTypeInfo(m->session, i, &type),
                         NULL, err, ERR_BACKEND);
    if (code != ERR_OK)
        return code;
    code = read_type(api, type, side, s, err);
    api->ReleaseTypeInfo(type);
    return code;
}

/* The engine reports "no dimensions" both for a scalar and for a shape that the file does not tell. */
static enum err_code mark_unknown_ranks(struct onnx_model *m, struct err *err)
{
    for (uint32_t i = 0; i < m->inputs_len; i++) {
        if (m->inputs[i].ndim == 0 && m->inputs_len == m->info.inputs_len && !m->info.input_has_rank[i]) {
            (void)err_set(err, ERR_UNSUPPORTED, "input '%s' has no declared shape", m->inputs[i].name);
            return err_remedy(err, "export the model with a shape for each input (free dimensions are allowed)");
        }
    }
    for (uint32_t i = 0; i < m->outputs_len; i++)
        if (m->outputs[i].ndim == 0 && m->outputs_len == m->info.outputs_len && !m->info.output_has_rank[i])
            m->outputs[i].ndim = RANK_UNKNOWN;
    return ERR_OK;
}

enum err_code onnx_read_specs(struct onnx_model *m, struct err *err)
{
    size_t inputs, outputs;
    enum err_code code = ort_check(m->api->SessionGetInputCount(m->session, &inputs), NULL, err, ERR_BACKEND);
    if (code == ERR_OK)
        code = ort_check(m->api->SessionGetOutputCount(m->session, &outputs), NULL, err, ERR_BACKEND);
    if (code != ERR_OK)
        return code;
    if (inputs > MODEL_TENSORS_MAX || outputs > MODEL_TENSORS_MAX || outputs == 0)
        return err_set(err, ERR_UNSUPPORTED, "%zu inputs and %zu outputs; 1 to %d are served", inputs, outputs,
                       MODEL_TENSORS_MAX);
    m->inputs_len = (uint32_t)inputs;
    m->outputs_len = (uint32_t)outputs;
    for (uint32_t i = 0; code == ERR_OK && i < m->inputs_len; i++)
        code = read_spec(m, true, i, err);
    for (uint32_t i = 0; code == ERR_OK && i < m->outputs_len; i++)
        code = read_spec(m, false, i, err);
    return code == ERR_OK ? mark_unknown_ranks(m, err) : code;
}

static void copy_description(const struct onnx_model *m, struct model_desc *d)
{
    struct ort_metadata *meta;
    char *text = NULL;
    struct ort_status *s = m->api->SessionGetModelMetadata(m->session, &meta);
    if (s != NULL) {
        ort_ignore(s);
        return;
    }
    ort_ignore(m->api->ModelMetadataGetDescription(meta, m->allocator, &text));
    if (text != NULL) {
        (void)str_copy(d->description, sizeof d->description, str_c(text));
        d->description[utf8_check(str_c(d->description))] = 0;
        for (char *c = d->description; *c != 0; c++)
            if ((unsigned char)*c < 0x20 || *c == 0x7f)
                *c = ' ';
        ort_ignore(m->api->AllocatorFree(m->allocator, text));
    }
    m->api->ReleaseModelMetadata(meta);
}

void onnx_fill_desc(const struct onnx_model *m, struct model_desc *d)
{
    memset(d, 0, sizeof *d);
    (void)str_copy(d->backend, sizeof d->backend, STR("onnx"));
    (void)str_copy(d->platform, sizeof d->platform, STR("onnxruntime_onnx"));
    (void)str_copy(d->producer, sizeof d->producer, str_c(m->info.producer));
    copy_description(m, d);
    d->inputs_len = m->inputs_len;
    d->outputs_len = m->outputs_len;
    memcpy(d->inputs, m->inputs, sizeof m->inputs);
    memcpy(d->outputs, m->outputs, sizeof m->outputs);
    d->max_batch = (uint32_t)m->max_batch;
    d->file_bytes = m->file_bytes;
    d->load_ns = m->load_ns;
}

/* ---- what trial runs show ---- */

static void relax_shape(struct tensor_spec *s, const struct backend_tensor *seen)
{
    if (s->ndim != seen->ndim) {
        s->ndim = seen->ndim;
        for (int i = 0; i < s->ndim; i++)
            s->dims[i] = -1;
        memset(s->symbols, 0, sizeof s->symbols);
        return;
    }
    for (int i = 0; i < s->ndim; i++)
        if (s->dims[i] != seen->dims[i])
            s->dims[i] = -1;
}

static bool is_fixed_but_first(const struct tensor_spec *s)
{
    for (int i = 1; i < s->ndim; i++)
        if (s->dims[i] < 0)
            return false;
    return s->dtype != DT_BYTES;
}

void onnx_learn_shapes(struct onnx_model *m, struct model_desc *d)
{
    static const int order[] = {0, 1};
    struct trial t;
    struct err err;
    bool is_rows[MODEL_TENSORS_MAX] = {0};
    if (trial_init(&t, &backend_onnx, m, d, clock_now_ns() + LEARN_NS, &err) != ERR_OK)
        return;
    for (uint32_t i = 0; i < m->outputs_len; i++) {
        relax_shape(&m->outputs[i], &t.out[i]);
        is_rows[i] = t.out[i].ndim > 0 && t.out[i].dims[0] == 1;
    }
    if (trial_run(&t, order, 2, NULL, &err) == ERR_OK) {
        for (uint32_t i = 0; i < m->outputs_len; i++) {
            relax_shape(&m->outputs[i], &t.out[i]);
            is_rows[i] = is_rows[i] && t.out[i].ndim > 0 && t.out[i].dims[0] == 2;
            bool is_known = m->outputs[i].ndim == 0 || m->outputs[i].dims[0] >= 0 || is_rows[i];
            m->is_placed[i] = is_known && is_fixed_but_first(&m->outputs[i]);
        }
    }
    trial_done(&t);
    memcpy(d->outputs, m->outputs, sizeof m->outputs);
}
