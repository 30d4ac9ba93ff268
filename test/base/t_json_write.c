#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/rand.h"
#include "t.h"

static struct buf b;
static struct json_writer w;

static void start(void)
{
    buf_done(&b);
    buf_init(&b, 16 << 20);
    jw_init(&w, &b);
}

TEST(json_write_everything)
{
    start();
    jw_object(&w);
    jw_kv_c(&w, "a", "x\"\\\n\x01\x1F/\x7F\xC3\xA9");
    jw_kv_u64(&w, "b", UINT64_MAX);
    jw_kv_i64(&w, "c", INT64_MIN);
    jw_kv_f64(&w, "d", 0.1);
    jw_kv_bool(&w, "e", true);
    jw_key(&w, "f");
    jw_array(&w);
    jw_null(&w);
    jw_f32(&w, 5.1F);
    jw_object(&w);
    jw_object_end(&w);
    jw_array(&w);
    jw_array_end(&w);
    jw_raw(&w, STR("[1]"));
    jw_bool(&w, false);
    jw_array_end(&w);
    jw_kv_str(&w, "g", STR(""));
    jw_object_end(&w);
    EXPECT_STR(buf_view(&b), "{\"a\":\"x\\\"\\\\\\n\\u0001\\u001f/"
                             "\x7F\xC3\xA9\",\"b\":18446744073709551615,\"c\":-9223372036854775808,\"d\":0.1,"
                             "\"e\":true,\"f\":[null,5.1,{},[],[1],false],\"g\":\"\"}");
}

TEST(json_write_invalid_utf8_is_replaced)
{
    start();
    jw_str(&w, STR("a\xFF\xC3(\xE2\x82"));
    EXPECT_STR(buf_view(&b), "\"a\xEF\xBF\xBD\xEF\xBF\xBD(\xEF\xBF\xBD\xEF\xBF\xBD\"");
    start();
    jw_str(&w, (struct str){"a\0b", 3});
    EXPECT_STR(buf_view(&b), "\"a\\u0000b\"");
}

TEST(json_write_numbers_of_every_type)
{
    static const float f32[] = {1, 0.5F, -1e-7F, NAN, INFINITY};
    static const double f64[] = {0.1};
    static const uint16_t f16[] = {0x3C00, 0x3555, 0xFC00}, bf16[] = {0x3F80, 0x4049};
    static const int8_t i8[] = {-128, 127};
    static const uint8_t u8[] = {0, 255};
    static const int16_t i16[] = {-32768};
    static const uint16_t u16[] = {65535};
    static const int32_t i32[] = {INT32_MIN};
    static const uint32_t u32[] = {UINT32_MAX};
    static const int64_t i64[] = {INT64_MIN};
    static const uint64_t u64[] = {UINT64_MAX};
    static const uint8_t flags[] = {0, 1, 2};
    start();
    jw_array(&w);
    jw_numbers(&w, JSON_F32, f32, 5);
    jw_numbers(&w, JSON_F64, f64, 1);
    jw_numbers(&w, JSON_F16, f16, 3);
    jw_numbers(&w, JSON_BF16, bf16, 2);
    jw_numbers(&w, JSON_I8, i8, 2);
    jw_numbers(&w, JSON_U8, u8, 2);
    jw_numbers(&w, JSON_I16, i16, 1);
    jw_numbers(&w, JSON_U16, u16, 1);
    jw_numbers(&w, JSON_I32, i32, 1);
    jw_numbers(&w, JSON_U32, u32, 1);
    jw_numbers(&w, JSON_I64, i64, 1);
    jw_numbers(&w, JSON_U64, u64, 1);
    jw_numbers(&w, JSON_BOOL8, flags, 3);
    jw_numbers(&w, JSON_F32, NULL, 0);
    jw_array_end(&w);
    EXPECT_STR(
        buf_view(&b),
        "[[1,0.5,-1e-7,NaN,Infinity],[0.1],[1,0.33325195,-Infinity],[1,3.140625],[-128,127],[0,255],[-32768],[65535],"
        "[-2147483648],[4294967295],[-9223372036854775808],[18446744073709551615],[false,true,true],[]]");
}

static void nested(const int64_t *dims, int ndim, const char *want)
{
    static const int32_t v[] = {1, 2, 3, 4, 5, 6, 7, 8};
    start();
    jw_numbers_nested(&w, JSON_I32, v, dims, ndim);
    EXPECT_STR(buf_view(&b), want);
}

TEST(json_write_nested)
{
    nested(NULL, 0, "1");
    nested((const int64_t[]){3}, 1, "[1,2,3]");
    nested((const int64_t[]){0}, 1, "[]");
    nested((const int64_t[]){2, 3}, 2, "[[1,2,3],[4,5,6]]");
    nested((const int64_t[]){2, 0}, 2, "[[],[]]");
    nested((const int64_t[]){0, 2}, 2, "[]");
    nested((const int64_t[]){2, 2, 2}, 3, "[[[1,2],[3,4]],[[5,6],[7,8]]]");
    nested((const int64_t[]){1, 1, 1, 2}, 4, "[[[[1,2]]]]");
    nested((const int64_t[]){2, 0, 3}, 3, "[[],[]]");
}

TEST(json_write_stops_at_the_limit)
{
    buf_done(&b);
    buf_init(&b, 4096);
    jw_init(&w, &b);
    static float many[100000];
    jw_numbers(&w, JSON_F32, many, ARRAY_LEN(many));
    EXPECT(b.failed && b.len <= 4096);
    buf_done(&b);
    buf_init(&b, 4096);
    jw_init(&w, &b);
    jw_numbers_nested(&w, JSON_F32, many, (const int64_t[]){50000, 2}, 2);
    EXPECT(b.failed && b.len <= 4096);
}

TEST(json_write_then_read_gives_the_same_bits)
{
    enum { N = 20000 };
    static float in[N], out[N];
    rand_seed(7);
    for (int i = 0; i < N; i++) {
        uint32_t u = (uint32_t)rand_u64();
        u = (u & 0x7F800000) == 0x7F800000 ? 0 : u;
        memcpy(&in[i], &u, sizeof u);
    }
    start();
    jw_numbers_nested(&w, JSON_F32, in, (const int64_t[]){100, N / 100}, 2);
    buf_pad(&b);
    struct json_reader r;
    struct json_shape shape;
    size_t count;
    json_init(&r, buf_view(&b), JSON_DEPTH_MAX);
    EXPECT(json_numbers(&r, JSON_F32, out, N, &count, &shape));
    EXPECT(count == N && shape.ndim == 2 && shape.dims[0] == 100 && memcmp(in, out, sizeof in) == 0);
}
