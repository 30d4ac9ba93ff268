/* Numbers as text, both ways, exact and fast. Reading: correctly rounded (bit-identical to strtof/strtod) with a fast
 * path for up to 19 digits (Clinger's method; a guard band sends what could round wrongly to the slow path). Writing:
 * shortest text that reads back to the same value. Never depends on the locale. */
#ifndef BASE_NUM_H
#define BASE_NUM_H

#include "base/str.h"

/* Parses one JSON number at p (end: first byte not to be used; BUF_PAD readable bytes behind it). Returns the byte behind the
 * number, or NULL when there is none. Values out of range become +-infinity: the caller decides. */
const char *num_parse_f64(const char *p, const char *end, double *out);

/* Shortest round-trip text. out has at least NUM_FLOAT_MAX bytes; returns the length (no NUL). NaN and infinities are written
 * NaN, Infinity, -Infinity. Whole values are written without a fraction ("3" for 3.0f). */
#define NUM_FLOAT_MAX 32
size_t num_format_f64(double v, char *out);
size_t num_format_f32(float v, char *out);
size_t num_format_u64(uint64_t v, char *out); /* at most 20 bytes */
size_t num_format_i64(int64_t v, char *out);  /* at most 20 bytes */

/* IEEE half and bfloat16, round to nearest even, NaN kept NaN, overflow to infinity. */
float f16_to_f32(uint16_t h);
uint16_t f32_to_f16(float f);
float bf16_to_f32(uint16_t b);
uint16_t f32_to_bf16(float f);

#endif
