#include "model/backend.h"

#include <string.h>

#include "base/check.h"
#include "model/backends/builtin/builtin.h"
#include "model/backends/onnx/onnx.h"
#include "model/backends/steps/steps.h"
#include "model/backends/tflite/tflite.h"

/* Addresses of output tensors are multiples of this: a cache line, and enough for every vector instruction. */
#define OUT_ALIGN 64

static const struct backend *const table[] = {
    &backend_onnx,     &backend_tflite, &backend_image,  &backend_topk,
    &backend_identity, &backend_delay,  &backend_repeat, &backend_crash,
};

const struct backend *backend_by_name(struct str name)
{
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        if (str_eq_c(name, table[i]->name))
            return table[i];
    return NULL;
}

const struct backend *backend_by_path(struct str path)
{
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        for (const char *const *e = table[i]->extensions; *e != NULL; e++)
            if (str_ends(path, str_c(*e)))
                return table[i];
    return NULL;
}

const char *backend_names(void)
{
    return "onnx, tflite, image, topk, identity, delay, repeat, crash";
}

void *backend_out_alloc(struct backend_run *r, size_t bytes)
{
    CHECK(r->out_used <= r->out_cap);
    uintptr_t at = (uintptr_t)(r->out_base + r->out_used);
    size_t skip = (size_t)(ROUND_UP(at, OUT_ALIGN) - at);
    size_t left = r->out_cap - r->out_used;
    if (skip > left || bytes > left - skip)
        return NULL;
    unsigned char *p = r->out_base + r->out_used + skip;
    r->out_used += skip + bytes;
    return p;
}

bool backend_out_bytes(struct backend_run *r, struct str s, struct bytes_ref *ref)
{
    CHECK(r->out_used <= r->out_cap);
    if (s.n > r->out_cap - r->out_used || s.n > UINT32_MAX || r->out_used > UINT32_MAX)
        return false;
    if (s.n > 0)
        memcpy(r->out_base + r->out_used, s.p, s.n);
    *ref = (struct bytes_ref){.off = (uint32_t)r->out_used, .len = (uint32_t)s.n};
    r->out_used += s.n;
    return true;
}
