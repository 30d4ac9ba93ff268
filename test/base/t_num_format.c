/* Writing numbers: reads back to the same bits, no longer than needed, in a form that people like. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "base/rand.h"
#include "t.h"

#ifdef QUERN_SANITIZED
#define STRIDE 19997u
#else
#define STRIDE 1009u
#endif

static int significant(const char *text)
{
    int n = 0, zeros = 0;
    for (; *text && *text != 'e'; text++) {
        if (*text < '0' || *text > '9' || (n == 0 && *text == '0'))
            continue;
        n++;
        zeros = *text == '0' ? zeros + 1 : 0;
    }
    return n - zeros;
}

static const char *format32(float f)
{
    static char text[NUM_FLOAT_MAX + 1];
    size_t n = num_format_f32(f, text);
    EXPECT(n <= 17);
    text[n] = '\0';
    return text;
}

static const char *format64(double d)
{
    static char text[NUM_FLOAT_MAX + 1];
    size_t n = num_format_f64(d, text);
    EXPECT(n <= 24);
    text[n] = '\0';
    return text;
}

static void check_f32(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    const char *text = format32(f);
    float back = strtof(text, NULL);
    if (memcmp(&f, &back, sizeof f) != 0)
        FAIL("%a is written %s, which is %a", (double)f, text, (double)back);
}

TEST_SLOW(num_format_f32_stride_over_all, 60)
{
    for (uint64_t u = 0; u < 0x7F800000; u += STRIDE) {
        check_f32((uint32_t)u);
        check_f32((uint32_t)u | 0x80000000);
    }
    for (uint32_t exponent = 0; exponent < 255; exponent++) { /* around every power of two */
        check_f32(exponent << 23);
        check_f32(exponent << 23 | 1);
        check_f32(exponent << 23 | 0x7FFFFF);
    }
}

TEST_SLOW(num_format_is_the_shortest, 60)
{
    rand_seed(5);
    for (int i = 0; i < 20000; i++) {
        uint64_t bits = rand_u64();
        uint32_t low = (uint32_t)bits;
        float f;
        double d;
        memcpy(&f, &low, sizeof f);
        memcpy(&d, &bits, sizeof d);
        if (!isfinite(f) || !isfinite(d))
            continue;
        char shorter[40];
        int n = significant(format32(f));
        (void)snprintf(shorter, sizeof shorter, "%.*e", n > 1 ? n - 2 : 0, (double)f);
        EXPECT(n <= 9 && (n == 1 || strtof(shorter, NULL) != f));
        const char *text = format64(d);
        n = significant(text);
        (void)snprintf(shorter, sizeof shorter, "%.*e", n > 1 ? n - 2 : 0, d);
        EXPECT(n <= 17 && (n == 1 || strtod(shorter, NULL) != d));
        EXPECT(strtod(text, NULL) == d);
    }
}

TEST(num_format_forms)
{
    EXPECT_CSTR(format32(0), "0");
    EXPECT_CSTR(format32(-0.0F), "-0");
    EXPECT_CSTR(format32(3), "3");
    EXPECT_CSTR(format32(-16777215), "-16777215");
    EXPECT_CSTR(format32(0.1F), "0.1");
    EXPECT_CSTR(format32(5.1F), "5.1");
    EXPECT_CSTR(format32(1234.5F), "1234.5");
    EXPECT_CSTR(format32(1e-5F), "0.00001");
    EXPECT_CSTR(format32(1.25e-6F), "1.25e-6");
    EXPECT_CSTR(format32(1e15F), "1000000000000000");
    EXPECT_CSTR(format32(1e16F), "1e16");
    EXPECT_CSTR(format32(3.4028235e38F), "3.4028235e38");
    EXPECT_CSTR(format32(1e-45F), "1e-45");
    EXPECT_CSTR(format32(NAN), "NaN");
    EXPECT_CSTR(format32(INFINITY), "Infinity");
    EXPECT_CSTR(format32(-INFINITY), "-Infinity");
    EXPECT_CSTR(format64(0.1), "0.1");
    EXPECT_CSTR(format64(1.0 / 3), "0.3333333333333333");
    EXPECT_CSTR(format64(9007199254740993.0), "9007199254740992");
    EXPECT_CSTR(format64(-1.7976931348623157e308), "-1.7976931348623157e308");
    EXPECT_CSTR(format64(-2.2250738585072014e-308), "-2.2250738585072014e-308");
    EXPECT_CSTR(format64(5e-324), "5e-324");
}

TEST(num_format_whole_numbers)
{
    static const uint64_t values[] = {
        0, 9, 10, 99, 100, 12345, 4294967296u, 9999999999999999999u, 10000000000000000000u, UINT64_MAX};
    char text[32], want[32];
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        (void)snprintf(want, sizeof want, "%llu", (unsigned long long)values[i]);
        text[num_format_u64(values[i], text)] = '\0';
        EXPECT_CSTR(text, want);
        (void)snprintf(want, sizeof want, "%lld", (long long)values[i]);
        text[num_format_i64((int64_t)values[i], text)] = '\0';
        EXPECT_CSTR(text, want);
    }
    text[num_format_i64(INT64_MIN, text)] = '\0';
    EXPECT_CSTR(text, "-9223372036854775808");
    uint64_t power = 1;
    for (int digits = 1; digits <= 19; digits++, power *= 10) {
        EXPECT_EQ(num_format_u64(power, text), digits);
        EXPECT_EQ(num_format_u64(power * 10 - 1, text), digits);
    }
}

TEST(num_half_round_trips_and_rounds_to_even)
{
    for (uint32_t h = 0; h < 0x10000; h++) {
        bool nan16 = (h & 0x7FFF) > 0x7C00, nanb = (h & 0x7FFF) > 0x7F80;
        uint16_t back = f32_to_f16(f16_to_f32((uint16_t)h)), backb = f32_to_bf16(bf16_to_f32((uint16_t)h));
        EXPECT(nan16 ? (back & 0x7FFF) > 0x7C00 : back == h);
        EXPECT(nanb ? (backb & 0x7FFF) > 0x7F80 : backb == h);
        if ((h & 0x7FFF) >= 0x7BFF)
            continue;
        float a = f16_to_f32((uint16_t)h), b = f16_to_f32((uint16_t)(h + 1)), middle = (a + b) / 2;
        EXPECT_EQ(f32_to_f16(middle), h + (h & 1));
        EXPECT_EQ(f32_to_f16(nextafterf(middle, a)), h);
        EXPECT_EQ(f32_to_f16(nextafterf(middle, b)), h + 1);
    }
    EXPECT_EQ(f32_to_f16(65519.99F), 0x7BFF);
    EXPECT_EQ(f32_to_f16(65520), 0x7C00);
    EXPECT_EQ(f32_to_bf16(3.4e38F), 0x7F80);
    EXPECT_EQ(f32_to_bf16(1.00390625F), 0x3F80);
    EXPECT_EQ(f32_to_bf16(1.01171875F), 0x3F82);
}
