/* What the decision is told of each life: what it takes, whether it may go, and which other life of its model it replaces or waits to be loaded
 * beside. Nothing is started or ended here. */
#include <stdlib.h>
#include <string.h>

#include "app/master_budget_int.h"

/* What a new life is loaded beside: its predecessor, or where it has none any version that serves. */
enum beside { BESIDE_NONE, BESIDE_ANY, BESIDE_PREDECESSOR, BESIDE_ABSENT_PREDECESSOR };

static enum beside beside_of(const struct life *l, const struct life *news)
{
    bool is_here = l->state == LIFE_READY || l->state == LIFE_LOADING;
    if (l == news || l->state >= LIFE_KEPT || strcmp(l->config->name, news->config->name) != 0)
        return BESIDE_NONE;
    if (!l->replaces && strcmp(l->config->version, news->config->version) == 0)
        return is_here ? BESIDE_PREDECESSOR : BESIDE_ABSENT_PREDECESSOR;
    return is_here && !l->is_canary ? BESIDE_ANY : BESIDE_NONE;
}

bool budget_is_served(const struct master *m, const struct life *news)
{
    enum beside most = BESIDE_NONE;
    for (const struct life *l = m->lives; l; l = l->next) {
        enum beside b = beside_of(l, news);
        most = b > most ? b : most;
    }
    return most == BESIDE_ANY || most == BESIDE_PREDECESSOR;
}

/* The same, of some lives. */
static bool is_served_by(struct life *const *lives, size_t n, const struct life *news)
{
    enum beside most = BESIDE_NONE;
    for (size_t i = 0; i < n; i++) {
        enum beside b = beside_of(lives[i], news);
        most = b > most ? b : most;
    }
    return most == BESIDE_ANY || most == BESIDE_PREDECESSOR;
}

/* By name: those of one name are a range. */
static int by_name(const void *a, const void *b)
{
    const struct life *const *x = a, *const *y = b;
    return strcmp((*x)->config->name, (*y)->config->name);
}

/* What becomes of a model as a whole: each of its lives is told of a new one that is on its way, and of one that waits for room beside it. */
void budget_look_at_replacements(const struct master *m, struct life **lives, size_t len)
{
    size_t n = 0;
    for (struct life *l = m->lives; l && n < len; l = l->next)
        lives[n++] = l;
    qsort(lives, n, sizeof(struct life *), by_name);
    for (size_t from = 0, to; from < n; from = to) {
        struct life *coming = NULL, *waiting = NULL;
        for (to = from; to < n && by_name(&lives[from], &lives[to]) == 0; to++) {
            struct life *l = lives[to];
            if (!l->replaces || l->state >= LIFE_KEPT)
                continue;
            if (has_workers(l) && l->res.phase == BUDGET_ABSENT)
                waiting = l;
            else
                coming = l;
        }
        for (size_t i = from; i < to; i++) {
            lives[i]->res.replaced_by = lives[i] != coming ? coming : NULL;
            lives[i]->res.group = waiting ? lives[from]->segment : 0;
            if (waiting && lives[i] != waiting && lives[i]->res.wanted_ns == 0) /* it is held for that */
                lives[i]->res.wanted_ns = waiting->res.due_ns;
            lives[i]->res.is_beside = waiting && is_served_by(lives + from, to - from, lives[i]);
        }
    }
}

static bool is_tried(const struct life *l)
{
    return l->is_canary && !l->is_comparing;
}

/* While a new life is loaded, or tried, neither goes. One that still waits for room does not hold the old one. */
bool budget_is_pinned(const struct life *l)
{
    if (l->state == LIFE_KEPT)
        return l->is_wanted_back;
    if (l->state == LIFE_LOADING || l->state == LIFE_ASLEEP)
        return !life_is_on_demand(l) || l->replaces;
    return l->state != LIFE_READY || !life_is_on_demand(l) || l->replaces || l->is_canary || l->is_leaving ||
           l->res.replaced_by;
}

/* Pinned, but not for long: a canary may take days; what is compared, or loaded to take over, seconds, and then the one or the other goes. */
static bool is_passing(const struct life *l)
{
    if (l->state != LIFE_READY && l->state != LIFE_LOADING)
        return l->state != LIFE_ASLEEP;
    if (l->replaces)
        return !is_tried(l);
    if (l->is_leaving) /* one that was rolled back to may serve so for long */
        return l->res.replaced_by && !is_tried(l->res.replaced_by);
    return life_is_on_demand(l) && l->res.replaced_by && !is_tried(l->res.replaced_by);
}

/* What loading takes beyond what stays differs from load to load (how far batches are tried depends on the time that they take): an eighth more. */
static uint64_t peak_to_reserve(const struct life *l)
{
    uint64_t peak = l->res.memory.peak_bytes, need = memory_need(l);
    return peak > need ? peak + (peak - need) / 8 : peak;
}

struct budget_model budget_describe(const struct life *l)
{
    const struct residence *r = &l->res;
    return (struct budget_model){
        .phase = r->phase,
        .is_pinned = budget_is_pinned(l),
        .is_passing = is_passing(l),
        .group = r->group,
        .is_busy = r->is_busy && l->state != LIFE_KEPT,
        .is_guess = !r->memory.is_known && l->config->memory_bytes == 0,
        .need_bytes = memory_need(l),
        .peak_bytes = peak_to_reserve(l),
        .together_bytes = r->together_bytes,
        .load_ns = r->memory.load_ns,
        .wanted_ns = r->wanted_ns,
        .used_ns = r->used_ns,
        .ready_ns = r->ready_ns,
        .unload_after_ns = l->state == LIFE_READY ? l->config->unload_after_ns : 0,
    };
}
