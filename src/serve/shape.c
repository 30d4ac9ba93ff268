/* infer_check: a request's shapes against the model's. Texts follow Triton's, which clients match on. */
#include <stdio.h>
#include <string.h>

#include "serve/infer.h"
#include "serve/internal_int.h"

static void expected_inputs(const struct model_desc *d, char *out, size_t out_size)
{
    size_t at = 0;
    out[0] = '\0';
    for (uint32_t k = 0; k < d->inputs_len && at + 1 < out_size; k++) {
        int n = snprintf(out + at, out_size - at, "%s'%s'", k ? ", " : "", d->inputs[k].name);
        at += n > 0 ? (size_t)n : 0;
    }
}

/* Which inputs are given, or not given and needed, for a text. */
static uint32_t list_inputs(const struct infer *i, bool given, char *out, size_t out_size)
{
    const struct model_desc *d = served_info(i->model)->desc;
    size_t at = 0;
    uint32_t n = 0;
    bool is_cut = false;
    out[0] = '\0';
    for (uint32_t k = 0; k < d->inputs_len; k++) {
        if (i->in[k].given != given || (!given && d->inputs[k].is_optional))
            continue;
        n++;
        bool fits = !is_cut && strlen(d->inputs[k].name) + sizeof "'', ..." <= out_size - at;
        if (fits)
            at += (size_t)snprintf(out + at, out_size - at, "%s'%s'", n > 1 ? ", " : "", d->inputs[k].name);
        else if (!is_cut)
            (void)snprintf(out + at, out_size - at, "%s...", n > 1 ? ", " : "");
        is_cut = is_cut || !fits;
    }
    return n;
}

static enum err_code missing(const struct infer *i, struct err *err)
{
    const struct served_info *info = served_info(i->model);
    const struct model_desc *d = info->desc;
    char got[64], wanted[96], names[160], count[64];
    uint32_t needed = 0, given = list_inputs(i, true, got, sizeof got);
    (void)list_inputs(i, false, wanted, sizeof wanted);
    expected_inputs(d, names, sizeof names);
    for (uint32_t k = 0; k < d->inputs_len; k++)
        needed += !d->inputs[k].is_optional;
    if (needed == d->inputs_len)
        (void)snprintf(count, sizeof count, "expected %u inputs", needed);
    else
        (void)snprintf(count, sizeof count, "expected number of inputs between %u and %u", needed, d->inputs_len);
    err_set(
        err, ERR_INVALID,
        "%s but got %u inputs for model '%s'. Got input(s) [%s], but missing required input(s) [%s]. Please provide "
        "all required input(s).",
        count, given, info->name, got, wanted);
    return err_remedy(err, "the model's inputs are %s; GET /v2/models/%s shows their types and shapes", names,
                      info->name);
}

static bool shape_fits(const struct tensor_spec *spec, const struct infer_tensor *t)
{
    if (t->ndim != spec->ndim)
        return false;
    for (int d = 0; d < t->ndim; d++)
        if (t->dims[d] < 0 || (spec->dims[d] >= 0 && t->dims[d] != spec->dims[d]))
            return false;
    return true;
}

static enum err_code check_input(const struct infer *i, uint32_t k, struct err *err)
{
    const struct served_info *info = served_info(i->model);
    const struct tensor_spec *spec = &info->desc->inputs[k];
    const struct infer_tensor *t = &i->in[k];
    if (!t->given)
        return spec->is_optional ? ERR_OK : missing(i, err);
    if (t->dtype != (enum dtype)spec->dtype)
        return err_set(err, ERR_INVALID, "inference input '%s' data-type is '%s', but model '%s' expects '%s'",
                       spec->name, dtype_name(t->dtype), info->name, dtype_name((enum dtype)spec->dtype));
    uint64_t count;
    bool fits = shape_fits(spec, t);
    if (LIKELY(fits && tensor_count(t->dims, t->ndim, &count)))
        return ERR_OK;
    char want[128], got[128];
    tensor_dims_format(spec->dims, spec->ndim, want, sizeof want);
    tensor_dims_format(t->dims, t->ndim, got, sizeof got);
    if (fits)
        return err_set(err, ERR_INVALID, "shape %s of input '%s' has too many elements", got, spec->name);
    return err_set(err, ERR_INVALID, "unexpected shape for input '%s' for model '%s'. Expected %s, got %s.", spec->name,
                   info->name, want, got);
}

enum err_code infer_check(const struct infer *i, struct err *err)
{
    const struct model_desc *d = served_info(i->model)->desc;
    for (uint32_t k = 0; k < d->inputs_len; k++)
        if (check_input(i, k, err))
            return err->code;
    return ERR_OK;
}

enum err_code infer_rows(const struct infer *i, uint32_t *rows, struct err *err)
{
    const struct served_info *info = served_info(i->model);
    *rows = 1;
    if (!info->desc->has_batch_dim)
        return ERR_OK;
    int64_t n = -1;
    for (uint32_t k = 0; k < info->desc->inputs_len; k++) {
        if (!i->in[k].given)
            continue;
        if (n >= 0 && i->in[k].dims[0] != n)
            return err_set(err, ERR_INVALID, "input '%s' batch size does not match other inputs for '%s'",
                           info->desc->inputs[k].name, info->name);
        n = i->in[k].dims[0];
    }
    if (n <= 0)
        return err_set(err, ERR_INVALID, "a request needs at least one row, this one for model '%s' has none",
                       info->name);
    if (n > INFER_ROWS_MAX) {
        err_set(err, ERR_INVALID, "inference request batch-size must be <= %d for '%s'", INFER_ROWS_MAX, info->name);
        return err_remedy(err, "split the %lld rows over several requests", (long long)n);
    }
    *rows = (uint32_t)n;
    return ERR_OK;
}
