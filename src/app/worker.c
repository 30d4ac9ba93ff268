/* Role worker: one instance of one model. The main thread listens to the master and can abort a run; the run thread claims blocks from the model's
 * segment and runs them. The model's file is opened only after the sandbox has closed. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "app/log_share.h"
#include "app/roles.h"
#include "app/worker_check.h"
#include "app/worker_learned.h"
#include "app/worker_scale.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "model/declared.h"
#include "model/repo/fingerprint.h"
#include "model/warmup.h"
#include "proc/channel.h"
#include "proc/report.h"
#include "serve/current_run.h"
#include "sys/cpu.h"
#include "sys/fd.h"
#include "sys/futex.h"
#include "sys/pieces.h"
#include "sys/sandbox.h"
#include "sys/shm.h"
#include "sys/slice.h"

#define SPIN_NS      (20 * NS_PER_US) /* looking for more work before sleeping, when cores are to spare */
#define WAIT_NS      (1 * NS_PER_S)
#define GIVE_BACK_NS (10 * NS_PER_S) /* without a run: others may need the memory more */
#define PARAMS_MAX   64

struct worker {
    struct arena arena;
    struct channel_msg msg;
    /* from CHANNEL_LAUNCH */
    const char *model, *version, *path, *root, *scratch, *engine_dir;
    struct str backend_name;
    struct backend_param params[PARAMS_MAX];
    size_t params_len;
    struct warmup warmup;
    struct declared declared;
    int64_t index, threads, max_batch, edge_threads;
    bool spin;
    struct scale_limits scale; /* budget > 0: this one does not serve, it tries */
    /* */
    const struct backend *backend;
    void *instance;
    struct segment_map segment;
    struct model_desc *desc;
    struct exec exec;
    struct doorbell_shm *doorbell;
    int bells[LANE_THREADS_MAX];
    bool has_run;                       /* since it was idle last */
    uint64_t idle_since_ns;             /* 0: what runs took is given back */
    _Atomic uint32_t draining, leaving; /* leaving: others do what waits */
    struct current_run current;
    struct worker_check check;
};

/* ---- launch message ---- */

static bool read_params(struct worker *w, struct json_reader *r)
{
    struct str key, value;
    json_object(r);
    while (json_key(r, &key)) {
        json_string(r, &w->arena, &value);
        if (w->params_len < PARAMS_MAX && !r->failed)
            w->params[w->params_len++] =
                (struct backend_param){arena_cstr(&w->arena, key), arena_cstr(&w->arena, value)};
    }
    return !r->failed;
}

static const char *text_of(struct worker *w, struct json_reader *r)
{
    struct str s = STR("");
    json_string(r, &w->arena, &s);
    return s.n ? arena_cstr(&w->arena, s) : NULL;
}

static enum err_code read_launch(struct worker *w, struct str text, struct err *err)
{
    struct json_reader r;
    struct str key;
    json_init(&r, text, 8);
    json_object(&r);
    while (json_key(&r, &key)) {
        if (str_eq_c(key, "model"))
            w->model = text_of(w, &r);
        else if (str_eq_c(key, "version"))
            w->version = text_of(w, &r);
        else if (str_eq_c(key, "path"))
            w->path = text_of(w, &r);
        else if (str_eq_c(key, "root"))
            w->root = text_of(w, &r);
        else if (str_eq_c(key, "scratch"))
            w->scratch = text_of(w, &r);
        else if (str_eq_c(key, "engine_dir"))
            w->engine_dir = text_of(w, &r);
        else if (str_eq_c(key, "backend"))
            w->backend_name = str_c(text_of(w, &r));
        else if (str_eq_c(key, "parameters"))
            read_params(w, &r);
        else if (str_eq_c(key, "warm_up"))
            warmup_read(&r, &w->arena, &w->warmup);
        else if (str_eq_c(key, "declared"))
            declared_read(&r, &w->arena, &w->declared);
        else if (str_eq_c(key, "index"))
            json_i64(&r, &w->index);
        else if (str_eq_c(key, "threads"))
            json_i64(&r, &w->threads);
        else if (str_eq_c(key, "max_batch"))
            json_i64(&r, &w->max_batch);
        else if (str_eq_c(key, "edge_threads"))
            json_i64(&r, &w->edge_threads);
        else if (str_eq_c(key, "log"))
            log_share_take(&r);
        else if (str_eq_c(key, "scale"))
            worker_scale_read(&r, &w->scale);
        else if (str_eq_c(key, "spin"))
            json_bool(&r, &w->spin);
        else
            json_skip(&r, NULL);
    }
    if (json_end(&r))
        return err_set(err, ERR_INTERNAL, "launch message: %s", r.err.text);
    w->backend = backend_by_name(w->backend_name);
    if (!w->model || !w->backend || w->index < 0 || w->index >= LANE_INSTANCES_MAX || w->edge_threads < 1 ||
        w->edge_threads > LANE_THREADS_MAX)
        return err_set(err, ERR_INTERNAL, "launch message is incomplete");
    return ERR_OK;
}

/* Descriptors of the launch message: segment, doorbell memory, one eventfd for each edge thread. */
static enum err_code take_fds(struct worker *w, struct err *err)
{
    struct channel_msg *m = &w->msg;
    if (m->fds_len < 2)
        return err_set(err, ERR_INTERNAL, "launch message lacks descriptors");
    void *bell;
    if (segment_open(m->fds[0], SEGMENT_WORKER, &w->segment, err))
        return err->code;
    (void)fd_close(m->fds[0]);
    if (shm_map(m->fds[1], 0, sizeof(struct doorbell_shm), true, &bell, err))
        return err->code;
    (void)fd_close(m->fds[1]);
    w->doorbell = bell;
    for (size_t i = 2; i < m->fds_len; i++)
        w->bells[i - 2] = m->fds[i];
    return ERR_OK;
}

static enum err_code wait_launch(struct worker *w, struct err *err)
{
    for (;;) {
        struct pollfd p = {.fd = CHANNEL_FD, .events = POLLIN};
        (void)poll(&p, 1, -1);
        enum channel_result got = channel_recv(CHANNEL_FD, &w->msg);
        if (got == CHANNEL_CLOSED)
            _exit(EXIT_MASTER_GONE);
        if (got == CHANNEL_MESSAGE)
            break;
    }
    if (w->msg.type != CHANNEL_LAUNCH)
        return err_set(err, ERR_INTERNAL, "expected the launch message first");
    if (read_launch(w, w->msg.payload, err))
        return err->code;
    return take_fds(w, err);
}

/* ---- loading ---- */

static enum err_code close_in(struct worker *w, struct err *err)
{
    struct sandbox box = {0};
    sandbox_allow_system(&box);
    if (w->root)
        sandbox_allow_read(&box, w->root);
    if (w->path)
        sandbox_allow_read(&box, w->path);
    if (w->warmup.folder)
        sandbox_allow_read(&box, w->warmup.folder);
    if (w->scratch)
        sandbox_allow_write(&box, w->scratch);
    return sandbox_enter(&box, err);
}

/* What another instance, or one before a restart, has found out of the same model. The memory is shared with it: it is checked like a stranger's. */
static bool adopt_batching(struct worker *w)
{
    const struct segment_shm *shm = w->segment.shm;
    struct err err;
    if (atomic_load(&shm->described) != 2)
        return false;
    struct model_desc *theirs = arena_zalloc(&w->arena, sizeof *theirs), *ours = w->desc;
    memcpy(theirs, &shm->desc, sizeof *theirs);
    if (model_desc_check(theirs, &err) || theirs->inputs_len != ours->inputs_len ||
        theirs->outputs_len != ours->outputs_len ||
        memcmp(theirs->inputs, ours->inputs, sizeof ours->inputs[0] * ours->inputs_len) != 0 ||
        memcmp(theirs->outputs, ours->outputs, sizeof ours->outputs[0] * ours->outputs_len) != 0)
        return false;
    ours->has_batch_dim = theirs->has_batch_dim;
    ours->may_share = theirs->may_share;
    ours->max_batch = theirs->max_batch;
    memcpy(ours->batch_reason, theirs->batch_reason, sizeof ours->batch_reason);
    ours->measures_len = theirs->measures_len;
    memcpy(ours->measures, theirs->measures, sizeof ours->measures);
    return true;
}

/* Where the time of a start goes, for the log. */
struct laps {
    uint64_t at_ns;
    size_t len;
    char text[240];
};

static void lap(struct laps *l, const char *what)
{
    uint64_t now = clock_now_ns();
    int n = snprintf(l->text + l->len, sizeof l->text - l->len, "%s%s %.1f", l->len ? ", " : "", what,
                     (double)(now - l->at_ns) / NS_PER_MS);
    l->len = n > 0 && l->len + (size_t)n < sizeof l->text ? l->len + (size_t)n : l->len;
    l->at_ns = now;
}

static enum err_code load(struct worker *w, struct err *err)
{
    const struct backend *b = w->backend;
    struct backend_load opt = {
        .name = w->model,
        .path = w->path,
        .root = w->root,
        .cache_dir = w->scratch,
        .engine_dir = w->engine_dir,
        .params = w->params,
        .params_len = w->params_len,
        .threads = (int)w->threads,
        .max_batch = w->max_batch,
        /* One of this model has served: it died, or needs help. */
        .is_urgent = atomic_load(&w->segment.shm->described) == 2,
    };
    uint64_t start_ns = clock_now_ns();
    struct laps laps = {.at_ns = start_ns};
    if (b->engine_open && b->engine_open(&opt, err))
        return err->code;
    lap(&laps, "engine");
    if (close_in(w, err))
        return err->code;
    lap(&laps, "sandbox");
    if (w->path && repo_verify(w->path, err))
        return err->code;
    if (b->load(&opt, &w->instance, err) || b->describe(w->instance, w->desc, err) ||
        declared_check(&w->declared, w->desc, err))
        return err->code;
    lap(&laps, "model");
    if (!adopt_batching(w))
        learned_batching(b, w->instance, &opt, w->desc);
    if (w->scale.budget > 0)
        worker_scale(b, &opt, w->instance, w->desc, &w->scale);
    if (warmup_run(&w->warmup, b, w->instance, w->desc, err))
        return err->code;
    lap(&laps, "batching");
    struct proc_usage usage;
    if (proc_usage_read(getpid(), &usage))
        w->desc->memory_bytes = usage.private_bytes;
    lap(&laps, "memory");
    w->desc->load_ns = clock_now_ns() - start_ns;
    LOG_DEBUG("model loaded", LOG_S("ms", laps.text));
    return model_desc_check(w->desc, err);
}

/* All instances of a model describe it alike; the first one's words stay, so that the edge never sees them change. */
static void describe(struct worker *w)
{
    struct segment_shm *shm = w->segment.shm;
    uint32_t none = 0;
    if (atomic_compare_exchange_strong(&shm->described, &none, 1)) {
        memcpy(&shm->desc, w->desc, sizeof shm->desc);
        atomic_store(&shm->described, 2);
    }
}

/* ---- running ---- */

static void ring_edge(struct worker *w, uint32_t lane)
{
    if (lane >= (uint32_t)w->edge_threads || !atomic_exchange(&w->doorbell->thread[lane].sleeping, 0))
        return;
    uint64_t one = 1;
    (void)!write(w->bells[lane], &one, sizeof one); /* full counter: it is awake already */
}

static bool run_one(struct worker *w)
{
    struct exec_block b;
    if (!exec_claim(&w->exec, &b))
        return false;
    current_run_begin(&w->current, &b);
    uint64_t began_ns = log_enabled(LOG_LEVEL_DEBUG) ? clock_now_ns() : 0;
    (void)exec_run(&w->exec, &b); /* false: the block went elsewhere meanwhile; the answer is void */
    current_run_end(&w->current);
    w->has_run = true;
    if (began_ns > 0)
        LOG_DEBUG("run ended", LOG_U("lane", b.lane), LOG_U("block", b.block),
                  LOG_U("us", (clock_now_ns() - began_ns) / NS_PER_US));
    if (!exec_may_ring_later(&w->exec, b.lane))
        ring_edge(w, b.lane);
    return true;
}

/* Nothing more to run: what was left for later is due. */
static void ring_rest(struct worker *w)
{
    for (uint32_t lane = 0; lane < (uint32_t)w->edge_threads; lane++) {
        if (w->exec.unrung_runs[lane] > 0)
            ring_edge(w, lane);
        w->exec.unrung_runs[lane] = 0;
    }
}

static bool spin_for_work(const struct worker *w, uint32_t seen)
{
    if (!w->spin)
        return false;
    uint64_t until = clock_now_ns() + SPIN_NS;
    while (clock_now_ns() < until) {
        for (int i = 0; i < 32; i++) {
            if (atomic_load_explicit(&w->segment.shm->work, memory_order_acquire) != seen)
                return true;
            cpu_relax();
        }
    }
    return false;
}

/* Until work comes, or until a batch that waits for more rows has waited long enough. */
static uint64_t wait_ns(const struct worker *w)
{
    uint64_t ready = w->exec.next_ready_ns, now = clock_now_ns();
    if (ready == 0 || ready > now + WAIT_NS)
        return WAIT_NS;
    return ready > now ? ready - now : 0;
}

/* Called when there is nothing to run. */
static void rest(struct worker *w)
{
    uint64_t now = clock_now_ns();
    if (w->has_run)
        w->idle_since_ns = now;
    w->has_run = false;
    if (w->idle_since_ns == 0 || now < w->idle_since_ns + GIVE_BACK_NS)
        return;
    pieces_give_back();
    w->idle_since_ns = 0;
}

static void *run_loop(void *arg)
{
    struct worker *w = arg;
    struct segment_shm *shm = w->segment.shm;
    uint64_t bit = UINT64_C(1) << w->index;
    for (;;) {
        uint32_t seen = atomic_load(&shm->work);
        w->exec.is_draining = atomic_load(&w->draining);
        if (!atomic_load(&w->leaving) && run_one(w))
            continue;
        ring_rest(w);
        if (!atomic_load(&w->leaving) && spin_for_work(w, seen))
            continue;
        if (atomic_load(&w->draining))
            break;
        rest(w);
        atomic_fetch_or(&shm->waiting, bit);
        futex_wait(&shm->work, seen, wait_ns(w));
        atomic_fetch_and(&shm->waiting, ~bit);
    }
    return NULL;
}

/* ---- lifecycle ---- */

static void tell(enum channel_type type, struct str payload)
{
    struct err err;
    if (channel_send(CHANNEL_FD, type, payload, NULL, 0, &err))
        _exit(EXIT_MASTER_GONE);
}

/* Ends without exit handlers: those of an engine that is half loaded may crash or hang, and the sandbox is closed. */
static _Noreturn void give_up(const struct err *e)
{
    struct buf text;
    buf_init(&text, CHANNEL_PAYLOAD_MAX);
    channel_write_err(&text, 0, e);
    tell(CHANNEL_FAILED, buf_view(&text));
    _exit(1);
}

static void on_abort(struct worker *w, struct str payload)
{
    struct json_reader r;
    struct str key;
    uint64_t lane = 0, block = 0, gen = 0;
    json_init(&r, payload, 4);
    json_object(&r);
    while (json_key(&r, &key)) {
        if (str_eq_c(key, "lane"))
            json_u64(&r, &lane);
        else if (str_eq_c(key, "block"))
            json_u64(&r, &block);
        else if (str_eq_c(key, "gen"))
            json_u64(&r, &gen);
        else
            json_skip(&r, NULL);
    }
    if (json_end(&r))
        return;
    struct exec_block b = {.lane = (uint32_t)lane, .block = (uint32_t)block, .gen = (uint32_t)gen};
    (void)current_run_abort(&w->current, &b, w->backend, w->instance);
}

/* Its outputs may be wrong: it begins nothing more. The master ends it, so that even the run in progress is done again, by one that loads anew. */
static void report_damage(struct worker *w)
{
    struct buf text;
    atomic_store(&w->leaving, 1);
    buf_init(&text, CHANNEL_PAYLOAD_MAX);
    channel_write_err(&text, 0, &w->check.err);
    tell(CHANNEL_DAMAGED, buf_view(&text));
    buf_done(&text);
}

/* Until drained, or the master is gone. */
static void lifecycle(struct worker *w, pthread_t runner)
{
    for (;;) {
        struct pollfd p[2] = {{.fd = CHANNEL_FD, .events = POLLIN}, {.fd = w->check.bell, .events = POLLIN}};
        (void)poll(p, 2, -1);
        if (p[1].revents != 0 && worker_check_end(&w->check))
            report_damage(w);
        enum channel_result got = channel_recv(CHANNEL_FD, &w->msg);
        if (got == CHANNEL_CLOSED)
            _exit(EXIT_MASTER_GONE); /* a run in progress has nobody to answer to */
        if (got == CHANNEL_EMPTY)
            continue;
        channel_msg_close(&w->msg);
        if (w->msg.type == CHANNEL_PING) {
            tell(CHANNEL_PONG, STR("{}"));
            worker_check_tick(&w->check);
        }
        if (w->msg.type == CHANNEL_LOG)
            log_share_take_text(w->msg.payload);
        if (w->msg.type == CHANNEL_ABORT)
            on_abort(w, w->msg.payload);
        if (w->msg.type != CHANNEL_DRAIN)
            continue;
        if (str_contains(w->msg.payload, STR("\"leave\":true")))
            atomic_store(&w->leaving, 1);
        atomic_store(&w->draining, 1);
        atomic_fetch_add(&w->segment.shm->work, 1);
        futex_wake(&w->segment.shm->work, INT_MAX);
        (void)pthread_join(runner, NULL);
        tell(CHANNEL_DRAINED, STR("{}"));
        _exit(0); /* the process's end gives all memory back; unloading first would only cost time */
    }
}

/* The master's message came, so that whoever forked us for the stem is gone and the master is our parent. */
static bool dies_with(int parent)
{
    return prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == parent;
}

/* parent: 0 for a process that began as a worker. */
static int work(int parent)
{
    static struct worker w;
    static char role[160];
    struct err err = {0};
    pthread_t runner;
    slice_set(SLICE_LOADING); /* where the stem has forked us; until it serves */
    /* One heap: the run thread takes what trial runs of the main thread have left, in place of as much of its own. */
    (void)mallopt(M_ARENA_MAX, 1);
    (void)signal(SIGINT, SIG_IGN); /* Ctrl-C goes to the master, which drains us */
    (void)signal(SIGTERM, SIG_IGN);
    (void)signal(SIGHUP, SIG_IGN);
    arena_init(&w.arena, 4096, 1 << 20);
    current_run_init(&w.current);
    w.desc = arena_zalloc(&w.arena, sizeof *w.desc);
    if (report_install(&err) || wait_launch(&w, &err)) {
        LOG_ERROR("worker cannot start", LOG_S("error", err.text), LOG_S("remedy", err.remedy));
        return 1;
    }
    if (parent != 0 && !dies_with(parent))
        return EXIT_MASTER_GONE;
    (void)snprintf(role, sizeof role, "worker %s@%s#%lld", w.model, w.version ? w.version : "1", (long long)w.index);
    struct log_choice log = log_chosen(); /* of the launch message */
    log_init(role, LOG_LEVEL_WARN, LOG_PEOPLE, STDERR_FILENO);
    log_choose(&log);
    (void)prctl(PR_SET_NAME, "quern-worker");
    if (load(&w, &err))
        give_up(&err);
    pieces_give_back(); /* a model that is not asked holds no memory of trial runs */
    w.exec = (struct exec){.segment = &w.segment,
                           .backend = w.backend,
                           .instance = w.instance,
                           .desc = w.desc,
                           .pid = (uint32_t)getpid(),
                           .index = (int)w.index};
    describe(&w);
    worker_check_init(&w.check, w.backend, w.instance);
    slice_set(SLICE_DEFAULT);
    int errnum = pthread_create(&runner, NULL, run_loop, &w);
    if (errnum != 0) { /* what it lacks may be there at the next try: the master plans that */
        (void)err_sys(&err, ERR_IO, errnum, "cannot start the run thread");
        LOG_ERROR("worker cannot start", LOG_S("error", err.text),
                  LOG_S("remedy", "allow more processes (ulimit -u; TasksMax= of a systemd unit; pids.max)"));
        return 1;
    }
    char ready[WORKER_READY_BYTES];
    tell(CHANNEL_READY, worker_ready_text(w.desc, ready));
    lifecycle(&w, runner);
    return 0;
}

int worker_main(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    return work(0);
}

int worker_forked(int parent)
{
    return work(parent);
}
