/* Statistics outlive lives: a reload of the same version, or the way back to it, counts on. Those of versions that are gone are kept for a while. */
#include <string.h>

#include "app/edge_int.h"

static bool is_of(const struct model_shared *m, const char *name, const char *version)
{
    return strcmp(m->name, name) == 0 && strcmp(m->version, version) == 0;
}

void edge_stats_adopt(struct edge *e, struct model_shared *m)
{
    struct stats *known = NULL;
    for (size_t i = 0; i < e->models_len && !known; i++)
        if (e->models[i].shared != m && is_of(e->models[i].shared, m->name, m->version))
            known = e->models[i].shared->stats;
    for (size_t i = 0; i < EDGE_STATS_GONE && !known; i++)
        if (e->gone[i].stats && strcmp(e->gone[i].name, m->name) == 0 && strcmp(e->gone[i].version, m->version) == 0)
            known = e->gone[i].stats;
    if (!known)
        return;
    (void)stats_unref(m->stats);
    m->stats = stats_ref(known);
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
