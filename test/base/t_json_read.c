/* The pull parser: what it accepts, what it refuses and how it says so. Every text lies in memory of its exact size and padding, with
 * misleading bytes behind its end. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "t.h"

static struct arena arena;

static struct str padded_n(const char *text, size_t n)
{
    static char *kept[1024]; /* freed with the process; reachable, so no leak is reported */
    static size_t kept_len;
    char *p = malloc(n + BUF_PAD);
    EXPECT(p && kept_len < ARRAY_LEN(kept));
    kept[kept_len++] = p;
    memcpy(p, text, n);
    memset(p + n, '1', BUF_PAD);
    memcpy(p + n, "1]}\",0.5", 8);
    return (struct str){p, n};
}

static struct str padded(const char *text)
{
    return padded_n(text, strlen(text));
}

static struct json_reader reader(const char *text)
{
    struct json_reader r;
    json_init(&r, padded(text), JSON_DEPTH_MAX);
    return r;
}

static void expect_error(struct json_reader *r, const char *text)
{
    EXPECT(json_end(r) != ERR_OK);
    EXPECT_CSTR(r->err.text, text);
}

/* The text of the error that skipping gives, or "". */
static const char *skip_error(const char *text)
{
    static struct json_reader r;
    json_init(&r, padded(text), JSON_DEPTH_MAX);
    (void)json_skip(&r, NULL);
    return json_end(&r) == ERR_OK ? "" : r.err.text;
}

TEST(json_object_with_every_kind)
{
    struct json_reader r =
        reader(" { \"a\" : 1 , \"b\":[true,null,-2.5],\"c\":{\"d\":\"x\\u00e9\\n\\ud83d\\ude00/\"} } ");
    struct str key, s;
    bool b;
    double d;
    int64_t i;
    arena_init(&arena, 1024, 1 << 20);
    EXPECT(json_peek(&r) == JSON_OBJECT && json_object(&r));
    EXPECT(json_key(&r, &key));
    EXPECT_STR(key, "a");
    EXPECT(json_peek(&r) == JSON_NUMBER && json_i64(&r, &i));
    EXPECT_EQ(i, 1);
    EXPECT(json_key(&r, &key) && json_array(&r));
    EXPECT(json_item(&r) && json_peek(&r) == JSON_BOOL && json_bool(&r, &b) && b);
    EXPECT(json_item(&r) && json_peek(&r) == JSON_NULL && json_null(&r));
    EXPECT(json_item(&r) && json_f64(&r, &d) && d == -2.5);
    EXPECT(!json_item(&r));
    EXPECT(json_key(&r, &key) && json_object(&r) && json_key(&r, &key));
    EXPECT(json_peek(&r) == JSON_STRING && json_string(&r, &arena, &s));
    EXPECT_STR(s, "x\xC3\xA9\n\xF0\x9F\x98\x80/");
    EXPECT(!json_key(&r, &key) && !json_key(&r, &key));
    EXPECT_EQ(json_end(&r), ERR_OK);
    arena_done(&arena);
}

TEST(json_empty_containers)
{
    struct json_reader r = reader("[{},[],[ ],{ }]");
    struct str key;
    EXPECT(json_array(&r));
    EXPECT(json_item(&r) && json_object(&r) && !json_key(&r, &key));
    EXPECT(json_item(&r) && json_array(&r) && !json_item(&r));
    EXPECT(json_item(&r) && json_array(&r) && !json_item(&r));
    EXPECT(json_item(&r) && json_object(&r) && !json_key(&r, &key));
    EXPECT(!json_item(&r));
    EXPECT_EQ(json_end(&r), ERR_OK);
}

TEST(json_error_names_path_and_place)
{
    struct json_reader r = reader("{\"inputs\":[{},{\"data\":[1,\"x\"]}]}");
    struct str key;
    int64_t v;
    EXPECT(json_object(&r) && json_key(&r, &key) && json_array(&r));
    EXPECT(json_item(&r) && json_skip(&r, NULL) && json_item(&r) && json_object(&r) && json_key(&r, &key));
    EXPECT(json_array(&r) && json_item(&r) && json_i64(&r, &v) && json_item(&r) && !json_i64(&r, &v));
    EXPECT(!json_item(&r) && !json_skip(&r, NULL) && json_peek(&r) == JSON_NONE);
    expect_error(&r, "inputs[1].data[1]: expected a whole number of 64 bits, found '\"' at byte 25");
    r = reader("{\n  \"a\": 1,\n  \"b\": x\n}");
    EXPECT(json_object(&r) && json_key(&r, &key) && json_i64(&r, &v) && json_key(&r, &key) && !json_i64(&r, &v));
    expect_error(&r, "b: expected a whole number of 64 bits, found 'x' at byte 19 (line 3, column 8)");
    r = reader("{\"shape\":[-1]}");
    EXPECT(json_object(&r) && json_key(&r, &key) && json_array(&r) && json_item(&r) && json_i64(&r, &v));
    EXPECT(!json_fail(&r, ERR_TOO_LARGE, "must be %s", "positive"));
    EXPECT_EQ(json_end(&r), ERR_TOO_LARGE);
    expect_error(&r, "shape[0]: must be positive");
}

TEST(json_duplicate_keys_are_refused)
{
    struct str key;
    struct json_reader r = reader("{\"a\":1,\"b\":{\"a\":1},\"\\u0061\":2}");
    EXPECT(json_object(&r) && json_key(&r, &key) && json_skip(&r, NULL) && json_key(&r, &key));
    EXPECT(json_object(&r) && json_key(&r, &key) && json_skip(&r, NULL) && !json_key(&r, &key));
    EXPECT(!json_key(&r, &key));
    expect_error(&r, "the key \"\\u0061\" stands here twice at byte 19");
}

TEST(json_many_keys_are_not_judged_beyond_64)
{
    struct buf b;
    struct json_writer w;
    buf_init(&b, 1 << 20);
    jw_init(&w, &b);
    jw_object(&w);
    char name[16];
    for (int i = 0; i < 200; i++) {
        (void)snprintf(name, sizeof name, "k%d", i);
        jw_kv_i64(&w, name, i);
    }
    jw_kv_i64(&w, "k199", 0);
    jw_object_end(&w);
    struct json_reader r;
    struct str key;
    json_init(&r, padded_n(b.p, b.len), JSON_DEPTH_MAX);
    int n = 0;
    EXPECT(json_object(&r));
    while (json_key(&r, &key) && json_skip(&r, NULL))
        n++;
    EXPECT_EQ(n, 201);
    buf_done(&b);
    EXPECT_EQ(json_end(&r), ERR_OK);
}

TEST(json_keys_with_escapes)
{
    struct str key;
    struct json_reader r = reader("{\"\\u00e4\\\"\":1}");
    EXPECT(json_object(&r) && json_key(&r, &key));
    EXPECT_STR(key, "\xC3\xA4\"");
    char long_key[400];
    (void)snprintf(long_key, sizeof long_key, "{\"\\n%0300d\":1}", 0);
    r = reader(long_key);
    EXPECT(json_object(&r) && !json_key(&r, &key));
    expect_error(&r, "a key with escapes and over 256 bytes at byte 1");
}

TEST(json_integers_take_whole_values_only)
{
    static const struct {
        const char *text;
        int64_t want;
        bool fine;
    } cases[] = {{"0", 0, true},
                 {"-0", 0, true},
                 {"3.0", 3, true},
                 {"1e3", 1000, true},
                 {"12e-1", 0, false},
                 {"120e-1", 12, true},
                 {"3.5", 0, false},
                 {"1e400", 0, false},
                 {"0e400", 0, true},
                 {"9223372036854775807", INT64_MAX, true},
                 {"9223372036854775808", 0, false},
                 {"-9223372036854775808", INT64_MIN, true},
                 {"-9223372036854775809", 0, false},
                 {"18446744073709551616", 0, false},
                 {"\"1\"", 0, false},
                 {"01", 0, false},
                 {"NaN", 0, false},
                 {"", 0, false}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct json_reader r = reader(cases[i].text);
        int64_t v = 77;
        if (json_i64(&r, &v) != cases[i].fine || (cases[i].fine ? v != cases[i].want : v != 77))
            FAIL("%s gave %lld: %s", cases[i].text, (long long)v, r.err.text);
    }
    uint64_t u;
    struct json_reader r = reader("18446744073709551615");
    EXPECT(json_u64(&r, &u) && u == UINT64_MAX);
    r = reader("-1");
    EXPECT(!json_u64(&r, &u));
    expect_error(&r, "a negative number where none is allowed at byte 0");
}

TEST(json_nan_only_where_allowed)
{
    double d;
    struct json_reader r = reader("NaN");
    EXPECT(!json_f64(&r, &d));
    r = reader("[NaN,Infinity,-Infinity,1e999]");
    r.allow_nan = true;
    EXPECT(json_array(&r));
    EXPECT(json_item(&r) && json_f64(&r, &d) && d != d);
    EXPECT(json_item(&r) && json_f64(&r, &d) && d > 1e308);
    EXPECT(json_item(&r) && json_f64(&r, &d) && d < -1e308);
    EXPECT(json_item(&r) && !json_f64(&r, &d));
    expect_error(&r, "[3]: a number outside the range of a double at byte 24");
}

TEST(json_strings_that_are_refused)
{
    static const char *const texts[] = {
        "\"abc",        "\"\\x\"",          "\"\\u12\"", "\"\\u12g4\"", "\"\\ud800\"",  "\"\\ud800\\u0041\"",
        "\"\\udc00\"",  "\"\t\"",           "\"a\nb\"",  "\"\xFF\"",    "\"\xC0\x80\"", "\"\xED\xA0\x80\"",
        "\"\xE2\x82\"", "\"12345678\x01\"", "\"\\",      "\"\\u",       "\"\\u00e",     "\""};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        if (skip_error(texts[i])[0] == '\0')
            FAIL("accepted: %s", texts[i]);
        struct json_reader r = reader(texts[i]);
        struct str s;
        arena_init(&arena, 1024, 1 << 20);
        EXPECT(!json_string(&r, &arena, &s));
        arena_done(&arena);
    }
    EXPECT_CSTR(skip_error("[\"ab\xFF\"]"), "invalid UTF-8 in a string at byte 4");
    struct json_reader r = reader("\"123456\"");
    r.str_max = 5;
    EXPECT(!json_skip(&r, NULL));
    expect_error(&r, "a string of 6 bytes, at most 5 are allowed at byte 0");
    EXPECT_CSTR(skip_error("\"\\u0000\\uffff \x7F\xC3\xA9\""), "");
}

TEST(json_string_over_the_arena_is_an_error)
{
    struct json_reader r = reader("\"\\n0123456789012345678901234567890123456789012345678901234567890123456789\"");
    struct str s;
    arena_init(&arena, 32, 32);
    EXPECT(!json_string(&r, &arena, &s));
    EXPECT_EQ(json_end(&r), ERR_TOO_LARGE);
    arena_done(&arena);
}

TEST(json_skip_accepts_and_refuses)
{
    static const char *const good[] = {"1",
                                       "-1.5e-7",
                                       "\"\"",
                                       "[]",
                                       "{}",
                                       "[1, 2,3 ,\n4]",
                                       "{\"a\":[{}],\"b\":{\"c\":null}}",
                                       "true",
                                       " false ",
                                       "[1,true,\"x\",[-0]]",
                                       "[0.1,0.25, -3]",
                                       "[[1,2],[3,4]]",
                                       "[12345678901234567890123]"};
    static const char *const bad[] = {"",      " ",         "[",        "]",          "[1,]",      "[,1]",
                                      "[1 2]", "{\"a\"}",   "{\"a\":}", "{\"a\":1,}", "{a:1}",     "{\"a\":1 \"b\":2}",
                                      "[1}",   "{\"a\":1]", "01",       "-",          "1.",        "+1",
                                      "tru",   "truex",     "nul",      "[1]]",       "[1][2]",    "NaN",
                                      "[NaN]", "'a'",       "[1,-]",    "[1, 2,]",    "[1,2.]",    "[00]",
                                      "{1:2}", "[1e]",      "\x01",     "{\"a\" 1}",  "[\"a\":1]", "{\"a\":1,,}"};
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        if (skip_error(good[i])[0] != '\0')
            FAIL("%s: %s", good[i], skip_error(good[i]));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (skip_error(bad[i])[0] == '\0')
            FAIL("accepted: %s", bad[i]);
}

TEST(json_skip_gives_the_raw_text)
{
    struct json_reader r = reader("[ {\"a\":[1,2]} , 3]");
    struct str raw;
    EXPECT(json_array(&r) && json_item(&r) && json_skip(&r, &raw));
    EXPECT_STR(raw, "{\"a\":[1,2]}");
    EXPECT(json_item(&r) && json_skip(&r, &raw));
    EXPECT_STR(raw, "3");
    EXPECT(!json_item(&r));
    EXPECT_EQ(json_end(&r), ERR_OK);
}

TEST(json_depth_has_a_limit_everywhere)
{
    char text[220];
    memset(text, '[', 100);
    memset(text + 100, ']', 100);
    text[200] = '\0';
    EXPECT_CSTR(skip_error(text), "");
    memset(text, '[', 101);
    memset(text + 101, ']', 101);
    text[202] = '\0';
    EXPECT_CSTR(skip_error(text), "nested deeper than 100 levels at byte 100");
    struct json_reader r = reader(text);
    size_t n;
    double v[4];
    EXPECT(!json_numbers(&r, JSON_F64, v, 4, &n, NULL));
    expect_error(&r, "nested deeper than 100 levels at byte 100");
    r = reader(text);
    int depth = 0;
    while (json_array(&r) && json_item(&r))
        depth++;
    EXPECT_EQ(depth, 100);
    expect_error(&r, "[0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0]["
                     "0][0][0][0][0][0][0][0]"
                     ": nested deeper than 100 levels at byte 100");
}

TEST(json_five_megabytes_of_brackets_fail_at_once)
{
    size_t n = 5 << 20;
    char *text = malloc(n + BUF_PAD);
    EXPECT(text);
    memset(text, '[', n + BUF_PAD);
    uint64_t t0 = clock_now_ns();
    struct json_reader r;
    json_init(&r, (struct str){text, n}, JSON_DEPTH_MAX);
    EXPECT(!json_skip(&r, NULL));
    float f;
    size_t count;
    json_init(&r, (struct str){text, n}, JSON_DEPTH_MAX);
    EXPECT(!json_numbers(&r, JSON_F32, &f, 1, &count, NULL));
    EXPECT(clock_now_ns() - t0 < 5 * NS_PER_MS);
    free(text);
}

TEST(json_end_refuses_a_second_value)
{
    int64_t v;
    struct json_reader r = reader("1 2");
    EXPECT(json_i64(&r, &v));
    expect_error(&r, "expected nothing behind the value, found '2' at byte 2");
}
