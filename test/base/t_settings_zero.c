/* A whole number for which a word may stand: "auto". */
#include "base/settings.h"
#include "t.h"

struct cfg {
    int64_t copies;
};
static const struct setting table[] = {
    SETTING_INT("copies", struct cfg, copies, .def = "auto", .zero = "auto", .min = 1, .max = 8, .help = "How many."),
    {0}};

static struct arena arena;
static struct err err;

static enum err_code parse(const char *yaml, struct cfg *out)
{
    arena_init(&arena, 4096, 8 << 20);
    return settings_parse("q.yaml", str_c(yaml), table, out, sizeof *out, &arena, &err);
}

TEST(settings_a_word_that_stands_for_zero)
{
    struct cfg c = {5};
    EXPECT_EQ(parse("", &c), ERR_OK);
    EXPECT_EQ(c.copies, 0);
    EXPECT_EQ(parse("copies: 3\n", &c), ERR_OK);
    EXPECT_EQ(c.copies, 3);
    EXPECT_EQ(parse("copies: auto\n", &c), ERR_OK);
    EXPECT_EQ(c.copies, 0);
}

TEST(settings_the_number_zero_is_still_out_of_range)
{
    struct cfg c;
    EXPECT(parse("copies: 0\n", &c) != ERR_OK);
    EXPECT(str_contains(str_c(err.text), STR("auto or a whole number from 1 to 8")));
    EXPECT(parse("copies: automatic\n", &c) != ERR_OK);
}

TEST(settings_the_word_is_shown)
{
    struct cfg c = {0};
    struct buf out;
    buf_init(&out, 4096);
    settings_dump(table, &c, NULL, &out);
    EXPECT_STR(buf_view(&out), "copies: auto\n");
    c.copies = 2;
    buf_clear(&out);
    settings_dump(table, &c, NULL, &out);
    EXPECT_STR(buf_view(&out), "copies: 2\n");
    buf_done(&out);
}
