#include "bench/histogram.h"
#include "t.h"

TEST(a_histogram_without_records_is_zero)
{
    static struct histogram h;
    EXPECT_EQ(histogram_quantile(&h, 0.5), 0);
    EXPECT_NEAR(histogram_mean(&h), 0, 0);
}

TEST(small_values_are_exact)
{
    static struct histogram h;
    for (uint64_t v = 1; v <= 100; v++)
        histogram_record(&h, v);
    EXPECT_EQ(histogram_quantile(&h, 0.01), 1);
    EXPECT_EQ(histogram_quantile(&h, 0.5), 50);
    EXPECT_EQ(histogram_quantile(&h, 0.99), 99);
    EXPECT_EQ(histogram_quantile(&h, 1), 100);
    EXPECT_NEAR(histogram_mean(&h), 50.5, 1e-9);
}

TEST(every_value_is_told_too_high_by_less_than_a_hundredth)
{
    static struct histogram h;
    for (uint64_t v = 1; v < UINT64_MAX / 3; v = v * 3 / 2 + 1) {
        h = (struct histogram){0};
        histogram_record(&h, v);
        histogram_record(&h, UINT64_MAX); /* so that the maximum does not hide the slot's own top */
        uint64_t told = histogram_quantile(&h, 0.5);
        EXPECT(told >= v && (double)(told - v) <= (double)v * 0.0079);
    }
    EXPECT_EQ(histogram_quantile(&h, 1), -1);
}

TEST(merged_histograms_count_both)
{
    static struct histogram a, b;
    for (int i = 0; i < 90; i++)
        histogram_record(&a, 1000);
    for (int i = 0; i < 10; i++)
        histogram_record(&b, 5000000);
    histogram_merge(&a, &b);
    EXPECT_EQ(a.total, 100);
    EXPECT(histogram_quantile(&a, 0.9) < 1010);
    EXPECT_EQ(histogram_quantile(&a, 0.91), 5000000);
    EXPECT_EQ(a.max_ns, 5000000);
}
