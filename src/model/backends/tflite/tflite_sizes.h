/* Of which runs a run of so many rows is made. The model is compiled for a few sizes only. Other numbers are run as several of these one after
 * the other, or as the next greater one with rows that nobody reads, whatever costs less: a model whose time goes into reading its weights gains by
 * the second, one that computes by the first. Pure. */
#ifndef MODEL_BACKENDS_TFLITE_TFLITE_SIZES_H
#define MODEL_BACKENDS_TFLITE_TFLITE_SIZES_H

#include <stdint.h>

#define TFLITE_SIZES_MAX 64

struct tflite_sizes {
    uint8_t first[TFLITE_SIZES_MAX + 1]; /* for so many rows: the size to run first */
};

/* A run of n rows takes fixed + n * per_row, in any unit; per_row > 0. */
void tflite_sizes_choose(struct tflite_sizes *s, double fixed, double per_row);
/* The size of the next run when `rows` (at least 1) are left. */
uint32_t tflite_next_size(const struct tflite_sizes *s, uint32_t rows);

#endif
