#include "model/tensor.h"

#include <math.h>
#include <stdio.h>

#include "base/check.h"

/* Elements of the largest tensor that can be served; keeps every product of sizes far from overflow. */
#define TENSOR_COUNT_MAX (UINT64_C(1) << 40)

static const struct {
    const char *name;
    size_t size;
    enum json_num json;
} dtypes[DT_MAX_] = {
    [DT_NONE] = {"NONE", 0, JSON_F32},
    [DT_BOOL] = {"BOOL", 1, JSON_BOOL8},
    [DT_UINT8] = {"UINT8", 1, JSON_U8},
    [DT_UINT16] = {"UINT16", 2, JSON_U16},
    [DT_UINT32] = {"UINT32", 4, JSON_U32},
    [DT_UINT64] = {"UINT64", 8, JSON_U64},
    [DT_INT8] = {"INT8", 1, JSON_I8},
    [DT_INT16] = {"INT16", 2, JSON_I16},
    [DT_INT32] = {"INT32", 4, JSON_I32},
    [DT_INT64] = {"INT64", 8, JSON_I64},
    [DT_FP16] = {"FP16", 2, JSON_F16},
    [DT_BF16] = {"BF16", 2, JSON_BF16},
    [DT_FP32] = {"FP32", 4, JSON_F32},
    [DT_FP64] = {"FP64", 8, JSON_F64},
    [DT_BYTES] = {"BYTES", sizeof(struct bytes_ref), JSON_F32},
};

size_t dtype_size(enum dtype t)
{
    CHECK(t < DT_MAX_);
    return dtypes[t].size;
}

const char *dtype_name(enum dtype t)
{
    return t < DT_MAX_ ? dtypes[t].name : "?";
}

enum dtype dtype_parse(struct str name)
{
    for (unsigned t = DT_NONE + 1; t < DT_MAX_; t++)
        if (str_eq_c(name, dtypes[t].name))
            return (enum dtype)t;
    return DT_NONE;
}

enum json_num dtype_json(enum dtype t)
{
    CHECK(t > DT_NONE && t < DT_MAX_);
    CHECK(t != DT_BYTES);
    return dtypes[t].json;
}

void tensor_dims_format(const int64_t *dims, int ndim, char *out, size_t out_size)
{
    CHECK(out_size >= 128);
    size_t at = 0;
    out[at++] = '[';
    for (int i = 0; i < ndim; i++) {
        /* A size takes up to 20 digits; leave room for the closing bracket, and say so when some are left out. */
        if (out_size - at < 32) {
            at += (size_t)snprintf(out + at, out_size - at, ",...");
            break;
        }
        at += (size_t)snprintf(out + at, out_size - at, i > 0 ? ",%lld" : "%lld", (long long)dims[i]);
    }
    out[at++] = ']';
    out[at] = 0;
}

bool tensor_count(const int64_t *dims, int ndim, uint64_t *count)
{
    bool is_empty = false;
    for (int i = 0; i < ndim; i++) {
        if (dims[i] < 0)
            return false;
        is_empty = is_empty || dims[i] == 0;
    }
    uint64_t n = is_empty ? 0 : 1;
    for (int i = 0; i < ndim; i++)
        if (__builtin_mul_overflow(n, (uint64_t)dims[i], &n) || n > TENSOR_COUNT_MAX)
            return false;
    *count = n;
    return true;
}

bool tensor_is_scaled(const struct tensor_spec *t)
{
    return t->scale > 0 && isfinite(t->scale);
}

bool tensor_specs_fit(const struct tensor_spec *a, const struct tensor_spec *b)
{
    if (a->dtype != b->dtype && a->dtype != DT_NONE && b->dtype != DT_NONE)
        return false;
    if (a->ndim < 0 || b->ndim < 0)
        return true;
    bool fits = a->ndim == b->ndim;
    for (int d = 0; fits && d < a->ndim; d++)
        fits = a->dims[d] < 0 || b->dims[d] < 0 || a->dims[d] == b->dims[d];
    return fits;
}
