/* A made-up picture: an 8 x 8 PNG file of grey pixels that depend on the seed. */
#include <string.h>

#include <zlib.h>

#include "base/check.h"
#include "model/sample.h"

#define SIDE      8
#define RAW_BYTES (SIDE * (SIDE + 1)) /* each row begins with its filter, none */

static void put_u32(unsigned char *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (unsigned char)(v >> (24 - 8 * i));
}

/* Length, kind and content, and the sum of the latter two. Returns the byte behind it. */
static unsigned char *put_chunk(unsigned char *p, const char *kind, const unsigned char *content, uint32_t n)
{
    put_u32(p, n);
    memcpy(p + 4, kind, 4);
    memcpy(p + 8, content, n);
    put_u32(p + 8 + n, (uint32_t)crc32(0, p + 4, 4 + n));
    return p + 12 + n;
}

size_t sample_picture(uint64_t seed, unsigned char out[SAMPLE_PICTURE_MAX])
{
    static const unsigned char mark[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
    static const unsigned char head[13] = {0, 0, 0, SIDE, 0, 0, 0, SIDE, 8, 0, 0, 0, 0}; /* 8 bits of grey */
    const struct sample_style style = {.seed = seed, .int_bound = 100};
    unsigned char pixels[SIDE * SIDE], raw[RAW_BYTES] = {0}, packed[RAW_BYTES + 64];
    uLongf packed_n = sizeof packed;
    sample_fill(DT_UINT8, sizeof pixels, &style, pixels);
    for (size_t y = 0; y < SIDE; y++)
        memcpy(raw + y * (SIDE + 1) + 1, pixels + y * SIDE, SIDE);
    CHECK(compress2(packed, &packed_n, raw, sizeof raw, Z_NO_COMPRESSION) == Z_OK);
    unsigned char *p = out;
    memcpy(p, mark, sizeof mark);
    p = put_chunk(p + sizeof mark, "IHDR", head, sizeof head);
    p = put_chunk(p, "IDAT", packed, (uint32_t)packed_n);
    p = put_chunk(p, "IEND", head, 0);
    CHECK((size_t)(p - out) <= SAMPLE_PICTURE_MAX);
    return (size_t)(p - out);
}
