/* Private to base: the inner steps of reading a number, shared by num_parse.c and the array loops of json_numbers.c. They are
 * inline because an array of floats spends all its time here: a call per step would cost a quarter of the throughput.
 *
 * A number is scanned into mant * 10^exp10 (at most 19 digits; `cut` says that more followed), then multiplied by a 128-bit power of ten
 * (Eisel and Lemire's way). The product is known up to an error bound. When the rounding decision lies inside the bound the caller goes to
 * the wider step, and from there to the C library with an exact decimal text. So every result is correctly rounded. */
#ifndef BASE_NUM_INT_H
#define BASE_NUM_INT_H

#include <string.h>

#include "base/num.h"

__extension__ typedef unsigned __int128 num_u128;

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "digits are read eight at a time, lowest byte first");

/* 10^q = num_powers[q - NUM_POWER_MIN] * 2^(num_log2_pow10(q) - 127), cut to 128 bits (hi, lo). Exact for 0 <= q <= 55. */
#define NUM_POWER_MIN       (-342)
#define NUM_POWER_MAX       324
#define NUM_POWER_EXACT_MAX 55
extern const uint64_t num_powers[NUM_POWER_MAX - NUM_POWER_MIN + 1][2];
extern const uint64_t num_pow10_u64[20];

/* floor(log2(10^q)) for the table's range. */
static inline int num_log2_pow10(int q)
{
    return (q * 217706) >> 16;
}

struct num_decimal {
    uint64_t mant;
    int32_t exp10;
    bool negative;
    bool cut; /* digits behind the 19th were dropped: the value lies in [mant, mant + 1) */
};

#define NUM_DIGITS_MAX 19 /* 10^19 - 1 fits in 64 bits */
#define NUM_ASCII_ZERO UINT64_C(0x3030303030303030)

static inline uint64_t num_load8(const char *p)
{
    uint64_t w;
    memcpy(&w, p, sizeof w);
    return w;
}

/* High bit set in the first byte that is not a digit (bytes behind it are not reliable); 0 when all eight are. */
static inline uint64_t num_nondigits(uint64_t w)
{
    return ((w + UINT64_C(0x4646464646464646)) | (w - NUM_ASCII_ZERO)) & UINT64_C(0x8080808080808080);
}

/* Eight digit values, first digit in the lowest byte, to a number: pairs, then fours, then eight, in two multiplications. */
static inline uint64_t num_join8(uint64_t v)
{
    v = v * 10 + (v >> 8);
    return ((v & UINT64_C(0x000000FF000000FF)) * UINT64_C(0x000F424000000064) +
            ((v >> 16) & UINT64_C(0x000000FF000000FF)) * UINT64_C(0x0000271000000001)) >>
           32;
}

static inline bool num_is_digit(char c)
{
    return (unsigned char)(c - '0') <= 9;
}

/* The whole grammar, byte by byte, never reading at or behind end. NULL: no number. */
const char *num_scan_careful(const char *p, const char *end, struct num_decimal *d);

/* num_scan_here for callers that are not hot. */
const char *num_scan(const char *p, const char *end, struct num_decimal *d);

/* The same for the usual number; looks at most BUF_PAD bytes ahead of p, without regard to end, and hands over to num_scan_careful whatever
 * is long or touches the end. */
__attribute__((always_inline)) static inline const char *num_scan_here(const char *start, const char *end,
                                                                       struct num_decimal *d)
{
    const char *p = start;
    d->negative = *p == '-';
    p += d->negative;
    uint64_t mant = (unsigned char)(*p - '0');
    if (UNLIKELY(mant > 9))
        return NULL;
    p++;
    const char *first = p - 1, *limit = p + NUM_DIGITS_MAX;
    while (num_is_digit(*p) && p < limit)
        mant = mant * 10 + (uint64_t)(*p++ - '0');
    ptrdiff_t digits = p - first;
    if (UNLIKELY(digits > 1 && *first == '0')) /* wrong, unless the second digit lies behind the end */
        return num_scan_careful(start, end, d);
    int32_t exp10 = 0;
    if (*p == '.') {
        const char *frac = ++p;
        uint64_t w = num_load8(p), non = num_nondigits(w);
        if (non == 0) {
            mant = mant * 100000000 + num_join8(w - NUM_ASCII_ZERO);
            w = num_load8(p += 8);
            non = num_nondigits(w);
            if (LIKELY(non == 0)) {
                mant = mant * 100000000 + num_join8(w - NUM_ASCII_ZERO);
                w = num_load8(p += 8);
                non = num_nondigits(w);
                if (UNLIKELY(non == 0))
                    return num_scan_careful(start, end, d);
            }
        }
        /* 0 to 7 digits are left; no branch on how many, for it would be guessed wrongly half the time. */
        int tail_bits = __builtin_ctzll(non) & ~7;
        mant = mant * num_pow10_u64[tail_bits / 8] + num_join8((w - NUM_ASCII_ZERO) << (56 - tail_bits) << 8);
        p += tail_bits / 8;
        if (UNLIKELY(p == frac))
            return num_scan_careful(start, end, d);
        exp10 = (int32_t)(frac - p);
        digits += p - frac;
    }
    if ((*p | 0x20) == 'e') {
        const char *e = p + 1;
        bool minus = *e == '-';
        e += minus || *e == '+';
        int32_t x = 0;
        const char *e_limit = e + 4, *e_first = e;
        while (num_is_digit(*e) && e < e_limit)
            x = x * 10 + (*e++ - '0');
        if (UNLIKELY(e == e_first || num_is_digit(*e)))
            return num_scan_careful(start, end, d);
        exp10 += minus ? -x : x;
        p = e;
    }
    if (UNLIKELY(digits > NUM_DIGITS_MAX)) { /* zeros in front do not count */
        for (const char *z = first; *z == '0' || *z == '.'; z++)
            digits -= *z == '0';
        if (digits > NUM_DIGITS_MAX)
            return num_scan_careful(start, end, d);
    }
    if (UNLIKELY(p > end || num_is_digit(*p)))
        return num_scan_careful(start, end, d);
    d->mant = mant;
    d->exp10 = exp10;
    d->cut = false;
    return p;
}

/* One rounding step for a format of `bits` significant bits, for d->mant > 0. False: too near to call.
 * On success value = *m * 2^(*e - bits + 1), where *m may have reached 2^bits by rounding up. */
__attribute__((always_inline)) static inline bool num_round(const struct num_decimal *d, int bits, uint64_t *m, int *e)
{
    int lz = __builtin_clzll(d->mant);
    num_u128 product = (num_u128)(d->mant << lz) * num_powers[d->exp10 - NUM_POWER_MIN][0];
    uint64_t hi = (uint64_t)(product >> 64);
    int up = (int)(hi >> 63), shift = 63 + up - bits;
    *e = num_log2_pow10(d->exp10) + 63 + up - lz;
    /* The power is cut (error below 1 unit of hi) and so is the product (below 1): the truth lies in [hi, hi + 2), more when digits were cut. */
    uint64_t error = 2 + ((uint64_t)d->cut << lz);
    uint64_t rest = hi & ((UINT64_C(1) << shift) - 1), half = UINT64_C(1) << (shift - 1);
    *m = (hi >> shift) + (rest > half);
    /* Too near is 0 <= half - rest < error: one comparison, for a branch on which half it is would be guessed wrongly every other time. */
    return half - rest >= error;
}

/* Everything else: zero, very small and very large, near a tie. start..stop is the number's text. */
float num_hard_f32(const struct num_decimal *d, const char *start, const char *stop);
double num_hard_f64(const struct num_decimal *d, const char *start, const char *stop);

/* Exponents at which every mantissa of 64 bits gives a normal number, neither too small nor too large. */
#define NUM_F32_EXP_MIN (-37)
#define NUM_F32_EXP_MAX 18
#define NUM_F64_EXP_MIN (-307)
#define NUM_F64_EXP_MAX 288

/* The usual number; false: num_hard_f32 is needed. */
static inline bool num_easy_f32(const struct num_decimal *d, float *out)
{
    uint64_t m;
    int e;
    if (UNLIKELY(d->mant == 0 || d->exp10 < NUM_F32_EXP_MIN || d->exp10 > NUM_F32_EXP_MAX || !num_round(d, 24, &m, &e)))
        return false;
    /* Adding lets a mantissa that was rounded up to 2^24 carry into the exponent. */
    uint32_t u = ((uint32_t)(e + 126) << 23) + (uint32_t)m;
    u |= (uint32_t)d->negative << 31;
    memcpy(out, &u, sizeof u);
    return true;
}

static inline bool num_easy_f64(const struct num_decimal *d, double *out)
{
    uint64_t m;
    int e;
    if (UNLIKELY(d->mant == 0 || d->exp10 < NUM_F64_EXP_MIN || d->exp10 > NUM_F64_EXP_MAX || !num_round(d, 53, &m, &e)))
        return false;
    uint64_t u = ((uint64_t)(e + 1022) << 52) + m;
    u |= (uint64_t)d->negative << 63;
    memcpy(out, &u, sizeof u);
    return true;
}

#endif
