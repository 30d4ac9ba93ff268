/* The edge's side of one lane: blocks that this thread fills, publishes and takes back. Knows rows and shapes, nothing of requests but their
 * place in a block. */
#ifndef SERVE_LANE_H
#define SERVE_LANE_H

#include "serve/batch.h"
#include "serve/infer.h"
#include "serve/mix.h"
#include "serve/schedule.h"
#include "serve/segment.h"

enum lane_use {
    LANE_UNUSED,
    LANE_FILLING,   /* ours; rows may be added */
    LANE_PUBLISHED, /* OPEN, RUNNING or DONE: look at the shared state */
    LANE_ANSWERING, /* DONE, results being handed out */
    LANE_ORPHAN,    /* RUNNING for an edge that died; not ours until it ends */
};

#define LANE_CURRENT_MAX 8
#define LANE_URGENT_RESERVED                                                                                           \
    4 /* blocks that only the most urgent priority may take: it never waits behind a full lane */

#define ORDER_BEHIND (UINT64_C(1) << 62) /* from here on: behind all others (queue.h) */

struct lane;

struct lane_tensor {
    uint64_t off, row_bytes; /* where its rows begin; of the whole tensor without a batch dimension */
    enum dtype dtype;
    int32_t ndim;
    int64_t dims[TENSOR_DIMS_MAX];
    bool given;
};

struct lane_block {
    struct lane *lane;
    uint32_t index, gen;
    enum lane_use use;
    uint32_t rows, rows_max; /* used, room */
    uint32_t run_rows;       /* of the published run: rows, padded */
    uint32_t priority;       /* of the request with the smallest order; others have another only by mix.h */
    uint32_t rows_at[SCHEDULE_PRIORITY_MAX];
    uint32_t requests_at[SCHEDULE_PRIORITY_MAX]; /* live ones; of one in parts none is counted here (queue.h) */
    uint64_t heap_at;                            /* next free byte of the input area behind the tensors */
    struct lane_tensor *in;                      /* by input: its place and shape. What workers see is a copy [L5] */
    struct infer *first, *last;                  /* requests in it that are not answered yet, in order of rows */
    uint32_t run_requests;                       /* that were live when its run had ended */
    uint32_t live, rows_live;                    /* requests that are not answered yet, and their rows */
    uint64_t opened_ns;
    uint64_t expires_ns; /* no request in it waits longer */
    uint64_t due_ns;     /* the first deadline */
    uint64_t order;      /* smallest of its requests' */
    uint32_t life;       /* when it became current, for choosing the oldest */
    uint32_t deaths;     /* workers that crashed on it */
    struct infer *alone; /* after two deaths requests run one by one: this one now */
    bool kill_asked, cancel_asked;
    uint64_t cancel_asked_ns;
};

struct lane {
    struct segment_map *map;
    const struct model_desc *desc;
    uint32_t index;     /* of the lane in the segment */
    uint32_t row_cap;   /* most rows of a shared block */
    uint32_t whole_cap; /* a request of so many rows runs as fast as in parts of row_cap; not below row_cap */
    struct lane_block blocks[LANE_BLOCKS];
    const struct batch_policy *policy;
    const struct cost *cost; /* what runs take; NULL: not known */
    const struct mix *mix;   /* NULL: requests come in order, and priorities do not share blocks */
    /* Shared blocks that take rows, one for each shape and priority: FILLING, or PUBLISHED and perhaps still OPEN. A request of another shape does not
     * close a batch; when all places are taken the oldest gives way. */
    struct lane_block *current[LANE_CURRENT_MAX];
    uint32_t lives;
    uint32_t unused, published, orphans; /* bit masks of blocks */
};

/* Takes over whatever an earlier edge left in the lane. */
void lane_init(struct lane *l, struct segment_map *map, uint32_t index, const struct model_desc *desc,
               const struct batch_policy *policy);
void lane_done(struct lane *l);

enum lane_room { LANE_ROOM, LANE_FULL, LANE_TOO_LARGE };
/* A FILLING block with room for the request (alone in it if rows must not be shared), data pointers of i->in set. LANE_FULL: no block is free, or enough
 * wait already (mix.h); try again after a release. LANE_TOO_LARGE: no block ever holds it (err has the sizes). */
enum lane_room lane_reserve(struct lane *l, struct infer *i, struct lane_block **out, struct err *err);
/* The request's elements were written: its rows belong to the block now. */
void lane_commit(struct lane_block *b, struct infer *i);
/* They were not: the reservation is void. */
void lane_void(struct lane_block *b);
/* The order of one of its requests has changed. */
void lane_reorder(struct lane_block *b);
/* Takes an answered or given-up request out of its block. */
void lane_unlink(struct infer *i);

/* FILLING or ANSWERING to OPEN, with all its rows, or the rows of one request. */
void lane_publish(struct lane_block *b);
void lane_publish_alone(struct lane_block *b, struct infer *i);
/* The block takes no more rows. */
void lane_close(struct lane_block *b);
/* A FILLING block some of whose requests were given up: moves the rows of the others together, so that nothing runs for nobody. */
void lane_compact(struct lane_block *b);
/* Its requests wait for their run: no worker has claimed it, a moment ago. */
bool lane_is_ahead(const struct lane_block *b);
/* The same of a published one. */
bool lane_is_open(const struct lane_block *b);
/* OPEN back to us, if no worker has claimed it. */
bool lane_take_back(struct lane_block *b);
void lane_release(struct lane_block *b);

#endif
