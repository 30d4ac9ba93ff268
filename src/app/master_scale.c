/* Instances and threads that the configuration leaves to us ("auto"). Models that choose share the machine's processors; what a model makes of its part is tried on the model
 * itself, once it serves, by a process of its own, one at a time on the machine (worker_scale.c, model/scale.h). Until then, and where nothing can be tried, it is one
 * instance with one thread, or what its predecessor had. The verdict is kept in DATA/cache/NAME, so that the next start begins with it.
 *
 * A change disturbs nobody: new instances join the segment when they are ready, then those that are too many or have another number of threads are drained. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/kept.h"
#include "app/master_scale_int.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "model/backend.h"
#include "model/engine.h"
#include "model/repo/fingerprint.h"
#include "sys/cpu.h"
#include "sys/fd.h"
#include "sys/memory.h"

#define SETTLE_NS (2 * NS_PER_S) /* a part that changed is believed when it has been the same for so long */
#define LOOK_NS   (200 * NS_PER_MS)

/* ---- who chooses ---- */

static const struct backend *backend_of(const struct model_config *c)
{
    return c->backend ? backend_by_name(str_c(c->backend)) : c->path ? backend_by_path(str_c(c->path)) : NULL;
}

/* Built-in models are made for tests, and cost what they are told to. */
static bool may_choose(const struct model_config *c)
{
    const struct backend *b = backend_of(c);
    return c->isolation == ISOLATION_PROCESS && !c->problem && c->path && b && b->extensions[0] &&
           (c->instances == 0 || c->threads == 0);
}

static bool is_loaded(const struct life *l)
{
    return (l->state == LIFE_LOADING || l->state == LIFE_READY) && !l->replaces && l->children_len > 0;
}

static bool is_certain(struct master *m, const struct model_config *c)
{
    return c->load != LOAD_ON_DEMAND && loads_want(m, &m->snapshot->config, c->name);
}

/* Processors for each model that chooses. Those that the configuration loads at start count before they are there. With many models it is asked for each of them:
 * so many that choose leave one to each, whatever else there is. */
static int share_now(struct master *m)
{
    const struct model_config *c = m->snapshot->config.models.items;
    int choosing = 0, enough = m->cores / 2 + 1;
    int64_t claimed = 0;
    for (size_t i = 0; i < m->snapshot->config.models.len && choosing < enough; i++)
        choosing += c[i].load != LOAD_ON_DEMAND && may_choose(&c[i]) && is_certain(m, &c[i]);
    for (const struct life *l = m->lives; l && choosing < enough; l = l->next) {
        if (!is_loaded(l) || l->config->isolation == ISOLATION_INLINE)
            continue;
        if (!may_choose(l->config))
            claimed +=
                (l->config->instances ? l->config->instances : 1) * (l->config->threads ? l->config->threads : 1);
        else if (!is_certain(m, l->config))
            choosing++;
    }
    return scale_share(m->cores, claimed < m->cores ? (int)claimed : m->cores, choosing);
}

/* ---- what is allowed ---- */

static const struct child *ready_child(const struct life *l)
{
    for (int i = 0; i < l->children_len; i++)
        if (l->children[i].state == CHILD_READY && l->children[i].pid != 0)
            return &l->children[i];
    return NULL;
}

/* Half of the memory that is left may go into more instances: what one takes on its own, as the first one shows. */
int scale_memory_instances(const struct master *m, const struct life *l)
{
    struct proc_usage usage;
    const struct child *c = ready_child(l);
    uint64_t left = memory_available(), budget = m->snapshot->config.memory_budget_bytes, used = 0;
    if (!c || !proc_usage_read(c->pid, &usage) || usage.private_bytes == 0 || left == 0)
        return LANE_INSTANCES_MAX;
    for (const struct life *o = m->lives; o && budget; o = o->next)
        for (int i = 0; i < o->children_len; i++)
            used += o->children[i].pid != 0 ? proc_memory_quick(o->children[i].pid) : 0;
    if (budget && left > (budget > used ? budget - used : 0))
        left = budget > used ? budget - used : 0;
    uint64_t more = left / 2 / usage.private_bytes;
    return more < LANE_INSTANCES_MAX ? 1 + (int)more : LANE_INSTANCES_MAX;
}

static int at_most(int a, int b)
{
    return a < b ? a : b;
}

struct scale_limits scale_limits_of(const struct master *m, const struct life *l, int budget)
{
    int useful = scale_useful(m->cores, l->scaling.row_ns);
    return (struct scale_limits){.budget = budget,
                                 .instances = (int)l->config->instances,
                                 .threads = (int)l->config->threads,
                                 .instances_max = at_most(useful, LANE_INSTANCES_MAX)};
}

void scale_set(struct scaling *s, int instances, int threads)
{
    s->instances = instances;
    s->threads = threads;
}

/* What needs no trying: settings, and one for each where nothing is set. */
static void set_least(struct life *l)
{
    scale_set(&l->scaling, l->config->instances > 0 ? (int)l->config->instances : 1,
              l->config->threads > 0 ? (int)l->config->threads : 1);
}

void scale_say(struct scaling *s, const char *why)
{
    (void)str_copy(s->why, sizeof s->why, str_c(why));
}

/* ---- kept verdicts ---- */

void scale_folder(const struct master *m, const struct life *l, char *out, size_t out_size)
{
    (void)snprintf(out, out_size, "%s/cache/%s", m->snapshot->config.data, l->config->name);
}

/* The model's file, this program, its engine's file, the processor, its part of the machine, and the settings that matter. */
struct hash128 scale_key(const struct life *l, int budget)
{
    const struct model_config *c = l->config;
    const struct backend *b = backend_of(c);
    const struct setting_text_pair *p = c->parameters.items;
    char path[1280];
    struct err err;
    const uint64_t numbers[] = {cpu_print(), (uint64_t)budget, (uint64_t)c->instances, (uint64_t)c->threads,
                                (uint64_t)c->max_batch};
    struct hash128 h = kept_add_text(l->file_id, QUERN_VERSION);
    h = kept_add(h, numbers, sizeof numbers);
    h = kept_add_text(h, b->name);
    if (b->engine && engine_find(b->engine, NULL, path, sizeof path, &err) == ERR_OK) {
        struct hash128 engine = repo_fingerprint(path);
        h = kept_add(h, &engine, sizeof engine);
    }
    for (size_t i = 0; i < c->parameters.len; i++) {
        h = kept_add_text(h, p[i].name);
        h = kept_add_text(h, p[i].value);
    }
    return h;
}

static bool recall(const struct master *m, struct life *l, int budget)
{
    char folder[4400];
    struct scale found;
    struct scale_limits limits = scale_limits_of(m, l, budget);
    limits.instances_max = LANE_INSTANCES_MAX;
    scale_folder(m, l, folder, sizeof folder);
    if (!kept_read(folder, SCALE_KIND, SCALE_LAYOUT, scale_key(l, budget), &found, sizeof found) ||
        !scale_is_sane(&found, &limits))
        return false;
    l->scaling.found = found;
    return true;
}

void scale_take(struct life *l, bool is_kept)
{
    struct scaling *s = &l->scaling;
    scale_set(s, s->found.instances, s->found.threads);
    s->is_settled = true;
    s->is_kept = is_kept;
    scale_say(s, s->found.reason);
}

/* ---- the beginning, and changes of the part ---- */

/* The same model, serving: what replaces it begins with as much. */
static const struct life *predecessor(const struct master *m, const struct life *news)
{
    for (const struct life *l = m->lives; l; l = l->next)
        if (l != news && l->state == LIFE_READY && may_choose(l->config) &&
            strcmp(l->config->name, news->config->name) == 0)
            return l;
    return NULL;
}

static void begin_with_part(struct master *m, struct life *l, int budget)
{
    struct scaling *s = &l->scaling;
    const struct life *old = budget > 1 ? predecessor(m, l) : NULL; /* with one there is nothing to inherit */
    s->budget = budget;
    s->is_settled = s->is_kept = false;
    s->failures = 0;
    s->next_try_ns = 0;
    s->found = (struct scale){.budget = budget};
    if (budget == 1) {
        set_least(l);
        s->is_settled = true;
        scale_say(s, m->cores == 1 ? "one processor" : "one processor for each of the models that are loaded");
    } else if (recall(m, l, budget)) {
        scale_take(l, true);
    } else if (old && old->scaling.budget == budget && l->state == LIFE_LOADING) {
        scale_set(s, old->scaling.instances, old->scaling.threads);
        scale_say(s, "as the one that it replaces, until it is tried");
    } else {
        int threads = at_most(s->threads, budget);
        scale_set(s, at_most(s->instances, budget / threads), threads);
        scale_say(s, "not tried yet");
    }
    int fixed = (int)l->config->instances, threads = (int)l->config->threads;
    scale_set(s, fixed > 0 ? fixed : s->instances, threads > 0 ? threads : s->threads);
}

/* Room for all that may be wanted, beside as many that leave. */
static void make_room(const struct master *m, struct life *l)
{
    int room = l->scaling.is_auto ? (int)l->config->instances + 2 * m->cores : l->scaling.instances;
    l->children_room = at_most(room > l->scaling.instances ? room : l->scaling.instances, LANE_INSTANCES_MAX);
    l->children = calloc((size_t)l->children_room, sizeof *l->children);
    CHECK(l->children);
    for (int i = 0; i < l->children_room; i++)
        l->children[i] = (struct child){
            .role = "worker", .life = l, .index = i, .channel = -1, .report_fd = -1, .state = CHILD_STOPPED};
}

void scale_begin(struct master *m, struct life *l)
{
    struct scaling *s = &l->scaling;
    *s = (struct scaling){.row_ns = s->row_ns};
    set_least(l);
    s->is_auto = may_choose(l->config);
    if (s->is_auto)
        begin_with_part(m, l, share_now(m));
    else
        scale_say(s, l->config->instances > 0 || l->config->threads > 0 ? "configured" : "not tried for this backend");
    if (!l->children)
        make_room(m, l);
    l->children_len = at_most(s->instances, l->children_room);
    for (int i = 0; i < l->children_len; i++)
        l->children[i].threads = s->threads;
}

/* Models come and go: a part that stays another one for a while is taken. */
static void look_at_part(struct master *m, struct life *l, int share, uint64_t now_ns)
{
    struct scaling *s = &l->scaling;
    if (share == s->budget) {
        s->part_since_ns = 0;
    } else if (s->part_since_ns == 0 || s->part_next != share) {
        s->part_since_ns = now_ns;
        s->part_next = share;
    } else if (now_ns - s->part_since_ns >= SETTLE_NS) {
        LOG_INFO("a model's part of the processors changes", LOG_S("model", l->config->name), LOG_I("from", s->budget),
                 LOG_I("to", share));
        begin_with_part(m, l, share);
        s->part_since_ns = 0;
        life_changed(m, l);
    }
}

/* ---- children ---- */

static bool is_there(const struct child *c)
{
    return c->state != CHILD_STOPPED && c->state != CHILD_DRAINING;
}

static void start_more(struct master *m, struct life *l)
{
    int i = 0;
    while (i < l->children_len && (is_there(&l->children[i]) || l->children[i].pid != 0))
        i++;
    if (i == l->children_room)
        return; /* those that leave make room soon */
    struct child *c = &l->children[i];
    l->children_len += i == l->children_len;
    c->restart = (struct restart){0};
    c->reason[0] = '\0';
    c->threads = l->scaling.threads;
    c->leaves = false;
    child_start(m, c);
}

/* Towards what is wanted: first what is missing, then, when all of that is ready, what is too much. */
static void adjust(struct master *m, struct life *l)
{
    const struct scaling *s = &l->scaling;
    int have = 0, ready = 0;
    for (int i = 0; i < l->children_len; i++)
        if (is_there(&l->children[i]) && l->children[i].threads == s->threads) {
            have++;
            ready += l->children[i].state == CHILD_READY;
        }
    for (; have < s->instances; have++)
        start_more(m, l);
    for (int i = l->children_len - 1; i >= 0 && ready >= s->instances; i--) {
        struct child *c = &l->children[i];
        if (!is_there(c) || (c->threads == s->threads && have <= s->instances))
            continue;
        have -= c->threads == s->threads;
        LOG_INFO("an instance is not needed any more", LOG_S("model", l->config->name), LOG_I("instance", c->index));
        child_leave(m, c);
        life_changed(m, l);
    }
    while (l->children_len > s->instances && !is_there(&l->children[l->children_len - 1]) &&
           l->children[l->children_len - 1].pid == 0)
        l->children_len--;
}

static bool is_moving(const struct life *l)
{
    return l->children_len != l->scaling.instances;
}

void scale_child_ready(struct life *l, uint64_t row_ns)
{
    l->scaling.row_ns = row_ns < 3600 * NS_PER_S ? (double)row_ns : 0;
}

/* ---- time ---- */

static bool is_starting(const struct master *m)
{
    for (const struct life *l = m->lives; l; l = l->next)
        for (int i = 0; i < l->children_len; i++)
            if (l->children[i].state == CHILD_STARTING)
                return true;
    return m->edge.state != CHILD_READY;
}

void scale_tick(struct master *m, uint64_t now_ns)
{
    if (m->stopping || now_ns < m->scale_next_ns)
        return;
    m->scale_next_ns = now_ns + LOOK_NS;
    int share = share_now(m);
    bool may_try = !m->prober.life && !is_starting(m);
    for (struct life *l = m->lives; l; l = l->next) {
        struct scaling *s = &l->scaling;
        if (!s->is_auto || l->state != LIFE_READY || l->children_len == 0)
            continue;
        look_at_part(m, l, share, now_ns);
        adjust(m, l);
        if (may_try && !s->is_settled && s->next_try_ns <= now_ns && !l->replaces)
            may_try = !scale_try_now(m, l);
    }
}

/* While all models have settled nothing is to be done: what changes that wakes the master. */
uint64_t scale_next_ns(const struct master *m)
{
    uint64_t next = UINT64_MAX;
    for (const struct life *l = m->lives; l; l = l->next) {
        const struct scaling *s = &l->scaling;
        if (!s->is_auto || l->state != LIFE_READY || l->children_len == 0)
            continue;
        uint64_t at = s->part_since_ns != 0 || is_moving(l) ? m->scale_next_ns
                      : s->is_settled                       ? UINT64_MAX
                                                            : s->next_try_ns;
        at = at < m->scale_next_ns ? m->scale_next_ns : at;
        next = at < next ? at : next;
    }
    return m->prober.life && next < UINT64_MAX ? m->scale_next_ns + NS_PER_S : next;
}

/* ---- showing ---- */

static const char *source(int64_t setting)
{
    return setting > 0 ? "configured" : "auto";
}

void scale_write(const struct life *l, struct json_writer *w)
{
    const struct scaling *s = &l->scaling;
    if (l->children_room == 0)
        return; /* inline, or an ensemble */
    jw_key(w, "scale");
    jw_object(w);
    jw_kv_i64(w, "instances", s->instances);
    jw_kv_i64(w, "threads", s->threads);
    jw_kv_c(w, "instances_from", source(l->config->instances));
    jw_kv_c(w, "threads_from", source(l->config->threads));
    jw_kv_i64(w, "budget", s->budget);
    jw_kv_c(w, "state", !s->is_auto ? "fixed" : s->is_settled ? "settled" : "to be tried");
    jw_kv_bool(w, "kept", s->is_kept);
    jw_kv_c(w, "reason", s->why);
    jw_kv_i64(w, "rows", s->found.rows);
    jw_key(w, "measured");
    jw_array(w);
    for (int i = 0; i < s->found.tries_len; i++) {
        const struct scale_try *t = &s->found.tries[i];
        jw_object(w);
        jw_kv_i64(w, "instances", t->instances);
        jw_kv_i64(w, "threads", t->threads);
        jw_kv_f64(w, "rows_per_s", t->rows_per_s);
        jw_kv_f64(w, "cpu_us_per_row", t->cpu_ns / 1e3);
        jw_kv_f64(w, "spread", t->spread);
        jw_object_end(w);
    }
    jw_array_end(w);
    jw_object_end(w);
}
