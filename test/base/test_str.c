#include "t.h"

TEST(str_cut_splits_at_first_separator)
{
    struct str rest;
    EXPECT_STR(str_cut(STR("a:b:c"), ':', &rest), "a");
    EXPECT_STR(rest, "b:c");
    EXPECT_STR(str_cut(STR("abc"), ':', &rest), "abc");
    EXPECT_STR(rest, "");
    rest = STR("x:y");
    EXPECT_STR(str_cut(rest, ':', &rest), "x");
    EXPECT_STR(rest, "y");
}
