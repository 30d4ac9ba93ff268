/* An ensemble's description: read from the master's message, and put together with those of its members. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "serve/ensemble.h"

#define ARENA_MAX ((size_t)1 << 20)

/* ---- reading ---- */

static bool tensor_of(struct ensemble *e, struct json_reader *r, struct str name, uint32_t *out)
{
    for (uint32_t i = 0; i < e->tensors_len; i++)
        if (str_eq_c(name, e->tensors[i])) {
            *out = i;
            return true;
        }
    if (e->tensors_len == ENSEMBLE_TENSORS_MAX)
        return json_fail(r, ERR_INVALID, "more than %d tensors", ENSEMBLE_TENSORS_MAX);
    *out = e->tensors_len;
    e->tensors[e->tensors_len++] = arena_cstr(&e->arena, name);
    return true;
}

static void read_names(struct ensemble *e, struct json_reader *r, uint32_t *out, uint32_t *len)
{
    struct str name;
    json_array(r);
    while (json_item(r))
        if (json_string(r, &e->arena, &name) && *len < ENSEMBLE_TENSORS_MAX && tensor_of(e, r, name, &out[*len]))
            (*len)++;
}

static void read_wires(struct ensemble *e, struct json_reader *r, struct ensemble_wire **out, uint32_t *len)
{
    struct ensemble_wire *w = arena_array(&e->arena, struct ensemble_wire, MODEL_TENSORS_MAX);
    struct str key, name;
    *out = w;
    json_object(r);
    while (json_key(r, &key)) {
        const char *inner = arena_cstr(&e->arena, key);
        uint32_t tensor;
        if (json_string(r, &e->arena, &name) && *len < MODEL_TENSORS_MAX && tensor_of(e, r, name, &tensor))
            w[(*len)++] = (struct ensemble_wire){inner, tensor};
    }
}

static const char *read_text(struct ensemble *e, struct json_reader *r)
{
    struct str s = STR("");
    json_string(r, &e->arena, &s);
    return arena_cstr(&e->arena, s);
}

static void read_step(struct ensemble *e, struct json_reader *r, struct ensemble_step *s)
{
    struct str key;
    *s = (struct ensemble_step){.name = "", .model = "", .version = ""};
    json_object(r);
    while (json_key(r, &key)) {
        if (str_eq_c(key, "name"))
            s->name = read_text(e, r);
        else if (str_eq_c(key, "model"))
            s->model = read_text(e, r);
        else if (str_eq_c(key, "version"))
            s->version = read_text(e, r);
        else if (str_eq_c(key, "inputs"))
            read_wires(e, r, &s->inputs, &s->inputs_len);
        else if (str_eq_c(key, "outputs"))
            read_wires(e, r, &s->outputs, &s->outputs_len);
        else
            json_skip(r, NULL);
    }
}

static void read_steps(struct ensemble *e, struct json_reader *r)
{
    json_array(r);
    while (json_item(r)) {
        if (e->steps_len < ENSEMBLE_STEPS_MAX)
            read_step(e, r, &e->steps[e->steps_len++]);
        else
            json_fail(r, ERR_INVALID, "more than %d steps", ENSEMBLE_STEPS_MAX);
    }
}

struct ensemble *ensemble_read(struct json_reader *r)
{
    struct ensemble *e = calloc(1, sizeof *e);
    struct str key;
    CHECK(e);
    arena_init(&e->arena, 4096, ARENA_MAX);
    json_object(r);
    while (json_key(r, &key)) {
        if (str_eq_c(key, "inputs"))
            read_names(e, r, e->inputs, &e->inputs_len);
        else if (str_eq_c(key, "outputs"))
            read_names(e, r, e->outputs, &e->outputs_len);
        else if (str_eq_c(key, "steps"))
            read_steps(e, r);
        else if (str_eq_c(key, "memory"))
            json_u64(r, &e->memory_max);
        else
            json_skip(r, NULL);
    }
    return r->failed ? ensemble_free(e) : e;
}

struct ensemble *ensemble_free(struct ensemble *e)
{
    if (e)
        arena_done(&e->arena);
    free(e);
    return NULL;
}

/* ---- describing ---- */

/* One end of a tensor, for texts. */
struct end {
    const struct ensemble_step *step; /* NULL: nobody yet */
    const struct tensor_spec *spec;
};

static enum err_code check_ends(const char *tensor, const struct end *a, const struct end *b, struct err *err)
{
    if (tensor_specs_fit(a->spec, b->spec))
        return ERR_OK;
    char x[128], y[128];
    tensor_dims_format(a->spec->dims, a->spec->ndim, x, sizeof x);
    tensor_dims_format(b->spec->dims, b->spec->ndim, y, sizeof y);
    err_set(err, ERR_INVALID,
            "tensor '%.40s' does not fit: '%.40s' of step '%.40s' is %s %.60s, but '%.40s' of step '%.40s' is %s %.60s",
            tensor, a->spec->name, a->step->name, dtype_name((enum dtype)a->spec->dtype), x, b->spec->name,
            b->step->name, dtype_name((enum dtype)b->spec->dtype), y);
    return err_remedy(err, "connect other tensors, or change one of the models");
}

static enum err_code no_such(const struct ensemble_step *s, const char *side, const char *name,
                             const struct tensor_spec *specs, uint32_t len, struct err *err)
{
    char names[200];
    size_t at = 0;
    names[0] = '\0';
    for (uint32_t i = 0; i < len && at < sizeof names; i++)
        at += (size_t)snprintf(names + at, sizeof names - at, "%s%s", i ? ", " : "", specs[i].name);
    err_set(err, ERR_INVALID, "step '%s': model '%s' has no %s '%s'", s->name, s->model, side, name);
    return err_remedy(err, "its %ss are %s", side, names);
}

/* Every tensor's source, and what its users ask, narrowed to one description. */
struct ends {
    struct end source[ENSEMBLE_TENSORS_MAX], user[ENSEMBLE_TENSORS_MAX];
};

static enum err_code add_outputs(const struct ensemble_step *s, const struct model_desc *d, struct ends *all,
                                 struct err *err)
{
    for (uint32_t w = 0; w < s->outputs_len; w++) {
        int k = model_desc_output(d, str_c(s->outputs[w].inner));
        if (k < 0)
            return no_such(s, "output", s->outputs[w].inner, d->outputs, d->outputs_len, err);
        all->source[s->outputs[w].tensor] = (struct end){s, &d->outputs[k]};
    }
    return ERR_OK;
}

static enum err_code add_inputs(const struct ensemble *e, const struct ensemble_step *s, const struct model_desc *d,
                                struct ends *all, struct err *err)
{
    bool is_wired[MODEL_TENSORS_MAX] = {false};
    for (uint32_t w = 0; w < s->inputs_len; w++) {
        uint32_t t = s->inputs[w].tensor;
        int k = model_desc_input(d, str_c(s->inputs[w].inner));
        if (k < 0)
            return no_such(s, "input", s->inputs[w].inner, d->inputs, d->inputs_len, err);
        is_wired[k] = true;
        struct end me = {s, &d->inputs[k]};
        const struct end *other = all->source[t].step ? &all->source[t] : &all->user[t];
        if (other->step && check_ends(e->tensors[t], other, &me, err))
            return err->code;
        if (!all->user[t].step)
            all->user[t] = me;
    }
    for (uint32_t k = 0; k < d->inputs_len; k++)
        if (!is_wired[k] && !d->inputs[k].is_optional)
            return err_set(err, ERR_INVALID, "step '%s': input '%s' of model '%s' gets no tensor", s->name,
                           d->inputs[k].name, s->model);
    return ERR_OK;
}

static void put_tensor(const struct ensemble *e, uint32_t t, const struct tensor_spec *spec, struct tensor_spec *out)
{
    CHECK(spec); /* the configuration's check has seen that a step takes it or makes it */
    *out = *spec;
    out->is_optional = 0;
    memset(out->name, 0, sizeof out->name);
    (void)str_copy(out->name, sizeof out->name, str_c(e->tensors[t]));
}

static void describe_rows(const struct ensemble *e, const struct model_desc *const *members, struct model_desc *out)
{
    out->has_batch_dim = 1;
    out->max_batch = UINT32_MAX;
    for (uint32_t i = 0; i < e->steps_len; i++) {
        out->has_batch_dim = out->has_batch_dim && members[i]->has_batch_dim;
        if (members[i]->max_batch < out->max_batch)
            out->max_batch = members[i]->max_batch;
        out->memory_bytes += members[i]->memory_bytes;
    }
    if (!out->has_batch_dim)
        out->max_batch = 1;
    (void)str_copy(out->batch_reason, sizeof out->batch_reason, STR("each step's model batches by itself"));
}

enum err_code ensemble_describe(const struct ensemble *e, const struct model_desc *const *members,
                                struct model_desc *out, struct err *err)
{
    struct ends all = {0};
    for (uint32_t i = 0; i < e->steps_len; i++)
        if (add_outputs(&e->steps[i], members[i], &all, err))
            return err->code;
    for (uint32_t i = 0; i < e->steps_len; i++)
        if (add_inputs(e, &e->steps[i], members[i], &all, err))
            return err->code;
    memset(out, 0, sizeof *out);
    (void)str_copy(out->backend, sizeof out->backend, STR("ensemble"));
    (void)str_copy(out->platform, sizeof out->platform, STR("ensemble"));
    size_t at = 0;
    for (uint32_t i = 0; i < e->steps_len && at + 1 < sizeof out->description; i++)
        at += (size_t)snprintf(out->description + at, sizeof out->description - at, "%s%s",
                               i ? ", " : "steps: ", e->steps[i].name);
    for (uint32_t k = 0; k < e->inputs_len; k++)
        put_tensor(e, e->inputs[k], all.user[e->inputs[k]].spec, &out->inputs[out->inputs_len++]);
    for (uint32_t k = 0; k < e->outputs_len; k++)
        put_tensor(e, e->outputs[k], all.source[e->outputs[k]].spec, &out->outputs[out->outputs_len++]);
    describe_rows(e, members, out);
    return model_desc_check(out, err);
}
