#include <math.h>

#include "base/check.h"
#include "model/backends/tflite/tflite_int.h"

/* Half away from zero, as TensorFlow Lite's own operator rounds. */
static int32_t to_whole(const struct tflite_io *io, float real, int32_t low, int32_t high)
{
    if (isnan(real))
        real = 0;
    float v = roundf(real / io->scale) + (float)io->zero;
    if (v <= (float)low)
        return low;
    return v >= (float)high ? high : (int32_t)v;
}

void tflite_quantize(const struct tflite_io *io, const float *in, size_t n, void *out)
{
    int8_t *i8 = out;
    uint8_t *u8 = out;
    int16_t *i16 = out;
    if (io->spec.dtype == DT_INT8) {
        for (size_t i = 0; i < n; i++)
            i8[i] = (int8_t)to_whole(io, in[i], INT8_MIN, INT8_MAX);
    } else if (io->spec.dtype == DT_UINT8) {
        for (size_t i = 0; i < n; i++)
            u8[i] = (uint8_t)to_whole(io, in[i], 0, UINT8_MAX);
    } else {
        CHECK(io->spec.dtype == DT_INT16);
        for (size_t i = 0; i < n; i++)
            i16[i] = (int16_t)to_whole(io, in[i], INT16_MIN, INT16_MAX);
    }
}

static float to_real(const struct tflite_io *io, int32_t v)
{
    return (float)((double)v - io->zero) * io->scale;
}

void tflite_dequantize(const struct tflite_io *io, const void *in, size_t n, float *out)
{
    const int8_t *i8 = in;
    const uint8_t *u8 = in;
    const int16_t *i16 = in;
    if (io->spec.dtype == DT_INT8) {
        for (size_t i = 0; i < n; i++)
            out[i] = to_real(io, i8[i]);
    } else if (io->spec.dtype == DT_UINT8) {
        for (size_t i = 0; i < n; i++)
            out[i] = to_real(io, u8[i]);
    } else {
        CHECK(io->spec.dtype == DT_INT16);
        for (size_t i = 0; i < n; i++)
            out[i] = to_real(io, i16[i]);
    }
}
