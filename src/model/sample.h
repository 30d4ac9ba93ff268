/* Made-up input values, the same in every process: for probes, warm-up and examples. Pure. */
#ifndef MODEL_SAMPLE_H
#define MODEL_SAMPLE_H

#include "model/tensor.h"

struct sample_style {
    uint64_t seed;
    double scale;     /* spread of floating-point values */
    bool is_positive; /* no negative floating-point values */
    uint32_t
        int_bound; /* whole numbers lie in [0, int_bound]; the first is never 0, so that a mask does not hide everything */
};

/* n elements of any type but BYTES. */
void sample_fill(enum dtype t, size_t n, const struct sample_style *style, void *out);

/* A small PNG file, for inputs that take pictures. Returns its size. */
#define SAMPLE_PICTURE_MAX 256
size_t sample_picture(uint64_t seed, unsigned char out[SAMPLE_PICTURE_MAX]);

#endif
