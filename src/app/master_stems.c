/* Stems: for each engine in use one process that has it open, from which workers are forked. They are help only: whatever is wrong with one, workers start
 * without it, by exec.
 *
 * A stem costs as much as a worker's own opening of the engine. So where one worker is to start and no stem is there, the worker does not wait for one: it starts by exec, and
 * the stem is opened behind it, when nothing starts any more, by a thread of low priority. Where several are to start at once, all wait for it. */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "app/master_int.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "model/backend.h"
#include "model/engine.h"
#include "model/repo/fingerprint.h"
#include "sys/fd.h"
#include "sys/spawn.h"

#define START_NS  (10 * NS_PER_S)
#define LATER_NS  (60 * NS_PER_S)   /* the same at low priority: on a busy machine it gets little */
#define BEHIND_NS (100 * NS_PER_MS) /* from the moment when nothing starts any more: the first requests come then */
#define ANSWER_NS (1 * NS_PER_S)    /* forking takes a millisecond; the master waits for it */
#define IDLE_NS   (60 * NS_PER_S)   /* without a model of its engine */
#define LINE_ROOM 200               /* for the command line of a worker */

static void set_state(struct master *m, struct stem *s, enum child_state state)
{
    s->child.state = state;
    s->child.since_ms = clock_wall_ms();
    m->status_dirty = true;
}

/* ---- which ---- */

static const struct backend *backend_of(const struct model_config *c)
{
    if (c->isolation != ISOLATION_PROCESS || c->problem)
        return NULL;
    const struct backend *b = c->backend ? backend_by_name(str_c(c->backend))
                              : c->path  ? backend_by_path(str_c(c->path))
                                         : NULL;
    return b && b->engine ? b : NULL;
}

static struct stem *find(const struct master *m, const struct backend *b)
{
    for (struct stem *s = m->stems; b && s; s = s->next)
        if (s->backend == b)
            return s;
    return NULL;
}

/* By the configuration of its own life: while a reload goes on, that is the new one. */
static bool is_warm(const struct life *l)
{
    return l->snapshot->config.warm_engines;
}

static struct stem *stem_of(const struct master *m, const struct child *c)
{
    return is_warm(c->life) ? find(m, backend_of(c->life->config)) : NULL;
}

static bool is_in_use(const struct master *m, const struct stem *s)
{
    for (const struct life *l = m->lives; l; l = l->next)
        if (l->state < LIFE_RETIRED && l->state != LIFE_FAILED && backend_of(l->config) == s->backend)
            return true;
    return false;
}

/* Of the engine's file as it is now; 0, 0: there is none. */
static struct hash128 engine_id(const struct backend *b)
{
    char path[1280];
    struct err err;
    if (engine_find(b->engine, NULL, path, sizeof path, &err))
        return (struct hash128){0, 0};
    return repo_fingerprint(path);
}

static bool same_id(struct hash128 a, struct hash128 b)
{
    return a.lo == b.lo && a.hi == b.hi;
}

/* ---- start and end ---- */

static enum err_code spawn(struct master *m, struct stem *s, struct err *err)
{
    struct child *c = &s->child;
    char room[LINE_ROOM];
    int theirs = -1;
    memset(room, '-', sizeof room - 1);
    room[sizeof room - 1] = '\0';
    if (!m->is_reaper && prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
        return err_set(err, ERR_UNSUPPORTED, "the kernel does not give us orphans");
    m->is_reaper = true;
    if (!c->report && report_create(&c->report_fd, &c->report, err))
        return err->code;
    report_clear(c->report);
    if (channel_pair(&c->channel, &theirs, err))
        return err->code;
    const char *argv[] = {"quern", "--role=stem", s->backend->name, room, NULL};
    int fds[] = {theirs, c->report_fd};
    struct spawn how = {.exe = m->options->exe, .argv = argv, .fds = fds, .fds_len = 2, .oom_score = 500};
    (void)spawn_child(&how, &c->pid, err);
    (void)fd_close(theirs);
    return err->code;
}

static void start(struct master *m, struct stem *s, bool is_behind)
{
    struct child *c = &s->child;
    struct err err = {0};
    char text[80];
    uint64_t now = clock_now_ns();
    s->plan = STEM_UNPLANNED;
    s->is_behind = is_behind;
    c->kill_reason[0] = '\0';
    c->pinged_ns = 0;
    restart_started(&c->restart, now);
    s->engine_id = engine_id(s->backend);
    if (spawn(m, s, &err)) {
        LOG_WARN("no stem, instances start without it", LOG_S("engine", s->backend->engine), LOG_S("error", err.text));
        c->channel = fd_close(c->channel);
        c->pid = 0;
        set_state(m, s, CHILD_FAILED);
        return;
    }
    c->kill_at_ns = now + (is_behind ? LATER_NS : START_NS);
    set_state(m, s, CHILD_STARTING);
    (void)snprintf(text, sizeof text, "{\"backend\":\"%s\",\"behind\":%s}", s->backend->name,
                   is_behind ? "true" : "false");
    child_send(m, c, CHANNEL_LAUNCH, str_c(text), NULL, 0);
}

/* It has nothing to lose. Its workers are no children of it and go on. */
static void end(struct master *m, struct stem *s, const char *why)
{
    set_state(m, s, s->child.pid ? CHILD_DRAINING : CHILD_STOPPED);
    child_kill(&s->child, why, false);
}

void stems_end(struct master *m)
{
    for (struct stem *s = m->stems; s; s = s->next)
        end(m, s, "stopped");
}

static struct stem *find_or_add(struct master *m, const struct backend *b)
{
    struct stem *s = find(m, b);
    if (s)
        return s;
    s = calloc(1, sizeof *s);
    CHECK(s);
    *s = (struct stem){.next = m->stems, .backend = b};
    s->child = (struct child){.role = "stem", .stem = s, .channel = -1, .report_fd = -1, .state = CHILD_STOPPED};
    m->stems = s;
    return s;
}

/* A trial of instances has time; who waits for a model has none, and does not wait for what is opened behind. */
static bool is_worth_waiting(const struct master *m, const struct stem *s, const struct child *c)
{
    return s->child.state == CHILD_STARTING && (!s->is_behind || c == &m->prober);
}

bool stem_prepare(struct master *m, struct child *c)
{
    const struct backend *b = backend_of(c->life->config);
    if (!b || !is_warm(c->life) || m->stopping)
        return false;
    struct hash128 id = engine_id(b);
    if (same_id(id, (struct hash128){0, 0}))
        return false; /* the worker says it better */
    struct stem *s = find_or_add(m, b);
    s->used_ns = clock_now_ns();
    if (s->child.pid != 0 && !same_id(id, s->engine_id))
        end(m, s, "the engine's file has changed");
    if (s->goes_alone == c)
        return false;
    bool is_new = s->child.pid == 0 &&
                  (s->child.state == CHILD_STOPPED || (s->child.state == CHILD_FAILED && !same_id(id, s->engine_id)));
    if (is_new && s->plan == STEM_BEHIND)
        start(m, s, false); /* the second one: now it is worth it */
    else if (is_new)
        s->plan = STEM_UNDECIDED;
    return s->plan == STEM_UNDECIDED || is_worth_waiting(m, s, c);
}

bool stem_is_awaited(const struct master *m, const struct child *c)
{
    const struct stem *s = stem_of(m, c);
    return s && (s->plan == STEM_UNDECIDED || is_worth_waiting(m, s, c));
}

/* ---- when ---- */

static bool waits_for(const struct master *m, const struct stem *s, const struct child *c)
{
    return c->life && c->waits_for_stem && stem_of(m, c) == s;
}

/* How many wait for this stem; *one is one of them. */
static int waiting(struct master *m, const struct stem *s, struct child **one)
{
    int n = 0;
    for (struct life *l = m->lives; l; l = l->next)
        for (int i = 0; i < l->children_len; i++)
            if (waits_for(m, s, &l->children[i])) {
                *one = &l->children[i];
                n++;
            }
    return n;
}

/* All that are to start now are known. */
static void decide(struct master *m, struct stem *s)
{
    struct child *one = NULL;
    int n = waiting(m, s, &one);
    bool is_tried = waits_for(m, s, &m->prober);
    s->plan = STEM_BEHIND;
    if (n > 1 || is_tried) {
        start(m, s, false);
    } else if (n == 1) {
        s->goes_alone = one;
        child_start(m, one);
        s->goes_alone = NULL;
    }
}

void stems_decide(struct master *m)
{
    for (struct stem *s = m->stems; s && !m->stopping; s = s->next)
        if (s->plan == STEM_UNDECIDED)
            decide(m, s);
}

static bool nothing_starts(const struct master *m)
{
    if (m->edge.state != CHILD_READY)
        return false;
    for (const struct life *l = m->lives; l; l = l->next)
        for (int i = 0; i < l->children_len; i++)
            if (l->children[i].state == CHILD_STARTING)
                return false;
    return true;
}

static void tick_plan(struct master *m, struct stem *s, uint64_t now_ns)
{
    if (s->plan != STEM_BEHIND)
        return;
    if (s->open_at_ns == 0 && nothing_starts(m))
        s->open_at_ns = now_ns + BEHIND_NS;
    if (s->open_at_ns == 0 || s->open_at_ns > now_ns)
        return;
    s->open_at_ns = 0;
    if (nothing_starts(m))
        start(m, s, true);
}

/* ---- forking ---- */

static int read_pid(struct str payload)
{
    struct json_reader r;
    struct str key;
    int64_t pid = 0;
    json_init(&r, payload, 4);
    json_object(&r);
    while (json_key(&r, &key)) {
        if (str_eq_c(key, "pid"))
            json_i64(&r, &pid);
        else
            json_skip(&r, NULL);
    }
    return json_end(&r) == ERR_OK && pid > 0 && pid <= INT32_MAX ? (int)pid : 0;
}

/* The answer to CHANNEL_FORK. 0: it could not, or has not answered. */
static int await_pid(struct stem *s)
{
    static struct channel_msg msg; /* the master's own may be in use by our caller */
    uint64_t until = clock_now_ns() + ANSWER_NS;
    for (uint64_t now; (now = clock_now_ns()) < until;) {
        struct pollfd p = {.fd = s->child.channel, .events = POLLIN};
        (void)poll(&p, 1, (int)((until - now) / NS_PER_MS) + 1);
        enum channel_result got = channel_recv(s->child.channel, &msg);
        if (got == CHANNEL_CLOSED)
            return 0;
        if (got != CHANNEL_MESSAGE)
            continue;
        channel_msg_close(&msg);
        if (msg.type == CHANNEL_FORKED)
            return read_pid(msg.payload);
        if (msg.type == CHANNEL_PONG)
            s->child.pinged_ns = 0;
    }
    return 0;
}

static void ask(struct master *m, struct stem *s, const struct child *c, const char *title, uint64_t data_max,
                int channel)
{
    struct buf text;
    struct json_writer w;
    int fds[] = {channel, c->report_fd};
    buf_init(&text, CHANNEL_PAYLOAD_MAX);
    jw_init(&w, &text);
    jw_object(&w);
    jw_kv_c(&w, "title", title);
    jw_kv_u64(&w, "data_max", data_max);
    jw_object_end(&w);
    child_send(m, &s->child, CHANNEL_FORK, buf_view(&text), fds, 2);
    buf_done(&text);
}

bool stem_fork(struct master *m, struct child *c, const char *title, uint64_t data_bytes_max)
{
    struct stem *s = stem_of(m, c);
    struct err err;
    int theirs;
    if (!s || s->child.state != CHILD_READY || channel_pair(&c->channel, &theirs, &err))
        return false;
    ask(m, s, c, title, data_bytes_max, theirs);
    c->pid = await_pid(s);
    (void)fd_close(theirs);
    if (c->pid != 0)
        return true;
    c->channel = fd_close(c->channel); /* one that was forked all the same ends with it */
    child_kill(&s->child, "did not fork a worker", false);
    return false;
}

/* ---- what becomes of them ---- */

void stem_told(struct master *m, struct child *c, enum channel_type type, struct str text)
{
    struct stem *s = c->stem;
    if (type == CHANNEL_READY && c->state == CHILD_STARTING) {
        restart_ready(&c->restart, clock_now_ns());
        c->kill_at_ns = 0;
        set_state(m, s, CHILD_READY);
    } else if (type == CHANNEL_FAILED) {
        LOG_INFO("no stem, instances start without it", LOG_S("engine", s->backend->engine), LOG_STR("reason", text));
        (void)str_copy(c->reason, sizeof c->reason, text);
        set_state(m, s, CHILD_FAILED);
    }
}

bool stem_buried(struct master *m, int pid, int wait_status)
{
    struct stem *s = m->stems;
    while (s && s->child.pid != pid)
        s = s->next;
    if (!s)
        return false;
    struct child *c = &s->child;
    child_read(m, c); /* its last words */
    c->channel = fd_close(c->channel);
    c->pid = 0;
    if (c->state == CHILD_DRAINING || m->stopping)
        set_state(m, s, CHILD_STOPPED);
    if (c->state == CHILD_STOPPED || c->state == CHILD_FAILED)
        return true;
    oom_note_death(m, c, wait_status);
    child_describe_death(c, wait_status);
    LOG_WARN("process died", LOG_S("process", "stem"), LOG_S("engine", s->backend->engine), LOG_I("process_pid", pid),
             LOG_S("reason", c->reason));
    crash_record(m, c, pid, wait_status);
    bool again = restart_died(&c->restart, clock_now_ns(), &c->start_at_ns);
    set_state(m, s, again ? CHILD_WAITING : CHILD_FAILED);
    return true;
}

static void tick(struct master *m, struct stem *s, uint64_t now_ns)
{
    struct child *c = &s->child;
    if (is_in_use(m, s))
        s->used_ns = now_ns;
    bool is_wanted = now_ns < s->used_ns + IDLE_NS && m->snapshot->config.warm_engines;
    if (!is_wanted && (c->pid != 0 || c->state == CHILD_WAITING) && c->state != CHILD_DRAINING)
        end(m, s, "not in use");
    if (!is_wanted)
        s->plan = STEM_UNPLANNED;
    tick_plan(m, s, now_ns);
    if (c->state == CHILD_WAITING && c->start_at_ns <= now_ns)
        start(m, s, true);
    if (c->state == CHILD_STARTING && c->kill_at_ns <= now_ns) {
        c->kill_at_ns = UINT64_MAX;
        child_kill(c, "did not open its engine in time", false);
    }
}

void stems_tick(struct master *m, uint64_t now_ns)
{
    for (struct stem *s = m->stems; s && !m->stopping; s = s->next)
        tick(m, s, now_ns);
}

uint64_t stems_next_ns(const struct master *m)
{
    uint64_t next = UINT64_MAX;
    for (const struct stem *s = m->stems; s && !m->stopping; s = s->next) {
        uint64_t at = s->plan == STEM_BEHIND && s->open_at_ns ? s->open_at_ns
                      : s->child.state == CHILD_WAITING       ? s->child.start_at_ns
                      : s->child.state == CHILD_STARTING      ? s->child.kill_at_ns
                      : s->child.pid != 0                     ? s->used_ns + IDLE_NS
                                                              : UINT64_MAX;
        next = at < next ? at : next;
    }
    return next;
}
