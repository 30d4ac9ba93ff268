#include <string.h>

#include "rig.h"

static struct hash128 print_of(uint64_t n)
{
    return (struct hash128){n, ~n};
}

TEST(quarantine_remembers_for_its_time)
{
    struct quarantine q = {0};
    quarantine_init(&q);
    EXPECT(!quarantine_has(&q, print_of(1), 50));
    quarantine_add(&q, print_of(1), 50);
    EXPECT(quarantine_has(&q, print_of(1), 50));
    EXPECT(quarantine_has(&q, print_of(1), 50 + QUARANTINE_NS - 1));
    EXPECT(!quarantine_has(&q, print_of(1), 50 + QUARANTINE_NS));
    EXPECT(!quarantine_has(&q, print_of(2), 50));
}

TEST(quarantine_compares_both_halves)
{
    struct quarantine q = {0};
    quarantine_init(&q);
    quarantine_add(&q, (struct hash128){1, 2}, 0);
    EXPECT(!quarantine_has(&q, (struct hash128){1, 3}, 0));
    EXPECT(!quarantine_has(&q, (struct hash128){3, 2}, 0));
}

TEST(quarantine_forgets_the_oldest_when_full)
{
    struct quarantine q = {0};
    quarantine_init(&q);
    for (uint64_t n = 0; n < QUARANTINE_MAX + 2; n++)
        quarantine_add(&q, print_of(n), n);
    EXPECT_EQ(q.len, QUARANTINE_MAX);
    EXPECT(!quarantine_has(&q, print_of(0), 100));
    EXPECT(!quarantine_has(&q, print_of(1), 100));
    for (uint64_t n = 2; n < QUARANTINE_MAX + 2; n++)
        EXPECT(quarantine_has(&q, print_of(n), 100));
}

static bool same(struct hash128 a, struct hash128 b)
{
    return a.lo == b.lo && a.hi == b.hi;
}

TEST(prints_depend_on_values_and_shape_only)
{
    int32_t values[6] = {1, 2, 3, 4, 5, 6}, copy[7] = {0, 1, 2, 3, 4, 5, 6};
    struct infer_tensor t = {
        .ndim = 2, .dims = {2, 3}, .dtype = DT_INT32, .data = (void *)values, .bytes = sizeof values, .given = true};
    struct infer i = {.in = &t};
    struct hash128 first = quarantine_print(&i, 1, NULL, 0);
    t.data = (void *)(copy + 1);
    EXPECT(same(first, quarantine_print(&i, 1, NULL, 0)));
    t.dims[0] = 3;
    t.dims[1] = 2;
    EXPECT(!same(first, quarantine_print(&i, 1, NULL, 0)));
    t.dims[0] = 2;
    t.dims[1] = 3;
    copy[6] = 7;
    EXPECT(!same(first, quarantine_print(&i, 1, NULL, 0)));
}

TEST(prints_tell_inputs_apart)
{
    int32_t one = 1, two = 2;
    struct infer_tensor t[2] = {
        {.ndim = 1, .dims = {1}, .dtype = DT_INT32, .data = (void *)&one, .bytes = sizeof one, .given = true},
        {.ndim = 1, .dims = {1}, .dtype = DT_INT32, .data = (void *)&two, .bytes = sizeof two, .given = true}};
    struct infer i = {.in = t};
    struct hash128 both = quarantine_print(&i, 2, NULL, 0);
    t[0].data = (void *)&two;
    t[1].data = (void *)&one;
    EXPECT(!same(both, quarantine_print(&i, 2, NULL, 0)));
    t[1].given = false;
    EXPECT(!same(both, quarantine_print(&i, 2, NULL, 0)));
}

static struct hash128 print_of_texts(const unsigned char *area, size_t area_len, struct bytes_ref *refs, int n)
{
    struct infer_tensor t = {.ndim = 1,
                             .dims = {n},
                             .dtype = DT_BYTES,
                             .data = (void *)refs,
                             .bytes = sizeof *refs * (size_t)n,
                             .given = true};
    struct infer i = {.in = &t};
    return quarantine_print(&i, 1, area, area_len);
}

TEST(prints_of_texts_follow_the_texts_not_their_place)
{
    const unsigned char a[] = "onetwo", b[] = "..two..one";
    struct hash128 first = print_of_texts(a, 6, (struct bytes_ref[]){{0, 3}, {3, 3}}, 2);
    EXPECT(same(first, print_of_texts(b, 10, (struct bytes_ref[]){{7, 3}, {2, 3}}, 2)));
    EXPECT(!same(first, print_of_texts(a, 6, (struct bytes_ref[]){{0, 2}, {2, 4}}, 2))); /* "on", "etwo" */
    EXPECT(!same(first, print_of_texts(a, 6, (struct bytes_ref[]){{3, 3}, {0, 3}}, 2)));
}

TEST(prints_of_texts_read_nothing_outside)
{
    unsigned char area[8] = "onetwo";
    (void)print_of_texts(area, sizeof area, (struct bytes_ref[]){{UINT32_MAX, UINT32_MAX}, {8, 1}, {7, 2}}, 3);
    EXPECT(same(print_of_texts(area, 8, (struct bytes_ref[]){{8, 0}}, 1),
                print_of_texts(area, 8, (struct bytes_ref[]){{0, 0}}, 1)));
}
