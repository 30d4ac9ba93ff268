/* JSON of a server as paths and values. */
#include "cli/leaves.h"

#include <stdio.h>
#include <string.h>

#include "t.h"

static struct arena arena;
static struct buf text;

static enum err_code read_text(const char *json, struct leaves *out, struct err *err)
{
    arena_done(&arena);
    arena_init(&arena, 65536, (size_t)64 << 20);
    buf_done(&text);
    buf_init(&text, 8 << 20);
    buf_c(&text, json);
    buf_pad(&text);
    return leaves_read(buf_view(&text), &arena, out, err);
}

TEST(each_value_is_found_by_its_path)
{
    struct leaves l;
    struct err err;
    EXPECT_EQ(read_text("{\"a\":{\"b\":[1,{\"c\":\"x\"},true,null]},\"d\":2.5,\"e\":[]}", &l, &err), ERR_OK);
    EXPECT_NEAR(leaf_number(&l, "a.b.0"), 1, 0);
    EXPECT_CSTR(leaf_text(&l, "a.b.1.c"), "x");
    EXPECT(leaf_true(&l, "a.b.2") && !leaf_true(&l, "d"));
    EXPECT_CSTR(leaf_text(&l, "a.b.3"), "");
    EXPECT_NEAR(leaf_number(&l, "a.b.#"), 4, 0);
    EXPECT_NEAR(leaf_number(&l, "e.#"), 0, 0);
    EXPECT_NEAR(leaf_number_at(&l, "%s", "d"), 2.5, 0);
    EXPECT_CSTR(leaf_text_at(&l, "a.b.%d.c", 1), "x");
    EXPECT(leaf_find(&l, "e.#") && !leaf_find(&l, "e") && !leaf_find(&l, "nothing"));
    EXPECT_NEAR(leaf_number(&l, "a.b.1.c"), 0, 0); /* a text is no number */
    arena_done(&arena);
    buf_done(&text);
}

TEST(texts_of_a_stranger_cannot_steer_the_terminal)
{
    struct leaves l;
    struct err err;
    EXPECT_EQ(read_text("{\"a\":\"x\\u001b[31m\\n\\u009by\\u007f\"}", &l, &err), ERR_OK);
    for (const char *p = leaf_text(&l, "a"); *p; p++)
        EXPECT((unsigned char)*p >= 0x20 && *p != 0x7f && (unsigned char)*p != 0xc2);
    EXPECT(strstr(leaf_text(&l, "a"), "x [31m"));
    arena_done(&arena);
    buf_done(&text);
}

TEST(what_is_too_deep_too_long_or_too_much_is_an_error)
{
    struct leaves l;
    struct err err;
    EXPECT(read_text("[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]", &l, &err) != ERR_OK);
    EXPECT(read_text("{\"a\":1", &l, &err) != ERR_OK);
    EXPECT(read_text("", &l, &err) != ERR_OK);
    struct buf many;
    buf_init(&many, 4 << 20);
    buf_c(&many, "[0");
    for (int i = 0; i < LEAVES_ITEMS_MAX; i++)
        buf_c(&many, ",0");
    buf_c(&many, "]");
    buf_char(&many, '\0');
    EXPECT_EQ(read_text(many.p, &l, &err), ERR_TOO_LARGE);
    buf_clear(&many);
    buf_c(&many, "{\"");
    for (int i = 0; i < LEAVES_PATH_MAX; i++)
        buf_char(&many, 'k');
    buf_c(&many, "\":1}");
    buf_char(&many, '\0');
    EXPECT_EQ(read_text(many.p, &l, &err), ERR_TOO_LARGE);
    EXPECT(strstr(err.text, "path is longer"));
    buf_done(&many);
    arena_done(&arena);
    buf_done(&text);
}
