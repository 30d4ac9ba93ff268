/* Role edge: every client connection. The first thread also listens to the master and passes its news on. */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "app/edge_int.h"
#include "app/log_share.h"
#include "app/roles.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "proc/report.h"
#include "serve/client_shm.h"
#include "serve/known.h"
#include "serve/proto.h"
#include "serve/rest.h"
#include "serve/trace_file.h"
#include "sys/fd.h"
#include "sys/shm.h"

#define STUCK_NS         (10 * NS_PER_S)
#define TICK_MS          10
#define EXIT_MASTER_GONE 3

void edge_tell(struct edge *e, enum channel_type type, struct str payload)
{
    struct err err;
    pthread_mutex_lock(&e->channel_lock);
    if (channel_send(CHANNEL_FD, type, payload, NULL, 0, &err))
        _exit(EXIT_MASTER_GONE);
    pthread_mutex_unlock(&e->channel_lock);
}

static void tell_failed(struct edge *e, const struct err *err)
{
    struct buf text;
    struct json_writer j;
    buf_init(&text, CHANNEL_PAYLOAD_MAX);
    jw_init(&j, &text);
    jw_object(&j);
    jw_kv_c(&j, "text", err->text);
    jw_kv_c(&j, "remedy", err->remedy);
    jw_object_end(&j);
    edge_tell(e, CHANNEL_FAILED, buf_view(&text));
    buf_done(&text);
}

/* ---- one thread's loop ---- */

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

static void take_news(struct edge_thread *t, const struct edge_news *n)
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
    switch (n->kind) {
    case EDGE_NEWS_MODEL:
        if (serve_update(t->serve, n->shared, &state, &err))
            LOG_ERROR("model cannot be served on this thread", LOG_S("model", n->shared->name),
                      LOG_S("error", err.text));
        edge_series_key(n->shared, key);
        /* Lives of one version have the same series; one that is tried beside another must not take its place. */
        if ((!n->rollout.is_canary || !map_get(&t->series, str_c(key))) && !map_put(&t->series, str_c(key), n->shared))
            LOG_WARN("too many models for metrics", LOG_S("model", n->shared->name));
        edge_demand_news(t, n);
        break;
    case EDGE_NEWS_YIELD:
        edge_demand_yield(t, n);
        break;
    case EDGE_NEWS_EXPECT:
        edge_demand_news(t, n);
        break;
    case EDGE_NEWS_RETIRE:
        edge_series_key(n->shared, key);
        if (map_get(&t->series, str_c(key)) == n->shared)
            (void)map_take(&t->series, str_c(key));
        serve_retire(t->serve, n->segment);
        edge_demand_news(t, n);
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

/* ---- start ---- */

static void read_limits(struct json_reader *r, struct server_limits *l)
{
    struct str key;
    uint64_t v;
    json_object(r);
    while (json_key(r, &key)) {
        if (!json_u64(r, &v))
            return;
        if (str_eq_c(key, "body_bytes_max"))
            l->body_bytes_max = v;
        else if (str_eq_c(key, "head_bytes_max"))
            l->head_bytes_max = v;
        else if (str_eq_c(key, "headers_max"))
            l->headers_max = v;
        else if (str_eq_c(key, "connections_max"))
            l->connections_max = v;
        else if (str_eq_c(key, "pipeline_max"))
            l->pipeline_max = v;
        else if (str_eq_c(key, "head_timeout_ns"))
            l->head_timeout_ns = v;
        else if (str_eq_c(key, "body_timeout_ns"))
            l->body_timeout_ns = v;
        else if (str_eq_c(key, "idle_timeout_ns"))
            l->idle_timeout_ns = v;
        else if (str_eq_c(key, "send_timeout_ns"))
            l->send_timeout_ns = v;
    }
}

static enum err_code read_launch(struct edge *e, struct str text, struct err *err)
{
    struct json_reader r;
    struct str key, s = STR("");
    int64_t threads = 0;
    uint64_t expected = 0;
    bool allow_client_shm = false;
    json_init(&r, text, 8);
    json_object(&r);
    while (json_key(&r, &key)) {
        if (str_eq_c(key, "threads"))
            json_i64(&r, &threads);
        else if (str_eq_c(key, "limits"))
            read_limits(&r, &e->limits);
        else if (str_eq_c(key, "log"))
            log_share_take(&r);
        else if (str_eq_c(key, "access_log"))
            json_bool(&r, &e->access_log);
        else if (str_eq_c(key, "record_over_network"))
            json_bool(&r, &e->record_over_network);
        else if (str_eq_c(key, "base_path") && json_string(&r, &e->arena, &s))
            e->base_path = arena_str_dup(&e->arena, s);
        else if (str_eq_c(key, "allow_client_shm") && json_bool(&r, &allow_client_shm))
            client_shm_allow(allow_client_shm);
        else if (str_eq_c(key, "data") && json_string(&r, &e->arena, &s))
            (void)str_copy(e->data, sizeof e->data, s);
        else if (str_eq_c(key, "address") && json_string(&r, &e->arena, &s))
            (void)str_copy(e->address, sizeof e->address, s);
        else if (str_eq_c(key, "listen") && json_skip(&r, &s))
            e->listen_json = arena_str_dup(&e->arena, s);
        else if (str_eq_c(key, "is_serve"))
            json_bool(&r, &e->is_serve);
        else if (str_eq_c(key, "started_at_ms"))
            json_u64(&r, &e->started_at_ms);
        else if (str_eq_c(key, "models"))
            json_u64(&r, &expected);
        else
            json_skip(&r, NULL);
    }
    if (json_end(&r))
        return err_set(err, ERR_INTERNAL, "launch message: %s", r.err.text);
    if (threads < 1 || threads > LANE_THREADS_MAX)
        return err_set(err, ERR_INTERNAL, "launch message: threads");
    e->threads_len = (int)threads;
    e->models_expected = (uint32_t)expected;
    return ERR_OK;
}

/* Descriptors: doorbell memory, an eventfd for each thread, then the listening sockets. */
static enum err_code take_fds(struct edge *e, struct err *err)
{
    struct channel_msg *m = &e->msg;
    size_t first_socket = 1 + (size_t)e->threads_len;
    void *bell;
    if (m->fds_len < first_socket || m->fds_len - first_socket > ARRAY_LEN(e->listen_fds))
        return err_set(err, ERR_INTERNAL, "launch message lacks descriptors");
    if (shm_map(m->fds[0], 0, sizeof(struct doorbell_shm), true, &bell, err))
        return err->code;
    e->doorbell = bell;
    for (int i = 0; i < e->threads_len; i++)
        e->threads[i].bell_fd = m->fds[1 + i];
    for (size_t i = first_socket; i < m->fds_len; i++)
        e->listen_fds[e->listen_fds_len++] = m->fds[i];
    (void)fd_close(m->fds[0]);
    m->fds_len = 0;
    return ERR_OK;
}

static enum err_code wait_launch(struct edge *e, struct err *err)
{
    struct pollfd p = {.fd = CHANNEL_FD, .events = POLLIN};
    enum channel_result got;
    do {
        (void)poll(&p, 1, -1);
        got = channel_recv(CHANNEL_FD, &e->msg);
    } while (got == CHANNEL_EMPTY);
    if (got == CHANNEL_CLOSED)
        _exit(EXIT_MASTER_GONE);
    if (e->msg.type != CHANNEL_LAUNCH)
        return err_set(err, ERR_INTERNAL, "expected the launch message first");
    if (read_launch(e, e->msg.payload, err))
        return err->code;
    return take_fds(e, err);
}

static void init_thread(struct edge *e, int index)
{
    struct edge_thread *t = &e->threads[index];
    atomic_store(&t->alive_ns, clock_now_ns());
    struct serve_hooks hooks = {.kill_worker = kill_worker,
                                .cancel_run = cancel_run,
                                .drained = drained,
                                .park = edge_park,
                                .yielded = edge_yielded,
                                .log_chosen = log_chosen_here,
                                .arg = t};
    t->edge = e;
    t->index = index;
    (void)pthread_mutex_init(&t->inbox_lock, NULL);
    map_init(&t->series, EDGE_MODELS_MAX);
    CHECK(uv_loop_init(&t->loop) == 0);
    CHECK(uv_async_init(&t->loop, &t->inbox_async, on_inbox) == 0);
    CHECK(uv_prepare_init(&t->loop, &t->rest) == 0);
    CHECK(uv_prepare_init(&t->loop, &t->prepare) == 0);
    CHECK(uv_check_init(&t->loop, &t->check) == 0 && uv_check_start(&t->check, on_check) == 0);
    CHECK(uv_timer_init(&t->loop, &t->tick) == 0);
    CHECK(uv_poll_init(&t->loop, &t->bell, t->bell_fd) == 0 && uv_poll_start(&t->bell, UV_READABLE, on_bell) == 0);
    edge_demand_init(t);
    t->inbox_async.data = t->prepare.data = t->check.data = t->tick.data = t->bell.data = t;
    t->serve = serve_new(index, &hooks);
    size_t len;
    const struct route *routes = proto_routes(&len);
    t->router = router_new(routes, len, t->serve);
    router_error_form(t->router, "/predict", proto_predict_error);
    routes = edge_api_routes(&len);
    router_add(t->router, routes, len, t);
    t->rest.data = t;
    CHECK(uv_prepare_start(&t->rest, on_rest) == 0); /* first started, so it runs last */
    t->server = server_new(&t->loop, index, &e->limits, edge_handle, edge_metrics_done, t);
    server_on_flush(t->server, on_flush, t);
    server_defer_bodies(t->server, proto_may_defer);
    /* libuv runs the handle that was started last first: finished batches are answered before the server writes what is due. */
    CHECK(uv_prepare_start(&t->prepare, on_prepare) == 0);
}

static void *thread_main(void *arg)
{
    struct edge_thread *t = arg;
    (void)prctl(PR_SET_NAME, "quern-edge");
    (void)uv_run(&t->loop, UV_RUN_DEFAULT);
    return NULL;
}

/* The heartbeat's answer: only if every thread's loop has turned lately. Threads that sleep are woken once a second for that. */
static void pong(struct edge *e)
{
    uint64_t now = clock_now_ns();
    for (int i = 0; i < e->threads_len; i++)
        if (atomic_load_explicit(&e->threads[i].alive_ns, memory_order_relaxed) + STUCK_NS < now)
            return; /* the master draws its conclusion */
    edge_tell(e, CHANNEL_PONG, STR("{}"));
}

/* A socket that came later: the control socket, made anew. Threads listen on a duplicate, so that a place in the list can be used again. */
static void on_listen(struct edge *e, struct channel_msg *m)
{
    if (m->fds_len != 1)
        return;
    if (e->listen_fds_len == ARRAY_LEN(e->listen_fds))
        (void)fd_close(e->listen_fds[--e->listen_fds_len]);
    int fd = e->listen_fds[e->listen_fds_len++] = m->fds[0];
    m->fds_len = 0;
    if (e->listening)
        edge_broadcast(e, &(struct edge_news){.kind = EDGE_NEWS_LISTEN, .id = (uint64_t)fd});
}

static void on_channel(uv_poll_t *h, int status, int events)
{
    struct edge *e = h->data;
    (void)status;
    (void)events;
    for (;;) {
        enum channel_result got = channel_recv(CHANNEL_FD, &e->msg);
        if (got == CHANNEL_CLOSED)
            _exit(EXIT_MASTER_GONE);
        if (got == CHANNEL_EMPTY)
            return;
        if (e->msg.type == CHANNEL_MODEL) {
            edge_on_model(e, &e->msg);
        } else if (e->msg.type == CHANNEL_MODEL_GONE) {
            edge_on_model_gone(e, e->msg.payload);
        } else if (e->msg.type == CHANNEL_DIED) {
            edge_on_died(e, e->msg.payload);
        } else if (e->msg.type == CHANNEL_RELOADED) {
            edge_on_reloaded(e, e->msg.payload);
        } else if (e->msg.type == CHANNEL_LOADED) {
            edge_on_loaded(e, e->msg.payload);
        } else if (e->msg.type == CHANNEL_YIELD) {
            edge_on_yield(e, e->msg.payload);
        } else if (e->msg.type == CHANNEL_EXPECT) {
            edge_on_expect(e, e->msg.payload);
        } else if (e->msg.type == CHANNEL_KNOWN) {
            known_take(e->msg.payload);
        } else if (e->msg.type == CHANNEL_LISTEN) {
            on_listen(e, &e->msg);
        } else if (e->msg.type == CHANNEL_PING) {
            pong(e);
        } else if (e->msg.type == CHANNEL_DRAIN) {
            atomic_store(&e->draining, true);
            edge_broadcast(e, &(struct edge_news){.kind = EDGE_NEWS_DRAIN});
        }
        channel_msg_close(&e->msg);
    }
}

static void on_second(uv_timer_t *h)
{
    struct edge *e = h->data;
    for (int i = 1; i < e->threads_len; i++)
        (void)uv_async_send(&e->threads[i].inbox_async);
    edge_rollout_tick(e);
    edge_demand_second(e);
    history_sample(e->history, clock_wall_ms(), edge_rss_all(e));
}

/* While the models of the start load, who asks whether they are ready does not interrupt them: on one core that took a tenth of the time. It is a thread's own, and of
 * all classes the one that may be left without a privilege. */
static void yield_until_settled(struct edge *e)
{
    e->yields = e->models_expected > 0 && sched_getscheduler(0) == SCHED_OTHER &&
                sched_setscheduler(0, SCHED_BATCH, &(struct sched_param){0}) == 0;
}

static enum err_code start(struct edge *e, struct err *err)
{
    (void)fd_limit_raise();
    yield_until_settled(e);
    e->limits.connections_max = e->limits.connections_max / (size_t)e->threads_len + 1;
    trace_file_open(e->data);
    e->metrics = metric_set_new(e->threads_len);
    e->history = history_new();
    for (int i = 0; i < e->threads_len; i++)
        init_thread(e, i);
    uv_loop_t *loop = &e->threads[0].loop;
    CHECK(uv_poll_init(loop, &e->channel, CHANNEL_FD) == 0 &&
          uv_poll_start(&e->channel, UV_READABLE | UV_DISCONNECT, on_channel) == 0);
    CHECK(uv_timer_init(loop, &e->second) == 0 && uv_timer_start(&e->second, on_second, 1000, 1000) == 0);
    e->channel.data = e->second.data = e;
    for (int i = 1; i < e->threads_len; i++)
        if (pthread_create(&e->threads[i].pthread, NULL, thread_main, &e->threads[i]) != 0)
            return err_set(err, ERR_IO, "cannot start a thread");
    return ERR_OK;
}

int edge_main(int argc, char **argv)
{
    static struct edge e;
    struct err err = {0};
    (void)argc;
    (void)argv;
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGINT, SIG_IGN); /* Ctrl-C goes to the master, which drains us */
    (void)signal(SIGTERM, SIG_IGN);
    (void)signal(SIGHUP, SIG_IGN);
    arena_init(&e.arena, 4096, 4 << 20);
    map_init(&e.model_of, EDGE_MODELS_MAX);
    map_init(&e.life_of, EDGE_MODELS_MAX);
    (void)pthread_mutex_init(&e.models_lock, NULL);
    (void)pthread_mutex_init(&e.demand_lock, NULL);
    (void)pthread_mutex_init(&e.channel_lock, NULL);
    server_limits_default(&e.limits);
    log_init("edge", LOG_LEVEL_INFO, LOG_PEOPLE, STDERR_FILENO);
    if (report_install(&err) || wait_launch(&e, &err)) {
        LOG_ERROR("edge cannot start", LOG_S("error", err.text), LOG_S("remedy", err.remedy));
        return 1;
    }
    if (start(&e, &err)) {
        tell_failed(&e, &err);
        return 1;
    }
    edge_settle(&e);
    edge_tell(&e, CHANNEL_READY, STR("{}"));
    (void)thread_main(&e.threads[0]);
    return 0;
}
