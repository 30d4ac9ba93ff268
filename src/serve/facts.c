#include "serve/facts.h"

#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "serve/internal_int.h"
#include "serve/queue.h"

/* Ids as net admits them: the segment is shared with workers, so what stands there is copied, and checked [L5]. */
static bool take_id(const char id[40], char out[40])
{
    memcpy(out, id, 40);
    out[39] = '\0';
    size_t n = strlen(out);
    return n > 0 && strspn(out, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == n;
}

static void take_mates(const struct infer *i, const struct block_shm *shm, struct infer_facts *out)
{
    uint32_t n = shm->ids_len < LANE_IDS_MAX ? shm->ids_len : LANE_IDS_MAX;
    for (uint32_t k = 0; k < n && out->mates_len < FACTS_MATES_MAX; k++)
        if (take_id(shm->ids[k], out->mates[out->mates_len]) &&
            (!i->request_id || strcmp(out->mates[out->mates_len], i->request_id) != 0))
            out->mates_len++;
}

/* A block that nobody has claimed says nothing of a run. */
static void take_run(const struct infer *i, struct infer_facts *out)
{
    const struct lane_block *b = i->block;
    const struct block_shm *shm = &b->lane->map->shm->lane[b->lane->index].blocks[b->index];
    uint64_t state = atomic_load_explicit(&shm->state, memory_order_acquire);
    uint64_t claimed = atomic_load_explicit(&shm->claimed_ns, memory_order_relaxed), now = clock_now_ns();
    enum block_phase phase = block_phase_of(state);
    if (phase != BLOCK_RUNNING && phase != BLOCK_DONE)
        return;
    out->worker_pid = i->model->exec ? (uint32_t)getpid() : block_owner_of(state);
    if (phase == BLOCK_RUNNING && claimed != 0 && claimed < now)
        out->running_ns = now - claimed;
    if (i->batch_requests > 1)
        take_mates(i, shm, out);
}

void infer_facts(const struct infer *i, struct infer_facts *out)
{
    const struct served *m = i->model;
    *out = (struct infer_facts){.is_inline = m->shared->is_inline,
                                .is_ensemble = m->shared->ensemble != NULL,
                                .instances = m->info.instances_ready > 0 ? (uint32_t)m->info.instances_ready : 0,
                                .queue_max = m->shared->limits.queue_max};
    if (i->ensemble)
        ensemble_facts(i, out);
    if (!m->has_lane)
        return;
    out->delay_ns = m->shared->limits.batch.delay_ns;
    out->queue_len = queue_len(m, 0);
    out->run_max = m->lane.row_cap;
    uint32_t rows = i->batch_rows > 0 ? i->batch_rows : i->rows;
    out->usual_run_ns = (uint64_t)cost_run_ns(&m->schedule.cost, rows);
    out->guests_ns = (uint64_t)(m->schedule.cost.b_ns * i->batch_guests);
    if (i->block)
        take_run(i, out);
}
