#include "model/wire.h"

#include <string.h>

#define FIELD_NUMBER_MAX ((UINT32_C(1) << 29) - 1)

struct wire wire_of(struct str bytes)
{
    static const char nothing[1];
    const char *p = bytes.n > 0 ? bytes.p : nothing;
    return (struct wire){p, p + bytes.n};
}

bool wire_varint(struct wire *w, uint64_t *out)
{
    uint64_t v = 0;
    const char *p = w->at;
    for (unsigned shift = 0; shift < 70 && p < w->end; shift += 7) {
        unsigned char c = (unsigned char)*p++;
        if (shift < 64)
            v |= (uint64_t)(c & 0x7f) << shift;
        if (c < 0x80) {
            w->at = p;
            *out = v;
            return true;
        }
    }
    return false;
}

static bool take_fixed(struct wire *w, size_t size, uint64_t *out)
{
    if ((size_t)(w->end - w->at) < size)
        return false;
    uint64_t v = 0;
    memcpy(&v, w->at, size); /* both sides are little endian */
    w->at += size;
    *out = v;
    return true;
}

static bool take_bytes(struct wire *w, struct str *out)
{
    uint64_t n;
    if (!wire_varint(w, &n) || n > (uint64_t)(w->end - w->at))
        return false;
    *out = (struct str){w->at, (size_t)n};
    w->at += n;
    return true;
}

enum wire_result wire_next(struct wire *w, struct wire_field *f)
{
    if (w->at == w->end)
        return WIRE_END;
    struct wire try = *w;
    uint64_t tag;
    if (!wire_varint(&try, &tag) || tag >> 3 == 0 || tag >> 3 > FIELD_NUMBER_MAX)
        return WIRE_BAD;
    f->number = (uint32_t)(tag >> 3);
    f->type = (enum wire_type)(tag & 7);
    f->value = 0;
    f->bytes = (struct str){NULL, 0};
    bool ok = false;
    if (f->type == WIRE_VARINT)
        ok = wire_varint(&try, &f->value);
    else if (f->type == WIRE_FIXED64 || f->type == WIRE_FIXED32)
        ok = take_fixed(&try, f->type == WIRE_FIXED64 ? 8 : 4, &f->value);
    else if (f->type == WIRE_BYTES)
        ok = take_bytes(&try, &f->bytes);
    if (!ok)
        return WIRE_BAD;
    f->whole = (struct str){w->at, (size_t)(try.at - w->at)};
    *w = try;
    return WIRE_FIELD;
}

bool wire_packed_count(struct str bytes, size_t size, uint64_t *count)
{
    if (size > 0) {
        *count = bytes.n / size;
        return bytes.n % size == 0;
    }
    struct wire w = wire_of(bytes);
    uint64_t n = 0, v;
    while (w.at < w.end) {
        if (!wire_varint(&w, &v))
            return false;
        n++;
    }
    *count = n;
    return true;
}

static void put_varint(struct buf *out, uint64_t v)
{
    char bytes[10];
    size_t n = 0;
    while (v >= 0x80) {
        bytes[n++] = (char)(unsigned char)(v | 0x80);
        v >>= 7;
    }
    bytes[n++] = (char)(unsigned char)v;
    buf_add(out, bytes, n);
}

void wire_put_number(struct buf *out, uint32_t field, uint64_t v)
{
    put_varint(out, (uint64_t)field << 3 | WIRE_VARINT);
    put_varint(out, v);
}

void wire_put_bytes(struct buf *out, uint32_t field, struct str bytes)
{
    put_varint(out, (uint64_t)field << 3 | WIRE_BYTES);
    put_varint(out, bytes.n);
    buf_str(out, bytes);
}
