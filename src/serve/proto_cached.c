#include "serve/proto_cached.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "serve/cache_check.h"
#include "serve/cache_members.h"
#include "serve/serve.h"
#include "serve/shared.h"

#define STRINGS_SHARE                                                                                                  \
    4 /* no more than this part of a request's memory for the key's strings: reading them takes more of it */

/* A call whose model has a cache. In the request's arena, as is all that the key refers to. */
struct proto_keyed {
    struct cache_key key;
    struct str *parts; /* by input */
    size_t *room;      /* the same: bytes of strings that may come; 0: no strings */
    uint64_t *head;
    struct err err; /* why the inputs could not be read */
    uint64_t t_known_ns;
};

/* What the head says of an input, in words: type and rank, dimensions, bytes. */
#define HEAD_INPUT_WORDS (2 + TENSOR_DIMS_MAX)

static struct proto_call *call_of(struct cache_waiter *w)
{
    return (struct proto_call *)(void *)((char *)w - offsetof(struct proto_call, waiter));
}

/* ---- the key ---- */

/* Bytes that a key needs for an input; false: too many. */
static bool part_bytes(const struct infer_tensor *t, uint64_t max, size_t *out)
{
    uint64_t count;
    if (!tensor_count(t->dims, t->ndim, &count) || count > max)
        return false;
    uint64_t n = t->dtype == DT_BYTES ? count * sizeof(uint32_t) + t->heap_bytes : count * dtype_size(t->dtype);
    *out = (size_t)n;
    return n <= max;
}

/* Numbers that lie in the body as the model wants them. */
static bool is_in_place(const struct proto_call *c, uint32_t k, size_t bytes)
{
    const struct proto_source *s = &c->source[k];
    enum dtype type = c->infer.in[k].dtype;
    return s->kind == PROTO_BINARY && type != DT_BYTES && type != DT_BOOL && c->req->body_away == 0 &&
           s->bytes.n == bytes;
}

static bool take_room(struct proto_call *c, struct proto_keyed *q, uint32_t k, uint64_t *left)
{
    struct infer_tensor *t = &c->infer.in[k];
    const struct arena *a = c->req->arena;
    size_t bytes;
    if (!part_bytes(t, *left, &bytes))
        return false;
    *left -= bytes;
    if (is_in_place(c, k, bytes)) {
        q->parts[k] = c->source[k].bytes;
        return true;
    }
    if (t->dtype == DT_BYTES && bytes > (a->max_bytes - a->used_bytes) / STRINGS_SHARE)
        return false;
    q->room[k] = t->dtype == DT_BYTES ? bytes : 0;
    t->data = arena_try_alloc(c->req->arena, bytes + 1);
    t->bytes = bytes;
    q->parts[k] = (struct str){(char *)t->data, bytes};
    return t->data != NULL;
}

/* Memory for the key of a request whose shapes the model takes. NULL: it is too large to be kept, or the request for its memory. */
static struct proto_keyed *keyed_new(struct proto_call *c, const struct model_shared *m)
{
    size_t n = c->desc->inputs_len;
    uint64_t left = cache_entry_max(m->cache);
    struct proto_keyed *q = arena_try_alloc(c->req->arena, sizeof *q);
    struct str *parts = arena_try_alloc(c->req->arena, (n + 1) * sizeof *parts);
    size_t *room = arena_try_alloc(c->req->arena, (n + 1) * sizeof *room);
    uint64_t *head = arena_try_alloc(c->req->arena, (n * HEAD_INPUT_WORDS + CACHE_MEMBERS_MAX) * sizeof *head);
    if (!q || !parts || !room || !head)
        return NULL;
    *q = (struct proto_keyed){.parts = parts, .room = room, .head = head};
    for (uint32_t k = 0; k < n; k++) {
        parts[k] = STR("");
        room[k] = 0;
        if (c->infer.in[k].given && !take_room(c, q, k, &left))
            return NULL;
    }
    return q;
}

bool proto_cached_put_bytes(struct proto_call *c, int k, struct str s)
{
    struct str *part = &c->keyed->parts[k];
    uint32_t len = (uint32_t)s.n;
    if (s.n > UINT32_MAX || sizeof len + s.n > c->keyed->room[k] - part->n)
        return false;
    char *at = (char *)c->infer.in[k].data + part->n;
    memcpy(at, &len, sizeof len);
    if (s.n > 0)
        memcpy(at + sizeof len, s.p, s.n);
    part->n += sizeof len + s.n;
    return true;
}

static enum err_code key_inputs(struct proto_call *c, struct proto_keyed *q)
{
    enum err_code code = ERR_OK;
    c->is_keying = true;
    for (uint32_t k = 0; k < c->desc->inputs_len && code == ERR_OK; k++) {
        struct infer_tensor *t = &c->infer.in[k];
        if (q->room[k] > 0)
            q->parts[k].n = 0; /* grows with each string */
        if (t->given && q->parts[k].p != c->source[k].bytes.p)
            code = proto_decode_input(c, (int)k, &q->err);
        if (t->dtype == DT_BYTES && t->given) /* now it is known */
            t->heap_bytes = q->parts[k].n;
    }
    c->is_keying = false;
    return code;
}

/* Equal heads: the same inputs are given, and have the same types, shapes and lengths. Of an ensemble: and the same members run. */
static bool write_head(const struct proto_call *c, struct proto_keyed *q, struct str *out)
{
    uint64_t *w = q->head;
    for (uint32_t k = 0; k < c->desc->inputs_len; k++) {
        const struct infer_tensor *t = &c->infer.in[k];
        *w++ = t->given ? 1 + ((uint64_t)t->dtype << 8) + ((uint64_t)t->ndim << 16) : 0;
        for (int d = 0; d < t->ndim && t->given; d++)
            *w++ = (uint64_t)t->dims[d];
        *w++ = q->parts[k].n;
    }
    if (!cache_members(&c->infer, &w))
        return false;
    *out = (struct str){(const char *)q->head, (size_t)((char *)w - (char *)q->head)};
    return true;
}

static void copy_strings(struct infer *i, int k, struct str part, bool *is_fine)
{
    uint32_t len;
    for (uint64_t e = 0; part.n > 0 && *is_fine; e++) {
        memcpy(&len, part.p, sizeof len);
        *is_fine = infer_put_bytes(i, k, e, str_sub(part, sizeof len, len));
        part = str_sub(part, sizeof len + len, part.n);
    }
}

/* infer.decode of a call with a key: everything has been read and checked. */
static enum err_code decode_keyed(struct infer *i, struct err *err)
{
    struct proto_call *c = i->owner;
    const struct proto_keyed *q = c->keyed;
    bool is_fine = true;
    c->t_decode_ns = clock_now_ns();
    if (q->err.code) {
        *err = q->err;
        return err->code;
    }
    for (uint32_t k = 0; k < c->desc->inputs_len && is_fine; k++) {
        struct infer_tensor *t = &i->in[k];
        if (!t->given)
            continue;
        if (t->dtype == DT_BYTES)
            copy_strings(i, (int)k, q->parts[k], &is_fine);
        else if (t->bytes > 0)
            memcpy(t->data, q->parts[k].p, t->bytes);
    }
    if (!is_fine)
        return err_set(err, ERR_TOO_LARGE, "the strings do not fit in a batch block");
    proto_trace_inputs(c);
    return ERR_OK;
}

/* False: the call goes its way as if there were no cache. */
static bool make_key(struct proto_call *c, const struct model_shared *m)
{
    struct err err;
    struct str head;
    if (infer_check(&c->infer, &err))
        return false; /* who submits it tells */
    struct proto_keyed *q = keyed_new(c, m);
    if (!q)
        return false;
    c->keyed = q;
    c->infer.decode = decode_keyed;
    if (key_inputs(c, q) || !write_head(c, q, &head))
        return false;
    q->key = cache_key_of(head, q->parts, c->desc->inputs_len);
    q->t_known_ns = clock_now_ns();
    return true;
}

/* ---- answers ---- */

/* What is kept: the tensors, then their bytes. Strings are references that count from here. */
static void point_at(struct infer *i, struct cache_entry *e)
{
    i->out = cache_entry_value(e);
    i->kept = cache_entry_value(e);
}

static void answer_from(struct proto_call *c, struct cache_entry *e, enum trail_cache how)
{
    struct infer *i = &c->infer;
    uint64_t now = clock_now_ns(), *stage = c->req->stage_ns;
    point_at(i, e);
    i->err.code = ERR_OK;
    c->cached = how;
    c->t_encode_ns = now;
    stage[STAGE_RECEIVE] = c->req->t_ready_ns - c->req->t_start_ns;
    stage[STAGE_DECODE] = c->keyed->t_known_ns - c->req->t_ready_ns;
    stage[STAGE_QUEUE] = now - c->keyed->t_known_ns;
    c->req->on_cancel = NULL;
    proto_trace_end(c);
    c->ops->answer(c);
}

void proto_cached_count(const struct proto_call *c, uint64_t now_ns)
{
    struct model_shared *m = served_shared(c->infer.model);
    stats_hit(m, c->req->thread, now_ns - c->req->t_ready_ns);
    if (m->outcome[OUTCOME_OK])
        metric_add(m->outcome[OUTCOME_OK], c->req->thread, 1);
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

/* As infer_submit will have it. */
static struct cache_hurry hurry_of(const struct proto_call *c, const struct model_shared *m)
{
    const struct infer *i = &c->infer;
    return (struct cache_hurry){
        .deadline_ns = i->deadline_ns ? i->deadline_ns : c->req->t_ready_ns + m->limits.timeout_ns,
        .priority = i->priority ? i->priority : m->limits.priority_default,
    };
}

bool proto_cached_submit(struct proto_call *c)
{
    struct model_shared *m = served_shared(c->infer.model);
    struct cache *cache = m->cache;
    if (!cache || (!c->keyed && !make_key(c, m)))
        return false;
    const struct cache_key *key = &c->keyed->key;
    struct cache_entry *e = cache_get(cache, key);
    if (e && !cache_check_is_due(cache)) {
        answer_from(c, e, TRAIL_HIT);
        cache_entry_unref(cache, e);
        return true;
    }
    struct cache_hurry hurry = hurry_of(c, m);
    struct cache_flight *f = cache_flight_find(cache, c->req->thread, key, hurry);
    if (!f) {
        c->flight = cache_flight_begin(cache, c->req->thread, key, hurry);
        c->flight->before = e;
        return false;
    }
    if (e)
        cache_entry_unref(cache, e);
    cache_flight_join(f, &c->waiter);
    c->req->on_cancel = on_wait_cancel;
    c->req->on_cancel_arg = c;
    return true;
}

/* ---- results ---- */

static size_t aligned(size_t n)
{
    return ROUND_UP(n, CACHE_VALUE_ALIGN);
}

static uint64_t strings_of(const struct infer *i, uint32_t k)
{
    return i->out[k].dtype == DT_BYTES ? i->out[k].bytes / sizeof(struct bytes_ref) : 0;
}

static size_t value_bytes(const struct infer *i, uint32_t outputs_len)
{
    size_t n = aligned(outputs_len * sizeof *i->out);
    for (uint32_t k = 0; k < outputs_len; k++) {
        n += aligned(i->out[k].bytes);
        for (uint64_t e = 0; e < strings_of(i, k); e++)
            n += infer_get_bytes(i, (int)k, e).n;
    }
    return n;
}

/* Strings of one output to at; 0: the worker that answered them changed them since they were counted. */
static size_t keep_strings(const struct infer *i, uint32_t k, unsigned char *base, size_t at, size_t end)
{
    for (uint64_t e = 0; e < strings_of(i, k); e++) {
        struct str s = infer_get_bytes(i, (int)k, e);
        struct bytes_ref ref = {.off = (uint32_t)at, .len = (uint32_t)s.n};
        if (s.n > end - at)
            return 0;
        memcpy(((struct infer_tensor *)(void *)base)[k].data + e * sizeof ref, &ref, sizeof ref);
        if (s.n > 0)
            memcpy(base + at, s.p, s.n);
        at += s.n;
    }
    return at;
}

static bool fill(const struct infer *i, uint32_t outputs_len, unsigned char *base, size_t bytes)
{
    struct infer_tensor *out = (struct infer_tensor *)(void *)base;
    size_t at = aligned(outputs_len * sizeof *out);
    for (uint32_t k = 0; k < outputs_len; k++) {
        out[k] = i->out[k];
        out[k].data = base + at;
        if (out[k].bytes > 0)
            memcpy(out[k].data, i->out[k].data, out[k].bytes);
        at += aligned(out[k].bytes);
    }
    for (uint32_t k = 0; k < outputs_len && at > 0; k++)
        at = keep_strings(i, k, base, at, bytes);
    return at > 0;
}

/* Members of an ensemble that were replaced meanwhile: what ran is not what the key says. */
static bool has_same_members(const struct proto_call *c)
{
    struct str head;
    struct proto_keyed *q = c->keyed;
    uint64_t before[CACHE_MEMBERS_MAX], now[CACHE_MEMBERS_MAX], *end = now;
    if (!served_shared(c->infer.model)->ensemble)
        return true;
    if (!cache_members(&c->infer, &end))
        return false;
    size_t n = (size_t)((char *)end - (char *)now);
    head = q->key.head;
    memcpy(before, head.p + head.n - n, n);
    return memcmp(before, now, n) == 0;
}

/* The same input has run again. */
static void check_again(const struct proto_call *c)
{
    struct infer kept = {.model = c->infer.model};
    point_at(&kept, c->flight->before);
    int k = cache_check_differs(&kept, &c->infer, c->desc->outputs_len);
    if (cache_check_note(served_shared(c->infer.model)->cache, k >= 0))
        LOG_WARN("a model with a cache answers the same input differently", LOG_S("model", c->info->name),
                 LOG_S("version", c->info->version), LOG_S("output", c->desc->outputs[k].name),
                 LOG_S("remedy", "switch its cache off, unless any of its answers will do"));
}

bool proto_cached_recall(struct proto_call *c)
{
    struct cache_entry *e = c->flight->before;
    if (!e || c->infer.err.code == ERR_CANCELLED)
        return false;
    answer_from(c, e, TRAIL_HIT);
    return true;
}

void proto_cached_keep(struct proto_call *c)
{
    if (c->flight->before)
        check_again(c);
    struct model_shared *m = served_shared(c->infer.model);
    struct cache_flight *f = c->flight;
    uint32_t n = c->desc->outputs_len;
    size_t bytes = value_bytes(&c->infer, n);
    bool is_small = bytes <= cache_entry_max(m->cache);
    if (bytes <= UINT32_MAX && (is_small || f->first))
        f->entry = cache_entry_new(&f->key, bytes);
    if (f->entry && !fill(&c->infer, n, cache_entry_value(f->entry), bytes)) {
        cache_entry_unref(m->cache, f->entry);
        f->entry = NULL;
    }
    if (f->entry && has_same_members(c))
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
    struct cache_entry *e = f->entry ? f->entry : f->before;
    while (f->first) {
        struct proto_call *c = call_of(f->first);
        cache_flight_leave(&c->waiter);
        if (e)
            answer_from(c, e, TRAIL_JOINED);
        else if (is_shared_fate(err->code))
            fail_waiter(c, err);
        else
            proto_call_submit(c); /* the first of them leads the others now */
    }
    if (f->entry)
        cache_entry_unref(m->cache, f->entry);
    if (f->before)
        cache_entry_unref(m->cache, f->before);
    free(f);
}
