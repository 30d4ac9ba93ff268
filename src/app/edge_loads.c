/* Loading and unloading by request: the edge passes the question to the master and the answer to who asked. */
#include <stdlib.h>
#include <string.h>

#include "app/edge_int.h"
#include "app/edge_upload.h"
#include "base/json.h"
#include "serve/proto.h"

#define LOADS_MAX 64 /* of one thread at a time */

void edge_load_ask(struct edge_thread *t, struct edge_load *l)
{
    struct buf text;
    struct json_writer w;
    if (t->loads_len >= LOADS_MAX) {
        struct err err;
        err_set(&err, ERR_BUSY, "%d models are being loaded or unloaded", LOADS_MAX);
        l->done(l, &err);
        return;
    }
    l->id = ++t->load_seq << 8 | (uint64_t)t->index; /* LANE_THREADS_MAX is below 256 */
    l->next = t->loads;
    t->loads = l;
    t->loads_len++;
    buf_init(&text, CHANNEL_PAYLOAD_MAX);
    jw_init(&w, &text);
    jw_object(&w);
    jw_kv_u64(&w, "id", l->id);
    jw_kv_c(&w, "name", l->name);
    jw_kv_c(&w, "folder", l->folder);
    jw_kv_bool(&w, "dependents", l->with_dependents);
    jw_object_end(&w);
    static const enum channel_type types[] = {CHANNEL_LOAD, CHANNEL_UNLOAD, CHANNEL_ROLLBACK, CHANNEL_PROMOTE};
    edge_tell(t->edge, types[l->kind], buf_view(&text));
    buf_done(&text);
}

void edge_answer_load(struct edge_thread *t, const struct edge_news *n)
{
    struct err err = {0};
    for (struct edge_load **at = &t->loads; *at; at = &(*at)->next) {
        struct edge_load *l = *at;
        if (l->id != n->id)
            continue;
        *at = l->next;
        t->loads_len--;
        if (n->code)
            err_set(&err, n->code, "%s", n->reason);
        else
            (void)str_copy(err.text, sizeof err.text, str_c(n->reason)); /* done, and this is to be known */
        if (n->code && n->labels[0])
            err_remedy(&err, "%s", n->labels);
        l->done(l, &err);
        return;
    }
}

void edge_on_loaded(struct edge *e, struct str payload)
{
    struct edge_news news = {.kind = EDGE_NEWS_LOADED};
    struct json_reader r;
    struct str key, s = STR("");
    struct arena a;
    uint64_t code = 0;
    arena_init(&a, 1024, 1 << 16);
    json_init(&r, payload, 4);
    json_object(&r);
    while (json_key(&r, &key)) {
        if (str_eq_c(key, "id"))
            json_u64(&r, &news.id);
        else if (str_eq_c(key, "code"))
            json_u64(&r, &code);
        else if (str_eq_c(key, "text") && json_string(&r, &a, &s))
            (void)str_copy(news.reason, sizeof news.reason, s);
        else if (str_eq_c(key, "remedy") && json_string(&r, &a, &s))
            (void)str_copy(news.labels, sizeof news.labels, s);
        else
            json_skip(&r, NULL);
    }
    arena_done(&a);
    news.code = code < ERR_MAX_ ? (enum err_code)code : ERR_INTERNAL;
    edge_broadcast(e, &news);
}

/* ---- routes ---- */

static void answered(struct edge_load *l, const struct err *err)
{
    struct http_req *req = l->owner;
    struct json_writer w;
    struct buf body;
    if (err->code) {
        http_respond_err(req, err);
        return;
    }
    buf_init(&body, 8 * sizeof err->text);
    if (err->text[0]) { /* else as Triton: no body */
        jw_init(&w, &body);
        jw_object(&w);
        jw_kv_c(&w, "warning", err->text);
        jw_object_end(&w);
    }
    struct str part = buf_view(&body);
    http_respond(req, 200, STR("application/json"), NULL, 0, &part, body.len > 0);
    buf_done(&body);
}

/* Triton's `parameters` of unload; those of load are read by edge_upload.c. */
static enum err_code read_parameters(const struct http_req *req, struct edge_load *l, struct err *err)
{
    struct json_reader r;
    struct str key;
    if (str_trim(req->body).n == 0)
        return ERR_OK;
    json_init(&r, req->body, 8);
    json_object(&r);
    while (json_key(&r, &key)) {
        if (!str_eq_c(key, "parameters")) {
            json_skip(&r, NULL);
            continue;
        }
        json_object(&r);
        while (json_key(&r, &key)) {
            if (str_eq_c(key, "unload_dependents") && l->kind == EDGE_UNLOAD)
                json_bool(&r, &l->with_dependents);
            else
                json_fail(&r, ERR_UNSUPPORTED, "not taken here");
        }
    }
    if (json_end(&r))
        *err = r.err;
    return r.failed ? r.err.code : ERR_OK;
}

static void ask(struct http_req *req, const struct route_match *match, struct edge_thread *t, enum edge_load_kind kind)
{
    struct err err;
    struct edge_load *l = arena_new(req->arena, struct edge_load);
    *l = (struct edge_load){.kind = kind, .done = answered, .owner = req};
    if (proto_refuse_foreign(req))
        return;
    if (match->captures[0].n >= MODEL_NAME_MAX) {
        err_set(&err, ERR_NOT_FOUND, "no such model: the name is too long");
        http_respond_err(req, &err);
        return;
    }
    l->name = arena_cstr(req->arena, match->captures[0]);
    if (kind == EDGE_LOAD && str_trim(req->body).n > 0)
        edge_upload(t, l, req);
    else if (read_parameters(req, l, &err))
        http_respond_err(req, &err);
    else
        edge_load_ask(t, l);
}

void edge_post_load(struct http_req *req, const struct route_match *match, void *arg)
{
    ask(req, match, arg, EDGE_LOAD);
}

void edge_post_unload(struct http_req *req, const struct route_match *match, void *arg)
{
    ask(req, match, arg, EDGE_UNLOAD);
}

void edge_post_rollback(struct http_req *req, const struct route_match *match, void *arg)
{
    ask(req, match, arg, EDGE_ROLLBACK);
}

void edge_post_promote(struct http_req *req, const struct route_match *match, void *arg)
{
    ask(req, match, arg, EDGE_PROMOTE);
}
