#include "t.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/backends/tflite/tflite_sizes.h"
#include "onnx_rig.h"
#include "tflite_rig.h"

static struct lite_rig r;

static void fill_floats(float *out, size_t n, unsigned seed)
{
    for (size_t i = 0; i < n; i++)
        out[i] = (float)((i * 37 + seed * 11) % 100) / 50.0f - 1.0f;
}

/* ---- describing ---- */

TEST(lite_describes_a_model)
{
    lite_need_engine();
    EXPECT_EQ(lite_load(&r, "mlp", NULL), ERR_OK);
    if (model_desc_check(&r.desc, &r.err) != ERR_OK)
        FAIL("%s", r.err.text);
    EXPECT_CSTR(r.desc.backend, "tflite");
    EXPECT_CSTR(r.desc.platform, "litert_tflite");
    EXPECT_CSTR(r.desc.description, "an MLP of the tests");
    EXPECT_CSTR(r.desc.inputs[0].name, "x");
    EXPECT_EQ(r.desc.inputs[0].dims[0], -1);
    EXPECT_EQ(r.desc.inputs[0].dims[1], 4);
    EXPECT_CSTR(r.desc.outputs[0].name, "y");
    EXPECT_EQ(r.desc.may_share, 1);
    EXPECT_EQ(r.desc.max_batch, 64);
    EXPECT(r.desc.file_bytes > 0 && r.desc.load_ns > 0);
    EXPECT_CSTR(r.b->engine_version(), "2.3.0");
    lite_free(&r);
}

TEST(lite_fixed_batch_of_one_becomes_free_where_rows_are_independent)
{
    lite_need_engine();
    EXPECT_EQ(lite_load(&r, "conv_int8", NULL), ERR_OK);
    EXPECT_EQ(r.desc.inputs[0].dims[0], -1);
    EXPECT_EQ(r.desc.outputs[0].dims[0], -1);
    EXPECT_EQ(r.desc.may_share, 1);
    EXPECT_NEAR((double)r.desc.inputs[0].scale, 0.02, 1e-6);
    EXPECT_EQ(r.desc.inputs[0].zero, -5);
    EXPECT(tensor_is_scaled(&r.desc.outputs[0]));
    EXPECT_EQ(model_desc_check(&r.desc, &r.err), ERR_OK);
    lite_free(&r);
}

TEST(lite_fixed_shapes_stay_fixed)
{
    lite_need_engine();
    EXPECT_EQ(lite_load(&r, "fixed_reshape", NULL), ERR_OK);
    EXPECT_EQ(r.desc.inputs[0].dims[0], 1);
    EXPECT_EQ(r.desc.has_batch_dim, 0);
    EXPECT_EQ(r.desc.max_batch, 1);
    EXPECT_CSTR(r.desc.batch_reason, "the file has one row; with more, the network's inner shapes do not follow");
    EXPECT_EQ(model_desc_check(&r.desc, &r.err), ERR_OK);
    float x[12];
    fill_floats(x, 12, 1);
    lite_in(&r, DT_FP32, x, sizeof x, 3, (int64_t[]){1, 3, 4});
    EXPECT_EQ(lite_run(&r), ERR_OK);
    EXPECT_EQ(memcmp(r.out[0].data, x, sizeof x), 0);
    float two[24] = {0};
    lite_in(&r, DT_FP32, two, sizeof two, 3, (int64_t[]){2, 3, 4});
    EXPECT_EQ(lite_run(&r), ERR_INVALID);
    EXPECT(strstr(r.err.text, "the model does not take this shape") != NULL);
    EXPECT(strstr(r.err.text, ".cc:") == NULL);
    lite_in(&r, DT_FP32, x, sizeof x, 3, (int64_t[]){1, 3, 4}); /* the model works on */
    EXPECT_EQ(lite_run(&r), ERR_OK);
    lite_free(&r);
}

/* x - mean over rows: rows must not share a run, and the rows of one request must stay in one run. */
TEST(lite_rows_that_influence_each_other_are_never_split)
{
    lite_need_engine();
    EXPECT_EQ(lite_load(&r, "mean_over_rows", NULL), ERR_OK);
    EXPECT_EQ(r.desc.has_batch_dim, 1);
    EXPECT_EQ(r.desc.may_share, 0);
    float x[12] = {1, 0, 0, 0, 2, 0, 0, 3, 6, 0, 0, 0};
    lite_in(&r, DT_FP32, x, sizeof x, 2, (int64_t[]){3, 4});
    EXPECT_EQ(lite_run(&r), ERR_OK);
    const float *y = r.out[0].data;
    EXPECT_NEAR(y[0], -2, 1e-6);
    EXPECT_NEAR(y[4], -1, 1e-6);
    EXPECT_NEAR(y[8], 3, 1e-6);
    EXPECT_NEAR(y[7], 2, 1e-6);
    lite_free(&r);
}

TEST(lite_names_and_order_are_those_of_the_signature)
{
    lite_need_engine();
    EXPECT_EQ(lite_load(&r, "two_io", NULL), ERR_OK);
    EXPECT_CSTR(r.desc.inputs[0].name, "minuend");
    EXPECT_CSTR(r.desc.inputs[1].name, "b");
    EXPECT_CSTR(r.desc.outputs[0].name, "difference");
    EXPECT_CSTR(r.desc.outputs[1].name, "last");
    float a[8] = {10, 20, 30, 40, 50, 60, 70, 80}, b[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    lite_in(&r, DT_FP32, a, sizeof a, 2, (int64_t[]){2, 4});
    lite_in(&r, DT_FP32, b, sizeof b, 2, (int64_t[]){2, 4});
    EXPECT_EQ(lite_run(&r), ERR_OK);
    for (int i = 0; i < 8; i++) {
        EXPECT_NEAR(((float *)r.out[0].data)[i], a[i] - b[i], 0);
        EXPECT_NEAR(((float *)r.out[1].data)[i], a[i] - b[i] + a[i], 0);
    }
    lite_in(&r, DT_FP32, a, sizeof a, 2, (int64_t[]){2, 4});
    lite_in(&r, DT_FP32, b, 16, 2, (int64_t[]){1, 4});
    EXPECT_EQ(lite_run(&r), ERR_INVALID);
    EXPECT_CSTR(r.err.text, "inputs 'minuend' and 'b' have different numbers of rows");
    lite_free(&r);
}

TEST(lite_signature_parameter)
{
    float x[3] = {1, 2, 3};
    lite_need_engine();
    EXPECT_EQ(lite_load(&r, "two_signatures", "signature=negate"), ERR_OK);
    lite_in(&r, DT_FP32, x, sizeof x, 2, (int64_t[]){1, 3});
    EXPECT_EQ(lite_run(&r), ERR_OK);
    EXPECT_NEAR(((float *)r.out[0].data)[2], -3, 0);
    lite_free(&r);
    EXPECT_EQ(lite_load(&r, "two_signatures", NULL), ERR_OK);
    lite_in(&r, DT_FP32, x, sizeof x, 2, (int64_t[]){1, 3});
    EXPECT_EQ(lite_run(&r), ERR_OK);
    EXPECT_NEAR(((float *)r.out[0].data)[2], 6, 0);
    lite_free(&r);
    EXPECT_EQ(lite_load(&r, "two_signatures", "signature=x"), ERR_NOT_FOUND);
    EXPECT_EQ(lite_load(&r, "mlp", "delegates=gpu"), ERR_INVALID);
    EXPECT_CSTR(r.err.text, "TensorFlow Lite models have no parameter 'delegates'");
    EXPECT_EQ(lite_load(&r, "mlp", "quantized_io=yes"), ERR_INVALID);
}

/* ---- numbers ---- */

static void run_onnx(struct rig *o, const float *x, size_t bytes, int ndim, const int64_t *dims)
{
    rig_in(o, DT_FP32, x, bytes, ndim, dims);
    EXPECT_EQ(rig_run(o), ERR_OK);
}

TEST(lite_and_onnx_runtime_agree)
{
    static struct rig o;
    float x[20], image[2 * 8 * 8 * 3], first[2 * 3 * 8 * 8];
    lite_need_engine();
    rig_need_engine();
    fill_floats(x, 20, 3);
    EXPECT_EQ(lite_load(&r, "mlp", NULL), ERR_OK);
    EXPECT_EQ(rig_load(&o, "test/data/mlp.onnx", NULL), ERR_OK);
    lite_in(&r, DT_FP32, x, sizeof x, 2, (int64_t[]){5, 4});
    EXPECT_EQ(lite_run(&r), ERR_OK);
    run_onnx(&o, x, sizeof x, 2, (int64_t[]){5, 4});
    EXPECT_EQ(r.out[0].bytes, o.out[0].bytes);
    for (int i = 0; i < 15; i++)
        EXPECT_NEAR(((float *)r.out[0].data)[i], ((float *)o.out[0].data)[i], 1e-6);
    lite_free(&r);
    rig_free(&o);
    fill_floats(image, ARRAY_LEN(image), 5);
    for (size_t n = 0; n < 2; n++)
        for (size_t p = 0; p < 64; p++)
            for (size_t c = 0; c < 3; c++)
                first[n * 192 + c * 64 + p] = image[n * 192 + p * 3 + c];
    EXPECT_EQ(lite_load(&r, "conv", NULL), ERR_OK);
    EXPECT_EQ(rig_load(&o, "test/data/conv.onnx", NULL), ERR_OK);
    lite_in(&r, DT_FP32, image, sizeof image, 4, (int64_t[]){2, 8, 8, 3});
    EXPECT_EQ(lite_run(&r), ERR_OK);
    run_onnx(&o, first, sizeof first, 4, (int64_t[]){2, 3, 8, 8});
    for (int i = 0; i < 10; i++)
        EXPECT_NEAR(((float *)r.out[0].data)[i], ((float *)o.out[0].data)[i], 1e-5);
    lite_free(&r);
    rig_free(&o);
}

/* y = 2 x, with x = (q - 10) / 2 and y = q + 3. */
TEST(lite_quantised_values_are_raw_by_default)
{
    int8_t x[4] = {10, 12, 20, 8};
    lite_need_engine();
    EXPECT_EQ(lite_load(&r, "double_int8", NULL), ERR_OK);
    EXPECT_EQ(r.desc.inputs[0].dtype, DT_INT8);
    lite_in(&r, DT_INT8, x, sizeof x, 2, (int64_t[]){2, 2});
    EXPECT_EQ(lite_run(&r), ERR_OK);
    const int8_t *y = r.out[0].data;
    EXPECT_EQ(r.out[0].bytes, 4);
    EXPECT_EQ(y[0], -3); /* 0 */
    EXPECT_EQ(y[1], -1); /* 2 x 1 */
    EXPECT_EQ(y[2], 7);  /* 2 x 5 */
    EXPECT_EQ(y[3], -5); /* 2 x -1 */
    lite_free(&r);
}

TEST(lite_quantised_values_as_real_numbers)
{
    float x[6] = {0, 1, 5, -1, 1e9f, NAN};
    lite_need_engine();
    EXPECT_EQ(lite_load(&r, "double_int8", "quantized_io=real"), ERR_OK);
    EXPECT_EQ(r.desc.inputs[0].dtype, DT_FP32);
    EXPECT_EQ(r.desc.outputs[0].dtype, DT_FP32);
    EXPECT_EQ(r.desc.may_share, 1);
    EXPECT(!tensor_is_scaled(&r.desc.inputs[0]));
    EXPECT(!tensor_is_scaled(&r.desc.outputs[0]));
    lite_in(&r, DT_FP32, x, sizeof x, 2, (int64_t[]){3, 2});
    EXPECT_EQ(lite_run(&r), ERR_OK);
    const float *y = r.out[0].data;
    EXPECT_EQ(r.out[0].dtype, DT_FP32);
    EXPECT_EQ(r.out[0].bytes, 24);
    EXPECT_NEAR(y[0], 0, 0);
    EXPECT_NEAR(y[1], 2, 0);
    EXPECT_NEAR(y[2], 10, 0);
    EXPECT_NEAR(y[3], -2, 0);
    EXPECT_NEAR(y[4], 117, 0); /* 127 is (127 - 10) / 2 = 58.5 */
    EXPECT_NEAR(y[5], 0, 0);
    lite_free(&r);
}

TEST(lite_sparse_weights)
{
    static const float c[16] = {1, 0, 0, 2, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 4, 5};
    float x[16];
    lite_need_engine();
    fill_floats(x, 16, 2);
    EXPECT_EQ(lite_load(&r, "sparse", NULL), ERR_OK);
    lite_in(&r, DT_FP32, x, sizeof x, 2, (int64_t[]){4, 4});
    EXPECT_EQ(lite_run(&r), ERR_OK);
    for (int i = 0; i < 16; i++)
        EXPECT_NEAR(((float *)r.out[0].data)[i], x[i] + c[i], 1e-6);
    lite_free(&r);
}

TEST(lite_every_type_goes_through)
{
    static const struct {
        const char *name;
        enum dtype type;
    } types[] = {{"bool", DT_BOOL},     {"uint8", DT_UINT8}, {"uint16", DT_UINT16}, {"uint32", DT_UINT32},
                 {"uint64", DT_UINT64}, {"int8", DT_INT8},   {"int16", DT_INT16},   {"int32", DT_INT32},
                 {"int64", DT_INT64},   {"fp16", DT_FP16},   {"bf16", DT_BF16},     {"fp32", DT_FP32},
                 {"fp64", DT_FP64}};
    lite_need_engine();
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        char name[32];
        unsigned char x[13 * 3 * 8];
        (void)snprintf(name, sizeof name, "identity_%s", types[i].name);
        if (lite_load(&r, name, NULL) != ERR_OK)
            FAIL("%s: %s", name, r.err.text);
        EXPECT_EQ(r.desc.inputs[0].dtype, types[i].type);
        for (size_t k = 0; k < sizeof x; k++)
            x[k] = types[i].type == DT_BOOL ? k % 3 == 0 : (unsigned char)(k * 7);
        size_t bytes = 13 * 3 * dtype_size(types[i].type);
        for (int odd = 0; odd < 2; odd++) {
            (odd ? lite_in_odd : lite_in)(&r, types[i].type, x, bytes, 2, (int64_t[]){13, 3});
            if (lite_run(&r) != ERR_OK)
                FAIL("%s: %s", name, r.err.text);
            EXPECT_EQ(r.out[0].bytes, bytes);
            EXPECT_EQ(r.out[0].dims[0], 13);
            EXPECT_EQ(memcmp(r.out[0].data, x, bytes), 0);
        }
        lite_free(&r);
    }
}

/* ---- batches and shapes ---- */

TEST(lite_any_number_of_rows_gives_what_single_rows_give)
{
    static int8_t x[100 * 64], alone[100 * 4];
    lite_need_engine();
    for (size_t i = 0; i < sizeof x; i++)
        x[i] = (int8_t)(i * 29 + i / 64 * 5);
    EXPECT_EQ(lite_load(&r, "conv_int8", NULL), ERR_OK);
    for (size_t i = 0; i < 100; i++) {
        lite_in(&r, DT_INT8, x + i * 64, 64, 4, (int64_t[]){1, 8, 8, 1});
        EXPECT_EQ(lite_run(&r), ERR_OK);
        memcpy(alone + i * 4, r.out[0].data, 4);
    }
    EXPECT(memcmp(alone, alone + 4, 4) != 0);
    for (int64_t n = 1; n <= 100; n = n < 20 ? n + 1 : n + 23) {
        lite_in(&r, DT_INT8, x, 64 * (size_t)n, 4, (int64_t[]){n, 8, 8, 1});
        EXPECT_EQ(lite_run(&r), ERR_OK);
        EXPECT_EQ(r.out[0].dims[0], n);
        if (memcmp(r.out[0].data, alone, 4 * (size_t)n) != 0)
            FAIL("%lld rows differ from single ones", (long long)n);
    }
    lite_free(&r);
}

TEST(lite_more_shapes_than_are_kept)
{
    float x[2 * 40];
    lite_need_engine();
    EXPECT_EQ(lite_load(&r, "free_length", NULL), ERR_OK);
    EXPECT_EQ(r.desc.inputs[0].dims[1], -1);
    for (int turn = 0; turn < 2; turn++) {
        for (int64_t n = 1; n <= 40; n++) {
            fill_floats(x, (size_t)n * 2, (unsigned)n);
            lite_in(&r, DT_FP32, x, 8 * (size_t)n, 2, (int64_t[]){2, n});
            EXPECT_EQ(lite_run(&r), ERR_OK);
            EXPECT_EQ(r.out[0].dims[1], n);
            float sum = 0;
            for (int64_t i = 0; i < n; i++)
                sum += ((float *)r.out[0].data)[n + i];
            EXPECT_NEAR(sum, 1, 1e-5);
        }
    }
    lite_free(&r);
}

TEST(lite_wrong_inputs_are_refused)
{
    float x[4] = {0};
    lite_need_engine();
    EXPECT_EQ(lite_load(&r, "mlp", NULL), ERR_OK);
    lite_in(&r, DT_FP32, x, sizeof x, 1, (int64_t[]){4});
    EXPECT_EQ(lite_run(&r), ERR_INVALID);
    EXPECT_CSTR(r.err.text, "input 'x' has 1 dimensions instead of 2");
    lite_in(&r, DT_FP32, x, sizeof x, 2, (int64_t[]){1, 5});
    EXPECT_EQ(lite_run(&r), ERR_INVALID);
    EXPECT_CSTR(r.err.text, "input 'x' has 16 bytes, which is not what its shape says");
    lite_in(&r, DT_FP32, x, 0, 2, (int64_t[]){0, 4});
    EXPECT_EQ(lite_run(&r), ERR_INVALID);
    EXPECT_CSTR(r.err.text, "dimension 0 of input 'x' cannot be 0");
    r.in[0] = (struct backend_tensor){.dtype = DT_FP32, .ndim = 2, .dims = {1, 4}};
    r.run.in_len = 1;
    EXPECT_EQ(lite_run(&r), ERR_INVALID);
    EXPECT_CSTR(r.err.text, "input 'x' is not given");
    lite_free(&r);
}

TEST(lite_output_over_the_block_is_refused)
{
    static float big[((1 << 20) / 4 / 3 + 1) * 3];
    lite_need_engine();
    EXPECT_EQ(lite_load(&r, "identity_fp32", NULL), ERR_OK);
    lite_in(&r, DT_FP32, big, sizeof big, 2, (int64_t[]){ARRAY_LEN(big) / 3, 3});
    EXPECT_EQ(lite_run(&r), ERR_TOO_LARGE);
    lite_free(&r);
}

TEST(lite_size_that_depends_on_values_is_refused)
{
    lite_need_engine();
    EXPECT_EQ(lite_load(&r, "size_by_value", NULL), ERR_UNSUPPORTED);
    EXPECT_CSTR(r.err.text, "the size of an output depends on values, not only on shapes; not supported");
    lite_free(&r);
}

/* ---- sizes ---- */

/* What n rows cost when made of the chosen runs. */
static double cost_of(const struct tflite_sizes *s, uint32_t n, double fixed, double per_row)
{
    double cost = 0;
    while (n > 0) {
        uint32_t size = tflite_next_size(s, n);
        cost += fixed + per_row * size;
        n -= size < n ? size : n;
    }
    return cost;
}

TEST(lite_runs_are_made_of_the_cheapest_sizes)
{
    struct tflite_sizes s;
    tflite_sizes_choose(&s, 0, 1); /* only rows cost: none is run in vain */
    for (uint32_t n = 1; n <= 200; n++)
        EXPECT_NEAR(cost_of(&s, n, 0, 1), n, 1e-9);
    tflite_sizes_choose(&s, 1000, 1); /* only runs cost: one for all */
    EXPECT_EQ(tflite_next_size(&s, 5), 6);
    EXPECT_EQ(tflite_next_size(&s, 9), 12);
    EXPECT_EQ(tflite_next_size(&s, 64), 64);
    EXPECT_EQ(tflite_next_size(&s, 65), 64);
    tflite_sizes_choose(&s, 36, 13); /* an MLP, in microseconds */
    for (uint32_t n = 1; n <= 64; n++)
        EXPECT(cost_of(&s, n, 36, 13) <= 1.35 * (36 + 13.0 * n));
}

/* ---- ending a run ---- */

static _Atomic bool has_ended;

/* Again and again: one that comes before the run has begun ends nothing. */
static void *abort_it(void *arg)
{
    struct lite_rig *rig = arg;
    while (!atomic_load(&has_ended)) {
        (void)usleep(20000);
        rig->b->abort(rig->instance);
    }
    return NULL;
}

TEST(lite_abort_ends_a_run)
{
    float x[4] = {1, 2, 3, 4};
    lite_need_engine();
    EXPECT_EQ(lite_load(&r, "slow_loop", NULL), ERR_OK);
    pthread_t thread;
    EXPECT_EQ(pthread_create(&thread, NULL, abort_it, &r), 0);
    int32_t n = INT32_MAX;
    lite_in(&r, DT_INT32, &n, sizeof n, 1, (int64_t[]){1});
    lite_in(&r, DT_FP32, x, sizeof x, 2, (int64_t[]){1, 4});
    EXPECT_EQ(lite_run(&r), ERR_CANCELLED);
    atomic_store(&has_ended, true);
    (void)pthread_join(thread, NULL);
    n = 4;
    lite_in(&r, DT_INT32, &n, sizeof n, 1, (int64_t[]){1});
    lite_in(&r, DT_FP32, x, sizeof x, 2, (int64_t[]){1, 4});
    EXPECT_EQ(lite_run(&r), ERR_OK);
    EXPECT_NEAR(((float *)r.out[0].data)[3], 6, 0);
    lite_free(&r);
}
