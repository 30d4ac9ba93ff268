/* Which models are in memory, for the status and for the edge: their phases, what they take, and why. */
#include <inttypes.h>
#include <stdio.h>

#include "app/master_budget_int.h"
#include "base/clock.h"
#include "base/json.h"

static const char *phase_name(const struct life *l)
{
    static const char *const names[] = {"unloaded", "loading", "loaded", "unloading", "unloading"};
    if (l->res.phase == BUDGET_ABSENT && (l->res.wanted_ns != 0 || l->res.due_ns != 0))
        return "waiting";
    return names[l->res.phase];
}

static uint64_t wall_ms(uint64_t at_ns)
{
    uint64_t now_ns = clock_now_ns(), now_ms = clock_wall_ms();
    if (at_ns == 0 || at_ns == UINT64_MAX)
        return 0;
    return at_ns > now_ns ? now_ms + (at_ns - now_ns) / NS_PER_MS : now_ms - (now_ns - at_ns) / NS_PER_MS;
}

static void write_memory(const struct life *l, struct json_writer *w)
{
    const struct model_memory *k = &l->res.memory;
    jw_kv_bool(w, "measured", k->is_known);
    jw_kv_u64(w, "need_bytes", memory_need(l));
    jw_kv_u64(w, "private_bytes", k->private_bytes);
    jw_kv_u64(w, "shared_bytes", k->shared_bytes);
    jw_kv_u64(w, "program_bytes", k->program_bytes);
    jw_kv_u64(w, "peak_bytes", k->peak_bytes);
    jw_kv_u64(w, "load_ns", k->load_ns);
}

static void write_life(const struct life *l, struct json_writer *w)
{
    const struct residence *r = &l->res;
    jw_object(w);
    jw_kv_c(w, "name", l->config->name);
    jw_kv_c(w, "version", l->config->version);
    jw_kv_c(w, "load", life_is_on_demand(l) ? "on-demand" : "always");
    jw_kv_c(w, "state", l->state == LIFE_KEPT ? "kept" : phase_name(l));
    write_memory(l, w);
    jw_kv_u64(w, "used_ms", r->phase == BUDGET_READY ? wall_ms(r->used_ns) : 0);
    jw_kv_u64(w, "wanted_ms", r->phase == BUDGET_READY ? 0 : wall_ms(r->wanted_ns));
    jw_kv_u64(w, "expected_ms", r->phase == BUDGET_READY ? 0 : wall_ms(r->expect_ns));
    jw_kv_u64(w, "loads", r->loads);
    jw_kv_u64(w, "unloads", r->unloads);
    jw_kv_c(w, "why", r->why);
    jw_object_end(w);
}

void budget_write(const struct master *m, struct json_writer *w)
{
    const struct budget *b = m->budget;
    jw_key(w, "memory");
    jw_object(w);
    jw_kv_u64(w, "budget_bytes", m->snapshot->config.memory_budget_bytes);
    jw_kv_u64(w, "held_bytes", b ? b->held_bytes : 0);
    jw_kv_u64(w, "program_bytes", b ? b->program_bytes : 0);
    jw_key(w, "models");
    jw_array(w);
    for (const struct life *l = m->lives; l; l = l->next)
        if (has_workers(l) && (l->state != LIFE_RETIRED || has_processes(l)))
            write_life(l, w);
    jw_array_end(w);
    jw_object_end(w);
}

void budget_write_life(const struct life *l, struct json_writer *w)
{
    struct hash128 key;
    char text[40];
    if (!has_workers(l))
        return;
    jw_kv_bool(w, "on_demand", life_is_on_demand(l));
    jw_key(w, "memory");
    jw_object(w);
    write_memory(l, w);
    key = life_memory_key(l);
    (void)snprintf(text, sizeof text, "%016" PRIx64 "%016" PRIx64, key.hi, key.lo);
    jw_kv_c(w, "key", text);
    jw_kv_u64(w, "file_bytes", l->res.file_bytes);
    jw_kv_u64(w, "budget_bytes", l->snapshot->config.memory_budget_bytes);
    jw_kv_bool(w, "is_loaded", l->res.phase != BUDGET_ABSENT && l->res.phase != BUDGET_LOADING);
    jw_object_end(w);
}
