#include "t.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

TEST(buf_collects_text)
{
    struct buf b;
    buf_init(&b, 1000);
    EXPECT_STR(buf_view(&b), "");
    buf_c(&b, "a=");
    buf_u64(&b, UINT64_MAX);
    buf_char(&b, ' ');
    buf_i64(&b, INT64_MIN);
    buf_str(&b, STR(" "));
    buf_u64(&b, 0);
    buf_printf(&b, " %s/%d", "x", 5);
    buf_add(&b, NULL, 0);
    EXPECT_STR(buf_view(&b), "a=18446744073709551615 -9223372036854775808 0 x/5");
    buf_done(&b);
    buf_c(&b, "again");
    EXPECT_STR(buf_view(&b), "again");
    buf_done(&b);
}

TEST(buf_maximum_is_exact_and_failure_sticks)
{
    struct buf b;
    buf_init(&b, 10);
    buf_c(&b, "12345");
    buf_c(&b, "67890");
    EXPECT(!b.failed);
    buf_char(&b, 'x');
    EXPECT(b.failed);
    EXPECT_STR(buf_view(&b), "1234567890");
    EXPECT(!buf_reserve(&b, 0));
    buf_clear(&b);
    EXPECT(!b.failed);
    EXPECT(!buf_reserve(&b, 11));
    buf_c(&b, "y"); /* ignored: failed */
    EXPECT_EQ(b.len, 0);
    buf_clear(&b);
    EXPECT(!buf_reserve(&b, SIZE_MAX));
    buf_done(&b);
}

TEST(buf_append_that_does_not_fit_changes_nothing)
{
    struct buf b;
    buf_init(&b, 8);
    buf_c(&b, "12345");
    buf_c(&b, "6789");
    EXPECT_STR(buf_view(&b), "12345");
    buf_clear(&b);
    buf_c(&b, "12345");
    buf_printf(&b, "%d", 6789);
    EXPECT_STR(buf_view(&b), "12345");
    EXPECT(b.failed);
    buf_done(&b);
}

TEST(buf_numbers_need_no_spare_room)
{
    struct buf b;
    buf_init(&b, 3);
    buf_i64(&b, -12);
    EXPECT(!b.failed);
    EXPECT_STR(buf_view(&b), "-12");
    buf_clear(&b);
    buf_i64(&b, -123);
    EXPECT(b.failed);
    EXPECT_STR(buf_view(&b), "");
    buf_done(&b);
}

TEST(buf_printf_grows_over_every_boundary)
{
    for (size_t n = 1; n < 1200; n += 7) {
        struct buf b;
        buf_init(&b, 4000);
        buf_printf(&b, "%0*d", (int)n, 7);
        buf_printf(&b, "%0*d", (int)n, 8);
        EXPECT_EQ(b.len, 2 * n);
        EXPECT_EQ(b.p[n - 1], '7');
        EXPECT_EQ(b.p[2 * n - 1], '8');
        buf_done(&b);
    }
}

TEST(buf_pad_gives_zero_bytes_behind)
{
    struct buf b;
    static const char zeros[BUF_PAD];
    buf_init(&b, 300);
    buf_pad(&b);
    EXPECT_EQ(b.len, 0);
    EXPECT(memcmp(b.p, zeros, BUF_PAD) == 0);
    for (int i = 0; i < 300; i++) {
        buf_char(&b, 'x');
        buf_pad(&b);
        EXPECT_EQ(b.len, i + 1);
        EXPECT(memcmp(b.p + b.len, zeros, BUF_PAD) == 0);
    }
    EXPECT(b.cap <= 300 + BUF_PAD);
    buf_done(&b);
}

TEST(buf_consume_moves_the_rest_forward)
{
    struct buf b;
    buf_init(&b, 100);
    buf_consume(&b, 0);
    buf_c(&b, "abcdef");
    buf_consume(&b, 2);
    EXPECT_STR(buf_view(&b), "cdef");
    EXPECT_ABORT(buf_consume(&b, 5));
    buf_consume(&b, 4);
    EXPECT_STR(buf_view(&b), "");
    buf_done(&b);
}

TEST(buf_shrink_frees_only_what_is_large)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    buf_c(&b, "x");
    size_t small = b.cap;
    buf_clear(&b);
    buf_shrink(&b, 4096);
    EXPECT_EQ(b.cap, small);
    EXPECT(buf_reserve(&b, 100000));
    buf_shrink(&b, 4096);
    EXPECT_EQ(b.cap, 0);
    buf_c(&b, "y");
    EXPECT_STR(buf_view(&b), "y");
    buf_done(&b);
}
