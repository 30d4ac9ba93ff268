#include "serve/trail.h"

#include <pthread.h>
#include <string.h>

#include "base/clock.h"

#define SLOW_TIMES  4
#define SLOW_NS_MIN NS_PER_MS
#define MEAN_SHARE  64 /* how slowly the mean follows */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct trail_record ring[TRAIL_LEN];
static uint64_t added;

bool trail_is_slow(uint64_t total_ns)
{
    static _Thread_local uint64_t mean_ns;
    uint64_t mean = mean_ns;
    mean_ns = mean == 0 ? total_ns : mean - mean / MEAN_SHARE + total_ns / MEAN_SHARE;
    return mean > 0 && total_ns > SLOW_NS_MIN && total_ns / SLOW_TIMES > mean;
}

void trail_add(const struct trail_record *r)
{
    pthread_mutex_lock(&lock);
    ring[added++ % TRAIL_LEN] = *r;
    pthread_mutex_unlock(&lock);
}

/* The i-th newest; behind the lock. */
static const struct trail_record *newest(uint64_t i)
{
    return i < added && i < TRAIL_LEN ? &ring[(added - 1 - i) % TRAIL_LEN] : NULL;
}

static void put_record(const struct trail_record *r, struct json_writer *w)
{
    static const char *const stages[TRAIL_STAGES] = {"receive", "decode", "queue", "compute", "encode", "send"};
    jw_kv_c(w, "id", r->id);
    jw_kv_c(w, "model", r->model);
    jw_kv_c(w, "version", r->version);
    jw_kv_c(w, "outcome", r->status == ERR_OK ? "slow" : err_code_name((enum err_code)r->status));
    jw_kv_c(w, "error", r->error);
    jw_kv_u64(w, "at_ms", r->at_ms);
    jw_kv_f64(w, "total_us", (double)r->total_ns / 1e3);
    jw_key(w, "stages_us");
    jw_object(w);
    for (int s = 0; s < TRAIL_STAGES - 1; s++) /* it is not sent yet when the record is made */
        jw_kv_f64(w, stages[s], (double)r->stage_ns[s] / 1e3);
    jw_object_end(w);
    jw_kv_u64(w, "rows", r->rows);
    jw_kv_u64(w, "batch_rows", r->batch_rows);
    jw_kv_u64(w, "attempts", r->attempts);
}

static void put_mates(const struct trail_record *r, struct json_writer *w)
{
    const struct trail_record *o;
    uint32_t found = 0;
    jw_key(w, "batch_mates");
    jw_array(w);
    for (uint64_t i = 0; r->run_ns != 0 && found < TRAIL_MATES && (o = newest(i)) != NULL; i++)
        if (o != r && o->run_ns == r->run_ns && strcmp(o->model, r->model) == 0) {
            jw_c(w, o->id);
            found++;
        }
    jw_array_end(w);
}

bool trail_write(struct str id, struct json_writer *w)
{
    const struct trail_record *r;
    pthread_mutex_lock(&lock);
    for (uint64_t i = 0; (r = newest(i)) != NULL && !str_eq_c(id, r->id);)
        i++;
    if (r) {
        jw_object(w);
        put_record(r, w);
        put_mates(r, w);
        jw_object_end(w);
    }
    pthread_mutex_unlock(&lock);
    return r != NULL;
}

void trail_write_latest(size_t max, struct json_writer *w)
{
    const struct trail_record *r;
    pthread_mutex_lock(&lock);
    jw_array(w);
    for (uint64_t i = 0; i < max && (r = newest(i)) != NULL; i++) {
        jw_object(w);
        put_record(r, w);
        jw_object_end(w);
    }
    jw_array_end(w);
    pthread_mutex_unlock(&lock);
}
