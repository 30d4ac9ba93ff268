/* Arrays of numbers: values, shapes, ranges, and the errors. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/num.h"
#include "base/rand.h"
#include "t.h"

static struct json_reader r;
static struct json_shape shape;
static size_t count;

static void start(const char *text)
{
    size_t n = strlen(text);
    static char *kept[1024]; /* freed with the process; reachable, so no leak is reported */
    static size_t kept_len;
    char *p = malloc(n + BUF_PAD);
    EXPECT(p && kept_len < ARRAY_LEN(kept));
    kept[kept_len++] = p;
    memcpy(p, text, n);
    memset(p + n, '1', BUF_PAD);
    json_init(&r, (struct str){p, n}, JSON_DEPTH_MAX);
}

static const char *error_of(enum json_num type, const char *text, size_t max)
{
    static unsigned char out[1024];
    start(text);
    EXPECT(max * 8 <= sizeof out);
    return json_numbers(&r, type, out, max, &count, &shape) && json_end(&r) == ERR_OK ? "" : r.err.text;
}

TEST(json_numbers_nested_shape)
{
    float f[12];
    start("[ [[1,2.5 , -3],[4,5,6]],\n[[7,8,9],[10,11,12e0]]]");
    EXPECT(json_numbers(&r, JSON_F32, f, 12, &count, &shape));
    EXPECT_EQ(json_end(&r), ERR_OK);
    EXPECT_EQ(count, 12);
    EXPECT(shape.ndim == 3 && shape.dims[0] == 2 && shape.dims[1] == 2 && shape.dims[2] == 3);
    EXPECT(f[1] == 2.5F && f[2] == -3 && f[11] == 12);
    start("[]");
    EXPECT(json_numbers(&r, JSON_F32, f, 0, &count, &shape) && count == 0 && shape.ndim == 1 && shape.dims[0] == 0);
    start("[[],[]]");
    EXPECT(json_numbers(&r, JSON_F32, NULL, 0, &count, &shape) && shape.ndim == 2 && shape.dims[0] == 2 &&
           shape.dims[1] == 0);
}

TEST(json_numbers_ragged_only_without_a_shape)
{
    static const char *const texts[] = {"[1,[2]]", "[[1],2]",     "[[1,2],[3]]", "[[1],[2,3]]", "[[],[1]]",
                                        "[[],2]",  "[[[1]],[2]]", "[[1],[[2]]]", "[[],[[]]]"};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        if (!strstr(error_of(JSON_F32, texts[i], 8), "ragged nesting"))
            FAIL("%s: '%s'", texts[i], error_of(JSON_F32, texts[i], 8));
        float f[8];
        start(texts[i]);
        EXPECT(json_numbers(&r, JSON_F32, f, 8, &count, NULL));
        EXPECT_EQ(json_end(&r), ERR_OK);
    }
    EXPECT_CSTR(error_of(JSON_F32, "[[1,2],[3]]", 8),
                "ragged nesting: an array of 1 elements, those before it have 2 at byte 9");
}

TEST(json_numbers_integers_check_their_range)
{
    EXPECT_CSTR(error_of(JSON_U8, "[0,255,3.0,1e2]", 8), "");
    EXPECT_CSTR(error_of(JSON_U8, "[1,300]", 8), "element 1: 300 is outside the range of UINT8 at byte 3");
    EXPECT_CSTR(error_of(JSON_U8, "[-1]", 8), "element 0: -1 is outside the range of UINT8 at byte 1");
    EXPECT_CSTR(error_of(JSON_U8, "[-0]", 8), "");
    EXPECT_CSTR(error_of(JSON_I8, "[-128,127]", 8), "");
    EXPECT_CSTR(error_of(JSON_I8, "[-129]", 8), "element 0: -129 is outside the range of INT8 at byte 1");
    EXPECT_CSTR(error_of(JSON_I16, "[32768]", 8), "element 0: 32768 is outside the range of INT16 at byte 1");
    EXPECT_CSTR(error_of(JSON_U16, "[65535]", 8), "");
    EXPECT_CSTR(error_of(JSON_I32, "[2147483647,-2147483648]", 8), "");
    EXPECT_CSTR(error_of(JSON_I32, "[2147483648]", 8), "element 0: 2147483648 is outside the range of INT32 at byte 1");
    EXPECT_CSTR(error_of(JSON_U32, "[4294967296]", 8),
                "element 0: 4294967296 is outside the range of UINT32 at byte 1");
    EXPECT_CSTR(error_of(JSON_I64, "[9223372036854775807,-9223372036854775808]", 8), "");
    EXPECT_CSTR(error_of(JSON_I64, "[9223372036854775808]", 8),
                "element 0: 9223372036854775808 is outside the range of INT64 at byte 1");
    EXPECT_CSTR(error_of(JSON_U64, "[18446744073709551615]", 8), "");
    EXPECT_CSTR(error_of(JSON_U64, "[18446744073709551616]", 8),
                "element 0: 18446744073709551616 is outside the range of UINT64 at byte 1");
    EXPECT_CSTR(error_of(JSON_I32, "[1,2.5]", 8), "element 1: 2.5 is not a whole number, as INT32 must be at byte 3");
    EXPECT_CSTR(error_of(JSON_I32, "[01]", 8), "element 0: expected a number at byte 1");
}

TEST(json_numbers_floats_check_their_range)
{
    EXPECT_CSTR(error_of(JSON_F32, "[3.4e38,1e39]", 8), "element 1: 1e39 is outside the range of FP32 at byte 8");
    EXPECT_CSTR(error_of(JSON_F64, "[1e308,-1e309]", 8), "element 1: -1e309 is outside the range of FP64 at byte 7");
    EXPECT_CSTR(error_of(JSON_F16, "[65504,65520]", 8), "element 1: 65520 is outside the range of FP16 at byte 7");
    EXPECT_CSTR(error_of(JSON_BF16, "[3.39e38,3.4e38]", 8), "element 1: 3.4e38 is outside the range of BF16 at byte 9");
    EXPECT_CSTR(error_of(JSON_F32, "[1e-999]", 8), "");
}

TEST(json_numbers_wrong_elements)
{
    EXPECT_CSTR(error_of(JSON_F32, "[1,\"2\"]", 8), "element 1: expected a number, found a string at byte 3");
    EXPECT_CSTR(error_of(JSON_F32, "[1,null]", 8), "element 1: expected a number, found null at byte 3");
    EXPECT_CSTR(error_of(JSON_F32, "[true]", 8), "element 0: expected a number, found true at byte 1");
    EXPECT_CSTR(error_of(JSON_F32, "[{}]", 8), "element 0: expected a number, found an object at byte 1");
    EXPECT_CSTR(error_of(JSON_F32, "[NaN]", 8), "element 0: NaN and infinities are not accepted here at byte 1");
    EXPECT_CSTR(error_of(JSON_I32, "[NaN]", 8), "element 0: NaN and infinities are not whole numbers at byte 1");
    EXPECT_CSTR(error_of(JSON_F32, "[1,]", 8), "element 1: expected a number at byte 3");
    EXPECT_CSTR(error_of(JSON_F32, "[,1]", 8), "element 0: expected a number at byte 1");
    EXPECT_CSTR(error_of(JSON_F32, "[1 2]", 8), "expected ',' or ']' at byte 3");
    EXPECT_CSTR(error_of(JSON_F32, "[1,2", 8), "expected ',' or ']' at byte 4");
    EXPECT_CSTR(error_of(JSON_F32, "[1,", 8), "element 1: the text ends inside an array at byte 3");
    EXPECT_CSTR(error_of(JSON_F32, "[", 8), "element 0: the text ends inside an array at byte 1");
    EXPECT_CSTR(error_of(JSON_F32, "5", 8), "expected an array at byte 0");
    EXPECT_CSTR(error_of(JSON_F32, "[1.]", 8), "element 0: expected a number at byte 1");
    EXPECT_CSTR(error_of(JSON_F32, "[1]]", 8), "expected nothing behind the value, found ']' at byte 3");
    EXPECT_CSTR(error_of(JSON_F32, "[[[[[[[[[1]]]]]]]]]", 8), "an array of more than 8 dimensions at byte 8");
    EXPECT_CSTR(error_of(JSON_F32, "[[[[[[[[1]]]]]]]]", 8), "");
}

TEST(json_numbers_end_where_the_text_ends)
{
    static const char *const behind[] = {",3]", " 3]", "]", ", 3]", "3]", ".5]", "e5]", "\0"};
    for (size_t i = 0; i < ARRAY_LEN(behind); i++) {
        for (int cut = 2; cut <= 4; cut++) { /* "[1", "[1,", "[1,2" */
            float f[8];
            start("[1,2");
            memcpy((char *)(uintptr_t)r.start + cut, behind[i], strlen(behind[i]) + 1);
            r.end = r.start + cut;
            EXPECT(!json_numbers(&r, JSON_F32, f, 8, &count, NULL));
            EXPECT(strstr(r.err.text, "expected ',' or ']'") || strstr(r.err.text, "the text ends inside an array"));
        }
    }
}

TEST(json_numbers_more_than_expected_names_both)
{
    EXPECT_CSTR(error_of(JSON_F32, "[1,2,3,4,5]", 3), "5 elements where 3 are expected");
    EXPECT_CSTR(error_of(JSON_F32, "[[1,2],[3,4]]", 3), "4 elements where 3 are expected");
    EXPECT_CSTR(error_of(JSON_F32, "[1]", 0), "1 elements where 0 are expected");
    EXPECT_CSTR(error_of(JSON_BOOL8, "[true,true]", 1), "2 elements where 1 are expected");
    EXPECT_CSTR(error_of(JSON_F32, "[1,2,3,x]", 3), "element 3: expected a number or a string at byte 7");
}

TEST(json_numbers_booleans_and_nan)
{
    unsigned char b[5];
    start("[true,false, 1,0]");
    EXPECT(json_numbers(&r, JSON_BOOL8, b, 5, &count, NULL));
    EXPECT(count == 4 && b[0] == 1 && b[1] == 0 && b[2] == 1 && b[3] == 0);
    EXPECT_CSTR(error_of(JSON_BOOL8, "[2]", 8), "element 0: 2 is outside the range of BOOL at byte 1");
    EXPECT_CSTR(error_of(JSON_BOOL8, "[truex]", 8), "expected ',' or ']' at byte 5");
    float f[4];
    start("[NaN,1,Infinity,-Infinity]");
    r.allow_nan = true;
    EXPECT(json_numbers(&r, JSON_F32, f, 4, &count, NULL));
    EXPECT(count == 4 && isnan(f[0]) && f[1] == 1 && f[2] == INFINITY && f[3] == -INFINITY);
    uint16_t h[3];
    start("[NaN,-Infinity,0.1]");
    r.allow_nan = true;
    EXPECT(json_numbers(&r, JSON_F16, h, 3, &count, NULL));
    EXPECT(h[0] == 0x7E00 && h[1] == 0xFC00 && h[2] == 0x2E66);
}

TEST(json_numbers_halves_are_rounded_once)
{
    uint16_t h[4];
    /* Each lies a hair beside a midpoint between two halves, nearer than a float can tell: rounding to float first would hide it. */
    start("[1.00048828125, 1.0004882812500003, 1.0004882812499997, 2049.0000000001]");
    EXPECT(json_numbers(&r, JSON_F16, h, 4, &count, NULL));
    EXPECT(h[0] == 0x3C00 && h[1] == 0x3C01 && h[2] == 0x3C00 && h[3] == 0x6801);
    start("[1.00390625,1.0039062500000002,1.01171875]");
    EXPECT(json_numbers(&r, JSON_BF16, h, 4, &count, NULL));
    EXPECT(h[0] == 0x3F80 && h[1] == 0x3F81 && h[2] == 0x3F82);
}

TEST(json_measure_does_not_move)
{
    start("[[\"a\",\"b]\"],[\"\\\"\",\"\"],[1, true]]");
    EXPECT(json_measure(&r, &shape, &count));
    EXPECT(count == 6 && shape.ndim == 2 && shape.dims[0] == 3 && shape.dims[1] == 2);
    EXPECT(r.at == r.start);
    start("[[1,2],[3]]");
    EXPECT(!json_measure(&r, &shape, &count));
    start("[[1,2],[3]]");
    EXPECT(json_measure(&r, NULL, &count) && count == 3);
    start("[[{\"a\":[1,2]}],[{}]]"); /* an object is one element */
    EXPECT(json_measure(&r, &shape, &count) && count == 2 && shape.ndim == 2 && shape.dims[1] == 1);
    EXPECT(r.at == r.start);
    start("[{\"a\":}]");
    EXPECT(!json_measure(&r, NULL, &count));
    start("[:]");
    EXPECT(!json_measure(&r, NULL, &count));
    EXPECT_CSTR(r.err.text, "element 0: expected a number or a string at byte 1");
}

/* Values in every common style of writing; white space of all kinds between. */
TEST_SLOW(json_numbers_as_strtof_reads_them, 60)
{
    enum { N = 4000 };
    static char text[N * 40];
    static float want[N], got[N];
    static const char *const separators[] = {",", ", ", " ,", ",\n  ", "\t,\r\n"};
    rand_seed(6);
    for (int round = 0; round < 10; round++) {
        size_t at = 0;
        text[at++] = '[';
        for (int i = 0; i < N; i++) {
            double v = (rand_unit() - 0.5) * pow(10, (double)rand_below(20) - 10);
            char one[40];
            (void)snprintf(one, sizeof one, "%.*g", round % 2 ? 17 : (int)(1 + rand_below(17)), v);
            want[i] = strtof(one, NULL);
            at += (size_t)snprintf(text + at, sizeof text - at, "%s%s",
                                   i ? separators[round < 2 ? 0 : rand_below(5)] : "", one);
        }
        (void)snprintf(text + at, sizeof text - at, "]");
        start(text);
        EXPECT(json_numbers(&r, JSON_F32, got, N, &count, &shape));
        EXPECT_EQ(json_end(&r), ERR_OK);
        EXPECT_EQ(count, N);
        EXPECT(memcmp(want, got, sizeof want) == 0);
        EXPECT(shape.ndim == 1 && shape.dims[0] == N);
        EXPECT(json_skip(&r, NULL) == false); /* at the end */
        start(text);
        EXPECT(json_skip(&r, NULL));
        EXPECT_EQ(json_end(&r), ERR_OK);
    }
}
