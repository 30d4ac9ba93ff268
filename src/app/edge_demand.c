/* Requests for models that are not loaded: they wait here, whole, until the model serves, and are then handled as if they had just come. The master is
 * told when the first one waits for a model and when none does any more; it decides when the model is loaded (master_budget.c). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/edge_int.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/json.h"

#define TICK_MS      20
#define RETRY_MS_MAX 60000u
#define LISTS        1024
#define USED_NEW_NS  (10 * NS_PER_MS) /* what was told so lately of uses is not told again */

/* In a ring: a list's head is one too, so whoever leaves need not know where it is. */
struct ring {
    struct ring *next, *prev;
};

struct edge_parked {
    struct ring ring; /* first */
    struct edge_thread *thread;
    struct http_req *req;
    struct model_shared *shared; /* a reference */
    uint64_t since_ns, deadline_ns;
};

/* By model, in the order of their arrival; few models share a list. */
struct edge_parking {
    struct ring lists[LISTS];
    size_t len;
};

/* ---- what the master is told ---- */

/* Models that could be unloaded, with how long they have not been used: [[segment, idle_ms, busy], ...]. Returns whether one is in use. */
static bool write_used(struct edge *e, struct json_writer *w, uint64_t now_ns, uint64_t *latest_ns)
{
    bool any = false;
    jw_key(w, "used");
    jw_array(w);
    pthread_mutex_lock(&e->models_lock);
    for (size_t i = 0; i < e->models_len; i++) {
        const struct edge_model *m = &e->models[i];
        uint64_t used_ns = 0;
        bool is_busy = false;
        if (!m->is_on_demand || m->state != SERVED_READY)
            continue;
        for (int t = 0; t < e->threads_len; t++) {
            uint64_t at = atomic_load_explicit(&m->shared->load[t].used_ns, memory_order_relaxed);
            used_ns = at > used_ns ? at : used_ns;
            is_busy = is_busy || atomic_load_explicit(&m->shared->load[t].queued, memory_order_relaxed) > 0 ||
                      atomic_load_explicit(&m->shared->load[t].in_flight, memory_order_relaxed) > 0;
        }
        jw_array(w);
        jw_u64(w, m->shared->id);
        jw_u64(w, is_busy || used_ns > now_ns ? 0 : (now_ns - used_ns) / NS_PER_MS);
        jw_u64(w, is_busy);
        jw_array_end(w);
        any = any || is_busy;
        *latest_ns = used_ns > *latest_ns ? used_ns : *latest_ns;
    }
    pthread_mutex_unlock(&e->models_lock);
    jw_array_end(w);
    return any;
}

static void tell(struct edge *e, enum channel_type type, const struct model_shared *m)
{
    struct buf text;
    struct json_writer w;
    uint64_t latest_ns = 0;
    buf_init(&text, CHANNEL_PAYLOAD_MAX);
    jw_init(&w, &text);
    jw_object(&w);
    jw_kv_u64(&w, "segment", m->id);
    uint64_t now_ns = clock_now_ns();
    if (type == CHANNEL_WANT && e->memory_budget > 0 && now_ns >= e->used_with_want_ns + USED_NEW_NS) {
        (void)write_used(e, &w, now_ns, &latest_ns);
        e->used_with_want_ns = now_ns;
    }
    jw_object_end(&w);
    if (!text.failed)
        edge_tell(e, type, buf_view(&text));
    buf_done(&text);
}

/* Under the lock, so that the master hears of threads' changes in their order. Returns how many waited before. */
static uint32_t count(struct edge *e, struct model_shared *m, int n)
{
    pthread_mutex_lock(&e->demand_lock);
    uint32_t before = atomic_load(&m->parked), now = before + (uint32_t)n;
    atomic_store(&m->parked, now);
    if (before == 0)
        tell(e, CHANNEL_WANT, m);
    if (now == 0)
        tell(e, CHANNEL_UNWANT, m);
    pthread_mutex_unlock(&e->demand_lock);
    return before;
}

/* Once a second: when models were used, as far as that has changed. */
void edge_demand_second(struct edge *e)
{
    struct buf text;
    struct json_writer w;
    uint64_t latest_ns = 0;
    buf_init(&text, CHANNEL_PAYLOAD_MAX);
    jw_init(&w, &text);
    jw_object(&w);
    bool is_busy = write_used(e, &w, clock_now_ns(), &latest_ns);
    jw_object_end(&w);
    if (!text.failed && (is_busy || e->used_was_busy || latest_ns > e->used_told_ns))
        edge_tell(e, CHANNEL_USED, buf_view(&text));
    e->used_was_busy = is_busy;
    e->used_told_ns = latest_ns;
    buf_done(&text);
}

/* ---- the list ---- */

static void ring_init(struct ring *head)
{
    head->next = head->prev = head;
}

static void ring_leave(struct ring *r)
{
    r->prev->next = r->next;
    r->next->prev = r->prev;
}

static void ring_append(struct ring *head, struct ring *r)
{
    r->next = head;
    r->prev = head->prev;
    head->prev->next = r;
    head->prev = r;
}

static struct ring *list_of(const struct edge_thread *t, const struct model_shared *m)
{
    return &t->parking->lists[m->id % LISTS];
}

static void push(struct edge_parked *p)
{
    ring_append(list_of(p->thread, p->shared), &p->ring);
    p->thread->parking->len++;
}

/* Takes it out and lets go of it; the request is the caller's. */
static struct http_req *take(struct edge_thread *t, struct edge_parked *p)
{
    struct http_req *req = p->req;
    ring_leave(&p->ring);
    t->parking->len--;
    req->on_cancel = NULL;
    req->stage_ns[STAGE_QUEUE] += clock_now_ns() - p->since_ns;
    (void)count(t->edge, p->shared, -1);
    (void)model_shared_unref(p->shared);
    free(p);
    return req;
}

static void on_cancel(struct http_req *req, void *arg)
{
    struct edge_parked *p = arg;
    struct err err;
    struct metric *counted = p->shared->outcome[OUTCOME_CANCELLED];
    if (counted)
        metric_add(counted, p->thread->index, 1);
    (void)take(p->thread, p);
    err_set(&err, ERR_CANCELLED, "the client went away");
    http_respond_err(req, &err);
}

/* As if it had just come; with why, its waiting was in vain. */
static void handle_again(struct edge_thread *t, struct edge_parked *p, const struct err *why)
{
    struct metric *counted = why ? p->shared->outcome[OUTCOME_REJECTED] : NULL;
    if (counted)
        metric_add(counted, t->index, 1);
    struct http_req *req = take(t, p);
    serve_set_refusal(t->serve, why);
    edge_handle(req, t);
    serve_set_refusal(t->serve, NULL);
}

static bool is_hopeless(const struct model_shared *m, uint64_t deadline_ns, uint64_t now_ns);

/* From one list into another: those that wait for the model (NULL: any) and, now_ns not 0, those whose waiting is in vain. */
static void pick(struct ring *from, const struct model_shared *m, uint64_t now_ns, struct ring *out)
{
    for (struct ring *r = from->next, *next; r != from; r = next) {
        struct edge_parked *p = (struct edge_parked *)r;
        next = r->next;
        if ((m && p->shared != m) || (now_ns != 0 && !is_hopeless(p->shared, p->deadline_ns, now_ns)))
            continue;
        ring_leave(r);
        ring_append(out, r);
    }
}

/* All that wait for the model (NULL: for any) now. What is handled may wait anew, in its list, or take others with it (their connection closes), also of those
 * that are picked: they leave the ring in which they are. */
static void handle_all(struct edge_thread *t, const struct model_shared *m, const struct err *why)
{
    struct ring due;
    ring_init(&due);
    if (m)
        pick(list_of(t, m), m, 0, &due);
    for (size_t i = 0; i < LISTS && !m; i++)
        pick(&t->parking->lists[i], NULL, 0, &due);
    while (due.next != &due)
        /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): what is freed has left the ring */
        handle_again(t, (struct edge_parked *)due.next, why);
}

/* ---- how long it takes ---- */

/* When the model will be ready, about. */
static uint64_t expected_ns(const struct model_shared *m, uint64_t now_ns)
{
    uint64_t at_ns = atomic_load_explicit(&m->expect_ns, memory_order_relaxed);
    return at_ns > now_ns ? at_ns : now_ns + atomic_load_explicit(&m->load_ns, memory_order_relaxed);
}

static void set_late(struct err *err, const struct model_shared *m, uint64_t now_ns, const char *what)
{
    uint64_t ms = (expected_ns(m, now_ns) - now_ns) / NS_PER_MS + 1;
    err_set(err, ERR_UNAVAILABLE, "model '%s' is not loaded, %s", m->name, what);
    err->retry_after_ms = (uint32_t)(ms < RETRY_MS_MAX ? ms : RETRY_MS_MAX);
    err_remedy(err, "try again after %u ms, when it is expected to be loaded", err->retry_after_ms);
}

/* Expectations may be too long by the time that others are thought to need: by half they are believed. */
static bool is_hopeless(const struct model_shared *m, uint64_t deadline_ns, uint64_t now_ns)
{
    uint64_t load_ns = atomic_load_explicit(&m->load_ns, memory_order_relaxed);
    bool is_loading = atomic_load_explicit(&m->expect_ns, memory_order_relaxed) > now_ns;
    uint64_t least_ns = is_loading ? (expected_ns(m, now_ns) - now_ns) / 2 : load_ns / 2;
    return deadline_ns <= now_ns || least_ns > deadline_ns - now_ns;
}

static void expire(struct edge_thread *t)
{
    uint64_t now_ns = clock_now_ns();
    struct ring due;
    struct err err;
    ring_init(&due);
    for (size_t i = 0; i < LISTS; i++)
        pick(&t->parking->lists[i], NULL, now_ns, &due);
    while (due.next != &due) {
        struct edge_parked *p = (struct edge_parked *)due.next;
        set_late(&err, p->shared, now_ns,
                 p->deadline_ns <= now_ns ? "and was not within the request's time limit"
                                          : "and will not be within the request's time limit");
        handle_again(t, p, &err);
    }
}

static void on_tick(uv_timer_t *h)
{
    struct edge_thread *t = h->data;
    expire(t);
    serve_flush(t->serve);
    if (t->parking->len == 0)
        (void)uv_timer_stop(h);
}

void edge_demand_init(struct edge_thread *t)
{
    t->parking = calloc(1, sizeof *t->parking);
    CHECK(t->parking && uv_timer_init(&t->loop, &t->parked_tick) == 0);
    for (size_t i = 0; i < LISTS; i++)
        ring_init(&t->parking->lists[i]);
    t->parked_tick.data = t;
}

bool edge_park(void *arg, struct http_req *req, struct model_shared *m, uint64_t deadline_ns, struct err *err)
{
    struct edge_thread *t = arg;
    uint64_t now_ns = clock_now_ns();
    uint32_t before = count(t->edge, m, 1); /* it is wanted, even if this one cannot wait */
    const char *why = atomic_load(&t->edge->draining)       ? "and this server is about to end"
                      : before >= m->limits.queue_max       ? "and as many requests wait for it as may (queue_max)"
                      : is_hopeless(m, deadline_ns, now_ns) ? "and will not be within the request's time limit"
                                                            : NULL;
    if (why) {
        set_late(err, m, now_ns, why);
        (void)count(t->edge, m, -1);
        if (m->outcome[OUTCOME_REJECTED])
            metric_add(m->outcome[OUTCOME_REJECTED], t->index, 1);
        return false;
    }
    struct edge_parked *p = calloc(1, sizeof *p);
    CHECK(p);
    *p = (struct edge_parked){
        .thread = t, .req = req, .shared = model_shared_ref(m), .since_ns = now_ns, .deadline_ns = deadline_ns};
    req->on_cancel = on_cancel;
    req->on_cancel_arg = p;
    push(p);
    if (!uv_is_active((uv_handle_t *)&t->parked_tick))
        (void)uv_timer_start(&t->parked_tick, on_tick, TICK_MS, TICK_MS);
    return true;
}

void edge_demand_news(struct edge_thread *t, const struct edge_news *n)
{
    struct err err;
    if (n->kind == EDGE_NEWS_EXPECT) {
        err_set(&err, ERR_UNAVAILABLE, "%s", n->reason);
        err_remedy(&err, "%s", n->labels);
        handle_all(t, n->shared, &err);
    } else if (n->kind == EDGE_NEWS_DRAIN) {
        err_set(&err, ERR_UNAVAILABLE, "the model is not loaded, and this server is about to end");
        handle_all(t, NULL, &err);
    } else if (n->kind == EDGE_NEWS_RETIRE || n->state == SERVED_READY || n->state == SERVED_FAILED) {
        handle_all(t, n->shared, NULL);
    }
}

/* ---- letting go ---- */

static void tell_yielded(struct edge *e, uint32_t segment, bool is_busy)
{
    char text[80];
    (void)snprintf(text, sizeof text, "{\"segment\":%u,\"busy\":%s}", segment, is_busy ? "true" : "false");
    edge_tell(e, CHANNEL_YIELDED, str_c(text));
}

/* Every thread says once whether it can let go; the last one tells. */
static void vote(struct edge *e, struct model_shared *m, bool is_busy)
{
    if (is_busy)
        atomic_store(&m->is_busy, true);
    if (atomic_fetch_sub(&m->votes_left, 1) != 1)
        return;
    is_busy = atomic_load(&m->is_busy);
    pthread_mutex_lock(&e->models_lock);
    struct edge_model *book = edge_model_by_id(e, m->id);
    if (book)
        book->unloads += !is_busy;
    pthread_mutex_unlock(&e->models_lock);
    tell_yielded(e, m->id, is_busy);
}

void edge_yielded(void *arg, struct model_shared *m)
{
    struct edge_thread *t = arg;
    vote(t->edge, m, false);
}

void edge_demand_yield(struct edge_thread *t, const struct edge_news *n)
{
    struct served *m = serve_by_segment(t->serve, n->segment);
    enum serve_yield now = m ? serve_yield(m, n->flag) : SERVE_YIELD_DONE;
    if (now != SERVE_YIELD_LATER)
        vote(t->edge, n->shared, now == SERVE_YIELD_BUSY);
}

struct asked { /* of a message of the master */
    uint64_t segment, at_ns;
    bool is_drain;
    struct str refused, remedy;
};

static bool read_asked(struct str payload, struct arena *a, struct asked *out)
{
    struct json_reader r;
    struct str key;
    *out = (struct asked){0};
    json_init(&r, payload, 4);
    json_object(&r);
    while (json_key(&r, &key)) {
        if (str_eq_c(key, "segment"))
            json_u64(&r, &out->segment);
        else if (str_eq_c(key, "at_ns"))
            json_u64(&r, &out->at_ns);
        else if (str_eq_c(key, "drain"))
            json_bool(&r, &out->is_drain);
        else if (str_eq_c(key, "text"))
            json_string(&r, a, &out->refused);
        else if (str_eq_c(key, "remedy"))
            json_string(&r, a, &out->remedy);
        else
            json_skip(&r, NULL);
    }
    return json_end(&r) == ERR_OK;
}

/* Ensembles hear of it first: once a thread has let go of a member, no request to its ensemble may begin there. */
void edge_on_yield(struct edge *e, struct str payload)
{
    struct arena a;
    struct asked asked;
    arena_init(&a, 1024, 1 << 16);
    bool is_whole = read_asked(payload, &a, &asked);
    pthread_mutex_lock(&e->models_lock);
    struct edge_model *m = is_whole ? edge_model_by_id(e, (uint32_t)asked.segment) : NULL;
    if (m)
        m->state = SERVED_UNLOADED;
    pthread_mutex_unlock(&e->models_lock);
    if (m) {
        atomic_store(&m->shared->is_busy, false);
        atomic_store(&m->shared->votes_left, e->threads_len);
        edge_ensembles_update(e);
        edge_broadcast(
            e, &(struct edge_news){
                   .kind = EDGE_NEWS_YIELD, .shared = m->shared, .segment = m->shared->id, .flag = asked.is_drain});
    } else {
        tell_yielded(e, (uint32_t)asked.segment, false);
    }
    arena_done(&a);
}

void edge_on_expect(struct edge *e, struct str payload)
{
    struct arena a;
    struct asked asked;
    struct edge_news news = {.kind = EDGE_NEWS_EXPECT};
    arena_init(&a, 1024, 1 << 16);
    bool is_whole = read_asked(payload, &a, &asked);
    struct edge_model *m = is_whole ? edge_model_by_id(e, (uint32_t)asked.segment) : NULL;
    if (m && asked.refused.n == 0) {
        atomic_store(&m->shared->expect_ns, asked.at_ns);
    } else if (m) {
        (void)str_copy(news.reason, sizeof news.reason, asked.refused);
        (void)str_copy(news.labels, sizeof news.labels, asked.remedy);
        news.shared = m->shared;
        edge_broadcast(e, &news);
    }
    arena_done(&a);
}
