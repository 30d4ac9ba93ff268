/* Ensembles between configuration and edge. */
#include <string.h>

#include "app/master_int.h"

static void write_names(const char *key, const struct setting_list *list, struct json_writer *w)
{
    const char *const *names = list->items;
    jw_key(w, key);
    jw_array(w);
    for (size_t i = 0; i < list->len; i++)
        jw_c(w, names[i]);
    jw_array_end(w);
}

static void write_wires(const char *key, const struct setting_list *list, struct json_writer *w)
{
    const struct setting_text_pair *wires = list->items;
    jw_key(w, key);
    jw_object(w);
    for (size_t i = 0; i < list->len; i++)
        jw_kv_c(w, wires[i].name, wires[i].value);
    jw_object_end(w);
}

void master_write_ensemble(const struct ensemble_config *e, struct json_writer *w)
{
    const struct ensemble_step_config *steps = e->steps.items;
    if (e->steps.len == 0)
        return;
    jw_key(w, "ensemble");
    jw_object(w);
    write_names("inputs", &e->inputs, w);
    write_names("outputs", &e->outputs, w);
    jw_kv_u64(w, "memory", e->memory_bytes);
    jw_key(w, "steps");
    jw_array(w);
    for (size_t i = 0; i < e->steps.len; i++) {
        jw_object(w);
        jw_kv_c(w, "name", steps[i].name);
        jw_kv_c(w, "model", steps[i].model);
        jw_kv_c(w, "version", steps[i].version ? steps[i].version : "");
        write_wires("inputs", &steps[i].inputs, w);
        write_wires("outputs", &steps[i].outputs, w);
        jw_object_end(w);
    }
    jw_array_end(w);
    jw_object_end(w);
}

static bool is_member(const struct ensemble_config *e, const char *name)
{
    const struct ensemble_step_config *steps = e->steps.items;
    for (size_t i = 0; i < e->steps.len; i++)
        if (strcmp(steps[i].model, name) == 0)
            return true;
    return false;
}

bool ensemble_waits(const struct master *m, const struct life *l)
{
    if (l->config->ensemble.steps.len == 0)
        return false;
    for (const struct life *other = m->lives; other; other = other->next)
        if (other->replaces && (other->state == LIFE_LOADING || other->is_comparing) &&
            is_member(&l->config->ensemble, other->config->name))
            return true;
    return false;
}

void ensembles_tick(struct master *m)
{
    for (struct life *l = m->lives; l; l = l->next)
        if (l->state == LIFE_LOADING && !l->sent && l->config->ensemble.steps.len > 0 && !ensemble_waits(m, l))
            life_changed(m, l);
}

bool master_same_ensemble(const struct ensemble_config *a, const struct ensemble_config *b)
{
    struct buf x, y;
    struct json_writer w;
    buf_init(&x, CHANNEL_PAYLOAD_MAX);
    buf_init(&y, CHANNEL_PAYLOAD_MAX);
    jw_init(&w, &x);
    master_write_ensemble(a, &w);
    jw_init(&w, &y);
    master_write_ensemble(b, &w);
    bool same = str_eq(buf_view(&x), buf_view(&y));
    buf_done(&x);
    buf_done(&y);
    return same;
}
