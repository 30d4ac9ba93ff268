/* GET and POST /v2/trace/setting and /v2/models/{model}/trace/setting, with Triton's names and texts. Settings are memory of this process: they go
 * with it. */
#include <string.h>

#include "base/num.h"
#include "serve/proto_int.h"
#include "serve/trace.h"
#include "serve/trace_file.h"

static void put_number_text(struct json_writer *w, const char *key, int64_t v)
{
    char text[24];
    jw_kv_str(w, key, (struct str){text, num_format_i64(v, text)});
}

static void trace_answer(struct http_req *req, const char *model)
{
    struct trace_settings s = trace_settings_of(model);
    struct json_writer w;
    char file[100];
    trace_file_name(file, sizeof file);
    jw_init(&w, proto_scratch(0));
    jw_object(&w);
    jw_key(&w, "trace_level");
    jw_array(&w);
    if (s.level & TRACE_TIMESTAMPS)
        jw_c(&w, "TIMESTAMPS");
    if (s.level & TRACE_TENSORS)
        jw_c(&w, "TENSORS");
    if (s.level == 0)
        jw_c(&w, "OFF");
    jw_array_end(&w);
    put_number_text(&w, "trace_rate", (int64_t)s.rate);
    put_number_text(&w, "trace_count", s.count);
    put_number_text(&w, "log_frequency", (int64_t)s.frequency);
    jw_kv_c(&w, "trace_file", file);
    jw_kv_c(&w, "trace_mode", "triton");
    jw_object_end(&w);
    http_respond_json(req, 200, buf_view(w.out));
}

/* ---- reading ---- */

/* A number, or one written as text, as Triton's clients do. */
static bool read_whole(struct json_reader *r, struct arena *a, int64_t least, int64_t *out)
{
    struct str s;
    bool is_text = json_peek(r) == JSON_STRING;
    if (!(is_text ? json_string(r, a, &s) : json_i64(r, out)))
        return false;
    if (is_text && !str_to_i64(s, out))
        return json_fail(r, ERR_INVALID, "Unable to parse, got: '%.*s'", proto_cut(s), s.p);
    if (*out < least)
        return json_fail(r, ERR_INVALID, "must be at least %lld", (long long)least);
    return true;
}

static bool add_level(struct json_reader *r, struct str s, unsigned *level)
{
    if (str_eq_c(s, "TIMESTAMPS") || str_eq_c(s, "MIN") || str_eq_c(s, "MAX")) /* the latter are old names */
        *level |= TRACE_TIMESTAMPS;
    else if (str_eq_c(s, "TENSORS"))
        *level |= TRACE_TENSORS;
    else if (!str_eq_c(s, "OFF"))
        return json_fail(r, ERR_INVALID, "trace_level is 'OFF', 'TIMESTAMPS' or 'TENSORS'");
    return true;
}

static bool read_level(struct json_reader *r, struct arena *a, unsigned *level)
{
    struct str s;
    *level = 0;
    if (json_peek(r) == JSON_STRING)
        return json_string(r, a, &s) && add_level(r, s, level);
    if (!json_array(r))
        return false;
    while (json_item(r))
        if (!json_string(r, a, &s) || !add_level(r, s, level))
            return false;
    return !r->failed;
}

static bool read_mode(struct json_reader *r, struct arena *a)
{
    struct str s;
    if (json_peek(r) == JSON_NULL)
        return json_null(r);
    if (!json_string(r, a, &s))
        return false;
    return str_eq_c(s, "triton") ||
           json_fail(r, ERR_UNSUPPORTED, "trace mode '%.*s' is not supported, only 'triton'", proto_cut(s), s.p);
}

static bool read_value(struct json_reader *r, struct arena *a, enum trace_setting which, struct trace_change *c)
{
    int64_t v = 0;
    if (json_peek(r) == JSON_NULL) {
        c->is_cleared[which] = true;
        return json_null(r);
    }
    c->is_set[which] = true;
    switch (which) {
    case TRACE_LEVEL:
        return read_level(r, a, &c->to.level);
    case TRACE_RATE:
        if (!read_whole(r, a, 1, &v))
            return false;
        c->to.rate = (uint64_t)v;
        return true;
    case TRACE_COUNT:
        return read_whole(r, a, -1, &c->to.count);
    case TRACE_FREQUENCY:
        if (!read_whole(r, a, 0, &v))
            return false;
        c->to.frequency = (uint64_t)v;
        return true;
    case TRACE_SETTINGS:
        break;
    }
    return false;
}

static bool refuse_setting(struct json_reader *r, struct str key)
{
    if (str_eq_c(key, "trace_file")) {
        (void)json_fail(r, ERR_UNSUPPORTED, "trace file location can not be updated through network protocol");
        return !err_remedy(&r->err, "traces go to the folder traces of the data directory; trace_file tells which one");
    }
    (void)json_fail(r, ERR_INVALID, "unknown trace setting");
    return !err_remedy(&r->err, "one of trace_level, trace_rate, trace_count, log_frequency, trace_mode");
}

enum err_code proto_v2_trace_read(struct str body, struct arena *a, struct trace_change *c, struct err *err)
{
    static const char *const names[TRACE_SETTINGS] = {"trace_level", "trace_rate", "trace_count", "log_frequency"};
    struct json_reader r;
    struct str key;
    bool goes_on = true;
    *c = (struct trace_change){0};
    json_init(&r, body, 8);
    json_object(&r);
    while (goes_on && json_key(&r, &key)) {
        size_t k = 0;
        while (k < TRACE_SETTINGS && !str_eq_c(key, names[k]))
            k++;
        if (k < TRACE_SETTINGS)
            goes_on = read_value(&r, a, (enum trace_setting)k, c);
        else if (str_eq_c(key, "trace_mode"))
            goes_on = read_mode(&r, a);
        else
            goes_on = refuse_setting(&r, key);
    }
    if (json_end(&r))
        *err = r.err;
    return r.failed ? r.err.code : ERR_OK;
}

/* ---- handlers ---- */

/* The model of the path; *name NULL without one. Any state will do: traces may be asked for before it is ready. */
static enum err_code model_of(struct serve *s, struct http_req *req, const struct route_match *m, const char **name,
                              struct err *err)
{
    *name = NULL;
    if (m->captures_len == 0)
        return ERR_OK;
    for (size_t i = 0; i < serve_models_len(s); i++)
        if (str_eq_c(m->captures[0], served_info(serve_model_at(s, i))->name)) {
            *name = arena_cstr(req->arena, m->captures[0]);
            return ERR_OK;
        }
    return err_set(err, ERR_NOT_FOUND, "Request for unknown model : '%.*s' is not found", proto_cut(m->captures[0]),
                   m->captures[0].p);
}

void proto_v2_trace_get(struct http_req *req, const struct route_match *m, void *arg)
{
    const char *name;
    struct err err;
    if (model_of(arg, req, m, &name, &err))
        http_respond_err(req, &err);
    else
        trace_answer(req, name);
}

void proto_v2_trace_post(struct http_req *req, const struct route_match *m, void *arg)
{
    const char *name;
    struct trace_change c;
    struct err err;
    if (proto_refuse_foreign(req))
        return;
    if (model_of(arg, req, m, &name, &err) || proto_v2_trace_read(req->body, req->arena, &c, &err) ||
        trace_change(name, &c, &err))
        http_respond_err(req, &err);
    else
        trace_answer(req, name);
}
