/* [L5] A worker whose model ran wild says anything of its outputs: the edge answers ERR_BACKEND and reads nothing outside. */
#include <string.h>

#include "rig.h"

static void lie_dtype(struct backend_run *run)
{
    run->out[0].dtype = DT_FP32;
}
static void lie_dtype_range(struct backend_run *run)
{
    run->out[0].dtype = (enum dtype)4000000000u;
}
static void lie_ndim(struct backend_run *run)
{
    run->out[0].ndim = 1;
}
static void lie_ndim_huge(struct backend_run *run)
{
    run->out[0].ndim = INT32_MAX;
}
static void lie_ndim_negative(struct backend_run *run)
{
    run->out[0].ndim = -1;
}
static void lie_rows(struct backend_run *run)
{
    run->out[0].dims[0]++;
}
static void lie_dim(struct backend_run *run)
{
    run->out[0].dims[1]++;
}
static void lie_dim_negative(struct backend_run *run)
{
    run->out[0].dims[1] = -1;
}
static void lie_dim_overflow(struct backend_run *run)
{
    run->out[0].dims[1] = INT64_MAX;
}
static void lie_bytes(struct backend_run *run)
{
    run->out[0].bytes += 4;
}
static void lie_bytes_huge(struct backend_run *run)
{
    run->out[0].bytes = SIZE_MAX;
}
static void lie_off(struct backend_run *run)
{
    run->out[0].data = run->out_base + run->out_cap - 4; /* the end of the tensor lies outside */
}
static void lie_off_before(struct backend_run *run)
{
    run->out[0].data = (void *)((uintptr_t)run->out_base - 64);
}
static void lie_off_far(struct backend_run *run)
{
    run->out[0].data = (void *)((uintptr_t)run->out_base + run->out_cap);
}
/* All at once, and consistent: as many rows as fit no area. */
static void lie_large(struct backend_run *run)
{
    run->out[0].dims[1] = INT64_C(1) << 30;
    run->out[0].bytes = (size_t)run->out[0].dims[0] << 32;
}

TEST(outputs_that_lie)
{
    static void (*const lies[])(struct backend_run *) = {
        lie_dtype,      lie_dtype_range, lie_ndim,         lie_ndim_huge,    lie_ndim_negative,
        lie_rows,       lie_dim,         lie_dim_negative, lie_dim_overflow, lie_bytes,
        lie_bytes_huge, lie_off,         lie_off_before,   lie_off_far,      lie_large,
    };
    struct rig r;
    rig_init(&r, NULL);
    for (size_t n = 0; n < ARRAY_LEN(lies); n++) {
        struct req a, b, after;
        req_make(&r, &a, 1, 3, 10);
        req_make(&r, &b, 2, 3, 500);
        req_submit(&a);
        req_submit(&b);
        r.state.twist = lies[n];
        rig_settle(&r);
        EXPECT_ERR(a, ERR_BACKEND, "model 'm' gave an output 'y' that is not what it declared: ");
        EXPECT_ERR(b, ERR_BACKEND, "model 'm' gave an output 'y' that is not what it declared: ");
        EXPECT(str_contains(str_c(a.remedy), STR("the model file or its backend is faulty")));
        r.state.twist = NULL;
        req_make(&r, &after, 1, 3, 10);
        req_submit(&after);
        rig_settle(&r);
        EXPECT_OK(after);
    }
    rig_done(&r);
}

static void lie_fixed_dim(struct backend_run *run)
{
    run->out[0].dims[1] = 2;
    run->out[0].bytes = (size_t)run->out[0].dims[0] * 8;
}

TEST(outputs_with_another_fixed_size)
{
    struct rig r;
    struct req q;
    rig_init(&r, NULL);
    r.shared->desc->outputs[0].dims[1] = 3;
    r.state.twist = lie_fixed_dim;
    req_make(&r, &q, 1, 3, 10);
    req_submit(&q);
    rig_settle(&r);
    EXPECT_ERR(q, ERR_BACKEND, "another shape");
    rig_done(&r);
}

static void set_ref(struct backend_run *run, uint32_t off, uint32_t len)
{
    struct bytes_ref *refs = run->out[0].data;
    refs[run->rows - 1] = (struct bytes_ref){off, len};
}
static void ref_behind(struct backend_run *run)
{
    set_ref(run, (uint32_t)run->out_cap, 1);
}
static void ref_long(struct backend_run *run)
{
    set_ref(run, 0, (uint32_t)run->out_cap + 1);
}
static void ref_wraps(struct backend_run *run)
{
    set_ref(run, UINT32_MAX, UINT32_MAX);
}

TEST(texts_outside_the_block)
{
    static void (*const lies[])(struct backend_run *) = {ref_behind, ref_long, ref_wraps};
    struct rig r;
    rig_init(&r, &(struct rig_opt){.dtype = DT_BYTES});
    for (size_t n = 0; n < ARRAY_LEN(lies); n++) {
        struct req q;
        r.state.twist = lies[n];
        req_make_texts(&r, &q, (const char *[]){"one", "two", NULL});
        req_submit(&q);
        rig_settle(&r);
        EXPECT_ERR(q, ERR_BACKEND, "a string lies outside its block");
    }
    rig_done(&r);
}

static void spoil_then_read(struct infer *i)
{
    struct req *q = i->owner;
    /* The worker changes the reference after it was checked, while done() reads. */
    struct bytes_ref bad = {UINT32_MAX, 5};
    memcpy(i->out[0].data, &bad, sizeof bad);
    EXPECT_EQ(infer_get_bytes(i, 0, 0).n, 0);
    EXPECT_EQ(infer_get_bytes(i, 0, 1).n, 0); /* one element only */
    EXPECT_EQ(infer_get_bytes(i, 0, UINT32_MAX).n, 0);
    req_forget(q);
    q->done = 100;
}

TEST(texts_that_change_after_the_check)
{
    struct rig r;
    struct req q;
    rig_init(&r, &(struct rig_opt){.dtype = DT_BYTES});
    req_make_texts(&r, &q, (const char *[]){"one", NULL});
    q.i->done = spoil_then_read;
    req_submit(&q);
    rig_settle(&r);
    EXPECT_EQ(q.done, 100);
    rig_done(&r);
}

TEST(a_backends_error_reaches_every_request_of_the_run)
{
    struct rig r;
    struct req a, b;
    rig_init(&r, NULL);
    r.state.fail = ERR_INVALID;
    req_make(&r, &a, 1, 3, 10);
    req_make(&r, &b, 1, 3, 500);
    req_submit(&a);
    req_submit(&b);
    rig_settle(&r);
    EXPECT_ERR(a, ERR_INVALID, "the test's model refuses");
    EXPECT_ERR(b, ERR_INVALID, "the test's model refuses");
    EXPECT_CSTR(a.remedy, "ask the test");
    rig_done(&r);
}

TEST(a_status_that_is_no_code_and_text_without_end)
{
    struct rig r;
    struct req q;
    rig_init(&r, NULL);
    req_make(&r, &q, 1, 3, 10);
    req_submit(&q);
    serve_flush(r.serve);
    struct exec_block run = rig_claim(&r);
    EXPECT(exec_run(&r.worker, &run));
    struct block_shm *b = rig_block(&r, run.block);
    b->status = 0xFFFFFFFFu;
    memset(b->text, 'x', sizeof b->text);
    memset(b->remedy, 'y', sizeof b->remedy);
    b->done_ns = UINT64_MAX;
    atomic_store(&b->claimed_ns, UINT64_MAX);
    EXPECT(serve_collect(r.serve));
    EXPECT_ERR(q, ERR_BACKEND, "xxx");
    EXPECT_EQ(strlen(q.text), sizeof b->text - 1);
    rig_done(&r);
}

/* ---- the control part itself ---- */

/* A worker that writes over everything that it can write. */
TEST(a_wild_worker_does_not_harm_the_edge)
{
    struct rig r;
    struct req running, filling, more, other;
    static const unsigned char fills[] = {0x00, 0xFF, 0x7F, 0x02};
    for (size_t n = 0; n < ARRAY_LEN(fills); n++) {
        rig_init(&r, &(struct rig_opt){.has_optional = true});
        uint64_t control_bytes = r.worker_map.shm->control_bytes;
        req_make(&r, &running, 1, 3, 10);
        req_submit(&running);
        serve_flush(r.serve);
        (void)rig_claim(&r);
        req_make(&r, &filling, 1, 3, 20);
        req_submit(&filling);
        memset(r.worker_map.shm, fills[n], control_bytes);
        memset(r.worker_map.out, fills[n], 4096);
        req_make(&r, &more, 1, 3, 30); /* joins, or not: the words that decide are the edge's own */
        req_submit(&more);
        req_make(&r, &other, 4, 200, 30);
        req_submit(&other);
        serve_flush(r.serve);
        (void)serve_collect(r.serve);
        rig_die(&r, true);
        rig_pass_ms(RIG_TIMEOUT_MS);
        serve_tick(r.serve, rig_now_ns);
        (void)serve_collect(r.serve);
        EXPECT_EQ(running.done, 1);
        EXPECT_EQ(filling.done, 1);
        EXPECT_EQ(more.done, 1);
        EXPECT_EQ(other.done, 1);
        r.worker_map = (struct segment_map){0}; /* its own sizes are gone: the process's end unmaps it */
        rig_done(&r);
    }
}
