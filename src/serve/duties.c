/* What a thread does for its models again and again: opens what is filled, answers what has run, looks at the time. */
#include <errno.h>
#include <signal.h>

#include "base/clock.h"
#include "serve/internal_int.h"
#include "serve/queue.h"
#include "sys/futex.h"

#define ABORT_NS (250 * NS_PER_MS) /* for a backend that can give up a run, before its worker is killed */

static void wake_workers(struct served *m)
{
    struct segment_shm *shm = m->lane.map->shm;
    atomic_fetch_add_explicit(&shm->work, 1, memory_order_seq_cst);
    if (atomic_load_explicit(&shm->waiting, memory_order_seq_cst) != 0)
        futex_wake(&shm->work, __builtin_popcount(m->lane.published));
}

static void run_inline(struct served *m)
{
    struct exec_block b;
    while (exec_claim(m->exec, &b)) {
        (void)exec_run(m->exec, &b); /* false: cannot happen, we are the only one */
        answer_block(m, &m->lane.blocks[b.block]);
        infer_pump(m);
    }
}

static void flush_model(struct served *m)
{
    m->is_dirty = false;
    struct lane *l = &m->lane;
    for (uint32_t i = 0; i < LANE_BLOCKS; i++)
        if (l->blocks[i].use == LANE_FILLING)
            lane_publish(&l->blocks[i]);
    if (m->exec)
        run_inline(m);
    else if (l->published != 0)
        wake_workers(m);
}

void serve_flush(struct serve *s)
{
    if (s->is_flushing) /* an answer led to a new request: the outer call takes it along */
        return;
    s->is_flushing = true;
    for (bool any = true; any;) { /* what ran here and now may have led to requests of one that has had its turn */
        any = false;
        for (struct served *m = s->awake_first; m; m = m->awake_next)
            for (; m->is_dirty; any = true)
                flush_model(m);
    }
    s->is_flushing = false;
}

static bool is_done(const struct served *m, const struct lane_block *b)
{
    uint64_t state =
        atomic_load_explicit(&m->lane.map->shm->lane[m->lane.index].blocks[b->index].state, memory_order_acquire);
    return b->use == LANE_PUBLISHED && block_phase_of(state) == BLOCK_DONE && block_gen_of(state) == b->gen;
}

/* The block whose requests came first, of those that are not answered yet. */
static struct lane_block *oldest(struct served *m)
{
    struct lane_block *found = NULL;
    for (uint32_t i = 0; i < LANE_BLOCKS; i++) {
        struct lane_block *b = &m->lane.blocks[i];
        bool is_ours = b->use == LANE_FILLING || b->use == LANE_PUBLISHED;
        if (is_ours && (!found || b->order < found->order))
            found = b;
    }
    return found;
}

/* Results that are there wait for those of earlier requests. */
static bool collect_in_order(struct served *m)
{
    bool any = false;
    struct lane_block *b;
    while ((b = oldest(m)) != NULL && is_done(m, b)) {
        answer_block(m, b);
        any = true;
    }
    return any;
}

static bool collect_any(struct served *m)
{
    bool any = false;
    for (uint32_t mask = m->lane.published; mask != 0; mask &= mask - 1) {
        struct lane_block *b = &m->lane.blocks[__builtin_ctz(mask)];
        if (!is_done(m, b))
            continue;
        answer_block(m, b);
        any = true;
    }
    return any;
}

static bool collect_model(struct served *m)
{
    bool any = m->lane.policy->is_ordered ? collect_in_order(m) : collect_any(m);
    if (any)
        infer_pump(m);
    return any;
}

static bool finish_retired(struct serve *s, struct served *m)
{
    if (!m->is_retired || m->placed || m->waiting || (m->has_lane && m->lane.published))
        return false;
    if (atomic_fetch_sub(&m->shared->threads_draining, 1) == 1 && s->hooks.drained)
        s->hooks.drained(s->hooks.arg, m->shared->id);
    serve_remove(s, m);
    return true;
}

static bool has_work(const struct served *m)
{
    return m->is_dirty || m->placed || m->waiting || m->is_yielding || m->is_retired ||
           (m->has_lane && (m->lane.published || m->lane.orphans));
}

bool serve_collect(struct serve *s)
{
    bool any = false;
    for (struct served *m = s->awake_first, *next; m; m = next) {
        if (m->has_lane && m->lane.published)
            any |= collect_model(m);
        if (m->is_yielding)
            demand_look(m);
        next = m->awake_next; /* not before: answers may have woken others */
        if (m->is_retired && finish_retired(s, m))
            continue;
        if (!has_work(m))
            serve_sleep(m);
    }
    serve_flush(s); /* requests that waited are in blocks now */
    return any;
}

void serve_worker_died(struct serve *s, uint32_t segment, uint32_t pid, bool is_crash)
{
    struct served *m = serve_by_segment(s, segment);
    if (!m || !m->has_lane)
        return;
    (void)collect_model(m); /* what it finished before it died counts */
    for (uint32_t i = 0; i < LANE_BLOCKS; i++) {
        struct lane_block *b = &m->lane.blocks[i];
        uint64_t state = atomic_load(&m->lane.map->shm->lane[m->lane.index].blocks[i].state);
        if (block_phase_of(state) != BLOCK_RUNNING || block_owner_of(state) != (pid & 0xFFFFFFFu))
            continue;
        if (b->use == LANE_ORPHAN)
            lane_release(b);
        else if (b->use == LANE_PUBLISHED)
            recover_block(m, b, is_crash);
    }
    infer_pump(m);
    serve_flush(s);
}

/* ---- time ---- */

static void expire(struct served *m, struct infer *i)
{
    char text[200];
    struct lane_block *b = i->block;
    uint64_t given_ns = i->deadline_ns > i->t_submit_ns ? i->deadline_ns - i->t_submit_ns : 0;
    (void)snprintf(text, sizeof text, "Request timeout expired: model '%s' did not answer within %llu ms", m->info.name,
                   (unsigned long long)(given_ns / NS_PER_MS));
    infer_end_err(i, ERR_TIMEOUT, text, "try again, give the model more instances, or raise models.NAME.timeout");
    if (b)
        abandon_block(m, b);
}

/* Ends what is over its deadline, or has waited too long, in one list; returns the earliest deadline of the rest. Ending a request may end others (their connection closes),
 * so the walk begins anew after each. */
static uint64_t expire_list(struct served *m, struct infer *const *list, uint64_t now_ns)
{
    uint64_t next = UINT64_MAX;
    struct infer *i = *list;
    while (i) {
        if (i->deadline_ns <= now_ns) {
            expire(m, i);
            next = UINT64_MAX;
            i = *list;
            continue;
        }
        struct infer *after = i->next;
        if (i->begin_by_ns != 0 && i->begin_by_ns <= now_ns && queue_overdue(m, i)) {
            next = UINT64_MAX;
            i = *list;
            continue;
        }
        uint64_t by = i->begin_by_ns != 0 && i->begin_by_ns < i->deadline_ns ? i->begin_by_ns : i->deadline_ns;
        next = by < next ? by : next;
        i = after;
    }
    return next;
}

static void expire_all(struct served *m, uint64_t now_ns)
{
    m->next_deadline_ns = UINT64_MAX; /* done() may submit requests where we have been already: they lower it again */
    uint64_t next = expire_list(m, &m->waiting_first, now_ns);
    for (uint32_t i = 0; i < LANE_BLOCKS; i++) {
        uint64_t n = expire_list(m, &m->lane.blocks[i].first, now_ns);
        next = n < next ? n : next;
    }
    if (next < m->next_deadline_ns)
        m->next_deadline_ns = next;
}

static void check_hang(struct served *m, struct lane_block *b, uint64_t now_ns)
{
    const struct block_shm *shm = &m->lane.map->shm->lane[m->lane.index].blocks[b->index];
    uint64_t state = atomic_load_explicit(&shm->state, memory_order_acquire);
    uint64_t claimed = atomic_load_explicit(&shm->claimed_ns, memory_order_relaxed);
    bool runs = block_phase_of(state) == BLOCK_RUNNING && claimed != 0;
    if (!runs || b->kill_asked || now_ns < claimed + m->shared->limits.timeout_ns)
        return;
    if (b->cancel_asked && now_ns < b->cancel_asked_ns + ABORT_NS)
        return;
    b->kill_asked = true;
    char reason[160];
    (void)snprintf(reason, sizeof reason, "hung: a run took longer than the model's timeout of %llu ms",
                   (unsigned long long)(m->shared->limits.timeout_ns / NS_PER_MS));
    if (m->serve->hooks.kill_worker)
        m->serve->hooks.kill_worker(m->serve->hooks.arg, m->shared->id, block_owner_of(state), reason);
}

/* Blocks that an earlier edge left with a worker. */
static void check_orphan(struct lane_block *b)
{
    uint64_t state = atomic_load(&b->lane->map->shm->lane[b->lane->index].blocks[b->index].state);
    bool owner_lives = kill((pid_t)block_owner_of(state), 0) == 0 || errno == EPERM;
    if (block_phase_of(state) != BLOCK_RUNNING || !owner_lives)
        lane_release(b);
}

static void tick_model(struct served *m, uint64_t now_ns)
{
    struct lane *l = &m->lane;
    if (m->next_deadline_ns <= now_ns)
        expire_all(m, now_ns);
    for (uint32_t mask = l->published; mask != 0 && !m->exec; mask &= mask - 1)
        check_hang(m, &l->blocks[__builtin_ctz(mask)], now_ns);
    for (uint32_t mask = l->orphans; mask != 0; mask &= mask - 1)
        check_orphan(&l->blocks[__builtin_ctz(mask)]);
    infer_pump(m);
}

void serve_tick(struct serve *s, uint64_t now_ns)
{
    for (struct served *m = s->awake_first; m; m = m->awake_next)
        if (m->has_lane)
            tick_model(m, now_ns);
    serve_flush(s);
}

bool serve_is_busy(const struct serve *s)
{
    bool busy = s->busy > 0;
    for (const struct served *m = s->awake_first; m && !busy; m = m->awake_next)
        busy = m->is_retired || m->is_yielding || (m->has_lane && (m->lane.orphans || m->lane.published));
    return busy;
}
