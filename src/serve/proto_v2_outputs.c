/* Which outputs a request wants, and in which form. */
#include "serve/proto_classes.h"
#include "serve/proto_v2_int.h"

static bool read_classes(struct json_reader *r, uint32_t *classes)
{
    uint64_t n;
    if (!json_u64(r, &n))
        return false;
    if (n < 1 || n > CLASSES_ELEMENTS_MAX)
        return json_fail(r, ERR_INVALID, "must be a number of classes, 1 to %d", CLASSES_ELEMENTS_MAX);
    *classes = (uint32_t)n;
    return true;
}

static bool read_output_parameters(struct json_reader *r, struct arena *a, struct v2_wanted *out)
{
    struct str key;
    bool is_binary = false;
    if (!json_object(r))
        return false;
    while (json_key(r, &key)) {
        if (str_eq_c(key, "binary_data")) {
            if (json_bool(r, &is_binary))
                out->form = is_binary ? V2_BINARY : V2_JSON;
        } else if (str_eq_c(key, "classification")) {
            (void)read_classes(r, &out->classes);
        } else if (!proto_v2_read_part(r, key, a, &out->part, &out->has_part)) {
            (void)json_skip(r, NULL);
        }
    }
    return !r->failed;
}

static bool check_output(struct proto_call *c, const struct tensor_spec *spec, struct v2_wanted *out)
{
    struct json_reader *r = &c->reader;
    if (out->classes > 0 && !classes_allowed((enum dtype)spec->dtype))
        return json_fail(r, ERR_INVALID, "class result not available for output '%s' due to unsupported type '%s'",
                         spec->name, dtype_name((enum dtype)spec->dtype));
    if (!out->has_part)
        return true;
    if (out->classes > 0)
        return json_fail(r, ERR_INVALID, "output '%s' can't have 'classification' and 'shared_memory_region'",
                         spec->name);
    if (out->form == V2_BINARY)
        return json_fail(r, ERR_INVALID, "output '%s' can't have 'binary_data' and 'shared_memory_region'", spec->name);
    return proto_v2_find_part(c, &out->part);
}

static bool read_output(struct proto_call *c)
{
    struct json_reader *r = &c->reader;
    struct v2 *v = c->protocol;
    struct str key, name = {NULL, 0};
    struct v2_wanted out = {.form = V2_DEFAULT};
    if (!json_object(r))
        return false;
    while (json_key(r, &key)) {
        if (str_eq_c(key, "name"))
            (void)json_string(r, c->req->arena, &name);
        else if (str_eq_c(key, "parameters") && json_peek(r) != JSON_NULL)
            (void)read_output_parameters(r, c->req->arena, &out);
        else
            (void)json_skip(r, NULL);
    }
    if (r->failed)
        return false;
    if (!name.p)
        return json_fail(r, ERR_INVALID, "an output needs 'name'");
    int k = model_desc_output(c->desc, name);
    if (k < 0)
        return proto_v2_fail_name(r, "output", c->desc->outputs, c->desc->outputs_len, name);
    for (uint32_t i = 0; i < v->wanted_len; i++)
        if (v->wanted[i].index == (uint32_t)k)
            return json_fail(r, ERR_INVALID, "output '%s' already exists in request", c->desc->outputs[k].name);
    if (!check_output(c, &c->desc->outputs[k], &out))
        return false;
    out.index = (uint32_t)k;
    v->wanted[v->wanted_len++] = out; /* no overflow: each output at most once */
    return true;
}

bool proto_v2_outputs(struct proto_call *c)
{
    if (!json_array(&c->reader))
        return false;
    while (json_item(&c->reader))
        if (!read_output(c))
            return false;
    return !c->reader.failed;
}
