/* Files of strangers. What must hold for every input: no read outside of it, a text with each refusal, and a description that holds when it is taken. */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "model/tflite_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_side(const struct tflite_io *ios, uint32_t len)
{
    CHECK(len <= MODEL_TENSORS_MAX);
    for (uint32_t i = 0; i < len; i++) {
        uint64_t count;
        CHECK(ios[i].spec.name[0] != 0);
        CHECK(memchr(ios[i].spec.name, 0, sizeof ios[i].spec.name) != NULL);
        CHECK(ios[i].spec.dtype != DT_NONE && ios[i].spec.dtype < DT_MAX_);
        CHECK(ios[i].spec.ndim >= 0 && ios[i].spec.ndim <= TENSOR_DIMS_MAX);
        CHECK(tensor_count(ios[i].shape, ios[i].spec.ndim, &count));
        CHECK(!ios[i].is_quantized || ios[i].scale > 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct tflite_info info;
    struct err err = {.code = ERR_OK};
    char *copy = malloc(size + 1); /* of just this size, so that a read past the end is seen */
    CHECK(copy != NULL);
    if (size > 0)
        memcpy(copy, data, size);
    if (tflite_check((struct str){copy, size}, NULL, &info, &err) == ERR_OK) {
        check_side(info.inputs, info.inputs_len);
        check_side(info.outputs, info.outputs_len);
    } else {
        CHECK(err.text[0] != 0);
    }
    free(copy);
    return 0;
}
