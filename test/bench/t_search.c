#include "bench/search.h"
#include "t.h"

/* A server that holds every rate up to a limit. */
static double found(double capacity, double limit, int *tries)
{
    struct search s;
    double rate;
    search_init(&s, capacity);
    while (search_next(&s, &rate))
        search_tell(&s, rate, rate <= limit);
    *tries = s.tries;
    return s.low;
}

TEST(the_highest_rate_that_holds_is_found_within_three_percent)
{
    int tries;
    for (double limit = 50; limit < 1000; limit += 37) {
        double rate = found(1000, limit, &tries);
        EXPECT(rate <= limit && rate >= limit * 0.95);
        EXPECT(tries <= 10);
    }
}

TEST(a_rate_at_the_capacity_is_found)
{
    int tries;
    EXPECT(found(1000, 5000, &tries) >= 1000);
}

TEST(when_nothing_holds_the_search_ends_with_nothing)
{
    int tries;
    EXPECT_NEAR(found(1000, 0, &tries), 0, 0);
    EXPECT(tries <= 10);
    EXPECT_NEAR(found(0, 100, &tries), 0, 0);
    EXPECT_EQ(tries, 0);
}
