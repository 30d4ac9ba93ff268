#include "cli/config_override.h"

#include <string.h>

#include "cli/config_int.h"
#include "model/repo/repo.h"

static struct {
    const struct config_override *list;
    size_t len;
} overrides;

void config_overrides_set(const struct config_override *list, size_t len)
{
    overrides.list = list;
    overrides.len = len;
}

static struct model_config *model_of(struct config *c, const char *name)
{
    struct model_config *models = c->models.items;
    for (size_t i = 0; i < c->models.len; i++)
        if (strcmp(models[i].name, name) == 0)
            return &models[i];
    return NULL;
}

/* A model that nobody has configured, with files of its own. */
static struct model_config *add(struct config *c, const char *name)
{
    struct model_config *m = c->models.items;
    if (c->models.len == CONFIG_MODELS_MAX)
        return NULL;
    m += c->models.len++; /* config_take_overrides has made room */
    settings_defaults(config_model_table, m, sizeof *m, &c->arena);
    m->name = arena_cstr(&c->arena, str_c(name));
    return m;
}

static void take(struct config *c, const struct config_override *o)
{
    const char *files = arena_printf(&c->arena, "%s/" OVERRIDE_FILES, o->folder).p;
    bool has_files = repo_is_dir(files);
    struct model_config *m = model_of(c, o->name);
    if (!m && has_files)
        m = add(c, o->name);
    if (!m)
        return; /* who asked is told that there is no such model */
    m->override_config = arena_printf(&c->arena, "%s/" OVERRIDE_CONFIG, o->folder).p;
    if (!has_files)
        return;
    m->path = m->origin = files;
    m->backend = m->version = NULL;
    m->versions = (struct setting_list){0};
    m->ensemble = (struct ensemble_config){0};
}

void config_take_overrides(struct config *c)
{
    if (overrides.len == 0)
        return;
    struct model_config *bigger = arena_array(&c->arena, struct model_config, c->models.len + overrides.len);
    if (c->models.len > 0)
        memcpy(bigger, c->models.items, c->models.len * sizeof *bigger);
    c->models.items = bigger;
    for (size_t i = 0; i < overrides.len; i++)
        take(c, &overrides.list[i]);
}
