#include "cli/model_show.h"

#include <string.h>

#include "cli/show_text.h"
#include "cli/table.h"

struct show {
    const struct leaves *f;
    struct arena *a;
    struct buf *out;
    const char *root; /* where config_explain's object lies: "explain." or "" */
};

static const char *bytes_text(struct arena *a, double bytes)
{
    return table_bytes(a, bytes > 0 ? (uint64_t)bytes : 0);
}

static const char *plural(double n)
{
    return n == 1 ? "" : "s";
}

/* ---- settings ---- */

/* Index in `chosen` of what was found instead of an open setting; -1: nothing. */
static int chosen_of(const struct show *s, const char *key)
{
    int n = (int)leaf_number(s->f, "chosen.#");
    for (int i = 0; i < n; i++)
        if (strcmp(leaf_text_at(s->f, "chosen.%d.key", i), key) == 0)
            return i;
    return -1;
}

static const char *origin_of(const struct show *s, int i)
{
    const char *from = leaf_text_at(s->f, "%ssettings.%d.from", s->root, i);
    if (strcmp(from, "file") != 0)
        return from;
    const char *file = leaf_text_at(s->f, "%sfile", s->root), *slash = strrchr(file, '/');
    return arena_printf(s->a, "%s:%.0f", slash ? slash + 1 : file,
                        leaf_number_at(s->f, "%ssettings.%d.line", s->root, i))
        .p;
}

/* What is in force is shown; that it differs from what was asked for is told. */
static void setting_row(struct show *s, struct table *t, int i)
{
    const char *key = leaf_text_at(s->f, "%ssettings.%d.key", s->root, i);
    const char *value = leaf_text_at(s->f, "%ssettings.%d.value", s->root, i), *from = origin_of(s, i);
    const char *reason = leaf_text_at(s->f, "%ssettings.%d.reason", s->root, i);
    int c = chosen_of(s, key);
    if (c >= 0) {
        const char *chosen = leaf_text_at(s->f, "chosen.%d.value", c), *why = leaf_text_at(s->f, "chosen.%d.reason", c);
        bool is_open = strcmp(from, "default") == 0 || strcmp(value, "auto") == 0;
        bool is_other = strcmp(value, chosen) != 0;
        if (!is_open && is_other)
            reason = arena_printf(s->a, "asked for: %s; %s", value, why).p;
        else
            reason = reason[0] ? arena_printf(s->a, "%s; %s", reason, why).p : why;
        from = is_open && is_other ? "chosen" : from;
        value = chosen;
    }
    bool is_empty = value[0] == '\0' || strcmp(value, "[]") == 0 || strcmp(value, "{}") == 0;
    table_row(t, (const char *const[]){key, is_empty ? "-" : value, from, reason});
}

static void show_table(struct show *s)
{
    static const char *const heads[] = {"SETTING", "VALUE", "FROM", ""};
    struct table t;
    int n = (int)leaf_number_at(s->f, "%ssettings.#", s->root);
    table_init(&t, s->a, heads, ARRAY_LEN(heads), 0);
    for (int i = 0; i < n; i++)
        setting_row(s, &t, i);
    /* Reasons may be long: they stand below the table, in its order. */
    const char **cells = t.cells;
    size_t notes = 0;
    for (size_t i = 0; i < t.rows; i++) {
        const char *reason = cells[i * t.columns + 3];
        if (strlen(reason) > 40) {
            notes++;
            cells[i * t.columns + 3] = arena_printf(s->a, "see [%zu]", notes).p;
            cells[i * t.columns + 2] = arena_printf(s->a, "%s", cells[i * t.columns + 2]).p;
        }
    }
    table_write(&t, "", s->out);
    notes = 0;
    for (int i = 0; i < n; i++) {
        struct table one;
        table_init(&one, s->a, heads, ARRAY_LEN(heads), 0);
        setting_row(s, &one, i);
        if (strlen(one.cells[3]) > 40) {
            buf_printf(s->out, "\n[%zu] %s = %s\n", ++notes, one.cells[0], one.cells[1]);
            show_wrapped(s->out, "    ", "    ", one.cells[3]);
        }
    }
}

void model_show_settings(const struct leaves *f, struct arena *a, struct buf *out)
{
    struct show s = {.f = f, .a = a, .out = out, .root = ""};
    show_table(&s);
}

/* ---- the rest ---- */

static void show_head(struct show *s)
{
    const struct leaves *f = s->f;
    double instances = leaf_number(f, "status.instances"), ready = leaf_number(f, "status.instances_ready");
    const char *path = leaf_text(f, "status.path"), *labels = leaf_text(f, "labels");
    buf_printf(s->out, "%s %s: %s%s%s\n", leaf_text(f, "status.name"), leaf_text(f, "status.version"),
               leaf_text(f, "status.state"), leaf_text(f, "status.reason")[0] ? ", " : "",
               leaf_text(f, "status.reason"));
    buf_printf(s->out, "  %s%s%s, %.0f of %.0f instance%s ready, class %s\n", leaf_text(f, "status.backend"),
               leaf_text(f, "status.backend")[0] ? ", isolation " : "isolation ", leaf_text(f, "status.isolation"),
               ready, instances, plural(instances), leaf_text(f, "status.class"));
    if (path[0])
        buf_printf(s->out, "  %s, %s\n", path, bytes_text(s->a, leaf_number(f, "status.file_bytes")));
    if (leaf_text(f, "explain.file")[0])
        buf_printf(s->out, "  configured in %s\n", leaf_text(f, "explain.file"));
    if (leaf_text(f, "explain.pbtxt")[0])
        buf_printf(s->out, "  and by %s\n", leaf_text(f, "explain.pbtxt"));
    if (labels[0])
        buf_printf(s->out, "  labels: %s\n", labels);
    buf_c(s->out, "\n");
}

static void show_meaning(struct buf *out, const char *zero_point, const char *scale)
{
    bool is_below = zero_point[0] == '-';
    buf_c(out, ", a value means ");
    if (strcmp(zero_point, "0") == 0)
        buf_printf(out, "value * %s", scale);
    else
        buf_printf(out, "(value %c %s) * %s", is_below ? '+' : '-', zero_point + is_below, scale);
}

static void show_tensors(struct show *s, const char *which)
{
    int n = (int)leaf_number_at(s->f, "status.%s.#", which);
    for (int i = 0; i < n; i++) {
        buf_printf(s->out, "  %-8s%s %s [", i ? "" : which, leaf_text_at(s->f, "status.%s.%d.name", which, i),
                   leaf_text_at(s->f, "status.%s.%d.datatype", which, i));
        int dims = (int)leaf_number_at(s->f, "status.%s.%d.shape.#", which, i);
        for (int d = 0; d < dims; d++)
            buf_printf(s->out, "%s%s", d ? ", " : "", leaf_text_at(s->f, "status.%s.%d.shape.%d", which, i, d));
        buf_c(s->out, "]");
        if (leaf_number_at(s->f, "status.%s.%d.scale", which, i) > 0)
            show_meaning(s->out, leaf_text_at(s->f, "status.%s.%d.zero_point", which, i),
                         leaf_text_at(s->f, "status.%s.%d.scale", which, i));
        buf_c(s->out, "\n");
    }
}

static void show_measured(struct show *s)
{
    static const char *const heads[] = {"ROWS", "A RUN", "A ROW", "ROWS/S AGAINST 1"};
    int n = (int)leaf_number(s->f, "status.batching.measured.#");
    double alone_ms = leaf_number(s->f, "status.batching.measured.0.ms");
    struct table t;
    if (n == 0)
        return;
    table_init(&t, s->a, heads, ARRAY_LEN(heads), 15);
    for (int i = 0; i < n; i++) {
        double rows = leaf_number_at(s->f, "status.batching.measured.%d.rows", i);
        double ms = leaf_number_at(s->f, "status.batching.measured.%d.ms", i);
        table_row(&t, (const char *const[]){arena_printf(s->a, "%.0f", rows).p, show_time(s->a, ms * 1e3),
                                            rows > 0 ? show_time(s->a, ms * 1e3 / rows) : NULL,
                                            ms > 0 ? arena_printf(s->a, "%.2f x", alone_ms * rows / ms).p : NULL});
    }
    buf_c(s->out, "\nMeasured when it was loaded:\n");
    table_write(&t, "  ", s->out);
}

static void show_learned(struct show *s)
{
    double run = leaf_number(s->f, "status.batching.run_us"), row = leaf_number(s->f, "status.batching.row_us");
    if (run > 0 || row > 0)
        buf_printf(s->out, "\nLearned from runs: one costs %s and %s a row. Admission and deadlines go by it.\n",
                   show_time(s->a, run), show_time(s->a, row));
}

static void show_sizes(struct show *s)
{
    int n = (int)leaf_number(s->f, "run_sizes.#");
    if (n == 0)
        return;
    buf_c(s->out, "Runs so far, by rows:");
    for (int i = 0; i < n; i++)
        buf_printf(s->out, "%s %.0f x %.0f (%s)", i ? "," : "", leaf_number_at(s->f, "run_sizes.%d.runs", i),
                   leaf_number_at(s->f, "run_sizes.%d.rows", i),
                   show_time(s->a, leaf_number_at(s->f, "run_sizes.%d.mean_us", i)));
    buf_c(s->out, "\n");
}

/* What the master measured of its workers. */
static void show_need(struct show *s)
{
    const struct leaves *f = s->f;
    if (!leaf_true(f, "status.memory.measured"))
        return;
    buf_printf(s->out, "\nMemory: it needs %s: %s of its workers' own, %s that they share; at most %s so far.\n",
               bytes_text(s->a, leaf_number(f, "status.memory.need_bytes")),
               bytes_text(s->a, leaf_number(f, "status.memory.private_bytes")),
               bytes_text(s->a, leaf_number(f, "status.memory.shared_bytes")),
               bytes_text(s->a, leaf_number(f, "status.memory.peak_bytes")));
    buf_printf(s->out, "Loaded %.0f time%s in %s, unloaded %.0f time%s%s; %.0f requests wait for it to be loaded.\n",
               leaf_number(f, "status.memory.loads"), plural(leaf_number(f, "status.memory.loads")),
               show_time(s->a, leaf_number(f, "status.memory.load_ms") * 1e3), leaf_number(f, "status.memory.unloads"),
               plural(leaf_number(f, "status.memory.unloads")),
               leaf_true(f, "status.memory.loaded") ? "" : ", it is not loaded now",
               leaf_number(f, "status.memory.waiting"));
}

static void show_scale(struct show *s)
{
    static const char *const heads[] = {"INSTANCES", "THREADS", "ROWS/S", "CPU A ROW", "SPREAD"};
    int n = (int)leaf_number(s->f, "status.scale.measured.#");
    struct table t;
    if (n == 0)
        return;
    table_init(&t, s->a, heads, ARRAY_LEN(heads), 31);
    for (int i = 0; i < n; i++)
        table_row(&t, (const char *const[]){
                          leaf_text_at(s->f, "status.scale.measured.%d.instances", i),
                          leaf_text_at(s->f, "status.scale.measured.%d.threads", i),
                          arena_printf(s->a, "%.4g", leaf_number_at(s->f, "status.scale.measured.%d.rows_per_s", i)).p,
                          show_time(s->a, leaf_number_at(s->f, "status.scale.measured.%d.cpu_us_per_row", i)),
                          arena_printf(s->a, "%.2f x", leaf_number_at(s->f, "status.scale.measured.%d.spread", i)).p});
    buf_printf(s->out, "\nInstances and threads as they were tried, within %.0f processors, with runs of %.0f rows:\n",
               leaf_number(s->f, "status.scale.budget"), leaf_number(s->f, "status.scale.rows"));
    table_write(&t, "  ", s->out);
}

static void show_memory(struct show *s)
{
    const struct leaves *f = s->f;
    show_need(s);
    if (!leaf_true(f, "status.memory.measured") && leaf_number(f, "status.memory_bytes") > 0)
        buf_printf(s->out, "\nMemory: %s measured after loading, which took %s.\n",
                   bytes_text(s->a, leaf_number(f, "status.memory_bytes")),
                   show_time(s->a, leaf_number(f, "status.load_ms") * 1e3));
    if (leaf_number(f, "cache.budget_bytes") > 0)
        buf_printf(s->out, "Cache: %s of %s in %.0f answers; %.0f hits, %.0f misses, %.0f dropped for room.\n",
                   bytes_text(s->a, leaf_number(f, "cache.bytes")),
                   bytes_text(s->a, leaf_number(f, "cache.budget_bytes")), leaf_number(f, "cache.entries"),
                   leaf_number(f, "cache.hits"), leaf_number(f, "cache.misses"), leaf_number(f, "cache.evictions"));
    if (leaf_number(f, "cache.differed") > 0)
        buf_printf(s->out,
                   "       The model answers the same input differently (%.0f of %.0f checks): switch the cache off, "
                   "unless any of its answers will do.\n",
                   leaf_number(f, "cache.differed"), leaf_number(f, "cache.checks"));
}

static void show_workers(struct show *s)
{
    static const char *const heads[] = {"INSTANCE", "RUNS", "ROWS", "BUSY", "FAILURES"};
    int n = (int)leaf_number(s->f, "workers.#");
    struct table t;
    if (n == 0)
        return;
    table_init(&t, s->a, heads, ARRAY_LEN(heads), 31);
    for (int i = 0; i < n; i++)
        table_row(&t, (const char *const[]){leaf_text_at(s->f, "workers.%d.instance", i),
                                            leaf_text_at(s->f, "workers.%d.runs", i),
                                            leaf_text_at(s->f, "workers.%d.rows", i),
                                            show_time(s->a, leaf_number_at(s->f, "workers.%d.busy_ms", i) * 1e3),
                                            leaf_text_at(s->f, "workers.%d.failures", i)});
    buf_c(s->out, "\n");
    table_write(&t, "  ", s->out);
}

static void show_canary(struct show *s)
{
    const struct leaves *f = s->f;
    if (!leaf_find(f, "status.canary.percent"))
        return;
    buf_printf(s->out,
               "\nCanary: tried by %.0f %% of callers and on copies of %.0f %% of requests; %.0f answered, %.0f "
               "failed, %.0f of %.0f compared differ, by %g at most.\n",
               leaf_number(f, "status.canary.percent"), leaf_number(f, "status.canary.shadow_percent"),
               leaf_number(f, "status.canary.answered"), leaf_number(f, "status.canary.failed"),
               leaf_number(f, "status.canary.differed"), leaf_number(f, "status.canary.compared"),
               leaf_number(f, "status.canary.greatest_difference"));
}

static void show_now(struct show *s)
{
    const struct leaves *f = s->f;
    double requests = leaf_number(f, "status.requests");
    buf_printf(s->out, "\n%.0f request%s since it is ready, %.0f failed; %.0f wait, %.0f in work.\n", requests,
               plural(requests), leaf_number(f, "status.failures"), leaf_number(f, "status.queue"),
               leaf_number(f, "status.in_flight"));
    if (requests > 0)
        buf_printf(s->out, "Latency p50 %s, p95 %s, p99 %s; quern request --slow --model %s tells why.\n",
                   show_time(s->a, leaf_number(f, "status.latency_ms.p50") * 1e3),
                   show_time(s->a, leaf_number(f, "status.latency_ms.p95") * 1e3),
                   show_time(s->a, leaf_number(f, "status.latency_ms.p99") * 1e3), leaf_text(f, "status.name"));
    if (leaf_number(f, "quarantined") > 0)
        buf_printf(s->out, "%.0f inputs that crashed its workers are quarantined.\n", leaf_number(f, "quarantined"));
}

void model_show(const struct leaves *f, struct arena *a, struct buf *out)
{
    struct show s = {.f = f, .a = a, .out = out, .root = "explain."};
    show_head(&s);
    show_tensors(&s, "inputs");
    show_tensors(&s, "outputs");
    buf_c(out, "\n");
    show_table(&s);
    show_measured(&s);
    show_scale(&s);
    show_learned(&s);
    show_sizes(&s);
    show_memory(&s);
    show_workers(&s);
    show_canary(&s);
    show_now(&s);
}
