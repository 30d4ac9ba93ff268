/* The Open Inference Protocol over made-up models: both encodings, all orders of members, and the errors that clients match on. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto_fake.h"
#include "t.h"

#define IRIS  "/v2/models/iris/infer"
#define PAIR  "/v2/models/pair/infer"
#define TEXT  "/v2/models/text/infer"
#define FIXED "/v2/models/fixed/infer"

static void expect(const char *path, const char *body, const char *answer)
{
    for (int late = 0; late < 2; late++) {
        fake_is_late = late != 0;
        const struct fake_answer *a = fake_post(path, body);
        if (a->status != 200 || strcmp(a->body, answer) != 0)
            FAIL("%s\n gave %d %s\n want %s", body, a->status, a->body, answer);
        EXPECT_CSTR(a->content_type, "application/json");
        EXPECT(a->infer_header[0] == '\0' && a->done_calls == 1);
    }
    fake_is_late = false;
    fake_free();
}

static void expect_error(const char *path, const char *body, int status, const char *text)
{
    const struct fake_answer *a = fake_post(path, body);
    if (a->status != status || strncmp(a->body, "{\"error\":\"", 10) != 0 || !strstr(a->body, text))
        FAIL("%s\n gave %d %s\n want %d %s", body, a->status, a->body, status, text);
    fake_free();
}

static const char iris_answer[] =
    "{\"model_name\":\"iris\",\"model_version\":\"1\",\"outputs\":[{\"name\":\"label\",\"datatype\":\"INT64\","
    "\"shape\":[1],\"data\":[5]},"
    "{\"name\":\"probabilities\",\"datatype\":\"FP32\",\"shape\":[1,3],\"data\":[5.5,3.5,1.5]}]}";

TEST(v2_members_in_any_order)
{
    expect(IRIS, "{\"inputs\":[{\"name\":\"X\",\"shape\":[1,4],\"datatype\":\"FP32\",\"data\":[5.5,3.5,1.5,0.25]}]}",
           iris_answer);
    expect(IRIS, "{\"inputs\":[{\"data\":[[5.5,3.5,1.5,0.25]],\"datatype\":\"FP32\",\"shape\":[1,4],\"name\":\"X\"}]}",
           iris_answer);
    expect(IRIS,
           "{\"inputs\":[{\"name\":\"X\",\"data\":[[5.5],3.5,[[1.5,0.25]]],\"shape\":[1,4],\"datatype\":\"FP32\","
           "\"zzz\":{}}],\"zzz\":[1,{}],\"outputs\":[]}",
           iris_answer);
    expect(
        "/v2/models/iris/versions/1/infer",
        " {\"outputs\":null,\"id\":null,\"parameters\":null,\"inputs\" :[ "
        "{\"name\":\"X\",\"parameters\":null,\"shape\":[1,4],\"datatype\":\"FP32\",\"data\":[5.5,3.5,1.5,0.25] } ]} ",
        iris_answer);
}

TEST(v2_what_stands_behind_the_data_counts)
{
    expect(IRIS,
           "{\"inputs\":[{\"name\":\"X\",\"shape\":[1,4],\"datatype\":\"FP32\",\"data\":[5,3,1,0]}],\"outputs\":[{"
           "\"name\":\"label\",\"parameters\":{\"x\":1}}],\"id\":\"a\\\"b\"}",
           "{\"id\":\"a\\\"b\",\"model_name\":\"iris\",\"model_version\":\"1\",\"outputs\":[{\"name\":\"label\","
           "\"datatype\":\"INT64\",\"shape\":[1],\"data\":[5]}]}");
    const char *start = "{\"inputs\":[{\"name\":\"X\",\"shape\":[1,4],\"datatype\":\"FP32\",\"data\":[5,3,1,0]";
    static const struct {
        const char *rest, *text;
    } cases[] = {
        {"", "expected ',' or '}', but the text ends"},
        {"}", "expected ',' or ']', but the text ends"},
        {"}]", "expected ',' or '}', but the text ends"},
        {"}]}}", "expected nothing behind the value"},
        {",\"data\":[1]}]}", "stands here twice"},
        {",\"parameters\":{\"binary_data_size\":4}}]}", "Input must set only one of the following fields"},
        {"},{\"name\":\"X\",\"shape\":[1,4],\"datatype\":\"FP32\",\"data\":[5,3,1,0]}]}",
         "input 'X' already exists in request"},
        {"},{\"name\":\"Y\",\"shape\":[1,4],\"datatype\":\"FP32\",\"data\":[5,3,1,0]}]}",
         "unexpected inference input 'Y', allowed inputs are: 'X'"},
        {"}],\"inputs\":[]}", "stands here twice"},
        {"}],\"outputs\":[{\"name\":\"lable\"}]}", "unexpected inference output 'lable', allowed outputs are: 'label', "
                                                   "'probabilities'\",\"remedy\":\"did you mean 'label'?"},
        {"}],\"outputs\":[{\"name\":\"label\"},{\"name\":\"label\"}]}", "output 'label' already exists in request"},
        {"}],\"outputs\":[{}]}", "an output needs 'name'"},
        {"}],\"parameters\":{\"triton_x\":1}}", "parameter keys starting with 'triton_' are reserved"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char body[600];
        (void)snprintf(body, sizeof body, "%s%s", start, cases[i].rest);
        expect_error(IRIS, body, 400, cases[i].text);
        EXPECT(!fake_post(IRIS, body)->was_decoded);
    }
    fake_free();
}

TEST(v2_several_inputs_strings_and_scalars)
{
    expect(PAIR,
           "{\"id\":\"7\",\"inputs\":[{\"name\":\"b\",\"shape\":[1,2],\"datatype\":\"INT32\",\"data\":[1,2]},{\"name\":"
           "\"a\",\"shape\":[1,2],\"datatype\":\"FP32\",\"data\":[0.5,0.5]}]}",
           "{\"id\":\"7\",\"model_name\":\"pair\",\"model_version\":\"1\",\"outputs\":[{\"name\":\"sum\",\"datatype\":"
           "\"FP32\",\"shape\":[1,2],\"data\":[1.5,2.5]}]}");
    expect(TEXT, "{\"inputs\":[{\"name\":\"s\",\"shape\":[1,2],\"datatype\":\"BYTES\",\"data\":[\"x\\ty\",\"\"]}]}",
           "{\"model_name\":\"text\",\"model_version\":\"1\",\"outputs\":[{\"name\":\"s\",\"datatype\":\"BYTES\","
           "\"shape\":[1,2],\"data\":[\"x\\ty\",\"\"]}]}");
    expect(FIXED,
           "{\"inputs\":[{\"name\":\"x\",\"shape\":[2,3],\"datatype\":\"UINT8\",\"data\":[[1,2,3],[4,5,6]]},{\"name\":"
           "\"scale\",\"shape\":[],\"datatype\":\"FP32\",\"data\":[2]}]}",
           "{\"model_name\":\"fixed\",\"model_version\":\"1\",\"outputs\":[{\"name\":\"y\",\"datatype\":\"UINT8\","
           "\"shape\":[2,3],\"data\":[1,2,3,4,5,6]}]}");
}

TEST(v2_nan_is_taken_as_clients_write_it)
{
    expect(IRIS,
           "{\"inputs\":[{\"name\":\"X\",\"shape\":[1,4],\"datatype\":\"FP32\",\"data\":[NaN,-Infinity,1,2]}],"
           "\"outputs\":[{\"name\":\"probabilities\"}]}",
           "{\"model_name\":\"iris\",\"model_version\":\"1\",\"outputs\":[{\"name\":\"probabilities\",\"datatype\":"
           "\"FP32\",\"shape\":[1,3],\"data\":[NaN,-Infinity,1]}]}");
}

TEST(v2_errors_of_the_request)
{
#define X(members) "{\"inputs\":[{" members "}]}"
    expect_error(IRIS, "", 400, "expected an object, but the text ends at byte 0");
    expect_error(IRIS, "{}", 400, "input 'X' is missing");
    expect_error(IRIS, "{\"inputs\":{}}", 400, "inputs: expected an array");
    expect_error(IRIS, X(""), 400, "inputs[0]: an input needs 'name'");
    expect_error(IRIS, X("\"name\":\"X\",\"datatype\":\"FP32\",\"data\":[1]"), 400, "input 'X' needs 'shape'");
    expect_error(IRIS, X("\"name\":\"X\",\"shape\":[1,4],\"data\":[1]"), 400, "input 'X' needs 'datatype'");
    expect_error(IRIS, X("\"name\":\"X\",\"shape\":[1,4],\"datatype\":\"FP32\""), 400,
                 "'shared_memory_region' in 'parameters'. But no field is set");
    expect_error(IRIS, X("\"name\":\"X\",\"shape\":[1,4],\"datatype\":\"FP33\",\"data\":[1]"), 400,
                 "inputs[0].datatype: unknown datatype 'FP33'");
    expect_error(IRIS, X("\"name\":\"X\",\"shape\":[1,-4],\"datatype\":\"FP32\",\"data\":[1]"), 400,
                 "inputs[0].shape[1]: Unable to parse 'shape': -4 is negative");
    expect_error(IRIS, X("\"name\":\"X\",\"shape\":[1,4.5],\"datatype\":\"FP32\",\"data\":[1]"), 400,
                 "inputs[0].shape[1]: expected a whole number");
    expect_error(IRIS, X("\"name\":\"X\",\"shape\":[4294967296,4294967296],\"datatype\":\"FP32\",\"data\":[1]"), 400,
                 "the product of the dimensions is too large");
    expect_error(IRIS, X("\"name\":\"X\",\"shape\":[1,1,1,1,1,1,1,1,1],\"datatype\":\"FP32\",\"data\":[1]"), 400,
                 "more than 8 dimensions");
    expect_error(IRIS, X("\"name\":\"X\",\"shape\":[100000000,4],\"datatype\":\"FP32\",\"data\":[1]"), 413,
                 "too large");
    expect_error(IRIS, X("\"name\":\"X\",\"shape\":[1,4],\"datatype\":\"INT64\",\"data\":[1,2,3,4]"), 400, "input 'X'");
    expect_error(IRIS, X("\"name\":\"X\",\"shape\":[1,4],\"datatype\":\"FP32\",\"data\":[1,2,3]"), 400,
                 "inputs[0].data: 3 elements where shape [1,4] needs 4");
    expect_error(IRIS, X("\"name\":\"X\",\"shape\":[1,4],\"datatype\":\"FP32\",\"data\":[1,2,3,4,5]"), 400,
                 "inputs[0].data: 5 elements where 4 are expected");
    expect_error(IRIS, X("\"name\":\"X\",\"shape\":[1,4],\"datatype\":\"FP32\",\"data\":[1,2,3,true]"), 400,
                 "inputs[0].data: element 3: expected a number, found true");
    expect_error(IRIS, X("\"name\":\"X\",\"data\":[1,2,3,true],\"shape\":[1,4],\"datatype\":\"FP32\""), 400,
                 "inputs[0].data: element 3: expected a number, found true at byte 37");
    expect_error(IRIS,
                 X("\"name\":\"X\",\"shape\":[1,4],\"datatype\":\"FP32\",\"data\":[1,2,3,4],\"parameters\":{\"shared_"
                   "memory_region\":\"r\"}"),
                 400, "But set 'data'");
    expect_error(
        IRIS, X("\"name\":\"X\",\"shape\":[1,4],\"datatype\":\"FP32\",\"parameters\":{\"shared_memory_region\":\"r\"}"),
        501, "shared memory regions are not allowed");
    expect_error(IRIS,
                 X("\"name\":\"X\",\"shape\":[1,4],\"datatype\":\"FP32\",\"parameters\":{\"binary_data_size\":16}"),
                 400, "unexpected size for input 'X', expecting 16 additional bytes for model 'iris'");
    expect_error(TEXT, X("\"name\":\"s\",\"shape\":[1,2],\"datatype\":\"BYTES\",\"data\":[\"a\"]"), 400,
                 "inputs[0].data: 1 elements where shape [1,2] needs 2");
    expect_error(TEXT, X("\"name\":\"s\",\"shape\":[1,1],\"datatype\":\"BYTES\",\"data\":[\"a\",[\"b\"]]"), 400,
                 "more than the 1 elements of the shape");
    expect_error("/v2/models/nope/infer", X(""), 404, "Request for unknown model: 'nope' is not found");
    expect_error("/v2/models/iris/versions/2/infer", X(""), 404, "version 2 is not found");
    expect_error("/v2/models/iris/versions/abc/infer", X(""), 404, "no version 'abc'");
    expect_error("/v2/models/broken/infer", X(""), 503, "file is cut off");
#undef X
}

/* --- binary ----------------------------------------------------------------------------------------------------------------- */

static char bytes[4096];
static size_t bytes_len;

static void add(const void *p, size_t n)
{
    memcpy(bytes + bytes_len, p, n);
    bytes_len += n;
}

/* Bytes of the body that lie in the socket change nothing, wherever they begin. */
static void answer_same_however_much_is_away(const struct fake_request *r)
{
    const struct fake_answer *a = fake_run(r);
    struct fake_answer all = *a;
    all.body = malloc(a->body_len + 1);
    memcpy(all.body, a->body, a->body_len);
    for (fake_away = 1; fake_away <= r->body.n; fake_away++) {
        a = fake_run(r);
        EXPECT_EQ(a->status, all.status);
        EXPECT_EQ(a->body_len, all.body_len);
        EXPECT(memcmp(a->body, all.body, all.body_len) == 0);
        EXPECT_CSTR(a->infer_header, all.infer_header);
    }
    fake_away = 0;
    free(all.body);
}

static const struct fake_answer *send_binary(const char *path, const char *json, const char *header)
{
    static char length[24];
    char all[8192];
    size_t n = strlen(json);
    memcpy(all, json, n);
    memcpy(all + n, bytes, bytes_len);
    (void)snprintf(length, sizeof length, "%zu", n);
    struct fake_request r = {HTTP_POST_, path, header ? header : length, {all, n + bytes_len}};
    answer_same_however_much_is_away(&r);
    return fake_run(&r);
}

static void expect_binary_error(const char *path, const char *json, const char *header, const char *text)
{
    const struct fake_answer *a = send_binary(path, json, header);
    if (a->status != 400 || !strstr(a->body, text))
        FAIL("%s\n gave %d %s\n want %s", json, a->status, a->body, text);
    fake_free();
}

TEST(v2_binary_both_ways)
{
    const float x[] = {7, 2, 3, 4};
    add(x, sizeof x);
    const struct fake_answer *a =
        send_binary(IRIS,
                    "{\"inputs\":[{\"name\":\"X\",\"shape\":[1,4],\"datatype\":\"FP32\",\"parameters\":{\"binary_data_"
                    "size\":16}}],\"parameters\":{\"binary_data_output\":true}}",
                    NULL);
    EXPECT_EQ(a->status, 200);
    EXPECT_CSTR(a->content_type, "application/octet-stream");
    const char *json =
        "{\"model_name\":\"iris\",\"model_version\":\"1\",\"outputs\":[{\"name\":\"label\",\"datatype\":\"INT64\","
        "\"shape\":[1],\"parameters\":{\"binary_data_size\":8}},"
        "{\"name\":\"probabilities\",\"datatype\":\"FP32\",\"shape\":[1,3],\"parameters\":{\"binary_data_size\":12}}]}";
    char length[24];
    (void)snprintf(length, sizeof length, "%zu", strlen(json));
    EXPECT_CSTR(a->infer_header, length);
    EXPECT(a->body_len == strlen(json) + 20 && memcmp(a->body, json, strlen(json)) == 0);
    int64_t label = 7;
    EXPECT(memcmp(a->body + strlen(json), &label, 8) == 0 && memcmp(a->body + strlen(json) + 8, x, 12) == 0);
    a = send_binary(
        IRIS,
        "{\"inputs\":[{\"name\":\"X\",\"shape\":[1,4],\"datatype\":\"FP32\",\"parameters\":{\"binary_data_size\":16}}],"
        "\"outputs\":[{\"name\":\"probabilities\",\"parameters\":{\"binary_data\":true}},{\"name\":\"label\"}]}",
        NULL);
    EXPECT_EQ(a->status, 200);
    EXPECT(strstr(a->body, "{\"name\":\"label\",\"datatype\":\"INT64\",\"shape\":[1],\"data\":[7]}]}"));
    fake_free();
}

TEST(v2_binary_strings)
{
    add("\3\0\0\0abc\0\0\0\0", 11);
    const struct fake_answer *a =
        send_binary(TEXT,
                    "{\"inputs\":[{\"name\":\"s\",\"shape\":[1,2],\"datatype\":\"BYTES\",\"parameters\":{\"binary_data_"
                    "size\":11}}],\"outputs\":[{\"name\":\"s\",\"parameters\":{\"binary_data\":true}}]}",
                    NULL);
    EXPECT_EQ(a->status, 200);
    EXPECT(memcmp(a->body + a->body_len - 11, bytes, 11) == 0);
#define S(shape, n)                                                                                                    \
    "{\"inputs\":[{\"name\":\"s\",\"shape\":" shape ",\"datatype\":\"BYTES\",\"parameters\":{\"binary_data_size\":" n  \
    "}}]}"
    expect_binary_error(TEXT, S("[1,1]", "11"), NULL,
                        "unexpected number of string elements for inference input 's' for model 'text', expecting 1");
    expect_binary_error(TEXT, S("[1,3]", "11"), NULL,
                        "expected 3 string elements for inference input 's' for model 'text', got 2");
    bytes_len = 2;
    expect_binary_error(TEXT, S("[1,1]", "2"), NULL, "incomplete string length indicator");
    bytes_len = 6;
    expect_binary_error(TEXT, S("[1,1]", "6"), NULL, "incomplete string data");
#undef S
}

TEST(v2_binary_empty_tensors_leave_as_json)
{
    const struct fake_answer *a =
        send_binary(TEXT,
                    "{\"inputs\":[{\"name\":\"s\",\"shape\":[1,0],\"datatype\":\"BYTES\",\"parameters\":{\"binary_data_"
                    "size\":0}}],\"parameters\":{\"binary_data_output\":true}}",
                    NULL);
    EXPECT_EQ(a->status, 200);
    EXPECT_CSTR(a->content_type, "application/json");
    EXPECT(a->infer_header[0] == '\0' && strstr(a->body, "\"parameters\":{\"binary_data_size\":0}"));
    fake_free();
}

TEST(v2_binary_sizes_are_checked)
{
#define X(n)                                                                                                           \
    "{\"inputs\":[{\"name\":\"X\",\"shape\":[1,4],\"datatype\":\"FP32\",\"parameters\":{\"binary_data_size\":" n "}}]" \
    "}"
    bytes_len = 16;
    expect_binary_error(IRIS, X("12"), NULL, "unexpected additional input data for model 'iris'");
    expect_binary_error(IRIS, X("20"), NULL,
                        "unexpected size for input 'X', expecting 4 additional bytes for model 'iris'");
    expect_binary_error(IRIS, X("18446744073709551615"), NULL, "unexpected size for input 'X'");
    expect_binary_error(IRIS, X("-1"), NULL, "a negative number");
    bytes_len = 12;
    expect_binary_error(IRIS, X("12"), NULL,
                        "input byte size mismatch for input 'X' for model 'iris'. Expected 16, got 12");
    expect_binary_error(IRIS, X("12"), "99999", "inference header size should be in range (0, ");
    expect_binary_error(IRIS, X("12"), "-1", "got: -1");
    expect_binary_error(IRIS, X("12"), "18446744073709551616", "inference header size should be in range");
    expect_binary_error(IRIS, X("12"), "3", "a string without its closing quote at byte 1");
    expect_binary_error(IRIS,
                        "{\"inputs\":[{\"name\":\"X\",\"shape\":[1,4],\"datatype\":\"FP32\",\"data\":[1,2,3,4]}]}",
                        NULL, "unexpected additional input data");
#undef X
}

TEST(v2_raw_request)
{
    const float x[] = {3, 2, 3, 4, 9, 2, 3, 4};
    add(x, sizeof x);
    const struct fake_answer *a = send_binary(IRIS, "", "0");
    EXPECT_EQ(a->status, 200);
    EXPECT_CSTR(a->content_type, "application/octet-stream");
    EXPECT(strstr(a->body, "\"shape\":[2],\"parameters\":{\"binary_data_size\":16}"));
    bytes_len = 15;
    expect_binary_error(IRIS, "", "0", "is not a whole number of its elements: 15 bytes");
    bytes_len = 0;
    add("hello", 5);
    a = send_binary(TEXT, "", "0");
    EXPECT_EQ(a->status, 200);
    EXPECT(a->body_len > 9 && memcmp(a->body + a->body_len - 9, "\5\0\0\0hello", 9) == 0);
    expect_binary_error(PAIR, "", "0", "Raw request must only have 1 input (found 2)");
}

#define INPUT(name, type)                                                                                              \
    "{\"name\":\"" name "\",\"shape\":[16,2],\"datatype\":\"" type "\",\"parameters\":{\"binary_data_size\":128}}"
#define TWO(a, b) "{\"inputs\":[" a "," b "],\"parameters\":{\"binary_data_output\":true}}"

TEST(v2_bytes_in_the_socket_are_copied_into_the_batch)
{
    static const struct {
        size_t away, copied; /* of 256 bytes */
        bool is_swapped;     /* against the model's order */
        bool is_late;
    } cases[] = {
        {1, 1, false, false},
        {128, 128, false, false},
        {129, 129, false, false},
        {256 - BUF_PAD, 256 - BUF_PAD, false, false},
        {256 - BUF_PAD + 1, 0, false, false}, /* readers of the JSON look ahead so far */
        {1, 1, true, false},
        {129, 0, true, false},
        {129, 0, false, true},
    };
    float a[32];
    int32_t b[32];
    for (int i = 0; i < 32; i++) {
        a[i] = (float)i;
        b[i] = 100 * i;
    }
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *json = cases[i].is_swapped ? TWO(INPUT("b", "INT32"), INPUT("a", "FP32"))
                                               : TWO(INPUT("a", "FP32"), INPUT("b", "INT32"));
        char body[600], length[24];
        size_t json_n = strlen(json);
        memcpy(body, json, json_n);
        memcpy(body + json_n + (cases[i].is_swapped ? 128 : 0), a, 128);
        memcpy(body + json_n + (cases[i].is_swapped ? 0 : 128), b, 128);
        (void)snprintf(length, sizeof length, "%zu", json_n);
        fake_away = cases[i].away;
        fake_is_late = cases[i].is_late;
        const struct fake_answer *got =
            fake_run(&(struct fake_request){HTTP_POST_, PAIR, length, {body, json_n + 256}});
        if (got->status != 200 || got->body_len < 128 || got->copied != cases[i].copied)
            FAIL("case %zu: %d %s, %zu copied", i, got->status, got->body, got->copied);
        for (int e = 0; e < 32; e++) {
            float sum;
            memcpy(&sum, got->body + got->body_len - 128 + 4 * e, sizeof sum);
            EXPECT_NEAR(sum, 101.0F * (float)e, 0);
        }
    }
    fake_free();
}

#define IRIS_WITH(parameters)                                                                                          \
    "{\"parameters\":{" parameters "},\"inputs\":[{\"name\":\"X\",\"shape\":[1,4],\"datatype\":\"FP32\","              \
    "\"data\":[5.5,3.5,1.5,0.25]}]}"

TEST(v2_timeouts_and_priorities_that_make_no_sense)
{
    static const char *const as_none[] = {IRIS_WITH("\"timeout\":0"), IRIS_WITH("\"timeout\":18446744073709551615"),
                                          IRIS_WITH("\"priority\":0"), IRIS_WITH("\"priority\":18446744073709551615"),
                                          IRIS_WITH("\"priority\":4294967296")};
    static const char *const wrong[] = {IRIS_WITH("\"timeout\":-1"), IRIS_WITH("\"timeout\":1.5"),
                                        IRIS_WITH("\"timeout\":18446744073709551616"), IRIS_WITH("\"priority\":-1"),
                                        IRIS_WITH("\"priority\":\"high\"")};
    for (size_t i = 0; i < ARRAY_LEN(as_none); i++)
        expect(IRIS, as_none[i], iris_answer);
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        const struct fake_answer *got = fake_post(IRIS, wrong[i]);
        if (got->status != 400)
            FAIL("%s: %d %s", wrong[i], got->status, got->body);
    }
    fake_free();
}

TEST(v2_timeout_and_cancel)
{
    expect(IRIS,
           "{\"parameters\":{\"timeout\":1000000,\"priority\":1,\"x\":\"y\"},\"inputs\":[{\"name\":\"X\",\"shape\":[1,"
           "4],\"datatype\":\"FP32\",\"data\":[5.5,3.5,1.5,0.25]}]}",
           iris_answer);
    fake_is_late = fake_client_leaves = true;
    const struct fake_answer *a = fake_post(
        IRIS, "{\"inputs\":[{\"name\":\"X\",\"shape\":[1,4],\"datatype\":\"FP32\",\"data\":[5.5,3.5,1.5,0.25]}]}");
    EXPECT(a->status == 499 && a->done_calls == 1);
    fake_free();
}
