/* The Open Inference Protocol v2 without inference: health, metadata, configuration, index. Triton's texts and statuses. */
#include <stdio.h>
#include <string.h>

#include "serve/known.h"
#include "serve/proto_int.h"
#include "serve/serve.h"

/* Triton's URLs take digits only: anything else is a path that does not exist, unless it is a label of ours. */
static bool is_number(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
    return s.n > 0;
}

enum err_code proto_find(struct serve *s, const struct route_match *m, struct served **out, struct err *err)
{
    bool has_version = m->captures_len > 1;
    struct str version = has_version ? m->captures[1] : STR("");
    bool is_empty = has_version && version.n == 0;
    enum err_code code = is_empty ? ERR_NOT_FOUND : serve_model(s, m->captures[0], version, out, err);
    if (is_empty || (code == ERR_NOT_FOUND && has_version && !is_number(version)))
        return err_set(err, ERR_NOT_FOUND, "no version '%.*s': a model's version is a whole number or a label of it",
                       proto_cut(version), version.p);
    return code;
}

static void respond(struct http_req *req, int status, struct buf *json)
{
    http_respond_json(req, status, buf_view(json));
}

static struct json_writer begin(void)
{
    struct json_writer w;
    jw_init(&w, proto_scratch(0));
    return w;
}

void proto_v2_server(struct http_req *req, const struct route_match *m, void *arg)
{
    (void)m;
    (void)arg;
    static const char *const extensions[] = {
        "classification",  "model_repository",    "model_repository(unload_dependents)",
        "schedule_policy", "model_configuration", "binary_tensor_data",
        "parameters",      "statistics",          "trace",
        "logging"};
    struct json_writer w = begin();
    jw_object(&w);
    jw_kv_c(&w, "name", "quern");
    jw_kv_c(&w, "version", QUERN_VERSION);
    jw_key(&w, "extensions");
    jw_array(&w);
    for (size_t i = 0; i < ARRAY_LEN(extensions); i++)
        jw_c(&w, extensions[i]);
    if (client_shm_is_allowed())
        jw_c(&w, "system_shared_memory");
    jw_array_end(&w);
    jw_object_end(&w);
    respond(req, 200, w.out);
}

void proto_v2_live(struct http_req *req, const struct route_match *m, void *arg)
{
    (void)m;
    (void)arg;
    http_respond_json(req, 200, STR("{\"live\":true}"));
}

static const char *state_name(enum served_state state)
{
    switch (state) {
    case SERVED_LOADING:
        return "LOADING";
    case SERVED_READY:
        return "READY";
    case SERVED_FAILED:
        return "UNAVAILABLE";
    case SERVED_DRAINING:
        return "UNLOADING";
    case SERVED_UNLOADED:
        return "UNAVAILABLE";
    }
    return "UNKNOWN";
}

static void put_state(struct json_writer *w, const struct served_info *info)
{
    jw_object(w);
    jw_kv_c(w, "name", info->name);
    jw_kv_c(w, "version", info->version);
    jw_kv_c(w, "state", state_name(info->state));
    jw_kv_c(w, "reason", info->reason);
    jw_object_end(w);
}

void proto_v2_ready(struct http_req *req, const struct route_match *m, void *arg)
{
    (void)m;
    struct serve *s = arg;
    bool is_ready = serve_all_settled(s);
    struct json_writer w = begin();
    jw_object(&w);
    jw_kv_bool(&w, "ready", is_ready);
    jw_key(&w, "models");
    jw_array(&w);
    for (size_t i = 0; i < serve_models_len(s); i++)
        put_state(&w, served_info(serve_model_at(s, i)));
    jw_array_end(&w);
    jw_object_end(&w);
    respond(req, is_ready ? 200 : 400, w.out);
}

void proto_v2_model_ready(struct http_req *req, const struct route_match *m, void *arg)
{
    struct served *model = NULL;
    struct err err;
    if (proto_find(arg, m, &model, &err) == ERR_OK || serve_awaited(arg)) { /* on demand: it answers who asks */
        http_respond_json(req, 200, STR("{\"ready\":true}"));
        return;
    }
    if (err.code == ERR_UNAVAILABLE) { /* Triton answers 400 here */
        char reason[sizeof err.text];
        memcpy(reason, err.text, sizeof reason);
        err_set(&err, ERR_INVALID, "Model version not ready: %s", reason);
    }
    http_respond_err(req, &err);
}

/* What raw values of a quantised tensor mean: (value - zero_point) * scale. Clients of the protocol read past members that they do not know. */
static void put_scale(struct json_writer *w, const struct tensor_spec *t)
{
    if (!tensor_is_scaled(t))
        return;
    jw_key(w, "parameters");
    jw_object(w);
    jw_key(w, "scale");
    jw_f32(w, t->scale);
    jw_kv_i64(w, "zero_point", t->zero);
    jw_object_end(w);
}

static void put_tensors(struct json_writer *w, const char *key, const struct tensor_spec *t, uint32_t len)
{
    jw_key(w, key);
    jw_array(w);
    for (uint32_t i = 0; i < len; i++) {
        jw_object(w);
        jw_kv_c(w, "name", t[i].name);
        jw_kv_c(w, "datatype", dtype_name((enum dtype)t[i].dtype));
        jw_key(w, "shape");
        jw_numbers(w, JSON_I64, t[i].dims, (size_t)t[i].ndim);
        put_scale(w, &t[i]);
        jw_object_end(w);
    }
    jw_array_end(w);
}

static void put_versions(struct json_writer *w, struct serve *s, const char *name)
{
    jw_key(w, "versions");
    jw_array(w);
    for (size_t i = 0; i < serve_models_len(s); i++) {
        const struct served_info *info = served_info(serve_model_at(s, i));
        if (strcmp(info->name, name) == 0 && (info->state == SERVED_READY || info->state == SERVED_UNLOADED))
            jw_c(w, info->version);
    }
    jw_array_end(w);
}

/* The model of the path, which has a description; answers the error otherwise. */
static const struct served_info *described(struct http_req *req, const struct route_match *m, struct serve *s)
{
    struct served *model = NULL;
    struct err err;
    if (proto_find(s, m, &model, &err) == ERR_OK) {
        const struct served_info *info = served_info(model);
        if (info->desc)
            return info;
        err_set(&err, ERR_UNAVAILABLE, "model '%s' is not ready: %s", info->name, info->reason);
    } else if (serve_awaited(s) && served_info(serve_awaited(s))->desc) {
        return served_info(serve_awaited(s));
    }
    if (!serve_defer(s, req, &err))
        http_respond_err(req, &err);
    return NULL;
}

void proto_v2_model(struct http_req *req, const struct route_match *m, void *arg)
{
    const struct served_info *info = described(req, m, arg);
    if (!info)
        return;
    struct json_writer w = begin();
    jw_object(&w);
    jw_kv_c(&w, "name", info->name);
    put_versions(&w, arg, info->name);
    jw_kv_c(&w, "platform", info->desc->platform);
    put_tensors(&w, "inputs", info->desc->inputs, info->desc->inputs_len);
    put_tensors(&w, "outputs", info->desc->outputs, info->desc->outputs_len);
    jw_object_end(&w);
    respond(req, 200, w.out);
}

/* In a configuration the dimensions stand without the batch. */
static void put_config_tensors(struct json_writer *w, const char *key, const struct tensor_spec *t, uint32_t len,
                               bool has_batch_dim, bool is_input)
{
    jw_key(w, key);
    jw_array(w);
    for (uint32_t i = 0; i < len; i++) {
        char type[32];
        const char *name = t[i].dtype == DT_BYTES ? "STRING" : dtype_name((enum dtype)t[i].dtype);
        (void)snprintf(type, sizeof type, "TYPE_%s", name);
        jw_object(w);
        jw_kv_c(w, "name", t[i].name);
        jw_kv_c(w, "data_type", type);
        jw_key(w, "dims");
        jw_numbers(w, JSON_I64, t[i].dims + has_batch_dim, (size_t)(t[i].ndim - has_batch_dim));
        if (is_input) {
            jw_kv_c(w, "format", "FORMAT_NONE");
            jw_kv_bool(w, "optional", t[i].is_optional != 0);
        }
        jw_object_end(w);
    }
    jw_array_end(w);
}

void proto_v2_config(struct http_req *req, const struct route_match *m, void *arg)
{
    const struct served_info *info = described(req, m, arg);
    if (!info)
        return;
    const struct model_desc *d = info->desc;
    bool has_batch_dim = d->has_batch_dim != 0;
    struct json_writer w = begin();
    jw_object(&w);
    jw_kv_c(&w, "name", info->name);
    jw_kv_c(&w, "platform", d->platform);
    jw_kv_c(&w, "backend", d->backend);
    jw_kv_u64(&w, "max_batch_size", has_batch_dim ? d->max_batch : 0);
    put_config_tensors(&w, "input", d->inputs, d->inputs_len, has_batch_dim, true);
    put_config_tensors(&w, "output", d->outputs, d->outputs_len, has_batch_dim, false);
    jw_key(&w, "instance_group");
    jw_array(&w);
    jw_object(&w);
    jw_kv_c(&w, "name", info->name);
    jw_kv_c(&w, "kind", "KIND_CPU");
    jw_kv_i64(&w, "count", info->instances);
    jw_object_end(&w);
    jw_array_end(&w);
    if (d->may_share) {
        jw_key(&w, "dynamic_batching");
        jw_object(&w);
        jw_object_end(&w);
    }
    jw_key(&w, "parameters");
    jw_object(&w);
    jw_key(&w, "quern.batching"); /* such keys tell, and are not taken back (model/repo/triton.c) */
    jw_object(&w);
    jw_kv_c(&w, "string_value", d->batch_reason);
    jw_object_end(&w);
    jw_key(&w, "quern.isolation");
    jw_object(&w);
    jw_kv_c(&w, "string_value", info->isolation);
    jw_object_end(&w);
    jw_object_end(&w);
    jw_object_end(&w);
    respond(req, 200, w.out);
}

/* {} or {"ready": true}; an empty body too. */
static enum err_code read_index_request(struct http_req *req, bool *only_ready, struct err *err)
{
    *only_ready = false;
    if (str_trim(req->body).n == 0)
        return ERR_OK;
    struct json_reader r;
    struct str key;
    json_init(&r, req->body, JSON_DEPTH_MAX);
    if (json_object(&r))
        while (json_key(&r, &key))
            (void)(str_eq_c(key, "ready") ? json_bool(&r, only_ready) : json_skip(&r, NULL));
    if (json_end(&r) != ERR_OK)
        *err = r.err;
    return r.failed ? r.err.code : ERR_OK;
}

static bool is_served(struct serve *s, const char *name)
{
    for (size_t i = 0; i < serve_models_len(s); i++)
        if (strcmp(served_info(serve_model_at(s, i))->name, name) == 0)
            return true;
    return false;
}

/* Models of the repository without a version that is loaded, or has been tried: only their names, as Triton has it. */
static void put_not_loaded(struct json_writer *w, struct serve *s)
{
    struct buf names;
    buf_init(&names, KNOWN_BYTES_MAX);
    known_names(&names);
    for (size_t at = 0; at < names.len; at += strlen(names.p + at) + 1) {
        if (is_served(s, names.p + at))
            continue;
        jw_object(w);
        jw_kv_c(w, "name", names.p + at);
        jw_object_end(w);
    }
    buf_done(&names);
}

void proto_v2_index(struct http_req *req, const struct route_match *m, void *arg)
{
    (void)m;
    struct serve *s = arg;
    struct err err;
    bool only_ready;
    if (read_index_request(req, &only_ready, &err) != ERR_OK) {
        http_respond_err(req, &err);
        return;
    }
    struct json_writer w = begin();
    jw_array(&w);
    for (size_t i = 0; i < serve_models_len(s); i++) {
        const struct served_info *info = served_info(serve_model_at(s, i));
        if (!only_ready || info->state == SERVED_READY)
            put_state(&w, info);
    }
    if (!only_ready)
        put_not_loaded(&w, s);
    jw_array_end(&w);
    respond(req, 200, w.out);
}

void proto_v2_repository(struct http_req *req, const struct route_match *m, void *arg)
{
    struct err err;
    (void)m;
    (void)arg;
    err_set(&err, ERR_UNSUPPORTED, "'repository_name' specification is not supported");
    err_remedy(&err, "leave the repository out of the path");
    http_respond_err(req, &err);
}

void proto_v2_sample(struct http_req *req, const struct route_match *m, void *arg)
{
    const struct served_info *info = described(req, m, arg);
    if (!info)
        return;
    struct str host = http_header_get(req, "host");
    struct json_writer w = begin();
    proto_sample(info, host.n > 0 ? arena_cstr(req->arena, host) : "localhost:8000", &w);
    respond(req, 200, w.out);
}
