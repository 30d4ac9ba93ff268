#include "serve/shared.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "serve/ensemble.h"
#include "serve/proto_classes.h"

struct model_shared *model_shared_new(int threads)
{
    struct model_shared *m = calloc(1, sizeof *m);
    CHECK(m);
    size_t bytes = (size_t)threads * sizeof *m->load;
    m->load = aligned_alloc(alignof(struct model_load), bytes);
    CHECK(m->load);
    memset(m->load, 0, bytes);
    m->threads = threads;
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
        model_desc_free(m->desc);
        model_desc_free(atomic_load(&m->recalled));
        free(atomic_load(&m->tags));
        free(m->load);
        free(m);
    }
    return NULL;
}

struct schedule_tags *model_shared_tags(struct model_shared *m)
{
    struct schedule_tags *have = atomic_load(&m->tags);
    if (have)
        return have;
    struct schedule_tags *news = calloc(1, sizeof *news);
    CHECK(news);
    if (atomic_compare_exchange_strong(&m->tags, &have, news))
        return news;
    free(news); /* another thread was faster */
    return have;
}
