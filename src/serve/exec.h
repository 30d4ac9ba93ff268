/* The worker's side of a segment: claim a block, run it through a backend, hand it back. Used by worker processes and, for inline models, by
 * the edge thread itself. */
#ifndef SERVE_EXEC_H
#define SERVE_EXEC_H

#include "model/backend.h"
#include "serve/segment.h"

struct exec {
    struct segment_map *segment;
    const struct backend *backend;
    void *instance;
    const struct model_desc *desc;
    uint32_t pid;     /* owner mark in block states */
    int index;        /* instance number, for counters */
    bool is_draining; /* nothing waits for more rows any more */
    uint64_t
        next_ready_ns; /* when exec_claim found nothing: a block that waits for more rows may be claimed then; 0 = none */
    uint64_t run_ns;   /* of the last run */
    uint64_t expires_ns;                    /* nobody waits for its results after that */
    uint64_t unrung_ns[LANE_THREADS_MAX];   /* by lane: since when results wait for a bell */
    uint32_t unrung_runs[LANE_THREADS_MAX]; /* of so many runs */
    struct backend_tensor in[MODEL_TENSORS_MAX], out[MODEL_TENSORS_MAX];
};

struct exec_block {
    uint32_t lane, block, gen;
};

/* Takes the OPEN block with the smallest order. False: none. */
bool exec_claim(struct exec *x, struct exec_block *out);
/* After a run in this lane: its edge thread need not be woken now, since so many blocks are open in it that the results can wait for those of the next
 * run (rest.h), and that no deadline is near. It must be woken before this worker sleeps. */
bool exec_may_ring_later(struct exec *x, uint32_t lane);
/* Runs a claimed block and marks it DONE. False when it was no longer ours. */
bool exec_run(struct exec *x, const struct exec_block *b);

#endif
