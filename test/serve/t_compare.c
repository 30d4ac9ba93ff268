#include "serve/compare.h"

#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "serve/internal_int.h"
#include "t.h"

static struct model_desc desc;
static struct served model;
static struct model_shared shared;
static struct infer_tensor out[2], in[2];
static struct infer infer;
static struct compare_difference diff;

static void tensor(struct tensor_spec *specs, uint32_t *len, const char *name, enum dtype type)
{
    struct tensor_spec *s = &specs[*len];
    *s = (struct tensor_spec){.dtype = type, .ndim = 2, .dims = {-1, -1}};
    (void)str_copy(s->name, sizeof s->name, str_c(name));
    (*len)++;
}

static void begin(enum dtype type)
{
    memset(&desc, 0, sizeof desc);
    tensor(desc.inputs, &desc.inputs_len, "x", type);
    tensor(desc.outputs, &desc.outputs_len, "prob", type);
    model = (struct served){.shared = &shared, .info = {.name = "m", .version = "1", .desc = &desc}};
    infer = (struct infer){.model = &model, .out = out, .in = in, .rows = 2};
}

static void answer(enum dtype type, void *data, size_t bytes, int64_t rows, int64_t columns)
{
    out[0] = (struct infer_tensor){.ndim = 2, .dims = {rows, columns}, .dtype = type, .data = data, .bytes = bytes};
}

static bool is_same(struct compare_answer *before, double tolerance)
{
    compare_with(before, &infer, tolerance, &diff);
    return diff.is_same;
}

TEST(compare_numbers_by_tolerance_and_tells_the_row)
{
    float x[6] = {1, 2, 3, 4, 5, 6};
    begin(DT_FP32);
    answer(DT_FP32, x, sizeof x, 3, 2);
    struct compare_answer *before = compare_keep(&infer);
    EXPECT(is_same(before, 0) && diff.greatest == 0);
    x[3] = 4.001f;
    EXPECT(is_same(before, 0.001));
    EXPECT_CSTR(diff.where, "in output 'prob', row 1");
    x[5] = 7;
    EXPECT(!is_same(before, 0.001));
    EXPECT_NEAR(diff.greatest, 1.0 / 7, 1e-9);
    EXPECT_CSTR(diff.where, "in output 'prob', row 2");
    x[5] = NAN;
    EXPECT(!is_same(before, 1000));
    before = compare_free(before);
    before = compare_keep(&infer);
    EXPECT(is_same(before, 0)); /* NaN is NaN */
    x[5] = INFINITY;
    EXPECT(!is_same(before, 1000));
    (void)compare_free(before);
}

TEST(compare_every_type_of_number)
{
    static const enum dtype types[] = {DT_FP16, DT_BF16, DT_FP64, DT_INT8, DT_INT64, DT_BOOL, DT_UINT32};
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        unsigned char x[16] = {0};
        begin(types[i]);
        answer(types[i], x, 2 * dtype_size(types[i]), 2, 1);
        struct compare_answer *before = compare_keep(&infer);
        EXPECT(is_same(before, 0.001));
        x[2 * dtype_size(types[i]) - 1] = 0x40; /* 2.0 and such, or a great whole number; of the second row */
        if (is_same(before, 0.001) || !strstr(diff.where, "row 1"))
            FAIL("%s: %s", dtype_name(types[i]), diff.where);
        (void)compare_free(before);
    }
}

TEST(compare_shapes)
{
    float x[6] = {0};
    begin(DT_FP32);
    answer(DT_FP32, x, sizeof x, 3, 2);
    struct compare_answer *before = compare_keep(&infer);
    answer(DT_FP32, x, sizeof x, 2, 3);
    EXPECT(!is_same(before, 1000));
    EXPECT_CSTR(diff.where, "output 'prob' has the shape [2,3], before [3,2]");
    (void)compare_free(before);
}

TEST(compare_form_is_names_and_types)
{
    static struct model_desc a, b;
    char what[220];
    tensor(a.inputs, &a.inputs_len, "x", DT_FP32);
    tensor(a.outputs, &a.outputs_len, "y", DT_FP32);
    b = a;
    b.inputs[0].dims[1] = 7;
    EXPECT(compare_same_form(&a, &b, what, sizeof what));
    b.outputs[0].dtype = DT_FP16;
    EXPECT(!compare_same_form(&a, &b, what, sizeof what));
    EXPECT_CSTR(what, "output 0 is 'y' FP16, of the version before 'y' FP32");
    b = a;
    b.inputs[0].name[0] = 'z';
    EXPECT(!compare_same_form(&a, &b, what, sizeof what));
    b = a;
    tensor(b.inputs, &b.inputs_len, "more", DT_BOOL);
    EXPECT(!compare_same_form(&a, &b, what, sizeof what));
    EXPECT_CSTR(what, "it has 2 inputs, the version before 1");
}

/* ---- kept requests ---- */

static uint64_t now_ns = 1000;
static uint64_t fake_now(void)
{
    return now_ns;
}

static void offer(struct compare_ring *r, float value)
{
    float x[4] = {value, value, value, value};
    in[0] = (struct infer_tensor){
        .ndim = 2, .dims = {2, 2}, .dtype = DT_FP32, .data = (unsigned char *)x, .bytes = sizeof x, .given = true};
    compare_ring_offer(r, &infer);
}

TEST(compare_keeps_the_latest_requests_and_not_each)
{
    struct warmup_tensors got[8];
    begin(DT_FP32);
    clock_set_source(fake_now);
    struct compare_ring *r = compare_ring_new(3);
    EXPECT_EQ(compare_ring_copy(r, got, 8), 0);
    for (int k = 1; k <= 5; k++) {
        offer(r, (float)k);
        offer(r, 100); /* in the same moment */
        now_ns += NS_PER_S;
    }
    EXPECT_EQ(compare_ring_copy(r, got, 8), 3);
    for (int k = 0; k < 3; k++) {
        EXPECT(got[k].rows == 2 && got[k].in[0].bytes == 16 && got[k].in[0].dims[1] == 2);
        EXPECT_NEAR(((float *)got[k].in[0].data)[3], 5 - k, 0);
        warmup_free(&got[k]);
    }
    EXPECT_EQ(compare_ring_copy(r, got, 1), 1);
    warmup_free(&got[0]);
    (void)compare_ring_free(r);
}

TEST(compare_does_not_keep_what_is_large)
{
    static unsigned char large[COMPARE_KEPT_BYTES + 64];
    struct warmup_tensors got[2];
    struct compare_ring *r = compare_ring_new(2);
    begin(DT_FP32);
    in[0] = (struct infer_tensor){.dtype = DT_UINT8, .data = large, .bytes = sizeof large, .given = true};
    compare_ring_offer(r, &infer);
    EXPECT_EQ(compare_ring_copy(r, got, 2), 0);
    in[0].bytes = COMPARE_KEPT_BYTES - 64;
    compare_ring_offer(r, &infer);
    EXPECT_EQ(compare_ring_copy(r, got, 2), 1);
    warmup_free(&got[0]);
    (void)compare_ring_free(r);
}
