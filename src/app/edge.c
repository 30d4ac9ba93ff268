/* Role edge: every client connection. The first thread also listens to the master and passes its news on. */
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "app/edge_int.h"
#include "app/roles.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "proc/report.h"
#include "serve/known.h"
#include "serve/trace_file.h"
#include "sys/fd.h"

#define STUCK_NS (10 * NS_PER_S)

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

static void on_message(struct edge *e, struct channel_msg *m)
{
    switch ((int)m->type) {
    case CHANNEL_MODEL:
        edge_on_model(e, m);
        break;
    case CHANNEL_MODEL_GONE:
        edge_on_model_gone(e, m->payload);
        break;
    case CHANNEL_DIED:
        edge_on_died(e, m->payload);
        break;
    case CHANNEL_RELOADED:
        edge_on_reloaded(e, m->payload);
        break;
    case CHANNEL_LOADED:
        edge_on_loaded(e, m->payload);
        break;
    case CHANNEL_YIELD:
        edge_on_yield(e, m->payload);
        break;
    case CHANNEL_EXPECT:
        edge_on_expect(e, m->payload);
        break;
    case CHANNEL_KNOWN:
        known_take(m->payload);
        break;
    case CHANNEL_LISTEN:
        on_listen(e, m);
        break;
    case CHANNEL_PING:
        pong(e);
        break;
    case CHANNEL_DRAIN:
        atomic_store(&e->draining, true);
        edge_broadcast(e, &(struct edge_news){.kind = EDGE_NEWS_DRAIN});
        break;
    default: /* what the master says to others */
        break;
    }
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
        on_message(e, &e->msg);
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
    history_sample(e->history, clock_wall_ms(), edge_measure_memory(e));
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
        edge_thread_init(e, i);
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
    if (report_install(&err) || edge_wait_launch(&e, &err)) {
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
