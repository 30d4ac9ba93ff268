/* The readers of each format, and what they share. */
#ifndef MODEL_IMAGE_IMAGE_INT_H
#define MODEL_IMAGE_IMAGE_INT_H

#include "model/image/image.h"

enum err_code image_decode_jpeg(struct str file, const struct image_limits *limits, struct image *out, struct err *err);
enum err_code image_decode_png(struct str file, const struct image_limits *limits, struct image *out, struct err *err);
/* Checks the declared size and makes room for the pixels. */
enum err_code image_begin(uint32_t width, uint32_t height, const struct image_limits *limits, struct image *out,
                          struct err *err);

#endif
