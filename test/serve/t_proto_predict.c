/* POST /predict over made-up models: what comes out, and every way of asking wrongly. */
#include <stdio.h>
#include <string.h>

#include "proto_fake.h"
#include "t.h"

static void expect(const char *body, int status, const char *answer)
{
    const struct fake_answer *a = fake_post("/predict", body);
    if (a->status != status || strcmp(a->body, answer) != 0)
        FAIL("%s\n gave %d %s\n want %d %s", body, a->status, a->body, status, answer);
    EXPECT_CSTR(a->content_type, "application/json");
    fake_free();
}

static void expect_error(const char *body, int status, const char *text)
{
    char code[32];
    const struct fake_answer *a = fake_post("/predict", body);
    (void)snprintf(code, sizeof code, "{\"code\":%d,", status);
    if (a->status != status || strncmp(a->body, code, strlen(code)) != 0 || !strstr(a->body, text) ||
        !strstr(a->body, "\"request_id\":\"r1\"}"))
        FAIL("%s\n gave %d %s\n want %d %s", body, a->status, a->body, status, text);
    fake_free();
}

TEST(predict_one_row)
{
    expect("{\"modelId\":\"iris\",\"features\":[5.1,3.5,1.4,0.2]}", 200,
           "{\"code\":200,\"message\":\"success\",\"data\":{\"prediction\":5,\"model\":\"iris\",\"version\":\"1\","
           "\"outputs\":{\"label\":[5],"
           "\"probabilities\":[[5.1,3.5,1.4]]}},\"request_id\":\"r1\"}");
    fake_is_late = true;
    expect(" { \"features\" : [ [1e0 ,2,3,4] ] , \"version\":1, \"modelId\":\"iris\" } ", 200,
           "{\"code\":200,\"message\":\"success\",\"data\":{\"prediction\":1,\"model\":\"iris\",\"version\":\"1\","
           "\"outputs\":{\"label\":[1],"
           "\"probabilities\":[[1,2,3]]}},\"request_id\":\"r1\"}");
}

TEST(predict_several_rows)
{
    expect("{\"modelId\":\"iris\",\"version\":\"1\",\"features\":[[1,2,3,4],[5,6,7,8]]}", 200,
           "{\"code\":200,\"message\":\"success\",\"data\":{\"prediction\":[1,5],\"model\":\"iris\",\"version\":\"1\","
           "\"outputs\":{\"label\":[1,5],"
           "\"probabilities\":[[1,2,3],[5,6,7]]}},\"request_id\":\"r1\"}");
}

TEST(predict_inputs_by_name)
{
    expect("{\"modelId\":\"pair\",\"inputs\":{\"b\":[[1,2],[3,4]],\"a\":[[0.5,0.5],[0.25,0.25]]}}", 200,
           "{\"code\":200,\"message\":\"success\",\"data\":{\"prediction\":[[1.5,2.5],[3.25,4.25]],\"model\":\"pair\","
           "\"version\":\"1\",\"outputs\":"
           "{\"sum\":[[1.5,2.5],[3.25,4.25]]}},\"request_id\":\"r1\"}");
    expect("{\"modelId\":\"pair\",\"inputs\":{\"b\":[1,2],\"a\":[0.5,0.5]}}", 200,
           "{\"code\":200,\"message\":\"success\",\"data\":{\"prediction\":[1.5,2.5],\"model\":\"pair\",\"version\":"
           "\"1\",\"outputs\":"
           "{\"sum\":[[1.5,2.5]]}},\"request_id\":\"r1\"}");
}

TEST(predict_strings_and_fixed_shapes)
{
    expect("{\"modelId\":\"text\",\"features\":[[\"a\\n\",\"\"],[\"\\u00e9\",\"d\"]]}", 200,
           "{\"code\":200,\"message\":\"success\",\"data\":{\"prediction\":[[\"a\\n\",\"\"],[\"\xC3\xA9\",\"d\"]],"
           "\"model\":\"text\",\"version\":\"1\","
           "\"outputs\":{\"s\":[[\"a\\n\",\"\"],[\"\xC3\xA9\",\"d\"]]}},\"request_id\":\"r1\"}");
    expect("{\"modelId\":\"fixed\",\"features\":[[1,2,3],[4,5,255]]}", 200,
           "{\"code\":200,\"message\":\"success\",\"data\":{\"prediction\":[[1,2,3],[4,5,255]],\"model\":\"fixed\","
           "\"version\":\"1\",\"outputs\":"
           "{\"y\":[[1,2,3],[4,5,255]]}},\"request_id\":\"r1\"}");
    expect("{\"modelId\":\"fixed\",\"inputs\":{\"scale\":0.5,\"x\":[[1,2,3],[4,5,6]]}}", 200,
           "{\"code\":200,\"message\":\"success\",\"data\":{\"prediction\":[[1,2,3],[4,5,6]],\"model\":\"fixed\","
           "\"version\":\"1\",\"outputs\":"
           "{\"y\":[[1,2,3],[4,5,6]]}},\"request_id\":\"r1\"}");
}

TEST(predict_without_model_id)
{
    expect_error("{\"features\":[1,2,3,4]}", 400,
                 "\\\"modelId\\\" is missing, and several models are served\",\"remedy\":\"add \\\"modelId\\\"; served "
                 "are: broken, fixed, iris, pair, slow, text");
    fake_only_iris = true;
    expect("{\"features\":[2,2,3,4]}", 200,
           "{\"code\":200,\"message\":\"success\",\"data\":{\"prediction\":2,\"model\":\"iris\",\"version\":\"1\","
           "\"outputs\":{\"label\":[2],"
           "\"probabilities\":[[2,2,3]]}},\"request_id\":\"r1\"}");
}

TEST(predict_errors_of_the_body)
{
    expect_error("", 400, "the body is empty");
    expect_error("[]", 400, "expected an object, found '[' at byte 0");
    expect_error("{\"modelId\":\"iris\",\"features\":[1,2,3,4]", 400,
                 "expected ',' or '}', but the text ends at byte 38");
    expect_error("{\"modelId\":\"iris\",\"features\":[1,2,3,4]}x", 400, "expected nothing behind the value, found 'x'");
    expect_error("{\"modelId\":\"iris\",\"feature\":[1,2,3,4]}", 400,
                 "feature: unknown key\",\"remedy\":\"did you mean 'features'?");
    expect_error("{\"modelId\":\"iris\",\"zzz\":1}", 400,
                 "zzz: unknown key\",\"remedy\":\"known keys: modelId, version, features, inputs");
    expect_error("{\"modelId\":\"iris\",\"modelId\":\"iris\"}", 400, "the key \\\"modelId\\\" stands here twice");
    expect_error("{\"modelId\":7,\"features\":[1]}", 400, "modelId: expected a string, found '7'");
    expect_error("{\"modelId\":\"iris\"}", 400, "neither \\\"features\\\" nor \\\"inputs\\\" is given");
    expect_error("{\"modelId\":\"iris\",\"features\":[1],\"inputs\":{}}", 400,
                 "both \\\"features\\\" and \\\"inputs\\\" are given");
    expect_error("{\"modelId\":\"\xFF\",\"features\":[1]}", 400, "modelId: invalid UTF-8 in a string at byte 12");
    expect_error("{\"modelId\":\"nope\",\"features\":[1]}", 404, "unknown model: 'nope'");
    expect_error("{\"modelId\":\"iris\",\"version\":\"9\",\"features\":[1]}", 404, "version 9 is not found");
    expect_error("{\"modelId\":\"broken\",\"features\":[1]}", 503, "file is cut off");
}

TEST(predict_errors_of_the_elements)
{
    expect_error("{\"modelId\":\"iris\",\"features\":[1,2,3]}", 400, "input 'X'");
    expect_error("{\"modelId\":\"iris\",\"features\":[[[1,2,3,4]]]}", 400, "input 'X'");
    expect_error("{\"modelId\":\"iris\",\"features\":[]}", 400, "input 'X'");
    expect_error("{\"modelId\":\"iris\",\"features\":7}", 400, "input 'X'");
    expect_error("{\"modelId\":\"iris\",\"features\":[[1,2,3,4],[1,2,3]]}", 400,
                 "features: ragged nesting: an array of 3 elements, those before it have 4 at byte 46");
    expect_error("{\"modelId\":\"iris\",\"features\":[1,2,3,\"4\"]}", 400,
                 "features: element 3: expected a number, found a string at byte 36");
    expect_error("{\"modelId\":\"iris\",\"features\":[1,2,3,null]}", 400,
                 "features: element 3: expected a number, found null at byte 36");
    expect_error("{\"modelId\":\"iris\",\"features\":[1,2,3,{}]}", 400,
                 "features: element 3: expected a number, found an object");
    expect_error("{\"modelId\":\"iris\",\"features\":[1,2,3,1e99]}", 400,
                 "features: element 3: 1e99 is outside the range of FP32 at byte 36");
    expect_error("{\"modelId\":\"fixed\",\"features\":[[1,2,3],[4,5,300]]}", 400,
                 "features: element 5: 300 is outside the range of UINT8");
    expect_error("{\"modelId\":\"fixed\",\"features\":[[1,2,3],[4,5,6.5]]}", 400,
                 "features: element 5: 6.5 is not a whole number, as UINT8 must be");
    expect_error("{\"modelId\":\"text\",\"features\":[[\"a\",1]]}", 400,
                 "features: [0][1]: expected a string, found '1'");
}

TEST(predict_errors_of_names)
{
    expect_error("{\"modelId\":\"pair\",\"features\":[1,2]}", 400,
                 "\\\"features\\\" is for models of one input; 'pair' has 2\",\"remedy\":\"give \\\"inputs\\\": an "
                 "object from name to nested lists; the names are 'a', 'b'");
    expect_error("{\"modelId\":\"pair\",\"inputs\":{\"a\":[1,2]}}", 400, "input 'b' is missing");
    expect_error("{\"modelId\":\"iris\",\"inputs\":{\"x\":[1,2,3,4]}}", 400,
                 "inputs: x: unexpected inference input 'x', allowed inputs are: 'X'\",\"remedy\":\"did you mean 'X'?");
    expect_error("{\"modelId\":\"pair\",\"inputs\":{\"a\":[1,2],\"b\":[1,2.5]}}", 400,
                 "inputs.b: element 1: 2.5 is not a whole number, as INT32 must be at byte 45");
    expect_error("{\"modelId\":\"pair\",\"inputs\":{\"a\":[1,2],\"a\":[1,2]}}", 400,
                 "the key \\\"a\\\" stands here twice");
    expect_error("{\"modelId\":\"pair\",\"inputs\":[1]}", 400, "inputs: expected an object");
}

TEST(predict_nan_is_refused)
{
    expect_error("{\"modelId\":\"iris\",\"features\":[NaN,-Infinity,1,2]}", 400, "at byte 30");
    expect_error("{\"modelId\":\"iris\",\"features\":[1,-Infinity,1,2]}", 400, "at byte 32");
    expect_error("{\"modelId\":\"fixed\",\"features\":[[1,2,3],[4,5,NaN]]}", 400,
                 "features: element 5: NaN and infinities are not whole numbers");
}

TEST(predict_depth_bomb)
{
    static char body[200000];
    memset(body, '[', sizeof body - 1);
    expect_error(body, 400, "expected an object");
    memcpy(body, "{\"features\":", 12);
    expect_error(body, 400, "features: an array of more than 8 dimensions");
    memcpy(body, "{\"inputs\":[[", 12);
    expect_error(body, 400, "inputs: nested deeper than 100 levels");
}

TEST(predict_run_fails_and_client_leaves)
{
    fake_run_fails = "the backend is unwell";
    expect_error("{\"modelId\":\"iris\",\"features\":[1,2,3,4]}", 502, "the backend is unwell");
    fake_run_fails = NULL;
    fake_is_late = fake_client_leaves = true;
    const struct fake_answer *a = fake_post("/predict", "{\"modelId\":\"iris\",\"features\":[1,2,3,4]}");
    EXPECT(a->status == 499 && a->done_calls == 1 && !a->was_decoded);
    fake_is_late = fake_client_leaves = false;
    a = fake_post("/predict", "{\"modelId\":\"slow\",\"features\":[1,2,3,4]}");
    EXPECT_EQ(a->status, 503);
    EXPECT_CSTR(a->retry_after, "1");
    fake_free();
}
