#include "t.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "onnx_rig.h"
#include "rows_desc.h"

static struct rig r;

static void probe(const char *name)
{
    char path[96];
    (void)snprintf(path, sizeof path, "test/data/%s.onnx", name);
    if (rig_load(&r, path, NULL) != ERR_OK)
        FAIL("%s: %s", name, r.err.text);
    backend_probe_batching(r.b, r.instance, &r.desc, 5 * NS_PER_S);
    if (model_desc_check(&r.desc, &r.err) != ERR_OK)
        FAIL("%s: %s", name, r.err.text);
    rig_free(&r);
}

TEST(rows_that_influence_each_other_never_share)
{
    static const struct {
        const char *name, *reason;
        int has_batch_dim;
    } models[] = {
        {"bad_softmax0", "depends on the other rows", 1},
        {"bad_cumsum0", "depends on the other rows", 1},
        {"bad_mean0", "depends on the other rows", 1},
        {"bad_slight", "depends on the other rows", 1},
        {"bad_max0", "depends on the other rows", 1},
        {"bad_batchnorm", "probe: output 'y'", 1},
        {"bad_topk0", "depends on the other rows", 1},
        {"bad_reverse", "depends on the other rows", 1},
        {"bad_row_number", "depends on the other rows", 1},
        {"bad_neighbour", "depends on the other rows", 1},
        {"bad_attention0", "depends on the other rows", 1},
        {"bad_dynamic_quant", "depends on the other rows", 1},
        {"bad_random", "two runs of the same row", 1},
        {"bad_constant", "proves nothing", 1},
        {"bad_one_row", "fixed", 0},
        {"bad_scale_input", "input 'scale' is a scalar", 0},
        {"bad_total", "output 'y' is a scalar", 0},
        {"bad_fixed", "input 'x' [1,4] is fixed", 0},
        {"bad_square_mask", "'batch' is also dimension 1 of 'mask'", 0},
        {"bad_two_counts", "numbers of rows of their own", 0},
        {"bad_nonzero", "fixed", 0},
    };
    rig_need_engine();
    for (size_t i = 0; i < ARRAY_LEN(models); i++) {
        probe(models[i].name);
        if (r.desc.may_share || strstr(r.desc.batch_reason, models[i].reason) == NULL ||
            r.desc.has_batch_dim != models[i].has_batch_dim)
            FAIL("%s: may_share %d, has_batch_dim %d, reason: %s", models[i].name, r.desc.may_share,
                 r.desc.has_batch_dim, r.desc.batch_reason);
        if (!r.desc.has_batch_dim)
            EXPECT_EQ(r.desc.max_batch, 1);
    }
}

TEST(independent_rows_share)
{
    static const char *const models[] = {
        "mlp",           "layernorm",       "conv",          "embedding",      "two_categories", "half",
        "tied_names",    "string_label",    "iris",          "iris_tensor",    "iris_forest",    "iris_names",
        "identity_fp32", "identity_string", "identity_bool", "identity_int64", "identity_bf16"};
    rig_need_engine();
    for (size_t i = 0; i < ARRAY_LEN(models); i++) {
        probe(models[i]);
        if (!r.desc.may_share || !r.desc.has_batch_dim || r.desc.max_batch != 64)
            FAIL("%s: may_share %d, max_batch %u, reason: %s", models[i], r.desc.may_share, r.desc.max_batch,
                 r.desc.batch_reason);
    }
}

TEST(no_time_means_not_shared)
{
    rig_need_engine();
    EXPECT_EQ(rig_load(&r, "test/data/mlp.onnx", NULL), ERR_OK);
    backend_probe_batching(r.b, r.instance, &r.desc, 0);
    EXPECT_EQ(r.desc.may_share, 0);
    EXPECT(r.desc.batch_reason[0] != 0);
    EXPECT_EQ(model_desc_check(&r.desc, &r.err), ERR_OK);
    rig_free(&r);
}

/* A backend made for this test: rows of `width` floats, the probe's view of what a run does is scripted. */
static int64_t width = 4;
static int fail_above = 1000;

static enum err_code script_run(void *instance, struct backend_run *run, struct err *err)
{
    (void)instance;
    if (run->rows > (uint32_t)fail_above)
        return err_set(err, ERR_BACKEND, "too many rows");
    run->out[0] = run->in[0];
    run->out[0].data = backend_out_alloc(run, run->in[0].bytes);
    if (run->out[0].data == NULL)
        return err_set(err, ERR_TOO_LARGE, "no room");
    memcpy(run->out[0].data, run->in[0].data, run->in[0].bytes);
    return ERR_OK;
}

static const struct backend script = {.name = "script", .run = script_run};

static struct model_desc script_desc(void)
{
    struct model_desc d;
    rows_desc(&d, width);
    return d;
}

/* A clock that stands still: the time that a busy machine takes is not the model's. */
static uint64_t still_clock(void)
{
    return NS_PER_S;
}

TEST_SLOW(large_rows_make_small_batches, 60)
{
    clock_set_source(still_clock);
    width = 1 << 20; /* 4 MiB */
    struct model_desc d = script_desc();
    backend_probe_batching(&script, NULL, &d, 5 * NS_PER_S);
    EXPECT_EQ(d.may_share, 1);
    EXPECT_EQ(d.max_batch, 4);
    d = script_desc();
    d.max_batch = 7; /* configured */
    backend_probe_batching(&script, NULL, &d, 5 * NS_PER_S);
    EXPECT_EQ(d.max_batch, 7);
}

TEST(failing_batch_means_not_shared)
{
    fail_above = 2;
    struct model_desc d = script_desc();
    backend_probe_batching(&script, NULL, &d, 5 * NS_PER_S);
    EXPECT_EQ(d.may_share, 0);
    EXPECT(strstr(d.batch_reason, "too many rows") != NULL);
}

TEST(built_in_models_know_by_themselves)
{
    struct model_desc d = script_desc();
    d.may_share = d.has_batch_dim = 1;
    d.max_batch = 5;
    (void)str_copy(d.batch_reason, sizeof d.batch_reason, STR("known"));
    fail_above = 0;
    backend_probe_batching(&script, NULL, &d, 5 * NS_PER_S);
    EXPECT_EQ(d.may_share, 1);
    EXPECT_EQ(d.max_batch, 5);
}
