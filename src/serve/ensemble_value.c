/* Tensors between an ensemble's steps: their memory, counted against the ensemble's limit, and their strings. */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "serve/ensemble_int.h"

#define ALIGN 64u /* of what engines read */

static enum err_code take_memory(struct ensemble *e, const char *name, struct ensemble_value *v, size_t bytes,
                                 struct err *err)
{
    if (bytes > e->memory_max) {
        err_set(err, ERR_TOO_LARGE, "a tensor of ensemble '%s' needs %zu bytes, more than its limit of %llu", name,
                bytes, (unsigned long long)e->memory_max);
        return err_remedy(err, "send fewer rows at once, or raise models.%s.ensemble.memory", name);
    }
    if (atomic_fetch_add(&e->memory_used, bytes) + bytes > e->memory_max) {
        atomic_fetch_sub(&e->memory_used, bytes);
        err_set(err, ERR_BUSY, "the tensors that wait in ensemble '%s' take all of its %llu bytes", name,
                (unsigned long long)e->memory_max);
        return err_remedy(err, "try again later, or raise models.%s.ensemble.memory", name);
    }
    v->heap = aligned_alloc(ALIGN, ROUND_UP(bytes + 1, ALIGN));
    CHECK(v->heap);
    v->heap_len = bytes;
    return ERR_OK;
}

void value_free(struct ensemble *e, struct ensemble_value *v)
{
    if (!v->heap)
        return;
    free(v->heap);
    atomic_fetch_sub(&e->memory_used, v->heap_len);
    v->heap = NULL;
}

void value_drop_use(struct ensemble *e, struct ensemble_value *v)
{
    if (--v->users == 0)
        value_free(e, v);
}

uint64_t value_strings(const struct ensemble_value *v)
{
    return v->t.bytes / sizeof(struct bytes_ref);
}

struct str value_get_string(const struct ensemble_value *v, uint64_t at)
{
    struct bytes_ref ref;
    if (v->from)
        return infer_get_bytes(v->from, v->from_k, at);
    if ((at + 1) * sizeof ref > v->t.bytes || !v->heap)
        return STR("");
    memcpy(&ref, v->heap + at * sizeof ref, sizeof ref);
    return (struct str){(const char *)v->heap + ref.off, ref.len};
}

bool value_put_string(struct ensemble_value *v, uint64_t at, struct str s)
{
    if (s.n > v->heap_len - v->heap_at || (at + 1) * sizeof(struct bytes_ref) > v->t.bytes || v->heap_at > UINT32_MAX)
        return false;
    struct bytes_ref ref = {.off = (uint32_t)v->heap_at, .len = (uint32_t)s.n};
    if (s.n > 0)
        memcpy(v->heap + v->heap_at, s.p, s.n);
    memcpy(v->heap + at * sizeof ref, &ref, sizeof ref);
    v->heap_at += s.n;
    v->strings_bytes += s.n;
    return true;
}

enum err_code value_make(struct ensemble *e, const char *name, struct ensemble_value *v, uint64_t strings,
                         struct err *err)
{
    if (take_memory(e, name, v, v->t.bytes + strings, err))
        return err->code;
    v->heap_at = v->t.bytes;
    v->strings_bytes = 0;
    v->t.data = v->heap;
    return ERR_OK;
}

void value_keep(struct ensemble *e, const char *name, struct ensemble_value *v, struct err *err)
{
    struct ensemble_value mine = *v;
    bool is_fine = true;
    mine.from = NULL;
    if (value_make(e, name, &mine, v->t.dtype == DT_BYTES ? v->strings_bytes : 0, err))
        return;
    if (v->t.dtype == DT_BYTES)
        for (uint64_t i = 0; i < value_strings(v) && is_fine; i++)
            is_fine = value_put_string(&mine, i, value_get_string(v, i));
    else if (v->t.bytes > 0)
        memcpy(mine.heap, v->t.data, v->t.bytes);
    *v = mine;
    if (!is_fine) /* the worker changed it under our hands */
        err_set(err, ERR_BACKEND, "strings changed after they were answered");
}

void value_borrow(struct ensemble_value *v, const struct infer *i, int k)
{
    v->t = i->out[k];
    v->t.given = true;
    v->from = i;
    v->from_k = k;
    v->strings_bytes = 0;
    if (v->t.dtype == DT_BYTES)
        for (uint64_t e = 0; e < value_strings(v); e++)
            v->strings_bytes += value_get_string(v, e).n;
}
