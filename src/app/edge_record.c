/* GET /api/record?model=NAME: a model's requests and answers as a stream, in net/recording.h's format. They may be private, so it is answered on
 * sockets of the file system only, whose permissions say who may; `record_over_network` lifts that. Nothing is recorded unless somebody asks, and it
 * ends with the connection that asked. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/edge_int.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/json.h"
#include "net/recording.h"
#include "serve/proto.h"
#include "serve/record.h"

#define BACKLOG_MAX                                                                                                    \
    ((size_t)256 << 10) /* waiting for the client, or one larger frame; the rest waits in the record's queue */

struct edge_record {
    struct edge_record *next;
    struct edge_thread *thread;
    struct http_req *req;
    struct record *record;
};

static bool send_json(struct http_req *req, enum recording_kind kind, struct str json)
{
    struct buf out;
    buf_init(&out, 1 << 16);
    recording_put_json(kind, json, &out);
    bool ok = http_stream_write(req, buf_view(&out));
    buf_done(&out);
    return ok;
}

static bool send_about(struct http_req *req, const struct record_options *o)
{
    struct buf text, out;
    struct json_writer w;
    buf_init(&text, 1 << 14);
    buf_init(&out, RECORDING_HEAD);
    jw_init(&w, &text);
    jw_object(&w);
    jw_kv_c(&w, "quern", QUERN_VERSION);
    jw_kv_str(&w, "model", o->model);
    jw_kv_u64(&w, "one_in", o->one_in);
    jw_kv_u64(&w, "began_ms", clock_wall_ms());
    jw_object_end(&w);
    recording_put_head(&out);
    bool ok = http_stream_write(req, buf_view(&out)) && send_json(req, RECORDING_ABOUT, buf_view(&text));
    buf_done(&text);
    buf_done(&out);
    return ok;
}

static void end(struct edge_record *x, bool with_end)
{
    struct edge_record **at = &x->thread->records;
    while (*at != x)
        at = &(*at)->next;
    *at = x->next;
    x->req->on_cancel = NULL;
    if (with_end) {
        struct buf text;
        struct json_writer w;
        buf_init(&text, 4096);
        jw_init(&w, &text);
        record_write_end(x->record, &w);
        (void)send_json(x->req, RECORDING_END, buf_view(&text)); /* the client is gone, or reads it */
        buf_done(&text);
    }
    record_end(x->record);
    http_stream_end(x->req);
    free(x);
}

static void on_gone(struct http_req *req, void *arg)
{
    (void)req;
    end(arg, false);
}

/* False: the client is gone. */
static bool send_taken(struct edge_record *x)
{
    for (;;) {
        size_t n = record_next_bytes(x->record), waits = http_stream_backlog(x->req);
        if (n == 0 || (waits > 0 && waits + n > BACKLOG_MAX))
            return true;
        struct buf *frame = record_take(x->record);
        bool ok = http_stream_write(x->req, buf_view(frame));
        buf_done(frame);
        free(frame);
        if (!ok)
            return false;
    }
}

/* For the end, which must not be what is too much. */
static bool has_room(struct edge_record *x)
{
    return http_stream_backlog(x->req) < BACKLOG_MAX;
}

void edge_record_pump(struct edge_thread *t)
{
    for (struct edge_record *x = t->records, *next; x; x = next) {
        next = x->next;
        bool ok = send_taken(x);
        if (!ok || (record_is_complete(x->record) && has_room(x)))
            end(x, ok);
    }
}

void edge_record_end_all(struct edge_thread *t)
{
    while (t->records) {
        bool ok = send_taken(t->records);
        end(t->records, ok && has_room(t->records));
    }
}

static void wake(void *arg)
{
    struct edge_thread *t = arg;
    (void)uv_async_send(&t->inbox_async); /* before its loop sleeps it looks after its recordings */
}

/* ---- the question ---- */

static enum err_code read_number(struct http_req *req, const char *key, uint64_t max, uint64_t *out, struct err *err)
{
    struct str text = http_query_get(req, key);
    if (!text.p || (str_to_u64(text, out) && *out >= 1 && *out <= max))
        return ERR_OK;
    return err_set(err, ERR_INVALID, "%s is not a number from 1 to %llu", key, (unsigned long long)max);
}

static enum err_code read_options(struct http_req *req, struct record_options *o, struct err *err)
{
    uint64_t one_in = 1;
    o->model = http_query_get(req, "model");
    o->requests_max = RECORD_REQUESTS_MAX;
    o->bytes_max = RECORD_BYTES_MAX;
    if (read_number(req, "one_in", RECORD_ONE_IN_MAX, &one_in, err) ||
        read_number(req, "requests", RECORD_REQUESTS_MAX, &o->requests_max, err) ||
        read_number(req, "bytes", RECORD_BYTES_MAX, &o->bytes_max, err))
        return err->code;
    o->one_in = (uint32_t)one_in;
    if (o->model.n == 0 || o->model.n > MODEL_NAME_MAX)
        return err_set(err, ERR_INVALID, "no model is named; expected ?model=NAME");
    return ERR_OK;
}

static bool is_served(struct edge *e, struct str model)
{
    bool found = false;
    pthread_mutex_lock(&e->models_lock);
    for (size_t i = 0; i < e->models_len && !found; i++)
        found = str_eq_c(model, e->models[i].shared->name);
    pthread_mutex_unlock(&e->models_lock);
    return found;
}

static enum err_code check(struct edge *e, struct http_req *req, struct record_options *o, struct err *err)
{
    if (!req->is_unix && !e->record_over_network) {
        err_set(err, ERR_DENIED, "requests are recorded for this machine's own users only");
        return err_remedy(err, "ask at DATA/run/edge.sock (quern record does), or set record_over_network: true");
    }
    if (read_options(req, o, err))
        return err->code;
    if (!is_served(e, o->model)) {
        int n = o->model.n < 64 ? (int)o->model.n : 64;
        err_set(err, ERR_NOT_FOUND, "no model '%.*s' is served", n, o->model.p);
        return err_remedy(err, "GET /api/status names those that are");
    }
    if (atomic_load(&e->draining))
        return err_set(err, ERR_UNAVAILABLE, "the server is draining");
    return ERR_OK;
}

void edge_get_record(struct http_req *req, const struct route_match *match, void *arg)
{
    struct edge_thread *t = arg;
    struct record_options o = {.wake = wake, .arg = t};
    struct record *record = NULL;
    struct err err = {0};
    (void)match;
    if (proto_refuse_foreign(req))
        return;
    if (check(t->edge, req, &o, &err) == ERR_OK && !(record = record_begin(&o))) {
        err_set(&err, ERR_BUSY, "%d recordings are running", RECORDS_MAX);
        err_remedy(&err, "try again when one has ended");
    }
    if (!record) {
        http_respond_err(req, &err);
        return;
    }
    struct edge_record *x = calloc(1, sizeof *x);
    CHECK(x);
    *x = (struct edge_record){.next = t->records, .thread = t, .req = req, .record = record};
    t->records = x;
    http_stream_begin(req, 200, STR("application/vnd.quern.recording"));
    req->on_cancel = on_gone;
    req->on_cancel_arg = x;
    if (!send_about(req, &o))
        end(x, false);
}
