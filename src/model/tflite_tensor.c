#include <math.h>
#include <string.h>

#include "base/check.h"
#include "model/tflite_file_int.h"

/* The engine's operators count elements with 32 bits. */
#define TENSOR_COUNT_MAX ((uint64_t)INT32_MAX)

/* Bits of one element; 0: no data of its own (strings, resources, variants). */
static const uint8_t type_bits[LITE_TYPES] = {32, 16, 32, 8,  64, 0, 8,  16, 64, 8, 64, 128,
                                              64, 0,  0,  32, 16, 4, 16, 2,  4,  8, 8};

static enum err_code read_shape(struct lite_walk *w, struct lite_tensor *t)
{
    char name[80];
    struct flat_vector shape = flat_vector(&w->f, t->at, TENSOR_SHAPE, 4);
    struct flat_vector signature = flat_vector(&w->f, t->at, TENSOR_SIGNATURE, 4);
    if (w->f.is_bad)
        return lite_damaged(w, "the shape of a tensor");
    if (shape.len > TENSOR_DIMS_MAX)
        return err_set(w->err, ERR_UNSUPPORTED, "tensor '%s' has %u dimensions; at most %d are served",
                       lite_shown(t->name, name), shape.len, TENSOR_DIMS_MAX);
    if (signature.len != 0 && signature.len != shape.len)
        return err_set(w->err, ERR_INVALID, "tensor '%s' has two shapes of different length",
                       lite_shown(t->name, name));
    t->ndim = (int)shape.len;
    for (uint32_t i = 0; i < shape.len; i++) {
        t->dims[i] = flat_vector_i32(&w->f, shape, i);
        int32_t other = signature.len != 0 ? flat_vector_i32(&w->f, signature, i) : (int32_t)t->dims[i];
        if (t->dims[i] < 0 || other < -1)
            return err_set(w->err, ERR_INVALID, "tensor '%s': dimension %u is negative", lite_shown(t->name, name), i);
    }
    if (!tensor_count(t->dims, t->ndim, &t->count) || t->count > TENSOR_COUNT_MAX)
        return err_set(w->err, ERR_TOO_LARGE, "tensor '%s' has over 2^31 elements", lite_shown(t->name, name));
    return ERR_OK;
}

enum err_code lite_tensor(struct lite_walk *w, const struct lite_graph *g, uint32_t index, struct lite_tensor *out)
{
    memset(out, 0, sizeof *out);
    out->at = flat_vector_table(&w->f, g->tensors, index);
    out->name = flat_text(&w->f, out->at, TENSOR_NAME);
    out->type = (uint32_t)flat_number(&w->f, out->at, TENSOR_TYPE, 1, 0);
    if (w->f.is_bad)
        return lite_damaged(w, "a tensor");
    if (out->name.p == NULL)
        return err_set(w->err, ERR_INVALID, "tensor %u has no name", index);
    if (out->type >= LITE_TYPES)
        return err_set(w->err, ERR_UNSUPPORTED, "tensor %u is of the unknown type %u", index, out->type);
    enum err_code code = lite_buffer(w, (uint32_t)flat_number(&w->f, out->at, TENSOR_BUFFER, 4, 0), &out->data);
    return code == ERR_OK ? read_shape(w, out) : code;
}

/* ---- constants ---- */

/* Texts as the engine keeps them: their number, that many offsets and one for the end, then the bytes. */
static bool strings_are_whole(struct str data, uint64_t count)
{
    int32_t n, at, last;
    if (data.n < 4)
        return false;
    memcpy(&n, data.p, 4);
    if (n < 0 || (uint64_t)n != count || data.n / 4 < (uint64_t)n + 2)
        return false;
    last = 4 * (n + 2);
    for (int32_t i = 0; i <= n; i++) {
        memcpy(&at, data.p + 4 + 4 * (size_t)i, 4);
        if (at < last || (uint64_t)at > data.n)
            return false;
        last = at;
    }
    return true;
}

static enum err_code check_constant(struct lite_walk *w, const struct lite_tensor *t)
{
    char name[80];
    uint64_t stored = t->count;
    bool is_sparse = flat_has(&w->f, t->at, TENSOR_SPARSITY);
    if (is_sparse && lite_check_sparse(w, t, &stored) != ERR_OK)
        return w->err->code;
    if (t->data.n == 0 && !is_sparse)
        return ERR_OK;
    if (t->type == LITE_STRING && lite_count(w, 0, t->count) != ERR_OK) /* a walk through all of them */
        return w->err->code;
    if (t->type == LITE_STRING ? !is_sparse && t->count <= INT32_MAX / 8 && strings_are_whole(t->data, t->count)
                               : t->data.n == (stored * type_bits[t->type] + 7) / 8) {
        w->info->constant_bytes += t->data.n;
        return ERR_OK;
    }
    return err_set(w->err, ERR_INVALID, "constant '%s' has %zu bytes of data, which is not what its shape says",
                   lite_shown(t->name, name), t->data.n);
}

/* ---- scales and zero points ---- */

static enum err_code check_scales(struct lite_walk *w, const struct lite_tensor *t, struct flat_vector scales,
                                  struct flat_vector zeros, int32_t dimension)
{
    char name[80];
    if (scales.len != zeros.len)
        return err_set(w->err, ERR_INVALID, "tensor '%s' has %u scales and %u zero points", lite_shown(t->name, name),
                       scales.len, zeros.len);
    if (scales.len > 1 &&
        (dimension < 0 || dimension >= t->ndim || (uint64_t)scales.len != (uint64_t)t->dims[dimension]))
        return err_set(w->err, ERR_INVALID, "tensor '%s' has %u scales, which is not the size of its dimension %d",
                       lite_shown(t->name, name), scales.len, dimension);
    for (uint32_t i = 0; i < scales.len; i++) {
        float scale = flat_vector_f32(&w->f, scales, i);
        int64_t zero = flat_vector_i64(&w->f, zeros, i);
        if (!isfinite(scale) || scale < 0 || zero < INT32_MIN || zero > INT32_MAX)
            return err_set(w->err, ERR_INVALID, "tensor '%s' has an impossible scale or zero point",
                           lite_shown(t->name, name));
    }
    return lite_count(w, 0, scales.len);
}

static enum err_code check_quantization(struct lite_walk *w, const struct lite_tensor *t)
{
    char name[80];
    struct flat_table q = flat_child(&w->f, t->at, TENSOR_QUANT);
    struct flat_vector scales = flat_vector(&w->f, q, QUANT_SCALE, 4);
    struct flat_vector zeros = flat_vector(&w->f, q, QUANT_ZERO, 8);
    uint64_t details = flat_number(&w->f, q, QUANT_DETAILS_TYPE, 1, 0);
    int32_t dimension = flat_i32(&w->f, q, QUANT_DIMENSION, 0);
    if (w->f.is_bad)
        return lite_damaged(w, "scales and zero points");
    if (details != 0)
        return err_set(w->err, ERR_UNSUPPORTED, "tensor '%s' is quantised in blocks or in a way of its own",
                       lite_shown(t->name, name));
    return check_scales(w, t, scales, zeros, dimension);
}

enum err_code lite_check_tensor(struct lite_walk *w, const struct lite_tensor *t)
{
    char name[80];
    const char *refused = NULL;
    if (flat_number(&w->f, t->at, TENSOR_VARIABLE, 1, 0) != 0)
        refused = "keeps state between runs, which would go from one request to another";
    else if (flat_number(&w->f, t->at, TENSOR_EXTERNAL, 4, 0) != 0)
        refused = "lies in another file";
    if (refused != NULL)
        return err_set(w->err, ERR_UNSUPPORTED, "tensor '%s' %s; not supported", lite_shown(t->name, name), refused);
    enum err_code code = check_constant(w, t);
    return code == ERR_OK ? check_quantization(w, t) : code;
}
