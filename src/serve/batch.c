#include "serve/batch.h"

uint32_t batch_padded(const struct batch_policy *p, uint32_t rows)
{
    for (int i = 0; i < BATCH_SIZES_MAX && p->sizes[i] != 0; i++)
        if (p->sizes[i] >= rows)
            return p->sizes[i];
    return rows;
}

uint64_t batch_ready_ns(const struct batch_policy *p, uint32_t rows, uint32_t rows_max, uint64_t opened_ns)
{
    if (p->delay_ns == 0 || rows >= rows_max || (p->preferred[0] != 0 && rows >= p->preferred[0]))
        return 0;
    return opened_ns + p->delay_ns;
}

uint32_t batch_cap(const struct batch_policy *p, uint32_t model_max)
{
    uint32_t cap = model_max > 0 ? model_max : 1, largest = 0;
    for (int i = 0; i < BATCH_SIZES_MAX && p->sizes[i] != 0; i++)
        if (p->sizes[i] <= cap)
            largest = p->sizes[i];
    return largest > 0 ? largest : cap;
}
