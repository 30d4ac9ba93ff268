/* Reader of the master's news of a model: a table of keys. */
#include "app/edge_model_news.h"

#include "base/json.h"
#include "base/log.h"
#include "serve/ensemble.h"

static void read_state(struct json_reader *r, struct arena *a, enum served_state *out)
{
    struct str s = STR("");
    json_string(r, a, &s);
    *out = str_eq_c(s, "ready")      ? SERVED_READY
           : str_eq_c(s, "failed")   ? SERVED_FAILED
           : str_eq_c(s, "unloaded") ? SERVED_UNLOADED
                                     : SERVED_LOADING;
}

static void read_params(struct json_reader *r, struct arena *a, struct model_news *n)
{
    struct str key, value;
    json_object(r);
    while (json_key(r, &key)) {
        value = STR("");
        json_string(r, a, &value);
        if (n->params_len < MODEL_PARAMS_MAX)
            n->params[n->params_len++] = (struct backend_param){arena_cstr(a, key), arena_cstr(a, value)};
    }
}

/* Texts by name, so that the reader below stays a table. */
static struct str *text_field(struct model_news *n, struct str key)
{
    const struct {
        const char *key;
        struct str *at;
    } fields[] = {{"name", &n->name},        {"version", &n->version},
                  {"path", &n->path},        {"root", &n->root},
                  {"class", &n->class_name}, {"backend", &n->backend},
                  {"reason", &n->reason},    {"engine_dir", &n->engine_dir},
                  {"labels", &n->labels},    {"labels_file", &n->labels_file}};
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        if (str_eq_c(key, fields[i].key))
            return fields[i].at;
    return NULL;
}

static int64_t *number_field(struct model_news *n, struct str key)
{
    const struct {
        const char *key;
        int64_t *at;
    } fields[] = {{"instances", &n->instances}, {"instances_ready", &n->instances_ready}, {"threads", &n->threads},
                  {"max_batch", &n->max_batch}, {"keep_requests", &n->keep_requests},     {"priority", &n->priority}};
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        if (str_eq_c(key, fields[i].key))
            return fields[i].at;
    return NULL;
}

static void read_sizes(struct json_reader *r, uint32_t out[BATCH_SIZES_MAX])
{
    uint64_t v;
    json_array(r);
    for (int i = 0; json_item(r); i++)
        if (json_u64(r, &v) && i < BATCH_SIZES_MAX)
            out[i] = (uint32_t)v;
}

/* False: the key is not one of the policy's. */
static bool read_batching(struct json_reader *r, struct str key, struct batch_policy *p)
{
    if (str_eq_c(key, "delay_ns"))
        json_u64(r, &p->delay_ns);
    else if (str_eq_c(key, "preferred"))
        read_sizes(r, p->preferred);
    else if (str_eq_c(key, "sizes"))
        read_sizes(r, p->sizes);
    else if (str_eq_c(key, "ordered"))
        json_bool(r, &p->is_ordered);
    else
        return false;
    return true;
}

/* The first, of priority 0, is that of all that have no other. */
static void read_queue(struct json_reader *r, struct queue_policy out[SCHEDULE_PRIORITY_MAX])
{
    struct queue_policy p = {0};
    struct str key;
    uint64_t priority = 0, max = 0;
    json_object(r);
    while (json_key(r, &key)) {
        if (str_eq_c(key, "priority"))
            json_u64(r, &priority);
        else if (str_eq_c(key, "max"))
            json_u64(r, &max);
        else if (str_eq_c(key, "wait_ns"))
            json_u64(r, &p.wait_ns);
        else if (str_eq_c(key, "delay"))
            json_bool(r, &p.is_delay);
        else
            json_skip(r, NULL);
    }
    p.max = (uint32_t)max;
    for (uint32_t n = 1; n <= SCHEDULE_PRIORITY_MAX; n++)
        if (priority == 0 || priority == n)
            out[n - 1] = p;
}

static void read_queues(struct json_reader *r, struct queue_policy out[SCHEDULE_PRIORITY_MAX])
{
    json_array(r);
    while (json_item(r))
        read_queue(r, out);
}

/* Read twice: by who loads the model, and by who compares it. */
static void read_warm_up(struct json_reader *r, struct arena *a, struct model_news *n)
{
    struct json_reader again = *r;
    json_skip(r, &n->warm_up);
    warmup_read(&again, a, &n->warmup);
    if (again.failed)
        json_fail(r, again.err.code, "%s", again.err.text);
}

bool model_news_read(struct str text, struct arena *a, struct model_news *n)
{
    struct json_reader r;
    struct str key;
    uint64_t v;
    json_init(&r, text, 8);
    json_object(&r);
    while (json_key(&r, &key)) {
        struct str *s = text_field(n, key);
        int64_t *i = number_field(n, key);
        if (s && json_string(&r, a, s))
            *s = arena_str_dup(a, *s);
        else if (i)
            json_i64(&r, i);
        else if (str_eq_c(key, "segment") && json_u64(&r, &v))
            n->segment = (uint32_t)v;
        else if (str_eq_c(key, "inline"))
            json_bool(&r, &n->is_inline);
        else if (str_eq_c(key, "on_demand"))
            json_bool(&r, &n->is_on_demand);
        else if (str_eq_c(key, "memory"))
            edge_memory_read(&r, a, &n->memory);
        else if (str_eq_c(key, "announce"))
            json_bool(&r, &n->announce);
        else if (str_eq_c(key, "state"))
            read_state(&r, a, &n->state);
        else if (str_eq_c(key, "timeout_ns"))
            json_u64(&r, &n->timeout_ns);
        else if (str_eq_c(key, "queue_max"))
            json_u64(&r, &n->queue_max);
        else if (str_eq_c(key, "queues"))
            read_queues(&r, n->queue);
        else if (str_eq_c(key, "cache_bytes"))
            json_u64(&r, &n->cache_bytes);
        else if (str_eq_c(key, "explain"))
            json_skip(&r, &n->explain);
        else if (str_eq_c(key, "canary"))
            edge_rollout_read(&r, a, &n->rollout);
        else if (str_eq_c(key, "compare"))
            json_skip(&r, &n->compare);
        else if (str_eq_c(key, "scale"))
            json_skip(&r, &n->scale);
        else if (str_eq_c(key, "parameters"))
            read_params(&r, a, n);
        else if (str_eq_c(key, "warm_up"))
            read_warm_up(&r, a, n);
        else if (str_eq_c(key, "declared"))
            declared_read(&r, a, &n->declared);
        else if (str_eq_c(key, "ensemble") && !n->ensemble)
            n->ensemble = ensemble_read(&r);
        else if (!read_batching(&r, key, &n->batch))
            json_skip(&r, NULL);
    }
    if (json_end(&r))
        LOG_ERROR("malformed news of a model", LOG_S("error", r.err.text));
    return !r.failed && n->name.n > 0;
}
