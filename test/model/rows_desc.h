/* The description that tests of batching begin with: rows of floats in, rows of floats out, "x" FP32[-1,width] -> "y" FP32[-1,width]. */
#ifndef TEST_MODEL_ROWS_DESC_H
#define TEST_MODEL_ROWS_DESC_H

#include "model/desc.h"

void rows_desc(struct model_desc *d, int64_t width);

#endif
