/* What the protocols say of server and models; samples that must be accepted; the API description. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "proto_fake.h"
#include "serve/known.h"
#include "t.h"

static void expect(const char *path, int status, const char *answer)
{
    const struct fake_answer *a = fake_get(path);
    EXPECT_EQ(a->status, status);
    EXPECT_CSTR(a->body, answer);
    fake_free();
}

static void expect_part(const char *path, int status, const char *part)
{
    const struct fake_answer *a = fake_get(path);
    if (a->status != status || !strstr(a->body, part))
        FAIL("%s gave %d %s\n want %d %s", path, a->status, a->body, status, part);
    fake_free();
}

TEST(v2_health)
{
    expect("/v2/health/live", 200, "{\"live\":true}");
    expect_part("/v2/health/ready", 200,
                "{\"ready\":true,\"models\":[{\"name\":\"broken\",\"version\":\"1\",\"state\":\"UNAVAILABLE\","
                "\"reason\":\"file is cut off\"}");
    fake_is_settled = false;
    expect_part("/v2/health/ready", 400, "{\"ready\":false,");
    expect_part("/v2", 200, "{\"name\":\"quern\",\"version\":\"");
}

TEST(v2_model_metadata_and_config)
{
    expect("/v2/models/iris", 200,
           "{\"name\":\"iris\",\"versions\":[\"1\"],\"platform\":\"fake\",\"inputs\":[{\"name\":\"X\",\"datatype\":"
           "\"FP32\",\"shape\":[-1,4]}],"
           "\"outputs\":[{\"name\":\"label\",\"datatype\":\"INT64\",\"shape\":[-1]},{\"name\":\"probabilities\","
           "\"datatype\":\"FP32\",\"shape\":[-1,3]}]}");
    expect_part("/v2/models/iris/versions/1", 200, "{\"name\":\"iris\",");
    expect_part("/v2/models/iris/config", 200,
                "\"max_batch_size\":8,\"input\":[{\"name\":\"X\",\"data_type\":\"TYPE_FP32\",\"dims\":[4],\"format\":"
                "\"FORMAT_NONE\",\"optional\":false}],"
                "\"output\":[{\"name\":\"label\",\"data_type\":\"TYPE_INT64\",\"dims\":[]}");
    expect_part("/v2/models/fixed/config", 200,
                "\"max_batch_size\":0,\"input\":[{\"name\":\"x\",\"data_type\":\"TYPE_UINT8\",\"dims\":[2,3]");
    expect_part("/v2/models/text/config", 200, "\"data_type\":\"TYPE_STRING\"");
    expect_part("/v2/models/nope", 404, "Request for unknown model: 'nope' is not found");
    expect_part("/v2/models/broken", 503, "file is cut off");
    expect_part("/v2/models/iris/versions/x", 404, "no version 'x'");
}

TEST(v2_model_ready)
{
    expect_part("/v2/models/iris/ready", 200, "true");
    expect_part("/v2/models/iris/versions/1/ready", 200, "true");
    expect_part("/v2/models/broken/ready", 400, "Model version not ready");
    expect_part("/v2/models/nope/ready", 404, "unknown model");
}

TEST(v2_repository_index)
{
    EXPECT(strstr(fake_post("/v2/repository/index", "")->body,
                  "{\"name\":\"slow\",\"version\":\"1\",\"state\":\"LOADING\",\"reason\":\"\"}"));
    EXPECT(strstr(fake_post("/v2/repository/index", "{}")->body, "broken"));
    EXPECT(!strstr(fake_post("/v2/repository/index", "{\"ready\":true}")->body, "broken"));
    EXPECT_EQ(fake_post("/v2/repository/index", "{\"ready\":1}")->status, 400);
    EXPECT_EQ(fake_post("/v2/repository/index", "[")->status, 400);
    fake_free();
}

static void know(const char *json)
{
    struct buf text;
    buf_init(&text, 1000);
    buf_c(&text, json);
    buf_pad(&text);
    known_take(buf_view(&text));
    buf_done(&text);
}

TEST(v2_repository_index_names_what_is_not_loaded)
{
    know("{\"first\":true,\"names\":[\"iris\",\"away\"],\"last\":false}");
    EXPECT(!strstr(fake_post("/v2/repository/index", "")->body, "away")); /* not before the list is whole */
    know("{\"first\":false,\"names\":[\"b\\\"d\"],\"last\":true}");
    const char *all = fake_post("/v2/repository/index", "")->body;
    EXPECT(strstr(all, ",{\"name\":\"away\"},{\"name\":\"b\\\"d\"}]"));
    EXPECT(!strstr(all, "{\"name\":\"iris\"}")); /* it is served */
    EXPECT(!strstr(fake_post("/v2/repository/index", "{\"ready\":true}")->body, "away"));
    know("{\"first\":true,\"names\":[],\"last\":true}");
    EXPECT(!strstr(fake_post("/v2/repository/index", "")->body, "away"));
    fake_free();
}

/* Takes the sample of a model apart and sends what is in it. */
static void send_sample(const char *model)
{
    char path[80], copy[1 << 16];
    (void)snprintf(path, sizeof path, "/v2/models/%s/sample", model);
    const struct fake_answer *a = fake_get(path);
    EXPECT(a->status == 200 && a->body_len + BUF_PAD < sizeof copy);
    memcpy(copy, a->body, a->body_len + BUF_PAD);
    struct json_reader r;
    struct str key, raw;
    json_init(&r, (struct str){copy, a->body_len}, JSON_DEPTH_MAX);
    EXPECT(json_object(&r));
    int sent = 0;
    while (json_key(&r, &key) && json_skip(&r, &raw)) {
        (void)snprintf(path, sizeof path, str_eq_c(key, "predict") ? "/predict" : "/v2/models/%s/infer", model);
        if (str_eq_c(key, "curl"))
            continue;
        a = fake_run(&(struct fake_request){HTTP_POST_, path, NULL, raw});
        if (a->status != 200)
            FAIL("%.*s\n gave %s", STR_F(raw), a->body);
        sent++;
    }
    EXPECT_EQ(sent, 2);
    EXPECT_EQ(json_end(&r), ERR_OK);
}

TEST(samples_are_accepted)
{
    send_sample("iris");
    send_sample("pair");
    send_sample("text");
    send_sample("fixed");
    expect_part("/v2/models/iris/sample", 200, "{\"predict\":{\"modelId\":\"iris\",\"features\":[0.1,0.8,0.5,0.2]},");
    expect_part("/v2/models/iris/sample", 200,
                "\"curl\":\"curl -s http://localhost:8000/predict -d "
                "'{\\\"modelId\\\":\\\"iris\\\",\\\"features\\\":[0.1,0.8,0.5,0.2]}'\"");
    expect_part("/v2/models/broken/sample", 503, "file is cut off");
}

/* With "a" the dashboard's form, the API description and the curl line of each picture model would begin with an error. */
TEST(samples_of_pictures_are_pictures)
{
    fake_has_pictures = true;
    send_sample("text");
    expect_part("/v2/models/text/sample", 200, "\"data\":[{\"b64\":\"iVBORw0KGgo");
    expect_part("/v2/models/text/sample", 200, "\"curl\":\"curl -s http://localhost:8000/predict -d '{");
}

TEST(v2_metadata_tells_what_raw_values_mean)
{
    fake_scale = 0.25F;
    expect_part(
        "/v2/models/fixed", 200,
        "{\"name\":\"x\",\"datatype\":\"UINT8\",\"shape\":[2,3],\"parameters\":{\"scale\":0.25,\"zero_point\":7}}");
    fake_scale = INFINITY; /* a worker may write anything */
    expect_part("/v2/models/fixed", 200, "{\"name\":\"x\",\"datatype\":\"UINT8\",\"shape\":[2,3]}");
}

TEST(openapi_is_well_formed_and_names_the_models)
{
    const struct fake_answer *a = fake_get("/openapi.json");
    EXPECT_EQ(a->status, 200);
    struct json_reader r;
    json_init(&r, (struct str){a->body, a->body_len}, JSON_DEPTH_MAX);
    EXPECT(json_skip(&r, NULL));
    EXPECT_EQ(json_end(&r), ERR_OK);
    EXPECT(strstr(a->body, "{\"openapi\":\"3.1.0\""));
    EXPECT(strstr(a->body, "\"modelId\":{\"const\":\"iris\"}"));
    EXPECT(!strstr(a->body, "\"const\":\"broken\""));
    EXPECT(strstr(a->body, "\"examples\":{\"fixed\":{\"value\":{\"modelId\":\"fixed\""));
    EXPECT(strstr(a->body, "\"/v2/models/{model}/infer\":{\"post\""));
    fake_free();
}
