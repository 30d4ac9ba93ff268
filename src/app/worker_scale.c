#include "app/worker_scale.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "proc/channel.h"

#define TIME_NS (10 * NS_PER_S) /* at most; a quick model on an idle machine takes a tenth of a second */
#define NICE    10              /* more than before: whoever serves comes first */
#define AT_MOST 4096

void worker_scale_read(struct json_reader *r, struct scale_limits *l)
{
    struct str key;
    int64_t v;
    json_object(r);
    while (json_key(r, &key)) {
        int *at = str_eq_c(key, "budget")          ? &l->budget
                  : str_eq_c(key, "instances")     ? &l->instances
                  : str_eq_c(key, "threads")       ? &l->threads
                  : str_eq_c(key, "instances_max") ? &l->instances_max
                                                   : NULL;
        if (!at)
            json_skip(r, NULL);
        else if (json_i64(r, &v))
            *at = v > 0 && v <= AT_MOST ? (int)v : 0;
    }
}

static void write_result(const struct scale *s, struct json_writer *w)
{
    jw_object(w);
    jw_kv_i64(w, "rows", s->rows);
    jw_key(w, "tries");
    jw_array(w);
    for (int i = 0; i < s->tries_len; i++) {
        const struct scale_try *t = &s->tries[i];
        jw_object(w);
        jw_kv_i64(w, "instances", t->instances);
        jw_kv_i64(w, "threads", t->threads);
        jw_kv_f64(w, "rows_per_s", t->rows_per_s);
        jw_kv_f64(w, "cpu_ns", t->cpu_ns);
        jw_kv_f64(w, "spread", t->spread);
        jw_object_end(w);
    }
    jw_array_end(w);
    jw_object_end(w);
}

void worker_scale(const struct backend *b, const struct backend_load *opt, void *instance, const struct model_desc *d,
                  const struct scale_limits *l)
{
    struct scale s;
    struct buf text;
    struct json_writer w;
    struct err err;
    (void)setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + NICE);
    scale_try_all(b, opt, instance, d, l, clock_now_ns() + TIME_NS, &s);
    buf_init(&text, CHANNEL_PAYLOAD_MAX);
    jw_init(&w, &text);
    write_result(&s, &w);
    (void)channel_send(CHANNEL_FD, CHANNEL_SCALED, buf_view(&text), NULL, 0, &err);
    _exit(0); /* as a worker ends: no exit handlers of an engine */
}

struct str worker_ready_text(const struct model_desc *d, char out[WORKER_READY_BYTES])
{
    uint64_t least = 0;
    for (uint32_t i = 0; i < d->measures_len; i++) {
        uint64_t ns = d->measures[i].rows > 0 ? d->measures[i].ns / d->measures[i].rows : 0;
        if (d->measures[i].rows <= d->max_batch && ns > 0 && (least == 0 || ns < least))
            least = ns;
    }
    int n = snprintf(out, WORKER_READY_BYTES, "{\"row_ns\":%llu}", (unsigned long long)least);
    return (struct str){out, (size_t)n};
}
