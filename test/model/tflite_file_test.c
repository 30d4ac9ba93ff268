#include "t.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/rand.h"
#include "model/tflite_file.h"
#include "sys/fd.h"

static struct tflite_info info;
static struct err err;
static struct arena arena;

static struct str read_data(const char *name)
{
    char path[96];
    struct str s = {NULL, 0};
    if (arena.max_bytes == 0)
        arena_init(&arena, 65536, 8 << 20);
    (void)snprintf(path, sizeof path, "test/data/%s.tflite", name);
    if (file_read(path, 1 << 20, &arena, &s, &err) != ERR_OK)
        FAIL("%s", err.text);
    return s;
}

static enum err_code check(const char *name)
{
    return tflite_check(read_data(name), NULL, &info, &err);
}

static void expect_refused(const char *name, enum err_code code, const char *text)
{
    char whole[64];
    (void)snprintf(whole, sizeof whole, "bad_%s", name);
    enum err_code got = check(whole);
    if (got != code || strstr(err.text, text) == NULL)
        FAIL("%s: %s: %s", name, err_code_name(got), err.text);
}

TEST(reads_names_and_shapes)
{
    EXPECT_EQ(check("mlp"), ERR_OK);
    EXPECT_CSTR(info.signature, "serving_default");
    EXPECT_CSTR(info.description, "an MLP of the tests");
    EXPECT_EQ(info.inputs_len, 1);
    EXPECT_CSTR(info.inputs[0].spec.name, "x"); /* the signature's name, not the tensor's */
    EXPECT_EQ(info.inputs[0].spec.ndim, 2);
    EXPECT_EQ(info.inputs[0].spec.dims[0], -1);
    EXPECT_EQ(info.inputs[0].shape[0], 1);
    EXPECT_EQ(info.inputs[0].spec.dims[1], 4);
    EXPECT_EQ(info.outputs[0].spec.dtype, DT_FP32);
    EXPECT_EQ(info.operators, 2);
    EXPECT_EQ(info.constant_bytes, 3 * 4 * 4 + 3 * 4);
    EXPECT(!info.inputs[0].is_quantized);
}

TEST(reads_scales)
{
    EXPECT_EQ(check("conv_int8"), ERR_OK);
    EXPECT_CSTR(info.signature, "");
    EXPECT_CSTR(info.inputs[0].spec.name, "image"); /* the tensor's */
    EXPECT_EQ(info.inputs[0].spec.dims[0], 1);
    EXPECT_EQ(info.inputs[0].spec.dtype, DT_INT8);
    EXPECT(info.inputs[0].is_quantized);
    EXPECT_NEAR(info.inputs[0].scale, 0.02, 1e-9);
    EXPECT_EQ(info.inputs[0].zero, -5);
    EXPECT_EQ(info.outputs[0].zero, -128);
}

TEST(signature_is_chosen_by_name)
{
    struct str bytes = read_data("two_signatures");
    EXPECT_EQ(tflite_check(bytes, "negate", &info, &err), ERR_OK);
    EXPECT_EQ(info.signature_index, 1);
    EXPECT_EQ(tflite_check(bytes, NULL, &info, &err), ERR_OK);
    EXPECT_CSTR(info.signature, "double"); /* none is called serving_default: the first */
    EXPECT_EQ(tflite_check(bytes, "square", &info, &err), ERR_NOT_FOUND);
    EXPECT_CSTR(err.text, "the model has no signature 'square'");
    EXPECT_CSTR(err.remedy, "its first signature is 'double'");
    EXPECT_EQ(tflite_check(read_data("conv_int8"), "x", &info, &err), ERR_NOT_FOUND);
}

TEST(what_is_not_supported_says_why)
{
    expect_refused("variable", ERR_UNSUPPORTED, "tensor 'state' keeps state between runs");
    expect_refused("custom_op", ERR_UNSUPPORTED, "the custom operator 'SignalWindow'");
    expect_refused("strings", ERR_UNSUPPORTED, "input 'x' is text");
    expect_refused("input_as_output", ERR_UNSUPPORTED, "output 0 is an input");
    expect_refused("other_file", ERR_UNSUPPORTED, "keeps weights in other files");
    expect_refused("version", ERR_UNSUPPORTED, "version 2 of the format");
}

TEST(what_the_engine_would_trust_is_checked)
{
    expect_refused("endless_graph", ERR_INVALID, "graph 0 of the model runs itself");
    expect_refused("too_few_inputs", ERR_INVALID,
                   "operator 0 (ADD) has 1 inputs and 1 outputs; it needs at least 2 and 1");
    expect_refused("never_written", ERR_INVALID, "nothing writes output 0");
    expect_refused("no_name", ERR_INVALID, "tensor 1 has no name");
    expect_refused("zero_points", ERR_INVALID, "tensor 'x' has 4000 scales and 1 zero points");
    expect_refused("short_constant", ERR_INVALID, "constant 'c' has 16 bytes of data");
    expect_refused("signature_name", ERR_INVALID, "output 0 of a signature has no name");
    expect_refused("signature_tensor", ERR_INVALID, "output 0 of a signature has no name or no tensor of its own");
    expect_refused("index", ERR_INVALID, "operator 0 (EXP) reads tensor 99");
    expect_refused("buffer", ERR_INVALID, "buffer 7 is used, but there are only 1");
    expect_refused("sparse_index", ERR_INVALID, "sparse constant 'c': an element lies outside of its shape");
    expect_refused("sparse_lists", ERR_INVALID, "sparse constant 'c': its lists do not fit each other");
    expect_refused("same_texts", ERR_INVALID, "its parts overlap");
    expect_refused("no_graph", ERR_INVALID, "the model has no graph");
}

TEST(other_files_are_told_apart)
{
    EXPECT_EQ(tflite_check(STR(""), NULL, &info, &err), ERR_INVALID);
    EXPECT_EQ(tflite_check(STR("\x1c\0\0\0TFL4 and so on, for a while longer"), NULL, &info, &err), ERR_INVALID);
    EXPECT_CSTR(err.text, "not a TensorFlow Lite model: it does not carry the mark TFL3");
    EXPECT_EQ(tflite_check(STR("\xff\xff\xff\xffTFL3"), NULL, &info, &err), ERR_INVALID);
    EXPECT(strstr(err.text, "damaged or cut off") != NULL);
}

/* Copies to memory of just that size, so that a read past the end is seen. */
static enum err_code check_copy(struct str bytes)
{
    char *copy = malloc(bytes.n + 1);
    EXPECT(copy != NULL);
    memcpy(copy, bytes.p, bytes.n);
    err.text[0] = 0;
    enum err_code code = tflite_check((struct str){copy, bytes.n}, NULL, &info, &err);
    free(copy);
    EXPECT(code == ERR_OK || err.text[0] != 0);
    return code;
}

TEST(cut_files_are_refused)
{
    static const char *const names[] = {"mlp", "conv_int8", "two_signatures", "slow_loop", "sparse"};
    for (size_t k = 0; k < ARRAY_LEN(names); k++) {
        struct str whole = read_data(names[k]);
        for (size_t n = 0; n + 8 < whole.n; n++) /* the last bytes may be padding */
            if (check_copy((struct str){whole.p, n}) == ERR_OK)
                FAIL("%s cut to %zu of %zu bytes is taken", names[k], n, whole.n);
    }
}

TEST_SLOW(changed_files_are_read_within_their_bounds, 30)
{
    static const char *const names[] = {"mlp", "conv_int8", "two_signatures", "slow_loop", "bad_zero_points", "sparse"};
    rand_seed(11);
    unsigned taken = 0, refused = 0;
    for (size_t k = 0; k < ARRAY_LEN(names); k++) {
        struct str whole = read_data(names[k]);
        char *copy = malloc(whole.n);
        EXPECT(copy != NULL);
        for (int i = 0; i < 3000; i++) {
            memcpy(copy, whole.p, whole.n);
            size_t at = (size_t)rand_below(whole.n / 4) * 4;
            uint32_t word = (uint32_t)rand_u64();
            memcpy(copy + at, &word, i % 2 == 0 ? 1 : 4);
            if (check_copy((struct str){copy, whole.n}) == ERR_OK)
                taken++;
            else
                refused++;
        }
        free(copy);
    }
    EXPECT(taken > 1000); /* weights, paddings */
    EXPECT(refused > 1000);
}
