#include "t.h"

#include <string.h>

#include "base/clock.h"

static uint64_t fake_ns(void)
{
    return 42;
}

TEST(clock_goes_forward_and_can_be_replaced)
{
    uint64_t a = clock_now_ns(), b = clock_now_ns();
    EXPECT(a > 0 && b >= a);
    clock_set_source(fake_ns);
    EXPECT_EQ(clock_now_ns(), 42);
    clock_set_source(NULL);
    EXPECT(clock_now_ns() >= b);
    EXPECT(clock_wall_ms() > UINT64_C(1700000000000));
}

TEST(clock_format_is_rfc_3339)
{
    char out[25];
    clock_format(0, out, sizeof out);
    EXPECT_CSTR(out, "1970-01-01T00:00:00.000Z");
    clock_format(UINT64_C(1795617540123), out, sizeof out);
    EXPECT_CSTR(out, "2026-11-25T14:39:00.123Z");
    clock_format(UINT64_C(1709164799999), out, sizeof out);
    EXPECT_CSTR(out, "2024-02-28T23:59:59.999Z");
    clock_format(UINT64_C(1709164800000), out, sizeof out);
    EXPECT_CSTR(out, "2024-02-29T00:00:00.000Z");
    clock_format(UINT64_MAX, out, sizeof out);
    EXPECT_CSTR(out, "9999-12-31T23:59:59.999Z");
    EXPECT_ABORT(clock_format(0, out, 24));
}
