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
    struct backend_tensor in[MODEL_TENSORS_MAX], out[MODEL_TENSORS_MAX];
};

struct exec_block {
    uint32_t lane, block, gen;
};

/* Takes the OPEN block with the smallest order. False: none. */
bool exec_claim(struct exec *x, struct exec_block *out);
/* Runs a claimed block and marks it DONE. False when it was no longer ours. */
bool exec_run(struct exec *x, const struct exec_block *b);

#endif
