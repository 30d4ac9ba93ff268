#include "model/flat.h"

#include <string.h>

#include "base/check.h"

/* Little endian, as every machine that we build for. */
static uint64_t load(const struct flat *f, size_t at, size_t size)
{
    uint64_t v = 0;
    memcpy(&v, f->p + at, size);
    return v;
}

static bool fits(const struct flat *f, size_t at, uint64_t bytes)
{
    return at <= f->n && bytes <= f->n - at;
}

static void bad(struct flat *f, size_t at)
{
    if (!f->is_bad)
        f->bad_at = at;
    f->is_bad = true;
}

/* A table begins with the distance back to its vtable, which says how large both are and where each field lies. */
static struct flat_table table_at(struct flat *f, size_t at)
{
    static const struct flat_table none;
    struct flat_table t = {.at = at};
    if (at == 0 || !fits(f, at, 4)) {
        bad(f, at);
        return none;
    }
    int64_t vtable = (int64_t)at - (int32_t)(uint32_t)load(f, at, 4);
    if (vtable < 0 || !fits(f, (size_t)vtable, 4)) {
        bad(f, at);
        return none;
    }
    t.vtable = (size_t)vtable;
    t.vtable_bytes = (uint16_t)load(f, t.vtable, 2);
    t.bytes = (uint16_t)load(f, t.vtable + 2, 2);
    if (t.vtable_bytes < 4 || t.vtable_bytes % 2 != 0 || !fits(f, t.vtable, t.vtable_bytes) || t.bytes < 4 ||
        !fits(f, at, t.bytes)) {
        bad(f, t.vtable);
        return none;
    }
    return t;
}

bool flat_open(struct flat *f, struct str bytes, const char *identifier, struct flat_table *root)
{
    *f = (struct flat){.p = (const unsigned char *)bytes.p, .n = bytes.n};
    if (bytes.n < 8 || memcmp(bytes.p + 4, identifier, 4) != 0)
        return false;
    *root = table_at(f, (size_t)load(f, 0, 4));
    return true;
}

/* Where a field lies, or 0. */
static size_t field_at(const struct flat *f, struct flat_table t, unsigned field)
{
    size_t slot = 4 + 2 * (size_t)field;
    if (t.at == 0 || slot + 2 > t.vtable_bytes)
        return 0;
    size_t offset = (size_t)load(f, t.vtable + slot, 2);
    return offset == 0 ? 0 : t.at + offset;
}

static size_t field_of(struct flat *f, struct flat_table t, unsigned field, size_t size)
{
    size_t at = field_at(f, t, field);
    if (at == 0)
        return 0;
    if (at - t.at + size > t.bytes) {
        bad(f, at);
        return 0;
    }
    return at;
}

bool flat_has(const struct flat *f, struct flat_table t, unsigned field)
{
    return field_at(f, t, field) != 0;
}

uint64_t flat_number(struct flat *f, struct flat_table t, unsigned field, size_t size, uint64_t fallback)
{
    CHECK(size == 1 || size == 2 || size == 4 || size == 8);
    size_t at = field_of(f, t, field, size);
    return at == 0 ? fallback : load(f, at, size);
}

int32_t flat_i32(struct flat *f, struct flat_table t, unsigned field, int32_t fallback)
{
    return (int32_t)(uint32_t)flat_number(f, t, field, 4, (uint32_t)fallback);
}

/* Where the thing that the offset at `at` points to begins. Offsets only point forward. */
static size_t follow(struct flat *f, size_t at)
{
    uint64_t offset = load(f, at, 4);
    if (offset == 0 || !fits(f, at, offset)) {
        bad(f, at);
        return 0;
    }
    return at + (size_t)offset;
}

struct flat_table flat_child(struct flat *f, struct flat_table t, unsigned field)
{
    static const struct flat_table none;
    size_t at = field_of(f, t, field, 4);
    size_t to = at == 0 ? 0 : follow(f, at);
    return to == 0 ? none : table_at(f, to);
}

static struct flat_vector vector_at(struct flat *f, size_t at, size_t element_bytes)
{
    static const struct flat_vector none;
    if (!fits(f, at, 4)) {
        bad(f, at);
        return none;
    }
    uint64_t len = load(f, at, 4);
    if (!fits(f, at + 4, len * element_bytes)) {
        bad(f, at);
        return none;
    }
    return (struct flat_vector){.at = at + 4, .len = (uint32_t)len};
}

struct flat_vector flat_vector(struct flat *f, struct flat_table t, unsigned field, size_t element_bytes)
{
    static const struct flat_vector none;
    size_t at = field_of(f, t, field, 4);
    size_t to = at == 0 ? 0 : follow(f, at);
    return to == 0 ? none : vector_at(f, to, element_bytes);
}

struct str flat_text(struct flat *f, struct flat_table t, unsigned field)
{
    struct flat_vector v = flat_vector(f, t, field, 1);
    if (v.at == 0)
        return (struct str){NULL, 0};
    if (!fits(f, v.at, (uint64_t)v.len + 1) || f->p[v.at + v.len] != 0) {
        bad(f, v.at);
        return (struct str){NULL, 0};
    }
    return (struct str){(const char *)f->p + v.at, v.len};
}

int32_t flat_vector_i32(const struct flat *f, struct flat_vector v, uint32_t i)
{
    CHECK(i < v.len);
    return (int32_t)(uint32_t)load(f, v.at + 4 * (size_t)i, 4);
}

int64_t flat_vector_i64(const struct flat *f, struct flat_vector v, uint32_t i)
{
    CHECK(i < v.len);
    return (int64_t)load(f, v.at + 8 * (size_t)i, 8);
}

float flat_vector_f32(const struct flat *f, struct flat_vector v, uint32_t i)
{
    CHECK(i < v.len);
    float out;
    memcpy(&out, f->p + v.at + 4 * (size_t)i, sizeof out);
    return out;
}

struct flat_table flat_vector_table(struct flat *f, struct flat_vector v, uint32_t i)
{
    static const struct flat_table none;
    CHECK(i < v.len);
    size_t to = follow(f, v.at + 4 * (size_t)i);
    return to == 0 ? none : table_at(f, to);
}
