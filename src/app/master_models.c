/* Lives of models: start, readiness, replacement by a reload, end. */
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "app/master_int.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "model/repo/fingerprint.h"
#include "serve/segment.h"
#include "sys/fd.h"

#define AREA_BYTES_MIN (UINT64_C(1) << 20)
#define AREA_BYTES_MAX (UINT64_C(2) << 30) /* offsets in a block have 32 bits */

/* ---- one life ---- */

struct life *life_by_segment(struct master *m, uint32_t segment)
{
    for (struct life *l = m->lives; l; l = l->next)
        if (l->segment == segment)
            return l;
    return NULL;
}

void life_changed(struct master *m, struct life *l)
{
    m->status_dirty = true;
    if (m->edge.state != CHILD_READY || l->state >= LIFE_KEPT || budget_is_yielding(l))
        return; /* a new edge is told everything when it is ready; one that was asked to let go of it, when it has answered */
    bool is_inline = l->config->isolation == ISOLATION_INLINE;
    if (l->replaces && l->state == LIFE_LOADING && !is_inline)
        return; /* the edge hears of it when it can take over; an inline one it must load itself */
    if (l->state == LIFE_LOADING && !l->sent && ensemble_waits(m, l))
        return;
    struct buf text;
    master_model_news(m, l, &text);
    bool with_fd = !l->sent && l->segment_fd >= 0;
    child_send(m, &m->edge, CHANNEL_MODEL, buf_view(&text), &l->segment_fd, with_fd ? 1 : 0);
    l->sent = true;
    if (l->state != LIFE_LOADING && l->state != LIFE_ASLEEP)
        l->announced = true;
    buf_done(&text);
}

/* A model file counts alone, a version's folder with all that is in it: weights may lie beside the model. */
static struct hash128 file_identity(const struct model_config *c)
{
    char path[4096];
    if (!c->path)
        return (struct hash128){0, 0};
    (void)str_copy(path, sizeof path, str_c(c->path));
    bool has_folder = c->origin && strcmp(c->origin, c->path) != 0;
    return repo_fingerprint(has_folder ? dirname(path) : path);
}

void model_log_notes(const struct model_config *c)
{
    const char *const *notes = c->notes.items;
    for (size_t i = 0; i < c->notes.len; i++)
        LOG_WARN("config.pbtxt: a field without effect here", LOG_S("model", c->name), LOG_S("field", notes[i]));
}

enum err_code life_start(struct master *m, struct snapshot *s, const struct model_config *c, bool replaces,
                         struct err *err)
{
    struct life *l = calloc(1, sizeof *l);
    CHECK(l);
    *l =
        (struct life){.snapshot = s, .config = c, .segment = ++m->next_segment, .segment_fd = -1, .replaces = replaces};
    uint64_t area = s->config.http.body_bytes_max;
    area = area < AREA_BYTES_MIN ? AREA_BYTES_MIN : area > AREA_BYTES_MAX ? AREA_BYTES_MAX : area;
    bool is_process = c->isolation == ISOLATION_PROCESS && !c->problem;
    if (is_process && segment_create((uint32_t)m->threads, area, area, &l->segment_fd, err)) {
        free(l);
        return err->code;
    }
    s->refs++;
    l->file_id = file_identity(c);
    l->next = m->lives;
    m->lives = l;
    model_log_notes(c);
    if (is_process) {
        scale_begin(m, l);
        budget_enter(m, l);
    }
    compare_expect(m, l);
    if (c->problem)
        life_fail(m, l, c->problem);
    else if (l->state == LIFE_ASLEEP && replaces)
        life_takes_over(m, l);
    else
        life_changed(m, l);
    return ERR_OK;
}

bool life_has_new_file(const struct life *l)
{
    struct hash128 id = file_identity(l->config);
    return id.lo != l->file_id.lo || id.hi != l->file_id.hi;
}

static struct life *older_life(struct master *m, const struct life *news)
{
    for (struct life *l = m->lives; l; l = l->next)
        if (l != news && l->state < LIFE_KEPT && !l->replaces && strcmp(l->config->name, news->config->name) == 0 &&
            strcmp(l->config->version, news->config->version) == 0)
            return l;
    return NULL;
}

/* `sent` stays set until the edge has answered its last request. */
void life_withdraw(struct master *m, struct life *l)
{
    char text[64];
    m->status_dirty = true;
    l->sent = l->sent && m->edge.state == CHILD_READY;
    if (!l->sent)
        return;
    (void)snprintf(text, sizeof text, "{\"segment\":%u}", l->segment);
    child_send(m, &m->edge, CHANNEL_MODEL_GONE, str_c(text), NULL, 0);
}

/* No new requests; its workers end when the edge has answered the last one. */
void life_retire(struct master *m, struct life *l)
{
    bool was_kept = l->state == LIFE_KEPT; /* the edge was told then */
    scale_forget(m, l);
    l->state = LIFE_RETIRED;
    m->status_dirty = true;
    if (!was_kept)
        life_withdraw(m, l);
    if (!l->sent)
        life_drained(m, l->segment);
}

void life_drained(struct master *m, uint32_t segment)
{
    struct life *l = life_by_segment(m, segment);
    if (l && l->state == LIFE_KEPT) {
        l->sent = false;
        rollback_drained(m, l);
    }
    if (!l || l->state != LIFE_RETIRED)
        return;
    for (int i = 0; i < l->children_len; i++)
        if (l->children[i].state != CHILD_STOPPED && l->children[i].state != CHILD_DRAINING)
            child_signal_drain(m, &l->children[i]);
    l->sent = false; /* lives_sweep frees it when its processes are gone */
}

static void life_is_ready(struct master *m, struct life *l)
{
    l->state = LIFE_READY;
    l->reason[0] = '\0';
    if (compare_is_due(m, l))
        compare_begin(m, l);
    else if (canary_is_due(m, l))
        canary_begin(m, l);
    else
        life_takes_over(m, l);
}

void life_takes_over(struct master *m, struct life *l)
{
    struct life *old = l->replaces ? older_life(m, l) : NULL;
    l->replaces = l->is_canary = l->is_comparing = false;
    life_changed(m, l);
    if (old) {
        LOG_INFO("model replaced", LOG_S("model", l->config->name), LOG_S("version", l->config->version));
        life_keep(m, old, l);
    } else if (!m->options->is_serve) { /* who prints more about it */
        LOG_INFO("model is ready", LOG_S("model", l->config->name), LOG_S("version", l->config->version));
    }
    lives_leave(m, l);
    loads_settle(m, l->config->name, NULL);
}

void life_child_ready(struct master *m, struct life *l)
{
    if (l->state >= LIFE_KEPT)
        return;
    if (l->state != LIFE_READY)
        life_is_ready(m, l);
    else
        life_changed(m, l);
}

void life_fail(struct master *m, struct life *l, const char *reason)
{
    (void)str_copy(l->reason, sizeof l->reason, str_c(reason));
    LOG_ERROR(l->replaces ? "model was not replaced, the old version goes on" : "model cannot be served",
              LOG_S("model", l->config->name), LOG_S("version", l->config->version), LOG_S("reason", reason));
    loads_settle(m, l->config->name, reason);
    if (l->replaces) { /* the old version goes on */
        (void)snprintf(m->last_error, sizeof m->last_error,
                       "model %s was not replaced, the old version goes on: %.400s", l->config->name, reason);
        life_retire(m, l);
        return;
    }
    l->state = LIFE_FAILED;
    life_changed(m, l);
}

void life_child_failed(struct master *m, struct life *l, const char *reason)
{
    if (l->state >= LIFE_KEPT)
        return;
    for (int i = 0; i < l->children_len; i++)
        if (l->children[i].state != CHILD_FAILED && l->children[i].state != CHILD_STOPPED) {
            life_changed(m, l); /* others may still make it, or serve already */
            return;
        }
    life_fail(m, l, reason);
}

void life_inline_result(struct master *m, uint32_t segment, const char *error)
{
    struct life *l = life_by_segment(m, segment);
    if (!l || l->state >= LIFE_KEPT)
        return;
    l->announced = true;
    if (error)
        life_fail(m, l, error);
    else if (l->state != LIFE_READY)
        life_is_ready(m, l);
    else if (l->is_comparing) /* by an edge that is new: it has loaded it again */
        life_changed(m, l);
}

void lives_tell_edge(struct master *m)
{
    budget_edge_is_new(m);
    known_tell(m);
    for (struct life *l = m->lives; l; l = l->next)
        l->sent = false;
    for (struct life *l = m->lives; l; l = l->next)
        if (l->state >= LIFE_KEPT)
            life_drained(m, l->segment); /* whoever waited on it went with the old edge */
        else if (!l->replaces)
            life_changed(m, l);
    /* It listens when it has as many models as it was promised, and those are what serves. */
    for (struct life *l = m->lives; l; l = l->next)
        if (l->state < LIFE_KEPT && l->replaces)
            life_changed(m, l);
}

static bool is_over(const struct life *l)
{
    if (l->state != LIFE_RETIRED || l->sent)
        return false;
    for (int i = 0; i < l->children_len; i++)
        if (l->children[i].pid != 0)
            return false;
    return true;
}

void snapshot_unref(struct snapshot *s)
{
    if (--s->refs > 0)
        return;
    config_done(&s->config);
    free(s);
}

void lives_sweep(struct master *m)
{
    bool any = false; /* over */
    for (struct life **at = &m->lives; *at;) {
        struct life *l = *at;
        if (!is_over(l) || m->prober.life == l) {
            at = &l->next;
            continue;
        }
        *at = l->next;
        for (int i = 0; i < l->children_room; i++) {
            (void)fd_close(l->children[i].report_fd);
            report_unmap(l->children[i].report);
        }
        (void)fd_close(l->segment_fd);
        snapshot_unref(l->snapshot);
        free(l->children);
        free(l);
        any = m->status_dirty = true;
    }
    if (any && m->overrides)
        overrides_sweep(m, "");
}

/* ---- classes ---- */

static int share_of(const struct config *c, const char *class_name, int *max)
{
    const struct setting_pair *p = c->classes.items;
    int share = 100;
    *max = 1;
    for (size_t i = 0; i < c->classes.len; i++) {
        *max = p[i].value > *max ? (int)p[i].value : *max;
        if (class_name && strcmp(p[i].name, class_name) == 0)
            share = (int)p[i].value;
    }
    return share;
}

/* With one class there is nobody to share with: no groups, no cost. */
void classes_open(struct master *m)
{
    const struct config *c = &m->snapshot->config;
    const struct model_config *models = c->models.items;
    bool differ = false;
    int max;
    for (size_t i = 1; i < c->models.len; i++)
        differ = differ || strcmp(models[i].class_name, models[0].class_name) != 0;
    if (!differ || m->has_cgroup)
        return;
    (void)share_of(c, NULL, &max);
    cgroup_open(&m->cgroup, "/sys/fs/cgroup", max);
    m->has_cgroup = true;
    LOG_INFO("classes share the processor", LOG_S("by", m->cgroup.why));
    for (struct life *l = m->lives; l; l = l->next)
        for (int i = 0; i < l->children_len; i++)
            class_put(m, &l->children[i]);
}

void class_put(struct master *m, const struct child *c)
{
    struct err err = {0};
    int max;
    if (!m->has_cgroup || c->pid == 0)
        return;
    const char *name = c->life->config->class_name;
    int share = share_of(&c->life->snapshot->config, name, &max);
    if (cgroup_put(&m->cgroup, name, share, c->pid, &err))
        LOG_WARN("a worker runs outside its class", LOG_S("class", name), LOG_S("error", err.text));
}

enum err_code lives_start(struct master *m, struct err *err)
{
    const struct model_config *c = m->snapshot->config.models.items;
    for (size_t i = 0; i < m->snapshot->config.models.len; i++)
        if (loads_want(m, &m->snapshot->config, c[i].name) && life_start(m, m->snapshot, &c[i], false, err))
            return err_wrap(err, "model %s", c[i].name);
    return ERR_OK;
}

/* ---- reload ---- */

static bool same_text(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

static bool same_parameters(const struct setting_list *a, const struct setting_list *b)
{
    const struct setting_text_pair *pa = a->items, *pb = b->items;
    if (a->len != b->len)
        return false;
    for (size_t i = 0; i < a->len; i++)
        if (!same_text(pa[i].name, pb[i].name) || !same_text(pa[i].value, pb[i].value))
            return false;
    return true;
}

static bool same_texts(const struct setting_list *a, const struct setting_list *b)
{
    const char *const *pa = a->items, *const *pb = b->items;
    if (a->len != b->len)
        return false;
    for (size_t i = 0; i < a->len; i++)
        if (strcmp(pa[i], pb[i]) != 0)
            return false;
    return true;
}

static bool same_batching(const struct batching_config *a, const struct batching_config *b)
{
    return a->delay_ns == b->delay_ns && a->is_ordered == b->is_ordered && same_texts(&a->preferred, &b->preferred) &&
           same_texts(&a->sizes, &b->sizes);
}

static bool same_queues(const struct model_config *a, const struct model_config *b)
{
    const struct priority_config *x = a->priorities.items, *y = b->priorities.items;
    bool same = a->queue_max == b->queue_max && a->queue_timeout_ns == b->queue_timeout_ns &&
                a->queue_late == b->queue_late && a->priorities.len == b->priorities.len;
    for (size_t i = 0; i < a->priorities.len && same; i++)
        same = strcmp(x[i].name, y[i].name) == 0 && x[i].queue_max == y[i].queue_max &&
               x[i].queue_timeout_ns == y[i].queue_timeout_ns && x[i].queue_late == y[i].queue_late;
    return same;
}

bool life_is_unchanged(const struct life *l, const struct model_config *c)
{
    const struct model_config *old = l->config;
    struct hash128 id = file_identity(c);
    return l->state != LIFE_FAILED && id.lo == l->file_id.lo && id.hi == l->file_id.hi &&
           same_text(old->path, c->path) && same_text(old->backend, c->backend) &&
           same_text(old->version, c->version) && same_text(old->class_name, c->class_name) &&
           old->isolation == c->isolation && old->instances == c->instances && old->threads == c->threads &&
           old->max_batch == c->max_batch && old->priority == c->priority && same_queues(old, c) &&
           same_batching(&old->batching, &c->batching) && master_same_ensemble(&old->ensemble, &c->ensemble) &&
           old->timeout_ns == c->timeout_ns && old->load_timeout_ns == c->load_timeout_ns &&
           old->memory_bytes == c->memory_bytes && old->cache_bytes == c->cache_bytes &&
           same_text(old->declared, c->declared) && same_text(old->labels_file, c->labels_file) &&
           same_parameters(&old->parameters, &c->parameters);
}
