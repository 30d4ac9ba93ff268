#include "base/rand.h"

#include <errno.h>
#include <stdbool.h>
#include <sys/random.h>

#include "base/check.h"

static _Thread_local struct {
    uint64_t s[4];
    bool is_seeded;
} state;

void rand_secure(void *out, size_t n)
{
    char *at = out;
    while (n > 0) {
        ssize_t got = getrandom(at, n, 0);
        if (got < 0 && errno == EINTR)
            continue;
        CHECK(got > 0); /* the kernel cannot fail here once it has booted; without random ids we must not go on */
        at += got;
        n -= (size_t)got;
    }
}

/* splitmix64 (Steele, Lea, Flood 2014): spreads one word over the four of the state, which must not all be zero. */
static uint64_t splitmix(uint64_t *x)
{
    uint64_t z = *x += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

void rand_seed(uint64_t seed)
{
    for (int i = 0; i < 4; i++)
        state.s[i] = splitmix(&seed);
    state.is_seeded = true;
}

static uint64_t rotl(uint64_t x, int k)
{
    return x << k | x >> (64 - k);
}

uint64_t rand_u64(void)
{
    if (UNLIKELY(!state.is_seeded)) {
        uint64_t seed;
        rand_secure(&seed, sizeof seed);
        rand_seed(seed);
    }
    uint64_t *s = state.s;
    uint64_t result = rotl(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return result;
}

/* Multiplication maps 64 random bits to [0, bound); the low half tells the few values that would make the first results likelier, and
 * those are drawn again (Lemire 2019). */
uint64_t rand_below(uint64_t bound)
{
    CHECK(bound > 0);
    unsigned __int128 product = (unsigned __int128)rand_u64() * bound;
    if ((uint64_t)product < bound) {
        uint64_t unfair = (0 - bound) % bound;
        while ((uint64_t)product < unfair)
            product = (unsigned __int128)rand_u64() * bound;
    }
    return (uint64_t)(product >> 64);
}

double rand_unit(void)
{
    return (double)(rand_u64() >> 11) * 0x1p-53;
}

void rand_hex(char *out, size_t n_bytes)
{
    static const char digits[16] = {'0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'};
    uint64_t bits = 0;
    for (size_t i = 0; i < n_bytes; i++) {
        if (i % 8 == 0)
            bits = rand_u64();
        out[2 * i] = digits[bits >> 4 & 15];
        out[2 * i + 1] = digits[bits & 15];
        bits >>= 8;
    }
}
