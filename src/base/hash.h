/* Hashes. hash64: fast, seeded, for tables (strangers choose keys, so tables use hash_seed()). hash128: fingerprints of
 * content, not against an adversary who knows the seed. sha256: FIPS 180-4, for files whose hash is pinned. */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include "base/str.h"

struct hash128 {
    uint64_t lo, hi;
};

uint64_t hash_seed(void); /* random per process */
uint64_t hash64(const void *p, size_t n, uint64_t seed);
struct hash128 hash128(const void *p, size_t n, uint64_t seed);

struct sha256 {
    uint32_t h[8];
    uint64_t len;
    unsigned char block[64];
};
void sha256_init(struct sha256 *s);
void sha256_add(struct sha256 *s, const void *p, size_t n);
void sha256_end(struct sha256 *s, unsigned char out[32]);
void sha256_hex(const unsigned char sum[32], char out[65]);

#endif
