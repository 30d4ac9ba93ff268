#include "model/onnx_tensor.h"

#include <string.h>

#include "model/onnx_schema.h"
#include "model/tensor.h"

#define COUNT_MAX (UINT64_C(1) << 40)
#define NDIM_MAX  64

/* Bits of one element and the typed field that may hold it, by TensorProto.DataType. */
enum holder { IN_FLOATS, IN_INT32S, IN_STRINGS, IN_INT64S, IN_DOUBLES, IN_UINT64S };
static const struct {
    const char *name;
    uint32_t bits, per_value; /* per_value: elements in one value of the typed field (0: two values for one element) */
    enum holder holder;
} types[] = {
    [1] = {"FLOAT", 32, 1, IN_FLOATS},         [2] = {"UINT8", 8, 1, IN_INT32S},
    [3] = {"INT8", 8, 1, IN_INT32S},           [4] = {"UINT16", 16, 1, IN_INT32S},
    [5] = {"INT16", 16, 1, IN_INT32S},         [6] = {"INT32", 32, 1, IN_INT32S},
    [7] = {"INT64", 64, 1, IN_INT64S},         [8] = {"STRING", 0, 1, IN_STRINGS},
    [9] = {"BOOL", 8, 1, IN_INT32S},           [10] = {"FLOAT16", 16, 1, IN_INT32S},
    [11] = {"DOUBLE", 64, 1, IN_DOUBLES},      [12] = {"UINT32", 32, 1, IN_UINT64S},
    [13] = {"UINT64", 64, 1, IN_UINT64S},      [14] = {"COMPLEX64", 64, 0, IN_FLOATS},
    [15] = {"COMPLEX128", 128, 0, IN_DOUBLES}, [16] = {"BFLOAT16", 16, 1, IN_INT32S},
    [17] = {"FLOAT8E4M3FN", 8, 1, IN_INT32S},  [18] = {"FLOAT8E4M3FNUZ", 8, 1, IN_INT32S},
    [19] = {"FLOAT8E5M2", 8, 1, IN_INT32S},    [20] = {"FLOAT8E5M2FNUZ", 8, 1, IN_INT32S},
    [21] = {"UINT4", 4, 2, IN_INT32S},         [22] = {"INT4", 4, 2, IN_INT32S},
    [23] = {"FLOAT4E2M1", 4, 2, IN_INT32S},    [24] = {"FLOAT8E8M0", 8, 1, IN_INT32S},
    [25] = {"UINT2", 2, 4, IN_INT32S},         [26] = {"INT2", 2, 4, IN_INT32S},
};

void onnx_tensor_init(struct onnx_tensor *t)
{
    memset(t, 0, sizeof *t);
    t->count = 1;
}

static void add_dim(struct onnx_tensor *t, int64_t dim)
{
    if (t->ndim < ARRAY_LEN(t->dims))
        t->dims[t->ndim] = dim;
    t->ndim++;
    if (dim < 0 || t->ndim > NDIM_MAX || __builtin_mul_overflow(t->count, (uint64_t)dim, &t->count) ||
        t->count > COUNT_MAX)
        t->is_impossible = true;
}

/* Numbers come packed, or one field for each: both forms are legal for the same message. */
static bool count_numbers(const struct wire_field *f, size_t size, uint64_t *total)
{
    uint64_t n = 1;
    if (f->type == WIRE_BYTES && !wire_packed_count(f->bytes, size, &n))
        return false;
    *total += n;
    return true;
}

static bool add_dims(struct onnx_tensor *t, const struct wire_field *f)
{
    if (f->type == WIRE_VARINT) {
        add_dim(t, (int64_t)f->value);
        return true;
    }
    struct wire w = wire_of(f->bytes);
    uint64_t v;
    while (w.at < w.end) {
        if (!wire_varint(&w, &v))
            return false;
        add_dim(t, (int64_t)v);
    }
    return true;
}

bool onnx_tensor_field(struct onnx_tensor *t, const struct wire_field *f)
{
    switch (f->number) {
    case TENSOR_DIMS:
        return add_dims(t, f);
    case TENSOR_TYPE:
        t->type = (int64_t)f->value;
        return true;
    case TENSOR_FLOATS:
        return count_numbers(f, 4, &t->floats);
    case TENSOR_INT32S:
        return count_numbers(f, 0, &t->int32s);
    case TENSOR_STRINGS:
        t->strings++;
        return true;
    case TENSOR_INT64S:
        return count_numbers(f, 0, &t->int64s);
    case TENSOR_DOUBLES:
        return count_numbers(f, 8, &t->doubles);
    case TENSOR_UINT64S:
        return count_numbers(f, 0, &t->uint64s);
    case TENSOR_NAME:
        t->name = f->bytes;
        return true;
    case TENSOR_RAW:
        t->has_raw = true;
        t->raw_bytes = f->bytes.n;
        return true;
    case TENSOR_LOCATION:
        t->is_external = f->value != 0;
        return true;
    default:
        return true;
    }
}

void onnx_tensor_entry(struct onnx_tensor *t, struct str key, struct str value)
{
    if (str_eq_c(key, "location")) {
        t->has_bad_entry = t->location.p != NULL || t->has_bad_entry; /* two names: readers differ on which holds */
        t->location = value;
    } else if (str_eq_c(key, "offset"))
        t->has_bad_entry = !str_to_u64(value, &t->offset) || t->has_bad_entry;
    else if (str_eq_c(key, "length")) {
        t->has_bad_entry = !str_to_u64(value, &t->length) || t->has_bad_entry;
        t->has_length = true;
    }
}

static uint64_t typed_values(const struct onnx_tensor *t, enum holder h)
{
    const uint64_t values[] = {[IN_FLOATS] = t->floats, [IN_INT32S] = t->int32s,   [IN_STRINGS] = t->strings,
                               [IN_INT64S] = t->int64s, [IN_DOUBLES] = t->doubles, [IN_UINT64S] = t->uint64s};
    return values[h];
}

static uint64_t all_values(const struct onnx_tensor *t)
{
    return t->floats + t->int32s + t->strings + t->int64s + t->doubles + t->uint64s;
}

static enum err_code mismatch(const struct onnx_tensor *t, const char *what, uint64_t have, uint64_t want,
                              struct err *err)
{
    char dims[128];
    tensor_dims_format(t->dims, t->ndim < ARRAY_LEN(t->dims) ? (int)t->ndim : (int)ARRAY_LEN(t->dims), dims,
                       sizeof dims);
    return err_set(err, ERR_INVALID, "tensor '%.*s' %s %s has %llu %s, not %llu",
                   (int)(t->name.n < 80 ? t->name.n : 80), t->name.p != NULL ? t->name.p : "", types[t->type].name,
                   dims, (unsigned long long)have, what, (unsigned long long)want);
}

static enum err_code check_external(const struct onnx_tensor *t, struct onnx_folder *folder, uint64_t want,
                                    struct err *err)
{
    uint64_t size, end;
    if (t->has_raw || all_values(t) > 0)
        return err_set(err, ERR_INVALID, "tensor '%.*s' has data both in the file and outside",
                       (int)(t->name.n < 80 ? t->name.n : 80), t->name.p != NULL ? t->name.p : "");
    if (t->has_bad_entry)
        return err_set(err, ERR_INVALID,
                       "external data: one location, and whole numbers as offset and length, are expected");
    enum err_code code = onnx_external_size(folder, t->location, &size, err);
    if (code != ERR_OK)
        return code;
    if (t->has_length && t->length != want)
        return mismatch(t, "bytes of external data", t->length, want, err);
    if (__builtin_add_overflow(t->offset, want, &end) || end > size)
        return err_set(err, ERR_INVALID, "external data '%.*s' has %llu bytes; a tensor needs %llu from %llu on",
                       (int)(t->location.n < 120 ? t->location.n : 120), t->location.p, (unsigned long long)size,
                       (unsigned long long)want, (unsigned long long)t->offset);
    return ERR_OK;
}

enum err_code onnx_tensor_check(const struct onnx_tensor *t, struct onnx_folder *folder, uint64_t *bytes,
                                struct err *err)
{
    int name_len = (int)(t->name.n < 80 ? t->name.n : 80);
    const char *name = t->name.p != NULL ? t->name.p : "";
    if (t->type < 1 || t->type >= (int64_t)ARRAY_LEN(types))
        return err_set(err, ERR_INVALID, "tensor '%.*s' has the unknown element type %lld", name_len, name,
                       (long long)t->type);
    if (t->is_impossible)
        return err_set(err, ERR_INVALID, "tensor '%.*s' has an impossible size", name_len, name);
    uint64_t want_bytes = (t->count * types[t->type].bits + 7) / 8; /* no overflow: count is limited */
    *bytes = want_bytes;
    bool is_string = types[t->type].holder == IN_STRINGS;
    if (is_string && (t->has_raw || t->is_external))
        return err_set(err, ERR_INVALID, "tensor '%.*s' of strings has raw or external data", name_len, name);
    if (t->is_external)
        return check_external(t, folder, want_bytes, err);
    if (t->location.p != NULL)
        return err_set(err, ERR_INVALID, "tensor '%.*s' names external data but is not external", name_len, name);
    if (t->has_raw && all_values(t) == 0)
        return t->raw_bytes == want_bytes ? ERR_OK : mismatch(t, "bytes of data", t->raw_bytes, want_bytes, err);
    uint64_t have = typed_values(t, types[t->type].holder), per = types[t->type].per_value;
    uint64_t want = per == 0 ? t->count * 2 : (t->count + per - 1) / per;
    if (t->has_raw || all_values(t) != have)
        return err_set(err, ERR_INVALID, "tensor '%.*s' has its data in the wrong place", name_len, name);
    return have == want ? ERR_OK : mismatch(t, "values", have, want, err);
}
