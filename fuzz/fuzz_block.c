/* [L5] Any bytes as what a worker says of a finished run: descriptions of outputs, status, texts, the output area itself. The edge must answer every
 * request of the batch once, and show done() nothing outside the block's output area. */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "serve/internal_int.h"

#define REQUESTS 3
#define AREA     8192u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct serve *serve;
static struct served *model;
static struct model_shared *shared;
static int answers;

static void spec(struct tensor_spec *t, const char *name, enum dtype dtype, int ndim)
{
    (void)str_copy(t->name, sizeof t->name, str_c(name));
    t->dtype = (uint32_t)dtype;
    t->ndim = ndim;
    t->dims[0] = t->dims[1] = -1;
}

static void setup(void)
{
    static const struct serve_hooks none;
    struct serve_state ready = {.state = SERVED_READY, .reason = ""};
    struct err err;
    shared = model_shared_new(LANE_THREADS_MAX);
    shared->id = 1;
    (void)str_copy(shared->name, sizeof shared->name, STR("m"));
    (void)str_copy(shared->version, sizeof shared->version, STR("1"));
    shared->limits = (struct model_limits){.timeout_ns = UINT64_MAX / 4, .queue_max = 8};
    CHECK(segment_private(AREA, AREA, &shared->map, &err) == ERR_OK);
    struct model_desc *d = shared->desc = model_desc_new();
    spec(&d->inputs[0], "x", DT_INT32, 1);
    spec(&d->outputs[0], "y", DT_INT32, 2);
    spec(&d->outputs[1], "text", DT_BYTES, 1);
    d->inputs_len = 1;
    d->outputs_len = 2;
    d->has_batch_dim = d->may_share = 1;
    d->max_batch = 4;
    CHECK(model_desc_check(d, &err) == ERR_OK);
    serve = serve_new(0, &none);
    CHECK(serve_update(serve, shared, &ready, &err) == ERR_OK);
    CHECK(serve_model(serve, STR("m"), STR(""), &model, &err) == ERR_OK);
}

static void check_inside(const struct infer *i, const unsigned char *p, size_t n)
{
    const unsigned char *area = segment_out(&shared->map, 0, i->block->index);
    CHECK(p >= area && n <= AREA && p - area <= (ptrdiff_t)(AREA - n));
}

static enum err_code decode(struct infer *i, struct err *err)
{
    (void)err;
    memset(i->in[0].data, 1, i->in[0].bytes);
    return ERR_OK;
}

static void done(struct infer *i)
{
    answers++;
    if (i->err.code != ERR_OK) {
        CHECK(i->err.code < ERR_MAX_);
        CHECK(memchr(i->err.text, 0, sizeof i->err.text) && memchr(i->err.remedy, 0, sizeof i->err.remedy));
        return;
    }
    const struct infer_tensor *y = &i->out[0], *text = &i->out[1];
    uint64_t count;
    CHECK(y->ndim == 2 && y->dims[0] == (int64_t)i->rows && y->dtype == DT_INT32);
    CHECK(tensor_count(y->dims, y->ndim, &count) && count * 4 == y->bytes);
    check_inside(i, y->data, y->bytes);
    CHECK(text->ndim == 1 && text->dims[0] == (int64_t)i->rows && text->bytes == i->rows * sizeof(struct bytes_ref));
    check_inside(i, text->data, text->bytes);
    for (uint32_t e = 0; e < i->rows; e++) {
        struct str s = infer_get_bytes(i, 1, e);
        if (s.n > 0)
            check_inside(i, (const unsigned char *)s.p, s.n);
    }
}

/* Bytes of the input go where the worker writes, in this order; what is short stays zero. */
static void take(const uint8_t **data, size_t *size, void *out, size_t n)
{
    size_t have = n < *size ? n : *size;
    memset(out, 0, n);
    memcpy(out, *data, have);
    *data += have;
    *size -= have;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct infer requests[REQUESTS];
    struct infer_tensor in[REQUESTS];
    if (!serve)
        setup();
    answers = 0;
    for (uint32_t k = 0; k < REQUESTS; k++) {
        in[k] = (struct infer_tensor){.ndim = 1, .dims = {1 + k % 2}, .dtype = DT_INT32, .given = true};
        requests[k] = (struct infer){
            .serve = serve, .model = model, .in = &in[k], .decode = decode, .done = done, .request_id = "r"};
        infer_submit(&requests[k]);
    }
    serve_flush(serve);
    struct exec worker = {.segment = &shared->map, .pid = 1};
    struct exec_block at;
    CHECK(exec_claim(&worker, &at));
    struct block_shm *b = &shared->map.shm->lane[0].blocks[at.block];
    take(&data, &size, b->out, 2 * sizeof b->out[0]);
    take(&data, &size, &b->status, sizeof b->status);
    take(&data, &size, segment_out(&shared->map, 0, at.block), 256);
    take(&data, &size, &b->done_ns, sizeof b->done_ns);
    take(&data, &size, b->text, sizeof b->text + sizeof b->remedy);
    atomic_store(&b->state, block_state(at.gen, 1, BLOCK_DONE));
    CHECK(serve_collect(serve));
    CHECK(answers == REQUESTS && !serve_is_busy(serve) && model->lane.unused == UINT32_MAX);
    return 0;
}
