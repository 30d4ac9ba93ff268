/* POST /predict, the plain protocol: {"modelId": "iris", "features": [5.1, 3.5, 1.4, 0.2]} or "inputs" by name. The body is read once for its
 * structure; the arrays, whose shape is known then, are decoded straight into the batch. */
#include <stdio.h>
#include <string.h>

#include "base/settings.h"
#include "serve/proto_int.h"

/* What stands in the body, before the model is known. */
struct predict {
    struct str model_id, version;
    struct str features, inputs; /* raw; p NULL: not given */
    struct json_shape features_shape;
};

/* --- the answer ------------------------------------------------------------------------------------------------------------- */

struct str proto_predict_error(struct http_req *req, int status, const struct err *err)
{
    struct json_writer w;
    jw_init(&w, proto_scratch(0));
    jw_object(&w);
    jw_kv_i64(&w, "code", status);
    jw_kv_c(&w, "message", err->text);
    if (err->code != ERR_OK && err->remedy[0])
        jw_kv_c(&w, "remedy", err->remedy);
    if (err->retry_after_ms > 0)
        jw_kv_u64(&w, "retry_after_ms", err->retry_after_ms);
    jw_kv_c(&w, "request_id", req->id);
    jw_object_end(&w);
    return buf_view(w.out);
}

static void predict_fail(struct http_req *req, const struct err *err)
{
    int status = err_http_status(err->code);
    struct str body = proto_predict_error(req, status, err);
    char seconds[16];
    struct http_header retry = http_retry_after(err, seconds, sizeof seconds);
    bool is_temporary = status == 429 || status == 503;
    http_respond(req, status, STR("application/json"), &retry, is_temporary, &body, 1);
}

/* The first output without its rows: a scalar where a row has one element. Several rows are a list. */
static void put_prediction(const struct proto_call *c, struct json_writer *w)
{
    const struct infer *i = &c->infer;
    const struct infer_tensor *t = &i->out[0];
    bool has_rows = t->ndim > 0 && (c->desc->has_batch_dim || t->dims[0] == 1);
    const int64_t *row_dims = t->dims + has_rows;
    int row_ndim = t->ndim - has_rows;
    int64_t rows = has_rows ? t->dims[0] : 1;
    uint64_t row_count = 0;
    if (!tensor_count(row_dims, row_ndim, &row_count) || row_count == 1)
        row_ndim = 0;
    if (rows != 1)
        jw_array(w);
    for (int64_t row = 0; row < rows; row++)
        proto_write_nested(i, 0, (uint64_t)row * row_count, row_dims, row_ndim, w);
    if (rows != 1)
        jw_array_end(w);
}

static void predict_answer(struct proto_call *c)
{
    struct json_writer w;
    jw_init(&w, proto_scratch(0));
    jw_object(&w);
    jw_kv_i64(&w, "code", 200);
    jw_kv_c(&w, "message", "success");
    jw_key(&w, "data");
    jw_object(&w);
    jw_key(&w, "prediction");
    put_prediction(c, &w);
    jw_kv_c(&w, "model", c->info->name);
    jw_kv_c(&w, "version", c->info->version);
    jw_key(&w, "outputs");
    jw_object(&w);
    for (uint32_t k = 0; k < c->desc->outputs_len; k++) {
        jw_key(&w, c->desc->outputs[k].name);
        proto_write_nested(&c->infer, (int)k, 0, c->infer.out[k].dims, c->infer.out[k].ndim, &w);
    }
    jw_object_end(&w);
    jw_object_end(&w);
    jw_kv_c(&w, "request_id", c->req->id);
    jw_object_end(&w);
    if (w.out->failed) {
        struct err err;
        err_set(&err, ERR_TOO_LARGE, "the answer of model '%s' is too large as text", c->info->name);
        err_remedy(&err, "send fewer rows at once");
        predict_fail(c->req, &err);
        return;
    }
    struct str body = buf_view(w.out);
    proto_call_respond(c, STR("application/json"), NULL, 0, &body, 1);
}

/* --- the request ------------------------------------------------------------------------------------------------------------ */

static bool unknown_key(struct json_reader *r, struct str key)
{
    static const char *const known[] = {"modelId", "version", "features", "inputs"};
    const char *nearest = settings_nearest(key, known, ARRAY_LEN(known));
    char name[80];
    (void)str_copy(name, sizeof name, (struct str){key.p, (size_t)proto_cut(key)});
    json_fail(r, ERR_INVALID, "unknown key");
    if (nearest)
        err_remedy(&r->err, "did you mean '%s'? Known keys: modelId, version, features, inputs", nearest);
    else
        err_remedy(&r->err, "known keys: modelId, version, features, inputs");
    return false;
}

/* "1" or 1 */
static bool read_version(struct json_reader *r, struct arena *a, struct str *out)
{
    return json_peek(r) == JSON_NUMBER ? json_skip(r, out) : json_string(r, a, out);
}

static bool read_member(struct proto_call *c, struct predict *p, struct str key)
{
    struct json_reader *r = &c->reader;
    size_t count;
    if (str_eq_c(key, "features")) {
        if (json_peek(r) == JSON_ARRAY)
            return json_measure_skip(r, &p->features_shape, &count, &p->features);
        return json_skip(r, &p->features);
    }
    if (str_eq_c(key, "modelId"))
        return json_string(r, c->req->arena, &p->model_id);
    if (str_eq_c(key, "version"))
        return read_version(r, c->req->arena, &p->version);
    if (str_eq_c(key, "inputs"))
        return json_skip(r, &p->inputs);
    return unknown_key(r, key);
}

static enum err_code read_body(struct proto_call *c, struct predict *p, struct err *err)
{
    struct json_reader *r = &c->reader;
    struct str key;
    if (str_trim(c->req->body).n == 0) {
        err_set(err, ERR_INVALID, "the body is empty");
        return err_remedy(
            err,
            "send {\"modelId\": \"NAME\", \"features\": [numbers]}; GET /v2/models/NAME/sample shows a whole request");
    }
    if (json_object(r))
        while (json_key(r, &key) && read_member(c, p, key))
            ;
    if (json_end(r) != ERR_OK) {
        *err = r->err;
        return err->code;
    }
    if (!p->features.p == !p->inputs.p)
        return err_set(err, ERR_INVALID,
                       p->features.p ? "both \"features\" and \"inputs\" are given"
                                     : "neither \"features\" nor \"inputs\" is given");
    return ERR_OK;
}

/* The only model's name, when there is only one. */
static enum err_code only_model(struct serve *s, struct str *name, struct err *err)
{
    size_t n = serve_models_len(s);
    char names[200];
    size_t at = 0;
    const char *last = NULL;
    int distinct = 0;
    names[0] = '\0';
    for (size_t i = 0; i < n; i++) {
        const char *one = served_info(serve_model_at(s, i))->name;
        if (last && strcmp(last, one) == 0)
            continue; /* ordered by name */
        last = one;
        distinct++;
        if (at + strlen(one) + 3 < sizeof names)
            at += (size_t)snprintf(names + at, sizeof names - at, "%s%s", at ? ", " : "", one);
    }
    if (distinct == 1) {
        *name = str_c(last);
        return ERR_OK;
    }
    if (distinct == 0)
        return err_set(err, ERR_NOT_FOUND, "no model is served");
    err_set(err, ERR_INVALID, "\"modelId\" is missing, and several models are served");
    return err_remedy(err, "add \"modelId\"; served are: %s", names);
}

/* One row may be given without its batch dimension. */
static void set_dims(const struct model_desc *d, int k, const struct json_shape *shape, struct infer_tensor *t)
{
    const struct tensor_spec *spec = &d->inputs[k];
    bool adds_row = shape->ndim + 1 == spec->ndim && (d->has_batch_dim || spec->dims[0] == 1 || spec->dims[0] == -1);
    t->ndim = 0;
    if (adds_row)
        t->dims[t->ndim++] = 1;
    for (int i = 0; i < shape->ndim && t->ndim < TENSOR_DIMS_MAX; i++)
        t->dims[t->ndim++] = (int64_t)shape->dims[i];
}

static void give_input(struct proto_call *c, int k, const struct json_shape *shape, struct str raw)
{
    struct infer_tensor *t = &c->infer.in[k];
    t->given = true;
    t->dtype = (enum dtype)c->desc->inputs[k].dtype;
    t->heap_bytes = t->dtype == DT_BYTES ? raw.n : 0;
    set_dims(c->desc, k, shape, t);
    c->source[k].kind = PROTO_TEXT;
    c->source[k].bytes = raw;
}

static enum err_code give_features(struct proto_call *c, const struct predict *p, struct err *err)
{
    int only = -1, needed = 0;
    for (uint32_t k = 0; k < c->desc->inputs_len; k++)
        if (!c->desc->inputs[k].is_optional) {
            only = (int)k;
            needed++;
        }
    if (needed != 1 && c->desc->inputs_len != 1) {
        char names[200];
        proto_names(c->desc->inputs, c->desc->inputs_len, names, sizeof names);
        err_set(err, ERR_INVALID, "\"features\" is for models of one input; '%s' has %u", c->info->name,
                c->desc->inputs_len);
        return err_remedy(err, "give \"inputs\": an object from name to nested lists; the names are %s", names);
    }
    give_input(c, only < 0 ? 0 : only, &p->features_shape, p->features);
    (void)str_copy(c->source[only < 0 ? 0 : only].where, sizeof c->source[0].where, STR("features"));
    return ERR_OK;
}

static bool give_named(struct proto_call *c, struct json_reader *r, struct str key)
{
    int k = model_desc_input(c->desc, key);
    if (k < 0) {
        char names[160];
        proto_names(c->desc->inputs, c->desc->inputs_len, names, sizeof names);
        const char *nearest = proto_nearest(c->desc->inputs, c->desc->inputs_len, key);
        json_fail(r, ERR_INVALID, "unexpected inference input '%.*s', allowed inputs are: %s", proto_cut(key), key.p,
                  names);
        if (nearest)
            err_remedy(&r->err, "did you mean '%s'?", nearest);
        return false;
    }
    struct json_shape shape = {0};
    size_t count;
    struct str raw;
    bool is_array = json_peek(r) == JSON_ARRAY;
    if (!(is_array ? json_measure_skip(r, &shape, &count, &raw) : json_skip(r, &raw)))
        return false;
    give_input(c, k, &shape, raw);
    (void)snprintf(c->source[k].where, sizeof c->source[k].where, "inputs.%.32s", c->desc->inputs[k].name);
    return true;
}

static enum err_code give_inputs(struct proto_call *c, const struct predict *p, struct err *err)
{
    struct json_reader *r = &c->reader; /* the body has been read to its end */
    struct str key;
    json_init(r, p->inputs, JSON_DEPTH_MAX);
    r->allow_nan = c->ops->allow_nan;
    r->start = c->req->body.p; /* places in errors count from the body's first byte */
    if (json_object(r))
        while (json_key(r, &key) && give_named(c, r, key))
            ;
    if (json_end(r) == ERR_OK)
        return ERR_OK;
    *err = r->err;
    return err_wrap(err, "inputs");
}

static enum err_code read_predict(struct proto_call *c, struct err *err)
{
    struct predict p = {0};
    struct served *model;
    if (read_body(c, &p, err) != ERR_OK || (!p.model_id.p && only_model(c->serve, &p.model_id, err) != ERR_OK))
        return err->code;
    if (serve_model(c->serve, p.model_id, p.version, &model, err) != ERR_OK ||
        proto_call_model(c, model, err) != ERR_OK)
        return err->code;
    return p.features.p ? give_features(c, &p, err) : give_inputs(c, &p, err);
}

void proto_predict(struct http_req *req, const struct route_match *m, void *arg)
{
    static const struct proto_ops ops = {.answer = predict_answer, .fail = predict_fail};
    (void)m;
    struct proto_call *c = proto_call_new(req, arg, &ops);
    if (!c)
        return;
    struct err err;
    if (read_predict(c, &err) != ERR_OK)
        proto_call_fail(c, &err);
    else
        proto_call_submit(c);
}
