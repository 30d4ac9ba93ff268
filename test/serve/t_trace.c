#include "t.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/log.h"
#include "serve/proto_int.h"
#include "serve/trace.h"
#include "serve/trace_file.h"

static void change(const char *model, const char *json)
{
    struct trace_change c;
    struct arena a;
    struct buf b;
    struct err err;
    arena_init(&a, 1024, 1 << 16);
    buf_init(&b, 4096);
    buf_c(&b, json);
    buf_pad(&b);
    EXPECT_EQ(proto_v2_trace_read(buf_view(&b), &a, &c, &err), ERR_OK);
    EXPECT_EQ(trace_change(model, &c, &err), ERR_OK);
    buf_done(&b);
    arena_done(&a);
}

/* How many of n requests to a model are traced. */
static int traced(const char *model, int n)
{
    int got = 0;
    for (int i = 0; i < n; i++) {
        struct trace *t = trace_begin(model, "1");
        got += t != NULL;
        trace_end(t);
    }
    return got;
}

TEST(trace_is_off_until_asked_for)
{
    EXPECT_EQ(traced("m", 3000), 0);
    struct trace_settings s = trace_settings_of("m");
    EXPECT(s.level == 0 && s.rate == 1000 && s.count == -1 && s.frequency == 0);
}

TEST(trace_rate_and_count)
{
    change(NULL, "{\"trace_level\":[\"TIMESTAMPS\"]}");
    EXPECT_EQ(traced("m", 3000), 3);
    change(NULL, "{\"trace_rate\":\"3\",\"trace_count\":\"5\"}");
    EXPECT_EQ(traced("m", 9), 3);
    EXPECT_EQ(trace_settings_of(NULL).count, 2);
    EXPECT_EQ(traced("other", 100), 2); /* all models share what holds for all */
    EXPECT_EQ(trace_settings_of("m").count, 0);
    change(NULL, "{\"trace_count\":null,\"trace_rate\":1}");
    EXPECT_EQ(traced("m", 10), 10);
    change(NULL, "{\"trace_level\":\"OFF\"}");
    EXPECT_EQ(traced("m", 10), 0);
}

TEST(trace_settings_of_a_model_stand_over_those_of_all)
{
    change("m", "{\"trace_level\":[\"TENSORS\"],\"trace_rate\":\"2\"}");
    EXPECT_EQ(traced("m", 10), 5);
    EXPECT_EQ(traced("n", 10), 0);
    change(NULL, "{\"trace_rate\":\"5\",\"log_frequency\":7,\"trace_level\":[\"TIMESTAMPS\",\"TENSORS\"]}");
    struct trace_settings s = trace_settings_of("m");
    EXPECT(s.level == TRACE_TENSORS && s.rate == 2 && s.frequency == 7);
    s = trace_settings_of("n");
    EXPECT(s.level == (TRACE_TENSORS | TRACE_TIMESTAMPS) && s.rate == 5);
    change("m", "{\"trace_count\":\"1\"}");
    EXPECT_EQ(traced("m", 10), 1);
    EXPECT_EQ(traced("n", 10), 2); /* its count is another */
    change("m", "{\"trace_level\":null,\"trace_rate\":null,\"trace_count\":null}");
    s = trace_settings_of("m");
    EXPECT(s.level == (TRACE_TENSORS | TRACE_TIMESTAMPS) && s.rate == 5 && s.count == -1);
}

TEST(trace_settings_that_are_refused)
{
    static const struct {
        const char *json;
        enum err_code code;
        const char *text;
    } bad[] = {
        {"{\"trace_file\":\"/tmp/x\"}", ERR_UNSUPPORTED, "network protocol"},
        {"{\"trace_file\":null}", ERR_UNSUPPORTED, "network protocol"},
        {"{\"trace_level\":[\"ALL\"]}", ERR_INVALID, "'TIMESTAMPS' or 'TENSORS'"},
        {"{\"trace_level\":[7]}", ERR_INVALID, "string"},
        {"{\"trace_level\":{}}", ERR_INVALID, "array"},
        {"{\"trace_rate\":\"0\"}", ERR_INVALID, "at least 1"},
        {"{\"trace_rate\":\"1x\"}", ERR_INVALID, "got: '1x'"},
        {"{\"trace_rate\":1.5}", ERR_INVALID, ""},
        {"{\"trace_count\":\"-2\"}", ERR_INVALID, "at least -1"},
        {"{\"trace_count\":\"99999999999999999999\"}", ERR_INVALID, "got:"},
        {"{\"log_frequency\":-1}", ERR_INVALID, "at least 0"},
        {"{\"trace_mode\":\"opentelemetry\"}", ERR_UNSUPPORTED, "only 'triton'"},
        {"{\"rate\":1}", ERR_INVALID, "unknown trace setting"},
        {"[]", ERR_INVALID, "object"},
        {"{\"trace_rate\":\"1\"", ERR_INVALID, ""},
        {"", ERR_INVALID, ""},
    };
    struct arena a;
    arena_init(&a, 1024, 1 << 16);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct trace_change c;
        struct buf b;
        struct err err = {0};
        buf_init(&b, 4096);
        buf_c(&b, bad[i].json);
        buf_pad(&b);
        if (proto_v2_trace_read(buf_view(&b), &a, &c, &err) != bad[i].code || !strstr(err.text, bad[i].text))
            FAIL("%s: %s", bad[i].json, err.text);
        buf_done(&b);
    }
    arena_done(&a);
}

/* ---- files ---- */

static char files[64][64];

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

static int list(const char *data)
{
    char path[600];
    int n = 0;
    (void)snprintf(path, sizeof path, "%s/traces", data);
    DIR *d = opendir(path);
    for (struct dirent *e; d && (e = readdir(d)) != NULL;)
        if (e->d_name[0] != '.' && n < 64)
            (void)snprintf(files[n++], sizeof files[0], "%.60s", e->d_name);
    if (d)
        (void)closedir(d);
    qsort(files, (size_t)n, sizeof files[0], by_name);
    return n;
}

/* The text of a file, checked to be a JSON array; its items are counted. */
static struct str content(const char *data, const char *name, int *items)
{
    static char text[1 << 16];
    char path[700];
    struct json_reader r;
    (void)snprintf(path, sizeof path, "%s/traces/%s", data, name);
    FILE *f = fopen(path, "r");
    EXPECT(f);
    memset(text, 0, sizeof text);
    size_t n = fread(text, 1, sizeof text - 64, f);
    (void)fclose(f);
    struct str s = {text, n};
    json_init(&r, s, 10);
    json_array(&r);
    for (*items = 0; json_item(&r); ++*items)
        json_skip(&r, NULL);
    EXPECT_EQ(json_end(&r), ERR_OK);
    return s;
}

static void one(const char *id, float v)
{
    const int64_t dims[] = {1, 2};
    const float data[] = {v, 0.5f};
    struct trace *t = trace_begin("m", "3");
    EXPECT(t);
    EXPECT(trace_wants_tensors(t));
    trace_tensor(
        t, &(struct trace_tensor){
               .activity = "TENSOR_QUEUE_INPUT", .name = "x", .dtype = DT_FP32, .dims = dims, .ndim = 2, .data = data});
    trace_request_id(t, str_c(id));
    trace_time(t, "REQUEST_START", 5);
    trace_time(t, "QUEUE_START", 0); /* did not happen */
    trace_time(t, "REQUEST_END", 9);
    trace_end(t);
}

TEST(trace_files_are_whole_after_each_trace)
{
    const char *data = t_tmpdir();
    int items;
    trace_file_open(data);
    change(NULL, "{\"trace_level\":[\"TIMESTAMPS\",\"TENSORS\"],\"trace_rate\":1}");
    one("a\"b", 1);
    trace_file_drain(5000000000);
    EXPECT_EQ(list(data), 1);
    EXPECT_STR(
        content(data, files[0], &items),
        "[\n{\"id\":1,\"model_name\":\"m\",\"model_version\":3,\"request_id\":\"a\\\"b\"},\n"
        "{\"id\":1,\"timestamps\":[{\"name\":\"REQUEST_START\",\"ns\":5},{\"name\":\"REQUEST_END\",\"ns\":9}]},\n"
        "{\"id\":1,\"activity\":\"TENSOR_QUEUE_INPUT\",\"tensor\":{\"name\":\"x\",\"data\":\"1,0.5\","
        "\"shape\":\"1,2\",\"dtype\":\"FP32\"}}\n]\n");
    one("c", 2);
    trace_file_drain(5000000000);
    EXPECT_EQ(list(data), 1);
    (void)content(data, files[0], &items);
    EXPECT_EQ(items, 6);
    char name[100];
    trace_file_name(name, sizeof name);
    EXPECT(strncmp(name, "traces/", 7) == 0 && strcmp(name + 7, files[0]) == 0);
}

TEST(trace_files_by_frequency_and_the_oldest_go)
{
    const char *data = t_tmpdir();
    int items;
    trace_file_open(data);
    change(NULL, "{\"trace_level\":[\"TIMESTAMPS\",\"TENSORS\"],\"trace_rate\":1,\"log_frequency\":2}");
    for (int i = 0; i < 5; i++)
        one("i", 1);
    trace_file_drain(5000000000);
    EXPECT_EQ(list(data), 3);
    for (int i = 0; i < 3; i++) {
        (void)content(data, files[i], &items);
        EXPECT_EQ(items, i < 2 ? 6 : 3);
    }
    char first[64];
    (void)str_copy(first, sizeof first, str_c(files[0]));
    for (int i = 0; i < 2 * TRACE_FILES_MAX; i++)
        one("i", 1);
    trace_file_drain(5000000000);
    EXPECT_EQ(list(data), TRACE_FILES_MAX);
    EXPECT(strcmp(first, files[0]) < 0);
}

TEST(trace_of_a_large_tensor_is_cut_and_says_so)
{
    static float data[3 * TRACE_ELEMENTS_MAX];
    const int64_t dims[] = {3 * TRACE_ELEMENTS_MAX};
    int items;
    const char *folder = t_tmpdir();
    trace_file_open(folder);
    change(NULL, "{\"trace_level\":[\"TENSORS\"],\"trace_rate\":1}");
    struct trace *t = trace_begin("m", "1");
    for (int i = 0; i < 2; i++)
        trace_tensor(t, &(struct trace_tensor){
                            .activity = "A", .name = "x", .dtype = DT_FP32, .dims = dims, .ndim = 1, .data = data});
    trace_end(t);
    trace_file_drain(5000000000);
    EXPECT_EQ(list(folder), 1);
    struct str s = content(folder, files[0], &items);
    EXPECT_EQ(items, 3);
    EXPECT(str_contains(s, STR("\"shape\":\"1024\",\"dtype\":\"FP32\",\"left_out\":2048,\"full_shape\":\"3072\"")));
}

TEST(trace_members_come_with_their_ensemble)
{
    int items;
    const char *data = t_tmpdir();
    trace_file_open(data);
    change(NULL, "{\"trace_level\":[\"TIMESTAMPS\"],\"trace_rate\":1}");
    struct trace *t = trace_begin("whole", "1"), *step = trace_begin_child(t, "step", "2");
    trace_time(step, "COMPUTE_START", 7);
    trace_end(t);
    EXPECT(!trace_begin_child(NULL, "step", "2"));
    trace_file_drain(5000000000);
    EXPECT_EQ(list(data), 1);
    EXPECT_STR(content(data, files[0], &items),
               "[\n{\"id\":1,\"model_name\":\"whole\",\"model_version\":1},\n"
               "{\"id\":2,\"model_name\":\"step\",\"model_version\":2,\"parent_id\":1},\n"
               "{\"id\":2,\"timestamps\":[{\"name\":\"COMPUTE_START\",\"ns\":7}]}\n]\n");
}

TEST(trace_does_without_a_folder)
{
    char path[600];
    const char *data = t_tmpdir();
    (void)snprintf(path, sizeof path, "%s/traces", data);
    FILE *f = fopen(path, "w"); /* in the way */
    EXPECT(f);
    (void)fclose(f);
    log_init("test", LOG_LEVEL_OFF, LOG_PEOPLE, 2);
    trace_file_open(data);
    change(NULL, "{\"trace_level\":[\"TENSORS\"],\"trace_rate\":1}");
    one("a", 1);
    one("b", 1);
    trace_file_drain(5000000000);
    EXPECT_EQ(unlink(path), 0);
    one("c", 1); /* it tries again */
    trace_file_drain(5000000000);
    EXPECT_EQ(list(data), 1);
}

TEST(trace_limit_of_those_open_at_a_time)
{
    struct trace *open[TRACE_OPEN_MAX];
    change(NULL, "{\"trace_level\":[\"TIMESTAMPS\"],\"trace_rate\":1}");
    for (int i = 0; i < TRACE_OPEN_MAX; i++) {
        open[i] = trace_begin("m", "1");
        EXPECT(open[i]);
    }
    EXPECT(!trace_begin("m", "1"));
    trace_end(open[0]);
    open[0] = trace_begin("m", "1");
    EXPECT(open[0]);
    for (int i = 0; i < TRACE_OPEN_MAX; i++)
        trace_end(open[i]);
}
