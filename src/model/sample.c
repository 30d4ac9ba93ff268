#include "model/sample.h"

#include <string.h>

#include "base/check.h"
#include "base/num.h"
#include "model/backend.h"

/* SplitMix64 (Steele, Lea, Flood 2014): one multiplication chain, good enough for made-up values, any seed works. */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static double next_unit(uint64_t *state)
{
    return (double)(next_random(state) >> 11) * 0x1p-53;
}

/* Bell-shaped with standard deviation `scale`: the sum of three uniform numbers. */
static double next_float(uint64_t *state, const struct sample_style *style)
{
    double v = 2 * (next_unit(state) + next_unit(state) + next_unit(state) - 1.5) * style->scale;
    return style->is_positive && v < 0 ? -v : v;
}

static void put(enum dtype t, unsigned char *out, double f, uint64_t whole)
{
    float f32 = (float)f;
    uint16_t half;
    switch (t) {
    case DT_FP16:
        half = f32_to_f16(f32);
        memcpy(out, &half, sizeof half);
        return;
    case DT_BF16:
        half = f32_to_bf16(f32);
        memcpy(out, &half, sizeof half);
        return;
    case DT_FP32:
        memcpy(out, &f32, sizeof f32);
        return;
    case DT_FP64:
        memcpy(out, &f, sizeof f);
        return;
    case DT_BOOL:
        *out = whole != 0;
        return;
    case DT_UINT8:
    case DT_UINT16:
    case DT_UINT32:
    case DT_UINT64:
    case DT_INT8:
    case DT_INT16:
    case DT_INT32:
    case DT_INT64:
        memcpy(out, &whole, dtype_size(t)); /* little endian, and small enough for each of them */
        return;
    case DT_NONE:
    case DT_BYTES:
    case DT_MAX_:
        break;
    }
    check_failed("a type with sample values", __FILE__, __LINE__);
}

void sample_fill(enum dtype t, size_t n, const struct sample_style *style, void *out)
{
    CHECK(style->int_bound >= 1 && style->int_bound <= 100);
    uint64_t state = style->seed;
    size_t size = dtype_size(t);
    /* Eight bits are pixels or quantised numbers: small ones only would all look alike to the network. */
    bool is_dense = (t == DT_INT8 || t == DT_UINT8) && style->int_bound > 1;
    uint32_t bound = is_dense ? UINT8_MAX : style->int_bound;
    for (size_t i = 0; i < n; i++) {
        uint64_t whole = i == 0 ? 1 + next_random(&state) % bound : next_random(&state) % (bound + 1);
        if (t == DT_BOOL)
            whole = i == 0 ? 1 : next_random(&state) & 1;
        put(t, (unsigned char *)out + i * size, next_float(&state, style), whole);
    }
}

/* Values that read well in an example: 0.1, 0.8, 0.5 ... and 1, 8, 5 ... */
static void fill_readable(enum dtype t, size_t n, size_t row, unsigned char *out)
{
    size_t size = dtype_size(t);
    for (size_t i = 0; i < n; i++) {
        unsigned v = (unsigned)((1 + 7 * i + 3 * row) % 10);
        put(t, out + i * size, v / 10.0, t == DT_BOOL ? v & 1 : v);
    }
}

void backend_sample(const struct tensor_spec *spec, uint32_t rows, int64_t free_dim, struct backend_tensor *out,
                    struct arena *a)
{
    *out = (struct backend_tensor){.dtype = (enum dtype)spec->dtype, .ndim = spec->ndim};
    for (int i = 0; i < spec->ndim; i++)
        out->dims[i] = spec->dims[i] >= 0 ? spec->dims[i] : i == 0 ? (int64_t)rows : free_dim;
    uint64_t count;
    if (!tensor_count(out->dims, out->ndim, &count))
        return;
    size_t bytes = (size_t)count * dtype_size(out->dtype);
    unsigned char *data = arena_try_alloc(a, bytes + 1);
    if (data == NULL)
        return;
    if (out->dtype == DT_BYTES) {
        struct bytes_ref *refs = (struct bytes_ref *)(void *)data;
        for (uint64_t i = 0; i < count; i++)
            refs[i] = (struct bytes_ref){.off = (uint32_t)bytes, .len = 1};
        data[bytes] = 'a';
    } else {
        size_t row_count = out->ndim > 0 && out->dims[0] > 0 ? (size_t)(count / (uint64_t)out->dims[0]) : (size_t)count;
        for (size_t done = 0; done < count; done += row_count)
            fill_readable(out->dtype, row_count, done / row_count, data + done * dtype_size(out->dtype));
    }
    out->data = data;
    out->bytes = bytes;
}
