#include "model/backends/tflite/tflite_sizes.h"

#include <stddef.h>

#include "base/attr.h"
#include "base/check.h"

/* Each is at most a half more than the one before. */
static const uint8_t sizes[] = {1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, TFLITE_SIZES_MAX};

void tflite_sizes_choose(struct tflite_sizes *s, double fixed, double per_row)
{
    double best[TFLITE_SIZES_MAX + 1] = {0};
    CHECK(per_row > 0);
    s->first[0] = 1;
    for (uint32_t n = 1; n <= TFLITE_SIZES_MAX; n++) {
        best[n] = -1;
        for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
            uint32_t left = sizes[i] < n ? n - sizes[i] : 0;
            double cost = fixed + per_row * sizes[i] + best[left];
            if (best[n] < 0 || cost < best[n]) {
                best[n] = cost;
                s->first[n] = sizes[i];
            }
        }
    }
}

uint32_t tflite_next_size(const struct tflite_sizes *s, uint32_t rows)
{
    CHECK(rows > 0);
    return rows > TFLITE_SIZES_MAX ? TFLITE_SIZES_MAX : s->first[rows];
}
