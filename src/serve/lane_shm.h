/* The data plane between edge and workers: one segment of shared memory per model, made by the master.
 *
 *   segment   = header | control of all blocks | input areas of all blocks | output areas of all blocks
 *   lane      = LANE_BLOCKS blocks that belong to one edge thread (threads of the edge share nothing)
 *   block     = one batch: control, an input area that the edge fills, an output area that the worker fills
 *
 * Workers map the input areas read-only: a model that runs wild cannot spoil the rows that another worker must run again. Everything refers by offset.
 *
 * A block's state is one 64-bit word: generation, owner (pid of the worker), phase. Who may change it:
 *
 *      FREE --edge--> FILLING --edge--> OPEN --worker (compare and swap)--> RUNNING --worker--> DONE --edge--> FREE
 *                        ^--edge (c.a.s.)--'                                   '--edge, when the owner is dead--> OPEN
 *
 * [L1] Only the lane's edge thread touches a block that is FREE, FILLING or DONE; only the owner touches outputs while RUNNING.
 * [L2] Rows join an OPEN block only after the edge took it back to FILLING; so a worker never sees a half-written row.
 * [L3] Every use of a block has a new generation; a late answer of an earlier use fails its compare and swap and is dropped.
 * [L4] There is no queue that could be torn: a worker finds work by looking at the open masks, so a death at any instruction leaves nothing
 *      but a RUNNING block with a dead owner.
 * [L5] The edge believes nothing that it reads here: it copies, validates, uses the copy. */
#ifndef SERVE_LANE_SHM_H
#define SERVE_LANE_SHM_H

#include <assert.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdint.h>

#include "model/desc.h"
#include "serve/schedule.h"

#define SEGMENT_MAGIC      0x71736567u
#define SEGMENT_LAYOUT     5u
#define LANE_BLOCKS        32
#define LANE_THREADS_MAX   64
#define LANE_INSTANCES_MAX 64
#define LANE_IDS_MAX       4

enum block_phase { BLOCK_FREE, BLOCK_FILLING, BLOCK_OPEN, BLOCK_RUNNING, BLOCK_DONE };

/* state word: generation in the upper 32 bits, owner pid in the middle 28, phase in the lower 4 */
static inline uint64_t block_state(uint32_t gen, uint32_t owner, enum block_phase phase)
{
    return (uint64_t)gen << 32 | (uint64_t)(owner & 0xFFFFFFFu) << 4 | (uint64_t)phase;
}
static inline enum block_phase block_phase_of(uint64_t state)
{
    return (enum block_phase)(state & 15);
}
static inline uint32_t block_owner_of(uint64_t state)
{
    return (uint32_t)(state >> 4) & 0xFFFFFFFu;
}
static inline uint32_t block_gen_of(uint64_t state)
{
    return (uint32_t)(state >> 32);
}

struct block_tensor_shm {
    uint32_t dtype;
    int32_t ndim;
    int64_t dims[TENSOR_DIMS_MAX];
    uint64_t off, bytes; /* in the block's input or output area */
    uint32_t given;      /* inputs: 0 for an optional one that was left out */
    uint32_t pad;
};

struct block_shm {
    alignas(64) _Atomic uint64_t state;
    _Atomic uint64_t order;    /* edge: which block first, smaller is sooner; workers look before they claim */
    _Atomic uint64_t ready_ns; /* edge: may be claimed from then on; 0 = at once */
    uint64_t expires_ns;       /* edge: nobody waits for it after that */
    uint32_t rows;             /* edge: rows of this run (1 without a batch dimension) */
    _Atomic uint32_t aborted;  /* edge: nobody waits any more */
    uint32_t status;           /* worker: enum err_code of the run */
    uint32_t ids_len;
    _Atomic uint32_t requests_at[SCHEDULE_PRIORITY_MAX]; /* edge: requests in it, for its other threads (queue.h) */
    _Atomic uint64_t claimed_ns;                         /* worker */
    uint64_t done_ns;                                    /* worker */
    char ids[LANE_IDS_MAX][40];                          /* edge: request ids, for crash reports */
    char text[360], remedy[240];                         /* worker: of status */
    struct block_tensor_shm in[MODEL_TENSORS_MAX], out[MODEL_TENSORS_MAX];
};

struct lane_shm {
    alignas(64) _Atomic uint64_t open; /* bit i: block i may be OPEN (a hint; the state decides) */
    struct block_shm blocks[LANE_BLOCKS];
};

struct instance_shm { /* counters of one worker, for people */
    alignas(64) _Atomic uint64_t runs;
    _Atomic uint64_t rows, busy_ns, failures;
};

struct segment_shm {
    uint32_t magic, layout, lanes, pad;
    uint64_t bytes, control_bytes, in_off, in_cap, out_off, out_cap; /* caps: of one block */
    alignas(64) _Atomic uint32_t work;                               /* futex: changes when a block was opened */
    alignas(64) _Atomic uint64_t waiting;                            /* bit i: instance i sleeps on `work` */
    alignas(64) _Atomic uint32_t described;
    struct model_desc desc; /* worker: valid once described */
    struct instance_shm instances[LANE_INSTANCES_MAX];
    struct lane_shm lane[]; /* `lanes` of them */
};

/* One for the whole edge, made by the master: how workers wake edge threads. The eventfd of a thread is written only when it said that it sleeps. */
struct doorbell_shm {
    struct {
        alignas(64) _Atomic uint32_t sleeping;
    } thread[LANE_THREADS_MAX];
};

static_assert(sizeof(struct block_tensor_shm) == 96, "layout between processes");
static_assert(alignof(struct block_shm) == 64 && offsetof(struct block_shm, state) == 0, "layout between processes");

#endif
