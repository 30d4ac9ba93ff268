#include "bench/load_int.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/rand.h"
#include "bench/usage.h"
#include "sys/fd.h"

#define READ_BYTES   ((size_t)256 << 10)
#define TICK_NS      (50 * NS_PER_MS)
#define DRAIN_NS_MAX (2 * NS_PER_S) /* open loop: how long the window's last requests may take to be answered */
#define EVENTS_MAX   256

static bool in_window(const struct load *l, uint64_t t)
{
    return t >= l->begin_ns && t < l->end_ns;
}

static void put_idle(struct load *l, struct client *c)
{
    c->is_busy = false;
    l->idle[l->idle_len++] = c;
}

/* ---- Requests ---- */

static bool send_more(struct load *l, struct client *c)
{
    struct str all = c->request;
    bool is_stuck = false;
    while (c->sent < all.n && !is_stuck) {
        ssize_t n = send(c->fd, all.p + c->sent, all.n - c->sent, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN)
            return false;
        is_stuck = n < 0;
        c->sent += n > 0 ? (size_t)n : 0;
    }
    if (is_stuck == c->wants_out)
        return true;
    c->wants_out = is_stuck;
    return load_watch(l, c, EPOLL_CTL_MOD);
}

/* A connection that ended: its request, if any, has failed; a new one takes its place. */
static void replace(struct load *l, struct client *c, bool is_timeout)
{
    bool was_busy = c->is_busy;
    if (was_busy && (l->o->kind == LOAD_CLOSED ? in_window(l, l->now_ns) : in_window(l, c->start_ns))) {
        l->r->broken += !is_timeout;
        l->r->timeouts += is_timeout;
        if (is_timeout) /* a broken one says nothing of the time that an answer takes */
            histogram_record(&l->r->latency, l->now_ns - c->start_ns);
    }
    c->fd = fd_close(c->fd);
    if (load_open_client(l, c) && was_busy)
        put_idle(l, c);
}

static void start(struct load *l, struct client *c, struct str request, uint64_t intended_ns)
{
    c->request = request;
    c->is_busy = true;
    c->is_complete = false;
    c->sent = 0;
    c->start_ns = intended_ns;
    if (!send_more(l, c))
        replace(l, c, false);
}

static void advance_due(struct load *l)
{
    double gap_ns = 1e9 / l->o->rate;
    l->due_ns += l->o->kind == LOAD_FIXED ? gap_ns : -log(1 - rand_unit()) * gap_ns;
}

static void set_timer(struct load *l, uint64_t at)
{
    struct itimerspec when = {
        .it_value = {.tv_sec = (time_t)(at / NS_PER_S), .tv_nsec = (long)(at % NS_PER_S)},
    };
    CHECK(timerfd_settime(l->timer, TFD_TIMER_ABSTIME, &when, NULL) == 0);
}

static uint64_t item_due_ns(const struct load *l)
{
    const struct load_script *s = l->o->script;
    return s->speed > 0 ? l->begin_ns + (uint64_t)((double)s->items[l->next].at_ns / s->speed) : l->now_ns;
}

static void dispatch_script(struct load *l)
{
    const struct load_script *s = l->o->script;
    while (l->idle_len > 0 && l->next < s->len && item_due_ns(l) <= l->now_ns && !l->is_failed) {
        struct client *c = l->idle[--l->idle_len];
        uint64_t due_ns = item_due_ns(l);
        c->item = l->next++;
        buf_clear(&c->body);
        c->name[0] = c->value[0] = c->header_length[0] = '\0';
        start(l, c, s->items[c->item].request, due_ns);
    }
    if (l->idle_len > 0 && l->next < s->len)
        set_timer(l, item_due_ns(l));
}

/* Starts what is due. Open loop: sets the timer for the next one when a connection waits for it. */
static void dispatch(struct load *l)
{
    struct str request = buf_view(&l->o->subject->request);
    if (l->o->kind == LOAD_SCRIPT) {
        dispatch_script(l);
        return;
    }
    if (l->o->kind == LOAD_CLOSED) {
        for (size_t n = l->idle_len; n > 0 && l->idle_len > 0 && l->now_ns < l->end_ns && !l->is_failed; n--)
            start(l, l->idle[--l->idle_len], request, l->now_ns);
        return;
    }
    while (l->idle_len > 0 && l->due_ns <= (double)l->now_ns && l->due_ns < (double)l->end_ns && !l->is_failed) {
        uint64_t due_ns = (uint64_t)l->due_ns;
        advance_due(l);
        start(l, l->idle[--l->idle_len], request, due_ns);
    }
    if (l->idle_len > 0)
        set_timer(l, (uint64_t)l->due_ns);
}

/* ---- Answers ---- */

static void tell_script(struct load *l, struct client *c)
{
    buf_pad(&c->body);
    struct load_answer a = {.status = c->parser.status_code,
                            .body = buf_view(&c->body),
                            .header_length = str_c(c->header_length),
                            .latency_ns = l->now_ns > c->start_ns ? l->now_ns - c->start_ns : 0};
    l->o->script->on_answer(l->o->script->arg, c->item, &a);
}

static void count_answer(struct load *l, struct client *c)
{
    int status = c->parser.status_code;
    bool is_bad = status < 200 || status > 299;
    if (in_window(l, l->now_ns)) {
        l->r->answers++;
        l->r->bad_status += is_bad;
        if (is_bad && !l->r->first_bad)
            l->r->first_bad = status;
    }
    if (in_window(l, l->o->kind == LOAD_CLOSED ? l->now_ns : c->start_ns))
        histogram_record(&l->r->latency, l->now_ns - c->start_ns);
}

static void on_readable(struct load *l, struct client *c)
{
    ssize_t n = recv(c->fd, l->bytes, READ_BYTES, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n > 0 && in_window(l, l->now_ns))
        l->r->bytes_in += (uint64_t)n;
    bool is_fine = c->is_busy && n > 0 && llhttp_execute(&c->parser, l->bytes, (size_t)n) == HPE_OK;
    if (n == 0 && c->is_busy) {
        (void)llhttp_finish(&c->parser); /* ends an answer whose body lasts until the connection's end */
        c->closes = true;
    }
    if (c->is_complete && c->is_busy) {
        count_answer(l, c);
        if (l->o->kind == LOAD_SCRIPT)
            tell_script(l, c);
        put_idle(l, c);
        is_fine = is_fine && !c->closes;
    }
    if (is_fine)
        return;
    if (c->is_busy) {
        replace(l, c, false);
        return;
    }
    c->fd = fd_close(c->fd);      /* it stays in the list of idle ones */
    (void)load_open_client(l, c); /* an error is noted in l */
}

static void on_event(struct load *l, const struct epoll_event *e)
{
    struct client *c = e->data.ptr;
    uint64_t fired;
    if (!c) { /* the timer: dispatch does the rest */
        (void)!read(l->timer, &fired, sizeof fired);
        return;
    }
    if ((e->events & EPOLLOUT) && c->is_busy && !send_more(l, c)) {
        replace(l, c, false);
        return;
    }
    if (e->events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        on_readable(l, c);
}

static void drop_late(struct load *l)
{
    for (int i = 0; i < l->o->connections && !l->is_failed; i++) {
        struct client *c = &l->clients[i];
        if (c->is_busy && l->now_ns > c->start_ns && l->now_ns - c->start_ns > l->o->timeout_ns)
            replace(l, c, true);
    }
}

static void turn(struct load *l, uint64_t *next_tick_ns)
{
    struct epoll_event events[EVENTS_MAX];
    int n = epoll_wait(l->epoll, events, EVENTS_MAX, (int)(TICK_NS / NS_PER_MS));
    for (int i = 0; i < n && !l->is_failed; i++) {
        l->now_ns = clock_now_ns();
        on_event(l, &events[i]);
        dispatch(l);
    }
    l->now_ns = clock_now_ns();
    if (l->now_ns >= *next_tick_ns) {
        drop_late(l);
        *next_tick_ns = l->now_ns + TICK_NS;
    }
    dispatch(l);
}

/* ---- The run ---- */

static bool is_drained(const struct load *l)
{
    if (l->o->kind == LOAD_CLOSED)
        return true;
    return l->due_ns >= (double)l->end_ns && l->idle_len == (size_t)l->o->connections;
}

/* What was meant to start in the window and was not answered has waited until now, at least. */
static void count_unanswered(struct load *l)
{
    if (l->o->kind == LOAD_CLOSED)
        return;
    for (int i = 0; i < l->o->connections; i++) {
        const struct client *c = &l->clients[i];
        if (c->is_busy && in_window(l, c->start_ns)) {
            l->r->unanswered++;
            histogram_record(&l->r->latency, l->now_ns - c->start_ns);
        }
    }
    for (; l->due_ns < (double)l->end_ns; advance_due(l)) {
        uint64_t due_ns = (uint64_t)l->due_ns;
        if (in_window(l, due_ns)) {
            l->r->unanswered++;
            histogram_record(&l->r->latency, l->now_ns - due_ns);
        }
    }
}

static void run(struct load *l)
{
    const struct load_options *o = l->o;
    l->now_ns = clock_now_ns();
    l->due_ns = (double)l->now_ns;
    l->begin_ns = l->now_ns + o->warmup_ns;
    l->end_ns = l->begin_ns + o->window_ns;
    uint64_t tick_ns = l->now_ns, window_from_ns = l->end_ns;
    double cpu_from_s = 0;
    bool has_begun = false;
    dispatch(l);
    while (l->now_ns < l->end_ns && !l->is_failed) {
        if (!has_begun && l->now_ns >= l->begin_ns) {
            has_begun = true;
            window_from_ns = l->now_ns;
            cpu_from_s = usage_cpu_s(o->pids, o->pids_len);
        }
        turn(l, &tick_ns);
    }
    l->r->cpu_s = usage_cpu_s(o->pids, o->pids_len) - cpu_from_s;
    l->r->window_s = (double)(l->now_ns - window_from_ns) / 1e9;
    uint64_t drain_ns = o->window_ns < DRAIN_NS_MAX ? o->window_ns : DRAIN_NS_MAX;
    while (!is_drained(l) && l->now_ns < l->end_ns + drain_ns && !l->is_failed)
        turn(l, &tick_ns);
    count_unanswered(l);
}

/* Until the last item is answered, or given up. */
static void run_script(struct load *l)
{
    l->now_ns = l->begin_ns = clock_now_ns();
    l->end_ns = UINT64_MAX;
    uint64_t tick_ns = l->now_ns;
    double cpu_from_s = usage_cpu_s(l->o->pids, l->o->pids_len);
    dispatch(l);
    while ((l->next < l->o->script->len || l->idle_len < (size_t)l->o->connections) && !l->is_failed)
        turn(l, &tick_ns);
    l->r->cpu_s = usage_cpu_s(l->o->pids, l->o->pids_len) - cpu_from_s;
    l->r->window_s = (double)(l->now_ns - l->begin_ns) / 1e9;
}

static enum err_code open_all(struct load *l)
{
    const int n = l->o->connections;
    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    l->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    l->clients = calloc((size_t)n, sizeof *l->clients);
    l->idle = calloc((size_t)n, sizeof *l->idle);
    l->bytes = malloc(READ_BYTES);
    CHECK(l->clients && l->idle && l->bytes);
    for (int i = 0; i < n; i++)
        l->clients[i].fd = -1;
    struct epoll_event e = {.events = EPOLLIN};
    if (l->epoll < 0 || l->timer < 0 || epoll_ctl(l->epoll, EPOLL_CTL_ADD, l->timer, &e) != 0)
        return err_sys(l->err, ERR_IO, errno, "cannot prepare the load");
    for (int i = 0; i < n; i++) {
        if (!load_open_client(l, &l->clients[i]))
            return l->err->code;
        put_idle(l, &l->clients[i]);
    }
    return ERR_OK;
}

static void close_all(struct load *l)
{
    for (int i = 0; l->clients && i < l->o->connections; i++) {
        (void)fd_close(l->clients[i].fd);
        buf_done(&l->clients[i].body);
    }
    (void)fd_close(l->epoll);
    (void)fd_close(l->timer);
    free(l->clients);
    free(l->idle);
    free(l->bytes);
}

enum err_code load_run(const struct load_options *o, struct load_result *out, struct err *err)
{
    CHECK(o->connections > 0 && o->connections <= LOAD_CONNECTIONS_MAX);
    CHECK(o->kind == LOAD_CLOSED || (o->kind == LOAD_SCRIPT ? o->script != NULL : o->rate > 0));
    struct load l = {.o = o, .r = out, .err = err, .epoll = -1, .timer = -1};
    *out = (struct load_result){0};
    (void)fd_limit_raise();
    enum err_code code = load_resolve(&l);
    if (code == ERR_OK)
        code = open_all(&l);
    if (code == ERR_OK) {
        if (o->kind == LOAD_SCRIPT)
            run_script(&l);
        else
            run(&l);
        code = l.is_failed ? err->code : ERR_OK;
    }
    close_all(&l);
    return code;
}
