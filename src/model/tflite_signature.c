/* Signatures of a TensorFlow Lite file: what the model calls its inputs and outputs. A file without any is served by the names of the first
 * graph's tensors, as the engine does. */
#include <math.h>
#include <string.h>

#include "base/utf8.h"
#include "model/tflite_file_int.h"

#define SIGNATURES_MAX 1000

static enum dtype dtype_of(uint32_t type)
{
    static const enum dtype types[LITE_TYPES] = {
        [0] = DT_FP32,    [1] = DT_FP16,    [2] = DT_INT32, [3] = DT_UINT8, [4] = DT_INT64,
        [6] = DT_BOOL,    [7] = DT_INT16,   [9] = DT_INT8,  [10] = DT_FP64, [12] = DT_UINT64,
        [15] = DT_UINT32, [16] = DT_UINT16, [18] = DT_BF16,
    };
    return type < LITE_TYPES ? types[type] : DT_NONE;
}

/* One scale for the whole tensor, and a type that is made of it. */
static void read_scale(struct lite_walk *w, const struct lite_tensor *t, struct tflite_io *io)
{
    struct flat_table q = flat_child(&w->f, t->at, TENSOR_QUANT);
    struct flat_vector scales = flat_vector(&w->f, q, QUANT_SCALE, 4);
    struct flat_vector zeros = flat_vector(&w->f, q, QUANT_ZERO, 8);
    bool is_small = io->spec.dtype == DT_INT8 || io->spec.dtype == DT_UINT8 || io->spec.dtype == DT_INT16;
    if (!is_small || scales.len != 1 || zeros.len != 1)
        return;
    io->scale = flat_vector_f32(&w->f, scales, 0);
    io->zero = (int32_t)flat_vector_i64(&w->f, zeros, 0);
    io->is_quantized = io->scale > 0;
}

static bool name_ok(struct str name)
{
    for (size_t i = 0; i < name.n; i++)
        if ((unsigned char)name.p[i] < 0x20 || name.p[i] == 0x7f)
            return false;
    return name.n > 0 && utf8_check(name) == name.n;
}

static enum err_code read_io(struct lite_walk *w, const struct lite_graph *g, uint32_t index, struct str name,
                             const char *side, struct tflite_io *io)
{
    char shown[80];
    struct lite_tensor t;
    enum err_code code = lite_tensor(w, g, index, &t);
    if (code != ERR_OK)
        return code;
    if (!name_ok(name) || !str_copy(io->spec.name, sizeof io->spec.name, name))
        return err_set(w->err, ERR_UNSUPPORTED, "the name of an %s is empty, over %d bytes or not printable UTF-8",
                       side, TENSOR_NAME_MAX - 1);
    io->spec.dtype = (uint32_t)dtype_of(t.type);
    if (io->spec.dtype == DT_NONE)
        return err_set(w->err, ERR_UNSUPPORTED, "%s '%s' is %s, which is not served", side, lite_shown(name, shown),
                       t.type == LITE_STRING ? "text" : "of an unusual type");
    struct flat_vector signature = flat_vector(&w->f, t.at, TENSOR_SIGNATURE, 4);
    io->spec.ndim = t.ndim;
    for (int i = 0; i < t.ndim; i++) {
        io->shape[i] = t.dims[i];
        io->spec.dims[i] = signature.len != 0 && flat_vector_i32(&w->f, signature, (uint32_t)i) == -1 ? -1 : t.dims[i];
    }
    read_scale(w, &t, io);
    return ERR_OK;
}

/* ---- one signature ---- */

static int position(struct lite_walk *w, struct flat_vector v, uint32_t tensor)
{
    for (uint32_t i = 0; i < v.len; i++)
        if ((uint32_t)flat_vector_i32(&w->f, v, i) == tensor)
            return (int)i;
    return -1;
}

/* One side: the names, each for another tensor at the graph's end, none left out. */
static enum err_code check_side(struct lite_walk *w, struct flat_vector maps, struct flat_vector ends, const char *side)
{
    struct str names[MODEL_TENSORS_MAX];
    bool is_used[MODEL_TENSORS_MAX] = {false};
    if (ends.len > MODEL_TENSORS_MAX)
        return err_set(w->err, ERR_UNSUPPORTED, "the model has %u %ss; at most %d are served", ends.len, side,
                       MODEL_TENSORS_MAX);
    if (maps.len != ends.len)
        return err_set(w->err, ERR_INVALID, "a signature names %u %ss of %u", maps.len, side, ends.len);
    for (uint32_t i = 0; i < maps.len; i++) {
        struct flat_table m = flat_vector_table(&w->f, maps, i);
        names[i] = flat_text(&w->f, m, MAP_NAME);
        int at = position(w, ends, (uint32_t)flat_number(&w->f, m, MAP_TENSOR, 4, 0));
        if (w->f.is_bad)
            return lite_damaged(w, "a signature");
        if (names[i].p == NULL || at < 0 || is_used[at])
            return err_set(w->err, ERR_INVALID, "%s %u of a signature has no name or no tensor of its own", side, i);
        is_used[at] = true;
        for (uint32_t k = 0; k < i; k++)
            if (str_eq(names[i], names[k]))
                return err_set(w->err, ERR_INVALID, "two %ss of a signature have the same name", side);
    }
    return ERR_OK;
}

struct signature {
    struct str key;
    uint32_t graph;
    struct flat_vector inputs, outputs;
};

static enum err_code read_signature(struct lite_walk *w, uint32_t index, struct signature *s)
{
    struct flat_table t = flat_vector_table(&w->f, w->signatures, index);
    s->key = flat_text(&w->f, t, SIGNATURE_KEY);
    s->graph = (uint32_t)flat_number(&w->f, t, SIGNATURE_SUBGRAPH, 4, 0);
    s->inputs = flat_vector(&w->f, t, SIGNATURE_INPUTS, 4);
    s->outputs = flat_vector(&w->f, t, SIGNATURE_OUTPUTS, 4);
    if (w->f.is_bad)
        return lite_damaged(w, "a signature");
    if (s->key.p == NULL || s->key.n == 0 || s->graph >= w->subgraphs.len)
        return err_set(w->err, ERR_INVALID, "signature %u has no name or no graph", index);
    enum err_code code = lite_count(w, (uint64_t)s->inputs.len + s->outputs.len, 0);
    if (code == ERR_OK)
        code = check_side(w, s->inputs, w->graphs[s->graph].inputs, "input");
    return code == ERR_OK ? check_side(w, s->outputs, w->graphs[s->graph].outputs, "output") : code;
}

static enum err_code take_side(struct lite_walk *w, const struct lite_graph *g, struct flat_vector maps,
                               const char *side, struct tflite_io *out)
{
    enum err_code code = ERR_OK;
    for (uint32_t i = 0; code == ERR_OK && i < maps.len; i++) {
        struct flat_table m = flat_vector_table(&w->f, maps, i);
        code = read_io(w, g, (uint32_t)flat_number(&w->f, m, MAP_TENSOR, 4, 0), flat_text(&w->f, m, MAP_NAME), side,
                       &out[i]);
    }
    return code;
}

static enum err_code take_signature(struct lite_walk *w, uint32_t index, const struct signature *s)
{
    w->info->signature_index = index;
    if (!str_copy(w->info->signature, sizeof w->info->signature, s->key))
        return err_set(w->err, ERR_UNSUPPORTED, "the name of a signature is over %d bytes", TENSOR_NAME_MAX - 1);
    w->info->inputs_len = s->inputs.len;
    w->info->outputs_len = s->outputs.len;
    enum err_code code = take_side(w, &w->graphs[s->graph], s->inputs, "input", w->info->inputs);
    return code == ERR_OK ? take_side(w, &w->graphs[s->graph], s->outputs, "output", w->info->outputs) : code;
}

/* ---- no signature ---- */

static enum err_code take_ends(struct lite_walk *w, const struct lite_graph *g, struct flat_vector ends,
                               const char *side, struct tflite_io *out, uint32_t *out_len)
{
    if (ends.len > MODEL_TENSORS_MAX)
        return err_set(w->err, ERR_UNSUPPORTED, "the model has %u %ss; at most %d are served", ends.len, side,
                       MODEL_TENSORS_MAX);
    *out_len = ends.len;
    for (uint32_t i = 0; i < ends.len; i++) {
        struct lite_tensor t;
        uint32_t index = (uint32_t)flat_vector_i32(&w->f, ends, i);
        enum err_code code = lite_tensor(w, g, index, &t);
        if (code == ERR_OK)
            code = read_io(w, g, index, t.name, side, &out[i]);
        if (code != ERR_OK)
            return code;
        for (uint32_t k = 0; k < i; k++)
            if (strcmp(out[k].spec.name, out[i].spec.name) == 0)
                return err_set(w->err, ERR_INVALID, "two %ss have the same name", side);
    }
    return ERR_OK;
}

/* ---- the whole ---- */

/* The engine writes each output where we say: it must be the result of an operator, and one output only. */
static enum err_code check_outputs_apart(struct lite_walk *w, const struct lite_graph *g)
{
    for (uint32_t i = 0; i < g->outputs.len; i++) {
        uint32_t t = (uint32_t)flat_vector_i32(&w->f, g->outputs, i);
        struct lite_tensor tensor;
        enum err_code code = lite_tensor(w, g, t, &tensor);
        if (code != ERR_OK)
            return code;
        if (position(w, g->inputs, t) >= 0 || tensor.data.n > 0 || position(w, g->outputs, t) != (int)i)
            return err_set(w->err, ERR_UNSUPPORTED,
                           "output %u is an input, a constant or another output as it is; not supported", i);
    }
    return ERR_OK;
}

static enum err_code no_signature(struct lite_walk *w, const char *wanted)
{
    (void)err_set(w->err, ERR_NOT_FOUND, "the model has no signature '%s'", wanted);
    struct signature s;
    struct err ignored;
    char name[80] = "";
    struct err *err = w->err;
    w->err = &ignored;
    if (w->signatures.len > 0 && read_signature(w, 0, &s) == ERR_OK)
        (void)lite_shown(s.key, name);
    w->err = err;
    return name[0] != 0 ? err_remedy(err, "its first signature is '%s'", name)
                        : err_remedy(err, "it has none: leave the parameter out");
}

static enum err_code check_named(struct lite_walk *w, const char *wanted)
{
    struct signature s, chosen = {0};
    uint32_t chosen_index = UINT32_MAX;
    const char *name = wanted != NULL ? wanted : "serving_default";
    enum err_code code = ERR_OK;
    for (uint32_t i = 0; code == ERR_OK && i < w->signatures.len; i++) {
        code = read_signature(w, i, &s);
        if (code == ERR_OK && (str_eq_c(s.key, name) || (i == 0 && wanted == NULL))) {
            chosen = s;
            chosen_index = i;
        }
    }
    if (code != ERR_OK)
        return code;
    if (chosen_index == UINT32_MAX)
        return no_signature(w, wanted);
    code = take_signature(w, chosen_index, &chosen);
    return code == ERR_OK ? check_outputs_apart(w, &w->graphs[chosen.graph]) : code;
}

enum err_code lite_check_signatures(struct lite_walk *w, const char *wanted)
{
    const struct lite_graph *g = &w->graphs[0];
    if (w->signatures.len > SIGNATURES_MAX)
        return err_set(w->err, ERR_TOO_LARGE, "the model has %u signatures; at most %d are served", w->signatures.len,
                       SIGNATURES_MAX);
    w->info->signatures = w->signatures.len;
    if (w->signatures.len > 0)
        return check_named(w, wanted);
    if (wanted != NULL)
        return no_signature(w, wanted);
    enum err_code code = take_ends(w, g, g->inputs, "input", w->info->inputs, &w->info->inputs_len);
    if (code == ERR_OK)
        code = take_ends(w, g, g->outputs, "output", w->info->outputs, &w->info->outputs_len);
    return code == ERR_OK ? check_outputs_apart(w, g) : code;
}
