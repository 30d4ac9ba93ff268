/* What Triton's config.pbtxt says of a model: it becomes settings where quern.yaml has not said them, and a note where it has no effect. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/config_folder_int.h"
#include "model/backend.h"
#include "model/declared.h"

#define PARAMETERS_MAX 64
#define INSTANCES_MAX  64
#define PRIORITY_MAX   10
/* As in config_table.c. */
#define MAX_BATCH_MAX  65536
#define QUEUE_MAX      1000000
#define TIMEOUT_US_MAX (24LL * 3600 * 1000000)
#define DELAY_US_MAX   (60LL * 1000000)

/* Did quern.yaml say this itself? */
static bool is_given(const struct folder *f, const char *key)
{
    char path[400];
    if (f->m->override_config)
        return false;
    (void)snprintf(path, sizeof path, "models.%.200s.%s", f->m->name, key);
    const struct setting_place *at = settings_place(&f->c->places, path);
    return at && str_eq_c(at->path, path);
}

const char *folder_keep(struct folder *f, const char *text)
{
    return text ? arena_cstr(&f->c->arena, str_c(text)) : NULL;
}

void folder_note(struct folder *f, const char *field)
{
    if (f->more_len < FOLDER_NOTES_MAX)
        f->more[f->more_len++] = arena_cstr(&f->c->arena, str_c(field));
}

/* Is it for the file to say? */
static bool may_take(struct folder *f, const char *key, const char *field, bool is_same)
{
    bool given = is_given(f, key);
    if (given && !is_same)
        folder_note(f, arena_printf(&f->scratch, "%s (quern.yaml says otherwise)", field).p);
    return !given;
}

/* What quern.yaml could not say either counts as the most that it can. */
static int64_t at_most(struct folder *f, const char *field, int64_t v, int64_t most)
{
    if (v <= most)
        return v;
    folder_note(f, arena_printf(&f->scratch, "%s above %lld", field, (long long)most).p);
    return most;
}

static void take_numbers(struct folder *f)
{
    struct triton_config *t = &f->triton;
    struct model_config *m = f->m;
    t->max_batch_size = at_most(f, "max_batch_size", t->max_batch_size, MAX_BATCH_MAX);
    /* Without dynamic_batching it only bounds a request: how many rows share a run is then left to the measurement, which finds those that lose. */
    bool is_chosen = t->has_dynamic_batching || t->max_batch_size == 1;
    if (t->max_batch_size > 0 && is_chosen &&
        may_take(f, "max_batch", "max_batch_size", m->max_batch == t->max_batch_size))
        m->max_batch = t->max_batch_size;
    if (t->instances > 0 && may_take(f, "instances", "instance_group", m->instances == t->instances))
        m->instances = t->instances < INSTANCES_MAX ? t->instances : INSTANCES_MAX;
    if (t->instances > INSTANCES_MAX)
        folder_note(f, "instance_group: more than 64 instances");
    if (t->threads > 0 && may_take(f, "threads", "parameters: threads", m->threads == t->threads))
        m->threads = t->threads;
}

/* A time that a request may wait, not one to answer it. */
static void take_queue(struct folder *f)
{
    struct triton_queue *q = &f->triton.queue;
    struct model_config *m = f->m;
    q->max_queue_size = at_most(f, "max_queue_size", q->max_queue_size, QUEUE_MAX);
    q->default_timeout_us = at_most(f, "default_timeout_microseconds", q->default_timeout_us, TIMEOUT_US_MAX);
    uint64_t wait_ns = (uint64_t)q->default_timeout_us * 1000;
    int late = q->is_delay && wait_ns > 0 ? QUEUE_DELAY : QUEUE_REJECT; /* nobody is late without it */
    if (q->max_queue_size > 0 && may_take(f, "queue_max", "max_queue_size", m->queue_max == q->max_queue_size))
        m->queue_max = q->max_queue_size;
    if (wait_ns > 0 && may_take(f, "queue_timeout", "default_timeout_microseconds", m->queue_timeout_ns == wait_ns))
        m->queue_timeout_ns = wait_ns;
    if (late != QUEUE_REJECT && may_take(f, "queue_late", "timeout_action", m->queue_late == late))
        m->queue_late = late;
}

static void take_queues(struct folder *f)
{
    const struct triton_config *t = &f->triton;
    if (t->queues_len == 0 || !may_take(f, "priorities", "priority_queue_policy", false))
        return;
    struct priority_config *p = arena_array(&f->c->arena, struct priority_config, t->queues_len);
    size_t n = 0;
    for (size_t i = 0; i < t->queues_len; i++) {
        const struct triton_queue *q = &t->queues[i];
        int64_t wait_us = at_most(f, "default_timeout_microseconds", q->default_timeout_us, TIMEOUT_US_MAX);
        if (q->level > PRIORITY_MAX) {
            folder_note(f, arena_printf(&f->scratch, "priority_queue_policy: level %lld", (long long)q->level).p);
            continue;
        }
        p[n++] = (struct priority_config){
            .name = arena_printf(&f->c->arena, "%lld", (long long)q->level).p,
            .queue_max = at_most(f, "max_queue_size", q->max_queue_size, QUEUE_MAX),
            .queue_timeout_ns = (uint64_t)wait_us * 1000,
            .queue_late = q->is_delay && wait_us > 0 ? QUEUE_DELAY : QUEUE_REJECT,
        };
    }
    f->m->priorities = (struct setting_list){p, n};
}

/* What will run it; the file decides where nobody says so. */
static const struct backend *backend_of(const struct folder *f)
{
    const char *file = f->versions_len > 0 ? f->versions[0].file : f->m->path;
    if (f->m->backend)
        return backend_by_name(str_c(f->m->backend));
    return file ? backend_by_path(str_c(file)) : NULL;
}

static bool knows(const struct backend *b, const char *parameter)
{
    for (size_t i = 0; b && b->params && b->params[i]; i++)
        if (strcmp(b->params[i], parameter) == 0)
            return true;
    return b && !b->params;
}

/* Triton's backends ignore parameters that they do not know, and models come with some that are for others. */
enum err_code folder_take_parameters(struct folder *f)
{
    const struct triton_config *t = &f->triton;
    const struct backend *b = backend_of(f);
    if (t->parameters_len == 0 || !may_take(f, "parameters", "parameters", false))
        return ERR_OK;
    struct setting_text_pair *p = arena_array(&f->c->arena, struct setting_text_pair, t->parameters_len);
    size_t n = 0;
    for (size_t i = 0; i < t->parameters_len; i++) {
        const struct triton_pair *one = &t->parameters[i];
        if (knows(b, one->key))
            p[n++] = (struct setting_text_pair){folder_keep(f, one->key), folder_keep(f, one->value)};
        else
            folder_note(f, arena_printf(&f->scratch, "parameters: %.200s (line %u)", one->key, one->line).p);
    }
    if (n > PARAMETERS_MAX)
        return err_set(f->err, ERR_TOO_LARGE, "%s: more than %d parameters", f->m->pbtxt, PARAMETERS_MAX);
    f->m->parameters = (struct setting_list){p, n};
    return ERR_OK;
}

static int compare_sizes(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

/* Triton takes them in any order. */
static void take_preferred(struct folder *f)
{
    const struct triton_config *t = &f->triton;
    int64_t most = f->m->max_batch > 0 ? f->m->max_batch : MAX_BATCH_MAX, before = 0;
    const char **texts = arena_array(&f->c->arena, const char *, BATCHING_SIZES_MAX);
    size_t n = 0;
    qsort(t->preferred, t->preferred_len, sizeof *t->preferred, compare_sizes);
    for (size_t i = 0; i < t->preferred_len; before = t->preferred[i++]) {
        if (t->preferred[i] == before)
            continue;
        if (t->preferred[i] > most || n == BATCHING_SIZES_MAX) {
            folder_note(f, arena_printf(&f->scratch, "preferred_batch_size: %lld, and what is greater",
                                        (long long)t->preferred[i])
                               .p);
            break;
        }
        texts[n++] = arena_printf(&f->c->arena, "%lld", (long long)t->preferred[i]).p;
    }
    f->m->batching.preferred = (struct setting_list){texts, n};
}

static void take_batching(struct folder *f)
{
    struct triton_config *t = &f->triton;
    struct batching_config *b = &f->m->batching;
    t->max_queue_delay_us = at_most(f, "max_queue_delay_microseconds", t->max_queue_delay_us, DELAY_US_MAX);
    uint64_t delay_ns = (uint64_t)t->max_queue_delay_us * 1000;
    int64_t level = t->default_priority_level < PRIORITY_MAX ? t->default_priority_level : PRIORITY_MAX;
    if (!t->has_dynamic_batching)
        return;
    if (may_take(f, "batching.delay", "max_queue_delay_microseconds", b->delay_ns == delay_ns))
        b->delay_ns = delay_ns;
    if (may_take(f, "batching.ordered", "preserve_ordering", b->is_ordered == t->preserve_ordering))
        b->is_ordered = t->preserve_ordering;
    if (level > 0 && may_take(f, "priority", "default_priority_level", f->m->priority == level))
        f->m->priority = level;
    if (t->preferred_len > 0 && may_take(f, "batching.preferred", "preferred_batch_size", false))
        take_preferred(f);
}

void folder_take_notes(struct folder *f)
{
    const struct triton_config *t = &f->triton;
    const char **notes = arena_array(&f->c->arena, const char *, t->unused_len + f->more_len + 2);
    size_t n = 0;
    for (size_t i = 0; i < t->unused_len; i++)
        notes[n++] = folder_keep(f, t->unused[i]);
    for (size_t i = 0; i < f->more_len; i++)
        notes[n++] = f->more[i];
    if (t->response_cache && !is_given(f, "cache"))
        notes[n++] = "response_cache (say how much memory in quern.yaml, cache: 64MiB)";
    if (t->unused_more)
        notes[n++] = arena_printf(&f->c->arena, "and %zu more fields: each of them", t->unused_more).p;
    f->m->notes = (struct setting_list){notes, n};
}

static void take_tensors(struct folder *f, const char *file)
{
    struct buf text;
    f->m->labels_file = f->triton.labels_file ? folder_keep(f, f->triton.labels_file) : NULL;
    buf_init(&text, DECLARED_TEXT_MAX + 1);
    if (declared_write(file, &f->triton, &text))
        f->m->declared = arena_cstr(&f->c->arena, buf_view(&text));
    else if (text.len > 0)
        folder_note(f, "input and output (too many to be compared with the model)");
    buf_done(&text);
}

enum err_code folder_read_triton(struct folder *f)
{
    const char *file = f->m->override_config;
    if (!file)
        file = arena_printf(&f->scratch, "%s/" REPO_CONFIG_FILE, f->m->origin).p;
    struct triton_config *t = &f->triton;
    if (!repo_is_file(file))
        return ERR_OK;
    f->m->pbtxt = folder_keep(f, file);
    if (triton_read(file, &f->scratch, t, f->err))
        return f->err->code;
    if (t->name && strcmp(t->name, f->m->name) != 0 && t->name[0] && !f->c->file)
        return err_set(f->err, ERR_INVALID, "%s: name: \"%.100s\" is not the folder's name", file, t->name);
    if (t->name && t->name[0] && strcmp(t->name, f->m->name) != 0)
        folder_note(f, "name (it is the configuration that names the model)");
    if (t->steps_len || t->ensemble_line || (t->backend && strcmp(t->backend, "ensemble") == 0))
        return folder_take_ensemble(f, file);
    if (f->m->backend && t->backend && strcmp(f->m->backend, t->backend) != 0)
        folder_note(f, "platform (quern.yaml says otherwise)");
    if (!f->m->backend)
        f->m->backend = t->backend;
    take_numbers(f);
    take_queue(f);
    take_queues(f);
    take_batching(f);
    take_tensors(f, file);
    if (t->warmups_len && may_take(f, "warm_up", "model_warmup", false) &&
        config_take_warm_up(t, f->m, &f->c->arena, f->err))
        return err_wrap(f->err, "%s", file);
    if (t->has_policy && f->m->versions.len)
        folder_note(f, "version_policy (quern.yaml says otherwise)");
    return ERR_OK;
}
