/* Memory for tensors: what is kept is used again, and there is never more than was in use at a time. */
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>

#include "sys/pieces.h"
#include "t.h"

#define MIB ((size_t)1 << 20)

static long faults(void)
{
    struct rusage u;
    return getrusage(RUSAGE_SELF, &u) == 0 ? u.ru_minflt : -1;
}

static void *filled(size_t bytes)
{
    void *p = pieces_alloc(bytes);
    if (p == NULL)
        FAIL("no memory");
    EXPECT_EQ((uintptr_t)p % PIECES_ALIGN, 0);
    memset(p, 1, bytes);
    return p;
}

static size_t total(void)
{
    struct pieces_use u = pieces_use();
    return u.used_bytes + u.kept_bytes;
}

TEST(pieces_of_all_sizes_are_aligned)
{
    static const size_t sizes[] = {0, 1, 63, 64, 65, 4096, MIB - 1, MIB, MIB + 1, 5 * MIB};
    void *p[10];
    for (int i = 0; i < 10; i++)
        p[i] = filled(sizes[i]);
    for (int i = 0; i < 10; i++)
        pieces_free(p[i]);
    pieces_free(NULL);
    EXPECT_EQ(pieces_use().used_bytes, 0);
}

TEST(a_piece_is_used_again_without_the_kernel)
{
    void *first = filled(40 * MIB);
    pieces_free(first);
    long before = faults();
    for (int i = 0; i < 20; i++) {
        void *p = filled((size_t)(40 - i) * MIB); /* smaller ones fit, too */
        EXPECT(p == first);
        pieces_free(p);
    }
    EXPECT(faults() - before < 100);
    EXPECT(pieces_use().kept_bytes >= 40 * MIB);
}

TEST(of_those_that_fit_the_smallest_is_taken)
{
    void *large = filled(9 * MIB), *middle = filled(5 * MIB), *small = filled(2 * MIB);
    pieces_free(middle);
    pieces_free(small);
    pieces_free(large);
    EXPECT(pieces_alloc(4 * MIB) == middle);
    EXPECT(pieces_alloc(2 * MIB) == small);
    EXPECT(pieces_alloc(2 * MIB) == large);
    EXPECT_EQ(pieces_use().kept_bytes, 0);
}

/* Ever larger runs: those before are too small for them, and go. */
TEST(there_is_never_more_than_was_in_use_at_a_time)
{
    for (size_t n = 2; n <= 64; n++) {
        void *p = filled(n * MIB);
        EXPECT_EQ(pieces_use().kept_bytes, 0);
        pieces_free(p);
        EXPECT_EQ(total(), pieces_use().peak_bytes);
    }
    /* And at random: sizes over three orders, up to 16 at a time. */
    void *p[16] = {0};
    uint64_t seed = 7;
    for (int i = 0; i < 3000; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        size_t at = (size_t)(seed >> 60), bytes = (MIB / 2) << ((seed >> 40) % 6);
        if (p[at] != NULL)
            pieces_free(p[at]);
        p[at] = p[at] != NULL ? NULL : pieces_alloc(bytes + (size_t)(seed >> 33) % 4096);
        struct pieces_use u = pieces_use();
        if (u.used_bytes + u.kept_bytes > u.peak_bytes)
            FAIL("step %d: %zu + %zu of %zu bytes", i, u.used_bytes, u.kept_bytes, u.peak_bytes);
    }
    for (int i = 0; i < 16; i++)
        pieces_free(p[i]);
    EXPECT_EQ(pieces_use().used_bytes, 0);
}

TEST(what_is_kept_is_given_back)
{
    void *used = filled(3 * MIB), *kept = filled(30 * MIB);
    pieces_free(kept);
    pieces_give_back();
    struct pieces_use u = pieces_use();
    EXPECT_EQ(u.kept_bytes, 0);
    EXPECT(u.used_bytes >= 3 * MIB && u.used_bytes < 4 * MIB);
    EXPECT_EQ(u.peak_bytes, u.used_bytes);
    EXPECT_EQ(((unsigned char *)used)[3 * MIB - 1], 1);
    pieces_free(used);
}

TEST(an_absurd_size_is_refused)
{
    EXPECT(pieces_alloc(SIZE_MAX) == NULL);
    EXPECT(pieces_alloc(SIZE_MAX / 2) == NULL);
    EXPECT_EQ(pieces_use().used_bytes, 0);
}
