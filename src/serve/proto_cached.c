#include "serve/proto_cached.h"

#include <stdlib.h>

#include "base/clock.h"
#include "serve/serve.h"
#include "serve/shared.h"

static struct proto_call *call_of(struct cache_waiter *w)
{
    return (struct proto_call *)(void *)((char *)w - offsetof(struct proto_call, waiter));
}

/* Beside the body the answer depends on the protocol and on where its JSON ends. */
static struct cache_key key_of(const struct proto_call *c)
{
    struct str header = http_header_get(c->req, "inference-header-content-length");
    uint64_t form = hash64(header.p ? header.p : "-", header.p ? header.n : 1, 1) ^ (uint64_t)(uintptr_t)c->ops;
    return cache_key_of(c->req->body, form);
}

static void answer_from(struct proto_call *c, const struct cache_entry *e, enum trail_cache how)
{
    struct model_shared *m = served_shared(c->infer.model);
    struct http_req *req = c->req;
    uint64_t ns[STATS_STAGES] = {0}, now = clock_now_ns();
    struct str header = cache_entry_header(e), body = cache_entry_body(e);
    const struct http_header extra[] = {{STR("Inference-Header-Content-Length"), header},
                                        {STR("x-quern-cache"), STR("hit")}};
    c->t_encode_ns = now;
    proto_trace_end(c);
    ns[STATS_SUCCESS] = now - req->t_ready_ns;
    req->on_cancel = NULL;
    req->stage_ns[STAGE_RECEIVE] = req->t_ready_ns - req->t_start_ns;
    req->stage_ns[STAGE_QUEUE] = now - req->t_ready_ns;
    stats_hit(m, req->thread, ns[STATS_SUCCESS]);
    proto_trail_note(c, NULL, how, now);
    if (m->outcome[OUTCOME_OK])
        metric_add(m->outcome[OUTCOME_OK], req->thread, 1);
    proto_call_record(c, 200, cache_entry_type(e), header, &body, 1);
    http_respond(req, 200, cache_entry_type(e), header.n ? extra : extra + 1, header.n ? 2 : 1, &body, 1);
}

static void on_wait_cancel(struct http_req *req, void *arg)
{
    struct proto_call *c = arg;
    struct err err;
    cache_flight_leave(&c->waiter);
    stats_failure(served_shared(c->infer.model), req->thread, STATS_CANCELED, clock_now_ns() - req->t_ready_ns);
    err_set(&err, ERR_CANCELLED, "the client went away");
    c->ops->fail(req, &err);
}

bool proto_cached_submit(struct proto_call *c)
{
    struct model_shared *m = served_shared(c->infer.model);
    struct cache *cache = m->cache;
    if (!cache || c->is_uncacheable)
        return false;
    (void)http_body_fetch(c->req); /* it is the key */
    struct cache_key key = key_of(c);
    struct cache_entry *e = cache_get(cache, &key);
    if (e) {
        answer_from(c, e, TRAIL_HIT);
        cache_entry_unref(cache, e);
        return true;
    }
    struct cache_flight *f = cache_flight_find(cache, c->req->thread, &key);
    if (!f) {
        c->flight = cache_flight_begin(cache, c->req->thread, &key);
        return false;
    }
    cache_flight_join(f, &c->waiter);
    c->req->on_cancel = on_wait_cancel;
    c->req->on_cancel_arg = c;
    return true;
}

void proto_cached_keep(struct proto_call *c, struct str content_type, const struct http_header *extra, size_t extra_len,
                       const struct str *parts, size_t parts_len)
{
    struct model_shared *m = served_shared(c->infer.model);
    struct cache_flight *f = c->flight;
    f->entry = cache_entry_new(&f->key, content_type, extra_len > 0 ? extra[0].value : STR(""), parts, parts_len);
    if (f->entry)
        cache_put(m->cache, f->entry);
    stats_cache(m, c->req->thread, STATS_MISS, clock_now_ns() - c->req->t_ready_ns);
}

/* What depends on the input alone is the same for all; what was bad luck, each tries by itself. */
static bool is_shared_fate(enum err_code code)
{
    return code != ERR_OK && code != ERR_BUSY && code != ERR_CANCELLED && code != ERR_TIMEOUT &&
           code != ERR_UNAVAILABLE;
}

static void fail_waiter(struct proto_call *c, const struct err *err)
{
    stats_failure(served_shared(c->infer.model), c->req->thread, STATS_BACKEND, clock_now_ns() - c->req->t_ready_ns);
    c->req->on_cancel = NULL;
    proto_call_fail(c, err);
}

void proto_cached_end(struct model_shared *m, struct cache_flight *f, const struct err *err)
{
    while (f->first) {
        struct proto_call *c = call_of(f->first);
        cache_flight_leave(&c->waiter);
        if (f->entry)
            answer_from(c, f->entry, TRAIL_JOINED);
        else if (is_shared_fate(err->code))
            fail_waiter(c, err);
        else
            proto_call_submit(c); /* the first of them leads the others now */
    }
    if (f->entry)
        cache_entry_unref(m->cache, f->entry);
    free(f);
}
