/* The cache of answers behind the protocols: which requests share an entry, whatever their form, and that an answer never changes because of it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto_fake.h"
#include "serve/cache.h"
#include "t.h"

#define IRIS   "/v2/models/iris/infer"
#define TEXT   "/v2/models/text/infer"
#define BUDGET ((size_t)1 << 20)

static const struct fake_answer *binary(const char *path, const char *json, const void *bytes, size_t n)
{
    static char body[4096], length[24];
    size_t at = strlen(json);
    memcpy(body, json, at);
    memcpy(body + at, bytes, n);
    (void)snprintf(length, sizeof length, "%zu", at);
    struct fake_request r = {HTTP_POST_, path, length, {body, at + n}};
    return fake_run(&r);
}

static void expect(const struct fake_answer *a, bool is_hit, const char *part)
{
    if (a->status != 200)
        FAIL("%d %s", a->status, a->body);
    EXPECT_CSTR(a->cache, is_hit ? "hit" : "");
    EXPECT_EQ(a->was_decoded, !is_hit);
    if (!str_contains((struct str){a->body, a->body_len}, str_c(part)))
        FAIL("no %s in %s", part, a->body);
}

TEST(all_forms_of_a_request_share_an_entry_and_each_gets_its_own_answer)
{
    static const float x[4] = {5, 1.5F, 2, 3};
    fake_cache_bytes = BUDGET;
    expect(fake_post(IRIS,
                     "{\"inputs\": [{\"name\": \"X\", \"shape\": [1, 4], \"datatype\": \"FP32\", \"data\": [5, 1.5, 2, "
                     "3]}]}"),
           false, "\"label\",\"datatype\":\"INT64\",\"shape\":[1],\"data\":[5]");
    expect(fake_post(
               IRIS,
               "{\"id\": \"mine\", \"outputs\": [{\"name\": \"probabilities\"}], \"inputs\": [{\"data\": [[5.0, 15e-1, "
               "2, 3]], \"datatype\": \"FP32\", \"shape\": [1, 4], \"name\": \"X\"}]}"),
           true,
           "{\"id\":\"mine\",\"model_name\":\"iris\",\"model_version\":\"1\",\"outputs\":[{\"name\":\"probabilities\"");
    expect(fake_post("/predict", "{\"modelId\": \"iris\", \"features\": [5, 1.5, 2, 3]}"), true, "\"prediction\":5");
    expect(fake_post("/predict", "{\"modelId\": \"iris\", \"inputs\": {\"X\": [[5, 1.5, 2, 3]]}}"), true,
           "\"prediction\":5");
    expect(fake_post("/v2/models/iris/generate", "{\"X\": [5, 1.5, 2, 3]}"), true, "\"label\":5");
    const struct fake_answer *a =
        binary(IRIS,
               "{\"inputs\": [{\"name\": \"X\", \"shape\": [1, 4], \"datatype\": \"FP32\", \"parameters\": "
               "{\"binary_data_size\": "
               "16}}], \"outputs\": [{\"name\": \"probabilities\", \"parameters\": {\"binary_data\": true}}]}",
               x, sizeof x);
    expect(a, true, "\"binary_data_size\":12");
    EXPECT_CSTR(a->content_type, "application/octet-stream");
    uint64_t json_bytes = 0;
    EXPECT(str_to_u64(str_c(a->infer_header), &json_bytes));
    EXPECT_EQ(json_bytes + 12, a->body_len);
    EXPECT(memcmp(a->body + a->body_len - 12, x, 12) == 0);
    struct fake_request raw = {HTTP_POST_, IRIS, "0", {(const char *)x, sizeof x}};
    expect(fake_run(&raw), true, "\"binary_data_size\":8");
    expect(fake_post(
               IRIS,
               "{\"inputs\": [{\"name\": \"X\", \"shape\": [1, 4], \"datatype\": \"FP32\", \"data\": [5, 1.5, 2, 3]}], "
               "\"outputs\": [{\"name\": \"probabilities\", \"parameters\": {\"classification\": 1}}]}"),
           true, "\"5.000000:0\"");
    expect(fake_post("/predict", "{\"modelId\": \"iris\", \"features\": [5, 1.5, 2, 4]}"), false, "\"prediction\":5");
}

TEST(texts_share_an_entry_by_content_and_not_by_their_bytes_in_a_row)
{
    static const char framed[] = "\2\0\0\0ab\1\0\0\0c";
    fake_cache_bytes = BUDGET;
    expect(fake_post("/predict", "{\"modelId\": \"text\", \"inputs\": {\"s\": [[\"ab\", \"c\"]]}}"), false,
           "[\"ab\",\"c\"]");
    expect(fake_post(TEXT,
                     "{\"inputs\": [{\"name\": \"s\", \"shape\": [1, 2], \"datatype\": \"BYTES\", \"data\": [{\"b64\": "
                     "\"YWI=\"}, \"\\u0063\"]}]}"),
           true, "\"data\":[\"ab\",\"c\"]");
    expect(binary(TEXT,
                  "{\"inputs\": [{\"name\": \"s\", \"shape\": [1, 2], \"datatype\": \"BYTES\", \"parameters\": "
                  "{\"binary_data_size\": 11}}]}",
                  framed, sizeof framed - 1),
           true, "\"data\":[\"ab\",\"c\"]");
    const struct fake_answer *a =
        binary(TEXT,
               "{\"inputs\": [{\"name\": \"s\", \"shape\": [1, 2], \"datatype\": \"BYTES\", \"parameters\": "
               "{\"binary_data_size\": 11}}], \"parameters\": {\"binary_data_output\": true}}",
               framed, sizeof framed - 1);
    expect(a, true, "\"binary_data_size\":11");
    EXPECT(memcmp(a->body + a->body_len - 11, framed, 11) == 0);
    expect(fake_post("/predict", "{\"modelId\": \"text\", \"inputs\": {\"s\": [[\"a\", \"bc\"]]}}"), false,
           "[\"a\",\"bc\"]");
    expect(fake_post("/predict", "{\"modelId\": \"text\", \"inputs\": {\"s\": [[\"ab\"], [\"c\"]]}}"), false,
           "[\"ab\"],[\"c\"]");
    expect(fake_post("/predict", "{\"modelId\": \"text\", \"inputs\": {\"s\": [[\"\", \"\"]]}}"), false, "[\"\",\"\"]");
    expect(fake_post("/predict", "{\"modelId\": \"text\", \"inputs\": {\"s\": [[\"\", \"\"]]}}"), true, "[\"\",\"\"]");
}

TEST(numbers_are_compared_by_their_bytes)
{
    static const uint32_t inputs[][4] = {{0, 0, 0, 0},          {0x80000000, 0, 0, 0}, /* -0 */
                                         {0x7FC00000, 0, 0, 0},                        /* NaN */
                                         {0x7FC00001, 0, 0, 0},                        /* another */
                                         {0x00000001, 0, 0, 0},                        /* subnormal */
                                         {0, 0, 0, 0x7FC00000}};
    fake_cache_bytes = BUDGET;
    for (int turn = 0; turn < 2; turn++)
        for (size_t i = 0; i < ARRAY_LEN(inputs); i++) {
            struct fake_request raw = {HTTP_POST_, IRIS, "0", {(const char *)inputs[i], sizeof inputs[i]}};
            const struct fake_answer *a = fake_run(&raw);
            EXPECT_CSTR(a->cache, turn == 0 ? "" : "hit");
            EXPECT(memcmp(a->body + a->body_len - 12, inputs[i], 12) == 0);
        }
}

TEST(an_input_that_is_left_out_is_another_input)
{
    fake_cache_bytes = BUDGET;
    static const char *const with =
        "{\"modelId\": \"fixed\", \"inputs\": {\"x\": [[1, 2, 3], [4, 5, 6]], \"scale\": 0}}";
    static const char *const without = "{\"modelId\": \"fixed\", \"features\": [[1, 2, 3], [4, 5, 6]]}";
    expect(fake_post("/predict", with), false, "[[1,2,3],[4,5,6]]");
    expect(fake_post("/predict", without), false, "[[1,2,3],[4,5,6]]");
    expect(fake_post("/predict", with), true, "[[1,2,3],[4,5,6]]");
    expect(fake_post("/predict", without), true, "[[1,2,3],[4,5,6]]");
}

TEST(errors_are_not_kept)
{
    static const char *const good = "{\"modelId\": \"iris\", \"features\": [1, 2, 3, 4]}";
    static const char *const bad[] = {"{\"modelId\": \"iris\", \"features\": [1, 2, 3, \"x\"]}",
                                      "{\"modelId\": \"iris\", \"features\": [1, 2, 3]}",
                                      "{\"modelId\": \"text\", \"inputs\": {\"s\": [[\"a\", 1]]}}"};
    fake_cache_bytes = BUDGET;
    fake_run_fails = "out of luck";
    for (int i = 0; i < 2; i++)
        EXPECT_EQ(fake_post("/predict", good)->status, 502);
    fake_run_fails = NULL;
    expect(fake_post("/predict", good), false, "\"prediction\":1");
    expect(fake_post("/predict", good), true, "\"prediction\":1");
    for (size_t i = 0; i < 2 * ARRAY_LEN(bad); i++)
        EXPECT_EQ(fake_post("/predict", bad[i / 2])->status, 400);
}

/* The 32nd time that something is found it runs all the same. */
TEST(a_model_that_answers_differently_is_noticed)
{
    static const char *const body = "{\"modelId\": \"iris\", \"features\": [5, 1.5, 2, 3]}";
    struct cache_look look;
    fake_cache_bytes = BUDGET;
    for (int turn = 0; turn < 32; turn++)
        expect(fake_post("/predict", body), turn > 0, "\"prediction\":5");
    fake_drift = 1;
    expect(fake_post("/predict", body), false, "\"prediction\":6");
    cache_look(fake_cache_of_iris(), &look);
    EXPECT_EQ(look.checks, 1);
    EXPECT_EQ(look.differed, 1);
    expect(fake_post("/predict", body), true, "\"prediction\":6"); /* the newer one is kept */
}

TEST(a_model_that_answers_the_same_passes_the_check)
{
    static const char *const body = "{\"modelId\": \"iris\", \"features\": [5, 1.5, 2, 3]}";
    struct cache_look look;
    fake_cache_bytes = BUDGET;
    for (int turn = 0; turn < 100; turn++)
        expect(fake_post("/predict", body), turn != 0 && turn != 32, "\"prediction\":5");
    cache_look(fake_cache_of_iris(), &look);
    EXPECT_EQ(look.checks, 1);
    EXPECT_EQ(look.differed, 0);
}

/* Who would have had an answer from the cache gets it, also when the check's run fails. */
TEST(a_check_that_fails_costs_nobody_an_answer)
{
    static const char *const body = "{\"modelId\": \"iris\", \"features\": [5, 1.5, 2, 3]}";
    struct cache_look look;
    fake_cache_bytes = BUDGET;
    for (int turn = 0; turn < 32; turn++)
        expect(fake_post("/predict", body), turn > 0, "\"prediction\":5");
    fake_run_fails = "out of luck";
    const struct fake_answer *a = fake_post("/predict", body);
    EXPECT_EQ(a->status, 200);
    EXPECT_CSTR(a->cache, "hit");
    EXPECT(a->was_decoded);
    EXPECT(str_contains((struct str){a->body, a->body_len}, STR("\"prediction\":5")));
    cache_look(fake_cache_of_iris(), &look);
    EXPECT_EQ(look.checks, 0);
}

TEST(what_does_not_fit_its_share_runs_each_time)
{
    fake_cache_bytes = 1200;
    for (int i = 0; i < 2; i++)
        expect(fake_post("/predict",
                         "{\"modelId\": \"text\", \"inputs\": {\"s\": [[\"0123456789012345678901234567890123456789"
                         "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890"
                         "01234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901"
                         "2345678901234567890123456789012345678901234567890123456789012345678901234567890\"]]}}"),
               false, "[[\"0123456789");
}

/* ---- the same answer without a cache, when it is filled, and from it ---- */

static char *reference; /* status and body */

static char *print(const struct fake_answer *a)
{
    size_t room = a->body_len + 64;
    char *out = malloc(room);
    EXPECT(out != NULL);
    int n = snprintf(out, room, "%d %s %s %zu ", a->status, a->content_type, a->infer_header, a->body_len);
    memcpy(out + n, a->body, a->body_len + 1);
    return out;
}

/* Requests by number: several models and forms, good and bad; false: there are no more. */
static bool request(int number, struct fake_request *r)
{
    static char body[2048];
    static const float x[8] = {5, 1.5F, 2, 3, -1, 0, 1e30F, 7};
    static const char *const shown[][2] = {
        {"/predict", "{\"modelId\": \"iris\", \"features\": [5, 1.5, 2, #]}"},
        {"/predict", "{\"modelId\": \"iris\", \"features\": [[5, 1.5, 2, 3], [#, 1, 2, 3]]}"},
        {"/predict", "{\"modelId\": \"pair\", \"inputs\": {\"a\": [[1, 2]], \"b\": [[3, #]]}}"},
        {"/predict", "{\"modelId\": \"pair\", \"inputs\": {\"b\": [[1, 2]], \"a\": [[3, #]]}}"},
        {"/predict", "{\"modelId\": \"text\", \"inputs\": {\"s\": [[\"a#\", \"\", \"b\"]]}}"},
        {"/predict", "{\"modelId\": \"text\", \"inputs\": {\"s\": [[\"a#\"], [\"\"], [\"b\"]]}}"},
        {"/predict", "{\"modelId\": \"fixed\", \"features\": [[1, 2, 3], [4, 5, #]]}"},
        {"/predict", "{\"modelId\": \"fixed\", \"features\": [[1, 2, 3], [4, 5, #00]]}"},
        {"/predict", "{\"modelId\": \"iris\", \"features\": [5, 1.5, 2, #, 9]}"},
        {"/predict", "{\"modelId\": \"iris\", \"features\": [5, 1.5, 2, tru#]}"},
        {IRIS,
         "{\"inputs\": [{\"name\": \"X\", \"shape\": [1, 4], \"datatype\": \"FP32\", \"data\": [5, 1.5, 2, #]}]}"},
        {IRIS,
         "{\"inputs\": [{\"name\": \"X\", \"shape\": [2, 4], \"datatype\": \"FP32\", \"data\": [5, 1.5, 2, #]}]}"},
        {IRIS, "{\"inputs\": [{\"name\": \"X\", \"shape\": [1, 4], \"datatype\": \"FP32\", \"data\": [5, 1.5, 2, "
               "#]}], \"outputs\": "
               "[{\"name\": \"nope\"}]}"},
        {IRIS, "{\"inputs\": [{\"name\": \"X\", \"shape\": [1, 4], \"datatype\": \"FP32\", \"data\": [5, 1.5, NaN, "
               "#]}], \"outputs\": "
               "[{\"name\": \"probabilities\"}]}"},
        {"/v2/models/text/generate", "{\"s\": \"x#\", \"id\": \"z\"}"},
        {"/v2/models/iris/generate_stream", "{\"X\": [5, 1.5, 2, #]}"},
    };
    const int n = ARRAY_LEN(shown), variants = 2;
    if (number < n * variants) {
        (void)snprintf(body, sizeof body, "%s", shown[number / variants][1]);
        *strchr(body, '#') = (char)('0' + number % variants);
        *r = (struct fake_request){HTTP_POST_, shown[number / variants][0], NULL, str_c(body)};
        return true;
    }
    number -= n * variants;
    *r = (struct fake_request){HTTP_POST_, IRIS, "0", {(const char *)x, (size_t)number * 4}};
    return number <= 8;
}

static void same_with_and_without(void)
{
    struct fake_request r;
    char *want[64];
    int n = 0, hits = 0;
    for (; request(n, &r); n++)
        want[n] = print(fake_run(&r));
    EXPECT(n > 30 && n <= (int)ARRAY_LEN(want));
    fake_cache_bytes = BUDGET;
    for (int turn = 0; turn < 6; turn++)
        for (int i = 0; i < n; i++) {
            EXPECT(request((i * 7 + turn) % n, &r));
            const struct fake_answer *a = fake_run(&r);
            hits += a->cache[0] != '\0';
            reference = print(a);
            if (strcmp(reference, want[(i * 7 + turn) % n]) != 0)
                FAIL("request %d: %s instead of %s", (i * 7 + turn) % n, reference, want[(i * 7 + turn) % n]);
            free(reference);
        }
    EXPECT(fake_hash_is_constant || hits > 3 * n);
    for (int i = 0; i < n; i++)
        free(want[i]);
}

TEST(answers_are_the_same_with_and_without_a_cache)
{
    same_with_and_without();
}

TEST(answers_are_the_same_when_all_inputs_have_one_hash)
{
    fake_hash_is_constant = true;
    same_with_and_without();
}

TEST(answers_are_the_same_when_requests_wait)
{
    fake_is_late = true;
    same_with_and_without();
}

TEST(answers_are_the_same_when_bodies_are_still_in_the_socket)
{
    fake_away = 1 << 20;
    same_with_and_without();
}
