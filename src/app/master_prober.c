/* Instances and threads are tried on the model itself, by a process of its own: the prober (worker_scale.c). Here it is started, told what to try, and
 * believed or not. */
#include <stdio.h>
#include <string.h>

#include "app/kept.h"
#include "app/master_scale_int.h"
#include "base/clock.h"
#include "base/log.h"
#include "sys/fd.h"

#define TRY_NS       (20 * NS_PER_S) /* a prober that takes longer, from its start on, is ended */
#define AGAIN_NS     (2 * NS_PER_S)  /* after a try that told nothing; ten times longer after each */
#define AGAIN_NS_MAX (600 * NS_PER_S)
#define TRUST_AFTER  3 /* on a machine that is never calm the verdict by processor time is taken, though not kept */

static void settle(struct master *m, struct life *l, const char *why)
{
    l->scaling.is_settled = true;
    scale_say(&l->scaling, why);
    life_changed(m, l);
}

static void start_prober(struct master *m, struct life *l)
{
    struct child *p = &m->prober;
    *p = (struct child){.role = "worker",
                        .life = l,
                        .channel = -1,
                        .report_fd = p->report ? p->report_fd : -1,
                        .report = p->report,
                        .threads = l->config->threads > 0 ? (int)l->config->threads : 1,
                        .copies = l->scaling.budget};
    child_start(m, p);
    p->kill_at_ns = clock_now_ns() + TRY_NS;
}

bool scale_try_now(struct master *m, struct life *l)
{
    struct scale_try may[SCALE_TRIES_MAX];
    struct scale_limits limits = scale_limits_of(m, l, l->scaling.budget);
    char why[240];
    if (l->scaling.row_ns > 0 && limits.instances_max == 1 && limits.instances == 0) {
        (void)snprintf(why, sizeof why, "a row takes %.3g us: one instance is as much as the connections can bring",
                       l->scaling.row_ns / 1e3);
        settle(m, l, why);
        return false;
    }
    int by_memory = scale_memory_instances(m, l);
    limits.instances_max = limits.instances_max < by_memory ? limits.instances_max : by_memory;
    if (by_memory < 3) { /* the prober alone takes as much as two */
        settle(m, l, "too little memory is left to try more than one instance");
        return false;
    }
    if (scale_candidates(&limits, may) < 2) {
        settle(m, l, "nothing to choose");
        return false;
    }
    l->scaling.tried = limits;
    start_prober(m, l);
    return true;
}

void scale_write_trial(const struct master *m, const struct child *c, struct json_writer *w)
{
    const struct scale_limits *l = &c->life->scaling.tried;
    if (c != &m->prober)
        return;
    jw_key(w, "scale");
    jw_object(w);
    jw_kv_i64(w, "budget", l->budget);
    jw_kv_i64(w, "instances", l->instances);
    jw_kv_i64(w, "threads", l->threads);
    jw_kv_i64(w, "instances_max", l->instances_max);
    jw_object_end(w);
}

static void read_try(struct json_reader *r, struct scale_try *t)
{
    struct str key;
    int64_t v;
    json_object(r);
    while (json_key(r, &key)) {
        if (str_eq_c(key, "instances") && json_i64(r, &v))
            t->instances = v > 0 && v <= 4096 ? (int32_t)v : 0;
        else if (str_eq_c(key, "threads") && json_i64(r, &v))
            t->threads = v > 0 && v <= 4096 ? (int32_t)v : 0;
        else if (str_eq_c(key, "rows_per_s"))
            json_f64(r, &t->rows_per_s);
        else if (str_eq_c(key, "cpu_ns"))
            json_f64(r, &t->cpu_ns);
        else if (str_eq_c(key, "spread"))
            json_f64(r, &t->spread);
        else
            json_skip(r, NULL);
    }
}

static bool read_result(struct str payload, const struct scale_limits *l, struct scale *out)
{
    struct json_reader r;
    struct str key;
    int64_t rows = 1;
    *out = (struct scale){.budget = l->budget};
    json_init(&r, payload, 6);
    json_object(&r);
    while (json_key(&r, &key)) {
        if (str_eq_c(key, "rows") && json_i64(&r, &rows))
            out->rows = rows > 0 && rows <= 65536 ? (int32_t)rows : 1;
        else if (str_eq_c(key, "tries"))
            for (json_array(&r); json_item(&r) && out->tries_len < SCALE_TRIES_MAX;)
                read_try(&r, &out->tries[out->tries_len++]);
        else
            json_skip(&r, NULL);
    }
    return json_end(&r) == ERR_OK && out->tries_len > 0;
}

/* What a row takes may be known only now: more instances than the connections can keep busy are not worth having. */
static bool choose(const struct master *m, struct life *l, struct scale *found)
{
    struct scaling *s = &l->scaling;
    if (!(s->row_ns > 0) && found->tries[0].cpu_ns > 0)
        s->row_ns = found->tries[0].cpu_ns;
    int useful = scale_useful(m->cores, s->row_ns);
    for (int i = 1; i < found->tries_len; i++)
        if (found->tries[i].instances > useful || useful == 1)
            found->tries[i].rows_per_s = 0;
    scale_choose(found);
    return scale_is_sane(found, &s->tried);
}

static void try_again(struct master *m, struct life *l, const char *why)
{
    struct scaling *s = &l->scaling;
    uint64_t wait = AGAIN_NS;
    for (uint32_t i = 0; i < s->failures && wait < AGAIN_NS_MAX; i++)
        wait *= 10;
    s->failures++;
    s->next_try_ns = clock_now_ns() + (wait < AGAIN_NS_MAX ? wait : AGAIN_NS_MAX);
    scale_say(s, why);
    life_changed(m, l);
}

static void keep(const struct master *m, const struct life *l)
{
    char folder[4400];
    scale_folder(m, l, folder, sizeof folder);
    kept_write(folder, SCALE_KIND, SCALE_LAYOUT, scale_key(l, l->scaling.budget), &l->scaling.found,
               sizeof l->scaling.found);
}

static void told(struct master *m, struct str payload)
{
    struct life *l = m->prober.life;
    struct scale found;
    if (l->state != LIFE_READY || l->scaling.tried.budget != l->scaling.budget)
        return; /* its part has changed meanwhile */
    struct scaling *s = &l->scaling;
    if (!read_result(payload, &s->tried, &found) || !choose(m, l, &found)) {
        try_again(m, l, "the trial told nothing");
        return;
    }
    s->found = found;
    if (!found.is_calm) {
        try_again(m, l, found.reason);
        if (s->failures < TRUST_AFTER)
            return;
        scale_set(s, found.instances, found.threads);
    } else {
        scale_take(l, false);
        keep(m, l);
    }
    LOG_INFO("instances and threads chosen", LOG_S("model", l->config->name), LOG_I("instances", s->instances),
             LOG_I("threads", s->threads), LOG_S("measured", s->why));
    life_changed(m, l);
}

void scale_on_message(struct master *m, enum channel_type type, struct str payload, struct str text)
{
    char why[240];
    struct child *p = &m->prober;
    if (type == CHANNEL_SCALED) {
        told(m, payload);
    } else if (type == CHANNEL_FAILED) {
        (void)snprintf(why, sizeof why, "it cannot be tried: %.*s", STR_F(text));
        try_again(m, p->life, why);
    }
    if (type == CHANNEL_SCALED || type == CHANNEL_FAILED)
        p->state = CHILD_DRAINING; /* it ends by itself */
}

/* Whatever it died of: the model serves as before. */
bool scale_buried(struct master *m, int pid, int wait_status)
{
    struct child *p = &m->prober;
    if (p->pid != pid || p->life == NULL)
        return false;
    bool was_expected = p->state == CHILD_DRAINING || m->stopping;
    child_read(m, p); /* its last words */
    was_expected = was_expected || p->state == CHILD_DRAINING;
    p->channel = fd_close(p->channel);
    p->pid = 0;
    p->state = CHILD_STOPPED;
    m->status_dirty = true;
    if (!was_expected) {
        bool is_killed = p->kill_reason[0] != '\0';
        oom_note_death(m, p, wait_status);
        if (!is_killed)
            crash_record(m, p, pid, wait_status);
        try_again(m, p->life, is_killed ? "trying it took too long" : "the process that was to try it has died");
    }
    p->life = NULL;
    return true;
}

void scale_forget(struct master *m, const struct life *l)
{
    struct child *p = &m->prober;
    if (!p->life || (l && p->life != l))
        return;
    p->waits_for_stem = false;
    p->state = p->pid ? CHILD_DRAINING : CHILD_STOPPED;
    child_kill(p, "its model is not served any more", false);
    if (p->pid == 0)
        p->life = NULL;
}
