/* ensemble_scheduling of a config.pbtxt: the same as `ensemble` in quern.yaml. Whether the graph is sound is seen when all models are known
 * (config_ensemble.c). */
#include <string.h>

#include "cli/config_folder_int.h"

#define ENSEMBLE_STEPS_MAX 32

static struct setting_list tensor_names(struct folder *f, const struct triton_tensor *t, size_t len)
{
    const char **names = arena_array(&f->c->arena, const char *, len);
    for (size_t i = 0; i < len; i++)
        names[i] = t[i].name ? folder_keep(f, t[i].name) : "";
    return (struct setting_list){names, len};
}

static struct setting_list wires(struct folder *f, const struct triton_pair *p, size_t len)
{
    struct setting_text_pair *out = arena_array(&f->c->arena, struct setting_text_pair, len);
    for (size_t i = 0; i < len; i++)
        out[i] = (struct setting_text_pair){folder_keep(f, p[i].key), folder_keep(f, p[i].value)};
    return (struct setting_list){out, len};
}

/* Triton's steps have no names: that of the model, with a number from its second step on. */
static const char *step_name(struct folder *f, size_t n)
{
    const struct triton_step *s = f->triton.steps;
    size_t same = 1;
    for (size_t i = 0; i < n; i++)
        same += strcmp(s[i].model, s[n].model) == 0;
    return same == 1 ? folder_keep(f, s[n].model) : arena_printf(&f->c->arena, "%.127s-%zu", s[n].model, same).p;
}

enum err_code folder_take_ensemble(struct folder *f, const char *file)
{
    const struct triton_config *t = &f->triton;
    struct model_config *m = f->m;
    struct ensemble_config *e = &m->ensemble;
    if (t->steps_len == 0 || t->steps_len > ENSEMBLE_STEPS_MAX)
        return err_set(f->err, ERR_INVALID, "%s:%u: ensemble_scheduling: an ensemble has 1 to %d steps", file,
                       t->ensemble_line ? t->ensemble_line : 1, ENSEMBLE_STEPS_MAX);
    if (m->backend || (t->backend && strcmp(t->backend, "ensemble") != 0))
        return err_set(f->err, ERR_INVALID, "%s:%u: ensemble_scheduling: a model of backend %s has no steps", file,
                       t->ensemble_line, m->backend ? m->backend : t->backend);
    struct ensemble_step_config *steps = arena_array(&f->c->arena, struct ensemble_step_config, t->steps_len);
    for (size_t i = 0; i < t->steps_len; i++) {
        const struct triton_step *s = &t->steps[i];
        steps[i] = (struct ensemble_step_config){
            .name = step_name(f, i),
            .model = folder_keep(f, s->model),
            .version = s->version < 0 ? NULL : arena_printf(&f->c->arena, "%lld", (long long)s->version).p,
            .inputs = wires(f, s->inputs, s->inputs_len),
            .outputs = wires(f, s->outputs, s->outputs_len),
            .line = s->line};
    }
    e->inputs = tensor_names(f, t->inputs, t->inputs_len);
    e->outputs = tensor_names(f, t->outputs, t->outputs_len);
    e->steps = (struct setting_list){steps, t->steps_len};
    e->file = folder_keep(f, file);
    e->line = t->ensemble_line;
    m->backend = "ensemble";
    m->isolation = ISOLATION_INLINE; /* no process of its own */
    if (t->instances > 0)
        folder_note(f, "instance_group (an ensemble has no instances)");
    if (t->warmups_len > 0)
        folder_note(f, "model_warmup (an ensemble has no runs of its own)");
    if (t->has_dynamic_batching)
        folder_note(f, "dynamic_batching (the steps' models batch)");
    return ERR_OK;
}
