#include "t.h"

#include <string.h>

#include "model/backend.h"
#include "model/desc.h"
#include "rows_desc.h"

static struct model_desc sane(void)
{
    struct model_desc d;
    rows_desc(&d, 4);
    d.max_batch = 8;
    d.has_batch_dim = d.may_share = 1;
    return d;
}

TEST(sane_description_passes)
{
    struct err err;
    struct model_desc d = sane();
    EXPECT_EQ(model_desc_check(&d, &err), ERR_OK);
    EXPECT_EQ(model_desc_input(&d, STR("x")), 0);
    EXPECT_EQ(model_desc_input(&d, STR("y")), -1);
    EXPECT_EQ(model_desc_output(&d, STR("y")), 0);
}

#define EXPECT_REFUSED(change)                                                                                         \
    do {                                                                                                               \
        struct model_desc d = sane();                                                                                  \
        struct err err;                                                                                                \
        change;                                                                                                        \
        EXPECT_EQ(model_desc_check(&d, &err), ERR_INVALID);                                                            \
    } while (0)

TEST(hostile_description_is_refused)
{
    EXPECT_REFUSED(memset(d.inputs[0].name, 'a', sizeof d.inputs[0].name));
    EXPECT_REFUSED(d.inputs[0].name[0] = 0);
    EXPECT_REFUSED((void)str_copy(d.inputs[0].name, sizeof d.inputs[0].name, STR("a\nb")));
    EXPECT_REFUSED((void)str_copy(d.inputs[0].name, sizeof d.inputs[0].name, STR("\xff")));
    EXPECT_REFUSED(memset(d.batch_reason, 'a', sizeof d.batch_reason));
    EXPECT_REFUSED(memset(d.inputs[0].symbols[1], 'a', sizeof d.inputs[0].symbols[1]));
    EXPECT_REFUSED(d.inputs[0].dtype = 99);
    EXPECT_REFUSED(d.inputs[0].dtype = DT_NONE);
    EXPECT_REFUSED(d.inputs[0].ndim = 9);
    EXPECT_REFUSED(d.inputs[0].ndim = -1);
    EXPECT_REFUSED(d.inputs[0].dims[1] = -2);
    EXPECT_REFUSED(d.inputs[0].dims[1] = INT64_MAX);
    EXPECT_REFUSED(d.inputs_len = MODEL_TENSORS_MAX + 1);
    EXPECT_REFUSED(d.outputs_len = UINT32_MAX);
    EXPECT_REFUSED(d.outputs_len = 0);
    EXPECT_REFUSED(d.max_batch = 0);
    EXPECT_REFUSED(d.max_batch = UINT32_MAX);
    EXPECT_REFUSED(d.may_share = 2);
    EXPECT_REFUSED(d.has_batch_dim = 0);
    EXPECT_REFUSED(d.outputs[0].dims[0] = 3);
    EXPECT_REFUSED(d.outputs[0].ndim = 0);
    EXPECT_REFUSED(d.inputs_len = 2; d.inputs[1] = d.inputs[0]);
}

TEST(names_of_types)
{
    for (unsigned t = DT_NONE + 1; t < DT_MAX_; t++) {
        EXPECT_EQ(dtype_parse(str_c(dtype_name((enum dtype)t))), t);
        EXPECT(dtype_size((enum dtype)t) > 0);
    }
    EXPECT_EQ(dtype_parse(STR("fp32")), DT_NONE);
    EXPECT_EQ(dtype_parse(STR("NONE")), DT_NONE);
}

TEST(counts)
{
    uint64_t n;
    EXPECT(tensor_count(NULL, 0, &n));
    EXPECT_EQ(n, 1);
    EXPECT(tensor_count((int64_t[]){3, 4}, 2, &n));
    EXPECT_EQ(n, 12);
    EXPECT(tensor_count((int64_t[]){1 << 30, 0, 1 << 30}, 3, &n));
    EXPECT_EQ(n, 0);
    EXPECT(!tensor_count((int64_t[]){3, -1}, 2, &n));
    EXPECT(!tensor_count((int64_t[]){0, -1}, 2, &n));
    EXPECT(!tensor_count((int64_t[]){1 << 30, 1 << 30}, 2, &n));
    EXPECT(!tensor_count((int64_t[]){INT64_MAX, INT64_MAX, INT64_MAX}, 3, &n));
}

TEST(shapes_as_text)
{
    char text[128];
    tensor_dims_format((int64_t[]){-1, 3, 48}, 3, text, sizeof text);
    EXPECT_CSTR(text, "[-1,3,48]");
    tensor_dims_format(NULL, 0, text, sizeof text);
    EXPECT_CSTR(text, "[]");
    int64_t huge[8];
    for (int i = 0; i < 8; i++)
        huge[i] = INT64_MIN;
    tensor_dims_format(huge, 8, text, sizeof text);
    EXPECT(strlen(text) < sizeof text);
    EXPECT(strstr(text, "...]") != NULL);
}

TEST(samples_fill_every_type)
{
    struct arena a;
    arena_init(&a, 4096, 1 << 20);
    for (unsigned t = DT_NONE + 1; t < DT_MAX_; t++) {
        struct tensor_spec s = {.dtype = t, .ndim = 2, .dims = {-1, -1}};
        struct backend_tensor out;
        backend_sample(&s, 2, 3, &out, &a);
        EXPECT(out.data != NULL);
        EXPECT_EQ(out.bytes, 6 * dtype_size((enum dtype)t));
        EXPECT_EQ(out.dims[1], 3);
    }
    struct tensor_spec s = {.dtype = DT_FP32, .ndim = 2, .dims = {-1, 1 << 30}};
    struct backend_tensor out;
    backend_sample(&s, 2, 3, &out, &a);
    EXPECT(out.data == NULL);
    arena_done(&a);
}

static bool same(const struct model_desc *a, const struct model_desc *b)
{
    return memcmp(a, b, offsetof(struct model_desc, inputs)) == 0 &&
           memcmp(a->inputs, b->inputs, a->inputs_len * sizeof a->inputs[0]) == 0 &&
           memcmp(a->outputs, b->outputs, a->outputs_len * sizeof a->outputs[0]) == 0;
}

TEST(copy_and_packed_copy_have_all_that_is_there)
{
    static struct model_desc d;
    static unsigned char packed[sizeof d];
    d = sane();
    for (uint32_t n = 1; n <= MODEL_TENSORS_MAX; n += MODEL_TENSORS_MAX - 1) {
        d.inputs_len = d.outputs_len = n;
        d.inputs[n - 1].ndim = 3;
        d.outputs[n - 1].ndim = 5;
        struct model_desc *copy = model_desc_copy(&d);
        size_t bytes = model_desc_pack(copy, packed);
        EXPECT(bytes <= offsetof(struct model_desc, inputs) + 2 * n * sizeof(struct tensor_spec));
        struct model_desc *back = model_desc_unpack(packed, bytes);
        EXPECT(same(&d, copy) && back && same(&d, back));
        model_desc_free(copy);
        model_desc_free(back);
    }
}

/* What a worker writes may say anything. */
TEST(copy_of_a_lying_description_is_refused_not_followed)
{
    static struct model_desc d;
    struct err err;
    d = sane();
    d.inputs_len = UINT32_MAX;
    struct model_desc *copy = model_desc_copy(&d);
    EXPECT_EQ(model_desc_check(copy, &err), ERR_INVALID);
    model_desc_free(copy);
}

/* A file of which the end is missing, or in which the numbers are others. */
TEST(packed_description_of_another_length_is_none)
{
    static struct model_desc d;
    static unsigned char packed[sizeof d + 1];
    d = sane();
    size_t bytes = model_desc_pack(&d, packed);
    for (size_t n = 0; n < bytes; n++)
        EXPECT(!model_desc_unpack(packed, n));
    EXPECT(!model_desc_unpack(packed, bytes + 1));
    d.outputs_len = UINT32_MAX;
    memcpy(packed, &d, offsetof(struct model_desc, inputs));
    EXPECT(!model_desc_unpack(packed, bytes));
}
