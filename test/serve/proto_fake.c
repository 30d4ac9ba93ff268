/* Compiles the protocols' files with the functions they call replaced by those below. */
#define http_respond        fake_http_respond
#define http_respond_json   fake_http_respond_json
#define http_respond_err    fake_http_respond_err
#define http_body_fetch     fake_http_body_fetch
#define http_body_copy      fake_http_body_copy
#define http_body_reads     fake_http_body_reads
#define serve_model         fake_serve_model
#define served_info         fake_served_info
#define serve_models_len    fake_serve_models_len
#define serve_model_at      fake_serve_model_at
#define serve_all_settled   fake_serve_all_settled
#define served_shared       fake_served_shared
#define served_v2_texts     fake_served_v2_texts
#define serve_awaited       fake_serve_awaited
#define serve_defer         fake_serve_defer
#define infer_submit        fake_infer_submit
#define infer_facts         fake_infer_facts
#define infer_cancel        fake_infer_cancel
#define infer_put_bytes     fake_infer_put_bytes
#define infer_get_bytes     fake_infer_get_bytes
#define infer_check         fake_infer_check
#define cache_key_of        fake_cache_key_of
#define cache_members       fake_cache_members
#define cache_check_differs fake_cache_check_differs
#include "../../src/serve/cache_check.c"
#include "../../src/serve/proto_cached.c"
#include "../../src/serve/proto_call.c"
#include "../../src/serve/proto_generate.c"
#include "../../src/serve/proto_openapi.c"
#include "../../src/serve/proto_predict.c"
#include "../../src/serve/proto_routes.c"
#include "../../src/serve/proto_sample.c"
#include "../../src/serve/proto_tensor.c"
#include "../../src/serve/proto_trail.c"
#include "../../src/serve/proto_v2_answer.c"
#include "../../src/serve/proto_v2_infer.c"
#include "../../src/serve/proto_v2_models.c"
#include "../../src/serve/proto_v2_outputs.c"
#include "../../src/serve/proto_v2_raw.c"
#include "../../src/serve/proto_v2_stats.c"

#include <stdlib.h>

#include "proto_fake.h"

struct served {
    struct served_info info;
    struct model_shared shared;
    struct model_desc desc;
    struct v2_texts *texts;
};

float fake_scale;
bool fake_has_pictures, fake_is_late, fake_only_iris, fake_is_settled = true, fake_client_leaves;
const char *fake_run_fails;
size_t fake_away, fake_cache_bytes;
bool fake_hash_is_constant;
int64_t fake_drift;

static struct served models[6];
static bool is_set_up;
static struct fake_answer last;
static struct infer *pending;
static bool was_cancelled;
static unsigned char in_area[1 << 20], out_area[1 << 20];
static size_t heap_used, heap_max;

static void spec(struct tensor_spec *t, const char *name, enum dtype type, int ndim, int64_t d0, int64_t d1)
{
    (void)str_copy(t->name, sizeof t->name, str_c(name));
    t->dtype = type;
    t->ndim = ndim;
    t->dims[0] = d0;
    t->dims[1] = d1;
}

static void set_up(void)
{
    static const char *const names[] = {"broken", "fixed", "iris", "pair", "slow", "text"};
    if (is_set_up)
        return;
    is_set_up = true;
    for (size_t i = 0; i < ARRAY_LEN(models); i++) {
        struct served *m = &models[i];
        m->info = (struct served_info){.name = names[i],
                                       .version = "1",
                                       .state = SERVED_READY,
                                       .reason = "",
                                       .desc = &m->desc,
                                       .isolation = "process",
                                       .path = "/m",
                                       .instances = 1,
                                       .instances_ready = 1};
        m->desc.max_batch = 8;
        m->desc.has_batch_dim = m->desc.may_share = i != 1;
        (void)str_copy(m->desc.platform, sizeof m->desc.platform, STR("fake"));
        (void)str_copy(m->desc.batch_reason, sizeof m->desc.batch_reason, STR("made up"));
    }
    models[0].info.state = SERVED_FAILED;
    models[0].info.reason = "file is cut off";
    models[4].info.state = SERVED_LOADING;
    models[0].info.desc = models[4].info.desc = NULL;
    struct model_desc *d = &models[1].desc;
    d->max_batch = 1;
    d->inputs_len = 2;
    spec(&d->inputs[0], "x", DT_UINT8, 2, 2, 3);
    spec(&d->inputs[1], "scale", DT_FP32, 0, 0, 0);
    d->inputs[1].is_optional = 1;
    d->outputs_len = 1;
    spec(&d->outputs[0], "y", DT_UINT8, 2, 2, 3);
    d = &models[2].desc;
    d->inputs_len = 1;
    spec(&d->inputs[0], "X", DT_FP32, 2, -1, 4);
    d->outputs_len = 2;
    spec(&d->outputs[0], "label", DT_INT64, 1, -1, 0);
    spec(&d->outputs[1], "probabilities", DT_FP32, 2, -1, 3);
    d = &models[3].desc;
    d->inputs_len = 2;
    spec(&d->inputs[0], "a", DT_FP32, 2, -1, 2);
    spec(&d->inputs[1], "b", DT_INT32, 2, -1, 2);
    d->outputs_len = 1;
    spec(&d->outputs[0], "sum", DT_FP32, 2, -1, 2);
    d = &models[5].desc;
    d->inputs_len = 1;
    spec(&d->inputs[0], "s", DT_BYTES, 2, -1, -1);
    d->outputs_len = 1;
    spec(&d->outputs[0], "s", DT_BYTES, 2, -1, -1);
}

/* --- serve ------------------------------------------------------------------------------------------------------------------ */

enum err_code fake_serve_model(struct serve *s, struct str name, struct str version, struct served **out,
                               struct err *err)
{
    for (size_t i = 0; i < serve_models_len(s); i++) {
        struct served *m = serve_model_at(s, i);
        if (!str_eq_c(name, m->info.name))
            continue;
        if (version.n > 0 && !str_eq_c(version, m->info.version))
            return err_set(err, ERR_NOT_FOUND, "Request for unknown model: '%s' version %.*s is not found",
                           m->info.name, STR_F(version));
        if (m->info.state != SERVED_READY)
            return err_set(err, ERR_UNAVAILABLE, "model '%s' is not ready: %s", m->info.name, m->info.reason);
        *out = m;
        return ERR_OK;
    }
    return err_set(err, ERR_NOT_FOUND, "Request for unknown model: '%.*s' is not found", proto_cut(name), name.p);
}

const struct served_info *fake_served_info(const struct served *m)
{
    return &m->info;
}

void fake_infer_facts(const struct infer *i, struct infer_facts *out)
{
    *out = (struct infer_facts){.instances = 1, .run_max = 64, .queue_max = i->rows + 7};
}

struct v2_texts **fake_served_v2_texts(struct served *m)
{
    return &m->texts;
}

struct model_shared *fake_served_shared(const struct served *m)
{
    static struct stats stats[ARRAY_LEN(models)];
    struct model_shared *shared = (struct model_shared *)(uintptr_t)&m->shared;
    shared->stats = &stats[m - models];
    if (fake_cache_bytes > 0 && !shared->cache)
        shared->cache = cache_new(fake_cache_bytes);
    return shared;
}

struct cache *fake_cache_of_iris(void)
{
    return models[2].shared.cache;
}

size_t fake_serve_models_len(const struct serve *s)
{
    (void)s;
    return fake_only_iris ? 1 : ARRAY_LEN(models);
}

struct served *fake_serve_model_at(struct serve *s, size_t i)
{
    (void)s;
    return &models[fake_only_iris ? 2 : i];
}

bool fake_serve_all_settled(const struct serve *s)
{
    (void)s;
    return fake_is_settled;
}

/* --- infer ------------------------------------------------------------------------------------------------------------------ */

/* Nothing is loaded on demand. */
struct served *fake_serve_awaited(const struct serve *s)
{
    (void)s;
    return NULL;
}

bool fake_serve_defer(struct serve *s, struct http_req *req, struct err *err)
{
    (void)s;
    (void)req;
    (void)err;
    return false;
}

static enum err_code check(const struct infer *i, struct err *err)
{
    const struct model_desc *d = &i->model->desc;
    for (uint32_t k = 0; k < d->inputs_len; k++) {
        const struct infer_tensor *t = &i->in[k];
        const struct tensor_spec *want = &d->inputs[k];
        bool fits = t->ndim == want->ndim && t->dtype == (enum dtype)want->dtype;
        for (int n = 0; fits && n < t->ndim; n++)
            fits = t->dims[n] >= 0 && (want->dims[n] < 0 || want->dims[n] == t->dims[n]);
        if (t->given ? !fits : !want->is_optional)
            return err_set(err, ERR_INVALID,
                           t->given ? "unexpected shape or type for input '%s'" : "input '%s' is missing", want->name);
        if (t->given && d->has_batch_dim && (t->dims[0] < 1 || t->dims[0] != i->in[0].dims[0]))
            return err_set(err, ERR_INVALID, "rows of input '%s'", want->name);
    }
    return ERR_OK;
}

enum err_code fake_infer_check(const struct infer *i, struct err *err)
{
    return check(i, err);
}

bool fake_cache_members(const struct infer *i, uint64_t **w)
{
    (void)i;
    (void)w;
    return true;
}

#undef cache_key_of
struct cache_key cache_key_of(struct str head, const struct str *parts, size_t parts_len);

struct cache_key fake_cache_key_of(struct str head, const struct str *parts, size_t parts_len)
{
    struct cache_key key = cache_key_of(head, parts, parts_len);
    if (fake_hash_is_constant)
        key.hash = (struct hash128){1, 2};
    return key;
}

/* Lays the inputs out, each with a gap behind it that a sanitizer does not see but the poison does. */
static bool lay_out(struct infer *i)
{
    size_t at = 0;
    heap_max = heap_used = 0;
    memset(in_area, 0xA5, 4096);
    for (uint32_t k = 0; k < i->model->desc.inputs_len; k++) {
        struct infer_tensor *t = &i->in[k];
        uint64_t n;
        if (!t->given)
            continue;
        if (!tensor_count(t->dims, t->ndim, &n) || n > sizeof in_area / 4 / dtype_size(t->dtype))
            return false;
        t->bytes = (size_t)n * dtype_size(t->dtype);
        t->data = in_area + at;
        at = ROUND_UP(at + t->bytes, 64u) + 64;
        heap_max += t->heap_bytes;
    }
    heap_used = at;
    heap_max += at;
    return heap_max <= sizeof in_area;
}

static struct infer_tensor *set_out(struct infer *i, struct infer_tensor *out, int k, int64_t d0, int64_t d1)
{
    struct tensor_spec *want = &i->model->desc.outputs[k];
    out[k] = (struct infer_tensor){.ndim = want->ndim,
                                   .dims = {d0, d1},
                                   .dtype = (enum dtype)want->dtype,
                                   .data = out_area + (size_t)k * (sizeof out_area / 2),
                                   .given = true};
    uint64_t n = 0;
    CHECK(tensor_count(out[k].dims, out[k].ndim, &n));
    out[k].bytes = (size_t)n * dtype_size(out[k].dtype);
    CHECK(out[k].bytes <= sizeof out_area / 2);
    return &out[k];
}

static void compute(struct infer *i, struct infer_tensor *out)
{
    const struct infer_tensor *in = i->in;
    int64_t rows = in[0].dims[0];
    if (i->model == &models[1]) {
        memcpy(set_out(i, out, 0, 2, 3)->data, in[0].data, 6);
    } else if (i->model == &models[2]) {
        int64_t *label = (int64_t *)(void *)set_out(i, out, 0, rows, 0)->data;
        float *p = (float *)(void *)set_out(i, out, 1, rows, 3)->data;
        const float *x = (const float *)(const void *)in[0].data;
        for (int64_t r = 0; r < rows; r++) {
            label[r] = x[4 * r] > -1e9F && x[4 * r] < 1e9F ? (int64_t)x[4 * r] : -1;
            label[r] += fake_drift;
            memcpy(p + 3 * r, x + 4 * r, 12);
        }
    } else if (i->model == &models[3]) {
        float *sum = (float *)(void *)set_out(i, out, 0, rows, 2)->data;
        for (int64_t e = 0; e < rows * 2; e++) {
            float a;
            int32_t b;
            memcpy(&a, in[0].data + 4 * e, 4);
            memcpy(&b, in[1].data + 4 * e, 4);
            sum[e] = a + (float)b;
        }
    } else {
        memcpy(set_out(i, out, 0, rows, in[0].dims[1])->data, in[0].data, in[0].bytes);
    }
}

static void run(struct infer *i)
{
    static struct infer_tensor out[MODEL_TENSORS_MAX];
    pending = NULL;
    i->t_submit_ns = clock_now_ns();
    i->err.code = ERR_OK;
    if (was_cancelled) {
        err_set(&i->err, ERR_CANCELLED, "the client went away");
    } else if (check(i, &i->err) == ERR_OK && !lay_out(i)) {
        err_set(&i->err, ERR_TOO_LARGE, "too large");
    } else if (i->err.code == ERR_OK && i->decode(i, &i->err) == ERR_OK) {
        last.was_decoded = true;
        i->rows = i->model->desc.has_batch_dim ? (uint32_t)i->in[0].dims[0] : 1;
        if (fake_run_fails)
            err_set(&i->err, ERR_BACKEND, "%s", fake_run_fails);
        else
            compute(i, out);
    }
    i->out = out;
    last.done_calls++;
    i->done(i);
}

void fake_infer_submit(struct infer *i)
{
    pending = i;
    if (!fake_is_late)
        run(i);
}

void fake_infer_cancel(struct infer *i)
{
    was_cancelled = true;
    run(i);
}

bool fake_infer_put_bytes(struct infer *i, int k, uint64_t e, struct str s)
{
    CHECK((e + 1) * sizeof(struct bytes_ref) <= i->in[k].bytes);
    if (s.n > heap_max - heap_used)
        return false;
    struct bytes_ref ref = {(uint32_t)heap_used, (uint32_t)s.n};
    memcpy(in_area + heap_used, s.p, s.n);
    memcpy(i->in[k].data + e * sizeof ref, &ref, sizeof ref);
    heap_used += s.n;
    return true;
}

struct str fake_infer_get_bytes(const struct infer *i, int k, uint64_t e)
{
    struct bytes_ref ref;
    memcpy(&ref, i->out[k].data + e * sizeof ref, sizeof ref);
    return (struct str){(const char *)(i->kept ? i->kept : in_area) + ref.off, ref.len};
}

/* --- http ------------------------------------------------------------------------------------------------------------------- */

void fake_http_respond(struct http_req *req, int status, struct str content_type, const struct http_header *extra,
                       size_t extra_len, const struct str *parts, size_t parts_len)
{
    CHECK(!req->answered);
    req->answered = true;
    last.status = status;
    (void)str_copy(last.content_type, sizeof last.content_type, content_type);
    for (size_t i = 0; i < extra_len; i++) {
        if (str_eq_c(extra[i].name, "Retry-After"))
            (void)str_copy(last.retry_after, sizeof last.retry_after, extra[i].value);
        else if (str_eq_c(extra[i].name, "x-quern-cache"))
            (void)str_copy(last.cache, sizeof last.cache, extra[i].value);
        else
            (void)str_copy(last.infer_header, sizeof last.infer_header, extra[i].value);
    }
    size_t n = 0;
    for (size_t i = 0; i < parts_len; i++)
        n += parts[i].n;
    last.body = malloc(n + BUF_PAD);
    CHECK(last.body);
    for (size_t i = 0; i < parts_len; i++) {
        memcpy(last.body + last.body_len, parts[i].p, parts[i].n);
        last.body_len += parts[i].n;
    }
    memset(last.body + n, 0, BUF_PAD);
}

void fake_http_respond_json(struct http_req *req, int status, struct str json)
{
    fake_http_respond(req, status, STR("application/json"), NULL, 0, &json, 1);
}

void fake_http_respond_err(struct http_req *req, const struct err *err)
{
    struct buf b;
    struct json_writer w;
    buf_init(&b, 1 << 16);
    jw_init(&w, &b);
    jw_object(&w);
    jw_kv_c(&w, "error", err->text);
    if (err->remedy[0])
        jw_kv_c(&w, "remedy", err->remedy);
    jw_object_end(&w);
    fake_http_respond_json(req, err_http_status(err->code), buf_view(&b));
    buf_done(&b);
}

static const char *real_body; /* what req->body will be when nothing is away */

bool fake_http_body_fetch(struct http_req *req)
{
    size_t from = req->body.n - req->body_away;
    if (req->body_away > 0)
        memcpy((char *)(uintptr_t)req->body.p + from, real_body + from, req->body_away);
    req->body_away = 0;
    return true;
}

/* How long the next look into the socket is changes nothing of an answer. */
void fake_http_body_reads(struct http_req *req, size_t n)
{
    CHECK(n <= req->body.n + BUF_PAD);
}

bool fake_http_body_copy(struct http_req *req, struct str part, void *to)
{
    size_t from = (size_t)(part.p - req->body.p), first = req->body.n - req->body_away;
    CHECK(from + part.n <= req->body.n);
    if (from > first)
        (void)fake_http_body_fetch(req);
    memcpy(to, real_body + from, part.n);
    if (req->body_away > 0 && from + part.n > first) {
        last.copied += from + part.n - first;
        req->body_away -= from + part.n - first;
    }
    return true;
}

static void dispatch(struct http_req *req)
{
    struct router *r;
    size_t len;
    const struct route *table = proto_routes(&len);
    static char serve; /* only its address counts */
    r = router_new(table, len, &serve);
    router_dispatch(r, req);
    router_free(r);
}

const struct fake_answer *fake_run(const struct fake_request *r)
{
    static struct http_header header = {.name = {"inference-header-content-length", 31}};
    struct arena a;
    fake_free();
    set_up();
    models[1].desc.inputs[0].scale = fake_scale;
    models[1].desc.inputs[0].zero = 7;
    models[5].desc.inputs[0].is_picture = fake_has_pictures;
    arena_init(&a, 4096, (size_t)16 << 20);
    char *body = malloc(r->body.n + BUF_PAD); /* exact, so that a sanitizer sees what is read behind the padding */
    CHECK(body);
    if (r->body.n > 0)
        memcpy(body, r->body.p, r->body.n);
    memset(body + r->body.n, '1', BUF_PAD);
    struct str query, path = str_cut(str_c(r->path), '?', &query);
    struct http_req req = {.arena = &a,
                           .method = r->method,
                           .path = path,
                           .query = query,
                           .body = {body, r->body.n},
                           .id = "r1",
                           .headers = &header};
    header.value = str_c(r->header_length);
    req.headers_len = r->header_length ? 1 : 0;
    req.t_start_ns = req.t_ready_ns = clock_now_ns();
    was_cancelled = false;
    real_body = r->body.p;
    if (proto_may_defer(&req))
        req.body_away = fake_away < r->body.n ? fake_away : r->body.n;
    memset(body + (r->body.n - req.body_away), 0xEE, req.body_away); /* shows in answers when it is read */
    dispatch(&req);
    if (!req.answered)
        (void)fake_http_body_fetch(&req); /* as the server does */
    if (fake_client_leaves && pending)
        req.on_cancel(&req, req.on_cancel_arg);
    else if (pending)
        run(pending);
    CHECK(req.answered);
    free(body);
    arena_done(&a);
    return &last;
}

const struct fake_answer *fake_post(const char *path, const char *body)
{
    return fake_run(&(struct fake_request){.method = HTTP_POST_, .path = path, .body = str_c(body)});
}

const struct fake_answer *fake_get(const char *path)
{
    return fake_run(&(struct fake_request){.method = HTTP_GET_, .path = path, .body = str_c("")});
}

void fake_free(void)
{
    free(last.body);
    last = (struct fake_answer){0};
    pending = NULL;
}
