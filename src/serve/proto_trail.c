/* GET /api/requests[/ID]: why a request was slow or failed. */
#include "base/clock.h"
#include "serve/proto_int.h"
#include "serve/trail.h"

#define SHOWN_MAX 100

void proto_trail_note(const struct proto_call *c, uint64_t now_ns)
{
    const struct infer *i = &c->infer;
    uint64_t total = now_ns - c->req->t_start_ns;
    if (!(i->err.code != ERR_OK ? i->err.code != ERR_CANCELLED : trail_is_slow(total)))
        return;
    struct trail_record r = {.status = (int)i->err.code, .at_ms = clock_wall_ms(), .total_ns = total};
    (void)str_copy(r.id, sizeof r.id, str_c(c->req->id));
    (void)str_copy(r.model, sizeof r.model, str_c(c->info->name));
    (void)str_copy(r.version, sizeof r.version, str_c(c->info->version));
    if (i->err.code != ERR_OK)
        (void)str_copy(r.error, sizeof r.error, str_c(i->err.text));
    for (int s = 0; s < TRAIL_STAGES; s++)
        r.stage_ns[s] = c->req->stage_ns[s];
    r.run_ns = i->t_run_ns;
    r.rows = i->rows;
    r.batch_rows = i->batch_rows;
    r.attempts = i->attempts;
    trail_add(&r);
}

void proto_requests(struct http_req *req, const struct route_match *m, void *arg)
{
    (void)m;
    (void)arg;
    struct json_writer w;
    jw_init(&w, proto_scratch(0));
    jw_object(&w);
    jw_key(&w, "requests");
    trail_write_latest(SHOWN_MAX, &w);
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
    err_remedy(&err, "the latest %d requests that failed or were slow for their thread are kept", TRAIL_LEN);
    http_respond_err(req, &err);
}
