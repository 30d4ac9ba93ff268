/* What a config.pbtxt says of inputs and outputs, against the model. */
#include "model/declared.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "t.h"

static struct model_desc model; /* X FP32[-1,4] -> label INT64[-1], p FP32[-1,3]; text BYTES[2] */

static struct tensor_spec spec(const char *name, enum dtype t, int ndim, int64_t d0, int64_t d1)
{
    struct tensor_spec s = {.dtype = (uint32_t)t, .ndim = ndim, .dims = {d0, d1}};
    EXPECT(str_copy(s.name, sizeof s.name, str_c(name)));
    return s;
}

static void make_model(void)
{
    model.inputs_len = model.outputs_len = 2;
    model.inputs[0] = spec("X", DT_FP32, 2, -1, 4);
    model.inputs[1] = spec("text", DT_BYTES, 1, 2, 0);
    model.outputs[0] = spec("label", DT_INT64, 1, -1, 0);
    model.outputs[1] = spec("p", DT_FP32, 2, -1, 3);
}

/* Through the file's reader and JSON, as it travels. */
static enum err_code check(const char *pbtxt, struct err *err)
{
    struct arena a;
    struct triton_config c;
    struct declared d = {0};
    struct buf json;
    struct json_reader r;
    make_model();
    arena_init(&a, 4096, 1 << 20);
    buf_init(&json, DECLARED_TEXT_MAX + 1);
    EXPECT_EQ(triton_parse("m/config.pbtxt", str_c(pbtxt), &a, &c, err), ERR_OK);
    if (declared_write("m/config.pbtxt", &c, &json)) {
        buf_pad(&json);
        json_init(&r, buf_view(&json), 8);
        declared_read(&r, &a, &d);
        EXPECT_EQ(json_end(&r), ERR_OK);
    }
    enum err_code code = declared_check(&d, &model, err);
    buf_done(&json);
    arena_done(&a);
    return code;
}

static void expect_fits(const char *pbtxt)
{
    struct err err = {0};
    if (check(pbtxt, &err))
        FAIL("%s: %s", pbtxt, err.text);
}

static void expect_error(const char *pbtxt, const char *text)
{
    struct err err = {0};
    EXPECT_EQ(check(pbtxt, &err), ERR_INVALID);
    if (strcmp(err.text, text) != 0)
        FAIL("%s\n gave %s\n not  %s", pbtxt, err.text, text);
}

#define X8 "max_batch_size: 8\n"

TEST(declared_what_fits_or_is_not_said)
{
    expect_fits("");
    expect_fits(X8 "dynamic_batching {}");
    expect_fits(X8 "input { name: \"X\" data_type: TYPE_FP32 dims: [ 4 ] }");
    expect_fits(X8 "input { name: \"X\" dims: [ -1 ] } output { name: \"p\" data_type: TYPE_FP32 dims: 3 }");
    expect_fits("output { name: \"p\" dims: [ -1, 3 ] } output { name: \"label\" dims: [ 7 ] }");
    expect_fits("input { name: \"X\" dims: [ 1, 4 ] }");
    expect_fits("input { name: \"X\" } output { data_type: TYPE_INT64 name: \"label\" }");
    expect_fits("input { name: \"text\" data_type: TYPE_STRING dims: [ 2 ] }");
    expect_fits("input { name: \"X\" data_type: 11 } output { name: \"label\" data_type: 9 }");
    expect_fits("input { name: \"X\" data_type: TYPE_INVALID dims: [ -1, -1 ] }");
}

TEST(declared_reshape_is_what_the_model_gets)
{
    expect_fits(X8 "output { name: \"label\" data_type: TYPE_INT64 dims: [ 1 ] reshape { shape: [ ] } }");
    expect_fits(X8 "input { name: \"X\" dims: [ 2, 2 ] reshape { shape: [ 4 ] } }");
    expect_error(X8 "input { name: \"X\" dims: [ 4 ] reshape { shape: [ 2, 2 ] } }",
                 "m/config.pbtxt:2: input 'X': the shape is [-1,2,2] (rows, and dims), the model has [-1,4]");
}

TEST(declared_ragged_and_shape_tensors)
{
    expect_fits(X8 "input { name: \"X\" dims: [ -1, 9, 9 ] allow_ragged_batch: true }");
    expect_fits(X8 "input { name: \"text\" dims: [ 2 ] is_shape_tensor: true }");
}

TEST(declared_contradictions_name_place_and_both_sides)
{
    expect_error("\ninput { name: \"x\" }", "m/config.pbtxt:2: the model has no input 'x'; it has 'X', 'text'");
    expect_error("output { name: \"X\" }", "m/config.pbtxt:1: the model has no output 'X'; it has 'label', 'p'");
    expect_error("input { dims: 4 }", "m/config.pbtxt:1: the model has no input ''; it has 'X', 'text'");
    expect_error(X8 "input { name: \"X\"\n data_type: TYPE_INT32 }",
                 "m/config.pbtxt:2: input 'X': data_type is TYPE_INT32, the model has TYPE_FP32");
    expect_error("input { name: \"text\" data_type: TYPE_FP64 }",
                 "m/config.pbtxt:1: input 'text': data_type is TYPE_FP64, the model has TYPE_STRING");
    expect_error(X8 "input { name: \"X\" dims: [ 5 ] }",
                 "m/config.pbtxt:2: input 'X': the shape is [-1,5] (rows, and dims), the model has [-1,4]");
    expect_error(X8 "output { name: \"label\" dims: [ 1 ] }",
                 "m/config.pbtxt:2: output 'label': the shape is [-1,1] (rows, and dims), the model has [-1]");
    expect_error("input { name: \"X\" dims: [ 4 ] }",
                 "m/config.pbtxt:1: input 'X': the shape is [4] (max_batch_size 0), the model has [-1,4]");
    expect_error(
        X8 "input { name: \"text\" dims: [ ] data_type: TYPE_STRING reshape { } }",
        "m/config.pbtxt:2: input 'text': with max_batch_size 8 its first dimension must be free, the model has [2]");
    expect_error(X8 "input { name: \"X\" dims: [ 1, 1, 1, 1, 1, 1, 1, 4 ] }",
                 "m/config.pbtxt:2: input 'X': 8 dims, the model has [-1,4]");
}

TEST(declared_types_are_triton_s)
{
    static const char *const bad[] = {"TYPE_BYTES", "FP32", "\"TYPE_FP32\"", "TYPE_FP31", "15", "-1", "{}"};
    char text[80];
    struct arena a;
    struct triton_config c;
    struct err err;
    arena_init(&a, 4096, 1 << 20);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        (void)snprintf(text, sizeof text, "input { name: \"X\" data_type: %s }", bad[i]);
        EXPECT_EQ(triton_parse("f", str_c(text), &a, &c, &err), ERR_INVALID);
        EXPECT(strstr(err.text, "data_type: expected a type like TYPE_FP32"));
    }
    arena_done(&a);
}

/* What does not fit a message is left out, and does not cut it. */
TEST(declared_too_much_is_not_written)
{
    struct triton_tensor *many = calloc(600, sizeof *many);
    struct triton_config c = {.inputs = many, .inputs_len = 600};
    struct buf out;
    for (size_t i = 0; i < c.inputs_len; i++)
        many[i].name = "a name of some length";
    buf_init(&out, DECLARED_TEXT_MAX + 1);
    EXPECT(!declared_write("f", &c, &out));
    buf_clear(&out);
    c.inputs_len = 60;
    EXPECT(declared_write("f", &c, &out));
    buf_done(&out);
    free(many);
}
