#include "serve/lane.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "sys/shm.h"

#define TENSOR_ALIGN 64u
#define KEEP_BYTES   (4u << 20) /* pages beyond this are given back when a block is released */

static struct block_shm *shm_of(const struct lane_block *b)
{
    return &b->lane->map->shm->lane[b->lane->index].blocks[b->index];
}

static void set_state(struct lane_block *b, enum block_phase phase)
{
    atomic_store_explicit(&shm_of(b)->state, block_state(b->gen, 0, phase), memory_order_release);
}

/* One block of an earlier edge: everything but a run in progress is simply ours again [L3]. */
static void adopt(struct lane_block *b)
{
    struct block_shm *shm = shm_of(b);
    uint64_t state = atomic_load(&shm->state);
    for (;;) {
        b->gen = block_gen_of(state) + 1;
        if (block_phase_of(state) == BLOCK_RUNNING) {
            b->use = LANE_ORPHAN;
            b->lane->orphans |= 1u << b->index;
            return;
        }
        if (atomic_compare_exchange_strong(&shm->state, &state, block_state(b->gen, 0, BLOCK_FREE)))
            break;
    }
    b->use = LANE_UNUSED;
    b->lane->unused |= 1u << b->index;
}

#define AS_FAST 1.05 /* a difference that measuring at load does not show reliably */
/* What a run costs beside the engine: claiming, binding, waking, joining the parts. */
#define RUN_COST_NS (20 * NS_PER_US)

static double whole_ns(const struct model_measure *m)
{
    return (double)(m->ns + RUN_COST_NS);
}

/* The greatest size measured up to which a row costs no more than in runs of row_cap rows. What is shared fills runs of the smallest good size, for the sake of
 * time; but to cut a request that came as one costs copies and further runs. */
static uint32_t whole_cap_of(const struct lane *l)
{
    const struct model_measure *at_cap = NULL;
    uint32_t cap = l->row_cap;
    if (!l->desc->may_share || l->policy->sizes[0] != 0)
        return cap;
    for (uint32_t i = 0; i < l->desc->measures_len; i++) {
        const struct model_measure *m = &l->desc->measures[i];
        if (m->rows == l->row_cap)
            at_cap = m;
        if (!at_cap || whole_ns(m) * at_cap->rows > AS_FAST * whole_ns(at_cap) * m->rows)
            continue;
        cap = m->rows > cap ? m->rows : cap;
    }
    return cap;
}

void lane_init(struct lane *l, struct segment_map *map, uint32_t index, const struct model_desc *desc,
               const struct batch_policy *policy)
{
    memset(l, 0, sizeof *l);
    l->map = map;
    l->index = index;
    l->desc = desc;
    l->policy = policy;
    l->row_cap = desc->may_share ? batch_cap(policy, desc->max_batch) : 1;
    l->whole_cap = whole_cap_of(l);
    atomic_store(&map->shm->lane[index].open, 0);
    for (uint32_t i = 0; i < LANE_BLOCKS; i++) {
        struct lane_block *b = &l->blocks[i];
        b->lane = l;
        b->index = i;
        b->in = calloc(desc->inputs_len + 1, sizeof *b->in); /* one more: none is no failure */
        CHECK(b->in);
        adopt(b);
    }
}

void lane_done(struct lane *l)
{
    for (uint32_t i = 0; i < LANE_BLOCKS; i++)
        free(l->blocks[i].in);
}

/* Bytes of one row of an input (of the whole tensor without a batch dimension); false when absurd. */
static bool row_bytes(const struct lane *l, const struct infer_tensor *t, uint64_t *out)
{
    uint64_t count;
    int skip = l->desc->has_batch_dim ? 1 : 0;
    if (!tensor_count(t->dims + skip, t->ndim - skip, &count))
        return false;
    *out = count * dtype_size(t->dtype);
    return true;
}

static bool same_shapes(const struct lane_block *b, const struct infer *i)
{
    for (uint32_t k = 0; k < b->lane->desc->inputs_len; k++) {
        const struct infer_tensor *t = &i->in[k];
        const struct lane_tensor *have = &b->in[k];
        if (t->given != have->given || t->ndim != have->ndim)
            return false;
        if (t->ndim > 1 && memcmp(t->dims + 1, have->dims + 1, sizeof t->dims[0] * (size_t)(t->ndim - 1)) != 0)
            return false;
    }
    return true;
}

static uint64_t heap_need(const struct lane *l, const struct infer *i)
{
    uint64_t n = 0;
    for (uint32_t k = 0; k < l->desc->inputs_len; k++)
        n += i->in[k].heap_bytes;
    return n;
}

static bool has_room(const struct lane_block *b, const struct infer *i)
{
    return b->rows + i->rows <= b->rows_max && b->heap_at + heap_need(b->lane, i) <= b->lane->map->in_cap;
}

/* Lays out the input area for rows_max rows: tensors one after the other, strings behind them. False when it does not fit. */
static bool lay_out(struct lane_block *b, const struct infer *i, uint32_t rows_max)
{
    const struct lane *l = b->lane;
    uint64_t at = 0, cap = l->map->in_cap;
    for (uint32_t k = 0; k < l->desc->inputs_len; k++) {
        const struct infer_tensor *t = &i->in[k];
        struct lane_tensor *in = &b->in[k];
        if (!row_bytes(l, t, &in->row_bytes) || in->row_bytes > cap)
            return false;
        in->dtype = t->dtype;
        in->ndim = t->ndim;
        memcpy(in->dims, t->dims, sizeof in->dims);
        in->given = t->given;
        in->off = at;
        at += ROUND_UP(t->given ? in->row_bytes * rows_max : 0, TENSOR_ALIGN);
        if (at > cap)
            return false;
    }
    b->heap_at = at;
    b->rows_max = rows_max;
    return at + heap_need(l, i) <= cap;
}

static bool lay_out_best(struct lane_block *b, const struct infer *i)
{
    uint32_t rows_max = b->lane->row_cap;
    while (rows_max > i->rows && !lay_out(b, i, rows_max))
        rows_max /= 2;
    if (rows_max > i->rows)
        return true;
    return lay_out(b, i, i->rows);
}

/* Where the request's elements go. */
static void point_inputs(const struct lane_block *b, struct infer *i)
{
    const struct lane *l = b->lane;
    unsigned char *base = segment_in(l->map, l->index, b->index);
    for (uint32_t k = 0; k < l->desc->inputs_len; k++) {
        struct infer_tensor *t = &i->in[k];
        const struct lane_tensor *in = &b->in[k];
        t->data = base + in->off + i->row0 * in->row_bytes;
        t->bytes = t->given ? in->row_bytes * i->rows : 0;
    }
}

static void reserve_heap(const struct lane_block *b, struct infer *i)
{
    i->heap_at = (uint32_t)b->heap_at;
    i->heap_end = (uint32_t)(b->heap_at + heap_need(b->lane, i));
}

void lane_close(struct lane_block *b)
{
    for (int i = 0; i < LANE_CURRENT_MAX; i++)
        if (b->lane->current[i] == b)
            b->lane->current[i] = NULL;
}

/* In order, only the newest block takes rows, and only rows of its shape. */
static void close_others(struct lane *l, const struct infer *i)
{
    for (int c = 0; c < LANE_CURRENT_MAX; c++) {
        struct lane_block *b = l->current[c];
        if (!b || same_shapes(b, i))
            continue;
        if (b->use == LANE_FILLING)
            lane_publish(b);
        lane_close(b);
    }
}

bool lane_is_ahead(const struct lane_block *b)
{
    return b->use == LANE_FILLING || (b->use == LANE_PUBLISHED && lane_is_open(b));
}

/* Blocks before that place in the order that no worker has claimed. */
static uint32_t ahead_of(const struct lane *l, uint64_t order)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < LANE_BLOCKS; i++)
        n += lane_is_ahead(&l->blocks[i]) && l->blocks[i].order < order;
    return n;
}

/* Of those whose rows may run with the request's, the block that runs first. */
static struct lane_block *mixed_with_room(struct lane *l, const struct infer *i)
{
    struct lane_block *best = NULL;
    for (int c = 0; c < LANE_CURRENT_MAX; c++) {
        struct lane_block *b = l->current[c];
        if (b && !lane_is_ahead(b))
            l->current[c] = b = NULL;
        if (!b || (best && best->order < b->order) || !same_shapes(b, i) || !has_room(b, i))
            continue;
        if (mix_has_room(l->mix, b, i) && mix_suits(l->mix, b, i, ahead_of(l, b->order)))
            best = b;
    }
    if (!best || best->use == LANE_FILLING || lane_take_back(best))
        return best;
    lane_close(best);
    return NULL;
}

/* Enough wait for workers; but what comes before all of them may. */
static bool may_begin(const struct lane *l, const struct infer *i)
{
    return !l->mix || ahead_of(l, UINT64_MAX) < l->mix->depth || ahead_of(l, i->order + 1) == 0;
}

/* A block that lacks nothing but room for the request, which begins another: it runs right behind that. */
static void bring_forward(struct lane *l, const struct infer *i)
{
    struct lane_block *next = NULL;
    for (uint32_t mask = l->published; mask != 0; mask &= mask - 1) {
        struct lane_block *b = &l->blocks[__builtin_ctz(mask)];
        if (b->order > i->order && b->order < ORDER_BEHIND && (!next || b->order < next->order) && lane_is_open(b))
            next = b;
    }
    if (!next || next->priority == i->priority || !same_shapes(next, i) || has_room(next, i) ||
        !mix_suits(l->mix, next, i, 0))
        return;
    next->order = i->order + 1;
    atomic_store_explicit(&shm_of(next)->order, next->order, memory_order_relaxed);
}

/* The current block of the request's shape and priority, ours and with room; closes one that has none. */
static struct lane_block *shared_with_room(struct lane *l, const struct infer *i)
{
    if (l->mix)
        return mixed_with_room(l, i);
    for (int c = 0; c < LANE_CURRENT_MAX; c++) {
        struct lane_block *b = l->current[c];
        if (!b || b->priority != i->priority || !same_shapes(b, i))
            continue;
        if (has_room(b, i) && (b->use == LANE_FILLING || lane_take_back(b)))
            return b;
        if (b->use == LANE_FILLING)
            lane_publish(b); /* full: it goes as it is */
        lane_close(b);
        return NULL;
    }
    return NULL;
}

/* A place among the current blocks; the oldest gives way. */
static void make_current(struct lane *l, struct lane_block *b)
{
    int place = 0;
    for (int c = 0; c < LANE_CURRENT_MAX; c++) {
        if (!l->current[c]) {
            place = c;
            break;
        }
        if (l->current[c]->life < l->current[place]->life)
            place = c;
    }
    if (l->current[place] && l->current[place]->use == LANE_FILLING)
        lane_publish(l->current[place]);
    b->life = ++l->lives;
    l->current[place] = b;
}

static void no_requests(struct lane_block *b)
{
    for (int p = 0; p < SCHEDULE_PRIORITY_MAX; p++) {
        b->requests_at[p] = 0;
        atomic_store_explicit(&shm_of(b)->requests_at[p], 0, memory_order_relaxed);
    }
}

enum lane_room lane_reserve(struct lane *l, struct infer *i, struct lane_block **out, struct err *err)
{
    if (l->policy->is_ordered)
        close_others(l, i);
    struct lane_block *b = l->desc->may_share ? shared_with_room(l, i) : NULL;
    if (!b) {
        uint32_t keep = i->priority > 1 ? LANE_URGENT_RESERVED : 0;
        if ((uint32_t)__builtin_popcount(l->unused) <= keep || !may_begin(l, i))
            return LANE_FULL;
        b = &l->blocks[__builtin_ctz(l->unused)]; /* the lowest: its pages are warm */
        if (!lay_out_best(b, i)) {
            err_set(err, ERR_TOO_LARGE, "the request's tensors need more than the %llu bytes of a batch block",
                    (unsigned long long)l->map->in_cap);
            err_remedy(err, "send fewer rows at once, or raise http.body_max");
            return LANE_TOO_LARGE;
        }
        l->unused &= ~(1u << b->index);
        b->use = LANE_FILLING;
        b->rows = 0;
        b->opened_ns = clock_now_ns();
        b->order = UINT64_MAX;
        b->expires_ns = 0;
        b->due_ns = UINT64_MAX;
        b->priority = i->priority;
        memset(b->rows_at, 0, sizeof b->rows_at);
        no_requests(b);
        set_state(b, BLOCK_FILLING);
        if (l->desc->may_share)
            make_current(l, b);
        if (l->mix)
            bring_forward(l, i);
    }
    i->row0 = b->rows;
    i->block = b;
    point_inputs(b, i);
    reserve_heap(b, i);
    *out = b;
    return LANE_ROOM;
}

/* change: 1 or -1 */
static void count_request(struct lane_block *b, const struct infer *i, int change)
{
    uint32_t *n = &b->requests_at[i->priority - 1];
    if (i->part_of)
        return;
    *n += (uint32_t)change;
    atomic_store_explicit(&shm_of(b)->requests_at[i->priority - 1], *n, memory_order_relaxed);
}

void lane_commit(struct lane_block *b, struct infer *i)
{
    b->rows += i->rows;
    b->rows_at[i->priority - 1] += i->rows;
    count_request(b, i, 1);
    if (i->order < b->order) {
        b->order = i->order;
        b->priority = i->priority;
    }
    b->expires_ns = i->deadline_ns > b->expires_ns ? i->deadline_ns : b->expires_ns;
    b->due_ns = i->deadline_ns < b->due_ns ? i->deadline_ns : b->due_ns;
    b->heap_at = ROUND_UP(i->heap_at, 8u);
    i->next = NULL;
    i->prev = b->last;
    if (b->last)
        b->last->next = i;
    else
        b->first = i;
    b->last = i;
    b->live++;
    b->rows_live += i->rows;
}

void lane_reorder(struct lane_block *b)
{
    b->order = UINT64_MAX;
    for (const struct infer *i = b->first; i; i = i->next) {
        if (i->order >= b->order)
            continue;
        b->order = i->order;
        b->priority = i->priority;
    }
    atomic_store_explicit(&shm_of(b)->order, b->order, memory_order_relaxed);
}

void lane_void(struct lane_block *b)
{
    if (b->rows == 0)
        lane_release(b);
}

void lane_unlink(struct infer *i)
{
    struct lane_block *b = i->block;
    if (i->prev)
        i->prev->next = i->next;
    else
        b->first = i->next;
    if (i->next)
        i->next->prev = i->prev;
    else
        b->last = i->prev;
    if (b->alone == i)
        b->alone = NULL;
    b->live--;
    b->rows_live -= i->rows;
    count_request(b, i, -1);
    i->block = NULL;
}

static void tell_input(const struct lane_tensor *in, bool has_rows, uint32_t row0, uint32_t rows,
                       struct block_tensor_shm *out)
{
    *out = (struct block_tensor_shm){.dtype = (uint32_t)in->dtype,
                                     .ndim = in->ndim,
                                     .off = in->off + row0 * in->row_bytes,
                                     .bytes = in->given ? in->row_bytes * rows : 0,
                                     .given = in->given};
    memcpy(out->dims, in->dims, sizeof out->dims);
    if (has_rows)
        out->dims[0] = rows;
}

/* Rows that only fill the run up to an allowed size are copies of its first row: valid values for every model. */
static void pad_rows(const struct lane_block *b, uint32_t row0, uint32_t rows, uint32_t run_rows)
{
    const struct lane *l = b->lane;
    unsigned char *base = segment_in(l->map, l->index, b->index);
    for (uint32_t k = 0; k < l->desc->inputs_len && run_rows > rows; k++) {
        const struct lane_tensor *in = &b->in[k];
        unsigned char *first = base + in->off + row0 * in->row_bytes;
        for (uint32_t r = rows; r < run_rows && in->given; r++)
            memcpy(first + r * in->row_bytes, first, in->row_bytes);
    }
}

/* Padding needs room behind the rows: the rows of one request among others have none. */
static uint32_t run_size(const struct lane_block *b, uint32_t row0, uint32_t rows)
{
    const struct lane *l = b->lane;
    if (!l->desc->may_share || row0 + rows != b->rows)
        return rows;
    uint32_t padded = batch_padded(l->policy, rows);
    return row0 + padded <= b->rows_max ? padded : rows;
}

/* A run that would end too late for all of its requests does not begin, where others wait for its place: in time, they are worth more. What was learned may
 * be too much: a tenth less is believed. */
static uint64_t latest_start_ns(const struct lane_block *b, uint64_t expires_ns)
{
    const struct lane *l = b->lane;
    bool others_wait = (l->published & ~(1u << b->index)) != 0;
    uint64_t run_ns = l->cost && others_wait ? (uint64_t)(cost_run_ns(l->cost, b->run_rows) * 0.9) : 0;
    return expires_ns > run_ns ? expires_ns - run_ns : 1;
}

/* Fills the control part for rows [row0, row0 + rows) and opens the block. Without a batch dimension rows is 1. */
static void open_rows(struct lane_block *b, uint32_t row0, uint32_t rows)
{
    struct lane *l = b->lane;
    struct block_shm *shm = shm_of(b);
    b->run_rows = run_size(b, row0, rows);
    pad_rows(b, row0, rows, b->run_rows);
    for (uint32_t k = 0; k < l->desc->inputs_len; k++)
        tell_input(&b->in[k], l->desc->has_batch_dim, row0, b->run_rows, &shm->in[k]);
    shm->rows = b->run_rows;
    shm->expires_ns = latest_start_ns(b, b->alone ? b->alone->deadline_ns : b->expires_ns);
    atomic_store_explicit(&shm->order, b->order, memory_order_relaxed);
    uint64_t ready = l->desc->may_share ? batch_ready_ns(l->policy, rows, b->rows_max, b->opened_ns) : 0;
    atomic_store_explicit(&shm->ready_ns, ready, memory_order_relaxed);
    atomic_store_explicit(&shm->aborted, 0, memory_order_relaxed);
    atomic_store_explicit(&shm->claimed_ns, 0, memory_order_relaxed);
    b->kill_asked = b->cancel_asked = false;
    b->use = LANE_PUBLISHED;
    l->published |= 1u << b->index;
    set_state(b, BLOCK_OPEN);
    atomic_fetch_or_explicit(&l->map->shm->lane[l->index].open, UINT64_C(1) << b->index, memory_order_release);
}

void lane_compact(struct lane_block *b)
{
    const struct lane *l = b->lane;
    unsigned char *base = segment_in(l->map, l->index, b->index);
    uint32_t at = 0;
    CHECK(b->use == LANE_FILLING && l->desc->has_batch_dim);
    memset(b->rows_at, 0, sizeof b->rows_at);
    for (struct infer *i = b->first; i; i = i->next) {
        for (uint32_t k = 0; k < l->desc->inputs_len && at != i->row0; k++) {
            unsigned char *rows = base + b->in[k].off;
            if (b->in[k].given)
                memmove(rows + at * b->in[k].row_bytes, rows + i->row0 * b->in[k].row_bytes,
                        i->rows * b->in[k].row_bytes);
        }
        i->row0 = at;
        at += i->rows;
        b->rows_at[i->priority - 1] += i->rows;
        point_inputs(b, i);
    }
    b->rows = at;
}

static void note_ids(struct lane_block *b, const struct infer *from, uint32_t max)
{
    struct block_shm *shm = shm_of(b);
    uint32_t n = 0;
    for (const struct infer *i = from; i && n < max; i = i->next)
        (void)str_copy(shm->ids[n++], sizeof shm->ids[0], str_c(i->request_id));
    shm->ids_len = n;
}

void lane_publish(struct lane_block *b)
{
    CHECK(b->use == LANE_FILLING || b->use == LANE_ANSWERING);
    note_ids(b, b->first, LANE_IDS_MAX);
    open_rows(b, 0, b->rows);
}

void lane_publish_alone(struct lane_block *b, struct infer *i)
{
    b->alone = i;
    note_ids(b, i, 1);
    open_rows(b, i->row0, i->rows);
}

bool lane_is_open(const struct lane_block *b)
{
    return block_phase_of(atomic_load_explicit(&shm_of(b)->state, memory_order_relaxed)) == BLOCK_OPEN;
}

bool lane_take_back(struct lane_block *b)
{
    struct lane *l = b->lane;
    uint64_t state = block_state(b->gen, 0, BLOCK_OPEN);
    if (!atomic_compare_exchange_strong_explicit(&shm_of(b)->state, &state, block_state(b->gen, 0, BLOCK_FILLING),
                                                 memory_order_acq_rel, memory_order_relaxed))
        return false;
    atomic_fetch_and_explicit(&l->map->shm->lane[l->index].open, ~(UINT64_C(1) << b->index), memory_order_relaxed);
    l->published &= ~(1u << b->index);
    b->use = LANE_FILLING;
    return true;
}

/* Memory that a large batch touched goes back to the system; small blocks keep theirs warm. */
static void give_back(const struct lane_block *b)
{
    const struct lane *l = b->lane;
    const struct segment_map *map = l->map;
    const struct block_shm *shm = shm_of(b);
    uint64_t out_used = 0;
    for (uint32_t k = 0; k < l->desc->outputs_len; k++) { /* a hint that a lie cannot turn into harm */
        uint64_t end = shm->out[k].off + shm->out[k].bytes;
        out_used = end > out_used ? end : out_used;
    }
    if (b->heap_at > KEEP_BYTES)
        shm_punch(segment_in(map, l->index, b->index) + KEEP_BYTES, map->in_cap - KEEP_BYTES, map->is_private);
    if (out_used > KEEP_BYTES && map->out_cap > KEEP_BYTES)
        shm_punch(segment_out(map, l->index, b->index) + KEEP_BYTES, map->out_cap - KEEP_BYTES, map->is_private);
}

void lane_release(struct lane_block *b)
{
    struct lane *l = b->lane;
    CHECK(b->live == 0);
    give_back(b);
    lane_close(b);
    l->published &= ~(1u << b->index);
    l->orphans &= ~(1u << b->index);
    l->unused |= 1u << b->index;
    b->gen++;
    b->use = LANE_UNUSED;
    b->deaths = 0;
    b->rows = 0;
    b->alone = NULL;
    b->first = b->last = NULL;
    set_state(b, BLOCK_FREE);
}
