/* Raw requests: the body is the one input's bytes. */
#include <string.h>

#include "serve/proto_v2_int.h"

/* The dimension that the size of the body decides, or -1: all are known. -2: more than one is free. */
static int free_dim(const struct model_desc *d, struct infer_tensor *t)
{
    int free = -1;
    for (int i = d->has_batch_dim; i < t->ndim; i++)
        if (t->dims[i] < 0) {
            if (free >= 0)
                return -2;
            free = i;
        }
    if (!d->has_batch_dim)
        return free;
    if (free < 0)
        return 0; /* as many rows as there are bytes for */
    t->dims[0] = 1;
    return free;
}

enum err_code proto_v2_raw(struct proto_call *c, struct str binary, struct err *err)
{
    const struct model_desc *d = c->desc;
    const char *model = c->info->name;
    if (d->inputs_len != 1)
        return err_set(err, ERR_INVALID,
                       "Raw request must only have 1 input (found %u) to be deduced but got %u inputs in model '%s'",
                       d->inputs_len, d->inputs_len, model);
    const struct tensor_spec *spec = &d->inputs[0];
    struct infer_tensor *t = &c->infer.in[0];
    t->given = true;
    t->dtype = (enum dtype)spec->dtype;
    t->ndim = spec->ndim;
    memcpy(t->dims, spec->dims, sizeof t->dims);
    c->source[0] = (struct proto_source){.kind = PROTO_BINARY, .bytes = binary};
    if (t->dtype == DT_BYTES) { /* one string, without its length */
        (void)http_body_fetch(c->req);
        for (int i = 0; i < t->ndim; i++)
            t->dims[i] = 1;
        char *framed = arena_try_alloc(c->req->arena, binary.n + 4);
        uint32_t n = (uint32_t)binary.n;
        if (!framed || binary.n > UINT32_MAX - 4)
            return err_set(err, ERR_TOO_LARGE, "the body does not fit in the request's memory");
        memcpy(framed, &n, sizeof n);
        memcpy(framed + sizeof n, binary.p, n);
        c->source[0].bytes = (struct str){framed, binary.n + 4};
        t->heap_bytes = binary.n;
        return ERR_OK;
    }
    int free = free_dim(d, t);
    if (free == -2)
        return err_set(err, ERR_INVALID,
                       "The shape of the raw input '%s' can not be deduced because there are more than one "
                       "variable-sized dimension",
                       spec->name);
    if (free < 0)
        return ERR_OK;
    uint64_t rest = 1;
    t->dims[free] = 1;
    if (!tensor_count(t->dims, t->ndim, &rest) || rest == 0 || binary.n % (rest * dtype_size(t->dtype)) != 0)
        return err_set(err, ERR_INVALID,
                       "The size of the raw input '%s' is not a whole number of its elements: %zu bytes", spec->name,
                       binary.n);
    t->dims[free] = (int64_t)(binary.n / (rest * dtype_size(t->dtype)));
    return ERR_OK;
}
