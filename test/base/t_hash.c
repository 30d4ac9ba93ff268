#include "t.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/rand.h"

TEST(hash64_reads_exactly_n_bytes)
{
    /* Each length in a block of its own, so that the address sanitizer sees a byte too much; and bytes around do not matter. */
    for (size_t n = 0; n < 300; n++) {
        unsigned char *exact = malloc(n == 0 ? 1 : n), *shifted = malloc(n + 2);
        EXPECT(exact != NULL && shifted != NULL);
        memset(shifted, 0xEE, n + 2);
        for (size_t i = 0; i < n; i++)
            exact[i] = shifted[i + 1] = (unsigned char)(i * 7);
        EXPECT(hash64(exact, n, 5) == hash64(shifted + 1, n, 5));
        free(exact);
        free(shifted);
    }
    EXPECT(hash64(NULL, 0, 1) == hash64("", 0, 1));
}

TEST(hash64_changes_with_length_seed_and_every_bit)
{
    unsigned char data[200] = {0};
    for (size_t n = 0; n < sizeof data; n++) { /* runs of zeros of different length */
        EXPECT(hash64(data, n, 1) != hash64(data, n + 1, 1));
        EXPECT(hash64(data, n, 1) != hash64(data, n, 2));
    }
    rand_seed(1);
    for (size_t n = 1; n < sizeof data; n++) {
        uint64_t before = hash64(data, n, 9);
        size_t bit = (size_t)rand_below(n * 8);
        data[bit / 8] ^= (unsigned char)(1 << bit % 8);
        EXPECT(hash64(data, n, 9) != before);
    }
}

/* Flips each input bit: each output bit must change in about half of the trials. */
static void check_avalanche(size_t n)
{
    enum { TRIALS = 300 };
    unsigned char data[256];
    for (size_t in = 0; in<n * 8; in += n> 32 ? 11 : 1) {
        int flips[64] = {0};
        for (int t = 0; t < TRIALS; t++) {
            for (size_t i = 0; i < n; i++)
                data[i] = (unsigned char)rand_u64();
            uint64_t seed = rand_u64(), before = hash64(data, n, seed);
            data[in / 8] ^= (unsigned char)(1 << in % 8);
            uint64_t changed = before ^ hash64(data, n, seed);
            for (int out = 0; out < 64; out++)
                flips[out] += (int)(changed >> out & 1);
        }
        for (int out = 0; out < 64; out++)
            if (abs(flips[out] - TRIALS / 2) > 60) /* seven standard deviations */
                FAIL("%zu bytes: bit %zu flips output bit %d in %d of %d trials", n, in, out, flips[out], TRIALS);
    }
}

TEST_SLOW(hash64_avalanche, 20)
{
    static const size_t lengths[] = {1, 3, 4, 7, 8, 15, 16, 17, 31, 64, 65, 130};
    rand_seed(7);
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++)
        check_avalanche(lengths[i]);
}

TEST(hash64_spreads_similar_keys_evenly_over_buckets)
{
    /* Keys as tables see them; low and high bits both serve as bucket index. Chi-squared of 1023 degrees of freedom: mean 1023,
     * standard deviation 45. */
    enum { BUCKETS = 1024, KEYS = 64 * BUCKETS };
    static int low[BUCKETS], high[BUCKETS];
    for (int i = 0; i < KEYS; i++) {
        char key[32];
        int n = snprintf(key, sizeof key, "model-%d", i);
        uint64_t h = hash64(key, (size_t)n, 12345);
        low[h % BUCKETS]++;
        high[h >> 54]++;
    }
    double low_chi = 0, high_chi = 0;
    for (int i = 0; i < BUCKETS; i++) {
        low_chi += pow(low[i] - 64, 2) / 64;
        high_chi += pow(high[i] - 64, 2) / 64;
    }
    EXPECT_NEAR(low_chi, 1023, 300);
    EXPECT_NEAR(high_chi, 1023, 300);
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

TEST(hash64_and_hash128_do_not_collide_on_sparse_input)
{
    enum { BYTES = 96, KEYS = BYTES * 8 + BYTES * 8 * (BYTES * 8 - 1) / 2 };
    uint64_t *seen = malloc(KEYS * sizeof *seen);
    EXPECT(seen != NULL);
    size_t n = 0;
    unsigned char data[BYTES] = {0};
    for (size_t i = 0; i < BYTES * 8; i++) { /* all keys with one or two bits set */
        data[i / 8] ^= (unsigned char)(1 << i % 8);
        seen[n++] = hash64(data, BYTES, 0);
        for (size_t k = 0; k < i; k++) {
            data[k / 8] ^= (unsigned char)(1 << k % 8);
            seen[n++] = hash128(data, BYTES, 0).hi;
            data[k / 8] ^= (unsigned char)(1 << k % 8);
        }
        data[i / 8] ^= (unsigned char)(1 << i % 8);
    }
    qsort(seen, n, sizeof *seen, by_value);
    for (size_t i = 1; i < n; i++)
        EXPECT(seen[i] != seen[i - 1]);
    free(seen);
    struct hash128 h = hash128("abc", 3, 1);
    EXPECT(h.lo != h.hi);
}

TEST(hash_seed_is_stable_in_a_process)
{
    EXPECT(hash_seed() != 0);
    EXPECT(hash_seed() == hash_seed());
}

static void expect_sha256(const void *data, size_t n, size_t piece, const char *want)
{
    struct sha256 s;
    unsigned char sum[32];
    char hex[65];
    sha256_init(&s);
    for (size_t at = 0; at < n; at += piece)
        sha256_add(&s, (const char *)data + at, piece < n - at ? piece : n - at);
    sha256_end(&s, sum);
    sha256_hex(sum, hex);
    EXPECT_CSTR(hex, want);
}

TEST(sha256_known_answers)
{
    /* FIPS 180-4 examples, NIST. */
    static const char two_blocks[] = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    expect_sha256("", 0, 1, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    expect_sha256("abc", 3, 3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    for (size_t piece = 1; piece < 60; piece++)
        expect_sha256(two_blocks, 56, piece, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    char *million = malloc(1000000);
    EXPECT(million != NULL);
    memset(million, 'a', 1000000);
    expect_sha256(million, 1000000, 1000000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    expect_sha256(million, 1000000, 4097, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    free(million);
}

TEST(sha256_pieces_make_no_difference_at_block_edges)
{
    unsigned char data[200], whole[32], pieces[32];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (unsigned char)i;
    for (size_t n = 0; n <= sizeof data; n++) {
        struct sha256 s;
        sha256_init(&s);
        sha256_add(&s, data, n);
        sha256_end(&s, whole);
        sha256_init(&s);
        for (size_t i = 0; i < n; i++)
            sha256_add(&s, data + i, 1);
        sha256_add(&s, NULL, 0);
        sha256_end(&s, pieces);
        EXPECT(memcmp(whole, pieces, 32) == 0);
    }
}
