#include "serve/cache_check.h"

#include <string.h>

#include "serve/compare.h"

#define TOLERANCE      1e-3 /* the probe's of rows run alone and together */
#define TOLERANCE_HALF 6e-2

static bool strings_agree(const struct infer *a, const struct infer *b, int k)
{
    for (uint64_t e = 0; e < a->out[k].bytes / sizeof(struct bytes_ref); e++)
        if (!str_eq(infer_get_bytes(a, k, e), infer_get_bytes(b, k, e)))
            return false;
    return true;
}

static bool outputs_agree(const struct infer *a, const struct infer *b, int k)
{
    const struct infer_tensor *x = &a->out[k], *y = &b->out[k];
    uint64_t at;
    if (x->dtype != y->dtype || x->ndim != y->ndim || x->bytes != y->bytes ||
        memcmp(x->dims, y->dims, sizeof x->dims[0] * (size_t)x->ndim) != 0)
        return false;
    if (x->dtype == DT_BYTES)
        return strings_agree(a, b, k);
    if (!compare_is_float(x->dtype))
        return x->bytes == 0 || memcmp(x->data, y->data, x->bytes) == 0;
    double most = x->dtype == DT_FP16 || x->dtype == DT_BF16 ? TOLERANCE_HALF : TOLERANCE;
    return compare_numbers(x->dtype, x->data, y->data, x->bytes, &at) <= most;
}

int cache_check_differs(const struct infer *kept, const struct infer *ran, uint32_t len)
{
    for (uint32_t k = 0; k < len; k++)
        if (!outputs_agree(kept, ran, (int)k))
            return (int)k;
    return -1;
}
