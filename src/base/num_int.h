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

/* The same for the usual number; looks at most BUF_PAD bytes ahead of p, without regard to end, and hands over to num_scan_careful whatever
 * is long or touches the end. */
static inline const char *num_scan(const char *start, const char *end, struct num_decimal *d)
{
    const char *p = start;
    d->negative = *p == '-';
    p += d->negative;
    uint64_t mant = (unsigned char)(*p - '0');
    if (UNLIKELY(mant > 9))
        return NULL;
    p++;
    ptrdiff_t digits = 0;
    if (mant != 0) {
        const char *first = p - 1, *limit = p + NUM_DIGITS_MAX;
        while (num_is_digit(*p) && p < limit)
            mant = mant * 10 + (uint64_t)(*p++ - '0');
        digits = p - first;
    }
    int32_t exp10 = 0;
    if (*p == '.') {
        const char *frac = ++p;
        uint64_t w = num_load8(p), non = num_nondigits(w);
        for (int block = 0; non == 0 && block < 3; block++) {
            mant = mant * 100000000 + num_join8(w - NUM_ASCII_ZERO);
            p += 8;
            w = num_load8(p);
            non = num_nondigits(w);
        }
        if (UNLIKELY(non == 0))
            return num_scan_careful(start, end, d);
        int tail_bits = __builtin_ctzll(non) & ~7;
        if (tail_bits != 0) {
            mant = mant * num_pow10_u64[tail_bits / 8] + num_join8((w - NUM_ASCII_ZERO) << (64 - tail_bits));
            p += tail_bits / 8;
        }
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
        const char *limit = e + 4, *first = e;
        while (num_is_digit(*e) && e < limit)
            x = x * 10 + (*e++ - '0');
        if (UNLIKELY(e == first || num_is_digit(*e)))
            return num_scan_careful(start, end, d);
        exp10 += minus ? -x : x;
        p = e;
    }
    if (UNLIKELY(digits > NUM_DIGITS_MAX)) { /* zeros in front do not count */
        const char *z = start + d->negative;
        if (*z++ == '0')
            while (*z == '0' || *z == '.')
                digits -= *z++ == '0';
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

/* One rounding step for a format of `bits` significant bits and exponents emin..emax. False: too near to call, or not a normal number.
 * On success value = *m * 2^(*e - bits + 1), where *m may have reached 2^bits by rounding up. */
static inline bool num_round(const struct num_decimal *d, int bits, int emin, int emax, uint64_t *m, int *e)
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
    return !(rest <= half && rest + error > half) && *e >= emin && *e <= emax;
}

/* Everything that num_round declines: zero, subnormal, out of range, near a tie. start..stop is the number's text. */
float num_hard_f32(const struct num_decimal *d, const char *start, const char *stop);
double num_hard_f64(const struct num_decimal *d, const char *start, const char *stop);

static inline float num_finish_f32(const struct num_decimal *d, const char *start, const char *stop)
{
    uint64_t m;
    int e;
    if (UNLIKELY(d->mant == 0 || d->exp10 < -65 || d->exp10 > 38 || !num_round(d, 24, -126, 127, &m, &e)))
        return num_hard_f32(d, start, stop);
    /* Adding lets a mantissa that was rounded up to 2^24 carry into the exponent, up to infinity. */
    uint32_t u = (uint32_t)((uint64_t)(e + 126) << 23) + (uint32_t)m;
    u |= (uint32_t)d->negative << 31;
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static inline double num_finish_f64(const struct num_decimal *d, const char *start, const char *stop)
{
    uint64_t m;
    int e;
    if (UNLIKELY(d->mant == 0 || d->exp10 < NUM_POWER_MIN || d->exp10 > 308 || !num_round(d, 53, -1022, 1023, &m, &e)))
        return num_hard_f64(d, start, stop);
    uint64_t u = ((uint64_t)(e + 1022) << 52) + m;
    u |= (uint64_t)d->negative << 63;
    double f;
    memcpy(&f, &u, sizeof f);
    return f;
}

#endif
