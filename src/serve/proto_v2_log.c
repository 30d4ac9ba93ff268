/* GET and POST /v2/logging: what all processes of this quern log, until it ends. Names and texts are Triton's; `json` as a format is ours. */
#include <pthread.h>

#include "base/log.h"
#include "serve/proto_int.h"
#include "serve/serve.h"

static const char *const log_formats[] = {
    [LOG_PEOPLE] = "default", [LOG_JSON] = "json", [LOG_PEOPLE_DATED] = "ISO8601"};

/* Two changes at a time must come to the other processes in the order in which they came to this one. */
static pthread_mutex_t log_changing = PTHREAD_MUTEX_INITIALIZER;

static void log_answer(struct http_req *req)
{
    struct log_choice c = log_chosen();
    struct json_writer w;
    jw_init(&w, proto_scratch(0));
    jw_object(&w);
    jw_kv_c(&w, "log_file", "");
    jw_kv_bool(&w, "log_info", c.info);
    jw_kv_bool(&w, "log_warning", c.warn);
    jw_kv_bool(&w, "log_error", c.error);
    jw_kv_u64(&w, "log_verbose_level", c.verbose);
    jw_kv_c(&w, "log_format", log_formats[c.format]);
    jw_object_end(&w);
    http_respond_json(req, 200, buf_view(w.out));
}

void proto_v2_log_get(struct http_req *req, const struct route_match *m, void *arg)
{
    (void)m;
    (void)arg;
    log_answer(req);
}

static bool read_log_format(struct json_reader *r, struct arena *a, struct log_choice *c)
{
    struct str s;
    if (!json_string(r, a, &s))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(log_formats); i++)
        if (str_eq_c(s, log_formats[i])) {
            c->format = (enum log_format)i;
            return true;
        }
    return json_fail(r, ERR_INVALID, "log_format must be 'default', 'ISO8601' or 'json'");
}

static bool read_log_verbose(struct json_reader *r, struct log_choice *c)
{
    uint64_t v;
    if (!json_u64(r, &v))
        return false;
    if (v > UINT32_MAX)
        return json_fail(r, ERR_INVALID, "at most %u", UINT32_MAX);
    c->verbose = (uint32_t)v;
    return true;
}

static bool read_log_setting(struct json_reader *r, struct str key, struct arena *a, struct log_choice *c)
{
    if (str_eq_c(key, "log_info"))
        return json_bool(r, &c->info);
    if (str_eq_c(key, "log_warning"))
        return json_bool(r, &c->warn);
    if (str_eq_c(key, "log_error"))
        return json_bool(r, &c->error);
    if (str_eq_c(key, "log_verbose_level"))
        return read_log_verbose(r, c);
    if (str_eq_c(key, "log_format"))
        return read_log_format(r, a, c);
    if (str_eq_c(key, "log_file")) {
        json_fail(r, ERR_UNSUPPORTED, "log file location can not be updated through network protocol");
        return !err_remedy(&r->err, "the log goes to standard error of the master: redirect it there");
    }
    json_fail(r, ERR_INVALID, "unknown log setting");
    return !err_remedy(&r->err, "one of log_info, log_warning, log_error, log_verbose_level, log_format");
}

enum err_code proto_v2_log_read(struct str body, struct arena *a, struct log_choice *c, struct err *err)
{
    struct json_reader r;
    struct str key;
    json_init(&r, body, 8);
    json_object(&r);
    while (json_key(&r, &key))
        if (!read_log_setting(&r, key, a, c))
            break;
    if (json_end(&r))
        *err = r.err;
    return r.failed ? r.err.code : ERR_OK;
}

void proto_v2_log_post(struct http_req *req, const struct route_match *m, void *arg)
{
    struct err err;
    (void)m;
    if (proto_refuse_foreign(req))
        return;
    pthread_mutex_lock(&log_changing);
    struct log_choice c = log_chosen();
    enum err_code code = proto_v2_log_read(req->body, req->arena, &c, &err); /* all or nothing */
    if (code == ERR_OK) {
        log_choose(&c);
        serve_log_chosen(arg);
    }
    pthread_mutex_unlock(&log_changing);
    if (code)
        http_respond_err(req, &err);
    else
        log_answer(req);
}
