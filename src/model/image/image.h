/* Pictures that strangers send: JPEG and PNG to rows of red, green, blue bytes. Sizes are checked by what the file declares, before
 * any pixel is decoded or memory taken. Colours are taken as they are: no profiles, no gamma, no EXIF rotation; transparency is dropped. */
#ifndef MODEL_IMAGE_IMAGE_H
#define MODEL_IMAGE_IMAGE_H

#include "base/err.h"

#define IMAGE_CHANNELS 3

struct image {
    uint32_t width, height;
    unsigned char *pixels; /* height rows of width times red, green, blue; image_done frees */
};

struct image_limits {
    uint32_t side_max;   /* most pixels in a row or column */
    uint64_t pixels_max; /* most pixels in all */
};

/* ERR_INVALID: neither JPEG nor PNG, or damaged; ERR_TOO_LARGE: over a limit. */
enum err_code image_decode(struct str file, const struct image_limits *limits, struct image *out, struct err *err);
void image_done(struct image *m);

enum image_filter {
    IMAGE_NEAREST,
    IMAGE_LINEAR,   /* between the two nearest pixels, as OpenCV's INTER_LINEAR */
    IMAGE_BILINEAR, /* triangle as wide as the reduction, as Pillow's BILINEAR */
    IMAGE_BICUBIC   /* as Pillow's BICUBIC */
};

/* A part of a picture, in pixels, may begin and end within one. */
struct image_box {
    double x, y, width, height;
};

/* The part `box` of `in`, which must lie inside, at another size: width * height * 3 bytes into out. ERR_TOO_LARGE: no memory. */
enum err_code image_resize(const struct image *in, struct image_box box, enum image_filter filter, uint32_t width,
                           uint32_t height, unsigned char *out, struct err *err);

#endif
