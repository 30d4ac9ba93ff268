/* Statistics outlive lives: a reload of the same version, or the way back to it, counts on. Those of versions that are gone are kept for a while. */
#include <string.h>

#include "app/edge_int.h"
#include "base/check.h"

static bool is_of(const struct model_shared *m, const char *name, const char *version)
{
    return strcmp(m->name, name) == 0 && strcmp(m->version, version) == 0;
}

void edge_stats_adopt(struct edge *e, struct model_shared *m)
{
    char key[EDGE_SERIES_MAX];
    edge_series_key(m, key);
    const struct model_shared *other = map_get(&e->life_of, str_c(key));
    struct stats *known = other ? other->stats : NULL;
    CHECK(map_put(&e->life_of, str_c(key), m));
    for (size_t i = 0; i < EDGE_STATS_GONE && !known; i++)
        if (e->gone[i].stats && strcmp(e->gone[i].name, m->name) == 0 && strcmp(e->gone[i].version, m->version) == 0)
            known = e->gone[i].stats;
    if (!known)
        return;
    (void)stats_unref(m->stats);
    m->stats = stats_ref(known);
}

void edge_stats_leave(struct edge *e, const struct model_shared *m)
{
    char key[EDGE_SERIES_MAX];
    edge_series_key(m, key);
    if (map_get(&e->life_of, str_c(key)) != m)
        return;
    (void)map_take(&e->life_of, str_c(key));
    for (size_t i = 0; i < e->models_len; i++) /* one that goes on when a newer one was not taken */
        if (e->models[i].shared != m && is_of(e->models[i].shared, m->name, m->version))
            CHECK(map_put(&e->life_of, str_c(key), e->models[i].shared));
}

void edge_stats_keep(struct edge *e, const struct model_shared *m)
{
    for (size_t i = 0; i < EDGE_STATS_GONE; i++)
        if (e->gone[i].stats == m->stats)
            return;
    struct edge_stats_gone *to = &e->gone[e->gone_at++ % EDGE_STATS_GONE]; /* the one that went first */
    (void)stats_unref(to->stats);
    to->stats = stats_ref(m->stats);
    (void)str_copy(to->name, sizeof to->name, str_c(m->name));
    (void)str_copy(to->version, sizeof to->version, str_c(m->version));
}
