/* FlatBuffers' format, reading only, over bytes in memory: no allocation, no recursion, never past the end. Pure. A field that is not there reads as
 * its default; one that lies outside the bytes sets `is_bad` of the file, and reads as its default too, so that a reader checks once for each table. */
#ifndef MODEL_FLAT_H
#define MODEL_FLAT_H

#include "base/str.h"

struct flat {
    const unsigned char *p;
    size_t n;
    bool is_bad;
    size_t bad_at; /* where the first bad thing was found */
};

/* An absent table has at == 0: all its fields read as absent. */
struct flat_table {
    size_t at;
    size_t vtable;
    uint16_t vtable_bytes, bytes;
};

/* An absent vector has at == 0 and len == 0. */
struct flat_vector {
    size_t at; /* of the first element */
    uint32_t len;
};

/* False: too short, or another identifier (4 characters). */
ATTR_MUST_USE bool flat_open(struct flat *f, struct str bytes, const char *identifier, struct flat_table *root);

bool flat_has(const struct flat *f, struct flat_table t, unsigned field);
/* The number in a field of `size` bytes (1, 2, 4, 8), zero-extended. */
uint64_t flat_number(struct flat *f, struct flat_table t, unsigned field, size_t size, uint64_t fallback);
int32_t flat_i32(struct flat *f, struct flat_table t, unsigned field, int32_t fallback);
struct flat_table flat_child(struct flat *f, struct flat_table t, unsigned field);
/* p == NULL when absent. Must end with a NUL in the file, as the format demands and C++ readers rely on. */
struct str flat_text(struct flat *f, struct flat_table t, unsigned field);
struct flat_vector flat_vector(struct flat *f, struct flat_table t, unsigned field, size_t element_bytes);

/* i must be below v.len. */
int32_t flat_vector_i32(const struct flat *f, struct flat_vector v, uint32_t i);
int64_t flat_vector_i64(const struct flat *f, struct flat_vector v, uint32_t i);
float flat_vector_f32(const struct flat *f, struct flat_vector v, uint32_t i);
struct flat_table flat_vector_table(struct flat *f, struct flat_vector v, uint32_t i);

#endif
