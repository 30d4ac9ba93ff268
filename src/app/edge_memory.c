/* What the edge knows of models' memory, and descriptions of models that are loaded on demand: kept in DATA/cache/NAME, so that after a restart clients can
 * ask what a model looks like without loading it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/edge_int.h"
#include "base/check.h"
#include "base/json.h"
#include "base/log.h"
#include "sys/fd.h"

#define MAGIC 0x716d6432u

struct kept { /* of this program only: the size of a description and its key tell. The description, packed, follows */
    uint32_t magic, desc_bytes;
    char key[40];
};

/* ---- numbers ---- */

void edge_memory_read(struct json_reader *r, struct arena *a, struct edge_memory *out)
{
    const struct {
        const char *key;
        uint64_t *at;
    } numbers[] = {{"need_bytes", &out->need_bytes},     {"private_bytes", &out->private_bytes},
                   {"shared_bytes", &out->shared_bytes}, {"program_bytes", &out->program_bytes},
                   {"peak_bytes", &out->peak_bytes},     {"load_ns", &out->load_ns},
                   {"budget_bytes", &out->budget_bytes}, {"file_bytes", &out->file_bytes}};
    struct str key, s = STR("");
    json_object(r);
    while (json_key(r, &key)) {
        uint64_t *number = NULL;
        for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
            number = str_eq_c(key, numbers[i].key) ? numbers[i].at : number;
        if (number)
            json_u64(r, number);
        else if (str_eq_c(key, "measured"))
            json_bool(r, &out->is_measured);
        else if (str_eq_c(key, "is_loaded"))
            json_bool(r, &out->is_loaded);
        else if (str_eq_c(key, "key") && json_string(r, a, &s))
            (void)str_copy(out->key, sizeof out->key, s);
        else
            json_skip(r, NULL);
    }
}

void edge_memory_take(struct edge *e, struct edge_model *m, const struct edge_memory *news)
{
    struct model_shared *sh = m->shared;
    m->memory = *news;
    e->memory_budget = news->budget_bytes;
    uint64_t need = news->is_measured ? news->need_bytes : 0;
    atomic_store_explicit(&sh->need_bytes, need, memory_order_relaxed);
    atomic_store_explicit(&sh->memory_bytes, news->is_loaded ? need : 0, memory_order_relaxed);
    atomic_store_explicit(&sh->load_ns, news->load_ns, memory_order_relaxed);
}

void edge_memory_write(const struct edge_model *m, struct json_writer *w)
{
    const struct edge_memory *k = &m->memory;
    jw_kv_c(w, "load", m->is_on_demand ? "on-demand" : "always");
    jw_key(w, "memory");
    jw_object(w);
    jw_kv_bool(w, "loaded", k->is_loaded);
    jw_kv_bool(w, "measured", k->is_measured);
    jw_kv_u64(w, "need_bytes", k->need_bytes);
    jw_kv_u64(w, "private_bytes", k->private_bytes);
    jw_kv_u64(w, "shared_bytes", k->shared_bytes);
    jw_kv_u64(w, "program_bytes", k->program_bytes);
    jw_kv_u64(w, "peak_bytes", k->peak_bytes);
    jw_kv_f64(w, "load_ms", (double)k->load_ns / 1e6);
    jw_kv_u64(w, "loads", m->loads);
    jw_kv_u64(w, "unloads", m->unloads);
    jw_kv_u64(w, "waiting", atomic_load_explicit(&m->shared->parked, memory_order_relaxed));
    jw_object_end(w);
}

/* ---- descriptions ---- */

static void path_of(const struct edge *e, const struct model_shared *sh, char out[800])
{
    (void)snprintf(out, 800, "%s/cache/%s/description.%s", e->data, sh->name, sh->version);
}

void edge_describe_keep(const struct edge *e, const struct edge_model *m)
{
    char path[800];
    struct err err = {0};
    if (!m->is_on_demand || m->memory.key[0] == '\0')
        return;
    struct kept *k = calloc(1, sizeof *k + sizeof(struct model_desc));
    CHECK(k);
    *k = (struct kept){.magic = MAGIC, .desc_bytes = sizeof(struct model_desc)};
    size_t bytes = sizeof *k + model_desc_pack(m->shared->desc, k + 1);
    (void)str_copy(k->key, sizeof k->key, str_c(m->memory.key));
    (void)snprintf(path, sizeof path, "%s/cache/%s", e->data, m->shared->name);
    bool has_folder = dir_make(path, 0700, &err) == ERR_OK;
    path_of(e, m->shared, path);
    if (!has_folder || file_replace(path, (struct str){(const char *)k, bytes}, false, &err))
        LOG_DEBUG("a description is not kept", LOG_S("model", m->shared->name), LOG_S("error", err.text));
    free(k);
}

/* The folder can be written by the model's workers: the description is checked like one of theirs. */
void edge_describe_recall(const struct edge *e, const struct edge_model *m)
{
    char path[800];
    struct arena a;
    struct str text;
    struct err err;
    struct kept k;
    struct model_desc *d = NULL;
    path_of(e, m->shared, path);
    arena_init(&a, 1024, 2 * (sizeof k + sizeof *d));
    if (file_read(path, sizeof k + sizeof *d, &a, &text, &err) == ERR_OK && text.n >= sizeof k) {
        memcpy(&k, text.p, sizeof k);
        k.key[sizeof k.key - 1] = '\0';
        bool is_ours = k.magic == MAGIC && k.desc_bytes == sizeof *d && strcmp(k.key, m->memory.key) == 0;
        d = is_ours ? model_desc_unpack(text.p + sizeof k, text.n - sizeof k) : NULL;
    }
    if (d && model_desc_check(d, &err) == ERR_OK)
        atomic_store(&m->shared->recalled, d);
    else
        model_desc_free(d);
    arena_done(&a);
}
