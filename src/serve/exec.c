#include "serve/exec.h"

#include <string.h>

#include "base/clock.h"
#include "proc/report.h"

#define UNRUNG_PART   4 /* results of one run wait for the next for each so many blocks that are open */
#define UNRUNG_NS_MAX (8 * NS_PER_MS)

static struct block_shm *block_of(const struct exec *x, const struct exec_block *b)
{
    return &x->segment->shm->lane[b->lane].blocks[b->block];
}

/* The OPEN block with the smallest order, with the state word it was seen in. */
static bool find_open(struct exec *x, struct exec_block *out, uint64_t *out_state)
{
    struct segment_shm *shm = x->segment->shm;
    uint64_t best = UINT64_MAX, now = 0;
    x->next_ready_ns = 0;
    for (uint32_t lane = 0; lane < x->segment->lanes; lane++) {
        uint64_t open = atomic_load_explicit(&shm->lane[lane].open, memory_order_acquire);
        for (; open != 0; open &= open - 1) {
            uint32_t i = (uint32_t)__builtin_ctzll(open) % LANE_BLOCKS;
            struct block_shm *b = &shm->lane[lane].blocks[i];
            uint64_t state = atomic_load_explicit(&b->state, memory_order_acquire);
            uint64_t order = atomic_load_explicit(&b->order, memory_order_relaxed);
            if (block_phase_of(state) != BLOCK_OPEN || order >= best)
                continue;
            uint64_t ready = atomic_load_explicit(&b->ready_ns, memory_order_relaxed);
            if (ready != 0 && now == 0)
                now = clock_now_ns();
            if (ready > now && !x->is_draining) { /* it waits for more rows */
                if (x->next_ready_ns == 0 || ready < x->next_ready_ns)
                    x->next_ready_ns = ready;
                continue;
            }
            best = order;
            *out = (struct exec_block){.lane = lane, .block = i, .gen = block_gen_of(state)};
            *out_state = state;
        }
    }
    return best != UINT64_MAX;
}

bool exec_claim(struct exec *x, struct exec_block *out)
{
    uint64_t state;
    while (find_open(x, out, &state)) {
        struct lane_shm *lane = &x->segment->shm->lane[out->lane];
        uint64_t running = block_state(out->gen, x->pid, BLOCK_RUNNING);
        if (!atomic_compare_exchange_strong_explicit(&lane->blocks[out->block].state, &state, running,
                                                     memory_order_acq_rel, memory_order_relaxed))
            continue; /* another instance was faster, or the edge took it back to add rows */
        atomic_fetch_and_explicit(&lane->open, ~(UINT64_C(1) << out->block), memory_order_relaxed);
        return true;
    }
    return false;
}

/* Inputs as the backend wants them. The edge wrote them before it opened the block. */
static void bind_inputs(struct exec *x, const struct block_shm *b, const unsigned char *base)
{
    for (uint32_t k = 0; k < x->desc->inputs_len; k++) {
        const struct block_tensor_shm *t = &b->in[k];
        struct backend_tensor *in = &x->in[k];
        in->dtype = (enum dtype)t->dtype;
        in->ndim = t->ndim;
        memcpy(in->dims, t->dims, sizeof in->dims);
        in->data = t->given ? (void *)(uintptr_t)(base + t->off) : NULL;
        in->bytes = t->bytes;
    }
}

static void publish_outputs(const struct exec *x, struct block_shm *b, const unsigned char *base)
{
    for (uint32_t k = 0; k < x->desc->outputs_len; k++) {
        const struct backend_tensor *out = &x->out[k];
        struct block_tensor_shm *t = &b->out[k];
        t->dtype = (uint32_t)out->dtype;
        t->ndim = out->ndim;
        memcpy(t->dims, out->dims, sizeof t->dims);
        t->off = out->data ? (uint64_t)((const unsigned char *)out->data - base) : 0;
        t->bytes = out->bytes;
    }
}

static void count(struct exec *x, const struct block_shm *b, uint64_t start_ns)
{
    struct instance_shm *c = &x->segment->shm->instances[x->index];
    atomic_fetch_add_explicit(&c->runs, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&c->rows, b->rows, memory_order_relaxed);
    atomic_fetch_add_explicit(&c->busy_ns, b->done_ns - start_ns, memory_order_relaxed);
    if (b->status != ERR_OK)
        atomic_fetch_add_explicit(&c->failures, 1, memory_order_relaxed);
}

static void note_requests(const struct block_shm *b)
{
    const char *ids[LANE_IDS_MAX];
    uint32_t n = b->ids_len <= LANE_IDS_MAX ? b->ids_len : LANE_IDS_MAX;
    for (uint32_t i = 0; i < n; i++)
        ids[i] = b->ids[i];
    report_requests(ids, n);
}

/* What nobody waits for does not run. */
static enum err_code check_wanted(const struct block_shm *b, uint64_t now_ns, struct err *err)
{
    if (atomic_load_explicit(&b->aborted, memory_order_relaxed))
        return err_set(err, ERR_CANCELLED, "nobody waits for this any more");
    if (now_ns < b->expires_ns)
        return ERR_OK;
    err_set(err, ERR_TIMEOUT, "Request timeout expired before an instance was free");
    return err_remedy(err, "allow more time, or give the model more instances");
}

bool exec_run(struct exec *x, const struct exec_block *where)
{
    struct block_shm *b = block_of(x, where);
    uint64_t start_ns = clock_now_ns();
    atomic_store_explicit(&b->claimed_ns, start_ns, memory_order_relaxed);
    note_requests(b);
    const unsigned char *in_base = segment_in_ro(x->segment, where->lane, where->block);
    bind_inputs(x, b, in_base);
    memset(x->out, 0, sizeof x->out[0] * x->desc->outputs_len);
    struct backend_run run = {
        .in = x->in,
        .in_len = (int)x->desc->inputs_len,
        .in_base = in_base,
        .out = x->out,
        .out_len = (int)x->desc->outputs_len,
        .out_base = segment_out(x->segment, where->lane, where->block),
        .out_cap = x->segment->out_cap,
        .rows = b->rows,
    };
    struct err err = {0};
    bool is_wanted = check_wanted(b, start_ns, &err) == ERR_OK;
    enum err_code code = is_wanted ? x->backend->run(x->instance, &run, &err) : err.code;
    b->status = code;
    if (code == ERR_OK) {
        publish_outputs(x, b, run.out_base);
    } else {
        (void)str_copy(b->text, sizeof b->text, str_c(err.text));
        (void)str_copy(b->remedy, sizeof b->remedy, str_c(err.remedy));
    }
    b->done_ns = clock_now_ns();
    x->run_ns = b->done_ns - start_ns;
    x->expires_ns = b->expires_ns;
    if (is_wanted)
        count(x, b, start_ns);
    report_requests(NULL, 0);
    uint64_t running = block_state(where->gen, x->pid, BLOCK_RUNNING);
    return atomic_compare_exchange_strong_explicit(&b->state, &running, block_state(where->gen, x->pid, BLOCK_DONE),
                                                   memory_order_acq_rel, memory_order_relaxed);
}

bool exec_may_ring_later(struct exec *x, uint32_t lane)
{
    uint64_t now = clock_now_ns();
    int open = __builtin_popcountll(atomic_load_explicit(&x->segment->shm->lane[lane].open, memory_order_relaxed));
    uint64_t since = x->unrung_runs[lane] > 0 ? x->unrung_ns[lane] : now;
    bool is_deep = (uint32_t)open / UNRUNG_PART > x->unrung_runs[lane];
    bool is_urgent = now + UNRUNG_NS_MAX >= x->expires_ns;
    if (!is_deep || is_urgent || now + x->run_ns > since + UNRUNG_NS_MAX) {
        x->unrung_runs[lane] = 0;
        return false;
    }
    x->unrung_ns[lane] = since;
    x->unrung_runs[lane]++;
    return true;
}
