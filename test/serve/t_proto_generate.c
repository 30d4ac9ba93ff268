/* Flat objects of inputs, over made-up models. */
#include <string.h>

#include "proto_fake.h"
#include "t.h"

static void expect(const char *path, const char *body, const char *type, const char *answer)
{
    for (int late = 0; late < 2; late++) {
        fake_is_late = late != 0;
        const struct fake_answer *a = fake_post(path, body);
        if (a->status != 200 || strcmp(a->body, answer) != 0)
            FAIL("%s\n gave %d %s\n want %s", body, a->status, a->body, answer);
        EXPECT_CSTR(a->content_type, type);
        EXPECT_EQ(a->done_calls, 1);
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

static const char one_text[] = "{\"model_name\":\"text\",\"model_version\":\"1\",\"s\":\"hi\"}";

TEST(generate_scalars_become_one_row)
{
    const char *path = "/v2/models/text/generate";
    expect(path, "{\"s\":\"hi\"}", "application/json", one_text);
    expect(path, "{\"s\":[\"hi\"],\"stream\":false,\"temperature\":0.5}", "application/json", one_text);
    expect(path, "{\"parameters\":{\"s\":\"hi\",\"max_tokens\":7}}", "application/json", one_text);
    expect(path, "{\"id\":\"q\",\"s\":[\"a\",\"b\"]}", "application/json",
           "{\"id\":\"q\",\"model_name\":\"text\",\"model_version\":\"1\",\"s\":[\"a\",\"b\"]}");
    expect("/v2/models/text/versions/1/generate", "{\"s\":\"hi\"}", "application/json", one_text);
}

TEST(generate_lists_are_a_row_and_outputs_are_flat)
{
    expect("/v2/models/iris/generate", "{\"X\":[5.5,3.5,1.5,0]}", "application/json",
           "{\"model_name\":\"iris\",\"model_version\":\"1\",\"label\":5,\"probabilities\":[5.5,3.5,1.5]}");
    expect("/v2/models/pair/generate", "{\"b\":[[3,4],[5,6]],\"timeout\":1000000,\"priority\":2,\"a\":[[1,2],[3,4]]}",
           "application/json", "{\"model_name\":\"pair\",\"model_version\":\"1\",\"sum\":[4,6,8,10]}");
}

TEST(generate_stream_is_one_event)
{
    expect("/v2/models/text/generate_stream", "{\"s\":\"hi\"}", "text/event-stream; charset=utf-8",
           "data: {\"model_name\":\"text\",\"model_version\":\"1\",\"s\":\"hi\"}\n\n");
    expect("/v2/models/text/versions/1/generate_stream", "{\"s\":\"hi\"}", "text/event-stream; charset=utf-8",
           "data: {\"model_name\":\"text\",\"model_version\":\"1\",\"s\":\"hi\"}\n\n");
}

TEST(generate_errors_are_plain_json)
{
    static const char *const paths[] = {"/v2/models/pair/generate", "/v2/models/pair/generate_stream"};
    for (int i = 0; i < 2; i++) {
        expect_error(paths[i], "{\"a\":[1,2]}", 400, "'b' is missing");
        expect_error(paths[i], "{\"a\":[1,2],\"a\":[1,2]}", 400, "");
        expect_error(paths[i], "{\"a\":[1,2],\"parameters\":{\"a\":[1,2]}}", 400, "already exists");
        expect_error(paths[i], "{\"a\":[[[1,2]]],\"b\":[1,2]}", 400, "nested 3 deep");
        expect_error(paths[i], "{\"a\":[\"x\",2],\"b\":[1,2]}", 400, "a");
        expect_error(paths[i], "{\"a\":[1,2,3],\"b\":[1,2]}", 400, "'a'");
        expect_error(paths[i], "{\"triton_x\":1}", 400, "reserved");
        expect_error(paths[i], "{\"timeout\":-1}", 400, "timeout");
        expect_error(paths[i], "[]", 400, "");
        expect_error(paths[i], "", 400, "");
    }
    expect_error("/v2/models/nobody/generate", "{}", 404, "nobody");
    expect_error("/v2/models/broken/generate", "{}", 503, "broken");
}
