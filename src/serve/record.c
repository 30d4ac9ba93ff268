#include "serve/record.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/rand.h"
#include "net/recording.h"

struct frame {
    struct buf bytes; /* first: record_take gives it away, and free() takes it */
    struct frame *next;
};

struct record {
    bool is_used;
    struct record_options o;
    char model[256];
    uint64_t began_ns;
    struct frame *first, **last;
    size_t queued_bytes;
    uint64_t recorded, seen, lost, too_large, bytes;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct record records[RECORDS_MAX];
static _Atomic int running;

struct record *record_begin(const struct record_options *o)
{
    struct record *r = NULL;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < RECORDS_MAX && !r; i++)
        if (!records[i].is_used)
            r = &records[i];
    if (r) {
        atomic_fetch_add(&running, 1); /* before the time is taken: whoever comes later keeps its body */
        *r = (struct record){.is_used = true, .o = *o, .began_ns = clock_now_ns()};
        (void)str_copy(r->model, sizeof r->model, o->model);
        r->last = &r->first;
    }
    pthread_mutex_unlock(&lock);
    return r;
}

struct buf *record_take(struct record *r)
{
    pthread_mutex_lock(&lock);
    struct frame *f = r->first;
    if (f) {
        r->first = f->next;
        if (!r->first)
            r->last = &r->first;
        r->queued_bytes -= f->bytes.len;
    }
    pthread_mutex_unlock(&lock);
    return f ? &f->bytes : NULL;
}

static bool is_full(const struct record *r)
{
    return r->recorded >= r->o.requests_max || r->bytes >= r->o.bytes_max;
}

bool record_is_complete(struct record *r)
{
    pthread_mutex_lock(&lock);
    bool yes = !r->first && is_full(r);
    pthread_mutex_unlock(&lock);
    return yes;
}

void record_write_end(struct record *r, struct json_writer *w)
{
    pthread_mutex_lock(&lock);
    jw_object(w);
    jw_kv_u64(w, "recorded", r->recorded);
    jw_kv_u64(w, "seen", r->seen);
    jw_kv_u64(w, "lost", r->lost);
    jw_kv_u64(w, "too_large", r->too_large);
    jw_object_end(w);
    pthread_mutex_unlock(&lock);
}

void record_end(struct record *r)
{
    pthread_mutex_lock(&lock);
    struct frame *f = r->first;
    *r = (struct record){0};
    atomic_fetch_sub(&running, 1);
    pthread_mutex_unlock(&lock);
    while (f) {
        struct frame *next = f->next;
        buf_done(&f->bytes);
        free(f);
        f = next;
    }
}

/* ---- the protocols' side ---- */

bool record_is_on(void)
{
    return atomic_load_explicit(&running, memory_order_relaxed) > 0;
}

/* One that was under way when the recording began may have given its body away already. */
static bool is_wanted(struct record *r, const struct http_req *req, struct str model)
{
    if (!r->is_used || is_full(r) || req->t_ready_ns < r->began_ns || !str_eq_c(model, r->model))
        return false;
    r->seen++;
    return r->o.one_in <= 1 || rand_below(r->o.one_in) == 0;
}

static void push(struct record *r, struct recorded *x, const struct str *parts, size_t parts_len)
{
    size_t n = recording_bytes(x);
    for (size_t i = 0; i < parts_len; i++)
        n += parts[i].n;
    if (n > RECORDING_FRAME_MAX) {
        r->too_large++;
        return;
    }
    if (r->queued_bytes + n > RECORD_QUEUE_BYTES || !recording_is_sound(x)) {
        r->lost++;
        return;
    }
    struct frame *f = calloc(1, sizeof *f);
    char *answer = malloc(n); /* the format wants it in one piece */
    CHECK(f && answer);
    for (size_t i = 0; i < parts_len; i++) {
        memcpy(answer + x->answer.n, parts[i].p, parts[i].n);
        x->answer.n += parts[i].n;
    }
    x->answer.p = answer;
    buf_init(&f->bytes, n);
    recording_put(x, &f->bytes);
    free(answer);
    x->answer = (struct str){0};
    *r->last = f;
    r->last = &f->next;
    r->queued_bytes += f->bytes.len;
    r->bytes += f->bytes.len;
    r->recorded++;
    r->o.wake(r->o.arg);
}

void record_note(struct http_req *req, struct str model, struct str version, int status, struct str type,
                 struct str header_length, const struct str *parts, size_t parts_len)
{
    uint64_t now = clock_now_ns();
    struct recorded x = {.took_ns = now - req->t_start_ns,
                         .status = status,
                         .id = str_c(req->id),
                         .model = model,
                         .version = version,
                         .path = req->path,
                         .type = http_header_get(req, "content-type"),
                         .header_length = http_header_get(req, "inference-header-content-length"),
                         .body = req->body,
                         .answer_type = type,
                         .answer_header_length = header_length};
    pthread_mutex_lock(&lock);
    for (int i = 0; i < RECORDS_MAX; i++)
        if (is_wanted(&records[i], req, model)) {
            x.at_ns = req->t_start_ns > records[i].began_ns ? req->t_start_ns - records[i].began_ns : 0;
            push(&records[i], &x, parts, parts_len);
        }
    pthread_mutex_unlock(&lock);
}
