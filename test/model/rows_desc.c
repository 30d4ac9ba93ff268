#include "rows_desc.h"

#include <string.h>

void rows_desc(struct model_desc *d, int64_t width)
{
    memset(d, 0, sizeof *d);
    d->inputs_len = d->outputs_len = 1;
    (void)str_copy(d->inputs[0].name, sizeof d->inputs[0].name, STR("x"));
    (void)str_copy(d->outputs[0].name, sizeof d->outputs[0].name, STR("y"));
    d->inputs[0].dtype = d->outputs[0].dtype = DT_FP32;
    d->inputs[0].ndim = d->outputs[0].ndim = 2;
    d->inputs[0].dims[0] = d->outputs[0].dims[0] = -1;
    d->inputs[0].dims[1] = d->outputs[0].dims[1] = width;
}
