/* Inputs and outputs, as far as they can be known without loading models: of ONNX files from the files, of built-in backends from themselves. Held against what
 * a config.pbtxt declares, against warm-up samples, and in ensembles against each other. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "cli/config_int.h"
#include "model/backend.h"
#include "model/declared.h"
#include "model/onnx_ends.h"

#define STEPS_MAX 32

static void set_problem(struct config *c, struct model_config *m, const char *prefix, const struct err *err)
{
    m->problem = arena_printf(&c->arena, "%s%s%s%s", prefix, err->text, err->remedy[0] ? "; " : "", err->remedy).p;
}

/* ---- what is known of one model ---- */

/* Built-in backends look at no more than their parameters and a small file. */
static enum err_code describe_builtin(const struct backend *b, const struct model_config *m, struct model_desc *out,
                                      struct err *err)
{
    const struct setting_text_pair *p = m->parameters.items;
    struct backend_param params[64];
    struct backend_load opt = {
        .name = m->name, .path = m->path, .params = params, .threads = 1, .max_batch = m->max_batch};
    void *instance;
    for (size_t i = 0; i < m->parameters.len && i < ARRAY_LEN(params); i++)
        params[opt.params_len++] = (struct backend_param){p[i].name, p[i].value};
    if (b->load(&opt, &instance, err))
        return err->code;
    enum err_code code = b->describe(instance, out, err);
    b->unload(instance);
    return code;
}

/* Those that take their time or much memory to load are for tests. */
static bool is_slow(const struct model_config *m)
{
    const struct setting_text_pair *p = m->parameters.items;
    for (size_t i = 0; i < m->parameters.len; i++)
        if (strcmp(p[i].name, "load_delay_ms") == 0 || strcmp(p[i].name, "memory_mib") == 0)
            return true;
    return false;
}

/* ERR_UNSUPPORTED: only a load can tell. */
static enum err_code describe(const struct model_config *m, struct model_desc *out, struct err *err)
{
    const struct backend *b = m->backend ? backend_by_name(str_c(m->backend)) : NULL;
    if (b && strcmp(b->name, "onnx") == 0 && m->path)
        return onnx_describe_file(m->path, out, err);
    if (b && !b->engine && !is_slow(m))
        return describe_builtin(b, m, out, err);
    return err_set(err, ERR_UNSUPPORTED, "not known without a load");
}

/* ---- against config.pbtxt ---- */

static enum err_code check_declared(const struct model_config *m, const struct model_desc *d, struct err *err)
{
    struct json_reader r;
    struct declared declared = {0};
    struct arena a;
    struct buf text;
    if (!m->declared)
        return ERR_OK;
    arena_init(&a, 4096, 4 << 20);
    buf_init(&text, DECLARED_TEXT_MAX + BUF_PAD);
    buf_c(&text, m->declared);
    buf_pad(&text);
    json_init(&r, buf_view(&text), 8);
    declared_read(&r, &a, &declared);
    enum err_code code = declared_check(&declared, d, err);
    buf_done(&text);
    arena_done(&a);
    return code;
}

/* ---- against warm-up samples ---- */

static const struct tensor_spec *find(const struct tensor_spec *specs, uint32_t len, const char *name)
{
    for (uint32_t i = 0; i < len; i++)
        if (strcmp(specs[i].name, name) == 0)
            return &specs[i];
    return NULL;
}

static enum err_code check_warm_up(const struct config *c, const struct model_config *m, const struct model_desc *d,
                                   struct err *err)
{
    const struct warm_up_config *w = m->warm_up.items;
    char path[900];
    for (size_t i = 0; i < m->warm_up.len; i++) {
        const struct warm_up_input_config *in = w[i].inputs.items;
        for (size_t k = 0; k < w[i].inputs.len; k++) {
            const struct tensor_spec *spec = find(d->inputs, d->inputs_len, in[k].name);
            (void)snprintf(path, sizeof path, "models.%.130s.warm_up.%.200s.inputs.%.200s", m->name, w[i].name,
                           in[k].name);
            if (!spec)
                return config_fail(c, err, path, "the model has no such input");
            enum dtype said = in[k].datatype ? dtype_parse(str_c(in[k].datatype)) : DT_NONE;
            if (said != DT_NONE && spec->dtype != DT_NONE && said != (enum dtype)spec->dtype)
                return config_fail(c, err, path, "the datatype is %s, the model has %s", in[k].datatype,
                                   dtype_name((enum dtype)spec->dtype));
        }
    }
    return ERR_OK;
}

static void check_one(struct config *c, struct model_config *m, struct model_desc *d)
{
    struct err err = {0};
    char prefix[64] = "";
    if (m->versions.len > 0 || (m->origin && m->path && strcmp(m->origin, m->path) != 0))
        (void)snprintf(prefix, sizeof prefix, "version %.40s: ", m->version);
    enum err_code code = describe(m, d, &err);
    if (code == ERR_OK)
        code = check_declared(m, d, &err) ? err.code : check_warm_up(c, m, d, &err);
    else if (m->backend && strcmp(m->backend, "onnx") != 0)
        code = ERR_OK; /* a load tells, with more words */
    if (code)
        set_problem(c, m, prefix, &err);
}

/* ---- ensembles ---- */

/* One end of a tensor. */
struct end {
    size_t step; /* steps_len: nobody */
    const struct tensor_spec *spec;
};

struct wiring {
    const struct config *c;
    const struct model_config *m;
    const struct ensemble_step_config *steps;
    size_t steps_len;
    struct model_desc *descs[STEPS_MAX]; /* NULL: not known */
    struct err *err;
};

/* Versions are whole numbers. */
static bool is_newer(const char *a, const char *b)
{
    uint64_t x = 0, y = 0;
    (void)(str_to_u64(str_c(a), &x) && str_to_u64(str_c(b), &y));
    return x > y;
}

static const struct model_config *member(const struct wiring *w, size_t n)
{
    const struct model_config *models = w->c->models.items, *best = NULL;
    for (size_t i = 0; i < w->c->models.len; i++) {
        const struct model_config *m = &models[i];
        if (strcmp(m->name, w->steps[n].model) != 0 ||
            (w->steps[n].version && strcmp(m->version, w->steps[n].version) != 0))
            continue;
        if (!best || is_newer(m->version, best->version))
            best = m;
    }
    return best;
}

static enum err_code no_such(const struct wiring *w, size_t n, bool is_input, const char *name)
{
    const struct model_desc *d = w->descs[n];
    const char *key = is_input ? "inputs" : "outputs";
    const char *names[MODEL_TENSORS_MAX];
    char text[400];
    uint32_t len = is_input ? d->inputs_len : d->outputs_len;
    for (uint32_t i = 0; i < len; i++)
        names[i] = (is_input ? d->inputs : d->outputs)[i].name;
    (void)snprintf(text, sizeof text, "model \"%.100s\" has no %.*s \"%.100s\"", w->steps[n].model,
                   (int)strlen(key) - 1, key, name);
    (void)config_fail_step(w->c, w->m, n, key, text, w->err);
    const char *nearest = settings_nearest(str_c(name), names, len);
    if (nearest)
        return err_remedy(w->err, "did you mean \"%s\"?", nearest);
    return len > 0 ? err_remedy(w->err, "it has for example \"%.100s\"", names[0]) : w->err->code;
}

static enum err_code no_fit(const struct wiring *w, const char *tensor, const struct end *a, const struct end *b)
{
    char text[600], x[128], y[128];
    tensor_dims_format(a->spec->dims, a->spec->ndim < 0 ? 0 : a->spec->ndim, x, sizeof x);
    tensor_dims_format(b->spec->dims, b->spec->ndim < 0 ? 0 : b->spec->ndim, y, sizeof y);
    (void)snprintf(text, sizeof text,
                   "tensor \"%.60s\" does not fit: \"%.60s\" of step %.60s is %s %.60s, but \"%.60s\" is %s %.60s",
                   tensor, a->spec->name, w->steps[a->step].name, dtype_name((enum dtype)a->spec->dtype), x,
                   b->spec->name, dtype_name((enum dtype)b->spec->dtype), y);
    (void)config_fail_step(w->c, w->m, b->step, "inputs", text, w->err);
    return err_remedy(w->err, "connect other tensors, or change one of the models");
}

/* Who makes a tensor, or else the first step that takes it; spec NULL: that is not known. */
static struct end first_end(const struct wiring *w, const char *tensor)
{
    for (int is_input = 0; is_input < 2; is_input++)
        for (size_t n = 0; n < w->steps_len; n++) {
            const struct setting_list *list = is_input ? &w->steps[n].inputs : &w->steps[n].outputs;
            const struct setting_text_pair *p = list->items;
            const struct model_desc *d = w->descs[n];
            for (size_t i = 0; i < list->len; i++)
                if (strcmp(p[i].value, tensor) == 0)
                    return (struct end){n, !d         ? NULL
                                           : is_input ? find(d->inputs, d->inputs_len, p[i].name)
                                                      : find(d->outputs, d->outputs_len, p[i].name)};
        }
    return (struct end){w->steps_len, NULL};
}

static enum err_code check_step(const struct wiring *w, size_t n)
{
    const struct ensemble_step_config *s = &w->steps[n];
    const struct setting_text_pair *in = s->inputs.items, *out = s->outputs.items;
    const struct model_desc *d = w->descs[n];
    char text[300];
    if (!d)
        return ERR_OK;
    for (size_t i = 0; i < s->outputs.len; i++)
        if (!find(d->outputs, d->outputs_len, out[i].name))
            return no_such(w, n, false, out[i].name);
    for (size_t i = 0; i < s->inputs.len; i++) {
        struct end other = first_end(w, in[i].value), me = {n, find(d->inputs, d->inputs_len, in[i].name)};
        if (!me.spec)
            return no_such(w, n, true, in[i].name);
        if (other.spec && !tensor_specs_fit(other.spec, me.spec))
            return no_fit(w, in[i].value, &other, &me);
    }
    for (uint32_t k = 0; k < d->inputs_len; k++) {
        bool is_wired = d->inputs[k].is_optional;
        for (size_t i = 0; i < s->inputs.len && !is_wired; i++)
            is_wired = strcmp(in[i].name, d->inputs[k].name) == 0;
        if (is_wired)
            continue;
        (void)snprintf(text, sizeof text, "input \"%.100s\" of model \"%.100s\" gets no tensor", d->inputs[k].name,
                       s->model);
        return config_fail_step(w->c, w->m, n, "inputs", text, w->err);
    }
    return ERR_OK;
}

static void check_ensemble(struct config *c, struct model_config *m)
{
    struct err err = {0}, why = {0};
    struct wiring w = {
        .c = c, .m = m, .steps = m->ensemble.steps.items, .steps_len = m->ensemble.steps.len, .err = &err};
    enum err_code code = ERR_OK;
    for (size_t n = 0; n < w.steps_len && n < STEPS_MAX; n++) {
        const struct model_config *step = member(&w, n);
        w.descs[n] = calloc(1, sizeof *w.descs[n]);
        CHECK(w.descs[n]);
        if (step && !step->problem && describe(step, w.descs[n], &why) == ERR_OK)
            continue;
        free(w.descs[n]);
        w.descs[n] = NULL;
    }
    for (size_t n = 0; n < w.steps_len && !code; n++)
        code = check_step(&w, n);
    if (code)
        set_problem(c, m, "", &err);
    for (size_t n = 0; n < w.steps_len && n < STEPS_MAX; n++)
        free(w.descs[n]);
}

void config_check_tensors(struct config *c)
{
    struct model_config *models = c->models.items;
    struct model_desc *d = calloc(1, sizeof *d); /* large */
    CHECK(d);
    for (size_t i = 0; i < c->models.len; i++)
        if (!models[i].problem && models[i].ensemble.steps.len == 0)
            check_one(c, &models[i], d);
    for (size_t i = 0; i < c->models.len; i++)
        if (!models[i].problem && models[i].ensemble.steps.len > 0)
            check_ensemble(c, &models[i]);
    free(d);
}
