/* One request's way: submit, place into a block, wait, end. */
#include "serve/infer.h"

#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "net/http.h"
#include "serve/internal_int.h"
#include "serve/queue.h"
#include "serve/rollout_int.h"

#define BIG_REQUEST_BYTES (256u << 10) /* decoding it takes long: rows that are ready do not wait for it */

static enum infer_outcome outcome_of(enum err_code code)
{
    switch (code) {
    case ERR_OK:
        return OUTCOME_OK;
    case ERR_BUSY:
    case ERR_UNAVAILABLE:
        return OUTCOME_REJECTED;
    case ERR_TIMEOUT:
        return OUTCOME_TIMEOUT;
    case ERR_CANCELLED:
        return OUTCOME_CANCELLED;
    case ERR_INTERNAL:
    case ERR_BACKEND:
    case ERR_IO:
    case ERR_UNSUPPORTED:
    case ERR_REJECTED:
        return OUTCOME_FAILED;
    case ERR_INVALID:
    case ERR_DENIED:
    case ERR_NOT_FOUND:
    case ERR_METHOD:
    case ERR_CONFLICT:
    case ERR_TOO_LARGE:
    case ERR_MEDIA:
    case ERR_MAX_:
        break;
    }
    return OUTCOME_CLIENT_ERROR;
}

static void show_load(struct served *m)
{
    int t = m->serve->thread;
    atomic_store_explicit(&m->shared->load[t].queued, m->waiting, memory_order_relaxed);
    atomic_store_explicit(&m->shared->load[t].in_flight, m->placed, memory_order_relaxed);
}

/* Before its first rows are counted. */
static void note_thread(struct model_shared *m, int thread)
{
    int seen = atomic_load_explicit(&m->threads_seen, memory_order_relaxed);
    while (seen <= thread && !atomic_compare_exchange_weak_explicit(&m->threads_seen, &seen, thread + 1,
                                                                    memory_order_relaxed, memory_order_relaxed))
        ;
}

/* Rows that wait or run; n may be negative, as two's complement. Only this thread writes. */
static void count_rows(struct served *m, const struct infer *i, uint32_t n)
{
    _Atomic uint32_t *shown = &m->shared->load[m->serve->thread].rows[i->priority - 1];
    note_thread(m->shared, m->serve->thread);
    m->rows += n;
    atomic_store_explicit(shown, atomic_load_explicit(shown, memory_order_relaxed) + n, memory_order_relaxed);
}

/* Into its place by order. New requests belong near the end, so the walk begins there. */
static void waiting_push(struct served *m, struct infer *i)
{
    struct infer *before = m->waiting_last;
    while (before && before->order > i->order)
        before = before->prev;
    i->state = INFER_WAITING;
    i->prev = before;
    i->next = before ? before->next : m->waiting_first;
    if (i->next)
        i->next->prev = i;
    else
        m->waiting_last = i;
    if (before)
        before->next = i;
    else
        m->waiting_first = i;
    m->waiting++;
    served_wake(m);
    if (!i->part_of)
        queue_note(m, i, 1);
    count_rows(m, i, i->rows);
}

static void waiting_unlink(struct served *m, struct infer *i)
{
    if (i->prev)
        i->prev->next = i->next;
    else
        m->waiting_first = i->next;
    if (i->next)
        i->next->prev = i->prev;
    else
        m->waiting_last = i->prev;
    m->waiting--;
    if (!i->part_of)
        queue_note(m, i, -1);
    count_rows(m, i, 0U - i->rows);
}

void infer_reorder(struct served *m, struct infer *i, uint64_t order)
{
    if (i->block) {
        i->order = order;
        lane_reorder(i->block);
        return;
    }
    waiting_unlink(m, i);
    i->order = order;
    waiting_push(m, i);
}

/* What was predicted for it, and what came of it. How long one would have taken that was not in time is not known: it counts twice. */
static void learn_lag(struct served *m, const struct infer *i)
{
    bool is_late = i->err.code == ERR_TIMEOUT;
    uint64_t end = i->err.code == ERR_OK ? i->t_ran_ns : is_late ? i->deadline_ns : 0;
    if (i->expected_ns == 0 || end <= i->t_submit_ns || i->part_of)
        return;
    /* That others join the run of one of the first of a burst is no lag. */
    uint64_t run_ns = is_late ? 0 : (uint64_t)cost_run_ns(&m->schedule.cost, i->batch_rows);
    uint64_t expected_ns = i->expected_ns > run_ns ? i->expected_ns : run_ns;
    lag_learn(&m->schedule.lag[i->priority - 1], expected_ns, (end - i->t_submit_ns) * (is_late ? 2 : 1), end);
}

void infer_end(struct infer *i)
{
    struct served *m = i->model;
    if (i->state == INFER_WAITING || i->state == INFER_PLACED)
        learn_lag(m, i);
    if (i->state == INFER_WAITING) {
        waiting_unlink(m, i);
    } else if (i->state == INFER_PLACED) {
        struct lane_block *b = i->block;
        if (b)
            lane_unlink(i);
        i->block = b; /* done() may read strings from it; it is released by our caller, afterwards */
        m->placed--;
        count_rows(m, i, 0U - i->rows);
    }
    if (i->state != INFER_NEW)
        m->serve->busy--;
    i->state = INFER_ENDED;
    atomic_store_explicit(&m->shared->load[m->serve->thread].used_ns, i->t_submit_ns, memory_order_relaxed);
    show_load(m);
    struct metric *counted = m->shared->outcome[outcome_of(i->err.code)];
    if (counted && !i->part_of)
        metric_add(counted, m->serve->thread, 1);
    rollout_end(i);
    i->done(i);
}

void infer_end_err(struct infer *i, enum err_code code, const char *text, const char *remedy)
{
    err_set(&i->err, code, "%s", text);
    if (remedy)
        err_remedy(&i->err, "%s", remedy);
    infer_end(i);
}

static bool is_quarantined(struct served *m, const struct infer *i, const struct lane_block *b)
{
    if (atomic_load_explicit(&m->shared->quarantine.len, memory_order_relaxed) == 0)
        return false;
    const unsigned char *base = segment_in(m->lane.map, m->lane.index, b->index);
    struct hash128 print = quarantine_print(i, m->info.desc->inputs_len, base, m->lane.map->in_cap);
    return quarantine_has(&m->shared->quarantine, print, clock_now_ns());
}

static void expect_by(struct served *m, const struct infer *i)
{
    uint64_t by = i->begin_by_ns != 0 && i->begin_by_ns < i->deadline_ns ? i->begin_by_ns : i->deadline_ns;
    if (by < m->next_deadline_ns)
        m->next_deadline_ns = by;
}

static void placed(struct served *m, struct lane_block *b, struct infer *i)
{
    if (i->state == INFER_WAITING)
        waiting_unlink(m, i);
    else
        m->serve->busy++;
    i->state = INFER_PLACED;
    lane_commit(b, i);
    m->placed++;
    count_rows(m, i, i->rows);
    served_dirty(m);
    expect_by(m, i);
    if (b->rows >= b->rows_max)
        lane_publish(b);
}

/* False: no block is free. Otherwise the request is in a block, or has ended with an error. */
static bool place(struct served *m, struct infer *i)
{
    struct lane_block *b;
    enum lane_room room = lane_reserve(&m->lane, i, &b, &i->err);
    if (room == LANE_FULL)
        return false;
    if (room == LANE_TOO_LARGE) {
        infer_end(i);
        return true;
    }
    enum err_code code = i->decode(i, &i->err);
    i->t_decoded_ns = clock_now_ns();
    if (code == ERR_OK && UNLIKELY(is_quarantined(m, i, b))) {
        err_set(&i->err, ERR_REJECTED, "this input killed workers of model '%s' %d times and is quarantined",
                m->info.name, CRASH_KILLS_MAX);
        code = err_remedy(
            &i->err,
            "see the crash reports (quern status, dashboard); it is tried again 10 minutes after the last crash");
    }
    if (code == ERR_OK) {
        placed(m, b, i);
    } else {
        lane_void(b);
        served_dirty(m); /* an open block may have been taken back for these rows: it must open again */
        i->block = NULL;
        infer_end(i);
    }
    return true;
}

/* The most urgent one of the urgent, when the first must leave the last blocks to them. */
static struct infer *first_urgent(const struct served *m)
{
    struct infer *i = m->waiting_first;
    while (i && i->priority > 1)
        i = i->next;
    return i;
}

/* A free place that the first has no use for may suit one of the next. */
static bool place_another(struct served *m)
{
    const struct infer *first = m->waiting_first;
    struct infer *i = first->next;
    for (int n = 0; m->lane.mix && i && n < MIX_LOOK; n++, i = i->next)
        if (place(m, i))
            return true;
    return false;
}

void infer_pump(struct served *m)
{
    struct infer *i;
    if (UNLIKELY(m->mix.seen_ns != 0))
        mix_look(m, clock_now_ns());
    while ((i = m->waiting_first) != NULL) {
        if (place(m, i) || place_another(m))
            continue;
        i = i->priority > 1 ? first_urgent(m) : NULL;
        if (!i || !place(m, i))
            break;
    }
    show_load(m);
}

static size_t request_bytes(const struct infer *i, uint32_t inputs_len)
{
    size_t n = 0;
    uint64_t count;
    for (uint32_t k = 0; k < inputs_len; k++)
        if (i->in[k].given && tensor_count(i->in[k].dims, i->in[k].ndim, &count))
            n += count * dtype_size(i->in[k].dtype) + i->in[k].heap_bytes;
    return n;
}

uint32_t infer_rows_elsewhere(const struct served *m, uint32_t priority)
{
    uint32_t rows = 0;
    int threads = atomic_load_explicit(&m->shared->threads_seen, memory_order_relaxed);
    for (int t = 0; t < threads; t++)
        for (uint32_t p = 0; p < priority && t != m->serve->thread; p++)
            rows += atomic_load_explicit(&m->shared->load[t].rows[p], memory_order_relaxed);
    return rows;
}

/* Rows that run before a request of this order: waiting ones that sort before it, and all blocks but those that a worker would leave for later. */
static uint32_t rows_before(const struct served *m, uint64_t order)
{
    uint32_t rows = m->rows;
    for (const struct infer *i = m->waiting_last; i && i->order > order; i = i->prev)
        rows -= i->rows;
    for (uint32_t mask = ~m->lane.unused; mask != 0; mask &= mask - 1) {
        const struct lane_block *b = &m->lane.blocks[__builtin_ctz(mask)];
        if (b->order > order && (b->use == LANE_FILLING || (b->use == LANE_PUBLISHED && lane_is_open(b))))
            rows -= b->rows_live;
    }
    return rows;
}

static struct schedule_ask ask_of(const struct infer *i)
{
    return (struct schedule_ask){.now_ns = i->t_submit_ns,
                                 .deadline_ns = i->deadline_ns,
                                 .client = i->client,
                                 .priority = i->priority,
                                 .rows = i->rows};
}

/* When a request with so many rows ahead of it is answered, about (expected_ns), and at the latest, as far as can be told. */
static uint64_t finish_behind(struct served *m, struct infer *i, uint32_t ahead)
{
    int instances = m->info.instances_ready;
    uint64_t finish = schedule_finish(&m->schedule, i->t_submit_ns, ahead, i->rows, m->lane.row_cap, instances);
    struct schedule_ask ask = ask_of(i);
    i->ahead_rows = ahead;
    i->expected_ns = finish > i->t_submit_ns ? finish - i->t_submit_ns : 0;
    double times = lag_times(&m->schedule.lag[i->priority - 1], i->t_submit_ns) + LAG_SPARE;
    times *= schedule_is_greedy(&m->schedule, &ask) ? SCHEDULE_GREEDY : 1;
    return i->t_submit_ns + (uint64_t)((double)i->expected_ns * times);
}

/* What cannot be in time is refused now, with the time after which it could be. An idle model always tries: what was learned may be wrong. */
static enum err_code check_deadline(struct served *m, struct infer *i)
{
    uint32_t ahead = m->rows + infer_rows_elsewhere(m, SCHEDULE_PRIORITY_MAX);
    if (ahead == 0 || finish_behind(m, i, ahead) <= queue_answer_by(m, i, ahead))
        return ERR_OK;
    ahead = rows_before(m, i->order) + infer_rows_elsewhere(m, i->priority);
    uint64_t finish = finish_behind(m, i, ahead), by = queue_answer_by(m, i, ahead);
    if (ahead == 0 || finish <= by)
        return ERR_OK;
    i->expected_ns = finish - i->t_submit_ns;
    i->refusal = INFER_BY_DEADLINE;
    uint64_t late_ms = (finish - by) / NS_PER_MS + 1;
    err_set(&i->err, ERR_BUSY, "model '%s' would answer in %llu ms, after the %s: %u rows are ahead of it",
            m->info.name, (unsigned long long)((finish - i->t_submit_ns) / NS_PER_MS),
            by < i->deadline_ns ? "time that it may wait (queue_timeout)" : "request's deadline", ahead);
    i->err.retry_after_ms = (uint32_t)(late_ms < RETRY_MS_MAX ? late_ms : RETRY_MS_MAX);
    return err_remedy(&i->err, "try again after %u ms, or allow more time", i->err.retry_after_ms);
}

static void set_order(struct served *m, struct infer *i)
{
    if (i->priority == 0)
        i->priority = m->shared->limits.priority_default;
    i->priority = i->priority < 1 ? 1 : i->priority > SCHEDULE_PRIORITY_MAX ? SCHEDULE_PRIORITY_MAX : i->priority;
    struct schedule_ask ask = ask_of(i);
    i->order = schedule_order(&m->schedule, &ask);
    if (!m->lane.policy->is_ordered)
        return;
    i->priority = 1;
    i->order = i->t_submit_ns > m->last_order ? i->t_submit_ns : m->last_order + 1;
    m->last_order = i->order + i->rows; /* its parts, if it is split, lie in between */
}

uint64_t infer_part_order(const struct served *m)
{
    if (m->lane.policy->is_ordered)
        return 1;
    int instances = m->info.instances_ready > 0 ? m->info.instances_ready : 1;
    return (uint64_t)cost_run_ns(&m->schedule.cost, m->lane.row_cap) / (uint64_t)instances;
}

static enum err_code admit(struct served *m, struct infer *i)
{
    if (m->info.state != SERVED_READY) {
        i->refusal = INFER_BY_STATE;
        err_set(&i->err, ERR_UNAVAILABLE, "model '%s' is not ready: %s", m->info.name,
                m->reason[0] ? m->reason : "loading");
        return i->err.code;
    }
    if (infer_check(i, &i->err) || infer_rows(i, &i->rows, &i->err))
        return i->err.code;
    if (i->part_of) /* its whole was admitted, and ordered */
        return ERR_OK;
    set_order(m, i);
    if (UNLIKELY(m->mix.seen_ns != 0) && mix_admit(m, i))
        return i->err.code;
    queue_wait_begin(m, i);
    if (check_deadline(m, i) || queue_admit(m, i))
        return i->err.code;
    struct schedule_ask ask = ask_of(i);
    schedule_charge(&m->schedule, &ask, m->lane.row_cap, m->info.instances_ready);
    return ERR_OK;
}

/* A request that has waited for its model to be loaded is as old as it is. */
static uint64_t begun_ns(const struct infer *i)
{
    const struct http_req *req = i->serve ? i->serve->caller : NULL;
    return req && req->t_ready_ns != 0 && req->t_ready_ns < i->t_submit_ns ? req->t_ready_ns : i->t_submit_ns;
}

/* Requests all alike can wait for each other; among others one may be in a hurry (rest.h). */
static void note_mix(const struct served *m, const struct infer *i)
{
    struct serve *s = m->serve;
    if (s->last_model != m || s->last_priority != i->priority)
        s->mixed_ns = i->t_submit_ns;
    s->last_model = m;
    s->last_priority = i->priority;
}

void infer_submit(struct infer *i)
{
    struct served *m = i->model;
    i->t_submit_ns = clock_now_ns();
    i->t_decoded_ns = i->t_run_ns = i->t_ran_ns = 0;
    i->state = INFER_NEW;
    i->block = NULL;
    i->attempts = i->batch_rows = i->batch_requests = i->batch_guests = i->ahead_rows = 0;
    i->is_guest = false;
    i->expected_ns = 0;
    i->refusal = INFER_ADMITTED;
    i->err.code = ERR_OK;
    if (i->deadline_ns == 0)
        i->deadline_ns = begun_ns(i) + m->shared->limits.timeout_ns;
    i->ensemble = NULL;
    if (m->shared->ensemble) {
        ensemble_submit(i);
        return;
    }
    if (admit(m, i)) {
        infer_end(i);
        return;
    }
    note_mix(m, i);
    mix_note(&m->mix, i->t_submit_ns, i->order, m->rows == 0);
    if (UNLIKELY(m->mix.seen_ns != 0)) {
        mix_arrive(&m->mix, i->t_submit_ns, i->order, i->priority, i->rows);
        mix_look(m, i->t_submit_ns);
    }
    if (split_is_due(i)) {
        split_submit(i);
        return;
    }
    if (request_bytes(i, m->info.desc->inputs_len) > BIG_REQUEST_BYTES)
        serve_flush(m->serve);
    bool must_wait = m->waiting_first != NULL;
    if (must_wait || !place(m, i)) {
        m->serve->busy++;
        expect_by(m, i);
        waiting_push(m, i);
    }
    if (must_wait)
        infer_pump(m); /* it may be more urgent than what waits */
    show_load(m);
}

void infer_cancel(struct infer *i)
{
    if (i->state == INFER_SPLIT) {
        split_cancel(i); /* its memory may be gone now */
        return;
    }
    if (i->state == INFER_ENSEMBLE) {
        ensemble_cancel(i);
        return;
    }
    if (i->state != INFER_WAITING && i->state != INFER_PLACED)
        return;
    struct served *m = i->model;
    struct lane_block *b = i->block;
    infer_end_err(i, ERR_CANCELLED, "the client went away", NULL);
    if (b)
        abandon_block(m, b);
}

bool infer_put_bytes(struct infer *i, int k, uint64_t e, struct str s)
{
    struct infer_tensor *t = &i->in[k];
    if (i->ensemble)
        return ensemble_put_bytes(i, k, e, s);
    if (s.n > i->heap_end - i->heap_at || (e + 1) * sizeof(struct bytes_ref) > t->bytes)
        return false;
    const struct lane_block *b = i->block;
    unsigned char *base = segment_in(b->lane->map, b->lane->index, b->index);
    struct bytes_ref ref = {.off = i->heap_at, .len = (uint32_t)s.n};
    if (s.n > 0)
        memcpy(base + i->heap_at, s.p, s.n);
    memcpy(t->data + e * sizeof ref, &ref, sizeof ref);
    i->heap_at += (uint32_t)s.n;
    return true;
}

static struct str kept_bytes(const struct infer *i, int k, uint64_t e)
{
    const struct infer_tensor *t = &i->out[k];
    struct bytes_ref ref;
    if ((e + 1) * sizeof ref > t->bytes)
        return STR("");
    memcpy(&ref, t->data + e * sizeof ref, sizeof ref);
    return (struct str){(const char *)i->kept + ref.off, ref.len};
}

struct str infer_get_bytes(const struct infer *i, int k, uint64_t e)
{
    const struct infer_tensor *t = &i->out[k];
    const struct lane_block *b = i->block;
    struct bytes_ref ref;
    if (i->kept)
        return kept_bytes(i, k, e);
    if (i->ensemble)
        return ensemble_get_bytes(i, k, e);
    if (!b || (e + 1) * sizeof ref > t->bytes)
        return STR("");
    memcpy(&ref, t->data + e * sizeof ref, sizeof ref); /* copy, then check the copy [L5] */
    if ((uint64_t)ref.off + ref.len > b->lane->map->out_cap)
        return STR("");
    return (struct str){(const char *)segment_out(b->lane->map, b->lane->index, b->index) + ref.off, ref.len};
}
