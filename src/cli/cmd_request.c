/* quern request: why a request was slow, refused or failed. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/num.h"
#include "cli/ask.h"
#include "cli/commands.h"
#include "cli/leaves.h"
#include "cli/show_text.h"
#include "cli/status.h"
#include "cli/table.h"

#define LAST_MAX     500 /* as the server's TRAIL_SHOWN_MAX */
#define LAST_DEFAULT 20
#define BAR_WIDTH    40
#define STAGES       6

static const char *const stages[STAGES] = {"receive", "decode", "queue", "compute", "encode", "send"};

struct requests {
    const struct args *args;
    struct arena *arena;
    struct ask to;
    struct buf out;
    struct err err;
    bool is_json;
};

static const char *number(struct arena *a, double v)
{
    return arena_printf(a, "%.0f", v).p;
}

static const char *age(struct arena *a, double at_ms)
{
    uint64_t now = clock_wall_ms(), at = at_ms > 0 ? (uint64_t)at_ms : 0;
    return table_duration(a, now > at ? now - at : 0);
}

/* ---- one request ---- */

static void show_stages(struct requests *q, const struct leaves *f)
{
    double us[STAGES], all = 0;
    for (int s = 0; s < STAGES; s++) {
        us[s] = leaf_number_at(f, "stages_us.%s", stages[s]);
        all += us[s];
    }
    if (all <= 0)
        return;
    buf_c(&q->out, "\n");
    for (int s = 0; s < STAGES; s++) {
        buf_printf(&q->out, "  %-8s%10s  ", stages[s], show_time(q->arena, us[s]));
        for (int k = 0; k < (int)(us[s] / all * BAR_WIDTH + 0.5); k++)
            buf_char(&q->out, '#');
        buf_c(&q->out, "\n");
    }
}

/* The instance of a worker that still lives: "iris@1#0"; NULL when it is gone, or the server is elsewhere. */
static const char *worker_name(struct requests *q, int64_t pid)
{
    struct status s = {0};
    struct err err = {0};
    if (!q->to.running.data || status_read(q->to.running.data, q->arena, &s, &err) != ERR_OK)
        return NULL;
    for (size_t i = 0; i < s.processes_len; i++) {
        const struct status_process *p = &s.processes[i];
        if (p->pid == pid && p->model.n)
            return arena_printf(q->arena, "%.*s@%.*s#%lld", STR_F(p->model), STR_F(p->version), (long long)p->instance)
                .p;
    }
    return "which has ended since";
}

static void line(struct requests *q, const char *name, const char *text)
{
    buf_printf(&q->out, "  %-12s%s\n", name, text);
}

static void show_worker(struct requests *q, const struct leaves *f)
{
    double pid = leaf_number(f, "worker_pid");
    if (pid <= 0)
        return;
    if (strcmp(leaf_text(f, "isolation"), "inline") == 0) {
        line(q, "run by", "the edge itself (isolation inline)");
        return;
    }
    const char *name = worker_name(q, (int64_t)pid);
    line(q, "run by", arena_printf(q->arena, "pid %.0f%s%s", pid, name ? ", " : "", name ? name : "").p);
}

static void show_run(struct requests *q, const struct leaves *f)
{
    struct arena *a = q->arena;
    double rows = leaf_number(f, "rows"), batch = leaf_number(f, "batch_rows");
    double requests = leaf_number(f, "batch_requests"), mates = leaf_number(f, "batch_mates.#");
    if (batch > 0)
        line(q, "rows",
             arena_printf(a, "%.0f, in a run of %.0f for %.0f request%s", rows, batch, requests,
                          requests == 1 ? "" : "s")
                 .p);
    else if (rows > 0)
        line(q, "rows", number(a, rows));
    if (mates > 0) {
        buf_printf(&q->out, "  %-12s", "beside");
        for (int i = 0; i < (int)mates; i++)
            buf_printf(&q->out, "%s%s", i ? ", " : "", leaf_text_at(f, "batch_mates.%d", i));
        buf_c(&q->out, requests - 1 > mates ? " and others\n" : "\n");
    }
    if (leaf_number(f, "usual_run_us") > 0)
        line(q, "usual run", show_time(a, leaf_number(f, "usual_run_us")));
    show_worker(q, f);
    if (leaf_number(f, "attempts") > 1)
        line(q, "attempts", number(a, leaf_number(f, "attempts")));
    if (strcmp(leaf_text(f, "cache"), "off") != 0)
        line(q, "cache", leaf_text(f, "cache"));
}

static void show_steps(struct requests *q, const struct leaves *f)
{
    static const char *const heads[] = {"STEP", "MODEL", "FROM", "WAITED", "RAN", "RUN ROWS"};
    int n = (int)leaf_number(f, "steps.#");
    struct table t;
    if (n == 0)
        return;
    table_init(&t, q->arena, heads, ARRAY_LEN(heads), 60);
    for (int i = 0; i < n; i++)
        table_row(&t, (const char *const[]){leaf_text_at(f, "steps.%d.name", i), leaf_text_at(f, "steps.%d.model", i),
                                            show_time(q->arena, leaf_number_at(f, "steps.%d.from_us", i)),
                                            show_time(q->arena, leaf_number_at(f, "steps.%d.wait_us", i)),
                                            show_time(q->arena, leaf_number_at(f, "steps.%d.run_us", i)),
                                            number(q->arena, leaf_number_at(f, "steps.%d.batch_rows", i))});
    table_write(&t, "  ", &q->out);
    buf_c(&q->out, "\n");
}

static void show_admission(struct requests *q, const struct leaves *f)
{
    struct arena *a = q->arena;
    double ahead = leaf_number(f, "admission.ahead_rows"), expected = leaf_number(f, "admission.expected_us");
    if (leaf_number(f, "admission.deadline_us") <= 0)
        return;
    if (expected > 0)
        line(q, "ahead",
             arena_printf(a, "%.0f row%s; answer expected after %s", ahead, ahead == 1 ? "" : "s",
                          show_time(a, expected))
                 .p);
    else
        line(q, "ahead", ahead > 0 ? arena_printf(a, "%.0f rows", ahead).p : "nothing");
    line(q, "deadline", show_time(a, leaf_number(f, "admission.deadline_us")));
    if (leaf_number(f, "admission.priority") > 0)
        line(q, "priority", number(a, leaf_number(f, "admission.priority")));
    if (leaf_text(f, "admission.refused_by")[0])
        line(q, "queue",
             arena_printf(a, "%.0f of %.0f requests waited", leaf_number(f, "admission.queue"),
                          leaf_number(f, "admission.queue_max"))
                 .p);
}

static void show_one(struct requests *q, const struct leaves *f)
{
    struct arena *a = q->arena;
    const char *model = leaf_text(f, "model"), *version = leaf_text(f, "version");
    double sent = leaf_number(f, "stages_us.send");
    buf_printf(&q->out, "%s  %s%s%s  %s: %.0f after %s, %s ago\n\n", leaf_text(f, "id"),
               model[0] ? model : leaf_text(f, "path"), model[0] ? " " : "", model[0] ? version : "",
               leaf_text(f, "kind"), leaf_number(f, "status"), show_time(a, leaf_number(f, "total_us") + sent),
               age(a, leaf_number(f, "at_ms")));
    for (int i = 0; i < (int)leaf_number(f, "why.#"); i++)
        show_wrapped(&q->out, "  ", "    ", leaf_text_at(f, "why.%d", i));
    if (leaf_text(f, "error")[0])
        show_wrapped(&q->out, "  Error: ", "    ", leaf_text(f, "error"));
    if (leaf_text(f, "remedy")[0])
        show_wrapped(&q->out, "  Remedy: ", "    ", leaf_text(f, "remedy"));
    show_stages(q, f);
    buf_c(&q->out, "\n");
    show_steps(q, f);
    show_run(q, f);
    show_admission(q, f);
    line(q, "path", leaf_text(f, "path"));
    if (leaf_number(f, "body_bytes") > 0)
        line(q, "body", arena_printf(a, "%s bytes", number(a, leaf_number(f, "body_bytes"))).p);
}

static int get(struct requests *q, const char *path, struct fetch_response *r)
{
    int code = ask(&q->to, "GET", path, r, &q->err);
    return code == EXIT_FINE ? code : cli_fail(&q->err, code);
}

static int explain(struct requests *q, const char *id)
{
    struct fetch_response r;
    struct leaves f;
    if (!ask_is_name(id)) {
        (void)err_set(&q->err, ERR_INVALID, "\"%.60s\" is no id of a request", id);
        (void)err_remedy(&q->err, "it stands in the header x-request-id of the answer");
        return cli_fail(&q->err, EXIT_USAGE);
    }
    int code = get(q, arena_printf(q->arena, "/api/requests/%s", id).p, &r);
    if (code != EXIT_FINE)
        return code;
    if (q->is_json)
        buf_printf(&q->out, "%.*s\n", STR_F(buf_view(&r.body)));
    else if (leaves_read(buf_view(&r.body), q->arena, &f, &q->err) == ERR_OK)
        show_one(q, &f);
    else
        code = cli_fail(&q->err, EXIT_FAILED);
    fetch_done(&r);
    return code == EXIT_FINE ? cli_print(&q->out) : code;
}

/* ---- the list ---- */

static const char *main_stage(const struct leaves *f)
{
    int most = 0;
    double us = 0, most_us = 0;
    for (int s = 0; s < STAGES; s++) {
        us = leaf_number_at(f, "stages_us.%s", stages[s]);
        if (us > most_us) {
            most = s;
            most_us = us;
        }
    }
    return most_us > 0 ? stages[most] : NULL;
}

static void list_row(struct requests *q, struct table *t, const struct leaves *f)
{
    struct arena *a = q->arena;
    const char *model = leaf_text(f, "model");
    double batch = leaf_number(f, "batch_rows");
    table_row(t, (const char *const[]){age(a, leaf_number(f, "at_ms")), leaf_text(f, "kind"),
                                       number(a, leaf_number(f, "status")), model[0] ? model : NULL,
                                       show_time(a, leaf_number(f, "total_us") + leaf_number(f, "stages_us.send")),
                                       main_stage(f), batch > 0 ? number(a, batch) : NULL, leaf_text(f, "id")});
}

static enum err_code list_rows(struct requests *q, struct str body, struct table *t)
{
    struct json_reader *r = arena_new(q->arena, struct json_reader);
    struct str key, raw;
    json_init(r, body, LEAVES_DEPTH_MAX);
    json_object(r);
    while (json_key(r, &key)) {
        if (!str_eq_c(key, "requests")) {
            json_skip(r, NULL);
            continue;
        }
        json_array(r);
        while (json_item(r)) {
            struct leaves f;
            if (json_skip(r, &raw) && leaves_read(raw, q->arena, &f, &q->err) != ERR_OK)
                return q->err.code;
            list_row(q, t, &f);
        }
    }
    if (json_end(r) == ERR_OK)
        return ERR_OK;
    q->err = r->err;
    return err_wrap(&q->err, "the server's answer");
}

static const char *list_path(struct requests *q, uint64_t n)
{
    static const char *const names[] = {"slow", "failed", "refused", "invalid", "usual"};
    const char *model = args_get(q->args, "model");
    struct buf path;
    buf_init(&path, 1024);
    buf_printf(&path, "/api/requests?n=%llu", (unsigned long long)n);
    bool is_first = true;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (args_has(q->args, names[i])) {
            buf_printf(&path, "%s%s", is_first ? "&kind=" : ",", names[i]);
            is_first = false;
        }
    if (model)
        buf_printf(&path, "&model=%s", model);
    const char *kept = arena_cstr(q->arena, buf_view(&path));
    buf_done(&path);
    return kept;
}

static int list(struct requests *q)
{
    static const char *const heads[] = {"AGO", "KIND", "STATUS", "MODEL", "TIME", "MOST IN", "RUN ROWS", "ID"};
    const char *last = args_get(q->args, "last"), *model = args_get(q->args, "model");
    struct fetch_response r;
    struct table t;
    uint64_t n = LAST_DEFAULT;
    if ((last && (!str_to_u64(str_c(last), &n) || n < 1 || n > LAST_MAX)) || (model && !ask_is_name(model))) {
        (void)err_set(&q->err, ERR_INVALID, "quern request: --last takes a number from 1 to %d, --model a name",
                      LAST_MAX);
        return cli_fail(&q->err, EXIT_USAGE);
    }
    int code = get(q, list_path(q, n), &r);
    if (code != EXIT_FINE)
        return code;
    table_init(&t, q->arena, heads, ARRAY_LEN(heads), 1U << 2 | 1U << 4 | 1U << 6);
    if (q->is_json)
        buf_printf(&q->out, "%.*s\n", STR_F(buf_view(&r.body)));
    else if (list_rows(q, buf_view(&r.body), &t) != ERR_OK)
        code = cli_fail(&q->err, EXIT_FAILED);
    else if (t.rows == 0)
        buf_c(&q->out, "no such requests are on record\n");
    else
        table_write(&t, "", &q->out);
    fetch_done(&r);
    return code == EXIT_FINE ? cli_print(&q->out) : code;
}

int cmd_request(const struct args *args, master_run_fn *run)
{
    (void)run;
    struct arena a;
    struct requests q = {.args = args, .arena = &a, .is_json = args_has(args, "json")};
    arena_init(&a, 65536, (size_t)256 << 20);
    buf_init(&q.out, CLI_OUTPUT_MAX);
    int code;
    if (ask_init(&q.to, args, &a, &q.err) != ERR_OK)
        code = cli_fail(&q.err, EXIT_USAGE);
    else
        code = args->pos_len ? explain(&q, args->pos[0]) : list(&q);
    buf_done(&q.out);
    arena_done(&a);
    return code;
}
