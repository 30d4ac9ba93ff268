/* quern status: the memory budget and who is in memory. */
#include "cli/status_memory.h"

#include "base/clock.h"
#include "base/json.h"
#include "cli/table.h"

struct resident { /* one model version */
    struct str name, version, load, state, why;
    uint64_t need_bytes, used_ms, expected_ms, loads;
};

static void take_text(struct json_reader *r, struct arena *a, struct str *out)
{
    if (json_string(r, a, out))
        *out = arena_str_dup(a, *out);
}

static void read_model(struct json_reader *r, struct arena *a, struct resident *m)
{
    struct str key;
    json_object(r);
    while (json_key(r, &key)) {
        if (str_eq_c(key, "name"))
            take_text(r, a, &m->name);
        else if (str_eq_c(key, "version"))
            take_text(r, a, &m->version);
        else if (str_eq_c(key, "load"))
            take_text(r, a, &m->load);
        else if (str_eq_c(key, "state"))
            take_text(r, a, &m->state);
        else if (str_eq_c(key, "why"))
            take_text(r, a, &m->why);
        else if (str_eq_c(key, "need_bytes"))
            json_u64(r, &m->need_bytes);
        else if (str_eq_c(key, "used_ms"))
            json_u64(r, &m->used_ms);
        else if (str_eq_c(key, "expected_ms"))
            json_u64(r, &m->expected_ms);
        else if (str_eq_c(key, "loads"))
            json_u64(r, &m->loads);
        else
            json_skip(r, NULL);
    }
}

/* "in 3s", "4m ago" */
static const char *when(struct arena *a, const struct resident *m)
{
    uint64_t now = clock_wall_ms();
    if (m->expected_ms > now)
        return arena_printf(a, "ready in %s", table_duration(a, m->expected_ms - now)).p;
    if (str_eq_c(m->load, "always")) /* nobody needs to know when it was used, so it is not kept */
        return NULL;
    return m->used_ms > 0 && m->used_ms <= now ? arena_printf(a, "%s ago", table_duration(a, now - m->used_ms)).p
                                               : NULL;
}

void status_memory_show(struct str json, struct arena *a, cell_fn *cell, struct buf *out)
{
    static const char *const heads[] = {"MODEL", "LOAD", "STATE", "NEEDS", "USED", "LOADS", "WHY"};
    struct json_reader r;
    struct str key;
    struct table t;
    uint64_t budget = 0, held = 0, program = 0;
    bool is_of_interest = false;
    table_init(&t, a, heads, ARRAY_LEN(heads), 1U << 3 | 1U << 5);
    json_init(&r, json, 8);
    json_object(&r);
    while (json_key(&r, &key)) {
        if (str_eq_c(key, "budget_bytes")) {
            json_u64(&r, &budget);
        } else if (str_eq_c(key, "held_bytes")) {
            json_u64(&r, &held);
        } else if (str_eq_c(key, "program_bytes")) {
            json_u64(&r, &program);
        } else if (str_eq_c(key, "models")) {
            json_array(&r);
            while (json_item(&r)) {
                struct resident m = {0};
                read_model(&r, a, &m);
                is_of_interest = is_of_interest || !str_eq_c(m.load, "always");
                const char *name = cell(a, m.name, 60), *version = cell(a, m.version, 20), *why = cell(a, m.why, 160);
                table_row(&t, (const char *const[]){
                                  arena_printf(a, "%s@%s", name ? name : "", version ? version : "").p,
                                  cell(a, m.load, 20), cell(a, m.state, 20), table_bytes(a, m.need_bytes), when(a, &m),
                                  arena_printf(a, "%llu", (unsigned long long)m.loads).p, why ? why : ""});
            }
        } else {
            json_skip(&r, NULL);
        }
    }
    if (budget == 0 && !is_of_interest)
        return;
    buf_printf(out, "\nMemory: %s for models", table_bytes(a, held + program));
    if (budget > 0)
        buf_printf(out, " of memory_budget %s", table_bytes(a, budget));
    buf_char(out, '\n');
    table_write(&t, "", out);
}
