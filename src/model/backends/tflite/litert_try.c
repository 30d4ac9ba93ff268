#include "model/backends/tflite/litert_try.h"

#include <string.h>

#include "base/check.h"

/* y = x + x for four numbers (tools/make-tflite-models.py --try). The library reads it where it lies. */
static _Alignas(16) const unsigned char model_bytes[] = {
    28,  0,  0,  0,   84, 70, 76, 51, 20, 0,  28, 0,  24,  0,   20,  0,   16,  0,   12, 0, 8, 0,  0,  0,  0,   0,   4,
    0,   20, 0,  0,   0,  24, 0,  0,  0,  24, 0,  0,  0,   32,  0,   0,   0,   36,  0,  0, 0, 12, 1,  0,  0,   3,   0,
    0,   0,  0,  0,   0,  0,  1,  0,  0,  0,  4,  0,  0,   0,   140, 255, 255, 255, 0,  0, 0, 0,  0,  0,  0,   0,   1,
    0,   0,  0,  20,  0,  0,  0,  0,  0,  14, 0,  24, 0,   20,  0,   16,  0,   12,  0,  8, 0, 4,  0,  14, 0,   0,   0,
    20,  0,  0,  0,   28, 0,  0,  0,  96, 0,  0,  0,  100, 0,   0,   0,   104, 0,   0,  0, 4, 0,  0,  0,  109, 97,  105,
    110, 0,  0,  0,   0,  1,  0,  0,  0,  20, 0,  0,  0,   0,   0,   14,  0,   20,  0,  0, 0, 16, 0,  12, 0,   11,  0,
    4,   0,  14, 0,   0,  0,  20, 0,  0,  0,  0,  0,  0,   11,  16,  0,   0,   0,   20, 0, 0, 0,  4,  0,  4,   0,   4,
    0,   0,  0,  1,   0,  0,  0,  1,  0,  0,  0,  2,  0,   0,   0,   0,   0,   0,   0,  0, 0, 0,  0,  1,  0,   0,   0,
    1,   0,  0,  0,   1,  0,  0,  0,  0,  0,  0,  0,  2,   0,   0,   0,   52,  0,   0,  0, 4, 0,  0,  0,  224, 255, 255,
    255, 8,  0,  0,   0,  12, 0,  0,  0,  1,  0,  0,  0,   121, 0,   0,   0,   2,   0,  0, 0, 1,  0,  0,  0,   4,   0,
    0,   0,  12, 0,   12, 0,  8,  0,  0,  0,  0,  0,  4,   0,   12,  0,   0,   0,   8,  0, 0, 0,  12, 0,  0,   0,   1,
    0,   0,  0,  120, 0,  0,  0,  2,  0,  0,  0,  1,  0,   0,   0,   4,   0,   0,   0,  1, 0, 0,  0,  16, 0,   0,   0,
    0,   0,  10, 0,   8,  0,  0,  0,  0,  0,  4,  0,  10,  0,   0,   0,   2,   0,   0,  0,
};

/* Tensors and what the library may read behind them. */
struct numbers {
    _Alignas(LITERT_ALIGN) float x[4];
    float behind_x[LITERT_READ_PAST];
    _Alignas(LITERT_ALIGN) float y[4];
    float behind_y[LITERT_READ_PAST];
};

static int run(const struct litert_api *api, struct litert_compiled *c, struct numbers *n)
{
    const struct litert_tensor_type type = {LITERT_FLOAT32, {.rank = 2, .dims = {1, 4}}};
    struct litert_buffer *in = NULL, *out = NULL;
    int status = api->CreateTensorBufferFromHostMemory(&type, n->x, sizeof n->x, NULL, &in);
    if (status == LITERT_OK)
        status = api->CreateTensorBufferFromHostMemory(&type, n->y, sizeof n->y, NULL, &out);
    if (status == LITERT_OK)
        status = api->RunCompiledModel(c, 0, 1, &in, 1, &out);
    if (in != NULL)
        api->DestroyTensorBuffer(in);
    if (out != NULL)
        api->DestroyTensorBuffer(out);
    return status;
}

enum err_code litert_try(const struct litert_api *api, struct litert_env *env, struct err *err)
{
    struct litert_model *model = NULL;
    struct litert_options *options = NULL;
    struct litert_compiled *compiled = NULL;
    struct numbers n = {.x = {1, 2, 3, 4}};
    int status = api->CreateModelFromBuffer(env, model_bytes, sizeof model_bytes, &model);
    if (status == LITERT_OK)
        status = api->CreateOptions(&options);
    if (status == LITERT_OK)
        status = api->SetOptionsHardwareAccelerators(options, LITERT_ACCELERATOR_CPU);
    if (status == LITERT_OK)
        status = api->CreateCompiledModel(env, model, options, &compiled);
    if (status == LITERT_OK)
        status = run(api, compiled, &n);
    if (compiled != NULL)
        api->DestroyCompiledModel(compiled);
    if (options != NULL)
        api->DestroyOptions(options);
    if (model != NULL)
        api->DestroyModel(model);
    static const float expected[4] = {2, 4, 6, 8};
    if (status == LITERT_OK && memcmp(n.y, expected, sizeof expected) == 0)
        return ERR_OK;
    (void)err_set(err, ERR_BACKEND, "LiteRT does not run a model of one addition (status %d)", status);
    return err_remedy(err, "run: quern engine verify litert");
}
