/* quern status: processes and crash reports of a data directory. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "cli/commands.h"
#include "cli/running.h"
#include "cli/status.h"
#include "cli/status_models.h"
#include "cli/table.h"

#define CRASHES_SHOWN 10

/* Text of another process for a terminal: one line, bounded, no control characters. */
static const char *cell(struct arena *a, struct str s, size_t max)
{
    if (s.n == 0)
        return NULL;
    bool is_cut = s.n > max;
    char *text = arena_cstr(a, str_sub(s, 0, max));
    for (char *p = text; *p; p++) {
        bool is_c1 = (unsigned char)p[0] == 0xc2 && (unsigned char)p[1] >= 0x80 && (unsigned char)p[1] < 0xa0;
        if (is_c1) /* two bytes, which some terminals obey as one control character */
            p[1] = ' ';
        if (is_c1 || (unsigned char)*p < 0x20 || *p == 0x7f)
            *p = ' ';
    }
    return is_cut ? arena_printf(a, "%s...", text).p : text;
}

static const char *number(struct arena *a, int64_t v)
{
    return arena_printf(a, "%lld", (long long)v).p;
}

/* "iris@1#0" */
static const char *model_cell(struct arena *a, struct str model, struct str version, int64_t instance)
{
    if (model.n == 0)
        return NULL;
    const char *name = cell(a, model, 60);
    if (version.n == 0)
        return name; /* of a stem: its backend */
    return arena_printf(a, "%s@%s#%lld", name, cell(a, version, 20), (long long)instance).p;
}

/* The master's list is in no order that people know. Workers come last, by model, version and instance; the others stay as they are. */
static int by_model(const void *one, const void *other)
{
    const struct status_process *a = *(const struct status_process *const *)one,
                                *b = *(const struct status_process *const *)other;
    bool is_a = str_eq_c(a->role, "worker"), is_b = str_eq_c(b->role, "worker");
    if (!is_a || !is_b)
        return is_a != is_b ? (is_a ? 1 : -1) : (a > b) - (a < b);
    int by_name = status_models_order(a->model, a->version, b->model, b->version);
    return by_name ? by_name : (a->instance > b->instance) - (a->instance < b->instance);
}

static const struct status_process **in_order(const struct status *s, struct arena *a)
{
    const struct status_process **list = arena_array(a, const struct status_process *, s->processes_len + 1);
    for (size_t i = 0; i < s->processes_len; i++)
        list[i] = &s->processes[i];
    qsort(list, s->processes_len, sizeof(*list), by_model);
    return list;
}

static void show_processes(const struct status *s, struct arena *a, struct buf *out)
{
    static const char *const heads[] = {"ROLE", "PID", "MODEL", "STATE", "RESTARTS", "SINCE", "REASON"};
    struct table t;
    uint64_t now = clock_wall_ms();
    table_init(&t, a, heads, ARRAY_LEN(heads), 1U << 1 | 1U << 4 | 1U << 5);
    const struct status_process **list = in_order(s, a);
    for (size_t i = 0; i < s->processes_len; i++) {
        const struct status_process *p = list[i];
        const char *since = p->since_ms ? table_duration(a, now > p->since_ms ? now - p->since_ms : 0) : NULL;
        const char *reason = cell(a, p->reason, 160);
        table_row(&t, (const char *const[]){cell(a, p->role, 20), p->pid ? number(a, p->pid) : NULL,
                                            model_cell(a, p->model, p->version, p->instance), cell(a, p->state, 20),
                                            number(a, p->restarts), since, reason ? reason : ""});
    }
    table_write(&t, "", out);
}

static void show_crash(const struct status_crash *c, struct arena *a, struct buf *out)
{
    char when[32];
    clock_format(c->time_ms, when, sizeof when);
    buf_printf(out, "  %s  %s", when, c->role.n ? cell(a, c->role, 20) : "process");
    if (c->model.n)
        buf_printf(out, " %s", model_cell(a, c->model, c->version, c->instance));
    buf_printf(out, "  pid %lld", (long long)c->pid);
    if (c->signal_name.n)
        buf_printf(out, "  %s", cell(a, c->signal_name, 20));
    if (c->request_id.n)
        buf_printf(out, "  request %s", cell(a, c->request_id, 40));
    buf_char(out, '\n');
    if (c->reason.n)
        buf_printf(out, "    %s\n", cell(a, c->reason, 240));
    for (size_t i = 0; i < c->frames_len; i++)
        buf_printf(out, "%s%s", i ? " < " : "    at ", c->frames[i].n ? cell(a, c->frames[i], 100) : "?");
    if (c->frames_len)
        buf_char(out, '\n');
}

static void show_crashes(const struct status *s, struct arena *a, struct buf *out)
{
    size_t shown = s->crashes_len < CRASHES_SHOWN ? s->crashes_len : CRASHES_SHOWN;
    if (s->crashes_len == 0)
        return;
    buf_printf(out, "\nCrash reports: %zu", s->crashes_len);
    if (shown < s->crashes_len)
        buf_printf(out, ", the first %zu of the list here, all with --json", shown);
    buf_char(out, '\n');
    for (size_t i = 0; i < shown; i++)
        show_crash(&s->crashes[i], a, out);
}

static void show_people(const struct status *s, const struct running *r, struct arena *a, struct buf *out)
{
    uint64_t now = clock_wall_ms();
    if (!s->is_running) {
        buf_printf(out, "not running (data directory %s)\n", r->data);
        if (r->others)
            buf_printf(out, "running: %s; name one with --data DIR\n", r->others);
        show_crashes(s, a, out);
        return;
    }
    buf_printf(out, "quern %s", s->version.n ? cell(a, s->version, 20) : "");
    for (size_t i = 0; i < s->listen_len; i++)
        buf_printf(out, "%s%s", i ? ", " : " on ", s->listen[i].n ? cell(a, s->listen[i], 80) : "");
    buf_printf(out, ", up %s, data in %s\n\n", table_duration(a, now > s->started_at_ms ? now - s->started_at_ms : 0),
               r->data);
    show_processes(s, a, out);
    if (s->memory.n > 0)
        status_memory_show(s->memory, a, cell, out);
    status_models_show(s->models, s->last_error, a, cell, out);
    show_crashes(s, a, out);
}

static void show_json(const struct status *s, const char *data, struct buf *out)
{
    struct json_writer w;
    if (s->is_running) {
        buf_str(out, s->text);
        if (!str_ends(s->text, STR("\n")))
            buf_char(out, '\n');
        return;
    }
    jw_init(&w, out);
    jw_object(&w);
    jw_kv_bool(&w, "running", false);
    jw_kv_c(&w, "data", data);
    if (s->text.n) {
        jw_key(&w, "last");
        jw_raw(&w, s->text);
    }
    jw_object_end(&w);
    buf_char(out, '\n');
}

static int show(const struct args *args, const struct running *r, struct arena *a)
{
    struct status s = {0};
    struct err err = {0};
    struct buf out;
    enum err_code code = status_read(r->data, a, &s, &err);
    if (code && code != ERR_NOT_FOUND)
        return cli_fail(&err, EXIT_FAILED);
    buf_init(&out, CLI_OUTPUT_MAX);
    if (args_has(args, "json"))
        show_json(&s, r->data, &out);
    else
        show_people(&s, r, a, &out);
    int printed = cli_print(&out);
    return s.is_running ? printed : EXIT_NOT_RUNNING;
}

int cmd_status(const struct args *args, master_run_fn *run)
{
    (void)run;
    struct arena a;
    arena_init(&a, 65536, (size_t)64 << 20);
    struct running r = running_find(args, &a);
    int code = show(args, &r, &a);
    arena_done(&a);
    return code;
}
