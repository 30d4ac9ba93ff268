/* Text to numbers: the careful scanner and the rare cases. The usual case is inline in num_int.h. */
#include <math.h>
#include <stdlib.h>

#include "base/num.h"
#include "base/num_int.h"

const uint64_t num_pow10_u64[20] = {
    1u,
    10u,
    100u,
    1000u,
    10000u,
    100000u,
    1000000u,
    10000000u,
    100000000u,
    1000000000u,
    10000000000u,
    100000000000u,
    1000000000000u,
    10000000000000u,
    100000000000000u,
    1000000000000000u,
    10000000000000000u,
    100000000000000000u,
    1000000000000000000u,
    10000000000000000000u,
};

/* Exponents are clamped here: far beyond every format, and far from overflow when digit counts are added. */
#define EXPONENT_CLAMP INT64_C(1000000000000)

static const char *scan_exponent(const char *p, const char *end, int64_t *out)
{
    p++;
    bool minus = p < end && *p == '-';
    p += p < end && (*p == '-' || *p == '+');
    const char *first = p;
    int64_t x = 0;
    for (; p < end && num_is_digit(*p); p++)
        if (x < EXPONENT_CLAMP)
            x = x * 10 + (*p - '0');
    *out = minus ? -x : x;
    return p == first ? NULL : p;
}

/* Significant digits go to mant while they fit (19, or 20 of a whole number of 64 bits); counts those dropped behind them. */
static const char *scan_digits(const char *p, const char *end, struct num_decimal *d, int64_t *dropped)
{
    for (; p < end && num_is_digit(*p); p++) {
        uint64_t next;
        if (d->cut || __builtin_mul_overflow(d->mant, UINT64_C(10), &next) ||
            __builtin_add_overflow(next, (uint64_t)(*p - '0'), &next)) {
            d->cut = true;
            ++*dropped;
        } else {
            d->mant = next;
        }
    }
    return p;
}

const char *num_scan_careful(const char *p, const char *end, struct num_decimal *d)
{
    *d = (struct num_decimal){.negative = p < end && *p == '-'};
    p += d->negative;
    if (p >= end || !num_is_digit(*p))
        return NULL;
    int64_t exp10 = 0, exponent = 0;
    if (*p == '0') {
        p++;
        if (p < end && num_is_digit(*p))
            return NULL;
    } else {
        p = scan_digits(p, end, d, &exp10);
    }
    if (p < end && *p == '.') {
        const char *frac = ++p;
        int64_t dropped = 0;
        p = scan_digits(p, end, d, &dropped);
        if (p == frac)
            return NULL;
        exp10 -= (p - frac) - dropped;
    }
    if (p < end && (*p | 0x20) == 'e' && !(p = scan_exponent(p, end, &exponent)))
        return NULL;
    exp10 += exponent;
    d->exp10 = (int32_t)(exp10 < -100000 ? -100000 : exp10 > 100000 ? 100000 : exp10);
    return p;
}

const char *num_scan(const char *p, const char *end, struct num_decimal *d)
{
    return num_scan_here(p, end, d);
}

/* The number again as "digits e exponent", for the C library: without a decimal point its result does not depend on the locale. 800 digits
 * decide every double (the longest exact midpoint has 767); a 1 stands for what is cut behind them. */
#define HARD_DIGITS 800
struct hard_text {
    char text[HARD_DIGITS + 32];
};

static void hard_text(struct hard_text *t, const char *p, const char *stop)
{
    size_t n = 0;
    int64_t exp10 = 0, exponent = 0;
    bool in_fraction = false, rest = false;
    if (*p == '-')
        t->text[n++] = *p++;
    size_t first = n;
    for (; p < stop && (num_is_digit(*p) || *p == '.'); p++) {
        if (*p == '.') {
            in_fraction = true;
            continue;
        }
        bool keep = n - first < HARD_DIGITS && !(n == first && *p == '0');
        if (keep)
            t->text[n++] = *p;
        rest |= !keep && *p != '0';
        exp10 += (!keep && n > first) - (int)in_fraction;
    }
    if (p < stop)
        (void)scan_exponent(p, stop, &exponent); /* checked by the scanner before */
    if (n == first)
        t->text[n++] = '0';
    if (rest) {
        t->text[n++] = '1';
        exp10--;
    }
    exp10 += exponent;
    exp10 = exp10 < -100000 ? -100000 : exp10 > 100000 ? 100000 : exp10;
    t->text[n++] = 'e';
    n += num_format_i64(exp10, t->text + n);
    t->text[n] = '\0';
}

/* Second step: 128 bits of the power, subnormals, exact ties. False: too near to call even so. */
static bool round_wide(const struct num_decimal *d, int bits, int emin, uint64_t *out_m, int *out_e)
{
    int q = d->exp10, lz = __builtin_clzll(d->mant);
    uint64_t w = d->mant << lz;
    const uint64_t *power = num_powers[q - NUM_POWER_MIN];
    num_u128 low = (num_u128)w * power[1];
    num_u128 product = (num_u128)w * power[0] + (low >> 64);
    bool exact = q >= 0 && q <= NUM_POWER_EXACT_MAX && !d->cut, sticky = exact && (uint64_t)low != 0;
    int up = (int)(product >> 127), e = num_log2_pow10(q) + 63 + up - lz, shift = 127 + up - bits;
    if (e < emin) {
        shift += emin - e;
        e = emin;
    }
    if (shift > 128) { /* below half of the smallest number */
        *out_m = 0;
        *out_e = e;
        return true;
    }
    num_u128 m = shift == 128 ? 0 : product >> shift, half = (num_u128)1 << (shift - 1);
    num_u128 rest = product - (shift == 128 ? 0 : m << shift);
    num_u128 error = exact ? 0 : 2 + (d->cut ? (num_u128)1 << (lz + 64) : 0);
    if (error != 0 && rest <= half && half - rest < error)
        return false;
    m += rest > half || (rest == half && (sticky || (m & 1) != 0));
    *out_m = (uint64_t)m;
    *out_e = e;
    return true;
}

float num_hard_f32(const struct num_decimal *d, const char *start, const char *stop)
{
    float sign = d->negative ? -1.0F : 1.0F;
    if (d->mant == 0 || d->exp10 < -65)
        return sign * 0.0F;
    if (d->exp10 > 38)
        return sign * INFINITY;
    uint64_t m;
    int e;
    if (round_wide(d, 24, -126, &m, &e))
        return sign * ldexpf((float)m, e - 23);
    struct hard_text t;
    hard_text(&t, start, stop);
    return strtof(t.text, NULL);
}

double num_hard_f64(const struct num_decimal *d, const char *start, const char *stop)
{
    double sign = d->negative ? -1.0 : 1.0;
    if (d->mant == 0 || d->exp10 < NUM_POWER_MIN)
        return sign * 0.0;
    if (d->exp10 > 308)
        return sign * (double)INFINITY;
    uint64_t m;
    int e;
    if (round_wide(d, 53, -1022, &m, &e))
        return sign * ldexp((double)m, e - 52);
    struct hard_text t;
    hard_text(&t, start, stop);
    return strtod(t.text, NULL);
}

const char *num_parse_f64(const char *p, const char *end, double *out)
{
    struct num_decimal d;
    if (p >= end)
        return NULL;
    const char *stop = num_scan(p, end, &d);
    if (stop && !num_easy_f64(&d, out))
        *out = num_hard_f64(&d, p, stop);
    return stop;
}
