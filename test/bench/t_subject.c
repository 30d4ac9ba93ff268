#include "t.h"
#include "bench/subject.h"
#include "bench/subject_sample.h"

static struct arena arena;

static struct subject parsed(const char *url)
{
    struct subject t;
    struct err err;
    if (arena.max_bytes == 0)
        arena_init(&arena, 4096, 1 << 20);
    if (subject_parse(url, &arena, &t, &err) != ERR_OK)
        FAIL("%s: %s", url, err.text);
    return t;
}

TEST(an_address_is_taken_apart)
{
    struct subject t = parsed("http://example:9000/a/b?c=d");
    EXPECT_CSTR(t.host, "example");
    EXPECT_EQ(t.port, 9000);
    EXPECT_CSTR(t.path, "/a/b?c=d");
    EXPECT(t.model == NULL && t.unix_path == NULL);
    t = parsed("http://[::1]:81");
    EXPECT_CSTR(t.host, "::1");
    EXPECT_EQ(t.port, 81);
    EXPECT_CSTR(t.path, "/");
    EXPECT_EQ(parsed("http://h").port, 80);
    EXPECT_EQ(parsed("http://[::1]").port, 80);
    arena_done(&arena);
}

TEST(a_model_path_becomes_an_infer_request)
{
    struct subject t = parsed("http://h:1/v2/models/cnn");
    EXPECT_CSTR(t.model, "cnn");
    EXPECT_CSTR(t.path, "/v2/models/cnn/infer");
    t = parsed("http://h:1/v2/models/cnn/versions/3/infer");
    EXPECT_CSTR(t.base, "/v2/models/cnn/versions/3");
    EXPECT_CSTR(t.path, "/v2/models/cnn/versions/3/infer");
    arena_done(&arena);
}

TEST(a_socket_is_an_address)
{
    struct subject t = parsed("unix:/run/edge.sock:/v2/models/m");
    EXPECT_CSTR(t.unix_path, "/run/edge.sock");
    EXPECT_CSTR(t.model, "m");
    EXPECT_CSTR(parsed("unix:a.sock").path, "/");
    arena_done(&arena);
}

TEST(bad_addresses_are_refused_with_a_remedy)
{
    static const char *const bad[] = {"",          "https://h/",      "http://",          "http://h:0/",
                                      "http://:8", "http://h:65536/", "http://h:1/a b",   "http://h/\r\nX: y",
                                      "unix:",     "unix:a:b",        "http://h:12x/abc", "iris"};
    struct subject t;
    struct err err;
    arena_init(&arena, 4096, 1 << 20);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        err = (struct err){0};
        if (subject_parse(bad[i], &arena, &t, &err) != ERR_INVALID || !err.remedy[0])
            FAIL("%s: taken", bad[i]);
    }
    arena_done(&arena);
}

TEST(a_path_without_body_is_a_get)
{
    struct subject t = parsed("http://h:8080/x");
    struct err err;
    const char *headers[] = {"A: b"};
    struct subject_options o = {.rows = 1, .headers = headers, .headers_len = 1};
    EXPECT_EQ(subject_build(&t, &o, &arena, &err), ERR_OK);
    EXPECT_STR(buf_view(&t.request), "GET /x HTTP/1.1\r\nHost: h:8080\r\nA: b\r\n\r\n");
    subject_done(&t);
    arena_done(&arena);
}

/* As json_init wants it: with room behind. */
static bool samples_of(const char *text, struct subject_samples *out)
{
    struct buf b;
    buf_init(&b, 4096);
    buf_c(&b, text);
    buf_pad(&b);
    bool is_read = subject_samples_read(buf_view(&b), &arena, out);
    buf_done(&b);
    return is_read;
}

TEST(a_sample_of_the_server_fills_inputs_of_bytes)
{
    struct subject_samples s;
    arena_init(&arena, 4096, 1 << 20);
    EXPECT(samples_of(
        "{\"predict\":{\"features\":[1]},\"infer\":{\"inputs\":["
        "{\"name\":\"n\",\"shape\":[1],\"datatype\":\"INT64\",\"data\":[7]},"
        "{\"name\":\"picture\",\"shape\":[2,1],\"datatype\":\"BYTES\",\"data\":[ {\"b64\": \"aGk=\"},{\"b64\":\"\"}]},"
        "{\"name\":\"text\",\"datatype\":\"BYTES\",\"data\":[\"\\u0041\"]}]},\"curl\":\"\"}",
        &s));
    EXPECT_EQ(s.len, 2);
    EXPECT_EQ(subject_samples_find(&s, "n"), -1);
    int i = subject_samples_find(&s, "picture");
    EXPECT_STR(s.of[i].bytes, "hi");
    EXPECT_STR(s.of[i].json, "{\"b64\": \"aGk=\"}");
    i = subject_samples_find(&s, "text");
    EXPECT_STR(s.of[i].bytes, "A");
    EXPECT_STR(s.of[i].json, "\"\\u0041\"");
    arena_done(&arena);
}

TEST(an_answer_that_is_no_sample_gives_none)
{
    static const char *const texts[] = {
        "", "[]", "{\"infer\":[]}",
        "{\"infer\":{\"inputs\":[{\"name\":\"x\",\"datatype\":\"BYTES\",\"data\":[{\"b64\":\"%%\"}]}]}}",
        "{\"infer\":{\"inputs\":[{\"name\":\"x\",\"datatype\":\"BYTES\",\"data\":[\"a\"]}]}"};
    struct subject_samples s;
    arena_init(&arena, 4096, 1 << 20);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        if (samples_of(texts[i], &s) || s.len != 0)
            FAIL("%s: taken", texts[i]);
    EXPECT(samples_of("{\"infer\":{\"inputs\":[{\"name\":\"x\",\"datatype\":\"BYTES\",\"data\":[]}]}}", &s));
    EXPECT_EQ(s.len, 0);
    arena_done(&arena);
}
