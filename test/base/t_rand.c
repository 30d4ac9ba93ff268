#include "t.h"

#include <pthread.h>
#include <string.h>

#include "base/rand.h"

TEST(rand_same_seed_same_numbers)
{
    uint64_t first[8];
    rand_seed(1);
    for (int i = 0; i < 8; i++)
        first[i] = rand_u64();
    rand_seed(1);
    for (int i = 0; i < 8; i++)
        EXPECT(rand_u64() == first[i]);
    rand_seed(2);
    EXPECT(rand_u64() != first[0]);
}

static void *one_number(void *out)
{
    *(uint64_t *)out = rand_u64();
    return NULL;
}

TEST(rand_threads_seed_themselves_apart)
{
    uint64_t numbers[2];
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        EXPECT(pthread_create(&threads[i], NULL, one_number, &numbers[i]) == 0);
    for (int i = 0; i < 2; i++)
        EXPECT(pthread_join(threads[i], NULL) == 0);
    EXPECT(numbers[0] != numbers[1]);
}

TEST(rand_below_is_in_range_and_even)
{
    int counts[7] = {0};
    rand_seed(3);
    for (int i = 0; i < 70000; i++) {
        uint64_t v = rand_below(7);
        EXPECT(v < 7);
        counts[v]++;
    }
    for (int i = 0; i < 7; i++)
        EXPECT_NEAR(counts[i], 10000, 500); /* five standard deviations */
    EXPECT_EQ(rand_below(1), 0);
    for (int i = 0; i < 100; i++)
        EXPECT(rand_below((UINT64_C(1) << 63) + 1) <= UINT64_C(1) << 63);
    EXPECT_ABORT((void)rand_below(0));
}

TEST(rand_unit_is_in_range_with_the_right_mean)
{
    double sum = 0;
    rand_seed(4);
    for (int i = 0; i < 10000; i++) {
        double v = rand_unit();
        EXPECT(v >= 0 && v < 1);
        sum += v;
    }
    EXPECT_NEAR(sum / 10000, 0.5, 0.02);
}

TEST(rand_hex_writes_exactly_its_digits)
{
    char out[34];
    memset(out, '#', sizeof out);
    rand_hex(out, 16);
    EXPECT_EQ(strspn(out, "0123456789abcdef"), 32);
    EXPECT_EQ(out[32], '#');
    char other[34] = "";
    rand_hex(other, 16);
    EXPECT(memcmp(out, other, 32) != 0);
    EXPECT(memcmp(out, out + 16, 16) != 0);
}

TEST(rand_secure_fills_all)
{
    unsigned char a[300] = {0};
    int zeros = 0;
    rand_secure(a, sizeof a);
    for (size_t i = 0; i < sizeof a; i++)
        zeros += a[i] == 0;
    EXPECT(zeros < 20);
    rand_secure(a, 0);
}
