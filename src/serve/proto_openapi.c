/* GET /openapi.json: OpenAPI 3.1 made from the routes and from the models that serve, with an example for each that can be sent as it is. */
#include <stdio.h>
#include <string.h>

#include "serve/proto_int.h"

static void put_type(struct json_writer *w, enum dtype t)
{
    bool is_float = t == DT_FP16 || t == DT_BF16 || t == DT_FP32 || t == DT_FP64;
    jw_object(w);
    jw_kv_c(w, "type", t == DT_BYTES ? "string" : t == DT_BOOL ? "boolean" : is_float ? "number" : "integer");
    jw_object_end(w);
}

/* Nested arrays with the sizes that are fixed; `from` 1 leaves out the rows. */
static void put_nested(struct json_writer *w, const struct tensor_spec *t, int from)
{
    for (int i = from; i < t->ndim; i++) {
        jw_object(w);
        jw_kv_c(w, "type", "array");
        if (t->symbols[i][0])
            jw_kv_c(w, "title", t->symbols[i]);
        if (t->dims[i] >= 0) {
            jw_kv_i64(w, "minItems", t->dims[i]);
            jw_kv_i64(w, "maxItems", t->dims[i]);
        }
        jw_key(w, "items");
    }
    put_type(w, (enum dtype)t->dtype);
    for (int i = from; i < t->ndim; i++)
        jw_object_end(w);
}

static void put_ref(struct json_writer *w, const char *prefix, const char *name)
{
    char ref[MODEL_NAME_MAX + 64];
    (void)snprintf(ref, sizeof ref, "#/components/schemas/%s%s", prefix, name);
    jw_object(w);
    jw_kv_c(w, "$ref", ref);
    jw_object_end(w);
}

static void put_const(struct json_writer *w, const char *key, const char *value)
{
    jw_key(w, key);
    jw_object(w);
    jw_kv_c(w, "const", value);
    jw_object_end(w);
}

/* --- one model -------------------------------------------------------------------------------------------------------------- */

static void put_inputs_by_name(struct json_writer *w, const struct model_desc *d)
{
    jw_object(w);
    jw_kv_c(w, "type", "object");
    jw_kv_bool(w, "additionalProperties", false);
    jw_key(w, "required");
    jw_array(w);
    for (uint32_t k = 0; k < d->inputs_len; k++)
        if (!d->inputs[k].is_optional)
            jw_c(w, d->inputs[k].name);
    jw_array_end(w);
    jw_key(w, "properties");
    jw_object(w);
    for (uint32_t k = 0; k < d->inputs_len; k++) {
        jw_key(w, d->inputs[k].name);
        put_nested(w, &d->inputs[k], 0);
    }
    jw_object_end(w);
    jw_object_end(w);
}

static void put_predict_schema(struct json_writer *w, const struct served_info *m)
{
    const struct model_desc *d = m->desc;
    jw_object(w);
    jw_kv_c(w, "type", "object");
    jw_kv_bool(w, "additionalProperties", false);
    jw_key(w, "properties");
    jw_object(w);
    put_const(w, "modelId", m->name);
    put_const(w, "version", m->version);
    if (d->inputs_len == 1) {
        jw_key(w, "features");
        jw_object(w);
        jw_key(w, "anyOf");
        jw_array(w);
        if (d->inputs[0].ndim > 0)
            put_nested(w, &d->inputs[0], 1);
        put_nested(w, &d->inputs[0], 0);
        jw_array_end(w);
        jw_object_end(w);
    }
    jw_key(w, "inputs");
    put_inputs_by_name(w, d);
    jw_object_end(w);
    jw_object_end(w);
}

/* --- the fixed part --------------------------------------------------------------------------------------------------------- */

static const char fixed_schemas[] =
    "\"PredictAnswer\":{\"type\":\"object\",\"required\":[\"code\",\"message\",\"data\",\"request_id\"],\"properties\":"
    "{\"code\":{\"const\":200},"
    "\"message\":{\"const\":\"success\"},\"data\":{\"type\":\"object\",\"required\":[\"prediction\",\"model\","
    "\"version\",\"outputs\"],"
    "\"properties\":{\"prediction\":{\"description\":\"The first output: for one row its value (a scalar when it has "
    "one element), for "
    "several rows a "
    "list.\"},\"model\":{\"type\":\"string\"},\"version\":{\"type\":\"string\"},\"outputs\":{\"type\":\"object\","
    "\"description\":\"All outputs by name, as nested lists.\"}}},\"request_id\":{\"type\":\"string\"}}},"
    "\"PredictError\":{\"type\":\"object\",\"required\":[\"code\",\"message\",\"request_id\"],\"properties\":{\"code\":"
    "{\"type\":\"integer\"},"
    "\"message\":{\"type\":\"string\"},\"remedy\":{\"type\":\"string\"},\"request_id\":{\"type\":\"string\"}}},"
    "\"Error\":{\"type\":\"object\",\"required\":[\"error\"],\"properties\":{\"error\":{\"type\":\"string\"},\"code\":{"
    "\"type\":\"integer\"},"
    "\"remedy\":{\"type\":\"string\"},\"request_id\":{\"type\":\"string\"}}},"
    "\"Tensor\":{\"type\":\"object\",\"required\":[\"name\",\"shape\",\"datatype\"],\"properties\":{\"name\":{\"type\":"
    "\"string\"},"
    "\"shape\":{\"type\":\"array\",\"items\":{\"type\":\"integer\",\"minimum\":0},\"maxItems\":8},\"datatype\":{"
    "\"enum\":[\"BOOL\","
    "\"UINT8\",\"UINT16\",\"UINT32\",\"UINT64\",\"INT8\",\"INT16\",\"INT32\",\"INT64\",\"FP16\",\"BF16\",\"FP32\","
    "\"FP64\",\"BYTES\"]},"
    "\"parameters\":{\"type\":\"object\"},\"data\":{\"type\":\"array\",\"description\":\"Row-major, flat or "
    "nested.\"}}},"
    "\"InferRequest\":{\"type\":\"object\",\"required\":[\"inputs\"],\"properties\":{\"id\":{\"type\":\"string\"},"
    "\"parameters\":{"
    "\"type\":\"object\"},\"inputs\":{\"type\":\"array\",\"items\":{\"$ref\":\"#/components/schemas/"
    "Tensor\"}},\"outputs\":{"
    "\"type\":\"array\",\"items\":{\"type\":\"object\",\"required\":[\"name\"],\"properties\":{\"name\":{\"type\":"
    "\"string\"},"
    "\"parameters\":{\"type\":\"object\"}}}}}},"
    "\"InferAnswer\":{\"type\":\"object\",\"required\":[\"model_name\",\"model_version\",\"outputs\"],\"properties\":{"
    "\"id\":{"
    "\"type\":\"string\"},\"model_name\":{\"type\":\"string\"},\"model_version\":{\"type\":\"string\"},\"outputs\":{"
    "\"type\":\"array\","
    "\"items\":{\"$ref\":\"#/components/schemas/Tensor\"}}}}";

typedef bool sample_fn(const struct served_info *m, uint64_t elements_max, struct json_writer *w);

/* A sample as {"value": ...} under the model's name, if it is small enough. */
static void put_example(struct json_writer *w, const struct served_info *m, sample_fn *sample)
{
    struct buf text;
    struct json_writer inner;
    buf_init(&text, (size_t)1 << 20);
    jw_init(&inner, &text);
    if (sample(m, PROTO_SAMPLE_SHOWN_MAX, &inner) && !text.failed) {
        jw_key(w, m->name);
        jw_object(w);
        jw_key(w, "value");
        jw_raw(w, buf_view(&text));
        jw_object_end(w);
    }
    buf_done(&text);
}

static void put_responses(struct json_writer *w, const char *answer, const char *error)
{
    jw_key(w, "responses");
    jw_object(w);
    for (int i = 0; i < 2; i++) {
        const char *schema = i ? error : answer;
        jw_key(w, i ? "default" : "200");
        jw_object(w);
        jw_kv_c(w, "description", i ? "What was wrong, and the remedy where there is one" : "Done");
        if (schema) {
            jw_key(w, "content");
            jw_object(w);
            jw_key(w, "application/json");
            jw_object(w);
            jw_key(w, "schema");
            put_ref(w, "", schema);
            jw_object_end(w);
            jw_object_end(w);
        }
        jw_object_end(w);
    }
    jw_object_end(w);
}

/* The serving models, each name once: the newest version stands last. */
static const struct served_info *model_at(struct serve *s, size_t i)
{
    const struct served_info *info = served_info(serve_model_at(s, i));
    if (info->state != SERVED_READY || !info->desc)
        return NULL;
    for (size_t j = i + 1; j < serve_models_len(s); j++) {
        const struct served_info *later = served_info(serve_model_at(s, j));
        if (later->state == SERVED_READY && later->desc && strcmp(later->name, info->name) == 0)
            return NULL;
    }
    return info;
}

static void put_predict_body(struct json_writer *w, struct serve *s)
{
    jw_key(w, "requestBody");
    jw_object(w);
    jw_kv_bool(w, "required", true);
    jw_key(w, "content");
    jw_object(w);
    jw_key(w, "application/json");
    jw_object(w);
    jw_key(w, "schema");
    jw_object(w);
    jw_key(w, "anyOf");
    jw_array(w);
    bool has_model = false;
    for (size_t i = 0; i < serve_models_len(s); i++) {
        const struct served_info *m = model_at(s, i);
        if (!m)
            continue;
        put_predict_schema(w, m);
        has_model = true;
    }
    if (!has_model)
        jw_raw(w, STR("{\"type\":\"object\"}"));
    jw_array_end(w);
    jw_object_end(w);
    jw_key(w, "examples");
    jw_object(w);
    for (size_t i = 0; i < serve_models_len(s); i++) {
        const struct served_info *m = model_at(s, i);
        if (m)
            put_example(w, m, proto_sample_predict);
    }
    jw_object_end(w);
    jw_object_end(w);
    jw_object_end(w);
    jw_object_end(w);
}

static void put_infer_body(struct json_writer *w, struct serve *s)
{
    jw_key(w, "requestBody");
    jw_object(w);
    jw_kv_bool(w, "required", true);
    jw_key(w, "content");
    jw_object(w);
    jw_key(w, "application/json");
    jw_object(w);
    jw_key(w, "schema");
    put_ref(w, "", "InferRequest");
    jw_key(w, "examples");
    jw_object(w);
    for (size_t i = 0; i < serve_models_len(s); i++) {
        const struct served_info *m = model_at(s, i);
        if (m)
            put_example(w, m, proto_sample_infer);
    }
    jw_object_end(w);
    jw_object_end(w);
    jw_object_end(w);
    jw_object_end(w);
}

/* {model} and {version} of a pattern. */
static void put_path_parameters(struct json_writer *w, const char *pattern, struct serve *s)
{
    jw_key(w, "parameters");
    jw_array(w);
    for (const char *p = pattern; (p = strchr(p, '{')) != NULL; p++) {
        struct str name = {p + 1, strcspn(p + 1, "}")};
        jw_object(w);
        jw_kv_str(w, "name", name);
        jw_kv_c(w, "in", "path");
        jw_kv_bool(w, "required", true);
        jw_key(w, "schema");
        jw_object(w);
        jw_kv_c(w, "type", "string");
        if (str_eq_c(name, "model") && serve_models_len(s) > 0) {
            jw_key(w, "examples");
            jw_array(w);
            for (size_t i = 0; i < serve_models_len(s); i++)
                if (model_at(s, i))
                    jw_c(w, model_at(s, i)->name);
            jw_array_end(w);
        }
        jw_object_end(w);
        jw_object_end(w);
    }
    jw_array_end(w);
}

/* One path has one method here: no pattern stands twice in the table. */
static void put_path(struct json_writer *w, const struct route *route, struct serve *s)
{
    bool is_predict = route->handle == proto_predict, is_infer = route->handle == proto_v2_infer;
    jw_key(w, route->pattern);
    jw_object(w);
    jw_key(w, route->method == HTTP_POST_ ? "post" : "get");
    jw_object(w);
    jw_kv_c(w, "summary", route->summary);
    if (strchr(route->pattern, '{'))
        put_path_parameters(w, route->pattern, s);
    if (is_predict)
        put_predict_body(w, s);
    if (is_infer)
        put_infer_body(w, s);
    put_responses(w,
                  is_predict ? "PredictAnswer"
                  : is_infer ? "InferAnswer"
                             : NULL,
                  is_predict ? "PredictError" : "Error");
    jw_object_end(w);
    jw_object_end(w);
}

void proto_openapi(struct http_req *req, const struct route_match *m, void *arg)
{
    (void)m;
    size_t len;
    const struct route *routes = proto_routes(&len);
    struct json_writer w;
    jw_init(&w, proto_scratch(0));
    jw_object(&w);
    jw_kv_c(&w, "openapi", "3.1.0");
    jw_key(&w, "info");
    jw_object(&w);
    jw_kv_c(&w, "title", "quern");
    jw_kv_c(&w, "version", QUERN_VERSION);
    jw_kv_c(&w, "summary", "Models as a service: /predict and the Open Inference Protocol v2");
    jw_object_end(&w);
    jw_key(&w, "paths");
    jw_object(&w);
    for (size_t i = 0; i < len; i++)
        put_path(&w, &routes[i], arg);
    jw_object_end(&w);
    jw_key(&w, "components");
    jw_object(&w);
    jw_key(&w, "schemas");
    jw_raw(&w, STR("{"));
    buf_c(w.out, fixed_schemas);
    buf_char(w.out, '}');
    jw_object_end(&w);
    jw_object_end(&w);
    if (w.out->failed) {
        struct err err;
        err_set(&err, ERR_TOO_LARGE, "the description does not fit in its buffer");
        http_respond_err(req, &err);
        return;
    }
    http_respond_json(req, 200, buf_view(w.out));
}
