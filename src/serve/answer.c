/* What comes back from workers: results, failures, deaths. */
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "serve/internal_int.h"
#include "serve/queue.h"

#define RUN_NS_MAX (UINT64_C(3600) * NS_PER_S) /* a longer one is a clock gone wrong */

static struct block_shm *shm_of(const struct lane_block *b)
{
    return &b->lane->map->shm->lane[b->lane->index].blocks[b->index];
}

static enum err_code lie(const struct served *m, const struct tensor_spec *spec, const char *what, struct err *err)
{
    err_set(err, ERR_BACKEND, "model '%s' gave an output '%s' that is not what it declared: %s", m->info.name,
            spec->name, what);
    return err_remedy(err, "the model file or its backend is faulty; GET /v2/models/%s shows the declared outputs",
                      m->info.name);
}

static enum err_code check_refs(const struct served *m, const struct tensor_spec *spec, const struct infer_tensor *t,
                                struct err *err)
{
    uint64_t cap = m->lane.map->out_cap;
    for (size_t e = 0; e < t->bytes / sizeof(struct bytes_ref); e++) {
        struct bytes_ref ref;
        memcpy(&ref, t->data + e * sizeof ref, sizeof ref);
        if ((uint64_t)ref.off + ref.len > cap)
            return lie(m, spec, "a string lies outside its block", err);
    }
    return ERR_OK;
}

/* Copies one output's description, validates the copy [L5]. */
static enum err_code take_output(struct served *m, const struct lane_block *b, uint32_t k, uint32_t rows,
                                 struct err *err)
{
    const struct tensor_spec *spec = &m->info.desc->outputs[k];
    struct block_tensor_shm t = shm_of(b)->out[k];
    uint64_t count, cap = m->lane.map->out_cap;
    if (t.dtype != spec->dtype)
        return lie(m, spec, "another data type", err);
    if (t.ndim != spec->ndim)
        return lie(m, spec, "another number of dimensions", err);
    for (int d = 0; d < t.ndim; d++)
        if (t.dims[d] < 0 || (spec->dims[d] >= 0 && t.dims[d] != spec->dims[d]))
            return lie(m, spec, "another shape", err);
    if (m->info.desc->has_batch_dim && t.dims[0] != (int64_t)rows)
        return lie(m, spec, "its first dimension is not the number of rows", err);
    if (!tensor_count(t.dims, t.ndim, &count) || count * dtype_size((enum dtype)t.dtype) != t.bytes || t.off > cap ||
        t.bytes > cap - t.off)
        return lie(m, spec, "its size does not match its shape", err);
    struct infer_tensor *out = &m->out[k];
    out->ndim = t.ndim;
    memcpy(out->dims, t.dims, sizeof out->dims);
    out->dtype = (enum dtype)t.dtype;
    out->data = segment_out(m->lane.map, m->lane.index, b->index) + t.off;
    out->bytes = t.bytes;
    out->given = true;
    return out->dtype == DT_BYTES ? check_refs(m, spec, out, err) : ERR_OK;
}

static enum err_code take_outputs(struct served *m, const struct lane_block *b, uint32_t rows, struct err *err)
{
    for (uint32_t k = 0; k < m->info.desc->outputs_len; k++)
        if (take_output(m, b, k, rows, err))
            return err->code;
    return ERR_OK;
}

/* The whole batch's outputs narrowed to one request's rows: done() sees only its own. */
static void narrow(const struct served *m, const struct infer_tensor *whole, struct infer *i, uint32_t row0,
                   uint32_t rows_all, struct infer_tensor *out)
{
    for (uint32_t k = 0; k < m->info.desc->outputs_len; k++) {
        out[k] = whole[k];
        if (!m->info.desc->has_batch_dim)
            continue;
        size_t row = whole[k].bytes / rows_all;
        out[k].data = whole[k].data + row * row0;
        out[k].bytes = row * i->rows;
        out[k].dims[0] = i->rows;
    }
}

static void note_times(struct infer *i, const struct block_shm *shm, uint64_t claimed_ns, uint64_t now_ns)
{
    uint64_t done = shm->done_ns;
    done = done <= now_ns ? done : now_ns;
    claimed_ns = claimed_ns <= done ? claimed_ns : done;
    i->t_run_ns = claimed_ns >= i->t_decoded_ns ? claimed_ns : i->t_decoded_ns;
    i->t_ran_ns = done >= i->t_run_ns ? done : i->t_run_ns;
}

/* Ends one request of a DONE block. */
static void answer(struct served *m, struct lane_block *b, struct infer *i, const struct err *err, uint32_t row0,
                   uint32_t rows_all, uint64_t now_ns)
{
    struct infer_tensor narrowed[MODEL_TENSORS_MAX];
    const struct block_shm *shm = shm_of(b);
    note_times(i, shm, atomic_load_explicit(&shm->claimed_ns, memory_order_relaxed), now_ns);
    i->batch_rows = rows_all;
    i->batch_requests = b->run_requests;
    i->batch_guests = rows_all > 1 ? b->rows - b->rows_at[b->priority - 1] : 0;
    i->is_guest = i->batch_guests > 0 && i->priority != b->priority;
    i->attempts = b->deaths + 1;
    i->err = *err;
    if (err->code == ERR_OK) {
        narrow(m, m->out, i, row0, rows_all, narrowed);
        i->out = narrowed;
    }
    infer_end(i);
}

/* The run's outcome: the worker's words are copied and cut, never trusted. */
static void take_status(struct served *m, const struct lane_block *b, uint32_t rows, struct err *err)
{
    const struct block_shm *shm = shm_of(b);
    *err = (struct err){0};
    uint32_t status = shm->status;
    if (status == ERR_OK) {
        if (b->live > 0)
            (void)take_outputs(m, b, rows, err); /* the code is in err */
        return;
    }
    char text[sizeof shm->text], remedy[sizeof shm->remedy];
    memcpy(text, shm->text, sizeof text);
    memcpy(remedy, shm->remedy, sizeof remedy);
    text[sizeof text - 1] = remedy[sizeof remedy - 1] = '\0';
    err_set(err, status < ERR_MAX_ ? (enum err_code)status : ERR_BACKEND, "%s", text);
    err_remedy(err, "%s", remedy);
}

/* Counts the run, and learns what runs of its size cost. */
static void count_run(struct served *m, const struct lane_block *b, uint32_t rows)
{
    const struct block_shm *shm = shm_of(b);
    uint64_t claimed = atomic_load_explicit(&shm->claimed_ns, memory_order_relaxed), done = shm->done_ns;
    bool is_timed = claimed > 0 && done > claimed && done - claimed < RUN_NS_MAX;
    if (shm->status == ERR_OK && is_timed) {
        cost_learn(&m->schedule.cost, b->run_rows, done - claimed);
        atomic_store_explicit(&m->shared->cost_a_ns, (uint64_t)m->schedule.cost.a_ns, memory_order_relaxed);
        atomic_store_explicit(&m->shared->cost_b_ns, (uint64_t)m->schedule.cost.b_ns, memory_order_relaxed);
    }
    stats_run(m->shared, m->serve->thread, b->run_rows, is_timed ? done - claimed : 0);
    if (!m->shared->runs)
        return;
    metric_add(m->shared->runs, m->serve->thread, 1);
    metric_add(m->shared->rows, m->serve->thread, rows);
}

/* After two crashes requests run one by one: the next of them, or the end of the block. */
static void next_alone(struct served *m, struct lane_block *b)
{
    if (b->first) {
        lane_publish_alone(b, b->first);
        served_dirty(m);
    } else {
        lane_release(b);
    }
}

void answer_block(struct served *m, struct lane_block *b)
{
    struct err err;
    struct infer *alone = b->alone;
    bool was_alone = b->deaths >= ALONE_AFTER_DEATHS && b->rows > 0;
    m->lane.published &= ~(1u << b->index);
    lane_close(b);
    b->use = LANE_ANSWERING;
    b->run_requests = was_alone ? 1 : b->live;
    if (was_alone && alone) {
        take_status(m, b, b->run_rows, &err);
        count_run(m, b, alone->rows);
        answer(m, b, alone, &err, 0, b->run_rows, clock_now_ns());
        next_alone(m, b);
        return;
    }
    if (was_alone) { /* the one that ran was given up meanwhile */
        next_alone(m, b);
        return;
    }
    take_status(m, b, b->run_rows, &err);
    count_run(m, b, m->info.desc->has_batch_dim ? b->rows : 1);
    uint64_t now_ns = clock_now_ns();
    while (b->first)
        answer(m, b, b->first, &err, b->first->row0, b->run_rows, now_ns);
    lane_release(b);
}

/* This request was in its last crash. */
static void quarantine(struct served *m, struct lane_block *b, struct infer *i)
{
    const unsigned char *base = segment_in(m->lane.map, m->lane.index, b->index);
    quarantine_add(&m->shared->quarantine, quarantine_print(i, m->info.desc->inputs_len, base, m->lane.map->in_cap),
                   clock_now_ns());
    i->attempts = b->deaths;
    char text[240];
    (void)snprintf(text, sizeof text, "the model's worker crashed %d times on this request; it is quarantined",
                   CRASH_KILLS_MAX);
    infer_end_err(i, ERR_BACKEND, text, "see the crash reports (quern status, dashboard) for the reason and the stack");
}

void recover_block(struct served *m, struct lane_block *b, bool is_crash)
{
    m->lane.published &= ~(1u << b->index);
    lane_close(b);
    queue_has_run(b);
    b->gen++;
    b->use = LANE_ANSWERING;
    if (is_crash)
        b->deaths++;
    if (is_crash && b->alone && b->deaths >= CRASH_KILLS_MAX) { /* nobody's: the one that ran was given up meanwhile */
        quarantine(m, b, b->alone);
        b->deaths = ALONE_AFTER_DEATHS; /* the others go on one by one, each with a last chance of its own */
    }
    if (b->deaths >= ALONE_AFTER_DEATHS || !b->first) {
        next_alone(m, b);
        return;
    }
    lane_publish(b);
    served_dirty(m);
}

/* The others still wait for the run: if it has not begun, it goes on without the rows that nobody wants. */
static void shrink_block(struct served *m, struct lane_block *b)
{
    bool is_plain = b->deaths < ALONE_AFTER_DEATHS && m->info.desc->has_batch_dim;
    if (!is_plain || (b->use != LANE_FILLING && (b->use != LANE_PUBLISHED || !lane_take_back(b))))
        return;
    lane_compact(b);
    served_dirty(m); /* the next flush publishes it */
}

void abandon_block(struct served *m, struct lane_block *b)
{
    if (b->live > 0 && b->alone)
        return;
    if (b->live > 0 && b->deaths < ALONE_AFTER_DEATHS) {
        shrink_block(m, b);
        return;
    }
    if (b->use == LANE_FILLING) {
        if (b->live == 0)
            lane_release(b);
        return;
    }
    if (b->use != LANE_PUBLISHED || b->cancel_asked)
        return;
    if (lane_take_back(b)) {
        next_alone(m, b);
        return;
    }
    uint64_t state = atomic_load_explicit(&shm_of(b)->state, memory_order_acquire);
    if (block_phase_of(state) != BLOCK_RUNNING)
        return; /* DONE: the next collect frees it */
    b->cancel_asked = true;
    b->cancel_asked_ns = clock_now_ns();
    atomic_store_explicit(&shm_of(b)->aborted, 1, memory_order_relaxed);
    if (m->serve->hooks.cancel_run)
        m->serve->hooks.cancel_run(m->serve->hooks.arg, m->shared->id, block_owner_of(state), m->lane.index, b->index,
                                   b->gen);
}
