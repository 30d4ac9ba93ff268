#include "base/base64.h"
#include "t.h"

static void expect_decoded(const char *text, const char *want)
{
    char out[64];
    size_t len = 0;
    if (!base64_decode(str_c(text), out, &len))
        FAIL("%s: not decoded, at %zu", text, len);
    EXPECT(len <= base64_bound(str_c(text).n));
    EXPECT_STR(((struct str){out, len}), want);
}

static void expect_refused(const char *text, size_t at)
{
    char out[64];
    size_t len = 99;
    EXPECT(!base64_decode(str_c(text), out, &len));
    EXPECT_EQ(len, at);
}

TEST(base64_decodes_the_vectors_of_the_standard)
{
    expect_decoded("", "");
    expect_decoded("Zg==", "f");
    expect_decoded("Zm8=", "fo");
    expect_decoded("Zm9v", "foo");
    expect_decoded("Zm9vYg==", "foob");
    expect_decoded("Zm9vYmE=", "fooba");
    expect_decoded("Zm9vYmFy", "foobar");
    expect_decoded("+/+/", "\xfb\xff\xbf");
}

TEST(base64_padding_may_be_left_out)
{
    expect_decoded("Zg", "f");
    expect_decoded("Zm8", "fo");
}

TEST(base64_refuses_what_is_none)
{
    expect_refused("Zm9v!", 4);
    expect_refused("Zm 9", 2);
    expect_refused("Z", 1);
    expect_refused("Zg=", 2);
    expect_refused("Zg=a", 2);
    expect_refused("Zm9v=", 4);
    expect_refused("Zh==", 2); /* bits that belong to no byte */
    expect_refused("Zg==Zg==", 2);
}
