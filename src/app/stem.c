/* Role stem: a process in which an engine is open and no model is. For each worker the master asks it to fork one, which has the engine at once and shares its
 * memory with all others. It reads the master's messages and nothing else: no file of a model, no network. A worker that is forked from it closes itself in as any other
 * does, before it opens its model.
 *
 * The forked process is to be the master's child, which waits for it and hears how it ended: it is forked twice, and whoever is between ends at once; the master has
 * declared itself the one who takes orphans. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "app/roles.h"
#include "base/arena.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "model/backend.h"
#include "proc/channel.h"
#include "proc/report.h"
#include "sys/fd.h"

#define NICE_BEHIND 19 /* while it opens its engine and nobody waits for it */

struct order { /* of CHANNEL_FORK */
    struct str title;
    uint64_t data_max;
};

static struct channel_msg msg;
static struct arena arena; /* of the message in hand */

static void tell(enum channel_type type, struct str payload)
{
    struct err err;
    if (channel_send(CHANNEL_FD, type, payload, NULL, 0, &err))
        _exit(0); /* the master is gone */
}

static _Noreturn void give_up(const struct err *e)
{
    struct buf text;
    buf_init(&text, CHANNEL_PAYLOAD_MAX);
    channel_write_err(&text, 0, e);
    tell(CHANNEL_FAILED, buf_view(&text));
    _exit(1);
}

/* The next message; ends with the master. */
static void receive(void)
{
    for (;;) {
        struct pollfd p = {.fd = CHANNEL_FD, .events = POLLIN};
        (void)poll(&p, 1, -1);
        enum channel_result got = channel_recv(CHANNEL_FD, &msg);
        if (got == CHANNEL_CLOSED)
            _exit(0);
        if (got == CHANNEL_MESSAGE)
            return;
    }
}

/* ---- the command line, which tells who a process is: a worker writes its own over the stem's ---- */

static char *line_at;
static size_t line_size;

static void take_line(int argc, char **argv)
{
    line_at = argv[1];
    line_size = (size_t)(argv[argc - 1] + strlen(argv[argc - 1]) - argv[1]);
    memset(argv[argc - 1], 0, strlen(argv[argc - 1])); /* the last argument only makes room */
}

static void write_line(struct str title)
{
    static const char role[] = "--role=worker";
    memset(line_at, 0, line_size);
    if (sizeof role + title.n >= line_size)
        title.n = line_size - sizeof role - 1;
    memcpy(line_at, role, sizeof role);
    memcpy(line_at + sizeof role, title.p, title.n);
}

/* ---- forking ---- */

static bool take_place(int channel, int report)
{
    bool ok = dup2(channel, CHANNEL_FD) == CHANNEL_FD && dup2(report, REPORT_FD) == REPORT_FD;
    (void)fd_close(channel);
    (void)fd_close(report);
    return ok;
}

static _Noreturn void become_worker(const struct order *o, int parent)
{
    struct rlimit lim = {.rlim_cur = o->data_max, .rlim_max = o->data_max};
    if (!take_place(msg.fds[0], msg.fds[1]))
        _exit(1);
    if (o->data_max > 0)
        (void)setrlimit(RLIMIT_DATA, &lim);
    write_line(o->title);
    _exit(worker_forked(parent));
}

/* Its process id; 0: it could not be made. */
static int fork_worker(const struct order *o, int parent)
{
    int ends[2], pid = 0;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return 0;
    pid_t between = fork();
    if (between == 0) {
        pid = fork();
        if (pid == 0) {
            (void)fd_close(ends[0]);
            (void)fd_close(ends[1]);
            become_worker(o, parent);
        }
        (void)!write(ends[1], &pid, sizeof pid);
        _exit(0);
    }
    (void)fd_close(ends[1]);
    while (between > 0 && waitpid(between, NULL, 0) < 0 && errno == EINTR)
        ;
    if (between < 0 || read(ends[0], &pid, sizeof pid) != (ssize_t)sizeof pid || pid < 0)
        pid = 0;
    (void)fd_close(ends[0]);
    return pid;
}

static void on_fork(int parent)
{
    struct order o = {.title = STR("")};
    struct json_reader r;
    struct str key;
    char text[40];
    int pid = 0;
    json_init(&r, msg.payload, 4);
    json_object(&r);
    while (json_key(&r, &key)) {
        if (str_eq_c(key, "title"))
            json_string(&r, &arena, &o.title);
        else if (str_eq_c(key, "data_max"))
            json_u64(&r, &o.data_max);
        else
            json_skip(&r, NULL);
    }
    if (json_end(&r) == ERR_OK && msg.fds_len == 2)
        pid = fork_worker(&o, parent);
    (void)snprintf(text, sizeof text, "{\"pid\":%d}", pid);
    tell(CHANNEL_FORKED, str_c(text));
}

/* ---- the engine ---- */

static int threads_now(void)
{
    int n = 0;
    DIR *d = opendir("/proc/self/task");
    for (struct dirent *e; d && (e = readdir(d)) != NULL;)
        n += e->d_name[0] != '.';
    if (d)
        (void)closedir(d);
    return n;
}

struct opening {
    const struct backend *backend;
    enum err_code code;
    struct err *err;
};

static void open_now(struct opening *o)
{
    struct backend_load opt = {.name = "stem"};
    o->code = o->backend->engine_open(&opt, o->err);
    if (o->code == ERR_OK && o->backend->engine_warm)
        o->backend->engine_warm();
}

/* Nice is a thread's own. A process that has lowered itself could not come back without a privilege, nor could the workers that are forked from it. */
static void *open_behind(void *arg)
{
    (void)setpriority(PRIO_PROCESS, (id_t)gettid(), NICE_BEHIND);
    open_now(arg);
    return NULL;
}

static enum err_code open_in_thread(struct opening *o, struct err *err)
{
    pthread_t thread;
    (void)mallopt(M_ARENA_MAX, 1); /* what it allocates is for the workers, which have one heap */
    if (pthread_create(&thread, NULL, open_behind, o) != 0)
        return err_set(err, ERR_IO, "cannot start a thread");
    (void)pthread_join(thread, NULL);
    struct timespec pause = {.tv_nsec = (long)NS_PER_MS};
    for (int i = 0; i < 100 && threads_now() > 1; i++) /* the kernel lets go of it a moment later */
        (void)nanosleep(&pause, NULL);
    return o->code;
}

static enum err_code open_engine(struct err *err)
{
    struct json_reader r;
    struct str key, name = STR("");
    bool is_behind = false;
    json_init(&r, msg.payload, 4);
    json_object(&r);
    while (json_key(&r, &key)) {
        if (str_eq_c(key, "backend"))
            json_string(&r, &arena, &name);
        else if (str_eq_c(key, "behind"))
            json_bool(&r, &is_behind);
        else
            json_skip(&r, NULL);
    }
    struct opening o = {.backend = json_end(&r) ? NULL : backend_by_name(name), .err = err};
    if (!o.backend || !o.backend->engine_open)
        return err_set(err, ERR_INTERNAL, "launch message names no backend with an engine");
    if (is_behind)
        (void)open_in_thread(&o, err);
    else
        open_now(&o);
    if (err->code)
        return err->code;
    /* Of several threads a forked process has one, and locks that the others held for ever. */
    return threads_now() == 1 ? ERR_OK : err_set(err, ERR_UNSUPPORTED, "the engine has started threads");
}

int stem_main(int argc, char **argv)
{
    struct err err = {0};
    int parent = getppid();
    if (argc < 4)
        return 1;
    take_line(argc, argv);
    arena_init(&arena, 1024, 1 << 16);
    (void)signal(SIGINT, SIG_IGN); /* Ctrl-C goes to the master, which ends us */
    (void)signal(SIGTERM, SIG_IGN);
    (void)signal(SIGHUP, SIG_IGN);
    (void)prctl(PR_SET_NAME, "quern-stem");
    log_init("stem", LOG_LEVEL_WARN, LOG_PEOPLE, STDERR_FILENO);
    if (report_install(&err)) {
        LOG_ERROR("stem cannot start", LOG_S("error", err.text));
        return 1;
    }
    receive();
    channel_msg_close(&msg);
    if (msg.type != CHANNEL_LAUNCH || open_engine(&err))
        give_up(&err);
    tell(CHANNEL_READY, STR("{}"));
    for (;;) {
        arena_reset(&arena);
        receive();
        if (msg.type == CHANNEL_PING)
            tell(CHANNEL_PONG, STR("{}"));
        if (msg.type == CHANNEL_FORK)
            on_fork(parent);
        channel_msg_close(&msg);
    }
}
