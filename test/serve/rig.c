#include "rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "sys/fd.h"

#define DEFAULT_AREA (1u << 20)

uint64_t rig_now_ns;

uint64_t rig_clock(void)
{
    return rig_now_ns;
}

void rig_pass_ms(uint64_t ms)
{
    rig_now_ns += ms * NS_PER_MS;
}

/* ---- the worker's backend ---- */

static enum err_code double_values(struct backend_run *run)
{
    const int32_t *in = run->in[0].data;
    int32_t *out = run->out[0].data;
    for (size_t e = 0; e < run->in[0].bytes / sizeof *in; e++)
        out[e] = 2 * in[e];
    return ERR_OK;
}

static enum err_code copy_texts(struct backend_run *run, struct err *err)
{
    const struct bytes_ref *in = run->in[0].data;
    struct bytes_ref *out = run->out[0].data;
    for (size_t e = 0; e < run->in[0].bytes / sizeof *in; e++)
        if (!backend_out_bytes(run, (struct str){(const char *)run->in_base + in[e].off, in[e].len}, &out[e]))
            return err_set(err, ERR_TOO_LARGE, "no room for the texts");
    return ERR_OK;
}

static enum err_code worker_run(void *instance, struct backend_run *run, struct err *err)
{
    struct rig_worker *w = instance;
    w->runs++;
    w->rows = run->rows;
    if (w->fail) {
        err_set(err, w->fail, "the test's model refuses");
        return err_remedy(err, "ask the test");
    }
    run->out[0] = run->in[0];
    run->out[0].data = backend_out_alloc(run, run->in[0].bytes);
    if (!run->out[0].data)
        return err_set(err, ERR_TOO_LARGE, "no room for the output");
    enum err_code code = run->in[0].dtype == DT_BYTES ? copy_texts(run, err) : double_values(run);
    if (code == ERR_OK && w->twist)
        w->twist(run);
    return code;
}

static const struct backend worker_backend = {.name = "rig", .run = worker_run};

/* ---- hooks ---- */

static void on_kill(void *arg, uint32_t segment, uint32_t pid, const char *reason)
{
    struct rig *r = arg;
    EXPECT_EQ(segment, r->shared->id);
    r->kills++;
    r->hook_pid = pid;
    (void)str_copy(r->kill_reason, sizeof r->kill_reason, str_c(reason));
}

static void on_cancel(void *arg, uint32_t segment, uint32_t pid, uint32_t lane, uint32_t block, uint32_t gen)
{
    struct rig *r = arg;
    EXPECT_EQ(segment, r->shared->id);
    r->cancels++;
    r->hook_pid = pid;
    r->hook_block = (struct exec_block){.lane = lane, .block = block, .gen = gen};
}

static void on_drained(void *arg, uint32_t segment)
{
    struct rig *r = arg;
    r->drained_segment = segment;
    r->drains++;
}

/* ---- the model ---- */

static void spec(struct tensor_spec *t, const char *name, enum dtype dtype, int64_t second)
{
    (void)str_copy(t->name, sizeof t->name, str_c(name));
    t->dtype = (uint32_t)dtype;
    t->ndim = second == 0 ? 1 : 2;
    t->dims[0] = -1;
    t->dims[1] = second;
}

void rig_describe(struct model_desc *d, const struct rig_opt *opt)
{
    enum dtype dtype = opt->dtype ? opt->dtype : DT_INT32;
    int64_t second = dtype == DT_BYTES ? 0 : -1;
    struct err err;
    memset(d, 0, sizeof *d);
    (void)str_copy(d->backend, sizeof d->backend, STR("rig"));
    spec(&d->inputs[0], "x", dtype, second);
    spec(&d->outputs[0], "y", dtype, second);
    d->inputs_len = d->outputs_len = 1;
    if (opt->has_optional) {
        spec(&d->inputs[1], "bias", DT_INT32, 1);
        d->inputs[1].is_optional = 1;
        d->inputs_len = 2;
    }
    d->has_batch_dim = !opt->no_batch_dim;
    d->may_share = !opt->no_batch_dim && !opt->alone;
    d->max_batch = opt->no_batch_dim ? 1 : opt->max_batch ? opt->max_batch : 4;
    while (opt->measures && opt->measures[d->measures_len].rows > 0) {
        d->measures[d->measures_len] = opt->measures[d->measures_len];
        d->measures_len++;
    }
    if (model_desc_check(d, &err))
        FAIL("the rig's model: %s", err.text);
}

static void make_inline(struct rig *r, const struct rig_opt *opt)
{
    struct err err;
    char key[32] = "";
    struct str value, name = str_cut(str_c(opt->param), '=', &value);
    (void)str_copy(key, sizeof key, name);
    struct backend_param param = {key, value.p};
    struct backend_load load = {
        .name = "m", .params = &param, .params_len = opt->param ? 1 : 0, .max_batch = opt->max_batch};
    r->shared->is_inline = true;
    r->shared->backend = backend_by_name(str_c(opt->backend));
    EXPECT(r->shared->backend);
    if (r->shared->backend->load(&load, &r->shared->instances[0], &err) ||
        r->shared->backend->describe(r->shared->instances[0], r->shared->desc, &err))
        FAIL("backend %s: %s", opt->backend, err.text);
}

static void make_segment(struct rig *r, const struct rig_opt *opt)
{
    struct err err;
    uint64_t area = opt->area ? opt->area : DEFAULT_AREA;
    if (segment_create(opt->lanes ? opt->lanes : 1, area, area, &r->fd, &err) ||
        segment_open(r->fd, SEGMENT_EDGE, &r->shared->map, &err) ||
        segment_open(r->fd, SEGMENT_WORKER, &r->worker_map, &err))
        FAIL("segment: %s", err.text);
    rig_describe(r->shared->desc, opt);
    r->worker = (struct exec){.segment = &r->worker_map,
                              .backend = &worker_backend,
                              .instance = &r->state,
                              .desc = r->shared->desc,
                              .pid = RIG_DEAD_PID};
}

void rig_tell(struct rig *r, enum served_state state, const char *reason)
{
    struct err err;
    struct serve_state news = {.state = state, .reason = reason, .instances = 1};
    news.instances_ready = state == SERVED_READY;
    if (serve_update(r->serve, r->shared, &news, &err))
        FAIL("serve_update: %s", err.text);
}

struct serve *rig_thread(struct rig *r, int thread)
{
    struct err err;
    struct serve_state ready = {.state = SERVED_READY, .reason = "", .instances = 1, .instances_ready = 1};
    struct serve *s = serve_new(thread, &r->hooks);
    if (serve_update(s, r->shared, &ready, &err))
        FAIL("serve_update: %s", err.text);
    return s;
}

void rig_init(struct rig *r, const struct rig_opt *opt)
{
    static const struct rig_opt defaults;
    struct err err;
    opt = opt ? opt : &defaults;
    memset(r, 0, sizeof *r);
    r->fd = -1;
    rig_now_ns = 1000 * NS_PER_S;
    if (!opt->is_real_time)
        clock_set_source(rig_clock);
    r->shared = model_shared_new(LANE_THREADS_MAX);
    r->shared->desc = model_desc_new();
    r->shared->id = 7;
    (void)str_copy(r->shared->name, sizeof r->shared->name, STR("m"));
    (void)str_copy(r->shared->version, sizeof r->shared->version, STR("1"));
    r->shared->limits = (struct model_limits){.timeout_ns = RIG_TIMEOUT_MS * NS_PER_MS,
                                              .queue_max = opt->queue_max ? opt->queue_max : 64};
    if (opt->batch)
        r->shared->limits.batch = *opt->batch;
    r->shared->threads_draining = (int)(opt->lanes ? opt->lanes : 1);
    r->scale = opt->backend ? 1 : 2;
    if (opt->backend)
        make_inline(r, opt);
    else
        make_segment(r, opt);
    r->hooks = (struct serve_hooks){.kill_worker = on_kill, .cancel_run = on_cancel, .drained = on_drained, .arg = r};
    r->serve = rig_thread(r, 0);
    if (serve_model(r->serve, STR("m"), STR(""), &r->model, &err))
        FAIL("serve_model: %s", err.text);
}

void rig_done(struct rig *r)
{
    r->serve = serve_free(r->serve);
    r->shared = model_shared_unref(r->shared);
    segment_close(&r->worker_map);
    r->fd = fd_close(r->fd);
    clock_set_source(NULL);
}

struct block_shm *rig_block(struct rig *r, uint32_t block)
{
    return &r->worker_map.shm->lane[0].blocks[block];
}

/* ---- the worker's steps ---- */

bool rig_work(struct rig *r)
{
    struct exec_block b;
    if (!exec_claim(&r->worker, &b))
        return false;
    EXPECT(exec_run(&r->worker, &b));
    return true;
}

struct exec_block rig_claim(struct rig *r)
{
    struct exec_block b = {0};
    if (!exec_claim(&r->worker, &b))
        FAIL("no block to claim");
    return b;
}

void rig_die(struct rig *r, bool is_crash)
{
    uint32_t pid = r->worker.pid++;
    serve_worker_died(r->serve, r->shared->id, pid, is_crash);
}

void rig_settle(struct rig *r)
{
    bool moves = true;
    while (moves) {
        serve_flush(r->serve);
        moves = false;
        while (!r->shared->is_inline && rig_work(r))
            moves = true;
        moves |= serve_collect(r->serve);
    }
}

/* ---- requests ---- */

static enum err_code decode_texts(struct req *q, struct err *err)
{
    for (uint32_t e = 0; e < q->rows; e++)
        if (!infer_put_bytes(q->i, 0, e, str_c(q->texts[e])))
            return err_set(err, ERR_INTERNAL, "text %u does not fit", e);
    return ERR_OK;
}

static enum err_code decode(struct infer *i, struct err *err)
{
    struct req *q = i->owner;
    if (i->in[0].dtype == DT_BYTES)
        return decode_texts(q, err);
    EXPECT_EQ(i->in[0].bytes, sizeof(int32_t) * q->rows * q->cols);
    int32_t *x = (void *)i->in[0].data;
    for (uint32_t e = 0; e < q->rows * q->cols; e++)
        x[e] = q->first + (int32_t)e;
    for (uint32_t e = 0; i->in[1].given && e < q->rows; e++)
        memcpy(i->in[1].data + e * sizeof(int32_t), &q->first, sizeof(int32_t));
    return q->decode_fails ? err_set(err, ERR_INVALID, "%s", q->decode_fails) : ERR_OK;
}

static void take_results(struct req *q)
{
    const struct infer_tensor *y = &q->i->out[0];
    q->got_rows = y->dims[0];
    if (y->dtype == DT_BYTES) {
        q->got_len = y->bytes / sizeof(struct bytes_ref);
        for (size_t e = 0; e < q->got_len && e < ARRAY_LEN(q->got_texts); e++)
            (void)str_copy(q->got_texts[e], sizeof q->got_texts[e], infer_get_bytes(q->i, 0, e));
        return;
    }
    q->got_len = y->bytes / sizeof(int32_t);
    EXPECT(q->got_len <= REQ_VALUES_MAX);
    memcpy(q->got, y->data, y->bytes);
}

static void free_infer(struct req *q)
{
    free(q->i->in);
    free(q->i);
    q->i = NULL;
}

static void done(struct infer *i)
{
    struct req *q = i->owner;
    q->done++;
    q->code = i->err.code;
    q->batch_rows = i->batch_rows;
    q->attempts = i->attempts;
    q->retry_after_ms = i->err.code == ERR_OK ? 0 : i->err.retry_after_ms;
    if (i->err.code == ERR_OK) {
        take_results(q);
    } else {
        (void)str_copy(q->text, sizeof q->text, str_c(i->err.text));
        (void)str_copy(q->remedy, sizeof q->remedy, str_c(i->err.remedy));
    }
    free_infer(q); /* whoever touches it now is caught */
    if (q->on_done)
        q->on_done(q);
}

static void prepare(struct rig *r, struct req *q)
{
    q->rig = r;
    q->i = calloc(1, sizeof *q->i);
    EXPECT(q->i);
    q->i->in = calloc(2, sizeof *q->i->in);
    EXPECT(q->i->in);
    (void)snprintf(q->id, sizeof q->id, "req-%u", ++r->next_id);
    q->i->serve = r->serve;
    q->i->model = r->model;
    q->i->decode = decode;
    q->i->done = done;
    q->i->owner = q;
    q->i->request_id = q->id;
    q->done = 0;
}

void req_make(struct rig *r, struct req *q, uint32_t rows, uint32_t cols, int32_t first)
{
    memset(q, 0, sizeof *q);
    prepare(r, q);
    q->rows = rows;
    q->cols = cols;
    q->first = first;
    q->i->in[0] = (struct infer_tensor){.ndim = 2, .dims = {rows, cols}, .dtype = DT_INT32, .given = true};
}

void req_make_texts(struct rig *r, struct req *q, const char *const *texts)
{
    memset(q, 0, sizeof *q);
    prepare(r, q);
    size_t heap = 0;
    for (; q->rows < ARRAY_LEN(q->texts) && texts[q->rows]; q->rows++) {
        q->texts[q->rows] = texts[q->rows];
        heap += strlen(texts[q->rows]);
    }
    q->i->in[0] =
        (struct infer_tensor){.ndim = 1, .dims = {q->rows}, .dtype = DT_BYTES, .heap_bytes = heap, .given = true};
}

void req_submit(struct req *q)
{
    infer_submit(q->i);
}

void req_cancel(struct req *q)
{
    infer_cancel(q->i);
}

void req_forget(struct req *q)
{
    free_infer(q);
}

void req_expect_ok(const char *file, int line, const struct req *q)
{
    if (q->done != 1)
        t_fail(file, line, "%s: done() was called %d times, expected once", q->id, q->done);
    if (q->code != ERR_OK)
        t_fail(file, line, "%s: %s: %s", q->id, err_code_name(q->code), q->text);
    if (q->texts[0]) {
        t_eq(file, line, "texts", "rows", (long long)q->got_len, q->rows);
        for (uint32_t e = 0; e < q->rows; e++)
            t_str(file, line, "text", str_c(q->got_texts[e]), q->texts[e]);
        return;
    }
    t_eq(file, line, "values", "rows * cols", (long long)q->got_len, (long long)q->rows * q->cols);
    t_eq(file, line, "dims[0]", "rows", q->got_rows, q->rows);
    for (size_t e = 0; e < q->got_len; e++)
        t_eq(file, line, "value", "scale * input", q->got[e], q->rig->scale * (q->first + (long long)e));
}

void req_expect_err(const char *file, int line, const struct req *q, enum err_code code, const char *text_part)
{
    if (q->done != 1)
        t_fail(file, line, "%s: done() was called %d times, expected once", q->id, q->done);
    if (q->code != code)
        t_fail(file, line, "%s: %s: %s; expected %s", q->id, err_code_name(q->code), q->text, err_code_name(code));
    if (!str_contains(str_c(q->text), str_c(text_part)))
        t_fail(file, line, "%s: '%s' does not contain '%s'", q->id, q->text, text_part);
}
