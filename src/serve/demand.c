/* Models that are loaded when they are asked for: requests that must wait for that, and letting go of a model that is to be unloaded. */
#include <string.h>

#include "base/clock.h"
#include "net/http.h"
#include "serve/internal_int.h"

#define TIMEOUT_US_MAX UINT64_C(86400000000)

struct served *serve_awaited(const struct serve *s)
{
    return s->awaited;
}

/* ---- waiting ---- */

/* The time limit that an Open Inference Protocol request brings, or 0. What is wrong with the body is said when it is read in earnest. */
static uint64_t asked_timeout_us(const struct http_req *req)
{
    struct json_reader r;
    struct str key, body = req->body;
    uint64_t us = 0, json_bytes;
    struct str header = http_header_get(req, "inference-header-content-length");
    if (header.p && (!str_to_u64(header, &json_bytes) || json_bytes > body.n))
        return 0;
    if (header.p)
        body = str_sub(body, 0, (size_t)json_bytes);
    if (body.n == 0)
        return 0;
    json_init(&r, body, JSON_DEPTH_MAX);
    r.allow_nan = true;
    json_object(&r);
    while (json_key(&r, &key)) {
        if (!str_eq_c(key, "parameters")) {
            json_skip(&r, NULL);
            continue;
        }
        json_object(&r);
        while (json_key(&r, &key))
            (void)(str_eq_c(key, "timeout") ? json_u64(&r, &us) : json_skip(&r, NULL));
    }
    return r.failed || us > TIMEOUT_US_MAX ? 0 : us;
}

void serve_set_refusal(struct serve *s, const struct err *why)
{
    s->refusal = why;
}

bool serve_defer(struct serve *s, struct http_req *req, struct err *err)
{
    struct served *m = s->awaited;
    const struct err *refusal = s->refusal;
    s->awaited = NULL;
    s->refusal = NULL;
    if (m && refusal)
        *err = *refusal;
    if (!m || refusal || !s->hooks.park || !http_body_fetch(req))
        return false;
    uint64_t us = req->method == HTTP_POST_ ? asked_timeout_us(req) : 0;
    uint64_t timeout_ns = us > 0 ? us * NS_PER_US : m->shared->limits.timeout_ns;
    req->log_model = arena_str_dup(req->arena, str_c(m->info.name));
    return s->hooks.park(s->hooks.arg, req, m->shared, req->t_ready_ns + timeout_ns, err);
}

/* ---- letting go ---- */

static bool has_member(const struct served *ensemble, const struct served *m)
{
    const struct ensemble *e = ensemble->shared->ensemble;
    for (uint32_t n = 0; e && n < e->steps_len; n++)
        if (strcmp(e->steps[n].model, m->info.name) == 0)
            return true;
    return false;
}

/* It has requests, or will have: an ensemble in work needs it for a later step. */
static bool is_used(const struct served *m)
{
    const struct serve *s = m->serve;
    if (m->placed > 0 || m->waiting > 0 || m->splits > 0 ||
        (m->has_lane && (m->lane.published != 0 || m->lane.orphans != 0)))
        return true;
    for (const struct served *other = s->awake_first; other; other = other->awake_next)
        if (other->placed > 0 && has_member(other, m))
            return true;
    return false;
}

enum serve_yield serve_yield(struct served *m, bool is_drain)
{
    if (!is_used(m)) {
        m->info.state = SERVED_UNLOADED;
        return SERVE_YIELD_DONE;
    }
    if (!is_drain)
        return SERVE_YIELD_BUSY;
    m->is_yielding = true;
    served_wake(m);
    return SERVE_YIELD_LATER;
}

void demand_look(struct served *m)
{
    if (!m->is_yielding || is_used(m))
        return;
    m->is_yielding = false;
    m->info.state = SERVED_UNLOADED;
    m->serve->hooks.yielded(m->serve->hooks.arg, m->shared);
}
