/* An ensemble's graph, as far as it can be checked without its members' tensors: those are known when they have been loaded. */
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "cli/config_int.h"

#define STEPS_MAX   32
#define NAMES_MAX   12000
#define TENSORS_MAX 64 /* wires of a step, and names on one side of the ensemble */

struct graph {
    const struct config *c;
    const struct model_config *m;
    const struct ensemble_step_config *steps;
    size_t steps_len;
    struct err *err;
};

static enum err_code fail(const struct graph *g, const char *key, const char *text)
{
    char path[700];
    const struct ensemble_config *e = &g->m->ensemble;
    if (e->file)
        return err_set(g->err, ERR_INVALID, "%s:%u: ensemble_scheduling%s%.200s: %s", e->file, e->line,
                       key[0] ? ": " : "", key, text);
    (void)snprintf(path, sizeof path, "models.%.200s.ensemble%s%.400s", g->m->name, key[0] ? "." : "", key);
    return config_fail(g->c, g->err, path, "%s", text);
}

static enum err_code fail_step(const struct graph *g, size_t n, const char *key, const char *text)
{
    char path[400];
    const struct ensemble_config *e = &g->m->ensemble;
    if (e->file)
        return err_set(g->err, ERR_INVALID, "%s:%u: step '%.100s': %s", e->file, g->steps[n].line, g->steps[n].name,
                       text);
    (void)snprintf(path, sizeof path, "steps.%.200s%s%s", g->steps[n].name, key[0] ? "." : "", key);
    return fail(g, path, text);
}

enum err_code config_fail_step(const struct config *c, const struct model_config *m, size_t n, const char *key,
                               const char *text, struct err *err)
{
    struct graph g = {.c = c, .m = m, .steps = m->ensemble.steps.items, .steps_len = m->ensemble.steps.len, .err = err};
    return fail_step(&g, n, key, text);
}

static bool has_name(const struct setting_list *list, const char *name)
{
    const char *const *names = list->items;
    for (size_t i = 0; i < list->len; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

/* Index of the step that makes a tensor; steps_len: none. */
static size_t source_of(const struct graph *g, const char *tensor)
{
    for (size_t n = 0; n < g->steps_len; n++) {
        const struct setting_text_pair *w = g->steps[n].outputs.items;
        for (size_t i = 0; i < g->steps[n].outputs.len; i++)
            if (strcmp(w[i].value, tensor) == 0)
                return n;
    }
    return g->steps_len;
}

/* ---- members ---- */

static enum err_code check_member(const struct graph *g, size_t n)
{
    const struct model_config *models = g->c->models.items;
    const struct ensemble_step_config *s = &g->steps[n];
    const char *names[CONFIG_MODELS_MAX];
    char text[300];
    bool is_known = false, has_version = false;
    if (!s->model)
        return fail_step(g, n, "", "a step needs a model");
    for (size_t i = 0; i < g->c->models.len; i++) {
        bool same = strcmp(models[i].name, s->model) == 0;
        names[i] = models[i].name;
        is_known = is_known || same;
        has_version =
            has_version || (same && (!s->version || !models[i].version || strcmp(models[i].version, s->version) == 0));
        if (same && models[i].ensemble.steps.len)
            return fail_step(g, n, "model", "a member cannot be an ensemble; write its steps here");
    }
    if (is_known && !has_version) {
        (void)snprintf(text, sizeof text, "model \"%.100s\" has no version %.20s", s->model, s->version);
        return fail_step(g, n, "version", text);
    }
    if (is_known)
        return ERR_OK;
    (void)snprintf(text, sizeof text, "there is no model \"%.127s\"", s->model);
    (void)fail_step(g, n, "model", text);
    const char *nearest = settings_nearest(str_c(s->model), names, g->c->models.len);
    return nearest ? err_remedy(g->err, "did you mean \"%s\"?", nearest)
                   : err_remedy(g->err, "name one of `models`, or add it there");
}

/* ---- tensors ---- */

/* Before all else: what follows has room for so many. */
static enum err_code check_counts(const struct graph *g)
{
    const struct ensemble_config *e = &g->m->ensemble;
    if (e->inputs.len > TENSORS_MAX || e->outputs.len > TENSORS_MAX)
        return fail(g, "", "more than 64 inputs or outputs");
    for (size_t n = 0; n < g->steps_len; n++)
        if (g->steps[n].inputs.len > TENSORS_MAX || g->steps[n].outputs.len > TENSORS_MAX)
            return fail_step(g, n, "", "more than 64 inputs or outputs");
    return ERR_OK;
}

static enum err_code check_source(const struct graph *g, size_t n, const char *tensor)
{
    char text[400];
    size_t first = source_of(g, tensor);
    if (has_name(&g->m->ensemble.inputs, tensor)) {
        (void)snprintf(text, sizeof text, "tensor \"%.100s\" is an input of the ensemble already", tensor);
        return fail_step(g, n, "outputs", text);
    }
    if (first == n)
        return ERR_OK;
    (void)snprintf(text, sizeof text, "tensor \"%.100s\" comes from step \"%.100s\" already", tensor,
                   g->steps[first].name);
    return fail_step(g, n, "outputs", text);
}

static enum err_code unknown_tensor(const struct graph *g, const char *tensor)
{
    const char *names[STEPS_MAX * TENSORS_MAX + TENSORS_MAX];
    const char *const *inputs = g->m->ensemble.inputs.items;
    size_t len = 0;
    for (size_t i = 0; i < g->m->ensemble.inputs.len; i++)
        names[len++] = inputs[i];
    for (size_t n = 0; n < g->steps_len; n++) {
        const struct setting_text_pair *w = g->steps[n].outputs.items;
        for (size_t i = 0; i < g->steps[n].outputs.len; i++)
            names[len++] = w[i].value;
    }
    const char *nearest = settings_nearest(str_c(tensor), names, len);
    return nearest ? err_remedy(g->err, "did you mean \"%s\"?", nearest)
                   : err_remedy(g->err, "name an input of the ensemble, or what an output of another step is called");
}

static enum err_code check_wires(const struct graph *g, size_t n)
{
    const struct ensemble_step_config *s = &g->steps[n];
    const struct setting_text_pair *in = s->inputs.items, *out = s->outputs.items;
    char text[300];
    if (s->inputs.len == 0 || s->outputs.len == 0)
        return fail_step(g, n, "", s->inputs.len == 0 ? "no input gets a tensor" : "no output is taken");
    for (size_t i = 0; i < s->outputs.len; i++) {
        for (size_t k = 0; k < i; k++)
            if (strcmp(out[i].value, out[k].value) == 0)
                return fail_step(g, n, "outputs", "two outputs have the same name");
        if (check_source(g, n, out[i].value))
            return g->err->code;
    }
    for (size_t i = 0; i < s->inputs.len; i++) {
        if (has_name(&g->m->ensemble.inputs, in[i].value) || source_of(g, in[i].value) < g->steps_len)
            continue;
        (void)snprintf(text, sizeof text, "input \"%.100s\" gets tensor \"%.100s\", which nothing makes", in[i].name,
                       in[i].value);
        (void)fail_step(g, n, "inputs", text);
        return unknown_tensor(g, in[i].value);
    }
    return ERR_OK;
}

static bool is_used(const struct graph *g, const char *tensor)
{
    for (size_t n = 0; n < g->steps_len; n++) {
        const struct setting_text_pair *w = g->steps[n].inputs.items;
        for (size_t i = 0; i < g->steps[n].inputs.len; i++)
            if (strcmp(w[i].value, tensor) == 0)
                return true;
    }
    return false;
}

/* Clients could not tell the two apart. */
static enum err_code check_twice(const struct graph *g, const char *side, const struct setting_list *list)
{
    const char *const *names = list->items;
    char text[200];
    for (size_t i = 1; i < list->len; i++) {
        struct setting_list before = {.items = list->items, .len = i};
        if (!has_name(&before, names[i]))
            continue;
        (void)snprintf(text, sizeof text, "\"%.100s\" stands there twice", names[i]);
        return fail(g, side, text);
    }
    return ERR_OK;
}

static enum err_code check_sides(const struct graph *g)
{
    const struct ensemble_config *e = &g->m->ensemble;
    const char *const *in = e->inputs.items, *const *out = e->outputs.items;
    char text[200];
    if (e->inputs.len == 0 || e->outputs.len == 0)
        return fail(g, "", "an ensemble needs inputs, outputs and steps");
    if (check_twice(g, "inputs", &e->inputs) || check_twice(g, "outputs", &e->outputs))
        return g->err->code;
    for (size_t i = 0; i < e->inputs.len; i++) {
        if (is_used(g, in[i]))
            continue;
        (void)snprintf(text, sizeof text, "no step takes \"%.100s\"", in[i]);
        return fail(g, "inputs", text);
    }
    for (size_t i = 0; i < e->outputs.len; i++) {
        if (source_of(g, out[i]) < g->steps_len)
            continue;
        if (has_name(&e->inputs, out[i]))
            return fail(g, "outputs", "an input cannot be an output as it is; name what an output of a step is called");
        (void)snprintf(text, sizeof text, "no step makes \"%.100s\"", out[i]);
        (void)fail(g, "outputs", text);
        return unknown_tensor(g, out[i]);
    }
    return ERR_OK;
}

/* The description goes to the edge in one message. */
static enum err_code check_size(const struct graph *g)
{
    size_t bytes = 0;
    for (size_t n = 0; n < g->steps_len; n++) {
        const struct setting_list *sides[] = {&g->steps[n].inputs, &g->steps[n].outputs};
        bytes += strlen(g->steps[n].name) + strlen(g->steps[n].model);
        for (size_t k = 0; k < ARRAY_LEN(sides); k++) {
            const struct setting_text_pair *w = sides[k]->items;
            for (size_t i = 0; i < sides[k]->len; i++)
                bytes += strlen(w[i].name) + strlen(w[i].value) + 8;
        }
    }
    return bytes <= NAMES_MAX ? ERR_OK : fail(g, "steps", "the names take more than 12000 bytes in all");
}

/* ---- cycles ---- */

/* A step that has not been ordered and that `n` waits for; steps_len: none. *tensor is what it waits for. */
static size_t waits_for(const struct graph *g, const bool *ordered, size_t n, const char **tensor)
{
    const struct setting_text_pair *w = g->steps[n].inputs.items;
    for (size_t i = 0; i < g->steps[n].inputs.len; i++) {
        size_t source = source_of(g, w[i].value);
        if (source < g->steps_len && !ordered[source]) {
            *tensor = w[i].value;
            return source;
        }
    }
    return g->steps_len;
}

/* Follows what steps wait for until one comes again, then tells the circle. */
static enum err_code tell_cycle(const struct graph *g, const bool *ordered, size_t n)
{
    const char *tensor = "";
    char text[360];
    for (size_t i = 0; i < g->steps_len; i++) /* now surely inside the circle */
        n = waits_for(g, ordered, n, &tensor);
    size_t at = 0, first = n;
    at += (size_t)snprintf(text, sizeof text, "the steps wait for each other:");
    do {
        size_t next = waits_for(g, ordered, n, &tensor);
        if (at < sizeof text)
            at += (size_t)snprintf(text + at, sizeof text - at, " %.60s needs \"%.60s\" of %.60s;", g->steps[n].name,
                                   tensor, g->steps[next].name);
        n = next;
    } while (n != first);
    text[(at < sizeof text ? at : sizeof text) - 1] = '\0';
    return fail(g, "steps", text);
}

static enum err_code check_cycles(const struct graph *g)
{
    bool ordered[STEPS_MAX] = {false};
    const char *tensor;
    size_t n = 0;
    for (size_t round = 0; round < g->steps_len; round++)
        for (size_t i = 0; i < g->steps_len; i++)
            ordered[i] = ordered[i] || waits_for(g, ordered, i, &tensor) == g->steps_len;
    while (n < g->steps_len && ordered[n])
        n++;
    return n == g->steps_len ? ERR_OK : tell_cycle(g, ordered, n);
}

enum err_code config_check_ensemble(const struct config *c, const struct model_config *m, struct err *err)
{
    struct graph g = {.c = c, .m = m, .steps = m->ensemble.steps.items, .steps_len = m->ensemble.steps.len, .err = err};
    if (m->path || (m->backend && strcmp(m->backend, "ensemble") != 0))
        return fail(&g, "", "a model has a path or a backend, or it is an ensemble, not both");
    if (g.steps_len == 0 || g.steps_len > STEPS_MAX)
        return fail(&g, "steps", "an ensemble has 1 to 32 steps");
    if (check_counts(&g))
        return err->code;
    for (size_t n = 0; n < g.steps_len; n++)
        if (check_member(&g, n) || check_wires(&g, n))
            return err->code;
    return check_size(&g) || check_sides(&g) || check_cycles(&g) ? err->code : ERR_OK;
}
