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
    uint64_t turn; /* tells it from what used its place before */
    struct record_options o;
    char model[256];
    uint64_t began_ns;
    struct frame *first, **last;
    size_t queued_bytes;
    uint64_t recorded, seen, lost, too_large, bytes;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct record records[RECORDS_MAX];
static uint64_t turns;
static _Atomic int running;

static struct frame *frame_free(struct frame *f)
{
    if (f)
        buf_done(&f->bytes);
    free(f);
    return NULL;
}

struct record *record_begin(const struct record_options *o)
{
    struct record *r = NULL;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < RECORDS_MAX && !r; i++)
        if (!records[i].is_used)
            r = &records[i];
    if (r) {
        atomic_fetch_add(&running, 1); /* before the time is taken: whoever comes later keeps its body */
        *r = (struct record){.is_used = true, .turn = ++turns, .o = *o, .began_ns = clock_now_ns()};
        (void)str_copy(r->model, sizeof r->model, o->model);
        r->last = &r->first;
    }
    pthread_mutex_unlock(&lock);
    return r;
}

size_t record_next_bytes(struct record *r)
{
    pthread_mutex_lock(&lock);
    size_t n = r->first ? r->first->bytes.len : 0;
    pthread_mutex_unlock(&lock);
    return n;
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
        (void)frame_free(f);
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

/* Copied before the lock is taken: others need not wait for it. NULL: too large for the memory that there is. */
static struct frame *copy_of(const struct recorded *x, size_t n, const struct str *parts, size_t parts_len)
{
    struct frame *f = calloc(1, sizeof *f);
    if (!f)
        return NULL;
    buf_init(&f->bytes, n);
    recording_put_parts(x, parts, parts_len, &f->bytes);
    if (!f->bytes.failed)
        return f;
    buf_done(&f->bytes);
    free(f);
    return NULL;
}

/* Takes the frame. NULL: there was no memory for it. */
static void push(struct record *r, uint64_t turn, struct frame *f)
{
    pthread_mutex_lock(&lock);
    bool is_there = r->is_used && r->turn == turn && !is_full(r);
    if (is_there && (!f || r->queued_bytes + f->bytes.len > RECORD_QUEUE_BYTES)) {
        r->lost++;
    } else if (is_there) {
        *r->last = f;
        r->last = &f->next;
        r->queued_bytes += f->bytes.len;
        r->bytes += f->bytes.len;
        r->recorded++;
        r->o.wake(r->o.arg);
        f = NULL;
    }
    pthread_mutex_unlock(&lock);
    (void)frame_free(f);
}

struct wanted {
    bool is_wanted;
    uint64_t turn, began_ns;
};

/* Whether record i takes it; counts what it does not take for its size, or because it would spoil the file. */
static struct wanted ask(int i, const struct http_req *req, const struct recorded *x, size_t n)
{
    struct record *r = &records[i];
    pthread_mutex_lock(&lock);
    struct wanted w = {is_wanted(r, req, x->model), r->turn, r->began_ns};
    bool is_large = n > RECORDING_FRAME_MAX, is_late = r->queued_bytes + n > RECORD_QUEUE_BYTES;
    if (w.is_wanted && is_large)
        r->too_large++;
    else if (w.is_wanted && (is_late || !recording_is_sound(x)))
        r->lost++;
    w.is_wanted = w.is_wanted && !is_large && !is_late && recording_is_sound(x);
    pthread_mutex_unlock(&lock);
    return w;
}

void record_note(struct http_req *req, struct str model, struct str version, int status, struct str type,
                 struct str header_length, const struct str *parts, size_t parts_len)
{
    struct recorded x = {.took_ns = clock_now_ns() - req->t_start_ns,
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
    size_t n = recording_bytes(&x);
    for (size_t i = 0; i < parts_len; i++)
        n += parts[i].n;
    for (int i = 0; i < RECORDS_MAX; i++) {
        struct wanted w = ask(i, req, &x, n);
        if (!w.is_wanted)
            continue;
        x.at_ns = req->t_start_ns > w.began_ns ? req->t_start_ns - w.began_ns : 0;
        push(&records[i], w.turn, copy_of(&x, n, parts, parts_len));
    }
}
