#include "t.h"

#include <string.h>

static const struct str null_str = {NULL, 0};

TEST(str_empty_with_null_pointer_is_safe)
{
    struct str rest;
    EXPECT_STR(str_c(NULL), "");
    EXPECT(str_eq(null_str, STR("")));
    EXPECT(str_starts(STR("a"), null_str) && str_ends(STR("a"), null_str) && str_contains(STR("a"), null_str));
    EXPECT(str_starts(null_str, null_str) && str_ends(null_str, null_str) && !str_starts(null_str, STR("a")));
    EXPECT_EQ(str_trim(null_str).n, 0);
    EXPECT_EQ(str_sub(null_str, 3, 4).n, 0);
    EXPECT_EQ(str_chr(null_str, 'a'), -1);
    EXPECT_EQ(str_rchr(null_str, 'a'), -1);
    EXPECT_EQ(str_cut(null_str, ',', &rest).n, 0);
}

TEST(str_compares_by_bytes_and_length)
{
    EXPECT(str_eq(STR("abc"), STR("abc")) && !str_eq(STR("abc"), STR("ab")) && !str_eq(STR("abc"), STR("abd")));
    EXPECT(str_eq_c(STR("abc"), "abc") && !str_eq_c(STR("abc"), "abcd"));
    EXPECT(str_eq_nocase(STR("Content-LENGTH"), STR("content-length")));
    EXPECT(!str_eq_nocase(STR("["), STR("{"))); /* 0x5B and 0x7B differ in the case bit but are no letters */
    EXPECT(!str_eq_nocase(STR("\xC4"), STR("\xE4")));
    EXPECT(!str_eq(STR("a\0b"), STR("a\0c")));
}

TEST(str_finds_parts)
{
    EXPECT(str_starts(STR("models/iris"), STR("models/")) && !str_starts(STR("mod"), STR("models/")));
    EXPECT(str_ends(STR("m.onnx"), STR(".onnx")) && !str_ends(STR("onnx"), STR(".onnx")));
    EXPECT(str_contains(STR("gzip, br"), STR("br")) && !str_contains(STR("gzip"), STR("br")));
    EXPECT(!str_contains(STR("a"), STR("aa")));
    EXPECT_EQ(str_chr(STR("a/b/c"), '/'), 1);
    EXPECT_EQ(str_rchr(STR("a/b/c"), '/'), 3);
    EXPECT_EQ(str_chr(STR("abc"), '/'), -1);
    EXPECT_EQ(str_rchr(STR("abc"), '/'), -1);
}

TEST(str_trim_takes_spaces_and_tabs_only)
{
    EXPECT_STR(str_trim(STR(" \t a b\t ")), "a b");
    EXPECT_STR(str_trim(STR("\na\r")), "\na\r");
    EXPECT_STR(str_trim(STR(" \t ")), "");
}

TEST(str_sub_is_clipped)
{
    EXPECT_STR(str_sub(STR("hello"), 1, 3), "ell");
    EXPECT_STR(str_sub(STR("hello"), 4, SIZE_MAX), "o");
    EXPECT_STR(str_sub(STR("hello"), 5, 1), "");
    EXPECT_STR(str_sub(STR("hello"), SIZE_MAX, SIZE_MAX), "");
}

TEST(str_cut_splits_at_first_separator)
{
    struct str rest;
    EXPECT_STR(str_cut(STR("a:b:c"), ':', &rest), "a");
    EXPECT_STR(rest, "b:c");
    EXPECT_STR(str_cut(STR("abc"), ':', &rest), "abc");
    EXPECT_STR(rest, "");
    EXPECT_STR(str_cut(STR("abc:"), ':', &rest), "abc");
    EXPECT_STR(rest, "");
    rest = STR("x:y");
    EXPECT_STR(str_cut(rest, ':', &rest), "x"); /* in place, as a loop over fields does */
    EXPECT_STR(rest, "y");
}

TEST(str_to_u64_is_strict)
{
    static const char *const wrong[] = {
        "", "-1", "+1", " 1", "1 ", "1.0", "0x1", "1e3", "１", "18446744073709551616", "99999999999999999999"};
    uint64_t v = 7;
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
        if (str_to_u64(str_c(wrong[i]), &v))
            FAIL("accepted \"%s\"", wrong[i]);
    EXPECT_EQ(v, 7);
    EXPECT(str_to_u64(STR("18446744073709551615"), &v) && v == UINT64_MAX);
    EXPECT(str_to_u64(STR("007"), &v) && v == 7);
    EXPECT(str_to_u64(STR("0"), &v) && v == 0);
    EXPECT(!str_to_u64(STR("1\0"), &v));
}

TEST(str_to_i64_has_both_limits)
{
    int64_t v = 7;
    EXPECT(!str_to_i64(STR("9223372036854775808"), &v) && !str_to_i64(STR("-9223372036854775809"), &v));
    EXPECT(!str_to_i64(STR("-"), &v) && !str_to_i64(STR("--1"), &v) && !str_to_i64(STR(""), &v));
    EXPECT_EQ(v, 7);
    EXPECT(str_to_i64(STR("9223372036854775807"), &v) && v == INT64_MAX);
    EXPECT(str_to_i64(STR("-9223372036854775808"), &v) && v == INT64_MIN);
    EXPECT(str_to_i64(STR("-0"), &v) && v == 0);
}

TEST(str_copy_always_terminates)
{
    char out[4] = "###";
    EXPECT(str_copy(out, sizeof out, STR("abc")));
    EXPECT_CSTR(out, "abc");
    EXPECT(!str_copy(out, sizeof out, STR("abcd")));
    EXPECT_CSTR(out, "abc");
    EXPECT(!str_copy(out, 1, STR("x")));
    EXPECT_CSTR(out, "");
    memcpy(out, "###", 4);
    EXPECT(!str_copy(out, 0, STR("x")));
    EXPECT_CSTR(out, "###");
    EXPECT(str_copy(out, sizeof out, null_str));
    EXPECT_CSTR(out, "");
}
