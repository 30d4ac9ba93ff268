#include "serve/shared.h"

#include <stdlib.h>

#include "base/check.h"
#include "serve/ensemble.h"
#include "serve/proto_classes.h"

struct model_shared *model_shared_new(void)
{
    struct model_shared *m = calloc(1, sizeof *m);
    CHECK(m);
    m->refs = 1;
    m->stats = stats_new();
    quarantine_init(&m->quarantine);
    return m;
}

struct model_shared *model_shared_ref(struct model_shared *m)
{
    atomic_fetch_add(&m->refs, 1);
    return m;
}

struct model_shared *model_shared_unref(struct model_shared *m)
{
    if (m && atomic_fetch_sub(&m->refs, 1) == 1) {
        segment_close(&m->map);
        (void)ensemble_free(m->ensemble);
        (void)stats_unref(m->stats);
        labels_free(m);
        cache_free(m->cache);
        (void)compare_ring_free(m->kept);
        free((void *)(uintptr_t)atomic_load(&m->recalled));
        free(m);
    }
    return NULL;
}
