/* Warm-up as it is configured: from config.pbtxt, and the checks that need no model. */
#include <stdio.h>
#include <string.h>

#include "cli/config_int.h"
#include "model/tensor.h"
#include "model/warmup.h"

#define NAMES_MAX                                                                                                      \
    5000 /* as JSON: the description goes to the worker, and twice to the edge, in one message with all else */

static const char *keep(struct arena *a, const char *text)
{
    return text ? arena_cstr(a, str_c(text)) : NULL;
}

/* ---- config.pbtxt ---- */

static struct setting_list take_dims(const struct triton_warmup_input *in, struct arena *a)
{
    const char **texts = arena_array(a, const char *, in->dims_len);
    for (size_t i = 0; i < in->dims_len; i++)
        texts[i] = arena_printf(a, "%lld", (long long)in->dims[i]).p;
    return (struct setting_list){texts, in->dims_len};
}

static struct setting_list take_inputs(const struct triton_warmup *w, struct arena *a)
{
    static const int fills[] = {
        [TRITON_RANDOM] = WARMUP_RANDOM, [TRITON_ZERO] = WARMUP_ZERO, [TRITON_FILE] = WARMUP_FILE};
    struct warm_up_input_config *out = arena_array(a, struct warm_up_input_config, w->inputs_len);
    for (size_t i = 0; i < w->inputs_len; i++) {
        const struct triton_warmup_input *in = &w->inputs[i];
        out[i] = (struct warm_up_input_config){.name = keep(a, in->name),
                                               .data = fills[in->fill],
                                               .file = keep(a, in->file),
                                               .dims = take_dims(in, a),
                                               .has_dims = true, /* none: a scalar, or only the batch */
                                               .datatype = keep(a, in->data_type)};
    }
    return (struct setting_list){out, w->inputs_len};
}

enum err_code config_take_warm_up(const struct triton_config *t, struct model_config *m, struct arena *a,
                                  struct err *err)
{
    if (t->warmups_len > WARMUP_SAMPLES_MAX)
        return err_set(err, ERR_TOO_LARGE, "model_warmup: more than %d samples", WARMUP_SAMPLES_MAX);
    struct warm_up_config *out = arena_array(a, struct warm_up_config, t->warmups_len);
    for (size_t i = 0; i < t->warmups_len; i++) {
        const struct triton_warmup *w = &t->warmups[i];
        if (w->inputs_len > WARMUP_INPUTS_MAX || w->count > WARM_UP_COUNT_MAX || w->batch_size > WARM_UP_BATCH_MAX)
            return err_set(err, ERR_TOO_LARGE, "model_warmup: more than %d inputs, %d runs or %d rows",
                           WARMUP_INPUTS_MAX, WARM_UP_COUNT_MAX, WARM_UP_BATCH_MAX);
        for (size_t k = 0; k < w->inputs_len; k++)
            if (w->inputs[k].dims_len > TENSOR_DIMS_MAX)
                return err_set(err, ERR_TOO_LARGE, "model_warmup: more than %d dims", TENSOR_DIMS_MAX);
        out[i] = (struct warm_up_config){.name = w->name ? keep(a, w->name) : arena_printf(a, "sample %zu", i + 1).p,
                                         .batch_size = w->batch_size,
                                         .count = w->count > 0 ? w->count : 1,
                                         .inputs = take_inputs(w, a)};
    }
    m->warm_up = (struct setting_list){out, t->warmups_len};
    return ERR_OK;
}

/* ---- checks ---- */

static enum err_code fail(const struct config *c, const struct model_config *m, const struct warm_up_config *w,
                          const struct warm_up_input_config *in, const char *what, const char *text, struct err *err)
{
    char key[700];
    (void)snprintf(key, sizeof key, "warm_up%s%.200s%s%.200s%s%s", w ? "." : "", w ? w->name : "", in ? ".inputs." : "",
                   in ? in->name : "", what[0] ? "." : "", what);
    return config_fail_model(c, err, m, key, text);
}

static enum err_code check_input(const struct config *c, const struct model_config *m, const struct warm_up_config *w,
                                 struct warm_up_input_config *in, struct err *err)
{
    const char *const *dims = in->dims.items;
    uint64_t v;
    if (in->file && in->data == WARMUP_RANDOM)
        in->data = WARMUP_FILE; /* who names a file means it */
    if (in->file && in->data != WARMUP_FILE)
        return fail(c, m, w, in, "file", "only data: file has a file", err);
    if (in->data == WARMUP_FILE && !in->file)
        return fail(c, m, w, in, "", "data: file needs a file", err);
    if (in->file && (strchr(in->file, '/') || in->file[0] == '.'))
        return fail(c, m, w, in, "file", "a plain name of a file in the model's folder warmup/", err);
    if (in->file && !m->warm_up_folder)
        return fail(c, m, w, in, "file", "a built-in model has no folder", err);
    if (in->datatype && dtype_parse(str_c(in->datatype)) == DT_NONE)
        return fail(c, m, w, in, "datatype", "there is no such type; write for example FP32 or BYTES", err);
    in->has_dims = in->has_dims || in->dims.len > 0;
    for (size_t i = 0; i < in->dims.len; i++)
        if (!str_to_u64(str_c(dims[i]), &v) || v < 1 || v > INT32_MAX)
            return fail(c, m, w, in, "dims", "dims are whole numbers from 1", err);
    return ERR_OK;
}

static size_t json_bytes(const char *text)
{
    size_t n = 0;
    for (; text && *text; text++)
        n += (unsigned char)*text < ' ' ? 6 : *text == '"' || *text == '\\' ? 2 : 1;
    return n;
}

enum err_code config_check_warm_up(const struct config *c, const struct model_config *m, struct err *err)
{
    struct warm_up_config *w = m->warm_up.items;
    size_t bytes = 0;
    if (m->warm_up.len && m->ensemble.steps.len)
        return fail(c, m, NULL, NULL, "", "an ensemble has no runs of its own: warm up its members", err);
    for (size_t i = 0; i < m->warm_up.len; i++) {
        struct warm_up_input_config *in = w[i].inputs.items;
        bytes += json_bytes(w[i].name) + 80;
        for (size_t k = 0; k < w[i].inputs.len; k++) {
            if (check_input(c, m, &w[i], &in[k], err))
                return err->code;
            bytes += json_bytes(in[k].name) + json_bytes(in[k].file) + 12 * in[k].dims.len + 70;
        }
    }
    return bytes <= NAMES_MAX ? ERR_OK
                              : fail(c, m, NULL, NULL, "", "samples, inputs and names are too many in all", err);
}
