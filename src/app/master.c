/* The master: opens what others need, starts them, and then mostly sleeps. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "app/master_int.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "net/accept.h"
#include "sys/cpu.h"
#include "sys/fd.h"
#include "sys/shm.h"
#include "sys/slice.h"

#define BACKLOG   4096
#define POLL_MAX  2048
#define FILES_MIN 128

/* ---- start ---- */

static enum err_code listen_all(struct master *m, struct err *err)
{
    const struct config *c = &m->snapshot->config;
    const char *const *list = c->listen.items;
    if (c->listen.len > MASTER_LISTEN_MAX)
        return err_set(err, ERR_INVALID, "more than %d addresses to listen on", MASTER_LISTEN_MAX);
    for (size_t i = 0; i < c->listen.len; i++) {
        char host[256];
        int port, bound = 0;
        bool is_loopback;
        if (config_address(list[i], host, sizeof host, &port, &is_loopback, err) ||
            listen_tcp(host, port, BACKLOG, &m->listen_fds[m->listen_fds_len], &bound, err))
            return err->code;
        m->listen_fds_len++;
        bool is_v6 = strchr(host, ':') != NULL;
        (void)snprintf(m->addresses[m->addresses_len++], sizeof m->addresses[0], is_v6 ? "[%s]:%d" : "%s:%d", host,
                       bound);
    }
    return ERR_OK;
}

static void listen_control(struct master *m)
{
    int fd = folder_listen(m);
    if (fd < 0)
        return;
    m->listen_fds[m->listen_fds_len++] = fd; /* the last one */
    m->has_control = true;
}

static enum err_code make_doorbells(struct master *m, struct err *err)
{
    if (shm_create("quern-doorbell", sizeof(struct doorbell_shm), &m->doorbell_fd, err))
        return err->code;
    for (int i = 0; i < m->threads; i++) {
        m->bells[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (m->bells[i] < 0)
            return err_sys(err, ERR_IO, errno, "cannot make a doorbell");
    }
    return ERR_OK;
}

static enum err_code take_signals(struct master *m, struct err *err)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGIO, SIG_IGN); /* a lease that the watch holds for a moment is wanted by a writer */
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
        return err_sys(err, ERR_IO, errno, "cannot block signals");
    m->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return m->signal_fd < 0 ? err_sys(err, ERR_IO, errno, "cannot receive signals") : ERR_OK;
}

/* A process gets its descriptors from numbers above those that it will have. */
static enum err_code raise_files(struct err *err)
{
    uint64_t limit = fd_limit_raise();
    if (limit >= FILES_MIN)
        return ERR_OK;
    err_set(err, ERR_IO, "only %llu open files are allowed, %d are needed at least", (unsigned long long)limit,
            FILES_MIN);
    return err_remedy(
        err,
        "allow more (ulimit -n; LimitNOFILE= of a systemd unit): three for each instance, one for each connection");
}

static enum err_code start(struct master *m, struct err *err)
{
    const struct config *c = &m->snapshot->config;
    m->cores = cpu_budget();
    m->threads = c->threads > 0 ? (int)c->threads : m->cores;
    m->threads = m->threads < LANE_THREADS_MAX ? m->threads : LANE_THREADS_MAX;
    if (raise_files(err) || folder_take(m, err) || take_signals(m, err) || listen_all(m, err) || make_doorbells(m, err))
        return err->code;
    overrides_clear(m);
    listen_control(m);
    crashes_load(m);
    oom_start(m); /* our group is not left before */
    classes_open(m);
    if (lives_start(m, err)) /* workers first: loading a model takes longest */
        return err->code;
    budget_tick(m, clock_now_ns());
    stems_decide(m);
    child_start(m, &m->edge);
    return ERR_OK;
}

static void greet(const struct master *m)
{
    (void)printf("quern %s on http://%s  (dashboard, /metrics, /openapi.json; Ctrl-C drains and ends)\n", QUERN_VERSION,
                 m->addresses_len ? m->addresses[0] : "-");
    (void)fflush(stdout);
}

/* ---- stop ---- */

/* First the edge answers what is in flight, then the workers may go. */
static void begin_stop(struct master *m)
{
    if (m->stopping)
        return;
    m->stopping = true;
    LOG_INFO("draining");
    stems_end(m);
    scale_forget(m, NULL);
    child_signal_drain(m, &m->edge);
}

static void stop_workers(struct master *m)
{
    for (struct life *l = m->lives; l; l = l->next)
        for (int i = 0; i < l->children_len; i++) {
            struct child *c = &l->children[i];
            if (c->state == CHILD_READY || c->state == CHILD_STARTING || c->state == CHILD_WAITING)
                child_signal_drain(m, c);
        }
}

static bool all_gone(const struct master *m)
{
    if (m->edge.pid != 0 || m->prober.pid != 0)
        return false;
    for (const struct stem *s = m->stems; s; s = s->next)
        if (s->child.pid != 0)
            return false;
    for (const struct life *l = m->lives; l; l = l->next)
        for (int i = 0; i < l->children_len; i++)
            if (l->children[i].pid != 0)
                return false;
    return true;
}

static void kill_all(struct master *m)
{
    LOG_WARN("second signal: ending at once");
    child_kill(&m->edge, "second stop signal", false);
    child_kill(&m->prober, "second stop signal", false);
    for (struct life *l = m->lives; l; l = l->next)
        for (int i = 0; i < l->children_len; i++)
            child_kill(&l->children[i], "second stop signal", false);
}

/* ---- the loop ---- */

static void read_signals(struct master *m)
{
    struct signalfd_siginfo info;
    struct err err = {0};
    while (read(m->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo == SIGCHLD)
            child_reap(m);
        else if (info.ssi_signo == SIGHUP)
            (void)master_reload(m, &err); /* logs its own failure */
        else if (m->stopping)
            kill_all(m);
        else
            begin_stop(m);
    }
}

static size_t add_child(struct pollfd *set, struct child **who, size_t n, struct child *c)
{
    if (c->channel < 0 || n == POLL_MAX)
        return n;
    set[n] = (struct pollfd){.fd = c->channel, .events = POLLIN};
    who[n] = c;
    return n + 1;
}

static int timeout_ms(const struct master *m)
{
    uint64_t now = clock_now_ns(), next = children_next_ns(m, now), scan = watch_next_ns(m);
    next = scan < next ? scan : next;
    uint64_t budget = budget_next_ns(m);
    next = budget < next ? budget : next;
    uint64_t scale = scale_next_ns(m);
    next = scale < next ? scale : next;
    uint64_t kept = rollback_next_ns(m);
    next = kept < next ? kept : next;
    uint64_t cache = cache_next_ns(m);
    next = cache < next ? cache : next;
    uint64_t stems = stems_next_ns(m);
    next = stems < next ? stems : next;
    next = m->status_dirty && m->status_due_ns < next ? m->status_due_ns : next;
    return next <= now ? 0 : (int)((next - now) / NS_PER_MS + 1);
}

static void wait_once(struct master *m)
{
    static struct pollfd set[POLL_MAX];
    static struct child *who[POLL_MAX];
    size_t n = 1;
    set[0] = (struct pollfd){.fd = m->signal_fd, .events = POLLIN};
    n = add_child(set, who, n, &m->edge);
    n = add_child(set, who, n, &m->prober);
    for (struct stem *s = m->stems; s; s = s->next)
        n = add_child(set, who, n, &s->child);
    for (struct life *l = m->lives; l; l = l->next)
        for (int i = 0; i < l->children_len; i++)
            n = add_child(set, who, n, &l->children[i]);
    if (poll(set, n, timeout_ms(m)) > 0) {
        for (size_t i = 1; i < n; i++) /* before burying anybody: `who` stays valid */
            if (set[i].revents)
                child_read(m, who[i]);
        if (set[0].revents)
            read_signals(m);
    }
    stems_tick(m, clock_now_ns());
    children_tick(m, clock_now_ns());
    oom_tick(m, clock_now_ns());
    scale_tick(m, clock_now_ns());
    watch_tick(m, clock_now_ns());
    rollback_tick(m, clock_now_ns());
    canary_tick(m);
    ensembles_tick(m);
    cache_tick(m, clock_now_ns());
    budget_tick(m, clock_now_ns());
    stems_decide(m);
    lives_sweep(m);
    folder_tick(m, clock_now_ns());
    status_tick(m, clock_now_ns());
}

static void run(struct master *m)
{
    while (!m->stopping)
        wait_once(m);
    while (!all_gone(m)) {
        if (m->edge.pid == 0)
            stop_workers(m);
        wait_once(m);
    }
    status_write(m);
}

static void done(struct master *m)
{
    if (m->has_cgroup)
        cgroup_close(&m->cgroup);
    folder_leave(m);
    for (size_t i = 0; i < m->listen_fds_len; i++)
        (void)fd_close(m->listen_fds[i]);
    while (m->crashes_len > 0)
        free(m->crashes[--m->crashes_len]);
}

static int exit_code_for(const struct err *err, const struct master *m)
{
    if (err->code == ERR_CONFLICT && m->lock_fd < 0)
        return EXIT_DATA;
    if (err->sys == EADDRINUSE || (err->code == ERR_CONFLICT && m->lock_fd >= 0))
        return EXIT_ADDRESS;
    return EXIT_FAILED;
}

int master_run(struct config *c, const struct master_options *o)
{
    static struct master m;
    static struct snapshot first;
    struct err err = {0};
    first = (struct snapshot){.config = *c, .refs = 2}; /* the caller's: never freed here */
    m = (struct master){.snapshot = &first, .options = o, .lock_fd = -1, .signal_fd = -1, .doorbell_fd = -1};
    m.edge = (struct child){.role = "edge", .channel = -1, .report_fd = -1};
    m.prober = (struct child){.role = "worker", .channel = -1, .report_fd = -1, .state = CHILD_STOPPED};
    m.started_at_ms = clock_wall_ms();
    slice_set(SLICE_MASTER);
    fd_append(STDOUT_FILENO); /* as logrotate's copytruncate needs it */
    fd_append(STDERR_FILENO);
    log_init("master", (enum log_level)c->log.level, (enum log_format)c->log.format, STDERR_FILENO);
    if (start(&m, &err)) {
        (void)fprintf(stderr, "quern: %s\n", err.text);
        if (err.remedy[0])
            (void)fprintf(stderr, "  %s\n", err.remedy);
        return exit_code_for(&err, &m);
    }
    greet(&m);
    config_log_left_out(c);
    run(&m);
    done(&m);
    return m.exit_code;
}
