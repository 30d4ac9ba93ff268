#include "t.h"

#include <string.h>

#include "model/repo/pbtxt_json.h"
#include "model/repo/triton.h"

static enum err_code convert(const char *json, struct buf *out, struct err *err)
{
    struct buf in;
    buf_init(&in, 1 << 20);
    buf_init(out, 1 << 20);
    buf_c(&in, json);
    buf_pad(&in);
    enum err_code code = pbtxt_from_json(buf_view(&in), out, err);
    buf_done(&in);
    return code;
}

/* Through the reader of config.pbtxt. */
static void read_back(struct arena *a, const char *json, struct triton_config *c)
{
    struct buf out;
    struct err err = {0};
    if (convert(json, &out, &err))
        FAIL("%s", err.text);
    struct str text = arena_str_dup(a, buf_view(&out));
    buf_done(&out);
    if (triton_parse("x", text, a, c, &err))
        FAIL("%s in:\n%.*s", err.text, STR_F(text));
}

TEST(pbtxt_json_numbers_as_texts_and_names_in_camel_case)
{
    struct arena a;
    struct triton_config c = {0};
    arena_init(&a, 4096, 1 << 22);
    read_back(
        &a,
        "{\"name\": \"12\", \"platform\": \"onnxruntime_onnx\", \"maxBatchSize\": \"16\", \"input\": [{\"name\": "
        "\"x\", "
        "\"dataType\": \"TYPE_FP32\", \"dims\": [\"-1\", 4]}, {\"name\": \"y\", \"data_type\": \"TYPE_INT64\", "
        "\"dims\": []}], \"instanceGroup\": [{\"count\": \"3\", \"kind\": \"KIND_CPU\"}], \"versionPolicy\": "
        "{\"specific\": {\"versions\": [\"1\", 7]}}, \"dynamic_batching\": {\"preferred_batch_size\": [4, \"8\"], "
        "\"maxQueueDelayMicroseconds\": \"100\", \"preserveOrdering\": true}, \"label\": null}",
        &c);
    EXPECT_CSTR(c.name, "12");
    EXPECT_CSTR(c.backend, "onnx");
    EXPECT_EQ(c.max_batch_size, 16);
    EXPECT_EQ(c.inputs_len, 2);
    EXPECT_EQ(c.inputs[0].datatype, DT_FP32);
    EXPECT(c.inputs[0].dims_len == 2 && c.inputs[0].dims[0] == -1 && c.inputs[0].dims[1] == 4);
    EXPECT_EQ(c.inputs[1].dims_len, 0);
    EXPECT_EQ(c.instances, 3);
    EXPECT(c.has_policy && c.policy == TRITON_SPECIFIC && c.versions_len == 2 && c.versions[1] == 7);
    EXPECT(c.has_dynamic_batching && c.preserve_ordering && c.max_queue_delay_us == 100);
    EXPECT(c.preferred_len == 2 && c.preferred[1] == 8);
    arena_done(&a);
}

TEST(pbtxt_json_maps_and_texts_that_need_quotes)
{
    struct arena a;
    struct triton_config c = {0};
    arena_init(&a, 4096, 1 << 22);
    read_back(&a,
              "{\"parameters\": {\"a \\\"b\\\"\": {\"string_value\": \"4\"}, \"c\\\\\": {\"stringValue\": \"x\\ny\"}}, "
              "\"ensemble_scheduling\": {\"step\": [{\"model_name\": \"m\", \"model_version\": \"-1\", \"input_map\": "
              "{\"in\": \"t\"}, \"outputMap\": {\"out\": \"7\"}}]}}",
              &c);
    EXPECT_EQ(c.parameters_len, 2);
    EXPECT_CSTR(c.parameters[0].key, "a \"b\"");
    EXPECT_CSTR(c.parameters[0].value, "4");
    EXPECT_CSTR(c.parameters[1].key, "c\\");
    EXPECT_CSTR(c.parameters[1].value, "x\ny");
    EXPECT_EQ(c.steps_len, 1);
    EXPECT(c.steps[0].version == -1 && c.steps[0].inputs_len == 1 && c.steps[0].outputs_len == 1);
    EXPECT_CSTR(c.steps[0].inputs[0].key, "in");
    EXPECT_CSTR(c.steps[0].outputs[0].value, "7");
    arena_done(&a);
}

TEST(pbtxt_json_cannot_forge_fields)
{
    struct buf out;
    struct err err = {0};
    EXPECT_EQ(convert("{\"data_type\": \"X\\nmax_batch_size: 7\"}", &out, &err), ERR_OK);
    EXPECT_STR(buf_view(&out), "data_type: \"X\\012max_batch_size: 7\"\n");
    buf_done(&out);
    EXPECT_EQ(convert("{\"platform: 1 max_batch_size\": 7}", &out, &err), ERR_INVALID);
    buf_done(&out);
}

TEST(pbtxt_json_what_is_refused)
{
    static const char *const bad[] = {"",
                                      "[]",
                                      "7",
                                      "{",
                                      "{\"a\"}",
                                      "{\"a\":[[1]]}",
                                      "{\"\":1}",
                                      "{\"a b\":1}",
                                      "{\"parameters\":{\"a\":[1]}}",
                                      "{} x",
                                      "{\"a\":1,\"a\":2}"};
    char deep[40 * 5 + 1];
    for (int i = 0; i < 40; i++)
        memcpy(deep + (ptrdiff_t)i * 5, "{\"a\":", 6);
    for (size_t i = 0; i <= sizeof bad / sizeof bad[0]; i++) {
        struct buf out;
        struct err err = {0};
        const char *json = i < sizeof bad / sizeof bad[0] ? bad[i] : deep;
        if (convert(json, &out, &err) == ERR_OK || !err.text[0])
            FAIL("taken: %s", json);
        buf_done(&out);
    }
}
