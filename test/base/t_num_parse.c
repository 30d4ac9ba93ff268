/* Reading numbers: bit-identical to the C library, for values of all sizes, texts of all lengths, and the midpoints between neighbours. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/num.h"
#include "base/num_int.h"
#include "base/rand.h"
#include "t.h"

#ifdef QUERN_SANITIZED
#define ROUNDS 60000
#else
#define ROUNDS 400000
#endif

#define TEXT_MAX 1300

/* As json_numbers.c reads floats. */
static const char *parse_f32(const char *p, const char *end, float *out)
{
    struct num_decimal d;
    if (p >= end)
        return NULL;
    const char *stop = num_scan(p, end, &d);
    if (stop && !num_easy_f32(&d, out))
        *out = num_hard_f32(&d, p, stop);
    return stop;
}

static void check_text(const char *text)
{
    static char padded[TEXT_MAX + BUF_PAD];
    size_t n = strlen(text);
    memcpy(padded, text, n);
    memset(padded + n, 0, BUF_PAD);
    float f = 0, f_want = strtof(text, NULL);
    double d = 0, d_want = strtod(text, NULL);
    if (parse_f32(padded, padded + n, &f) != padded + n || memcmp(&f, &f_want, sizeof f) != 0)
        FAIL("%s as float: got %a, want %a", text, (double)f, (double)f_want);
    if (num_parse_f64(padded, padded + n, &d) != padded + n || memcmp(&d, &d_want, sizeof d) != 0)
        FAIL("%s as double: got %a, want %a", text, d, d_want);
}

#define CHECK_PRINTED(...)                                                                                             \
    do {                                                                                                               \
        char printed_[TEXT_MAX];                                                                                       \
        (void)snprintf(printed_, sizeof printed_, __VA_ARGS__);                                                        \
        check_text(printed_);                                                                                          \
    } while (0)

static float any_float(void)
{
    uint32_t u = (uint32_t)rand_u64();
    float f;
    memcpy(&f, &u, sizeof f);
    return isfinite(f) ? f : 1.5F;
}

static double any_double(void)
{
    uint64_t u = rand_u64();
    double d;
    memcpy(&d, &u, sizeof d);
    return isfinite(d) ? d : 1.5;
}

TEST_SLOW(num_parse_random_floats_of_7_to_17_digits, 60)
{
    rand_seed(1);
    for (int i = 0; i < ROUNDS; i++) {
        double f = (double)any_float();
        CHECK_PRINTED("%.*g", 7 + i % 11, f);
    }
}

TEST_SLOW(num_parse_random_doubles_and_long_fractions, 60)
{
    rand_seed(2);
    for (int i = 0; i < ROUNDS; i++) {
        CHECK_PRINTED("%.17g", any_double());
        CHECK_PRINTED("%.*f", i % 27, (double)(int64_t)rand_u64() * 1e-19);
    }
}

TEST_SLOW(num_parse_any_digits_and_exponents, 60)
{
    rand_seed(3);
    for (int i = 0; i < ROUNDS; i++) {
        unsigned long long a = rand_u64() >> rand_below(64), b = rand_u64() >> rand_below(64);
        CHECK_PRINTED("%llu.%llue%d", a, b, (int)rand_below(800) - 400);
        CHECK_PRINTED("0.%0*llu", 1 + (int)rand_below(30), b);
    }
}

TEST_SLOW(num_parse_exact_midpoints_and_their_neighbours, 60)
{
    rand_seed(4);
    for (int i = 0; i < ROUNDS / 20; i++) {
        float f = any_float(), next = nextafterf(f, INFINITY);
        double middle = ((double)f + (double)next) / 2;
        if (!isfinite(next))
            continue;
        CHECK_PRINTED("%.*g", 17 + i % 4, middle);
        CHECK_PRINTED("%.120g", middle);
        char text[200];
        (void)snprintf(text, sizeof text, "%.120e", middle);
        char *last = strchr(text, 'e') - 1;
        *last = '1'; /* a hair beside the midpoint */
        check_text(text);
    }
    for (unsigned i = 0; i < 2000; i++) {
        CHECK_PRINTED("%u", 16777217 + 2 * i);
        CHECK_PRINTED("%u.5", 8388608 + i);
        CHECK_PRINTED("%llu", 9007199254740993ULL + 2 * i);
        CHECK_PRINTED("%llu.5", 4503599627370496ULL + i);
    }
}

TEST(num_parse_edges_of_the_formats)
{
    static const char *const texts[] = {"0",
                                        "-0",
                                        "0.0",
                                        "-0.0e5",
                                        "0e999999999",
                                        "1e999999999",
                                        "-1e999999999",
                                        "1e-999999999",
                                        "1e99999999999999999999",
                                        "3.4028234663852886e38",
                                        "3.4028235677973366e38",
                                        "3.4028235677973367e38",
                                        "3.402823567797336616e38",
                                        "1.401298464324817e-45",
                                        "7.006492321624085e-46",
                                        "7.0064923216240853e-46",
                                        "7.0064923216240854e-46",
                                        "7.006492321624085354618e-46",
                                        "1.1754943508222875e-38",
                                        "1.1754942807573643e-38",
                                        "1.7976931348623157e308",
                                        "1.7976931348623158e308",
                                        "1.7976931348623159e308",
                                        "4.9406564584124654e-324",
                                        "2.4703282292062327e-324",
                                        "2.4703282292062328e-324",
                                        "2.2250738585072011e-308",
                                        "2.2250738585072012e-308",
                                        "9999999999999999999",
                                        "99999999999999999999",
                                        "123456789012345678901234567890",
                                        "0.000000000000000000000000000001234567890123456789012",
                                        "1.00000000000000011102230246251565404236316680908203125",
                                        "1.00000000000000011102230246251565404236316680908203124",
                                        "1.00000000000000011102230246251565404236316680908203126",
                                        "1E5",
                                        "1e+5",
                                        "1E-5",
                                        "12345678901234567890e-30"};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        check_text(texts[i]);
}

TEST(num_parse_digits_without_end_stay_exact)
{
    char text[TEXT_MAX];
    memset(text, '0', sizeof text);
    (void)snprintf(text, 40, "1.00000000000000011102230246251565404");
    (void)snprintf(text, sizeof text, "1.00000000000000011102230246251565404236316680908203125");
    size_t n = strlen(text);
    memset(text + n, '0', sizeof text - n);
    text[1200] = '1'; /* far behind all digits that are kept */
    text[1201] = '\0';
    check_text(text);
    memset(text, '9', 1000);
    (void)snprintf(text + 1000, 20, "e-1000");
    check_text(text);
    memset(text, '0', 1000);
    text[1] = '.';
    (void)snprintf(text + 1000, 20, "123e1000");
    check_text(text);
}

static ptrdiff_t parsed_len(const char *text, size_t n)
{
    char padded[128];
    memset(padded, '7', sizeof padded); /* more digits behind the end must not be taken */
    memcpy(padded, text, n);
    float f = -1;
    const char *stop = parse_f32(padded, padded + n, &f);
    return stop ? stop - padded : -1;
}

TEST(num_parse_grammar)
{
    static const struct {
        const char *text;
        int len;
    } cases[] = {{"", -1},     {"-", -1},    {"+1", -1},  {".5", -1},   {"1.", -1},      {"1.e5", -1},
                 {"1e", -1},   {"1e+", -1},  {"01", -1},  {"-01", -1},  {"1", 1},        {"0", 1},
                 {"-0", 2},    {"1,", 1},    {"1.5]", 3}, {"1e5x", 3},  {"a", -1},       {"0x10", 1},
                 {"1..5", -1}, {"1.5.5", 3}, {"--1", -1}, {"1e5.5", 3}, {"00", -1},      {"0.", -1},
                 {"-.5", -1},  {"1 2", 1},   {"Inf", -1}, {"nan", -1},  {"12345678", 8}, {"0.12345678", 10},
                 {"1.2e12", 6}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        if (parsed_len(cases[i].text, strlen(cases[i].text)) != cases[i].len)
            FAIL("'%s': length %td, want %d", cases[i].text, parsed_len(cases[i].text, strlen(cases[i].text)),
                 cases[i].len);
}

/* The powers by another way than the generator's: a big integer multiplied or divided step by step. */
struct big {
    uint32_t w[80];
};

static void big_mul(struct big *b, uint32_t f)
{
    uint64_t carry = 0;
    for (size_t i = 0; i < ARRAY_LEN(b->w); i++) {
        carry += (uint64_t)b->w[i] * f;
        b->w[i] = (uint32_t)carry;
        carry >>= 32;
    }
    EXPECT(carry == 0);
}

static uint32_t big_div(struct big *b, uint32_t f)
{
    uint64_t rest = 0;
    for (size_t i = ARRAY_LEN(b->w); i-- > 0;) {
        rest = rest << 32 | b->w[i];
        b->w[i] = (uint32_t)(rest / f);
        rest %= f;
    }
    return (uint32_t)rest;
}

static void big_top128(const struct big *b, uint64_t out[2], int *top)
{
    int bit = (int)ARRAY_LEN(b->w) * 32 - 1;
    while ((b->w[bit / 32] >> (bit % 32) & 1) == 0)
        bit--;
    *top = bit;
    out[0] = out[1] = 0;
    for (int i = 0; i < 128; i++) {
        uint64_t one = bit - i >= 0 ? b->w[(bit - i) / 32] >> ((bit - i) % 32) & 1 : 0;
        out[i / 64] = out[i / 64] << 1 | one;
    }
}

TEST(num_powers_table_is_right)
{
    struct big b = {{1}};
    for (int q = 0; q <= NUM_POWER_MAX; q++) {
        uint64_t want[2];
        int top;
        big_top128(&b, want, &top);
        const uint64_t *have = num_powers[q - NUM_POWER_MIN];
        EXPECT(have[0] == want[0] && have[1] == want[1]);
        EXPECT_EQ(top, num_log2_pow10(q));
        big_mul(&b, 10);
    }
    /* 2^2500 / 10^n: its upper bits are those of 10^-n, cut, as long as more than 128 bits are left. */
    memset(&b, 0, sizeof b);
    b.w[2500 / 32] = 1U << (2500 % 32);
    for (int q = -1; q >= NUM_POWER_MIN; q--) {
        uint64_t want[2];
        int top;
        (void)big_div(&b, 10);
        big_top128(&b, want, &top);
        const uint64_t *have = num_powers[q - NUM_POWER_MIN];
        EXPECT(have[0] == want[0] && have[1] == want[1]);
        EXPECT_EQ(top - 2500, num_log2_pow10(q));
    }
}
