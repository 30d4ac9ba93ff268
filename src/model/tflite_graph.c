/* Graphs of a TensorFlow Lite file: every tensor whole, every value written before it is read, every operator with what it needs; and which
 * graph runs which. */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "model/tflite_file_int.h"
#include "model/tflite_ops.h"

/* Bounds the search for cycles; models have a few dozen. */
#define CALLS_MAX 65536

/* What is known of a tensor while its graph is walked. */
enum { UNWRITTEN, WRITTEN, CONSTANT, SPARSE, INPUT, EMPTY };

struct lite_operator {
    uint32_t index; /* in its graph */
    int32_t code;
    const struct tflite_op *op;
    struct flat_table at;
    struct flat_vector inputs, outputs;
};

/* ---- one operator ---- */

/* Custom operators that are part of the engine. */
static bool is_known_custom(struct str name)
{
    static const char *const known[] = {"TFLite_Detection_PostProcess", "Mfcc", "AudioSpectrogram", "NumericVerify"};
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (str_eq_c(name, known[i]))
            return true;
    return false;
}

static enum err_code custom_op(struct lite_walk *w, struct str name)
{
    char shown[80];
    if (name.p != NULL && is_known_custom(name))
        return ERR_OK;
    (void)err_set(w->err, ERR_UNSUPPORTED, "the model uses the custom operator '%s'", lite_shown(name, shown));
    return err_remedy(w->err,
                      "custom operators are not supported (also those named Flex...); convert the model with built-in "
                      "operators only");
}

/* The number of the operator: in a byte of old files, in its own field for those above 127. */
static enum err_code read_code(struct lite_walk *w, struct lite_operator *o)
{
    uint64_t index = flat_number(&w->f, o->at, OPERATOR_CODE, 4, 0);
    if (index >= w->opcodes.len)
        return err_set(w->err, ERR_INVALID, "operator %u is of a kind that the file does not list", o->index);
    struct flat_table t = flat_vector_table(&w->f, w->opcodes, (uint32_t)index);
    int32_t old = (int32_t)flat_number(&w->f, t, OPCODE_OLD_CODE, 1, 0);
    int32_t wide = flat_i32(&w->f, t, OPCODE_CODE, 0);
    struct str custom = flat_text(&w->f, t, OPCODE_CUSTOM);
    if (w->f.is_bad)
        return lite_damaged(w, "the kind of an operator");
    o->code = old > wide ? old : wide;
    o->op = tflite_op(o->code);
    if (o->op == NULL)
        return err_set(w->err, ERR_UNSUPPORTED, "operator %u is of the kind %d, which is not supported", o->index,
                       o->code);
    return o->code == TFLITE_OP_CUSTOM ? custom_op(w, custom) : ERR_OK;
}

static enum err_code add_call(struct lite_walk *w, uint32_t from, const struct lite_operator *o, int32_t to)
{
    if (to < 0 || (uint32_t)to >= w->subgraphs.len)
        return err_set(w->err, ERR_INVALID, "operator %u (%s) runs graph %d, which the file does not have", o->index,
                       o->op->name, to);
    if (w->calls_len == CALLS_MAX)
        return err_set(w->err, ERR_TOO_LARGE, "operators run other graphs in over %d places", CALLS_MAX);
    if (w->calls_len == w->calls_cap) {
        w->calls_cap = w->calls_cap == 0 ? 64 : 2 * w->calls_cap;
        w->calls = realloc(w->calls, w->calls_cap * sizeof *w->calls);
        CHECK(w->calls != NULL);
    }
    w->calls[w->calls_len++] = (struct lite_call){from, (uint32_t)to};
    return ERR_OK;
}

static enum err_code add_calls(struct lite_walk *w, uint32_t from, const struct lite_operator *o)
{
    const struct tflite_op_calls *calls = tflite_op_calls(o->code);
    if (calls == NULL)
        return ERR_OK;
    struct flat_table options =
        flat_child(&w->f, o->at, calls->is_second_options ? OPERATOR_OPTIONS_2 : OPERATOR_OPTIONS);
    enum err_code code = ERR_OK;
    for (uint8_t i = 0; code == ERR_OK && i < calls->fields_len; i++) {
        int32_t to = flat_i32(&w->f, options, calls->fields[i], 0);
        code = w->f.is_bad ? lite_damaged(w, "the options of an operator") : add_call(w, from, o, to);
    }
    return code;
}

static enum err_code check_inputs(struct lite_walk *w, const struct lite_graph *g, const struct lite_operator *o,
                                  const uint8_t *state)
{
    if (o->inputs.len < o->op->inputs_min || o->outputs.len < o->op->outputs_min)
        return err_set(w->err, ERR_INVALID,
                       "operator %u (%s) has %u inputs and %u outputs; it needs at least %u and %u", o->index,
                       o->op->name, o->inputs.len, o->outputs.len, o->op->inputs_min, o->op->outputs_min);
    for (uint32_t i = 0; i < o->inputs.len; i++) {
        int32_t t = flat_vector_i32(&w->f, o->inputs, i);
        if (t == -1 && i >= o->op->inputs_min && tflite_op_may_skip(o->code))
            continue;
        if (t < 0 || (uint32_t)t >= g->tensors.len)
            return err_set(w->err, ERR_INVALID, "operator %u (%s) reads tensor %d, which its graph does not have",
                           o->index, o->op->name, t);
        if (state[t] == UNWRITTEN)
            return err_set(w->err, ERR_INVALID, "operator %u (%s) reads tensor %d before anything has written it",
                           o->index, o->op->name, t);
        if ((state[t] == SPARSE) != (o->code == TFLITE_OP_DENSIFY))
            return err_set(w->err, ERR_UNSUPPORTED,
                           "operator %u (%s) and its input %d: sparse constants go through DENSIFY, "
                           "and nothing else does",
                           o->index, o->op->name, t);
    }
    return ERR_OK;
}

/* The engine unfolds a sparse constant into its output without comparing their shapes. */
static enum err_code check_densify(struct lite_walk *w, const struct lite_graph *g, const struct lite_operator *o)
{
    struct lite_tensor in, out;
    enum err_code code = lite_tensor(w, g, (uint32_t)flat_vector_i32(&w->f, o->inputs, 0), &in);
    if (code == ERR_OK)
        code = lite_tensor(w, g, (uint32_t)flat_vector_i32(&w->f, o->outputs, 0), &out);
    if (code != ERR_OK)
        return code;
    if (in.type != out.type || in.ndim != out.ndim || memcmp(in.dims, out.dims, sizeof in.dims) != 0)
        return err_set(w->err, ERR_INVALID, "operator %u (DENSIFY) has an output of another shape than its input",
                       o->index);
    return ERR_OK;
}

static enum err_code check_outputs(struct lite_walk *w, const struct lite_graph *g, const struct lite_operator *o,
                                   uint8_t *state)
{
    for (uint32_t i = 0; i < o->outputs.len; i++) {
        int32_t t = flat_vector_i32(&w->f, o->outputs, i);
        if (t < 0 || (uint32_t)t >= g->tensors.len)
            return err_set(w->err, ERR_INVALID, "operator %u (%s) writes tensor %d, which its graph does not have",
                           o->index, o->op->name, t);
        if (state[t] != UNWRITTEN && state[t] != EMPTY)
            return err_set(w->err, ERR_INVALID, "operator %u (%s) writes tensor %d, which is written already", o->index,
                           o->op->name, t);
        state[t] = WRITTEN;
    }
    return ERR_OK;
}

static enum err_code check_intermediates(struct lite_walk *w, const struct lite_graph *g, const struct lite_operator *o)
{
    struct flat_vector v = flat_vector(&w->f, o->at, OPERATOR_INTERMEDIATES, 4);
    for (uint32_t i = 0; i < v.len; i++) {
        int32_t t = flat_vector_i32(&w->f, v, i);
        if (t < -1 || (t >= 0 && (uint32_t)t >= g->tensors.len))
            return err_set(w->err, ERR_INVALID, "operator %u (%s) uses tensor %d, which its graph does not have",
                           o->index, o->op->name, t);
    }
    return lite_count(w, 0, v.len);
}

static enum err_code check_operator(struct lite_walk *w, uint32_t graph, uint32_t index, uint8_t *state)
{
    const struct lite_graph *g = &w->graphs[graph];
    struct lite_operator o = {.index = index, .at = flat_vector_table(&w->f, g->operators, index)};
    o.inputs = flat_vector(&w->f, o.at, OPERATOR_INPUTS, 4);
    o.outputs = flat_vector(&w->f, o.at, OPERATOR_OUTPUTS, 4);
    if (w->f.is_bad)
        return lite_damaged(w, "an operator");
    enum err_code code = lite_count(w, 1, (uint64_t)o.inputs.len + o.outputs.len);
    if (code == ERR_OK)
        code = read_code(w, &o);
    if (code != ERR_OK)
        return code;
    CHECK(o.op != NULL);
    code = check_inputs(w, g, &o, state);
    if (code == ERR_OK)
        code = check_outputs(w, g, &o, state);
    if (code == ERR_OK && o.code == TFLITE_OP_DENSIFY)
        code = check_densify(w, g, &o);
    if (code == ERR_OK)
        code = check_intermediates(w, g, &o);
    return code == ERR_OK ? add_calls(w, graph, &o) : code;
}

/* ---- a graph ---- */

static enum err_code check_tensors(struct lite_walk *w, const struct lite_graph *g, uint8_t *state)
{
    enum err_code code = lite_count(w, g->tensors.len, 0);
    for (uint32_t i = 0; code == ERR_OK && i < g->tensors.len; i++) {
        struct lite_tensor t;
        code = lite_tensor(w, g, i, &t);
        if (code == ERR_OK)
            code = lite_check_tensor(w, &t);
        if (code == ERR_OK && t.data.n > 0)
            state[i] = flat_has(&w->f, t.at, TENSOR_SPARSITY) ? SPARSE : CONSTANT;
        else if (code == ERR_OK && t.count == 0)
            state[i] = EMPTY; /* a constant without elements, or a size that is known only when the model runs */
    }
    return code;
}

static enum err_code check_ends(struct lite_walk *w, const struct lite_graph *g, uint32_t graph, uint8_t *state)
{
    for (uint32_t i = 0; i < g->inputs.len; i++) {
        int32_t t = flat_vector_i32(&w->f, g->inputs, i);
        if (t < 0 || (uint32_t)t >= g->tensors.len || state[t] == INPUT || state[t] == CONSTANT || state[t] == SPARSE)
            return err_set(w->err, ERR_INVALID, "input %u of graph %u is not a tensor of its own", i, graph);
        state[t] = INPUT;
    }
    for (uint32_t i = 0; i < g->outputs.len; i++) {
        int32_t t = flat_vector_i32(&w->f, g->outputs, i);
        if (t < 0 || (uint32_t)t >= g->tensors.len)
            return err_set(w->err, ERR_INVALID, "output %u of graph %u is not a tensor of it", i, graph);
    }
    return lite_count(w, 0, (uint64_t)g->inputs.len + g->outputs.len);
}

static enum err_code check_outputs_written(struct lite_walk *w, const struct lite_graph *g, uint32_t graph,
                                           const uint8_t *state)
{
    for (uint32_t i = 0; i < g->outputs.len; i++) {
        uint8_t s = state[flat_vector_i32(&w->f, g->outputs, i)];
        if (s == UNWRITTEN || s == SPARSE)
            return err_set(w->err, ERR_INVALID, "nothing writes output %u of graph %u", i, graph);
    }
    return ERR_OK;
}

enum err_code lite_check_graph(struct lite_walk *w, uint32_t index)
{
    const struct lite_graph *g = &w->graphs[index];
    uint8_t *state = calloc((size_t)g->tensors.len + 1, 1); /* no larger than the file */
    CHECK(state != NULL);
    enum err_code code = check_tensors(w, g, state);
    if (code == ERR_OK)
        code = check_ends(w, g, index, state);
    for (uint32_t i = 0; code == ERR_OK && i < g->operators.len; i++)
        code = check_operator(w, index, i, state);
    if (code == ERR_OK)
        code = check_outputs_written(w, g, index, state);
    w->info->operators += g->operators.len;
    w->info->tensors += g->tensors.len;
    free(state);
    return code;
}

/* ---- which graph runs which ---- */

/* Takes away graphs that run nothing that is left, again and again; what stays runs itself. */
enum err_code lite_check_calls(struct lite_walk *w)
{
    bool gone[LITE_SUBGRAPHS_MAX] = {false};
    bool is_changed = true;
    while (is_changed && w->calls_len > 0) {
        bool waits[LITE_SUBGRAPHS_MAX] = {false};
        size_t kept = 0;
        is_changed = false;
        for (size_t i = 0; i < w->calls_len; i++) {
            if (gone[w->calls[i].to])
                continue;
            waits[w->calls[i].from] = true;
            w->calls[kept++] = w->calls[i];
        }
        w->calls_len = kept;
        for (uint32_t i = 0; i < w->subgraphs.len; i++) {
            is_changed = is_changed || (!gone[i] && !waits[i]);
            gone[i] = !waits[i];
        }
    }
    if (w->calls_len > 0)
        return err_set(w->err, ERR_INVALID, "graph %u of the model runs itself, which would never end",
                       w->calls[0].from);
    return ERR_OK;
}
