/* IEEE half precision and bfloat16, by integer arithmetic: the same bits on every CPU. */
#include <string.h>

#include "base/num.h"

static uint32_t bits_of(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static float float_of(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

float f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 0x1F, fraction = h & 0x3FF;
    if (exponent == 31)
        return float_of(sign | 0x7F800000 | fraction << 13);
    if (exponent != 0)
        return float_of(sign | (exponent + 112) << 23 | fraction << 13);
    float small = (float)fraction * 0x1p-24F; /* subnormal half: exact as a float */
    return float_of(sign | bits_of(small));
}

uint16_t f32_to_f16(float f)
{
    uint32_t u = bits_of(f), sign = u >> 16 & 0x8000, a = u & 0x7FFFFFFF;
    if (a > 0x7F800000) /* NaN stays NaN, quiet, with the upper bits of its payload */
        return (uint16_t)(sign | 0x7E00 | (a >> 13 & 0x3FF));
    if (a >= 0x477FF000) /* 65520 and above round to infinity */
        return (uint16_t)(sign | 0x7C00);
    if (a >= 0x38800000) { /* normal half: round to even at bit 13 */
        uint32_t r = a - 0x38000000 + 0xFFF + (a >> 13 & 1);
        return (uint16_t)(sign | r >> 13);
    }
    if (a < 0x33000000) /* below half of the smallest subnormal */
        return (uint16_t)sign;
    uint32_t shift = 126 - (a >> 23), m = (a & 0x7FFFFF) | 0x800000; /* 14..24 */
    uint32_t whole = m >> shift, rest = m & ((1U << shift) - 1), half = 1U << (shift - 1);
    whole += rest > half || (rest == half && (whole & 1) != 0);
    return (uint16_t)(sign | whole);
}

float bf16_to_f32(uint16_t b)
{
    return float_of((uint32_t)b << 16);
}

uint16_t f32_to_bf16(float f)
{
    uint32_t u = bits_of(f);
    if ((u & 0x7FFFFFFF) > 0x7F800000)
        return (uint16_t)(u >> 16 | 0x40);
    return (uint16_t)((u + 0x7FFF + (u >> 16 & 1)) >> 16);
}
