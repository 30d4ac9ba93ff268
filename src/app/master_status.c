/* What the master tells the world: DATA/run/status.json, rewritten on each change, and one file for each crash. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/master_int.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "model/backend.h"
#include "sys/fd.h"

#define STATUS_BYTES_MAX (4u << 20)
#define CRASH_BYTES_MAX  (64u << 10)
#define TELL_FAILURE_NS  (60 * NS_PER_S)
#define RETRY_NS         NS_PER_S
#define STARTING_NS      (50 * NS_PER_MS)

static void write_process(struct json_writer *w, const char *role, const struct child *c, int pid, const char *state,
                          uint64_t since_ms)
{
    jw_object(w);
    jw_kv_c(w, "role", role);
    jw_kv_i64(w, "pid", pid);
    jw_kv_c(w, "model", c && c->life ? c->life->config->name : c && c->stem ? c->stem->backend->name : "");
    jw_kv_c(w, "version", c && c->life ? c->life->config->version : "");
    jw_kv_i64(w, "instance", c ? c->index : 0);
    jw_kv_u64(w, "restarts", c ? c->restart.restarts : 0);
    jw_kv_c(w, "state", state);
    jw_kv_u64(w, "since_ms", since_ms);
    jw_kv_c(w, "reason", c ? c->reason : "");
    jw_object_end(w);
}

static void write_processes(const struct master *m, struct json_writer *w)
{
    jw_key(w, "processes");
    jw_array(w);
    write_process(w, "master", NULL, (int)getpid(), m->stopping ? "draining" : "ready", m->started_at_ms);
    write_process(w, "edge", &m->edge, m->edge.pid, child_state_name(m->edge.state), m->edge.since_ms);
    for (const struct stem *s = m->stems; s; s = s->next)
        write_process(w, "stem", &s->child, s->child.pid, child_state_name(s->child.state), s->child.since_ms);
    if (m->prober.pid != 0)
        write_process(w, "prober", &m->prober, m->prober.pid, "trying", m->prober.since_ms);
    for (const struct life *l = m->lives; l; l = l->next)
        for (int i = 0; i < l->children_len; i++)
            if ((l->state != LIFE_RETIRED && l->state != LIFE_ASLEEP) || l->children[i].pid != 0)
                write_process(w, "worker", &l->children[i], l->children[i].pid, child_state_name(l->children[i].state),
                              l->children[i].since_ms);
    jw_array_end(w);
}

static const char *state_of(const struct life *l)
{
    static const char *const names[] = {"loading", "ready", "failed", "unloaded", "kept", "retired"};
    if (l->state != LIFE_READY || !l->is_canary)
        return names[l->state];
    return l->is_comparing ? "comparing" : "canary";
}

static void write_models(const struct master *m, struct json_writer *w)
{
    jw_key(w, "models");
    jw_array(w);
    for (const struct life *l = m->lives; l; l = l->next) {
        if (l->state == LIFE_RETIRED)
            continue;
        jw_object(w);
        jw_kv_c(w, "name", l->config->name);
        jw_kv_c(w, "version", l->config->version);
        jw_kv_c(w, "state", state_of(l));
        jw_kv_c(w, "reason", l->reason);
        if (l->compared[0])
            jw_kv_c(w, "compared", l->compared);
        jw_object_end(w);
    }
    jw_array_end(w);
}

/* A disk that is full stays so for a while, and the status changes many times a second. Once it has room the file must tell the truth again, also when nothing
 * changes any more. */
static void write_again(struct master *m, const struct err *err)
{
    static uint64_t next_ns;
    uint64_t now = clock_now_ns();
    m->status_dirty = true;
    m->status_due_ns = m->status_retry_ns = now + RETRY_NS;
    if (now < next_ns)
        return;
    next_ns = now + TELL_FAILURE_NS;
    LOG_ERROR("cannot write the status file", LOG_S("error", err->text), LOG_S("remedy", err->remedy));
}

void status_write(struct master *m)
{
    char path[4200];
    struct buf out;
    struct json_writer w;
    struct err err = {0};
    m->status_dirty = false;
    m->status_due_ns = m->status_retry_ns = 0;
    buf_init(&out, STATUS_BYTES_MAX);
    jw_init(&w, &out);
    jw_object(&w);
    jw_kv_c(&w, "version", QUERN_VERSION);
    jw_kv_i64(&w, "master_pid", (int)getpid());
    jw_kv_u64(&w, "started_at_ms", m->started_at_ms);
    jw_key(&w, "listen");
    jw_array(&w);
    for (size_t i = 0; i < m->addresses_len; i++)
        jw_c(&w, m->addresses[i]);
    jw_array_end(&w);
    write_processes(m, &w);
    write_models(m, &w);
    budget_write(m, &w);
    jw_kv_c(&w, "last_error", m->last_error);
    jw_key(&w, "crashes");
    jw_array(&w);
    for (size_t i = 0; i < m->crashes_len; i++)
        jw_raw(&w, str_c(m->crashes[i]));
    jw_array_end(&w);
    jw_object_end(&w);
    (void)snprintf(path, sizeof path, "%s/run/status.json", m->snapshot->config.data);
    if (folder_is_ours(m) && file_replace(path, buf_view(&out), false, &err))
        write_again(m, &err);
    buf_done(&out);
}

/* While the first models load, changes come in groups, and each write takes time from the loading. */
static bool is_starting(const struct master *m)
{
    for (const struct life *l = m->lives; l; l = l->next)
        if (l->state == LIFE_LOADING)
            return !m->has_started && !m->stopping;
    return false;
}

void status_tick(struct master *m, uint64_t now_ns)
{
    m->has_started = !is_starting(m);
    if (!m->status_dirty)
        return;
    if (m->status_due_ns == 0)
        m->status_due_ns = now_ns + STARTING_NS;
    if ((m->has_started && m->status_retry_ns == 0) || m->status_due_ns <= now_ns)
        status_write(m);
}

/* ---- crashes ---- */

static int is_crash_file(const struct dirent *d)
{
    return str_ends(str_c(d->d_name), STR(".json"));
}

static void remember(struct master *m, struct str json)
{
    if (m->crashes_len == MASTER_CRASHES_SHOWN)
        free(m->crashes[--m->crashes_len]);
    memmove(&m->crashes[1], &m->crashes[0], m->crashes_len * sizeof m->crashes[0]);
    m->crashes[0] = strndup(json.p, json.n);
    CHECK(m->crashes[0]);
    m->crashes_len++;
}

/* A file that somebody edited or that a full disk cut must not spoil the status. */
static bool is_json(struct str text)
{
    struct json_reader r;
    struct buf copy;
    buf_init(&copy, CRASH_BYTES_MAX + BUF_PAD);
    buf_str(&copy, text);
    buf_pad(&copy);
    json_init(&r, buf_view(&copy), 8);
    json_skip(&r, NULL);
    bool ok = json_end(&r) == ERR_OK && text.n > 0;
    buf_done(&copy);
    return ok;
}

static void load_crash(struct master *m, const char *path)
{
    struct arena a;
    struct str text;
    struct err err;
    arena_init(&a, 4096, 2 * CRASH_BYTES_MAX);
    if (file_read(path, CRASH_BYTES_MAX, &a, &text, &err) == ERR_OK && is_json(text))
        remember(m, text);
    arena_done(&a);
}

/* Deletes all but the newest files; reads the newest few into memory if asked. */
static void sweep_crashes(struct master *m, bool load)
{
    char folder[4200], path[4600];
    struct dirent **files = NULL;
    (void)snprintf(folder, sizeof folder, "%s/crashes", m->snapshot->config.data);
    int n = scandir(folder, &files, is_crash_file, alphasort); /* names begin with the time */
    for (int i = 0; i < n; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", folder, files[i]->d_name);
        if (i < n - MASTER_CRASH_FILES)
            (void)unlink(path);
        else if (load && i >= n - MASTER_CRASHES_SHOWN)
            load_crash(m, path);
        free(files[i]);
    }
    free(files);
}

void crashes_load(struct master *m)
{
    sweep_crashes(m, true);
}

static void write_crash_file(const struct master *m, const char *id, struct str json)
{
    char path[4600];
    struct err err = {0};
    (void)snprintf(path, sizeof path, "%s/crashes/%s.json", m->snapshot->config.data, id);
    if (file_replace(path, json, false, &err))
        LOG_ERROR("cannot write a crash report", LOG_S("error", err.text), LOG_S("remedy", err.remedy));
}

void crash_record(struct master *m, const struct child *c, int pid, int wait_status)
{
    char id[80], stamp[32];
    uint64_t now = clock_wall_ms();
    clock_format(now, stamp, sizeof stamp);
    for (char *p = stamp; *p; p++)
        if (*p == ':')
            *p = '-';
    (void)snprintf(id, sizeof id, "%s-%s-%d-%llu", stamp, c->role, pid, (unsigned long long)++m->crash_seq);
    struct report_about about = {
        .id = id,
        .role = c->role,
        .model = c->life ? c->life->config->name : NULL,
        .version = c->life ? c->life->config->version : NULL,
        .instance = c->index,
        .pid = pid,
        .wait_status = wait_status,
        .time_ms = now,
        .reason = c->kill_reason[0] ? c->kill_reason : NULL,
    };
    struct buf out;
    buf_init(&out, CRASH_BYTES_MAX);
    report_write(c->report, &about, &out);
    if (!out.failed) {
        buf_pad(&out);
        write_crash_file(m, id, buf_view(&out));
        remember(m, buf_view(&out));
    }
    buf_done(&out);
    m->status_dirty = true;
    if (m->crash_seq % MASTER_CRASH_FILES == 0)
        sweep_crashes(m, false);
}
