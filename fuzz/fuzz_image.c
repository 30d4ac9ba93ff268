/* Files of pictures: whatever the bytes, a picture within the limits or an error, and a resize that stays inside. */
#include <stdlib.h>

#include "base/check.h"
#include "model/image/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct image_limits limits = {.side_max = 512, .pixels_max = 65536};
    unsigned char out[7 * 5 * IMAGE_CHANNELS];
    struct image m;
    struct err err = {0};
    if (image_decode((struct str){(const char *)data, size}, &limits, &m, &err)) {
        CHECK(err.text[0] != '\0' && m.pixels == NULL);
        return 0;
    }
    CHECK(m.width > 0 && m.height > 0 && (uint64_t)m.width * m.height <= limits.pixels_max);
    struct image_box box = {m.width * 0.1, m.height * 0.25, m.width * 0.8, m.height * 0.5};
    for (int filter = IMAGE_NEAREST; filter <= IMAGE_BICUBIC; filter++)
        CHECK(image_resize(&m, box, (enum image_filter)filter, 7, 5, out, &err) == ERR_OK);
    image_done(&m);
    return 0;
}
