/* What the tests of the serve room share: one model "m" in a segment (or inline), the edge thread's side of it, a worker that the test plays step by
 * step, requests whose memory is freed in done() as a connection's is, and a clock that stands still until told. */
#ifndef TEST_SERVE_RIG_H
#define TEST_SERVE_RIG_H

#include "serve/internal_int.h"
#include "t.h"

#define RIG_DEAD_PID   100000001u /* above the kernel's largest: certainly no living process */
#define RIG_TIMEOUT_MS 1000
#define REQ_VALUES_MAX 256

/* Zero means the default. */
struct rig_opt {
    uint32_t max_batch;                   /* 4 */
    uint32_t queue_max;                   /* 64 */
    const struct model_measure *measures; /* what was measured at load, up to the first of no rows */
    uint32_t lanes;                       /* 1 */
    uint64_t area;                        /* bytes of a block's input area and of its output area: 1 MiB */
    enum dtype dtype;                     /* INT32; or BYTES */
    bool alone;                           /* rows of different requests never share a run */
    bool no_batch_dim;                    /* "x" is [-1,-1] and has no rows */
    bool has_optional;                    /* a second input "bias" [-1,1], optional */
    const struct batch_policy *batch;
    const char *backend; /* inline, with this built-in backend */
    const char *param;   /* its parameter "KEY=VALUE", one */
    bool is_real_time;   /* the machine's clock */
};

/* The test's own backend: y = 2 x, strings as they are; or whatever the test asks for. */
struct rig_worker {
    uint32_t runs, rows; /* of the last run */
    enum err_code fail;
    void (*twist)(struct backend_run *run); /* changes what a good run says of its outputs */
};

struct rig {
    struct serve *serve;
    struct model_shared *shared;
    struct served *model;
    int fd;
    struct segment_map worker_map;
    struct exec worker; /* plays process worker.pid */
    struct rig_worker state;
    struct serve_hooks hooks;
    int32_t scale;                   /* the model's answer to 1 */
    uint32_t kills, cancels, drains; /* calls of the hooks */
    uint32_t hook_pid, drained_segment;
    struct exec_block hook_block;
    char kill_reason[160];
    uint32_t next_id;
};

struct req {
    struct rig *rig;
    struct infer *i; /* NULL once it is done */
    uint32_t rows, cols;
    int32_t first; /* element e of "x" is first + e */
    const char *texts[4];
    const char *decode_fails; /* text of the error */
    void (*on_done)(struct req *q);
    struct req *other; /* for on_done */
    /* what done() saw */
    int done;
    enum err_code code;
    char text[360], remedy[240], id[40];
    int32_t got[REQ_VALUES_MAX];
    char got_texts[4][3072];
    size_t got_len;
    int64_t got_rows;
    uint32_t batch_rows, attempts, retry_after_ms;
};

extern uint64_t rig_now_ns; /* the standing clock */
void rig_pass_ms(uint64_t ms);
uint64_t rig_clock(void);

void rig_init(struct rig *r, const struct rig_opt *opt);
void rig_done(struct rig *r);
/* A description of "m" as the options say. */
void rig_describe(struct model_desc *d, const struct rig_opt *opt);
/* Another edge thread's view of the same model. */
struct serve *rig_thread(struct rig *r, int thread);
void rig_tell(struct rig *r, enum served_state state, const char *reason);

/* The worker: claims and runs one block; false when there is none. */
bool rig_work(struct rig *r);
/* Claims only; the test fails when there is nothing to claim. */
struct exec_block rig_claim(struct rig *r);
/* The worker process that has claimed dies; the next one has another pid. */
void rig_die(struct rig *r, bool is_crash);
/* Everything that can happen without failures: until nothing moves. */
void rig_settle(struct rig *r);
struct block_shm *rig_block(struct rig *r, uint32_t block);

void req_make(struct rig *r, struct req *q, uint32_t rows, uint32_t cols, int32_t first);
/* A request of BYTES: texts up to the first NULL, one row each. */
void req_make_texts(struct rig *r, struct req *q, const char *const *texts);
void req_submit(struct req *q);
void req_cancel(struct req *q);
/* The edge that would have called done() is gone. */
void req_forget(struct req *q);
void req_expect_ok(const char *file, int line, const struct req *q);
void req_expect_err(const char *file, int line, const struct req *q, enum err_code code, const char *text_part);

#define EXPECT_OK(q)              req_expect_ok(__FILE__, __LINE__, &(q))
#define EXPECT_ERR(q, code, part) req_expect_err(__FILE__, __LINE__, &(q), (code), (part))
#define EXPECT_OPEN(q)            EXPECT_EQ((q).done, 0)

#endif
