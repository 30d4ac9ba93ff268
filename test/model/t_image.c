/* Reading pictures, and resizing. The expected numbers are Pillow's for the same files (test/data/images). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/image/image.h"
#include "t.h"

#define FILE_MAX 65536

static const struct image_limits limits = {.side_max = 1000, .pixels_max = 100000};

static struct str read_file(const char *name, char *out)
{
    char path[200];
    (void)snprintf(path, sizeof path, "test/data/images/%s", name);
    FILE *f = fopen(path, "rb");
    EXPECT(f != NULL);
    size_t n = fread(out, 1, FILE_MAX, f);
    (void)fclose(f);
    return (struct str){out, n};
}

static struct image decode(const char *name)
{
    char bytes[FILE_MAX];
    struct image m;
    struct err err = {0};
    if (image_decode(read_file(name, bytes), &limits, &m, &err))
        FAIL("%s: %s", name, err.text);
    EXPECT_EQ(m.width, 9);
    EXPECT_EQ(m.height, 7);
    return m;
}

static void expect_pixel(const struct image *m, uint32_t x, uint32_t y, int r, int g, int b, int eps)
{
    const unsigned char *p = m->pixels + ((size_t)y * m->width + x) * IMAGE_CHANNELS;
    EXPECT_NEAR(p[0], r, eps);
    EXPECT_NEAR(p[1], g, eps);
    EXPECT_NEAR(p[2], b, eps);
}

TEST(png_has_the_pixels_that_were_written)
{
    struct image m = decode("rgb.png");
    for (uint32_t y = 0; y < 7; y++)
        for (uint32_t x = 0; x < 9; x++)
            expect_pixel(&m, x, y, (int)(x * 29 + y * 3) % 256, (int)(y * 37 + x * x * 5) % 256,
                         (int)(x * y * 11 + 40) % 256, 0);
    image_done(&m);
}

TEST(gray_png_has_three_equal_channels)
{
    struct image m = decode("gray.png");
    static const int row3[] = {72, 88, 109, 136, 169, 208, 102, 124, 180};
    for (uint32_t x = 0; x < 9; x++)
        expect_pixel(&m, x, 3, row3[x], row3[x], row3[x], 0);
    image_done(&m);
}

TEST(palette_png_is_looked_up)
{
    struct image m = decode("palette.png");
    expect_pixel(&m, 0, 0, 0, 0, 40, 30); /* the palette has colours near the true ones only */
    image_done(&m);
}

TEST(sixteen_bits_become_eight)
{
    char bytes[FILE_MAX];
    struct image m;
    struct err err;
    EXPECT_EQ(image_decode(read_file("gray16.png", bytes), &limits, &m, &err), ERR_OK);
    EXPECT_EQ(m.width, 7);
    expect_pixel(&m, 6, 4, 34 * 1800 >> 8, 34 * 1800 >> 8, 34 * 1800 >> 8, 0);
    image_done(&m);
}

TEST(jpeg_agrees_with_pillow)
{
    struct image m = decode("base.jpg");
    expect_pixel(&m, 4, 3, 170, 187, 142, 2);
    expect_pixel(&m, 0, 0, 17, 0, 19, 2);
    image_done(&m);
}

TEST(cmyk_and_progressive_jpeg_are_read)
{
    struct image m = decode("cmyk.jpg");
    expect_pixel(&m, 4, 3, 127, 190, 172, 3);
    image_done(&m);
    m = decode("prog.jpg");
    image_done(&m);
}

static void expect_refused(struct str bytes, enum err_code code, const char *part)
{
    struct image m = {0};
    struct err err = {0};
    enum err_code got = image_decode(bytes, &limits, &m, &err);
    if (got != code || !str_contains(str_c(err.text), str_c(part)))
        FAIL("code %d, text: %s", got, err.text);
    EXPECT(m.pixels == NULL);
}

TEST(a_bomb_is_refused_by_its_declared_size)
{
    char bytes[FILE_MAX];
    struct image m;
    struct err err;
    const struct image_limits wide = {.side_max = 65535, .pixels_max = 1000000};
    EXPECT_EQ(image_decode(read_file("bomb.png", bytes), &wide, &m, &err), ERR_TOO_LARGE);
    EXPECT_CSTR(err.text,
                "the picture is 60000 x 60000 pixels large; at most 1000000 pixels, and 65535 along a side, are "
                "read");
    expect_refused(read_file("bomb.png", bytes), ERR_TOO_LARGE,
                   "60000 x 60000 pixels large");   /* a side is too long too */
    struct str jpeg = read_file("base.jpg", bytes); /* the size lies behind the frame marker, FF C0 */
    for (size_t i = 0; i + 9 < jpeg.n; i++)
        if (memcmp(bytes + i, "\xff\xc0", 2) == 0)
            memcpy(bytes + i + 5, "\xf0\x00\xf0\x00", 4);
    expect_refused(jpeg, ERR_TOO_LARGE, "61440 x 61440");
}

TEST(damage_is_refused_and_named)
{
    static const char *const names[] = {"rgb.png", "base.jpg", "prog.jpg"};
    for (size_t k = 0; k < 3; k++) {
        char bytes[FILE_MAX];
        struct str whole = read_file(names[k], bytes);
        for (size_t n = 8; n + 3 < whole.n; n += 7) { /* every cut before the end marker */
            char *cut = malloc(n);
            EXPECT(cut != NULL);
            memcpy(cut, bytes, n);
            bool is_jpeg = k > 0;
            expect_refused((struct str){cut, n}, ERR_INVALID, is_jpeg ? "damaged JPEG file" : "damaged PNG file");
            free(cut);
        }
    }
    char bytes[FILE_MAX];
    struct str png = read_file("rgb.png", bytes);
    bytes[png.n / 2] ^= 1;
    expect_refused(png, ERR_INVALID, "damaged PNG file");
}

TEST(what_is_no_picture_is_told)
{
    expect_refused(STR(""), ERR_INVALID, "0 bytes");
    expect_refused(STR("GIF89a"), ERR_INVALID, "neither a JPEG nor a PNG file");
    expect_refused(STR("\xff\xd8\xff"), ERR_INVALID, "damaged JPEG file");
    expect_refused(STR("\x89PNG\r\n\x1a\n"), ERR_INVALID, "damaged PNG file");
}

static void expect_resized(enum image_filter filter, struct image_box box, uint32_t w, uint32_t h, const int *want)
{
    struct image m = decode("rgb.png");
    unsigned char out[1000];
    struct err err;
    EXPECT_EQ(image_resize(&m, box, filter, w, h, out, &err), ERR_OK);
    for (size_t i = 0; i < (size_t)w * h * IMAGE_CHANNELS; i++)
        EXPECT_NEAR(out[i], want[i], 1);
    image_done(&m);
}

TEST(bilinear_agrees_with_pillow)
{
    static const int want[] = {27,  38,  48,  86,  77,  67,  152, 156, 89, 211, 126, 108, 33,  117, 67, 92,  151, 129,
                               158, 146, 142, 217, 130, 117, 39,  196, 87, 98,  147, 151, 164, 87,  93, 223, 160, 156};
    expect_resized(IMAGE_BILINEAR, (struct image_box){0, 0, 9, 7}, 4, 3, want);
}

TEST(bicubic_of_a_part_agrees_with_pillow)
{
    static const int want[] = {50, 33,  49,  92,  67,  57,  132, 122, 65,  173, 193, 74,  217, 112, 91,
                               55, 94,  80,  97,  129, 115, 137, 195, 157, 178, 178, 185, 222, 91,  141,
                               59, 157, 111, 101, 200, 173, 141, 141, 126, 182, 58,  92,  226, 162, 89,
                               64, 220, 148, 106, 115, 176, 146, 38,  44,  187, 123, 136, 231, 177, 186};
    expect_resized(IMAGE_BICUBIC, (struct image_box){1.5, 0.25, 7, 6.5}, 5, 4, want);
}

TEST(nearest_takes_pixels_as_they_are)
{
    struct image m = decode("rgb.png");
    unsigned char out[4 * 3 * 3];
    struct err err;
    EXPECT_EQ(image_resize(&m, (struct image_box){0, 0, 9, 7}, IMAGE_NEAREST, 4, 3, out, &err), ERR_OK);
    EXPECT_EQ(out[0], 32);
    EXPECT_EQ(out[(1 * 4 + 2) * 3], 154);
    EXPECT_EQ(out[(2 * 4 + 3) * 3 + 2], 169);
    image_done(&m);
}

TEST(the_same_size_is_the_same_picture_with_every_filter)
{
    for (int filter = IMAGE_NEAREST; filter <= IMAGE_BICUBIC; filter++) {
        struct image m = decode("rgb.png");
        unsigned char out[9 * 7 * 3];
        struct err err;
        EXPECT_EQ(image_resize(&m, (struct image_box){0, 0, 9, 7}, (enum image_filter)filter, 9, 7, out, &err), ERR_OK);
        EXPECT(memcmp(out, m.pixels, sizeof out) == 0);
        image_done(&m);
    }
}
