#include "serve/mix.h"

#include "base/clock.h"
#include "serve/internal_int.h"

#define MIXED_NS NS_PER_S
#define FLOW_NS  1e8 /* rates are those of so long ago */
#define ASKED_NS 1e9
#define SPARE    1.1 /* what was learned may be too little */
#define AS_WHOLE 0.5 /* half of a row that is expected is one */

bool mix_is_on(const struct mix *x, uint64_t now_ns)
{
    return x->seen_ns != 0 && now_ns < x->seen_ns + MIXED_NS;
}

static double faded(double rows, uint64_t at_ns, uint64_t now_ns, double over_ns)
{
    double gone = now_ns > at_ns ? (double)(now_ns - at_ns) / over_ns : 0;
    return rows / (1 + gone);
}

void mix_ask(struct mix *x, uint64_t now_ns, uint32_t priority, uint32_t rows)
{
    struct mix_flow *f = &x->flow[priority - 1];
    f->asked = faded(f->asked, f->asked_ns, now_ns, ASKED_NS) + rows;
    f->asked_ns = now_ns;
}

double mix_demand(const struct mix *x, uint64_t now_ns, uint32_t priority)
{
    double rows = 0;
    for (uint32_t p = 0; p + 1 < priority; p++)
        rows += faded(x->flow[p].asked, x->flow[p].asked_ns, now_ns, ASKED_NS);
    return rows / (ASKED_NS / 1e9);
}

void mix_arrive(struct mix *x, uint64_t now_ns, uint64_t order, uint32_t priority, uint32_t rows)
{
    struct mix_flow *f = &x->flow[priority - 1];
    f->rows = faded(f->rows, f->at_ns, now_ns, FLOW_NS) + rows;
    f->at_ns = now_ns;
    f->ahead_ns = order > now_ns ? order - now_ns : 0;
}

uint32_t mix_expected(const struct mix *x, uint64_t order, uint32_t priority)
{
    double rows = 0;
    for (uint32_t p = 0; p + 1 < priority; p++)
        if (x->now_ns + x->claim_ns + x->flow[p].ahead_ns < order) /* an old one comes before them */
            rows += faded(x->flow[p].rows, x->flow[p].at_ns, x->now_ns, FLOW_NS);
    return (uint32_t)(rows / FLOW_NS * (double)x->claim_ns + AS_WHOLE);
}

/* Rows of another priority than the first's, once it is in. */
static uint32_t guests_with(const struct lane_block *b, const struct infer *i)
{
    uint32_t host = b->rows == 0 || i->order < b->order ? i->priority : b->priority;
    uint32_t mine = b->rows_at[host - 1] + (host == i->priority ? i->rows : 0);
    return b->rows + i->rows - mine;
}

bool mix_suits(const struct mix *x, const struct lane_block *b, const struct infer *i, uint32_t before)
{
    const struct batch_policy *p = b->lane->policy;
    uint32_t guests = guests_with(b, i), rows = b->rows + i->rows;
    uint32_t more = batch_padded(p, rows) - batch_padded(p, rows - guests); /* what would be padding costs nothing */
    if (guests == 0)
        return true;
    if (x->cost->b_ns * more > x->cost->a_ns)
        return false;
    uint64_t due = b->due_ns < i->deadline_ns ? b->due_ns : i->deadline_ns;
    uint64_t begin = x->now_ns + x->claim_ns + before * x->step_ns;
    return begin + (uint64_t)(SPARE * cost_run_ns(x->cost, rows)) <= due;
}

bool mix_has_room(const struct mix *x, const struct lane_block *b, const struct infer *i)
{
    uint32_t kept = i->priority > 1 ? mix_expected(x, i->order, i->priority) : 0;
    return b->rows + i->rows + kept <= b->rows_max;
}

/* ---- how things stand ---- */

/* Until the run of ours that ends first does. */
static uint64_t next_end_ns(const struct served *m, uint64_t now_ns, uint32_t *runs)
{
    const struct lane_shm *shm = &m->lane.map->shm->lane[m->lane.index];
    uint64_t first = UINT64_MAX;
    *runs = 0;
    for (uint32_t mask = m->lane.published; mask != 0; mask &= mask - 1) {
        const struct lane_block *b = &m->lane.blocks[__builtin_ctz(mask)];
        const struct block_shm *block = &shm->blocks[b->index];
        if (block_phase_of(atomic_load_explicit(&block->state, memory_order_acquire)) != BLOCK_RUNNING)
            continue;
        uint64_t claimed = atomic_load_explicit(&block->claimed_ns, memory_order_relaxed);
        uint64_t end = (claimed ? claimed : now_ns) + (uint64_t)cost_run_ns(&m->schedule.cost, b->run_rows);
        uint64_t left = end > now_ns ? end - now_ns : 0;
        first = left < first ? left : first;
        ++*runs;
    }
    return first;
}

/* Workers that run for other threads are not seen: about half of a run is left there. */
static uint64_t until_claim(const struct served *m, uint64_t now_ns, uint64_t run_ns)
{
    uint32_t runs;
    if (atomic_load_explicit(&m->lane.map->shm->waiting, memory_order_relaxed) != 0)
        return 0;
    uint64_t first = next_end_ns(m, now_ns, &runs);
    if (runs >= (uint32_t)m->info.instances_ready)
        return first;
    return atomic_load_explicit(&m->shared->threads_seen, memory_order_relaxed) > 1 ? run_ns / 2 : 0;
}

static bool can_mix(const struct served *m)
{
    return m->info.instances_ready > 0 && m->lane.row_cap > 1 && m->lane.desc->may_share &&
           !m->lane.policy->is_ordered && !m->exec;
}

void mix_look(struct served *m, uint64_t now_ns)
{
    struct mix *x = &m->mix;
    uint64_t run_ns = (uint64_t)cost_run_ns(&m->schedule.cost, m->lane.row_cap);
    m->lane.mix = NULL;
    if (run_ns == 0 || !mix_is_on(x, now_ns) || !can_mix(m))
        return;
    uint32_t instances = (uint32_t)m->info.instances_ready;
    uint64_t ahead = MIX_AHEAD_NS / run_ns;
    x->cost = &m->schedule.cost;
    x->now_ns = now_ns;
    x->claim_ns = until_claim(m, now_ns, run_ns);
    x->step_ns = run_ns / instances;
    x->depth = instances * (1 + (uint32_t)(ahead < LANE_BLOCKS ? ahead : LANE_BLOCKS));
    m->lane.mix = x;
}

/* ---- who is let in ---- */

/* Rows of its priority that the model runs in a second beside what is more urgent. */
static double rows_left(const struct served *m, const struct infer *i)
{
    int threads = atomic_load_explicit(&m->shared->threads_seen, memory_order_relaxed);
    double can = m->lane.row_cap / ((double)m->mix.step_ns / 1e9) / (threads > 1 ? threads : 1);
    double left = can - mix_demand(&m->mix, i->t_submit_ns, i->priority);
    return left > can * MIX_FLOOR ? left : can * MIX_FLOOR;
}

/* What could not be in time with the model for itself asks for nothing. */
static bool is_feasible(const struct served *m, const struct infer *i)
{
    return i->t_submit_ns + (uint64_t)cost_run_ns(&m->schedule.cost, i->rows) <= i->deadline_ns;
}

enum err_code mix_admit(struct served *m, struct infer *i)
{
    mix_look(m, i->t_submit_ns);
    if (!m->lane.mix)
        return ERR_OK;
    if (is_feasible(m, i))
        mix_ask(&m->mix, i->t_submit_ns, i->priority, i->rows);
    uint32_t ahead =
        atomic_load_explicit(&m->shared->load[m->serve->thread].rows[i->priority - 1], memory_order_relaxed);
    double takes_ns = (ahead + i->rows) / rows_left(m, i) * 1e9, may_ns = (double)SCHEDULE_AGE_NS * (i->priority - 1);
    if (i->priority == 1 || ahead == 0 || takes_ns <= may_ns || mix_demand(&m->mix, i->t_submit_ns, i->priority) < 1)
        return ERR_OK;
    i->refusal = INFER_BY_PRIORITY;
    double ms = (takes_ns - may_ns) / 1e6 + 1;
    err_set(&i->err, ERR_BUSY, "model '%s' is busy with more urgent requests: %u rows of priority %u wait already",
            m->info.name, ahead, i->priority);
    i->err.retry_after_ms = ms < RETRY_MS_MAX ? (uint32_t)ms : RETRY_MS_MAX;
    return err_remedy(&i->err, "try again after %u ms, or give the model more instances", i->err.retry_after_ms);
}
