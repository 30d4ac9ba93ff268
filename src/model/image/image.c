#include "model/image/image.h"

#include <stdlib.h>

#include "model/image/image_int.h"

enum err_code image_begin(uint32_t width, uint32_t height, const struct image_limits *limits, struct image *out,
                          struct err *err)
{
    if (width == 0 || height == 0)
        return err_set(err, ERR_INVALID, "the picture says that it is %u x %u pixels large", width, height);
    uint64_t pixels = (uint64_t)width * height;
    if (width > limits->side_max || height > limits->side_max || pixels > limits->pixels_max) {
        err_set(err, ERR_TOO_LARGE,
                "the picture is %u x %u pixels large; at most %llu pixels, and %u along a side, are read", width,
                height, (unsigned long long)limits->pixels_max, limits->side_max);
        return err_remedy(err, "send a smaller picture, or raise the model's parameters max_pixels and max_side");
    }
    *out = (struct image){.width = width, .height = height, .pixels = malloc((size_t)pixels * IMAGE_CHANNELS)};
    return out->pixels ? ERR_OK : err_set(err, ERR_TOO_LARGE, "no memory for %u x %u pixels", width, height);
}

void image_done(struct image *m)
{
    free(m->pixels);
    *m = (struct image){0};
}

enum err_code image_decode(struct str file, const struct image_limits *limits, struct image *out, struct err *err)
{
    *out = (struct image){0};
    if (str_starts(file, STR("\xff\xd8\xff")))
        return image_decode_jpeg(file, limits, out, err);
    if (str_starts(file, STR("\x89PNG\r\n\x1a\n")))
        return image_decode_png(file, limits, out, err);
    if (file.n == 0)
        return err_set(err, ERR_INVALID, "there is no picture: 0 bytes");
    err_set(err, ERR_INVALID, "neither a JPEG nor a PNG file");
    return err_remedy(err, "send the file's bytes as they are (in JSON: {\"b64\": \"...\"})");
}
