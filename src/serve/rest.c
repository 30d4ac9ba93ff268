#include "serve/rest.h"

#include "base/clock.h"
#include "serve/internal_int.h"

#define REST_PART   4 /* of the time that the queue lasts */
#define REST_NS_MAX (8 * NS_PER_MS)
#define REST_NS_MIN (100 * NS_PER_US) /* less is not worth falling asleep */
/* Requests of another model or priority, which may have reason to hurry, count as traffic for so long. */
#define MIXED_NS (1 * NS_PER_S)

/* How long the workers of the model have work without us; 0 if one of them sleeps or might run dry. */
static double queued_ns(const struct served *m, uint64_t now_ns)
{
    double ns = 0;
    int open = 0;
    const struct segment_shm *segment = m->lane.map->shm;
    const struct lane_shm *shm = &segment->lane[m->lane.index];
    if (atomic_load_explicit(&segment->waiting, memory_order_relaxed) != 0)
        return 0;
    for (uint32_t mask = m->lane.published; mask != 0; mask &= mask - 1) {
        const struct lane_block *b = &m->lane.blocks[__builtin_ctz(mask)];
        const struct block_shm *block = &shm->blocks[b->index];
        enum block_phase phase = block_phase_of(atomic_load_explicit(&block->state, memory_order_relaxed));
        if (phase != BLOCK_OPEN || atomic_load_explicit(&block->ready_ns, memory_order_relaxed) > now_ns)
            continue; /* one that waits for more rows keeps nobody busy */
        open++;
        ns += cost_run_ns(&m->schedule.cost, b->run_rows);
    }
    int instances = m->info.instances_ready;
    return instances > 0 && open >= instances ? ns / instances : 0;
}

uint64_t serve_rest_ns(const struct serve *s, uint64_t now_ns)
{
    double rest = 0;
    if (s->busy == 0 || now_ns < s->mixed_ns + MIXED_NS)
        return 0;
    for (const struct served *m = s->awake_first; m; m = m->awake_next) {
        if (!m->has_lane || m->lane.published == 0)
            continue;
        double ns = m->exec ? 0 : queued_ns(m, now_ns) / REST_PART;
        rest = rest == 0 || ns < rest ? ns : rest;
        if (ns < (double)REST_NS_MIN)
            return 0;
    }
    return rest < (double)REST_NS_MAX ? (uint64_t)rest : REST_NS_MAX;
}
