/* GET /api/requests[/ID]: what became of requests, and why. */
#include <string.h>

#include "base/clock.h"
#include "serve/facts.h"
#include "serve/proto_int.h"
#include "serve/serve.h"

#define SHOWN_DEFAULT 100

static_assert(FACTS_MATES_MAX == TRAIL_MATES, "copied as they are");

static void put_infer(const struct infer *i, struct trail_record *r)
{
    struct infer_facts f;
    infer_facts(i, &f);
    if (i->t_submit_ns != 0 && i->deadline_ns > i->t_submit_ns)
        r->deadline_ns = i->deadline_ns - i->t_submit_ns;
    r->expected_ns = i->expected_ns;
    r->usual_run_ns = f.usual_run_ns;
    r->delay_ns = f.delay_ns;
    r->running_ns = i->err.code == ERR_TIMEOUT ? f.running_ns : 0;
    r->ahead_rows = i->ahead_rows;
    r->rows = i->rows;
    r->priority = i->priority;
    r->batch_rows = i->batch_rows;
    r->batch_requests = i->batch_requests;
    r->run_max = f.run_max;
    r->guests = i->batch_guests;
    r->guests_ns = f.guests_ns;
    r->is_guest = i->is_guest;
    r->attempts = i->attempts;
    r->worker_pid = f.worker_pid;
    r->instances = f.instances;
    r->queue_len = f.queue_len;
    r->queue_max = f.queue_max;
    r->refusal = i->refusal;
    r->is_inline = f.is_inline;
    r->is_ensemble = f.is_ensemble;
    memcpy(r->mates, f.mates, sizeof r->mates);
    r->mates_len = f.mates_len;
    memcpy(r->steps, f.steps, sizeof r->steps);
    r->steps_len = f.steps_len;
}

static void put_error(const struct err *err, struct trail_record *r)
{
    (void)str_copy(r->error, sizeof r->error, str_c(err->text));
    (void)str_copy(r->remedy, sizeof r->remedy, str_c(err->remedy));
    r->retry_after_ms = err->retry_after_ms;
}

void proto_trail_note(const struct proto_call *c, const struct err *err, enum trail_cache cache, uint64_t now_ns)
{
    struct http_req *req = c->req;
    uint64_t total_ns = now_ns - req->t_start_ns, usual_ns = 0;
    enum err_code code = err ? err->code : ERR_OK;
    enum trail_kind kind;
    if (code == ERR_CANCELLED)
        return; /* nobody will ask */
    if (code == ERR_OK)
        kind = trail_judge(served_shared(c->infer.model)->id, total_ns, &usual_ns);
    else
        kind = trail_kind_of(code);
    if (LIKELY(!trail_wants(kind, now_ns)))
        return;
    struct trail_record r = {.kind = kind,
                             .status = code,
                             .cache = cache,
                             .at_ms = clock_wall_ms(),
                             .total_ns = total_ns,
                             .usual_ns = usual_ns,
                             .body_bytes = req->body.n < UINT32_MAX ? (uint32_t)req->body.n : UINT32_MAX};
    (void)str_copy(r.id, sizeof r.id, str_c(req->id));
    (void)str_copy(r.path, sizeof r.path, req->path);
    if (c->info) {
        (void)str_copy(r.model, sizeof r.model, str_c(c->info->name));
        (void)str_copy(r.version, sizeof r.version, str_c(c->info->version));
    }
    if (c->infer.model)
        put_infer(&c->infer, &r);
    if (code != ERR_OK)
        put_error(err, &r);
    memcpy(r.stage_ns, req->stage_ns, sizeof r.stage_ns);
    req->trail = trail_add(&r);
}

/* kind=slow,failed: several with commas. */
static enum err_code read_kinds(struct str text, unsigned *out, struct err *err)
{
    *out = 0;
    while (text.n > 0) {
        struct str name = str_cut(text, ',', &text);
        enum trail_kind k = trail_kind_parse(name);
        if (k == TRAIL_KINDS) {
            err_set(err, ERR_INVALID, "there is no kind of request '%.*s'", proto_cut(name), name.p);
            return err_remedy(err, "known: failed, refused, invalid, slow, usual");
        }
        *out |= 1U << k;
    }
    return ERR_OK;
}

static enum err_code read_query(struct http_req *req, struct trail_query *q, struct err *err)
{
    struct str n = http_query_get(req, "n");
    uint64_t max = SHOWN_DEFAULT;
    q->model = http_query_get(req, "model");
    if (n.p && (!str_to_u64(n, &max) || max < 1 || max > TRAIL_SHOWN_MAX))
        return err_set(err, ERR_INVALID, "n is not a number from 1 to %d", TRAIL_SHOWN_MAX);
    q->max = max;
    return read_kinds(http_query_get(req, "kind"), &q->kinds, err);
}

void proto_requests(struct http_req *req, const struct route_match *m, void *arg)
{
    (void)m;
    (void)arg;
    struct json_writer w;
    struct trail_query q;
    struct err err;
    if (read_query(req, &q, &err) != ERR_OK) {
        http_respond_err(req, &err);
        return;
    }
    jw_init(&w, proto_scratch(0));
    jw_object(&w);
    jw_kv_u64(&w, "now_ms", clock_wall_ms());
    jw_key(&w, "requests");
    trail_write_latest(&q, &w);
    jw_object_end(&w);
    http_respond_json(req, 200, buf_view(w.out));
}

void proto_request(struct http_req *req, const struct route_match *m, void *arg)
{
    (void)arg;
    struct json_writer w;
    struct err err;
    jw_init(&w, proto_scratch(0));
    if (trail_write(m->captures[0], &w)) {
        http_respond_json(req, 200, buf_view(w.out));
        return;
    }
    err_set(&err, ERR_NOT_FOUND, "no record of a request '%.*s'", proto_cut(m->captures[0]), m->captures[0].p);
    err_remedy(&err, "the latest that failed, were refused or slow are kept, of the others a sample; see "
                     "/api/requests");
    http_respond_err(req, &err);
}
