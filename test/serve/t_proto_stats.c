/* Statistics, Triton's metrics, and classification. */
#include <stdio.h>
#include <string.h>

#include "proto_fake.h"
#include "serve/proto_classes.h"
#include "serve/shared.h"
#include "sys/fd.h"
#include "t.h"

static const char iris_body[] =
    "{\"inputs\":[{\"name\":\"X\",\"shape\":[2,4],\"datatype\":\"FP32\",\"data\":[1,3,2,0,9,7,8,0]}]}";

TEST(statistics_count_requests_rows_and_failures)
{
    EXPECT_EQ(fake_post("/v2/models/iris/infer", iris_body)->status, 200);
    EXPECT_EQ(fake_post("/v2/models/iris/infer", iris_body)->status, 200);
    fake_run_fails = "broken";
    EXPECT_EQ(fake_post("/v2/models/iris/infer", iris_body)->status, 502);
    fake_run_fails = NULL;
    const struct fake_answer *a = fake_get("/v2/models/iris/versions/1/stats");
    EXPECT_EQ(a->status, 200);
    EXPECT(strstr(a->body, "{\"model_stats\":[{\"name\":\"iris\",\"version\":\"1\",\"last_inference\":1") == a->body);
    EXPECT(
        strstr(a->body, "\"inference_count\":4,\"execution_count\":0,\"inference_stats\":{\"success\":{\"count\":2,"));
    EXPECT(strstr(a->body, "\"fail\":{\"count\":1,"));
    EXPECT(strstr(a->body, "\"queue\":{\"count\":2,"));
    EXPECT(strstr(a->body, "\"compute_output\":{\"count\":2,"));
    EXPECT(!strstr(a->body, "\"name\":\"pair\""));
    EXPECT(strstr(fake_get("/v2/models/stats")->body, "\"name\":\"pair\""));
    EXPECT_EQ(fake_get("/v2/models/nobody/stats")->status, 404);
    EXPECT_EQ(fake_get("/v2/models/iris/versions/7/stats")->status, 404);
    a = fake_get("/metrics/triton");
    EXPECT(strstr(a->body, "\n# TYPE nv_inference_count counter\n"));
    EXPECT(strstr(a->body, "\nnv_inference_count{model=\"iris\",version=\"1\"} 4\n"));
    EXPECT(strstr(a->body, "\nnv_inference_request_failure{model=\"iris\",version=\"1\",reason=\"BACKEND\"} 1\n"));
    EXPECT(strstr(a->body, "\nnv_inference_request_failure{model=\"iris\",version=\"1\",reason=\"REJECTED\"} 0\n"));
    fake_free();
}

TEST(sizes_of_runs_are_told_apart_in_order)
{
    static struct stats_sum s;
    struct model_shared *m = model_shared_new(LANE_THREADS_MAX);
    for (uint32_t rows = 60; rows > 0; rows--) /* more sizes than are told apart */
        stats_run(m, 0, rows, 100);
    stats_run(m, 3, 60, 50);
    stats_run(m, 3, 1, 50);
    stats_sum(m, &s);
    EXPECT_EQ(s.runs, 62);
    EXPECT_EQ(s.size[0].rows, 1);
    EXPECT_EQ(s.size[0].runs, 1);
    for (int i = 1; i < STATS_SIZES; i++)
        EXPECT(s.size[i].rows > s.size[i - 1].rows);
    (void)model_shared_unref(m);
}

static void expect_classes(const char *params, const char *part)
{
    char body[300];
    (void)snprintf(body, sizeof body,
                   "{\"inputs\":[{\"name\":\"X\",\"shape\":[2,4],\"datatype\":\"FP32\",\"data\":[1,3,2,0,9,7,8,0]}],"
                   "\"outputs\":[{\"name\":\"probabilities\",\"parameters\":{%s}}]}",
                   params);
    const struct fake_answer *a = fake_post("/v2/models/iris/infer", body);
    if (!strstr(a->body, part))
        FAIL("%s gave %s\nwant %s", params, a->body, part);
    fake_free();
}

TEST(classification_gives_the_greatest_in_order)
{
    expect_classes("\"classification\":2",
                   "{\"name\":\"probabilities\",\"datatype\":\"BYTES\",\"shape\":[2,2],\"data\":[\"3.000000:1\","
                   "\"2.000000:2\",\"9.000000:0\",\"8.000000:2\"]}");
    expect_classes("\"classification\":1", "\"shape\":[2,1],\"data\":[\"3.000000:1\",\"9.000000:0\"]");
    expect_classes("\"classification\":1000000",
                   "\"shape\":[2,3],\"data\":[\"3.000000:1\",\"2.000000:2\",\"1.000000:0\",");
    expect_classes("\"classification\":0", "outputs[0].parameters.classification: must be a number of classes");
    expect_classes("\"classification\":1000001", "must be a number of classes");
    expect_classes("\"classification\":\"a\"", "outputs[0].parameters.classification: expected");
    expect_classes("\"classification\":1,\"binary_data\":true",
                   "\"shape\":[2,1],\"parameters\":{\"binary_data_size\":28}}]}");
    const struct fake_answer *a =
        fake_post("/v2/models/text/infer",
                  "{\"inputs\":[{\"name\":\"s\",\"shape\":[1,1],\"datatype\":\"BYTES\",\"data\":[\"a\"]}]"
                  ",\"outputs\":[{\"name\":\"s\",\"parameters\":{\"classification\":1}}]}");
    EXPECT_EQ(a->status, 400);
    EXPECT(strstr(a->body, "class result not available for output 's' due to unsupported type 'BYTES'"));
    fake_free();
}

TEST(classes_of_whole_numbers_and_nan)
{
    static const int8_t small[] = {-3, 127, -128};
    static const uint64_t large[] = {1, UINT64_MAX};
    static const double real[] = {0.0 / 0.0, -1, 2};
    const struct {
        enum dtype type;
        const void *data;
        int64_t n;
        const char *first, *last;
    } cases[] = {{DT_INT8, small, 3, "127:1", "-128:2"},
                 {DT_UINT64, large, 2, "18446744073709551615:1", "1:0"},
                 {DT_FP64, real, 3, "2.000000:2", ":0"}};
    struct arena a;
    struct err err;
    struct model_shared *m = model_shared_new(LANE_THREADS_MAX);
    arena_init(&a, 4096, 1 << 20);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        unsigned char data[64];
        char text[64];
        struct classes c;
        struct infer_tensor t = {.ndim = 1, .dims = {cases[i].n}, .dtype = cases[i].type, .data = data};
        t.bytes = (size_t)cases[i].n * dtype_size(t.dtype);
        memcpy(data, cases[i].data, t.bytes);
        EXPECT_EQ(classes_init(&c, &a, &t, labels_of(m), 9, false, &err), ERR_OK);
        classes_row(&c, 0);
        EXPECT_EQ(c.n, cases[i].n);
        (void)classes_text(&c, 0, text, sizeof text);
        EXPECT_CSTR(text, cases[i].first);
        (void)classes_text(&c, c.n - 1, text, sizeof text);
        EXPECT(strstr(text, cases[i].last));
        t.bytes = (CLASSES_ELEMENTS_MAX + 1) * dtype_size(t.dtype);
        EXPECT_EQ(classes_init(&c, &a, &t, labels_of(m), 1, false, &err), ERR_INVALID);
    }
    arena_done(&a);
    (void)model_shared_unref(m);
}

static void put_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    EXPECT(f != NULL);
    (void)fputs(text, f);
    (void)fclose(f);
}

TEST(labels_lie_beside_the_file_or_in_the_versions_folder)
{
    char path[600];
    const char *dir = t_tmpdir();
    struct model_shared *m = model_shared_new(LANE_THREADS_MAX), *n = model_shared_new(LANE_THREADS_MAX);
    (void)snprintf(path, sizeof path, "%s/1.labels.txt", dir);
    put_file(path, "cat\r\ndog\n\nfox");
    (void)snprintf(m->path, sizeof m->path, "%s/1.onnx", dir);
    EXPECT_STR(labels_get(labels_of(m), 0), "cat");
    EXPECT_STR(labels_get(labels_of(m), 1), "dog");
    EXPECT_STR(labels_get(labels_of(m), 2), "");
    EXPECT_STR(labels_get(labels_of(m), 3), "fox");
    EXPECT_STR(labels_get(labels_of(m), 4), "");
    (void)snprintf(path, sizeof path, "%s/labels.txt", dir);
    put_file(path, "wolf\n");
    (void)snprintf(n->path, sizeof n->path, "%s/12/model.onnx", dir);
    EXPECT_STR(labels_get(labels_of(n), 0), "wolf");
    (void)snprintf(path, sizeof path, "%s/animals.txt", dir);
    put_file(path, "lynx\n");
    struct model_shared *named = model_shared_new(LANE_THREADS_MAX);
    (void)snprintf(named->path, sizeof named->path, "%s/12/model.onnx", dir);
    (void)snprintf(named->labels_file, sizeof named->labels_file, "animals.txt");
    EXPECT_STR(labels_get(labels_of(named), 0), "lynx");
    (void)model_shared_unref(named);
    (void)model_shared_unref(m);
    (void)model_shared_unref(n);
    m = model_shared_new(LANE_THREADS_MAX);
    (void)snprintf(m->path, sizeof m->path, "%s/other.onnx",
                   t_tmpdir()); /* many models may lie here: whose would they be? */
    EXPECT_STR(labels_get(labels_of(m), 0), "");
    (void)model_shared_unref(m);
}
