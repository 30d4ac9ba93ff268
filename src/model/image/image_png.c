/* PNG by libpng. It reports by calls that must not return, hence the jumps: everything that lives across them is in struct reader. */
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <png.h>

#include "model/image/image_int.h"

/* Text, profiles and the like are read past; this bounds what a compressed one may unfold to on the way. */
#define CHUNK_BYTES_MAX (1u << 20)
#define CHUNKS_MAX      128

struct reader {
    png_structp png;
    png_infop info;
    struct str rest;
    jmp_buf back;
    const struct image_limits *limits;
    struct image *out;
    struct err *err;
};

static _Noreturn void leave(struct reader *r)
{
    longjmp(r->back, 1);
}

static void on_error(png_structp png, png_const_charp text)
{
    struct reader *r = png_get_error_ptr(png);
    if (r->err->code == ERR_OK)
        err_set(r->err, ERR_INVALID, "damaged PNG file: %.200s", text);
    leave(r);
}

static void on_warning(png_structp png, png_const_charp text)
{
    (void)png; /* what is wrong beside the pixels does not matter to a model */
    (void)text;
}

static void on_read(png_structp png, png_bytep to, size_t n)
{
    struct reader *r = png_get_io_ptr(png);
    if (n > r->rest.n)
        png_error(png, "the file ends too early");
    memcpy(to, r->rest.p, n);
    r->rest = str_sub(r->rest, n, r->rest.n);
}

/* Whatever it is, 8 bits of red, green, blue. */
static void set_transforms(png_structp png, png_infop info)
{
    png_set_expand(png);
    png_set_strip_16(png);
    png_set_gray_to_rgb(png);
    png_set_strip_alpha(png);
    (void)png_set_interlace_handling(png);
    png_read_update_info(png, info);
}

static void decode(struct reader *r)
{
    png_set_read_fn(r->png, r, on_read);
    png_set_user_limits(r->png, PNG_UINT_31_MAX, PNG_UINT_31_MAX); /* image_begin knows better, and says so */
    png_set_chunk_malloc_max(r->png, CHUNK_BYTES_MAX);
    png_set_chunk_cache_max(r->png, CHUNKS_MAX);
    png_read_info(r->png, r->info);
    uint32_t width = png_get_image_width(r->png, r->info), height = png_get_image_height(r->png, r->info);
    if (image_begin(width, height, r->limits, r->out, r->err))
        leave(r);
    set_transforms(r->png, r->info);
    size_t row = (size_t)width * IMAGE_CHANNELS;
    if (png_get_rowbytes(r->png, r->info) != row)
        png_error(r->png, "unexpected size of a row");
    int passes = png_get_interlace_type(r->png, r->info) == PNG_INTERLACE_NONE ? 1 : PNG_INTERLACE_ADAM7_PASSES;
    for (int pass = 0; pass < passes; pass++)
        for (uint32_t y = 0; y < height; y++)
            png_read_row(r->png, r->out->pixels + row * y, NULL);
    png_read_end(r->png, NULL);
}

static void decode_or_jump(struct reader *r)
{
    if (setjmp(r->back) != 0)
        return;
    r->png = png_create_read_struct(PNG_LIBPNG_VER_STRING, r, on_error, on_warning);
    r->info = r->png ? png_create_info_struct(r->png) : NULL;
    if (r->info)
        decode(r);
    else
        err_set(r->err, ERR_TOO_LARGE, "no memory to read a PNG file");
}

enum err_code image_decode_png(struct str file, const struct image_limits *limits, struct image *out, struct err *err)
{
    struct reader r = {.rest = file, .limits = limits, .out = out, .err = err};
    *err = (struct err){0};
    decode_or_jump(&r);
    png_destroy_read_struct(&r.png, &r.info, NULL);
    if (err->code)
        image_done(out);
    return err->code;
}
