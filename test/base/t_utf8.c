#include "t.h"

#include <string.h>

#include "base/utf8.h"

/* By the definition, without tables: decodes and compares with what encoding gives back. */
static size_t slow_len(const unsigned char *p, size_t n)
{
    uint32_t cp;
    size_t len = p[0] < 0x80 ? 1 : p[0] < 0xC0 ? 0 : p[0] < 0xE0 ? 2 : p[0] < 0xF0 ? 3 : p[0] < 0xF8 ? 4 : 0;
    if (len == 0 || len > n)
        return 0;
    cp = len == 1 ? p[0] : p[0] & (0x7Fu >> len);
    for (size_t i = 1; i < len; i++) {
        if ((p[i] & 0xC0) != 0x80)
            return 0;
        cp = cp << 6 | (p[i] & 0x3Fu);
    }
    size_t needed = cp < 0x80 ? 1 : cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
    return needed == len && cp <= 0x10FFFF && !(cp >= 0xD800 && cp <= 0xDFFF) ? len : 0;
}

TEST(utf8_len_agrees_with_the_definition_on_all_first_three_bytes)
{
    static const unsigned char last[] = {0x00, 0x7F, 0x80, 0xBF, 0xC0, 0xFF};
    for (unsigned bits = 0; bits < 1u << 24; bits += (bits & 0xFF) == 0x20 ? 0x3F : 1) {
        unsigned char p[4] = {(unsigned char)(bits >> 16), (unsigned char)(bits >> 8), (unsigned char)bits, 0};
        for (size_t i = 0; i < (p[0] >= 0xF0 ? sizeof last : 1); i++) {
            p[3] = last[i];
            if (utf8_len((struct str){(char *)p, 4}) != slow_len(p, 4))
                FAIL("bytes %02x %02x %02x %02x", p[0], p[1], p[2], p[3]);
        }
    }
}

TEST(utf8_encode_and_check_agree_on_every_character)
{
    for (uint32_t cp = 0; cp <= 0x10FFFF; cp++) {
        char out[4];
        if (cp == 0xD800)
            cp = 0xE000;
        size_t n = utf8_encode(cp, out);
        if (utf8_check((struct str){out, n}) != n || utf8_len((struct str){out, n}) != n)
            FAIL("U+%04X", cp);
        if (n > 1 && utf8_check((struct str){out, n - 1}) != 0)
            FAIL("U+%04X cut short is accepted", cp);
    }
    char out[4];
    EXPECT_ABORT((void)utf8_encode(0xD800, out));
    EXPECT_ABORT((void)utf8_encode(0x110000, out));
}

TEST(utf8_check_finds_the_place_of_the_fault)
{
    EXPECT_EQ(utf8_check((struct str){NULL, 0}), 0);
    for (size_t at = 0; at < 40; at++) { /* before, in and behind whole words */
        char text[48];
        memset(text, 'a', sizeof text);
        text[at] = (char)0x80;
        EXPECT_EQ(utf8_check((struct str){text, sizeof text}), at);
        EXPECT_EQ(utf8_check((struct str){text, at}), at);
    }
    EXPECT_EQ(utf8_check(STR("\xC0\x80")), 0);          /* overlong NUL */
    EXPECT_EQ(utf8_check(STR("a\xED\xA0\x80")), 1);     /* surrogate */
    EXPECT_EQ(utf8_check(STR("a\xF4\x90\x80\x80")), 1); /* above U+10FFFF */
    EXPECT_EQ(utf8_check(STR("\xE2\x82\xAC\xE2\x82")), 3);
}

TEST(utf8_cut_keeps_characters_whole)
{
    struct str s = STR("a\xE2\x82\xACz"); /* a, euro sign, z */
    static const size_t want[] = {0, 1, 1, 1, 4, 5, 5};
    for (size_t max = 0; max < ARRAY_LEN(want); max++)
        EXPECT_EQ(utf8_cut(s, max), want[max]);
    EXPECT_EQ(utf8_cut(STR("\x80\x80\x80\x80\x80\x80"), 4), 4); /* no text: no reason to go back */
    EXPECT_EQ(utf8_cut((struct str){NULL, 0}, 4), 0);
}
