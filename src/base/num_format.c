/* Numbers to text. The shortest digits come from Giulietti's Schubfach method: for v = c * 2^q, the interval of all reals that read back as
 * v is scaled by a power of ten so that it holds at least one and fewer than ten whole numbers; the shortest (else the nearest) one in it is the answer. Three
 * multiplications by one table entry, with the lost bits folded into the lowest one ("round to odd"), make that exact. */
#include <math.h>

#include "base/num.h"
#include "base/num_int.h"

static const char digit_pairs[200] =
    "00010203040506070809101112131415161718192021222324252627282930313233343536373839404142434445464748"
    "495051525354555657585960616263646566676869707172737475767778798081828384858687888990919293949596"
    "979899";

static int count_digits(uint64_t v)
{
    int n = ((64 - __builtin_clzll(v | 1)) * 1233) >> 12; /* 1233/4096 is a little above log10(2): n or n + 1 digits */
    return n + (n == 0 || v >= num_pow10_u64[n]);
}

/* Writes the n digits of v so that they end at `end`. */
static void put_digits(uint64_t v, char *end)
{
    while (v >= 100) {
        memcpy(end -= 2, digit_pairs + v % 100 * 2, 2);
        v /= 100;
    }
    if (v >= 10)
        memcpy(end - 2, digit_pairs + v * 2, 2);
    else
        end[-1] = (char)('0' + v);
}

size_t num_format_u64(uint64_t v, char *out)
{
    int n = count_digits(v);
    put_digits(v, out + n);
    return (size_t)n;
}

size_t num_format_i64(int64_t v, char *out)
{
    if (v >= 0)
        return num_format_u64((uint64_t)v, out);
    *out = '-';
    return 1 + num_format_u64(-(uint64_t)v, out + 1);
}

struct decimal {
    uint64_t digits;
    int exp10;
};

static int floor_div_log10_pow2(int e)
{
    return (e * 1262611) >> 22; /* floor(e * log10(2)) for |e| < 1650 */
}

static int floor_log10_three_quarters_pow2(int e)
{
    return (e * 1262611 - 524031) >> 22; /* floor(log10(3/4 * 2^e)) */
}

/* The last step, the same for both formats: scaled values are four times the number, so that the interval's ends at half units are whole. */
static struct decimal pick(uint64_t lower, uint64_t v, uint64_t upper, int k)
{
    uint64_t s = v / 4;
    if (s >= 10) {
        uint64_t tens = s / 10;
        bool down = lower <= 40 * tens, up = 40 * tens + 40 <= upper;
        if (down != up)
            return (struct decimal){tens + up, k + 1};
    }
    bool down = lower <= 4 * s, up = 4 * s + 4 <= upper;
    if (down != up)
        return (struct decimal){s + up, k};
    uint64_t middle = 4 * s + 2;
    return (struct decimal){s + (v > middle || (v == middle && (s & 1) != 0)), k};
}

static uint64_t scale64(uint64_t g, uint64_t v)
{
    num_u128 p = (num_u128)g * v;
    uint64_t low = (uint64_t)p >> 32;
    return (uint64_t)(p >> 64) | (low > 1);
}

static struct decimal shortest_f32(uint32_t fraction, int biased)
{
    bool normal = biased != 0,
         closer = fraction == 0 && biased > 1; /* the lower neighbour is nearer below a power of two */
    uint64_t c = fraction | (uint64_t)normal << 23;
    int q = (normal ? biased : 1) - 150;
    bool odd = (c & 1) != 0;
    int k = closer ? floor_log10_three_quarters_pow2(q) : floor_div_log10_pow2(q);
    const uint64_t *power = num_powers[-k - NUM_POWER_MIN];
    uint64_t g = power[0] + (power[1] != 0 || -k < 0 || -k > NUM_POWER_EXACT_MAX); /* rounded up to 64 bits */
    int h = q + num_log2_pow10(-k) + 1;
    uint64_t lower = scale64(g, (4 * c - 2 + closer) << h), v = scale64(g, (4 * c) << h);
    uint64_t upper = scale64(g, (4 * c + 2) << h);
    return pick(lower + odd, v, upper - odd, k);
}

static uint64_t scale128(uint64_t g_hi, uint64_t g_lo, uint64_t v)
{
    num_u128 low = (num_u128)g_lo * v, high = (num_u128)g_hi * v + (uint64_t)(low >> 64);
    return (uint64_t)(high >> 64) | ((uint64_t)high > 1);
}

static struct decimal shortest_f64(uint64_t fraction, int biased)
{
    bool normal = biased != 0, closer = fraction == 0 && biased > 1;
    uint64_t c = fraction | (uint64_t)normal << 52;
    int q = (normal ? biased : 1) - 1075;
    bool odd = (c & 1) != 0;
    int k = closer ? floor_log10_three_quarters_pow2(q) : floor_div_log10_pow2(q);
    const uint64_t *power = num_powers[-k - NUM_POWER_MIN];
    uint64_t lo = power[1] + (-k < 0 || -k > NUM_POWER_EXACT_MAX), hi = power[0] + (lo < power[1]);
    int h = q + num_log2_pow10(-k) + 1;
    uint64_t lower = scale128(hi, lo, (4 * c - 2 + closer) << h), v = scale128(hi, lo, (4 * c) << h);
    uint64_t upper = scale128(hi, lo, (4 * c + 2) << h);
    return pick(lower + odd, v, upper - odd, k);
}

static struct decimal strip_zeros(struct decimal d)
{
    while (d.digits % 10000 == 0) {
        d.digits /= 10000;
        d.exp10 += 4;
    }
    while (d.digits % 10 == 0) {
        d.digits /= 10;
        d.exp10++;
    }
    return d;
}

/* Plain notation for 1e-5 <= v < 1e16, else 1.25e-7: never longer than NUM_FLOAT_MAX. */
static size_t put_decimal(struct decimal d, char *out)
{
    d = strip_zeros(d);
    int n = count_digits(d.digits), point = n + d.exp10; /* value = 0.DIGITS * 10^point */
    if (d.exp10 >= 0 && point <= 16) {
        put_digits(d.digits, out + n);
        memset(out + n, '0', (size_t)d.exp10);
        return (size_t)point;
    }
    if (point > 0 && point <= 16) {
        put_digits(d.digits, out + n + 1);
        memmove(out, out + 1, (size_t)point);
        out[point] = '.';
        return (size_t)n + 1;
    }
    if (point > -5 && point <= 0) {
        int len = 2 - point + n;
        out[0] = '0';
        out[1] = '.';
        memset(out + 2, '0', 4);
        put_digits(d.digits, out + len);
        return (size_t)len;
    }
    put_digits(d.digits, out + n + 1);
    out[0] = out[1];
    size_t at = 1;
    if (n > 1) {
        out[1] = '.';
        at = (size_t)n + 1;
    }
    out[at++] = 'e';
    return at + num_format_i64(point - 1, out + at);
}

static size_t put_special(bool is_nan, bool negative, char *out)
{
    struct str text = is_nan ? STR("NaN") : negative ? STR("-Infinity") : STR("Infinity");
    memcpy(out, text.p, text.n);
    return text.n;
}

size_t num_format_f32(float v, char *out)
{
    uint32_t u;
    memcpy(&u, &v, sizeof u);
    uint32_t fraction = u & 0x7FFFFF;
    int biased = (int)(u >> 23 & 0xFF);
    bool negative = u >> 31 != 0;
    if (biased == 255)
        return put_special(fraction != 0, negative, out);
    size_t sign = negative;
    out[0] = '-';
    if (biased == 0 && fraction == 0)
        return sign + num_format_u64(0, out + sign);
    float a = fabsf(v);
    if (a < 16777216.0F && a == (float)(uint32_t)a) /* whole: labels and counts are common, and this is quick */
        return sign + num_format_u64((uint32_t)a, out + sign);
    return sign + put_decimal(shortest_f32(fraction, biased), out + sign);
}

size_t num_format_f64(double v, char *out)
{
    uint64_t u;
    memcpy(&u, &v, sizeof u);
    uint64_t fraction = u & ((UINT64_C(1) << 52) - 1);
    int biased = (int)(u >> 52 & 0x7FF);
    bool negative = u >> 63 != 0;
    if (biased == 2047)
        return put_special(fraction != 0, negative, out);
    size_t sign = negative;
    out[0] = '-';
    if (biased == 0 && fraction == 0)
        return sign + num_format_u64(0, out + sign);
    double a = fabs(v);
    if (a < 9007199254740992.0 && a == (double)(uint64_t)a)
        return sign + num_format_u64((uint64_t)a, out + sign);
    return sign + put_decimal(shortest_f64(fraction, biased), out + sign);
}
