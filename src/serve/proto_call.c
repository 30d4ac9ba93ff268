/* A call's frame, the same for all REST protocols: memory, submitting, cancelling, stage times, answers. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <threads.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/settings.h"
#include "serve/proto_cached.h"
#include "serve/serve.h"
#include "serve/stats.h"

/* An answer may be as large as a batch block's outputs as text; what is kept from answer to answer is small. */
#define SCRATCH_BYTES_MAX  ((size_t)1 << 30)
#define SCRATCH_BYTES_KEPT ((size_t)1 << 20)
#define SCRATCHES          2

static once_flag scratch_once = ONCE_FLAG_INIT;
static tss_t scratch_key;

static void scratch_free(void *p)
{
    struct buf *b = p;
    for (int i = 0; i < SCRATCHES; i++)
        buf_done(&b[i]);
    free(b);
}

static void scratch_init(void)
{
    CHECK(tss_create(&scratch_key, scratch_free) == thrd_success);
}

struct buf *proto_scratch(int which)
{
    call_once(&scratch_once, scratch_init);
    struct buf *b = tss_get(scratch_key);
    if (!b) {
        b = calloc(SCRATCHES, sizeof *b);
        CHECK(b && tss_set(scratch_key, b) == thrd_success);
        for (int i = 0; i < SCRATCHES; i++)
            buf_init(&b[i], SCRATCH_BYTES_MAX);
    }
    buf_clear(&b[which]);
    buf_shrink(&b[which], SCRATCH_BYTES_KEPT);
    return &b[which];
}

struct proto_call *proto_call_new(struct http_req *req, struct serve *serve, const struct proto_ops *ops)
{
    struct proto_call *c = arena_try_alloc(req->arena, sizeof *c);
    if (!c) {
        struct err err;
        err_set(&err, ERR_TOO_LARGE, "the request does not fit in its memory");
        ops->fail(req, &err);
        return NULL;
    }
    memset(c, 0, offsetof(struct proto_call, reader));
    c->ops = ops;
    c->req = req;
    c->serve = serve;
    if (UNLIKELY(record_is_on()))
        (void)http_body_fetch(req); /* a broken connection shows elsewhere */
    json_init(&c->reader, req->body, JSON_DEPTH_MAX);
    c->reader.allow_nan = ops->allow_nan;
    return c;
}

/* Waiting for a free block, for the run, and for its result to be collected all count as queueing. */
static void note_stages(struct proto_call *c)
{
    const struct infer *i = &c->infer;
    uint64_t *stage = c->req->stage_ns;
    uint64_t waited = stage[STAGE_QUEUE]; /* for the model to be loaded */
    stage[STAGE_RECEIVE] = c->req->t_ready_ns - c->req->t_start_ns;
    if (i->t_submit_ns == 0 || i->t_submit_ns < c->req->t_ready_ns)
        return;
    stage[STAGE_DECODE] = i->t_submit_ns - c->req->t_ready_ns - waited;
    if (i->t_decoded_ns > c->t_decode_ns && c->t_decode_ns != 0)
        stage[STAGE_DECODE] += i->t_decoded_ns - c->t_decode_ns;
    if (i->t_ran_ns > i->t_run_ns)
        stage[STAGE_COMPUTE] = i->t_ran_ns - i->t_run_ns;
    uint64_t counted = stage[STAGE_DECODE] + stage[STAGE_COMPUTE], passed = c->t_encode_ns - c->req->t_ready_ns;
    stage[STAGE_QUEUE] = passed > counted ? passed - counted : 0;
}

static enum stats_failure failure_of(enum err_code code)
{
    if (code == ERR_BUSY || code == ERR_TIMEOUT)
        return STATS_REJECTED;
    if (code == ERR_CANCELLED)
        return STATS_CANCELED;
    return code == ERR_BACKEND || code == ERR_INTERNAL ? STATS_BACKEND : STATS_OTHER;
}

static void count_success(const struct proto_call *c, uint64_t now_ns)
{
    const struct infer *i = &c->infer;
    uint64_t ns[STATS_STAGES] = {0};
    ns[STATS_SUCCESS] = now_ns - c->req->t_ready_ns;
    ns[STATS_QUEUE] = c->req->stage_ns[STAGE_QUEUE];
    ns[STATS_INPUT] = c->req->stage_ns[STAGE_DECODE];
    ns[STATS_INFER] = c->req->stage_ns[STAGE_COMPUTE];
    ns[STATS_OUTPUT] = c->req->stage_ns[STAGE_ENCODE];
    stats_success(served_shared(i->model), c->req->thread, i->rows > 0 ? i->rows : 1, ns);
}

void proto_call_record(const struct proto_call *c, int status, struct str type, struct str header_length,
                       const struct str *parts, size_t parts_len)
{
    if (UNLIKELY(record_is_on()) && c->info)
        record_note(c->req, str_c(c->info->name), str_c(c->info->version), status, type, header_length, parts,
                    parts_len);
}

static void record_failure(const struct proto_call *c, const struct err *err)
{
    if (err->code != ERR_CANCELLED)
        proto_call_record(c, err_http_status(err->code), STR(""), STR(""), NULL, 0);
}

static void answer(struct proto_call *c)
{
    struct infer *i = &c->infer;
    proto_trace_end(c);
    if (i->err.code == ERR_OK) {
        c->ops->answer(c);
        return;
    }
    if (i->err.code == ERR_INVALID && !i->err.remedy[0])
        err_remedy(&i->err, "GET /v2/models/%s/sample shows requests that this model takes", c->info->name);
    proto_trail_note(c, &i->err, c->flight ? TRAIL_MISS : TRAIL_NO_CACHE, c->t_encode_ns);
    stats_failure(served_shared(i->model), c->req->thread, failure_of(i->err.code),
                  c->t_encode_ns - c->req->t_ready_ns);
    LOG_DEBUG("request failed", LOG_S("id", c->req->id), LOG_S("model", c->info->name), LOG_S("error", i->err.text));
    record_failure(c, &i->err);
    c->ops->fail(c->req, &i->err);
}

static void on_done(struct infer *i)
{
    struct proto_call *c = i->owner;
    c->req->on_cancel = NULL;
    c->t_encode_ns = clock_now_ns();
    note_stages(c);
    struct cache_flight *f = c->flight;
    if (!f) {
        answer(c);
        return;
    }
    struct model_shared *m = served_shared(i->model); /* lives on while we are in done() */
    struct err err = i->err;
    cache_flight_close(m->cache, c->req->thread, f);
    if (err.code == ERR_OK)
        proto_cached_keep(c);
    if (err.code == ERR_OK || !proto_cached_recall(c))
        answer(c);
    proto_cached_end(m, f, &err);
}

static void on_cancel(struct http_req *req, void *arg)
{
    (void)req;
    struct proto_call *c = arg;
    infer_cancel(&c->infer);
}

/* Copies: they are read after the model may be gone. */
static void set_log(struct http_req *req, const struct served_info *info)
{
    size_t name = strlen(info->name), version = strlen(info->version);
    char *text = arena_alloc(req->arena, name + 1 + version); /* both have limits */
    memcpy(text, info->name, name);
    text[name] = '/';
    memcpy(text + name + 1, info->version, version);
    req->log_model = (struct str){text, name};
    req->log_series = (struct str){text, name + 1 + version};
}

enum err_code proto_call_model(struct proto_call *c, struct served *m, struct err *err)
{
    c->info = served_info(m);
    c->desc = c->info->desc;
    if (!c->desc)
        return err_set(err, ERR_UNAVAILABLE, "model '%s' is not ready: %s", c->info->name, c->info->reason);
    struct infer *i = &c->infer;
    size_t n = c->desc->inputs_len, in_bytes = n * sizeof *i->in, source_bytes = n * sizeof *c->source;
    i->in = arena_try_alloc(c->req->arena, in_bytes + 1);
    c->source = arena_try_alloc(c->req->arena, source_bytes + 1);
    if (!i->in || !c->source)
        return err_set(err, ERR_TOO_LARGE, "the request does not fit in its memory");
    memset(i->in, 0, in_bytes);
    for (size_t k = 0; k < n; k++)
        c->source[k].kind = PROTO_ABSENT;
    i->serve = c->serve;
    i->model = m;
    i->arena = c->req->arena;
    i->decode = proto_decode;
    i->done = on_done;
    i->owner = c;
    i->request_id = c->req->id;
    i->client = c->req->peer;
    proto_trace_begin(c);
    set_log(c->req, c->info);
    return ERR_OK;
}

void proto_call_submit(struct proto_call *c)
{
    if (proto_cached_submit(c))
        return;
    c->req->on_cancel = on_cancel;
    c->req->on_cancel_arg = c;
    infer_submit(&c->infer);
}

void proto_call_fail(struct proto_call *c, const struct err *err)
{
    struct err why = *err;
    if (serve_defer(c->serve, c->req, &why))
        return;
    proto_trace_end(c);
    c->req->stage_ns[STAGE_RECEIVE] = c->req->t_ready_ns - c->req->t_start_ns;
    record_failure(c, err);
    proto_trail_note(c, err, TRAIL_NO_CACHE, clock_now_ns());
    c->ops->fail(c->req, &why);
}

void proto_call_respond(struct proto_call *c, struct str content_type, const struct http_header *extra,
                        size_t extra_len, const struct str *parts, size_t parts_len)
{
    uint64_t now_ns = clock_now_ns();
    struct str header_length = extra_len > 0 ? extra[0].value : STR("");
    struct http_header more[2];
    c->req->stage_ns[STAGE_ENCODE] = now_ns - c->t_encode_ns;
    if (UNLIKELY(c->cached != TRAIL_NO_CACHE)) {
        proto_cached_count(c, now_ns);
        proto_trail_note(c, NULL, c->cached, now_ns);
        more[0] = (struct http_header){STR("x-quern-cache"), c->cached == TRAIL_HIT ? STR("hit") : STR("joined")};
        if (extra_len > 0)
            more[1] = extra[0];
        extra = more;
        extra_len = extra_len > 0 ? 2 : 1;
    } else {
        count_success(c, now_ns);
        proto_trail_note(c, NULL, c->flight ? TRAIL_MISS : TRAIL_NO_CACHE, now_ns);
    }
    proto_call_record(c, 200, content_type, header_length, parts, parts_len);
    http_respond(c->req, 200, content_type, extra, extra_len, parts, parts_len);
}

void proto_names(const struct tensor_spec *t, uint32_t len, char *out, size_t out_size)
{
    size_t at = 0;
    out[0] = '\0';
    for (uint32_t i = 0; i < len && at + TENSOR_NAME_MAX + 8 < out_size; i++) {
        int n = snprintf(out + at, out_size - at, "%s'%s'", i ? ", " : "", t[i].name);
        at += n > 0 ? (size_t)n : 0;
    }
}

const char *proto_nearest(const struct tensor_spec *t, uint32_t len, struct str name)
{
    const char *names[MODEL_TENSORS_MAX];
    for (uint32_t i = 0; i < len; i++)
        names[i] = t[i].name;
    return settings_nearest(name, names, len);
}

int proto_cut(struct str s)
{
    size_t n = s.n < 64 ? s.n : 64;
    while (n > 0 && n < s.n && (s.p[n] & 0xC0) == 0x80)
        n--;
    return (int)n;
}
