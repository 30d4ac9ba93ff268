/* Any bytes as a history of one model: submits of all sizes and priorities, cancels, flushes, claims, answers, deaths, late answers, deadlines, done() that
 * submits and cancels. The first byte chooses whether batches wait and are padded. Whatever
 * happens: done() comes once for each request, results are right, and when all has come to rest no block is lost. */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "serve/internal_int.h"

#define REQUESTS   64
#define WORKERS    3
#define STEPS_MAX  400
#define TIMEOUT_NS (1000 * NS_PER_MS)
#define FIRST_PID  100000001u /* above the kernel's largest: check_orphan finds them dead */
#define POISON     255        /* a row that kills */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct request {
    struct infer *i; /* NULL: not in flight */
    int32_t first;
    uint32_t rows, cols;
    uint8_t at_done; /* what done() does besides */
    bool bad_decode;
};

struct worker {
    struct exec exec;
    struct exec_block run;
    bool is_running;
};

struct world {
    struct serve *serve;
    struct served *model;
    struct model_shared *shared;
    struct request requests[REQUESTS];
    struct worker workers[WORKERS];
    uint32_t pids, in_flight, depth;
    uint64_t now_ns;
    bool is_quiet; /* the end: done() does nothing besides */
};

static struct world plain, batching, *w;

static uint64_t clock_of_world(void)
{
    return w->now_ns;
}

/* ---- the model: y = 3 x ---- */

static enum err_code run(void *instance, struct backend_run *r, struct err *err)
{
    (void)instance;
    r->out[0] = r->in[0];
    r->out[0].data = backend_out_alloc(r, r->in[0].bytes);
    if (!r->out[0].data)
        return err_set(err, ERR_TOO_LARGE, "full");
    for (size_t e = 0; e < r->in[0].bytes / 4; e++)
        ((int32_t *)r->out[0].data)[e] = 3 * ((const int32_t *)r->in[0].data)[e];
    return ERR_OK;
}

static const struct backend backend = {.name = "times3", .run = run};

static bool is_poisoned(const struct worker *k)
{
    const struct segment_map *map = &w->shared->map;
    const struct block_tensor_shm *x = &map->shm->lane[0].blocks[k->run.block].in[0];
    const int32_t *v = (const void *)(segment_in_ro(map, 0, k->run.block) + x->off);
    for (size_t e = 0; e < x->bytes / 4; e++)
        if (v[e] == POISON)
            return true;
    return false;
}

/* ---- requests ---- */

static enum err_code decode(struct infer *i, struct err *err)
{
    const struct request *q = i->owner;
    int32_t *x = (void *)i->in[0].data;
    for (uint32_t e = 0; e < q->rows * q->cols; e++)
        x[e] = q->first + (int32_t)(e % 7) * 256;
    return q->bad_decode ? err_set(err, ERR_INVALID, "no") : ERR_OK;
}

static void submit(uint8_t a, uint8_t b);

static void done(struct infer *i)
{
    struct request *q = i->owner;
    CHECK(q->i == i);
    if (i->err.code == ERR_OK) {
        CHECK(i->out[0].bytes == sizeof(int32_t) * q->rows * q->cols && q->first != POISON);
        const int32_t *y = (const void *)i->out[0].data;
        for (uint32_t e = 0; e < q->rows * q->cols; e++)
            CHECK(y[e] == 3 * (q->first + (int32_t)(e % 7) * 256));
    }
    uint8_t also = q->at_done;
    q->i = NULL;
    w->in_flight--;
    free(i->in);
    free(i);
    if (w->is_quiet || w->depth > 8)
        return;
    w->depth++;
    if (also & 1)
        submit(also, (uint8_t)(also * 7));
    if (also & 2 && w->requests[also % REQUESTS].i)
        infer_cancel(w->requests[also % REQUESTS].i);
    w->depth--;
}

static void submit(uint8_t a, uint8_t b)
{
    struct request *q = NULL;
    for (int k = 0; k < REQUESTS && !q; k++)
        q = w->requests[k].i ? NULL : &w->requests[k];
    if (!q)
        return;
    *q = (struct request){.i = calloc(1, sizeof *q->i),
                          .first = b,
                          .rows = 1 + a % 17, /* over 6 they are split */
                          .cols = a & 64 ? 2 : 3,
                          .at_done = a & 128 ? (uint8_t)(a ^ b) : 0,
                          .bad_decode = a % 23 == 7};
    q->i->in = calloc(1, sizeof *q->i->in);
    q->i->in[0] = (struct infer_tensor){.ndim = 2, .dims = {q->rows, q->cols}, .dtype = DT_INT32, .given = true};
    q->i->serve = w->serve;
    q->i->model = w->model;
    q->i->decode = decode;
    q->i->done = done;
    q->i->owner = q;
    q->i->request_id = "r";
    q->i->priority = 1 + b % 3;
    q->i->client = a % 4;
    q->i->deadline_ns = b & 1 ? w->now_ns + (uint64_t)b * NS_PER_MS : 0;
    w->in_flight++;
    infer_submit(q->i);
}

/* ---- workers ---- */

static void die(struct worker *k, bool is_crash)
{
    uint32_t pid = k->exec.pid;
    k->exec.pid = FIRST_PID + w->pids++;
    k->is_running = false;
    serve_worker_died(w->serve, w->shared->id, pid, is_crash);
}

/* The model crashes on poison, as the real one does every time. */
static void step_worker(struct worker *k)
{
    if (!k->is_running) {
        k->is_running = exec_claim(&k->exec, &k->run);
        return;
    }
    if (is_poisoned(k)) {
        die(k, true);
        return;
    }
    CHECK(exec_run(&k->exec, &k->run));
    k->is_running = false;
}

/* Taken for dead, but it was only slow: its answer must not count. */
static void late_answer(struct worker *k)
{
    struct worker late = *k;
    if (!k->is_running)
        return;
    die(k, false);
    CHECK(!exec_run(&late.exec, &late.run));
}

/* ---- the history ---- */

static void setup(void)
{
    static const struct serve_hooks none;
    static const struct batch_policy waits = {.delay_ns = 3 * NS_PER_MS, .preferred = {4}, .sizes = {1, 2, 4, 6}};
    struct serve_state ready = {.state = SERVED_READY, .reason = ""};
    struct err err;
    w->now_ns = 1000 * NS_PER_S;
    clock_set_source(clock_of_world);
    w->shared = model_shared_new(LANE_THREADS_MAX);
    w->shared->id = 1;
    (void)str_copy(w->shared->name, sizeof w->shared->name, STR("m"));
    (void)str_copy(w->shared->version, sizeof w->shared->version, STR("1"));
    w->shared->limits = (struct model_limits){.timeout_ns = TIMEOUT_NS, .queue_max = 16};
    w->shared->threads_draining = 1;
    if (w == &batching)
        w->shared->limits.batch = waits;
    CHECK(segment_private(4096, 4096, &w->shared->map, &err) == ERR_OK);
    struct model_desc *d = w->shared->desc = model_desc_new();
    (void)str_copy(d->inputs[0].name, sizeof d->inputs[0].name, STR("x"));
    d->inputs[0].dtype = DT_INT32;
    d->inputs[0].ndim = 2;
    d->inputs[0].dims[0] = d->inputs[0].dims[1] = -1;
    d->outputs[0] = d->inputs[0];
    d->inputs_len = d->outputs_len = 1;
    d->has_batch_dim = d->may_share = 1;
    d->max_batch = 6;
    w->serve = serve_new(0, &none);
    CHECK(serve_update(w->serve, w->shared, &ready, &err) == ERR_OK);
    CHECK(serve_model(w->serve, STR("m"), STR(""), &w->model, &err) == ERR_OK);
    for (int k = 0; k < WORKERS; k++)
        w->workers[k].exec = (struct exec){
            .segment = &w->shared->map, .backend = &backend, .desc = d, .pid = FIRST_PID + w->pids++, .index = k};
}

static void step(uint8_t op, uint8_t a, uint8_t b)
{
    struct worker *k = &w->workers[a % WORKERS];
    struct request *q = &w->requests[a % REQUESTS];
    struct err err;
    switch (op % 16) {
    default: /* most steps */
        submit(a, b);
        break;
    case 1:
    case 2:
        serve_flush(w->serve);
        break;
    case 3:
    case 4:
    case 5:
        step_worker(k);
        break;
    case 6:
    case 7:
        (void)serve_collect(w->serve);
        break;
    case 8:
        if (q->i)
            infer_cancel(q->i);
        break;
    case 9:
        if (k->is_running)
            die(k, b & 1);
        break;
    case 10:
        late_answer(k);
        break;
    case 11:
        w->now_ns += b * NS_PER_MS;
        serve_tick(w->serve, w->now_ns);
        break;
    case 12:
        if (b < 16)
            CHECK(serve_update(w->serve, w->shared, &(struct serve_state){.state = SERVED_FAILED, .reason = "broken"},
                               &err) == ERR_OK);
        else
            CHECK(serve_update(w->serve, w->shared, &(struct serve_state){.state = SERVED_READY, .reason = ""}, &err) ==
                  ERR_OK);
        break;
    }
}

/* Everything that was begun comes to its end, within its deadline. */
static void come_to_rest(void)
{
    w->is_quiet = true;
    for (int n = 0; n < 2000 && (w->in_flight || serve_is_busy(w->serve)); n++) {
        serve_flush(w->serve);
        for (int k = 0; k < WORKERS; k++)
            step_worker(&w->workers[k]);
        (void)serve_collect(w->serve);
        w->now_ns += NS_PER_MS;
        serve_tick(w->serve, w->now_ns);
    }
    CHECK(w->in_flight == 0);
    CHECK(!serve_is_busy(w->serve));
    CHECK(w->model->lane.unused == UINT32_MAX && w->model->lane.published == 0);
    for (int b = 0; b < LANE_BLOCKS; b++)
        CHECK(block_phase_of(atomic_load(&w->shared->map.shm->lane[0].blocks[b].state)) == BLOCK_FREE);
}

/* One world for all histories, since each leaves it at rest: making one costs more than a history. */
static void begin(uint8_t which)
{
    struct err err;
    w = which & 1 ? &batching : &plain;
    if (!w->serve)
        setup();
    w->is_quiet = false;
    w->shared->quarantine.len = w->shared->quarantine.next = 0;
    CHECK(serve_update(w->serve, w->shared, &(struct serve_state){.state = SERVED_READY, .reason = ""}, &err) ==
          ERR_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    begin(size > 0 ? data[0] : 0);
    for (size_t n = 1; n + 3 <= size && n < (size_t)3 * STEPS_MAX; n += 3)
        step(data[n], data[n + 1], data[n + 2]);
    come_to_rest();
    return 0;
}
