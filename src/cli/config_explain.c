#include "cli/config_explain.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/config_int.h"
#include "model/backend.h"
#include "model/repo/repo.h"

#define EXPLAIN_ARENA_MAX ((size_t)4 << 20)

struct explain {
    const struct config *c;
    const struct model_config *m;
    struct json_writer *w;
    struct arena arena;
    bool has_pbtxt;
    char path[400]; /* of the setting in work, below models.NAME */
};

/* What config.pbtxt can say of a setting of ours, see config_repo.c. */
static bool is_of_pbtxt(const struct explain *x, const char *key)
{
    static const char *const keys[] = {
        "backend",          "max_batch",        "instances",  "threads",        "queue_max",
        "queue_timeout",    "queue_late",       "priorities", "batching.delay", "batching.preferred",
        "batching.ordered", "priority",         "parameters", "cache",          "versions",
        "ensemble.inputs",  "ensemble.outputs", "warm_up"};
    const struct backend *by_name = x->m->path ? backend_by_path(str_c(x->m->path)) : NULL;
    if (strcmp(key, "backend") == 0 && by_name && x->m->backend && strcmp(by_name->name, x->m->backend) == 0)
        return false; /* it would be the same without */
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        if (strcmp(keys[i], key) == 0)
            return true;
    return false;
}

/* Why a value that nobody wrote is what it is; NULL: it is the default of its table. */
static const char *inferred(struct explain *x, const char *key)
{
    const struct model_config *m = x->m;
    bool is_folder = m->origin && m->path && strcmp(m->origin, m->path) != 0;
    if (strcmp(key, "path") == 0)
        return !m->path     ? NULL /* built in, or an ensemble: it has none */
               : is_folder  ? "found in the model's folder"
               : x->c->file ? "found in the repository"
                            : "it, or its folder, was given to quern serve";
    if (strcmp(key, "backend") == 0)
        return m->ensemble.steps.len ? "it has steps" : m->path ? "by the file's extension" : "built in";
    if (strcmp(key, "version") == 0)
        return is_folder ? "the number of the folder that the file lies in" : NULL;
    if (m->is_load_by_repository && strcmp(key, "load") == 0)
        return "repository.on_demand";
    if (m->is_load_by_repository && strcmp(key, "unload_after") == 0)
        return "repository.unload_after";
    if (strcmp(key, "class") == 0)
        return "the first of the classes";
    if (strcmp(key, "isolation") == 0 && m->ensemble.steps.len)
        return "an ensemble has no process of its own";
    return NULL;
}

/* The names of a map's items: what is in them has too many lines. */
static void put_names(const struct setting *s, const void *values, struct buf *out)
{
    const unsigned char *base = values;
    const struct setting_list *list = (const void *)(base + s->offset);
    const unsigned char *items = list->items;
    for (size_t i = 0; i < list->len; i++)
        buf_printf(out, "%s%s", i ? ", " : "", *(const char *const *)(const void *)(items + i * s->item_size));
}

static const char *text_of(struct explain *x, const struct setting *s, const void *values)
{
    struct buf text;
    buf_init(&text, 64 << 10);
    if (s->kind == SET_MAP)
        put_names(s, values, &text);
    else
        settings_text(s, values, &text);
    struct str view = buf_view(&text);
    bool is_cut = view.n > EXPLAIN_VALUE_MAX;
    const char *kept = is_cut ? arena_printf(&x->arena, "%.*s...", EXPLAIN_VALUE_MAX, view.p).p
                              : arena_cstr(&x->arena, view.p ? view : STR(""));
    buf_done(&text);
    return kept;
}

/* The line that says it: of the file, or 0 for the command line; -1: nowhere. */
static int64_t line_of(const struct explain *x, const char *name, const char *key)
{
    char path[700];
    (void)snprintf(path, sizeof path, "models.%s.%s", name, key);
    const struct setting_place *at = settings_place(&x->c->places, path);
    return at && str_eq_c(at->path, path) ? (int64_t)at->line : -1;
}

static void put_origin(struct explain *x, const char *key, bool is_default)
{
    int64_t line = line_of(x, x->m->name, key);
    const char *why = inferred(x, key);
    if (line_of(x, "*", key) >= 0) {
        jw_kv_c(x->w, "from", "command line");
    } else if (line >= 0) {
        jw_kv_c(x->w, "from", "file");
        jw_kv_i64(x->w, "line", line);
    } else if (!is_default && x->has_pbtxt && is_of_pbtxt(x, key)) {
        jw_kv_c(x->w, "from", "config.pbtxt");
    } else if (why) {
        jw_kv_c(x->w, "from", "inferred");
        jw_kv_c(x->w, "reason", why);
    } else {
        jw_kv_c(x->w, "from", "default");
    }
}

static void put_setting(struct explain *x, const struct setting *s, const void *values, const void *defaults)
{
    const char *value = text_of(x, s, values), *otherwise = text_of(x, s, defaults);
    jw_object(x->w);
    jw_kv_c(x->w, "key", x->path);
    jw_kv_c(x->w, "value", value);
    put_origin(x, x->path, strcmp(value, otherwise) == 0);
    jw_object_end(x->w);
}

/* A section whose model has nothing to do with it is left out. */
static bool is_shown(const struct explain *x, const struct setting *s)
{
    return s->kind != SET_SECTION || strcmp(s->key, "ensemble") != 0 || x->m->ensemble.steps.len > 0;
}

/* Recurses over the program's tables, which are few and flat. */
static void put_table(struct explain *x, const struct setting *table, const void *values, const void *defaults)
{
    size_t before = strlen(x->path);
    for (const struct setting *s = table; s->key; s++) {
        if (!is_shown(x, s))
            continue;
        (void)snprintf(x->path + before, sizeof x->path - before, "%s%s", before ? "." : "", s->key);
        const unsigned char *v = values, *d = defaults;
        if (s->kind == SET_SECTION)
            put_table(x, s->sub, v + s->offset, d + s->offset);
        else
            put_setting(x, s, values, defaults);
        x->path[before] = '\0';
    }
}

void config_explain(const struct config *c, const struct model_config *m, struct json_writer *w)
{
    struct explain x = {.c = c, .m = m, .w = w};
    struct model_config *defaults;
    char pbtxt[4200] = "";
    arena_init(&x.arena, 16384, EXPLAIN_ARENA_MAX);
    defaults = arena_new(&x.arena, struct model_config);
    settings_defaults(config_model_table, defaults, sizeof *defaults, &x.arena);
    if (m->origin && repo_is_dir(m->origin)) {
        (void)snprintf(pbtxt, sizeof pbtxt, "%s/" REPO_CONFIG_FILE, m->origin);
        x.has_pbtxt = repo_is_file(pbtxt);
    }
    jw_object(w);
    jw_kv_c(w, "file", c->file ? c->file : "");
    jw_kv_c(w, "folder", m->origin ? m->origin : "");
    jw_kv_c(w, "pbtxt", x.has_pbtxt ? pbtxt : "");
    jw_key(w, "settings");
    jw_array(w);
    put_table(&x, config_model_table, m, defaults);
    jw_array_end(w);
    jw_object_end(w);
    arena_done(&x.arena);
}
