/* One thread of the edge: its loop, what it is told by the first one, and what the serve room asks of it. */
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "app/edge_int.h"
#include "app/log_share.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "serve/proto.h"
#include "serve/rest.h"
#include "serve/trace_file.h"

#define TICK_MS 10 /* between two looks at deadlines, while there is work */

static void on_bell(uv_poll_t *h, int status, int events)
{
    struct edge_thread *t = h->data;
    uint64_t n;
    (void)status;
    (void)events;
    (void)!read(t->bell_fd, &n, sizeof n); /* prepare collects what it rang for */
}

static void on_tick(uv_timer_t *h)
{
    struct edge_thread *t = h->data;
    serve_tick(t->serve, clock_now_ns());
    if (!serve_is_busy(t->serve))
        (void)uv_timer_stop(h);
}

/* Before the loop sleeps: say so to the workers, then look once more, so that no finished batch is missed. */
static void on_prepare(uv_prepare_t *h)
{
    struct edge_thread *t = h->data;
    serve_flush(t->serve);
    atomic_store(&t->edge->doorbell->thread[t->index].sleeping, 1);
    while (serve_collect(t->serve))
        ;
    if (t->records)
        edge_record_pump(t);
    if (!uv_is_active((uv_handle_t *)&t->tick) && serve_is_busy(t->serve))
        (void)uv_timer_start(&t->tick, on_tick, TICK_MS, TICK_MS);
}

/* The last thing before the loop looks at its sockets. */
static void on_rest(uv_prepare_t *h)
{
    struct edge_thread *t = h->data;
    uint64_t rest_ns = serve_rest_ns(t->serve, clock_now_ns());
    if (rest_ns == 0)
        return;
    struct pollfd bell = {.fd = t->bell_fd, .events = POLLIN};
    struct timespec time = {.tv_nsec = (long)rest_ns};
    (void)ppoll(&bell, 1, &time, NULL); /* a signal that ends it does no harm */
}

static void on_check(uv_check_t *h)
{
    struct edge_thread *t = h->data;
    atomic_store_explicit(&t->alive_ns, uv_now(&t->loop) * NS_PER_MS, memory_order_relaxed);
    atomic_store_explicit(&t->edge->doorbell->thread[t->index].sleeping, 0, memory_order_relaxed);
}

static void on_flush(void *arg)
{
    serve_flush(((struct edge_thread *)arg)->serve);
}

static void on_thread_drained(void *arg)
{
    struct edge_thread *t = arg;
    struct edge *e = t->edge;
    if (atomic_fetch_add(&e->threads_drained, 1) + 1 < e->threads_len)
        return;
    trace_file_drain(NS_PER_S);
    edge_tell(e, CHANNEL_DRAINED, STR("{}"));
    _exit(0); /* all answers are in the kernel's hands; the process's end frees the rest */
}

static void listen_on(struct edge_thread *t, int fd)
{
    struct err err = {0};
    if (server_listen_fd(t->server, fd, &err))
        LOG_ERROR("cannot take connections", LOG_S("error", err.text), LOG_S("remedy", err.remedy));
}

/* Not before all models are known: after a restart of the edge no client hears "unknown model". */
static void listen_all(struct edge_thread *t)
{
    for (size_t i = 0; i < t->edge->listen_fds_len; i++)
        listen_on(t, t->edge->listen_fds[i]);
}

static void take_model(struct edge_thread *t, const struct edge_news *n)
{
    struct err err = {0};
    char key[EDGE_SERIES_MAX];
    struct serve_state state = {.state = n->state,
                                .reason = n->reason,
                                .rollout = n->rollout.is_canary ? &n->rollout : NULL,
                                .labels = n->labels,
                                .is_on_demand = n->is_on_demand,
                                .instances = n->instances,
                                .instances_ready = n->instances_ready};
    if (serve_update(t->serve, n->shared, &state, &err))
        LOG_ERROR("model cannot be served on this thread", LOG_S("model", n->shared->name), LOG_S("error", err.text));
    edge_series_key(n->shared, key);
    /* Lives of one version have the same series; one that is tried beside another must not take its place. */
    if ((!n->rollout.is_canary || !map_get(&t->series, str_c(key))) && !map_put(&t->series, str_c(key), n->shared))
        LOG_WARN("too many models for metrics", LOG_S("model", n->shared->name));
    edge_demand_news(t, n);
}

static void retire_model(struct edge_thread *t, const struct edge_news *n)
{
    char key[EDGE_SERIES_MAX];
    edge_series_key(n->shared, key);
    if (map_get(&t->series, str_c(key)) == n->shared)
        (void)map_take(&t->series, str_c(key));
    serve_retire(t->serve, n->segment);
    edge_demand_news(t, n);
}

static void take_news(struct edge_thread *t, const struct edge_news *n)
{
    switch (n->kind) {
    case EDGE_NEWS_MODEL:
        take_model(t, n);
        break;
    case EDGE_NEWS_YIELD:
        edge_demand_yield(t, n);
        break;
    case EDGE_NEWS_EXPECT:
        edge_demand_news(t, n);
        break;
    case EDGE_NEWS_RETIRE:
        retire_model(t, n);
        break;
    case EDGE_NEWS_DIED:
        serve_worker_died(t->serve, n->segment, n->pid, n->flag);
        break;
    case EDGE_NEWS_SETTLED:
        if (t->edge->yields)
            (void)sched_setscheduler(0, SCHED_OTHER, &(struct sched_param){0});
        serve_set_settled(t->serve, n->flag);
        break;
    case EDGE_NEWS_LISTEN:
        if (n->id == 0)
            listen_all(t);
        else
            listen_on(t, (int)n->id);
        break;
    case EDGE_NEWS_RELOADED:
        edge_answer_reload(t, n);
        break;
    case EDGE_NEWS_LOADED:
        edge_answer_load(t, n);
        break;
    case EDGE_NEWS_DRAIN:
        edge_record_end_all(t);
        edge_demand_news(t, n);
        server_drain(t->server, on_thread_drained, t);
        break;
    }
}

static void on_inbox(uv_async_t *h)
{
    struct edge_thread *t = h->data;
    pthread_mutex_lock(&t->inbox_lock);
    struct edge_news *n = t->inbox_first;
    t->inbox_first = t->inbox_last = NULL;
    pthread_mutex_unlock(&t->inbox_lock);
    while (n) {
        struct edge_news *next = n->next;
        take_news(t, n);
        (void)model_shared_unref(n->shared);
        free(n);
        n = next;
    }
}

void edge_broadcast(struct edge *e, const struct edge_news *news)
{
    for (int i = 0; i < e->threads_len; i++) {
        struct edge_thread *t = &e->threads[i];
        struct edge_news *n = malloc(sizeof *n);
        CHECK(n);
        *n = *news;
        n->next = NULL;
        if (n->shared)
            (void)model_shared_ref(n->shared);
        pthread_mutex_lock(&t->inbox_lock);
        if (t->inbox_last)
            t->inbox_last->next = n;
        else
            t->inbox_first = n;
        t->inbox_last = n;
        pthread_mutex_unlock(&t->inbox_lock);
        (void)uv_async_send(&t->inbox_async);
    }
}

/* ---- what the serve room asks of us ---- */

static void kill_worker(void *arg, uint32_t segment, uint32_t pid, const char *reason)
{
    struct edge_thread *t = arg;
    char text[400];
    (void)snprintf(text, sizeof text, "{\"segment\":%u,\"pid\":%u,\"reason\":\"%s\"}", segment, pid, reason);
    edge_tell(t->edge, CHANNEL_KILL, str_c(text));
}

static void cancel_run(void *arg, uint32_t segment, uint32_t pid, uint32_t lane, uint32_t block, uint32_t gen)
{
    struct edge_thread *t = arg;
    char text[200];
    (void)snprintf(text, sizeof text, "{\"segment\":%u,\"pid\":%u,\"lane\":%u,\"block\":%u,\"gen\":%u}", segment, pid,
                   lane, block, gen);
    edge_tell(t->edge, CHANNEL_CANCEL, str_c(text));
}

/* We log so already; the others are to follow. */
static void log_chosen_here(void *arg)
{
    struct edge_thread *t = arg;
    struct buf text;
    struct json_writer w;
    buf_init(&text, CHANNEL_PAYLOAD_MAX);
    jw_init(&w, &text);
    log_share_write(&w);
    edge_tell(t->edge, CHANNEL_LOG_CHOSEN, buf_view(&text));
    buf_done(&text);
}

static void drained(void *arg, uint32_t segment)
{
    struct edge_thread *t = arg;
    char text[80];
    (void)snprintf(text, sizeof text, "{\"segment\":%u}", segment);
    edge_tell(t->edge, CHANNEL_DRAINED, str_c(text));
}

static void init_loop(struct edge_thread *t)
{
    CHECK(uv_loop_init(&t->loop) == 0);
    CHECK(uv_async_init(&t->loop, &t->inbox_async, on_inbox) == 0);
    CHECK(uv_prepare_init(&t->loop, &t->rest) == 0);
    CHECK(uv_prepare_init(&t->loop, &t->prepare) == 0);
    CHECK(uv_check_init(&t->loop, &t->check) == 0 && uv_check_start(&t->check, on_check) == 0);
    CHECK(uv_timer_init(&t->loop, &t->tick) == 0);
    CHECK(uv_poll_init(&t->loop, &t->bell, t->bell_fd) == 0 && uv_poll_start(&t->bell, UV_READABLE, on_bell) == 0);
    t->inbox_async.data = t->rest.data = t->prepare.data = t->check.data = t->tick.data = t->bell.data = t;
}

static struct router *make_router(struct edge_thread *t)
{
    size_t len;
    const struct route *routes = proto_routes(&len);
    struct router *r = router_new(routes, len, t->serve);
    router_error_form(r, "/predict", proto_predict_error);
    routes = edge_api_routes(&len);
    router_add(r, routes, len, t);
    return r;
}

void edge_thread_init(struct edge *e, int index)
{
    struct edge_thread *t = &e->threads[index];
    struct serve_hooks hooks = {.kill_worker = kill_worker,
                                .cancel_run = cancel_run,
                                .drained = drained,
                                .park = edge_park,
                                .yielded = edge_yielded,
                                .log_chosen = log_chosen_here,
                                .arg = t};
    t->edge = e;
    t->index = index;
    atomic_store(&t->alive_ns, clock_now_ns());
    (void)pthread_mutex_init(&t->inbox_lock, NULL);
    map_init(&t->series, EDGE_MODELS_MAX);
    init_loop(t);
    edge_demand_init(t);
    t->serve = serve_new(index, &hooks);
    t->router = make_router(t);
    /* libuv runs the handle that was started last first: finished batches are answered, then the server writes what is due, then the thread rests. */
    CHECK(uv_prepare_start(&t->rest, on_rest) == 0);
    t->server = server_new(&t->loop, index, &e->limits, edge_handle, edge_metrics_done, t);
    server_on_flush(t->server, on_flush, t);
    server_defer_bodies(t->server, proto_may_defer);
    CHECK(uv_prepare_start(&t->prepare, on_prepare) == 0);
}
