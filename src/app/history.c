#include "app/history.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/metric_window.h"

#define SERIES_MAX 256 /* models shown in charts */

struct step {
    uint32_t requests, failures;
    float p50_ms, p95_ms, p99_ms;
};

struct series {
    struct model_shared *model;
    uint64_t seen_ok, seen_bad;
    struct metric_look look;
    struct step steps[HISTORY_STEPS];
};

struct history {
    pthread_mutex_t lock;
    struct series *series[SERIES_MAX];
    size_t series_len;
    uint64_t rss[HISTORY_STEPS];
    size_t at, len; /* ring: next step, filled */
    uint64_t end_ms;
};

struct history *history_new(void)
{
    struct history *h = calloc(1, sizeof *h);
    CHECK(h);
    (void)pthread_mutex_init(&h->lock, NULL);
    return h;
}

static uint64_t bad_count(const struct model_shared *m)
{
    uint64_t n = 0;
    for (int o = OUTCOME_OK + 1; o < OUTCOME_MAX_; o++)
        if (o != OUTCOME_CANCELLED)
            n += metric_value(m->outcome[o]);
    return n;
}

void history_watch(struct history *h, struct model_shared *m)
{
    pthread_mutex_lock(&h->lock);
    if (h->series_len < SERIES_MAX) {
        struct series *s = calloc(1, sizeof *s);
        CHECK(s);
        s->model = m;
        s->seen_ok = metric_value(m->outcome[OUTCOME_OK]);
        s->seen_bad = bad_count(m);
        metric_look(m->duration, &s->look);
        h->series[h->series_len++] = s;
    }
    pthread_mutex_unlock(&h->lock);
}

void history_forget(struct history *h, const struct model_shared *m)
{
    pthread_mutex_lock(&h->lock);
    for (size_t i = 0; i < h->series_len; i++)
        if (h->series[i]->model == m) {
            free(h->series[i]);
            h->series[i] = h->series[--h->series_len];
            break;
        }
    pthread_mutex_unlock(&h->lock);
}

static void sample(struct series *s, struct step *out)
{
    uint64_t ok = metric_value(s->model->outcome[OUTCOME_OK]), bad = bad_count(s->model);
    struct metric_look now, delta;
    metric_look(s->model->duration, &now);
    delta = now;
    metric_look_less(&delta, &s->look);
    out->requests = (uint32_t)(ok + bad - s->seen_ok - s->seen_bad);
    out->failures = (uint32_t)(bad - s->seen_bad);
    out->p50_ms = (float)(metric_look_quantile(s->model->duration, &delta, 0.50) * 1e3);
    out->p95_ms = (float)(metric_look_quantile(s->model->duration, &delta, 0.95) * 1e3);
    out->p99_ms = (float)(metric_look_quantile(s->model->duration, &delta, 0.99) * 1e3);
    s->seen_ok = ok;
    s->seen_bad = bad;
    s->look = now;
}

void history_sample(struct history *h, uint64_t now_ms, uint64_t rss_bytes)
{
    pthread_mutex_lock(&h->lock);
    for (size_t i = 0; i < h->series_len; i++)
        sample(h->series[i], &h->series[i]->steps[h->at]);
    h->rss[h->at] = rss_bytes;
    h->at = (h->at + 1) % HISTORY_STEPS;
    h->len += h->len < HISTORY_STEPS;
    h->end_ms = now_ms;
    pthread_mutex_unlock(&h->lock);
}

/* The i-th oldest step's place in the ring. */
static size_t place(const struct history *h, size_t i)
{
    return (h->at + HISTORY_STEPS - h->len + i) % HISTORY_STEPS;
}

static void write_counts(const struct history *h, const struct series *s, struct json_writer *w, const char *key,
                         size_t offset)
{
    jw_key(w, key);
    jw_array(w);
    for (size_t i = 0; i < h->len; i++) {
        uint32_t v;
        memcpy(&v, (const char *)&s->steps[place(h, i)] + offset, sizeof v);
        jw_u64(w, v);
    }
    jw_array_end(w);
}

static void write_times(const struct history *h, const struct series *s, struct json_writer *w, const char *key,
                        size_t offset)
{
    jw_key(w, key);
    jw_array(w);
    for (size_t i = 0; i < h->len; i++) {
        float v;
        memcpy(&v, (const char *)&s->steps[place(h, i)] + offset, sizeof v);
        jw_f32(w, v);
    }
    jw_array_end(w);
}

void history_write(struct history *h, struct json_writer *w)
{
    pthread_mutex_lock(&h->lock);
    jw_object(w);
    jw_kv_u64(w, "step_ms", HISTORY_STEP_MS);
    jw_kv_u64(w, "end_ms", h->end_ms);
    jw_key(w, "models");
    jw_array(w);
    for (size_t i = 0; i < h->series_len; i++) {
        const struct series *s = h->series[i];
        jw_object(w);
        jw_kv_c(w, "name", s->model->name);
        jw_kv_c(w, "version", s->model->version);
        write_counts(h, s, w, "requests", offsetof(struct step, requests));
        write_counts(h, s, w, "failures", offsetof(struct step, failures));
        write_times(h, s, w, "p50_ms", offsetof(struct step, p50_ms));
        write_times(h, s, w, "p95_ms", offsetof(struct step, p95_ms));
        write_times(h, s, w, "p99_ms", offsetof(struct step, p99_ms));
        jw_object_end(w);
    }
    jw_array_end(w);
    jw_key(w, "rss_bytes");
    jw_array(w);
    for (size_t i = 0; i < h->len; i++)
        jw_u64(w, h->rss[place(h, i)]);
    jw_array_end(w);
    jw_object_end(w);
    pthread_mutex_unlock(&h->lock);
}
