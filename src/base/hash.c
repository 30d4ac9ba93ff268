/* hash64: multiply-fold over 16-byte steps.
 *
 *   fold(x, y) = low half XOR high half of the 128-bit product x * y
 *
 * One such fold mixes two words completely and costs one multiplication. Both factors are XORed with a secret that comes from the
 * seed before they meet, so that somebody who does not know the seed cannot choose a factor of zero, which would swallow the other.
 *
 *   up to 16 bytes   two words read from both ends (overlapping), one fold
 *   up to 64 bytes   one chain of folds, the last step overlapping what went before
 *   more             four independent chains of 16 bytes per step hide the latency of the multiplication; then as above
 *
 * The length goes into the last fold, so that overlapping reads do not make "a" and "aa" equal. Values are the same on every machine
 * (loads are little-endian) but are no promise: nothing that is stored may depend on them from one version to the next. */
#include "base/hash.h"

#include <stdatomic.h>
#include <string.h>

#include "base/rand.h"

/* Odd words without structure: the first 64 bits of the fractional parts of the square roots of 2, 3, 5, 7, 11, 13 (made odd). */
#define K0 UINT64_C(0x6A09E667F3BCC909)
#define K1 UINT64_C(0xBB67AE8584CAA73B)
#define K2 UINT64_C(0x3C6EF372FE94F82B)
#define K3 UINT64_C(0xA54FF53A5F1D36F1)
#define K4 UINT64_C(0x510E527FADE682D1)
#define K5 UINT64_C(0x9B05688C2B3E6C1F)

uint64_t hash_seed(void)
{
    static _Atomic uint64_t seed;
    uint64_t have = atomic_load_explicit(&seed, memory_order_relaxed);
    if (have != 0)
        return have;
    uint64_t mine;
    do
        rand_secure(&mine, sizeof mine);
    while (mine == 0);
    /* The first thread wins; all return its seed. */
    return atomic_compare_exchange_strong(&seed, &have, mine) ? mine : have;
}

static uint64_t load64(const unsigned char *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap64(v);
#endif
    return v;
}

static uint64_t load32(const unsigned char *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap32(v);
#endif
    return v;
}

static inline uint64_t fold(uint64_t x, uint64_t y)
{
    unsigned __int128 product = (unsigned __int128)x * y;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t step(const unsigned char *p, uint64_t secret, uint64_t chain)
{
    return fold(load64(p) ^ secret, load64(p + 8) ^ chain);
}

static uint64_t fold_short(const unsigned char *p, size_t n, uint64_t secret, uint64_t chain)
{
    uint64_t a = 0, b = 0;
    if (n >= 8) {
        a = load64(p);
        b = load64(p + n - 8);
    } else if (n >= 4) {
        a = load32(p);
        b = load32(p + n - 4);
    } else if (n > 0) {
        a = (uint64_t)p[0] << 16 | (uint64_t)p[n / 2] << 8 | p[n - 1];
    }
    return fold(a ^ secret, b ^ chain);
}

uint64_t hash64(const void *data, size_t n, uint64_t seed)
{
    const unsigned char *p = data;
    uint64_t secret = fold(seed ^ K0, K1);
    uint64_t chain = seed ^ K2;
    size_t left = n;
    if (n <= 16) {
        chain = fold_short(p, n, secret, chain);
    } else {
        if (left > 64) {
            uint64_t c1 = chain ^ K3, c2 = chain ^ K4, c3 = chain ^ K5;
            for (; left > 64; left -= 64, p += 64) {
                chain = step(p, secret, chain);
                c1 = step(p + 16, secret ^ K3, c1);
                c2 = step(p + 32, secret ^ K4, c2);
                c3 = step(p + 48, secret ^ K5, c3);
            }
            chain = fold(chain ^ c1 ^ K3, c2 ^ secret) ^ c3;
        }
        for (; left > 16; left -= 16, p += 16)
            chain = step(p, secret, chain);
        chain = step(p + left - 16, secret ^ K5, chain);
    }
    return fold(chain ^ K4 ^ (uint64_t)n, secret ^ K1);
}

struct hash128 hash128(const void *p, size_t n, uint64_t seed)
{
    /* Two passes with unrelated secrets: simple, and the second pass finds the bytes in the cache. */
    return (struct hash128){.lo = hash64(p, n, seed), .hi = hash64(p, n, fold(seed ^ K5, K3))};
}
