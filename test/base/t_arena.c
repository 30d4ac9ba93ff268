#include "t.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

TEST(arena_allocations_are_aligned_and_apart)
{
    struct arena a;
    arena_init(&a, 100, 1 << 20);
    unsigned char *p[200];
    for (size_t i = 0; i < 200; i++) {
        p[i] = arena_alloc(&a, i);
        EXPECT((uintptr_t)p[i] % 16 == 0);
        memset(p[i], (int)i, i);
    }
    for (size_t i = 0; i < 200; i++)
        for (size_t k = 0; k < i; k++)
            EXPECT_EQ(p[i][k], i);
    arena_done(&a);
}

TEST(arena_refuses_beyond_its_maximum)
{
    struct arena a;
    arena_init(&a, 64, 1024);
    EXPECT(arena_try_alloc(&a, 1025) == NULL);
    EXPECT(arena_try_alloc(&a, SIZE_MAX) == NULL);
    EXPECT(arena_try_alloc(&a, SIZE_MAX - 7) == NULL);
    EXPECT(arena_try_alloc(&a, 1024) != NULL);
    EXPECT(arena_try_alloc(&a, 1) == NULL);
    EXPECT(arena_try_alloc(&a, 0) == NULL);
    EXPECT_EQ(a.used_bytes, 1024);
    EXPECT_ABORT(EXPECT(arena_alloc(&a, 1) != NULL));
    arena_reset(&a);
    EXPECT(arena_try_alloc(&a, 1000) != NULL);
    arena_done(&a);
}

TEST(arena_reset_keeps_a_small_chunk)
{
    struct arena a;
    arena_init(&a, 1024, 1 << 20);
    void *first = arena_alloc(&a, 100);
    arena_reset(&a);
    EXPECT_EQ(a.used_bytes, 0);
    EXPECT(arena_alloc(&a, 100) == first);
    EXPECT(arena_alloc(&a, 100 << 10) != NULL);
    arena_reset(&a);
    EXPECT(a.head == NULL); /* the newest was too large to keep */
    EXPECT(arena_alloc(&a, 1) != NULL);
    arena_done(&a);
    EXPECT(arena_alloc(&a, 1) != NULL); /* usable again */
    arena_done(&a);
}

TEST(arena_chunks_double_up_to_a_limit)
{
    struct arena a;
    arena_init(&a, 4096, SIZE_MAX);
    for (int i = 0; i < 4096; i++)
        EXPECT(arena_alloc(&a, 1024) != NULL);
    EXPECT_EQ(a.used_bytes, 4 << 20);
    EXPECT(a.end - (char *)a.head <= (2 << 20));
    arena_done(&a);
}

TEST(arena_zalloc_is_zero_also_in_used_memory)
{
    struct arena a;
    arena_init(&a, 1024, 1 << 20);
    memset(arena_alloc(&a, 512), 0xFF, 512);
    arena_reset(&a);
    unsigned char *p = arena_zalloc(&a, 512);
    for (int i = 0; i < 512; i++)
        EXPECT_EQ(p[i], 0);
    int *numbers = arena_array(&a, int, 10);
    EXPECT_EQ(numbers[9], 0);
    EXPECT_ABORT((void)arena_array(&a, int, SIZE_MAX / 2));
    arena_done(&a);
}

TEST(arena_text)
{
    struct arena a;
    arena_init(&a, 64, 1 << 20);
    struct str s = arena_str_dup(&a, STR("a\0b"));
    EXPECT_EQ(s.n, 3);
    EXPECT(memcmp(s.p, "a\0b", 4) == 0);
    EXPECT_CSTR(arena_cstr(&a, (struct str){NULL, 0}), "");
    EXPECT_STR(arena_printf(&a, "%s-%d", "x", 7), "x-7");
    EXPECT_EQ(arena_printf(&a, "%0500d", 1).n, 500);
    EXPECT_STR(arena_printf(&a, "%s", ""), "");
    arena_done(&a);
}

#ifdef __SANITIZE_ADDRESS__
TEST(arena_overrun_is_seen_by_the_sanitizer)
{
    struct arena a;
    arena_init(&a, 1024, 1024);
    char *p = arena_alloc(&a, 20);
    EXPECT(arena_alloc(&a, 20) != NULL);
    p[19] = 1;
    EXPECT(__asan_address_is_poisoned(&p[20]));
    EXPECT(__asan_address_is_poisoned(&p[32]));
    arena_reset(&a);
    EXPECT(__asan_address_is_poisoned(&p[0]));
    arena_done(&a);
}
#endif

/* Small ones are zeroed by us, large ones may come zeroed from the system: also where others have written before. */
TEST(zeroed_memory_is_zero_whatever_was_there)
{
    static const size_t sizes[] = {100, 60000, 70000, 300000, 2000000};
    struct arena a;
    arena_init(&a, 4096, 64u << 20);
    for (int turn = 0; turn < 4; turn++) {
        for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
            unsigned char *dirty = arena_alloc(&a, sizes[i]);
            memset(dirty, 0xff, sizes[i]);
            const unsigned char *p = arena_zalloc(&a, sizes[i]);
            size_t n = 0;
            while (n < sizes[i] && p[n] == 0)
                n++;
            EXPECT_EQ(n, sizes[i]);
        }
        arena_reset(&a);
    }
    arena_done(&a);
}
