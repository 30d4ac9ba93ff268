/* Protobuf's wire format, reading and writing, over bytes in memory: no allocation when reading, no recursion, never past the end. Pure. */
#ifndef MODEL_WIRE_H
#define MODEL_WIRE_H

#include "base/buf.h"

enum wire_type { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

struct wire {
    const char *at, *end;
};

struct wire_field {
    uint32_t number;
    enum wire_type type;
    uint64_t value;   /* VARINT, FIXED64, FIXED32 */
    struct str bytes; /* BYTES: borrowed */
    struct str whole; /* the field with its tag, for copying */
};

enum wire_result { WIRE_FIELD, WIRE_END, WIRE_BAD };

struct wire wire_of(struct str bytes);
/* On WIRE_BAD, w->at stands where the bad field begins. Groups (a form that no writer makes any more) are bad. */
enum wire_result wire_next(struct wire *w, struct wire_field *f);
/* How many numbers a packed field holds; size 4 or 8, or 0 for varints. False when the last one is cut off. */
bool wire_packed_count(struct str bytes, size_t size, uint64_t *count);
/* The next varint of a packed field. False at the end, or when it is cut off. */
bool wire_varint(struct wire *w, uint64_t *out);

void wire_put_number(struct buf *out, uint32_t field, uint64_t v);
void wire_put_bytes(struct buf *out, uint32_t field, struct str bytes);

#endif
