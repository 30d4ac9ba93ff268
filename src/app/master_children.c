/* Processes of the master: they are started, told to end, watched. What they say: master_hear.c; their deaths: master_bury.c. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "app/master_int.h"
#include "base/clock.h"
#include "base/log.h"
#include "sys/cpu.h"
#include "sys/fd.h"
#include "sys/slice.h"
#include "sys/spawn.h"

#define EDGE_START_NS  (10 * NS_PER_S)
#define PING_EVERY_NS  (2 * NS_PER_S)
#define PONG_WITHIN_NS (15 * NS_PER_S) /* generous: a machine under overload is slow, not dead */

const char *child_state_name(enum child_state s)
{
    static const char *const names[] = {"backoff", "starting", "ready", "draining", "failed", "stopped"};
    return names[s];
}

void child_set_state(struct master *m, struct child *c, enum child_state s)
{
    c->state = s;
    c->since_ms = clock_wall_ms();
    m->status_dirty = true;
}

bool child_is_edge(const struct child *c)
{
    return c->life == NULL && c->stem == NULL;
}

void child_kill(struct child *c, const char *reason, bool is_crash)
{
    if (c->pid == 0)
        return;
    (void)str_copy(c->kill_reason, sizeof c->kill_reason, str_c(reason));
    c->is_crash_kill = is_crash;
    (void)kill(c->pid, SIGKILL);
}

void child_send(struct master *m, struct child *c, enum channel_type type, struct str payload, const int *fds,
                size_t fds_len)
{
    struct err err;
    (void)m;
    if (c->channel < 0)
        return;
    if (channel_send(c->channel, type, payload, fds, fds_len, &err) == ERR_TIMEOUT)
        child_kill(c, "does not read its lifecycle channel", false);
    /* any other failure: it is dead, and the reaper will tell */
}

/* ---- start ---- */

static void write_launch(struct master *m, struct child *c, struct buf *text)
{
    buf_init(text, CHANNEL_PAYLOAD_MAX);
    if (child_is_edge(c))
        master_edge_launch(m, text);
    else
        master_worker_launch(m, c, text);
}

static void send_launch(struct master *m, struct child *c, struct str text)
{
    int fds[CHANNEL_FDS_MAX];
    size_t n = 0;
    if (!child_is_edge(c))
        fds[n++] = c->life->segment_fd;
    fds[n++] = m->doorbell_fd;
    for (int i = 0; i < m->threads; i++)
        fds[n++] = m->bells[i];
    for (size_t i = 0; i < m->listen_fds_len && child_is_edge(c); i++)
        fds[n++] = m->listen_fds[i];
    child_send(m, c, CHANNEL_LAUNCH, text, fds, n);
}

/* Settings have limits so that what a process is told fits into one message; paths full of odd characters may still be too much. Told in the next turn: whoever starts
 * us is not to find its model failed while it is at it. */
static void refuse(struct master *m, struct child *c)
{
    (void)snprintf(
        c->reason, sizeof c->reason,
        "its paths, names and parameters are more than the %d bytes that a process can be told: shorten them",
        CHANNEL_PAYLOAD_MAX);
    c->is_refused = true;
    child_set_state(m, c, CHILD_FAILED);
}

static uint64_t data_limit(const struct child *c)
{
#ifdef QUERN_SANITIZED
    (void)c; /* shadow memory counts as data */
    return 0;
#else
    uint64_t limit = child_is_edge(c) ? 0 : c->life->config->memory_bytes * (c->copies > 1 ? (uint64_t)c->copies : 1);
    return limit ? limit + limit / 4 + (64u << 20)
                 : 0; /* the watch ends it at the limit, this is for one that jumps over it */
#endif
}

static void start_failed(struct master *m, struct child *c, const struct err *err)
{
    char text[sizeof err->text + sizeof err->remedy + 2];
    (void)snprintf(text, sizeof text, "%s%s%s", err->text, err->remedy[0] ? "; " : "", err->remedy);
    text[sizeof c->reason - 1] = '\0';
    if (strcmp(text, c->reason) != 0) /* once, not at each try */
        LOG_ERROR("cannot start a process, trying again every second", LOG_S("process", c->role),
                  LOG_S("model", c->life ? c->life->config->name : ""), LOG_S("error", err->text),
                  LOG_S("remedy", err->remedy));
    else if (c->life && !c->is_in_trouble) { /* it lasts: who waits is told */
        c->is_in_trouble = true;
        life_changed(m, c->life);
    }
    (void)str_copy(c->reason, sizeof c->reason, str_c(text));
    c->channel = fd_close(c->channel);
    c->pid = 0;
    c->start_at_ns = clock_now_ns() + NS_PER_S; /* the machine's trouble, not the child's: try again */
    child_set_state(m, c, CHILD_WAITING);
}

/* The program again, with another role. */
static void spawn(struct master *m, struct child *c, const char *title, struct err *err)
{
    int theirs = -1;
    char role[32];
    (void)snprintf(role, sizeof role, "--role=%s", c->role);
    const char *argv[] = {"quern", role, title, NULL};
    if (channel_pair(&c->channel, &theirs, err))
        return;
    int fds[] = {theirs, c->report_fd};
    struct spawn s = {.exe = m->options->exe,
                      .argv = argv,
                      .fds = fds,
                      .fds_len = 2,
                      .data_bytes_max = data_limit(c),
                      .slice_ns = child_is_edge(c) ? SLICE_DEFAULT : SLICE_LOADING,
                      .oom_score = child_is_edge(c) ? 0 : 500};
    (void)spawn_child(&s, &c->pid, err); /* err->code tells */
    (void)fd_close(theirs);
}

static void start_process(struct master *m, struct child *c, struct str launch)
{
    struct err err = {0};
    char title[220];
    if (child_is_edge(c))
        (void)snprintf(title, sizeof title, "edge");
    else
        (void)snprintf(title, sizeof title, "%s@%s#%d", c->life->config->name, c->life->config->version, c->index);
    if (child_is_edge(c) || !stem_fork(m, c, title, data_limit(c)))
        spawn(m, c, title, &err);
    if (err.code) {
        start_failed(m, c, &err);
        return;
    }
    uint64_t now = clock_now_ns();
    restart_started(&c->restart, now);
    c->kill_at_ns = now + (child_is_edge(c) ? EDGE_START_NS : c->life->config->load_timeout_ns);
    child_set_state(m, c, CHILD_STARTING);
    if (!child_is_edge(c))
        class_put(m, c);
    send_launch(m, c, launch);
    LOG_DEBUG("process started", LOG_S("process", title), LOG_I("process_pid", c->pid));
}

void child_start(struct master *m, struct child *c)
{
    struct err err = {0};
    struct buf launch;
    c->channel = -1;
    c->kill_reason[0] = '\0';
    c->is_crash_kill = c->has_told_why = false;
    c->pinged_ns = 0;
    c->waits_for_stem = !child_is_edge(c) && stem_prepare(m, c);
    if (c->waits_for_stem) {
        child_set_state(m, c, CHILD_STARTING);
        return;
    }
    if (!c->report && report_create(&c->report_fd, &c->report, &err)) {
        start_failed(m, c, &err);
        return;
    }
    report_clear(c->report);
    write_launch(m, c, &launch);
    if (launch.failed)
        refuse(m, c);
    else
        start_process(m, c, buf_view(&launch));
    buf_done(&launch);
}

void child_signal_drain(struct master *m, struct child *c)
{
    c->waits_for_stem = false; /* or it would still start when the stem is ready */
    if (c->pid == 0) {
        child_set_state(m, c, CHILD_STOPPED);
        return;
    }
    c->kill_at_ns = clock_now_ns() + m->snapshot->config.drain_timeout_ns;
    bool was_ready = c->state == CHILD_READY;
    child_set_state(m, c, CHILD_DRAINING);
    if (was_ready)
        child_send(m, c, CHANNEL_DRAIN, c->leaves ? STR("{\"leave\":true}") : STR("{}"), NULL, 0);
    else
        child_kill(c, "stopped while it started", false);
}

void child_leave(struct master *m, struct child *c)
{
    c->leaves = true;
    child_signal_drain(m, c);
}

/* ---- time ---- */

static void tell_refused(struct master *m, struct child *c)
{
    c->is_refused = false;
    if (child_is_edge(c)) {
        LOG_ERROR("edge cannot serve", LOG_S("error", c->reason));
        m->exit_code = 1;
        m->stopping = true;
    } else if (c == &m->prober) {
        scale_forget(m, NULL);
    } else {
        life_child_failed(m, c->life, c->reason);
    }
}

static void tick_child(struct master *m, struct child *c, uint64_t now_ns)
{
    if (c->is_refused)
        tell_refused(m, c);
    if (c->state == CHILD_WAITING && c->start_at_ns <= now_ns && !m->stopping)
        child_start(m, c);
    if (c->waits_for_stem && !m->stopping && !stem_is_awaited(m, c))
        child_start(m, c);
    if (c->pid == 0 || c->kill_at_ns == 0 || c->kill_at_ns > now_ns)
        return;
    c->kill_at_ns = 0;
    child_kill(
        c, c->state == CHILD_DRAINING ? "did not end within drain_timeout" : "did not become ready within load_timeout",
        false);
}

/* Memory: a worker over its limit is ended before it hurts its neighbours. */
static void watch_memory(struct child *c)
{
    uint64_t limit = c->life->config->memory_bytes;
    struct proc_usage usage;
    if (limit == 0 || c->pid == 0 || !proc_usage_read(c->pid, &usage) || usage.private_bytes <= limit)
        return;
    char reason[200];
    (void)snprintf(
        reason, sizeof reason, "used %llu MiB of private memory, more than its limit of %llu MiB (models.%s.memory)",
        (unsigned long long)(usage.private_bytes >> 20), (unsigned long long)(limit >> 20), c->life->config->name);
    child_kill(c, reason, true);
}

/* A process that is frozen or stuck outside a run neither dies nor works: only the heartbeat tells. */
static void ping(struct master *m, struct child *c, uint64_t now_ns)
{
    if (c->state != CHILD_READY || c->pid == 0)
        return;
    if (c->pinged_ns == 0) {
        c->pinged_ns = now_ns;
        child_send(m, c, CHANNEL_PING, STR("{}"), NULL, 0);
    } else if (now_ns > c->pinged_ns + PONG_WITHIN_NS) {
        c->pinged_ns = now_ns;
        child_kill(c, "did not answer the heartbeat for 15 seconds: frozen or stuck", false);
    }
}

static void ping_all(struct master *m, uint64_t now_ns)
{
    m->next_ping_ns = now_ns + PING_EVERY_NS;
    ping(m, &m->edge, now_ns);
    for (struct stem *s = m->stems; s; s = s->next)
        ping(m, &s->child, now_ns);
    for (struct life *l = m->lives; l; l = l->next)
        for (int i = 0; i < l->children_len; i++)
            ping(m, &l->children[i], now_ns);
}

void children_tick(struct master *m, uint64_t now_ns)
{
    if (now_ns >= m->next_ping_ns && !m->stopping)
        ping_all(m, now_ns);
    bool watch = now_ns >= m->next_watch_ns;
    if (watch)
        m->next_watch_ns = now_ns + 200 * NS_PER_MS;
    tick_child(m, &m->edge, now_ns);
    tick_child(m, &m->prober, now_ns);
    for (struct life *l = m->lives; l; l = l->next)
        for (int i = 0; i < l->children_len; i++) {
            tick_child(m, &l->children[i], now_ns);
            if (watch)
                watch_memory(&l->children[i]);
        }
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t next_of(const struct child *c, uint64_t next)
{
    if (c->is_refused)
        next = 0;
    if (c->state == CHILD_WAITING)
        next = earlier(next, c->start_at_ns);
    if (c->pid != 0 && c->kill_at_ns != 0)
        next = earlier(next, c->kill_at_ns);
    return next;
}

uint64_t children_next_ns(const struct master *m, uint64_t now_ns)
{
    uint64_t next = next_of(&m->edge, m->stopping ? now_ns + NS_PER_S : m->next_ping_ns);
    for (const struct life *l = m->lives; l; l = l->next)
        for (int i = 0; i < l->children_len; i++) {
            next = next_of(&l->children[i], next);
            if (l->config->memory_bytes)
                next = earlier(next, m->next_watch_ns);
        }
    return next;
}
