/* POST /v2/models/{model}[/versions/{version}]/generate and generate_stream: a flat JSON object whose keys are inputs, for models that answer once. What
 * is not the name of an input is a parameter; `parameters` holds more of both. The stream has one event. */
#include <stdio.h>
#include <string.h>

#include "serve/proto_int.h"

#define WAIT_US_MAX (UINT64_C(24) * 3600 * 1000000) /* most that a client may ask to wait */

/* Ones in front, up to the model's rank: a text is one row of one text, a list is one row. */
static bool generate_dims(struct json_reader *r, const struct tensor_spec *spec, const struct json_shape *shape,
                          struct infer_tensor *t)
{
    if (shape->ndim > spec->ndim)
        return json_fail(r, ERR_INVALID, "nested %d deep, where the input has %d dimensions", shape->ndim, spec->ndim);
    t->ndim = spec->ndim;
    for (int i = 0; i < t->ndim; i++) {
        int from = i - (t->ndim - shape->ndim);
        t->dims[i] = from < 0 ? 1 : (int64_t)shape->dims[from];
    }
    return true;
}

static bool generate_input(struct proto_call *c, int k)
{
    struct json_reader *r = &c->reader;
    struct infer_tensor *t = &c->infer.in[k];
    const struct tensor_spec *spec = &c->desc->inputs[k];
    struct json_shape shape = {0};
    size_t count;
    struct str raw;
    bool is_array = json_peek(r) == JSON_ARRAY;
    if (t->given)
        return json_fail(r, ERR_INVALID, "input '%s' already exists in request", spec->name);
    if (!(is_array ? json_measure_skip(r, &shape, &count, &raw) : json_skip(r, &raw)) ||
        !generate_dims(r, spec, &shape, t))
        return false;
    t->given = true;
    t->dtype = (enum dtype)spec->dtype;
    t->heap_bytes = t->dtype == DT_BYTES ? raw.n : 0;
    c->source[k] = (struct proto_source){.kind = PROTO_TEXT, .bytes = raw};
    (void)snprintf(c->source[k].where, sizeof c->source[k].where, "%.40s", spec->name);
    return true;
}

static bool generate_parameter(struct proto_call *c, struct str key)
{
    struct json_reader *r = &c->reader;
    uint64_t v = 0;
    if (str_starts(key, STR("triton_")))
        return json_fail(
            r, ERR_INVALID,
            "parameter keys starting with 'triton_' are reserved for Triton usage and should not be specified.");
    if (str_eq_c(key, "timeout")) {
        if (!json_u64(r, &v))
            return false;
        if (v > 0 && v < WAIT_US_MAX)
            c->infer.deadline_ns = c->req->t_ready_ns + v * 1000;
        return true;
    }
    if (!str_eq_c(key, "priority"))
        return json_skip(r, NULL);
    if (!json_u64(r, &v))
        return false;
    c->infer.priority = v < UINT32_MAX ? (uint32_t)v : UINT32_MAX;
    return true;
}

static bool generate_value(struct proto_call *c, struct str key)
{
    int k = model_desc_input(c->desc, key);
    return k >= 0 ? generate_input(c, k) : generate_parameter(c, key);
}

static bool generate_member(struct proto_call *c, struct str key)
{
    struct json_reader *r = &c->reader;
    bool is_input = model_desc_input(c->desc, key) >= 0;
    if (!is_input && str_eq_c(key, "id") && json_peek(r) == JSON_STRING)
        return json_string(r, c->req->arena, &c->client_id);
    if (is_input || !str_eq_c(key, "parameters") || json_peek(r) != JSON_OBJECT)
        return generate_value(c, key);
    struct str inner;
    if (!json_object(r))
        return false;
    while (json_key(r, &inner))
        if (!generate_value(c, inner))
            return false;
    return !r->failed;
}

/* ---- the answer ---- */

static void put_generated(const struct proto_call *c, struct json_writer *w)
{
    jw_object(w);
    if (c->client_id.n > 0)
        jw_kv_str(w, "id", c->client_id);
    jw_kv_c(w, "model_name", c->info->name);
    jw_kv_c(w, "model_version", c->info->version);
    for (uint32_t k = 0; k < c->desc->outputs_len; k++) {
        const struct infer_tensor *t = &c->infer.out[k];
        uint64_t count;
        bool is_one = tensor_count(t->dims, t->ndim, &count) && count == 1;
        jw_key(w, c->desc->outputs[k].name);
        if (!is_one)
            proto_write_flat(&c->infer, (int)k, w);
        else if (t->dtype == DT_BYTES)
            jw_str(w, infer_get_bytes(&c->infer, (int)k, 0));
        else
            jw_numbers_nested(w, dtype_json(t->dtype), t->data, NULL, 0);
    }
    jw_object_end(w);
}

static void generate_fail(struct http_req *req, const struct err *err)
{
    http_respond_err(req, err);
}

static void generate_answer(struct proto_call *c, const char *before, const char *after, struct str type)
{
    struct json_writer w;
    struct err err;
    jw_init(&w, proto_scratch(0));
    buf_c(w.out, before);
    put_generated(c, &w);
    buf_c(w.out, after);
    struct str body = buf_view(w.out);
    if (!w.out->failed) {
        proto_call_respond(c, type, NULL, 0, &body, 1);
        return;
    }
    err_set(&err, ERR_TOO_LARGE, "the answer of model '%s' is too large as text", c->info->name);
    c->ops->fail(c->req, &err);
}

static void answer_once(struct proto_call *c)
{
    generate_answer(c, "", "", STR("application/json"));
}

static void answer_event(struct proto_call *c)
{
    generate_answer(c, "data: ", "\n\n", STR("text/event-stream; charset=utf-8"));
}

/* ---- handlers ---- */

static enum err_code read_generate(struct proto_call *c, const struct route_match *m, struct err *err)
{
    struct served *model;
    struct str key;
    if (proto_find(c->serve, m, &model, err) || proto_call_model(c, model, err))
        return err->code;
    if (json_object(&c->reader))
        while (json_key(&c->reader, &key) && generate_member(c, key))
            ;
    if (json_end(&c->reader) == ERR_OK)
        return ERR_OK;
    *err = c->reader.err;
    return err->code;
}

static void generate(struct http_req *req, const struct route_match *m, struct serve *s, const struct proto_ops *ops)
{
    struct err err;
    struct proto_call *c = proto_call_new(req, s, ops);
    if (!c)
        return;
    if (read_generate(c, m, &err))
        proto_call_fail(c, &err);
    else
        proto_call_submit(c);
}

void proto_generate(struct http_req *req, const struct route_match *m, void *arg)
{
    static const struct proto_ops ops = {.answer = answer_once, .fail = generate_fail, .allow_nan = true};
    generate(req, m, arg, &ops);
}

void proto_generate_stream(struct http_req *req, const struct route_match *m, void *arg)
{
    static const struct proto_ops ops = {.answer = answer_event, .fail = generate_fail, .allow_nan = true};
    generate(req, m, arg, &ops);
}
