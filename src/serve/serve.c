#include "serve/serve.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "serve/internal_int.h"
#include "serve/proto_v2_texts.h"
#include "serve/rollout_int.h"

#define INLINE_AREA_BYTES (64u << 20)

struct serve *serve_new(int thread, const struct serve_hooks *hooks)
{
    struct serve *s = calloc(1, sizeof *s);
    CHECK(s);
    s->thread = thread;
    s->hooks = *hooks;
    map_init(&s->by_segment, SERVE_MODELS_MAX);
    return s;
}

static void served_free(struct served *m)
{
    if (m->exec) {
        m->exec->backend->unload(m->exec->instance);
        free(m->exec);
    }
    if (m->has_lane)
        lane_done(&m->lane);
    v2_texts_free(m->v2_texts);
    free(m->out);
    segment_close(&m->private_map);
    (void)model_shared_unref(m->shared);
    free(m);
}

struct serve *serve_free(struct serve *s)
{
    if (!s)
        return NULL;
    for (size_t i = 0; i < s->models_len; i++)
        served_free(s->models[i]);
    free(s->models);
    map_done(&s->by_segment);
    free(s);
    return NULL;
}

/* ---- the table ---- */

/* Versions are whole numbers: 10 comes after 9. */
static int order_versions(const char *a, const char *b)
{
    uint64_t x, y;
    if (str_to_u64(str_c(a), &x) && str_to_u64(str_c(b), &y) && x != y)
        return x < y ? -1 : 1;
    return strcmp(a, b);
}

static int order(const struct served *a, const struct served *b)
{
    if (a->is_retired != b->is_retired)
        return a->is_retired ? 1 : -1;
    int c = strcmp(a->info.name, b->info.name);
    return c ? c : order_versions(a->info.version, b->info.version);
}

/* One of which the place has changed; the others are in order. */
static void put_in_order(struct serve *s, struct served *m)
{
    size_t i = 0;
    while (s->models[i] != m)
        i++;
    for (; i > 0 && order(s->models[i - 1], m) > 0; i--)
        s->models[i] = s->models[i - 1];
    for (; i + 1 < s->models_len && order(m, s->models[i + 1]) > 0; i++)
        s->models[i] = s->models[i + 1];
    s->models[i] = m;
}

/* In the order of strcmp, as the table is sorted. */
static bool is_before(const char *have, struct str name)
{
    size_t n = strlen(have), both = n < name.n ? n : name.n;
    int c = both ? memcmp(have, name.p, both) : 0;
    return c ? c < 0 : n < name.n;
}

/* Where the versions of this name begin, if there are any. By halves: each request asks, and there may be a thousand models. */
static size_t first_of(const struct serve *s, struct str name)
{
    size_t low = 0, high = s->models_len;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (!s->models[mid]->is_retired && is_before(s->models[mid]->info.name, name))
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static struct str key_of(const uint32_t *id)
{
    return (struct str){(const char *)id, sizeof *id};
}

struct served *serve_by_segment(const struct serve *s, uint32_t id)
{
    return map_get(&s->by_segment, key_of(&id));
}

static struct served *add(struct serve *s, struct model_shared *shared)
{
    if (s->models_len == s->models_cap) {
        s->models_cap = s->models_cap ? s->models_cap * 2 : 8;
        s->models = realloc(s->models, s->models_cap * sizeof *s->models);
        CHECK(s->models);
    }
    struct served *m = calloc(1, sizeof *m);
    CHECK(m);
    m->serve = s;
    m->shared = model_shared_ref(shared);
    m->next_deadline_ns = UINT64_MAX;
    m->info = (struct served_info){
        .name = shared->name,
        .version = shared->version,
        .reason = m->reason,
        .isolation = shared->ensemble    ? "ensemble"
                     : shared->is_inline ? "inline"
                                         : "process",
        .path = shared->path,
    };
    s->models[s->models_len++] = m;
    put_in_order(s, m);
    CHECK(map_put(&s->by_segment, key_of(&shared->id), m));
    return m;
}

void serve_remove(struct serve *s, struct served *m)
{
    for (size_t i = 0; i < s->models_len; i++)
        if (s->models[i] == m) {
            memmove(&s->models[i], &s->models[i + 1], (s->models_len - i - 1) * sizeof *s->models);
            s->models_len--;
            break;
        }
    (void)map_take(&s->by_segment, key_of(&m->shared->id));
    if (m->is_awake)
        serve_sleep(m);
    served_free(m);
}

/* ---- those that have work ---- */

void serve_wake(struct served *m)
{
    struct serve *s = m->serve;
    m->is_awake = true;
    m->awake_prev = s->awake_last;
    m->awake_next = NULL;
    if (s->awake_last)
        s->awake_last->awake_next = m;
    else
        s->awake_first = m;
    s->awake_last = m;
}

void serve_sleep(struct served *m)
{
    struct serve *s = m->serve;
    m->is_awake = false;
    if (m->awake_prev)
        m->awake_prev->awake_next = m->awake_next;
    else
        s->awake_first = m->awake_next;
    if (m->awake_next)
        m->awake_next->awake_prev = m->awake_prev;
    else
        s->awake_last = m->awake_prev;
}

/* ---- getting ready ---- */

static enum err_code open_inline(struct served *m, struct err *err)
{
    struct model_shared *sh = m->shared;
    if (segment_private(INLINE_AREA_BYTES, INLINE_AREA_BYTES, &m->private_map, err))
        return err->code;
    m->exec = calloc(1, sizeof *m->exec);
    CHECK(m->exec);
    m->exec->backend = sh->backend;
    m->exec->desc = sh->desc;
    m->exec->segment = &m->private_map;
    m->exec->index = m->serve->thread;
    m->exec->instance = sh->instances[m->serve->thread];
    m->exec->is_draining = true; /* nobody would come back when a batch has waited for more rows: it does not wait */
    return ERR_OK;
}

static enum err_code make_ready(struct served *m, struct err *err)
{
    if (m->has_lane)
        return ERR_OK;
    struct model_shared *sh = m->shared;
    CHECK(sh->desc);
    if (sh->ensemble) {
        m->info.desc = sh->desc;
        return ERR_OK;
    }
    if (sh->is_inline && open_inline(m, err))
        return err->code;
    if (sh->is_inline)
        lane_init(&m->lane, &m->private_map, 0, sh->desc, &sh->limits.batch);
    else
        lane_init(&m->lane, &sh->map, (uint32_t)m->serve->thread, sh->desc, &sh->limits.batch);
    m->has_lane = true;
    if (m->lane.orphans)
        served_wake(m);
    m->lane.cost = &m->schedule.cost;
    m->schedule.tags = model_shared_tags(sh);
    m->out = calloc(sh->desc->outputs_len, sizeof *m->out);
    CHECK(m->out);
    for (uint32_t i = 0; i < sh->desc->measures_len; i++)
        schedule_expect(&m->schedule, sh->desc->measures[i].rows, sh->desc->measures[i].ns);
    m->info.desc = sh->desc;
    return ERR_OK;
}

/* Every request of a model that cannot answer them any more. */
static void fail_all(struct served *m)
{
    for (uint32_t i = 0; i < LANE_BLOCKS && m->has_lane; i++) {
        struct lane_block *b = &m->lane.blocks[i];
        while (b->first)
            infer_end_err(b->first, ERR_UNAVAILABLE, m->reason, NULL);
        b->alone = NULL;
        if (b->use == LANE_FILLING || (b->use == LANE_PUBLISHED && lane_take_back(b)))
            lane_release(b);
    }
    while (m->waiting_first)
        infer_end_err(m->waiting_first, ERR_UNAVAILABLE, m->reason, NULL);
}

static void retire(struct served *m)
{
    m->is_retired = true;
    m->info.state = SERVED_DRAINING;
    put_in_order(m->serve, m);
    served_wake(m);
}

/* An older life of the same model: the new one takes over. */
static void retire_older(struct serve *s, const struct served *news)
{
    for (size_t i = first_of(s, str_c(news->info.name)); i < s->models_len;) {
        struct served *m = s->models[i];
        if (m->is_retired || strcmp(m->info.name, news->info.name) != 0)
            break;
        if (m == news || m->rollout.is_canary || strcmp(m->info.version, news->info.version) != 0)
            i++;
        else
            retire(m); /* the next one is in its place now */
    }
}

static void count_canaries(struct serve *s)
{
    s->canaries = 0;
    for (size_t i = 0; i < s->models_len; i++)
        s->canaries += s->models[i]->rollout.is_canary && !s->models[i]->is_retired;
}

enum err_code serve_update(struct serve *s, struct model_shared *shared, const struct serve_state *state,
                           struct err *err)
{
    struct served *m = serve_by_segment(s, shared->id);
    if (!m)
        m = add(s, shared);
    if (m->is_retired)
        return ERR_OK;
    enum served_state now = state->state, before = m->info.state;
    bool was_canary = m->rollout.is_canary;
    (void)str_copy(m->reason, sizeof m->reason, str_c(state->reason));
    m->rollout = state->rollout ? *state->rollout : (struct rollout_policy){0};
    (void)str_copy(m->labels, sizeof m->labels, str_c(state->labels));
    if (now == SERVED_UNLOADED && !m->info.desc)
        m->info.desc = atomic_load(&shared->recalled);
    if (now == SERVED_READY && make_ready(m, err)) {
        now = SERVED_FAILED;
        (void)str_copy(m->reason, sizeof m->reason, str_c(err->text));
    }
    m->is_yielding = false;
    m->info.is_on_demand = state->is_on_demand;
    m->info.instances = state->instances;
    m->info.instances_ready = state->instances_ready;
    m->info.state = now;
    if (now == SERVED_READY && !m->rollout.is_canary)
        retire_older(s, m);
    if (was_canary || m->rollout.is_canary)
        count_canaries(s);
    bool is_lost = before == SERVED_READY && now == SERVED_LOADING && m->reason[0]; /* its workers cannot start again */
    if (now == SERVED_FAILED || is_lost)
        fail_all(m); /* the next step of an ensemble may look for its model meanwhile: the table is in order */
    return now == state->state ? ERR_OK : err->code;
}

void serve_retire(struct serve *s, uint32_t segment)
{
    struct served *m = serve_by_segment(s, segment);
    if (m && !m->is_retired)
        retire(m);
    count_canaries(s);
}

void serve_set_caller(struct serve *s, const struct http_req *req)
{
    s->caller = req;
    s->awaited = NULL;
}

void serve_log_chosen(const struct serve *s)
{
    if (s->hooks.log_chosen)
        s->hooks.log_chosen(s->hooks.arg);
}

void serve_set_settled(struct serve *s, bool all_settled)
{
    s->all_settled = all_settled;
}

/* ---- what protocols ask ---- */

static enum err_code not_found(const struct serve *s, struct str name, struct err *err)
{
    err_set(err, ERR_NOT_FOUND, "Request for unknown model: '%.*s' is not found", (int)(name.n < 100 ? name.n : 100),
            name.p);
    char names[200];
    size_t at = 0;
    names[0] = '\0';
    for (size_t i = 0; i < s->models_len && !s->models[i]->is_retired && at + 1 < sizeof names; i++) {
        int n = snprintf(names + at, sizeof names - at, "%s%s", i ? ", " : "", s->models[i]->info.name);
        at += n > 0 ? (size_t)n : 0;
    }
    return err_remedy(err, names[0] ? "known models: %s" : "no model is served%s", names);
}

static bool has_label(const struct served *m, struct str label)
{
    struct str rest = str_c(m->labels);
    while (rest.n)
        if (str_eq(str_cut(rest, ',', &rest), label))
            return true;
    return false;
}

/* Serves now, or would if it were asked. */
static bool is_usable(const struct served *m)
{
    return m->info.state == SERVED_READY || m->info.state == SERVED_UNLOADED ||
           (m->info.state == SERVED_LOADING && m->info.is_on_demand);
}

/* The newest that is usable, else the newest; NULL: none, with the reason in err. */
static struct served *find_model(struct serve *s, struct str name, struct str version, struct err *err)
{
    struct served *best = NULL, *named = NULL;
    for (size_t i = first_of(s, name); i < s->models_len; i++) {
        struct served *m = s->models[i];
        if (m->is_retired || !str_eq_c(name, m->info.name))
            break;
        named = m;
        if (m->rollout.is_canary && (version.n == 0 || best))
            continue; /* who names no version gets it by rollout_choose */
        bool wanted = version.n == 0 || str_eq_c(version, m->info.version) || has_label(m, version);
        if (wanted && (!best || !is_usable(best) || is_usable(m)))
            best = m;
    }
    if (!named)
        (void)not_found(s, name, err);
    else if (!best)
        err_set(err, ERR_NOT_FOUND, "Request for unknown model: '%s' version %.*s is not found", named->info.name,
                (int)(version.n < 40 ? version.n : 40), version.p);
    return best;
}

static enum err_code not_ready(struct serve *s, struct served *best, struct err *err)
{
    if (is_usable(best)) {
        s->awaited = best;
        err_set(err, ERR_UNAVAILABLE, "model '%s' version %s is not loaded", best->info.name, best->info.version);
        return err_remedy(err, "try again in a moment");
    }
    err_set(err, ERR_UNAVAILABLE, "model '%s' version %s is not ready: %s", best->info.name, best->info.version,
            best->reason[0] ? best->reason : "loading");
    return err_remedy(err, best->info.state == SERVED_LOADING ? "try again in a moment"
                                                              : "correct the model or its configuration, then reload");
}

enum err_code serve_model(struct serve *s, struct str name, struct str version, struct served **out, struct err *err)
{
    struct served *best = find_model(s, name, version, err);
    s->awaited = NULL;
    if (!best)
        return err->code;
    if (best->info.state != SERVED_READY || best->is_yielding)
        return not_ready(s, best, err);
    *out = version.n == 0 ? rollout_choose(s, best) : best;
    return ERR_OK;
}

enum err_code serve_step_model(struct serve *s, struct str name, struct str version, struct served **out,
                               struct err *err)
{
    struct served *best = find_model(s, name, version, err);
    if (!best)
        return err->code;
    if (best->info.state != SERVED_READY) {
        (void)not_ready(s, best, err);
        s->awaited = NULL;
        return err->code;
    }
    *out = version.n == 0 ? rollout_choose(s, best) : best;
    return ERR_OK;
}

const struct served_info *served_info(const struct served *m)
{
    return &m->info;
}

struct v2_texts **served_v2_texts(struct served *m)
{
    return &m->v2_texts;
}

struct model_shared *served_shared(const struct served *m)
{
    return m->shared;
}

size_t serve_models_len(const struct serve *s)
{
    size_t low = 0, high = s->models_len; /* retired ones come last */
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (s->models[mid]->is_retired)
            high = mid;
        else
            low = mid + 1;
    }
    return low;
}

struct served *serve_model_at(struct serve *s, size_t i)
{
    return s->models[i];
}

bool serve_all_settled(const struct serve *s)
{
    return s->all_settled;
}
