/* Two edge threads and two workers over one segment, every result checked. Under ThreadSanitizer this shows whether the block states alone order all accesses:
 * so all sides use one mapping (two mappings of the same memory look like different memory to it). */
#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "base/clock.h"
#include "rig.h"
#include "sys/futex.h"

#define EDGES    2
#define WORKERS  2
#define REQUESTS 20000 /* of each edge thread */
#define OPEN_MAX 48    /* at once, of each edge thread: some wait in the queue */

struct edge {
    struct serve *serve;
    struct served *model;
    struct slot {
        struct edge *edge;
        struct infer i;
        struct infer_tensor in[2];
        uint32_t rows;
        int32_t first;
        char id[32];
        struct slot *next_free;
    } slots[OPEN_MAX];
    struct slot *free;
    uint32_t submitted, answered, cancelled, wrong;
    uint64_t batched; /* answers that shared a run */
};

static struct rig rig;
static _Atomic uint32_t stop, edges_finished;
static uint32_t death_every;                  /* claims; 0: never */
static _Atomic uint32_t dead[EDGES][WORKERS]; /* pids, as the master tells them to each edge thread */

static enum err_code decode(struct infer *i, struct err *err)
{
    struct slot *s = i->owner;
    int32_t *x = (void *)i->in[0].data;
    (void)err;
    for (uint32_t e = 0; e < 2 * s->rows; e++)
        x[e] = s->first + (int32_t)e;
    return ERR_OK;
}

static void done(struct infer *i)
{
    struct slot *s = i->owner;
    struct edge *e = s->edge;
    bool is_right = i->err.code == ERR_OK && i->out[0].bytes == 8 * s->rows;
    const int32_t *y = is_right ? (const void *)i->out[0].data : NULL;
    for (uint32_t k = 0; y && k < 2 * s->rows; k++)
        is_right &= y[k] == 2 * (s->first + (int32_t)k);
    if (i->err.code == ERR_CANCELLED)
        e->cancelled++;
    else if (!is_right)
        e->wrong++;
    e->batched += i->err.code == ERR_OK && i->batch_rows > s->rows;
    e->answered++;
    s->next_free = e->free;
    e->free = s;
}

static void submit(struct edge *e)
{
    struct slot *s = e->free;
    uint32_t n = e->submitted++;
    e->free = s->next_free;
    s->rows = 1 + n % 3;
    s->first = (int32_t)(n * 7);
    memset(&s->i, 0, sizeof s->i);
    s->in[0] = (struct infer_tensor){.ndim = 2, .dims = {s->rows, 2}, .dtype = DT_INT32, .given = true};
    s->i.serve = e->serve;
    s->i.model = e->model;
    s->i.in = s->in;
    s->i.decode = decode;
    s->i.done = done;
    s->i.owner = s;
    s->i.request_id = s->id;
    infer_submit(&s->i);
    if (n % 97 == 0)
        infer_cancel(&s->i);
}

static void hear_of_deaths(struct edge *e, int thread)
{
    for (int w = 0; w < WORKERS; w++) {
        uint32_t pid = atomic_exchange(&dead[thread][w], 0);
        if (pid)
            serve_worker_died(e->serve, rig.shared->id, pid, false);
    }
}

static void *edge_main(void *arg)
{
    struct edge *e = arg;
    int thread = e->serve->thread;
    while (e->answered < REQUESTS) {
        for (uint32_t n = 0; n < 1 + e->submitted % 11 && e->free && e->submitted < REQUESTS; n++)
            submit(e);
        serve_flush(e->serve);
        hear_of_deaths(e, thread);
        if (!serve_collect(e->serve))
            (void)sched_yield();
        if (e->submitted % 64 == 0)
            serve_tick(e->serve, clock_now_ns());
    }
    atomic_fetch_add(&edges_finished, 1);
    while (serve_is_busy(e->serve) || atomic_load(&edges_finished) < EDGES) { /* workers wait until all hear them */
        hear_of_deaths(e, thread);
        if (!serve_collect(e->serve))
            (void)sched_yield();
    }
    return NULL;
}

/* Leaves its block RUNNING; the next life has another pid. */
static void die(struct exec *x)
{
    for (int t = 0; t < EDGES; t++)
        while (atomic_load(&dead[t][x->index]) && !atomic_load(&stop)) /* still news of the last death */
            (void)sched_yield();
    for (int t = 0; t < EDGES; t++)
        atomic_store(&dead[t][x->index], x->pid);
    x->pid += WORKERS;
}

/* As a worker process does it: look, then sleep on the word that edges change. */
static void *worker_main(void *arg)
{
    struct exec *x = arg;
    uint32_t claims = 0;
    struct segment_shm *shm = x->segment->shm;
    uint64_t bit = UINT64_C(1) << x->index;
    while (!atomic_load(&stop)) {
        uint32_t seen = atomic_load(&shm->work);
        struct exec_block b;
        if (exec_claim(x, &b)) {
            if (death_every && ++claims % death_every == 0)
                die(x);
            else
                EXPECT(exec_run(x, &b));
            continue;
        }
        atomic_fetch_or(&shm->waiting, bit);
        futex_wait(&shm->work, seen, 10 * NS_PER_MS);
        atomic_fetch_and(&shm->waiting, ~bit);
    }
    return NULL;
}

static void edge_init(struct edge *e, int thread)
{
    struct err err;
    e->serve = thread == 0 ? rig.serve : rig_thread(&rig, thread);
    if (serve_model(e->serve, STR("m"), STR(""), &e->model, &err))
        FAIL("%s", err.text);
    for (int k = 0; k < OPEN_MAX; k++) {
        struct slot *s = &e->slots[k];
        s->edge = e;
        (void)snprintf(s->id, sizeof s->id, "e%d-%d", thread, k);
        s->next_free = e->free;
        e->free = s;
    }
}

static void run_all(void)
{
    static struct edge edges[EDGES];
    struct exec workers[WORKERS];
    struct rig_worker states[WORKERS] = {0};
    pthread_t edge_threads[EDGES], worker_threads[WORKERS];
    rig_init(&rig,
             &(struct rig_opt){.lanes = EDGES, .max_batch = 8, .queue_max = EDGES * OPEN_MAX, .is_real_time = true});
    rig.shared->limits.timeout_ns = 60 * NS_PER_S;
    for (int t = 0; t < EDGES; t++)
        edge_init(&edges[t], t);
    for (int w = 0; w < WORKERS; w++) {
        workers[w] = rig.worker;
        workers[w].segment = &rig.shared->map;
        workers[w].instance = &states[w];
        workers[w].index = w;
        workers[w].pid = RIG_DEAD_PID + (uint32_t)w;
        EXPECT_EQ(pthread_create(&worker_threads[w], NULL, worker_main, &workers[w]), 0);
    }
    for (int t = 0; t < EDGES; t++)
        EXPECT_EQ(pthread_create(&edge_threads[t], NULL, edge_main, &edges[t]), 0);
    for (int t = 0; t < EDGES; t++)
        (void)pthread_join(edge_threads[t], NULL);
    atomic_store(&stop, 1);
    for (int w = 0; w < WORKERS; w++)
        (void)pthread_join(worker_threads[w], NULL);
    for (int t = 0; t < EDGES; t++) {
        EXPECT_EQ(edges[t].answered, REQUESTS);
        EXPECT_EQ(edges[t].wrong, 0);
        EXPECT(edges[t].cancelled > 0);
        EXPECT(edges[t].batched > 0);
    }
    EXPECT(states[0].runs > 0);
    EXPECT(states[1].runs > 0);
    EXPECT_EQ(rig.kills, 0);
    uint32_t deaths = 0; /* on a busy machine one worker may do nearly all of the work */
    for (uint32_t w = 0; w < WORKERS; w++)
        deaths += (workers[w].pid - RIG_DEAD_PID) / WORKERS;
    EXPECT(!death_every || deaths > 20 * WORKERS);
    serve_free(edges[1].serve);
    rig_done(&rig);
}

TEST_SLOW(every_result_is_right_with_threads_on_both_sides, 60)
{
    run_all();
}

TEST_SLOW(every_result_is_right_while_workers_die, 60)
{
    death_every = 50;
    run_all();
}
