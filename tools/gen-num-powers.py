#!/usr/bin/env python3
"""Writes src/base/num_powers.c: powers of ten cut to 128 bits, for reading and writing floats.
test/base/t_num_powers.c recomputes the table by another way."""

FIRST, LAST = -342, 324

print("/* Written by tools/gen-num-powers.py: 10^q for q = %d..%d, scaled to [2^127, 2^128) and cut, high word first. */" % (FIRST, LAST))
print('#include "base/num_int.h"\n')
print("/* clang-format off */")
print("const uint64_t num_powers[NUM_POWER_MAX - NUM_POWER_MIN + 1][2] = {")
for q in range(FIRST, LAST + 1):
    if q >= 0:
        v = 10**q
        bits = v.bit_length()
        v = v << (128 - bits) if bits <= 128 else v >> (bits - 128)
    else:
        d = 10**-q
        v = (1 << (127 + d.bit_length())) // d
        v >>= v.bit_length() - 128
    print("    {UINT64_C(0x%016x), UINT64_C(0x%016x)}," % (v >> 64, v & (2**64 - 1)))
print("};")
