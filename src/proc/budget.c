#include "proc/budget.h"

#include <stdlib.h>

#include "base/check.h"

struct work {
    struct budget_model *models;
    size_t n, *order; /* order: for whatever is being sorted, n of them */
    int64_t avail;    /* free now, less what earlier ones wait for */
    int64_t soon;     /* the same with what is on its way */
    uint64_t now_ns, next_ns;
    bool is_limited;    /* there is a budget */
    bool is_guessing;   /* one that was never measured is loading */
    uint64_t behind_ns; /* those that wait behind the last one looked at get theirs after that */
};

static uint64_t loading_bytes(const struct budget_model *m)
{
    return m->peak_bytes > m->need_bytes ? m->peak_bytes : m->need_bytes;
}

uint64_t budget_held(const struct budget_model *m)
{
    if (m->phase == BUDGET_ABSENT)
        return 0;
    return m->phase == BUDGET_LOADING ? loading_bytes(m) : m->need_bytes;
}

static uint64_t pinned(const struct budget_model *models, size_t n, bool with_passing)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++)
        if (models[i].is_pinned && (with_passing || !models[i].is_passing))
            sum += budget_held(&models[i]);
    return sum;
}

uint64_t budget_staying(const struct budget_model *models, size_t n)
{
    return pinned(models, n, false);
}

static bool waits(const struct budget_model *m)
{
    return m->phase == BUDGET_ABSENT && m->wanted_ns != 0;
}

static void look_again(struct work *w, uint64_t at_ns)
{
    if (at_ns > w->now_ns && at_ns < w->next_ns)
        w->next_ns = at_ns;
}

static uint64_t later(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* ---- who may go, and when ---- */

static uint64_t stays_until(const struct budget_model *m)
{
    return m->ready_ns + BUDGET_STAY * m->load_ns;
}

static uint64_t patience(const struct budget_model *waiter, const struct budget_model *m)
{
    uint64_t ns = BUDGET_PATIENCE * (waiter->load_ns + m->load_ns);
    return ns < BUDGET_PATIENCE_MIN_NS   ? BUDGET_PATIENCE_MIN_NS
           : ns > BUDGET_PATIENCE_MAX_NS ? BUDGET_PATIENCE_MAX_NS
                                         : ns;
}

/* UINT64_MAX: while it has requests, never. */
static uint64_t idle_at(const struct budget_model *m)
{
    return m->is_busy ? UINT64_MAX : later(stays_until(m), m->used_ns + m->load_ns);
}

static uint64_t drains_at(const struct budget_model *waiter, const struct budget_model *m)
{
    return later(stays_until(m), waiter->wanted_ns + patience(waiter, m));
}

static uint64_t goes_at(const struct budget_model *waiter, const struct budget_model *m)
{
    uint64_t idle = idle_at(m), drain = drains_at(waiter, m);
    return idle < drain ? idle : drain;
}

/* One that an earlier waiter needs beside what it waits for (a member of an ensemble, the old life of what is to be replaced) does not make room for a later
 * one. New lives that came in the same moment are in the order of their groups, or each would hold what the other waits for. */
static bool is_held(const struct budget_model *waiter, const struct budget_model *m)
{
    if (!waiter || m->wanted_ns == 0)
        return false;
    if (m->group != 0 && waiter->group != 0 && m->wanted_ns == waiter->wanted_ns)
        return m->group < waiter->group;
    return m->wanted_ns <= waiter->wanted_ns;
}

static bool may_go(const struct budget_model *waiter, const struct budget_model *m)
{
    bool is_own = waiter && waiter->group != 0 && waiter->group == m->group;
    return m->phase == BUDGET_READY && !m->is_pinned && m->act == BUDGET_NONE && !is_own && !is_held(waiter, m);
}

/* ---- sorting; qsort_r is not everywhere ---- */

typedef uint64_t key_fn(const struct budget_model *waiter, const struct budget_model *m);

struct sort_item {
    uint64_t first, second;
    size_t at;
};

static int by_keys(const void *a, const void *b)
{
    const struct sort_item *x = a, *y = b;
    if (x->first != y->first)
        return x->first < y->first ? -1 : 1;
    if (x->second != y->second)
        return x->second < y->second ? -1 : 1;
    return x->at < y->at ? -1 : x->at > y->at;
}

static void sort(struct work *w, size_t len, const struct budget_model *waiter, key_fn *first, key_fn *second)
{
    struct sort_item *items = calloc(len + 1, sizeof *items);
    CHECK(items);
    for (size_t i = 0; i < len; i++) {
        const struct budget_model *m = &w->models[w->order[i]];
        items[i] = (struct sort_item){first(waiter, m), second(waiter, m), w->order[i]};
    }
    qsort(items, len, sizeof *items, by_keys);
    for (size_t i = 0; i < len; i++)
        w->order[i] = items[i].at;
    free(items);
}

static uint64_t key_wanted(const struct budget_model *waiter, const struct budget_model *m)
{
    (void)waiter;
    return m->wanted_ns;
}

static uint64_t key_used(const struct budget_model *waiter, const struct budget_model *m)
{
    (void)waiter;
    return m->is_busy ? UINT64_MAX : m->used_ns;
}

static uint64_t key_ready(const struct budget_model *waiter, const struct budget_model *m)
{
    (void)waiter;
    return m->ready_ns;
}

static uint64_t key_none(const struct budget_model *waiter, const struct budget_model *m)
{
    (void)waiter;
    (void)m;
    return 0;
}

/* ---- making room ---- */

static enum budget_act way_to_go(const struct work *w, const struct budget_model *m)
{
    return idle_at(m) <= w->now_ns ? BUDGET_UNLOAD : BUDGET_DRAIN;
}

/* The candidates that may go at this moment, in the order in which they would: those that nobody uses first. */
static size_t candidates(struct work *w, const struct budget_model *waiter)
{
    size_t len = 0;
    for (size_t i = 0; i < w->n; i++)
        if (may_go(waiter, &w->models[i]) && goes_at(waiter, &w->models[i]) <= w->now_ns)
            w->order[len++] = i;
    sort(w, len, waiter, key_used, key_ready);
    return len;
}

/* Who goes to make room for `missing` bytes. Of those that would, the ones used last stay if the others are enough. False: all together are not. */
static bool choose(struct work *w, const struct budget_model *waiter, int64_t missing)
{
    size_t len = candidates(w, waiter), used = 0;
    int64_t sum = 0;
    while (used < len && sum < missing)
        sum += (int64_t)budget_held(&w->models[w->order[used++]]);
    if (sum < missing)
        return false;
    for (size_t i = used; i-- > 0;) {
        struct budget_model *m = &w->models[w->order[i]];
        int64_t held = (int64_t)budget_held(m);
        if (sum - held >= missing) {
            sum -= held;
            continue;
        }
        m->act = way_to_go(w, m);
        w->soon += held;
    }
    return true;
}

/* When there will be room for `missing` more bytes by models that may go later on. UINT64_MAX: when those before it have had their turn. */
static uint64_t room_at(struct work *w, const struct budget_model *waiter, int64_t missing)
{
    size_t len = 0;
    uint64_t at_ns = w->now_ns;
    for (size_t i = 0; i < w->n; i++)
        if (may_go(waiter, &w->models[i]))
            w->order[len++] = i;
    sort(w, len, waiter, goes_at, key_none);
    for (size_t i = 0; i < len && missing > 0; i++) {
        const struct budget_model *m = &w->models[w->order[i]];
        missing -= (int64_t)budget_held(m);
        at_ns = later(at_ns, goes_at(waiter, m));
        look_again(w, goes_at(waiter, m));
    }
    return missing > 0 ? UINT64_MAX : at_ns;
}

/* ---- one after the other ---- */

static void place(struct work *w, struct budget_model *m)
{
    int64_t need = (int64_t)loading_bytes(m);
    uint64_t room_ns = w->now_ns;
    if (w->avail >= need && m->is_guess && w->is_guessing && w->is_limited)
        room_ns = UINT64_MAX;
    else if (w->avail >= need)
        m->act = BUDGET_LOAD;
    else if (w->soon < need && !choose(w, m, need - w->soon))
        room_ns = room_at(w, m, need - w->soon);
    w->is_guessing = w->is_guessing || (m->is_guess && m->act == BUDGET_LOAD);
    w->avail -= need;
    w->soon -= need;
    if (room_ns == UINT64_MAX)
        room_ns = w->behind_ns;
    m->expect_ns = room_ns + m->load_ns;
    w->behind_ns = later(w->behind_ns, m->expect_ns + BUDGET_STAY * m->load_ns);
}

static void place_waiting(struct work *w)
{
    size_t len = 0, *queue = calloc(w->n + 1, sizeof *queue);
    CHECK(queue);
    for (size_t i = 0; i < w->n; i++)
        if (waits(&w->models[i]) && w->models[i].act == BUDGET_NONE)
            w->order[len++] = i;
    sort(w, len, NULL, key_wanted, key_none);
    for (size_t i = 0; i < len; i++)
        queue[i] = w->order[i];
    for (size_t i = 0; i < len; i++)
        place(w, &w->models[queue[i]]);
    free(queue);
}

/* Other lives of the same model, which stay until it is ready; those that are counted as pinned excepted. */
static uint64_t own_lives(const struct work *w, const struct budget_model *m, bool with_passing)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < w->n && m->group != 0; i++) {
        const struct budget_model *o = &w->models[i];
        bool is_counted = o->is_pinned && (with_passing || !o->is_passing);
        if (o != m && o->group == m->group && !is_counted)
            sum += budget_held(o);
    }
    return sum;
}

static void refuse(struct work *w, uint64_t bytes)
{
    uint64_t stays = pinned(w->models, w->n, false), all = pinned(w->models, w->n, true);
    for (size_t i = 0; i < w->n; i++) {
        struct budget_model *m = &w->models[i];
        if (!waits(m))
            continue;
        uint64_t need = loading_bytes(m) + m->together_bytes, until_ns = m->wanted_ns + BUDGET_PASSING_NS;
        bool is_in_vain = need + stays + own_lives(w, m, false) > bytes;
        bool is_full = need + all + own_lives(w, m, true) > bytes;
        if (is_in_vain || (is_full && until_ns <= w->now_ns))
            m->act = BUDGET_REFUSE;
        else
            look_again(w, until_ns);
    }
}

static void unload_unused(struct work *w)
{
    for (size_t i = 0; i < w->n; i++) {
        struct budget_model *m = &w->models[i];
        if (m->unload_after_ns == 0 || m->wanted_ns != 0 || m->is_busy || !may_go(NULL, m))
            continue;
        uint64_t at_ns = later(m->used_ns, m->ready_ns) + m->unload_after_ns;
        look_again(w, at_ns);
        if (at_ns > w->now_ns)
            continue;
        m->act = BUDGET_UNLOAD;
        w->soon += (int64_t)budget_held(m);
    }
}

/* A model takes more than it was thought to: whoever may go goes, however short it was there; if that is not enough, what loads is stopped, the
 * last one first, and comes back with what is known of it now. */
static void shrink(struct work *w)
{
    size_t len = 0;
    for (size_t i = 0; i < w->n && w->soon < 0; i++)
        if (may_go(NULL, &w->models[i]))
            w->order[len++] = i;
    sort(w, len, NULL, key_used, key_ready);
    for (size_t i = 0; i < len && w->soon < 0; i++) {
        struct budget_model *m = &w->models[w->order[i]];
        m->act = m->is_busy ? BUDGET_DRAIN : BUDGET_UNLOAD;
        w->soon += (int64_t)budget_held(m);
    }
    for (size_t i = w->n; i-- > 0 && w->soon < 0;)
        if (w->models[i].phase == BUDGET_LOADING) {
            w->models[i].act = BUDGET_STOP;
            w->soon += (int64_t)budget_held(&w->models[i]);
        }
}

static void count(struct work *w, uint64_t bytes)
{
    w->avail = (int64_t)bytes;
    w->soon = (int64_t)bytes;
    for (size_t i = 0; i < w->n; i++) {
        const struct budget_model *m = &w->models[i];
        w->avail -= (int64_t)budget_held(m);
        w->is_guessing = w->is_guessing || (m->is_guess && m->phase == BUDGET_LOADING);
        if (m->phase != BUDGET_YIELDING && m->phase != BUDGET_LEAVING)
            w->soon -= (int64_t)budget_held(m);
    }
}

uint64_t budget_decide(struct budget_model *models, size_t n, uint64_t bytes, uint64_t now_ns)
{
    struct work w = {.models = models, .n = n, .now_ns = now_ns, .next_ns = UINT64_MAX, .behind_ns = now_ns};
    CHECK(bytes <= INT64_MAX);
    w.order = calloc(n + 1, sizeof *w.order);
    CHECK(w.order);
    for (size_t i = 0; i < n; i++) {
        models[i].act = BUDGET_NONE;
        models[i].expect_ns = UINT64_MAX;
        if (models[i].phase == BUDGET_LOADING)
            models[i].expect_ns = now_ns + models[i].load_ns;
    }
    w.is_limited = bytes > 0;
    count(&w, bytes > 0 ? bytes : INT64_MAX);
    if (bytes > 0) {
        refuse(&w, bytes);
        shrink(&w);
    }
    unload_unused(&w);
    place_waiting(&w);
    free(w.order);
    return w.next_ns;
}
