#include "serve/trail.h"

#include <assert.h>
#include <pthread.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"

#define SLOW_TIMES  4
#define SLOW_NS_MIN NS_PER_MS
#define MEAN_SHARE  64  /* how slowly the mean follows */
#define MEANS       128 /* models that a thread tells apart; those that collide begin anew */

#define RING_MAX 256
static_assert(TRAIL_KINDS <= 8, "a kind is three bits of a record's name");

/* Tail sampling: how many records of a kind are kept, and how many a thread may add: so many at once, then one in `every_ns`. */
static const struct {
    const char *name;
    uint32_t len, burst;
    uint64_t every_ns;
} kinds[TRAIL_KINDS] = {[TRAIL_FAILED] = {"failed", 256, 64, NS_PER_S / 100},
                        [TRAIL_REFUSED] = {"refused", 256, 64, NS_PER_S / 50},
                        [TRAIL_INVALID] = {"invalid", 128, 32, NS_PER_S / 20},
                        [TRAIL_SLOW] = {"slow", 256, 64, NS_PER_S / 50},
                        [TRAIL_USUAL] = {"usual", 128, 16, NS_PER_S / 5}};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    struct trail_record records[RING_MAX];
    uint64_t added;
} rings[TRAIL_KINDS];
static uint64_t added; /* of all kinds: a record's seq */

static _Thread_local struct {
    uint64_t model, mean_ns;
} means[MEANS];
static _Thread_local uint64_t due_ns[TRAIL_KINDS]; /* when the next record fits the rate */

enum trail_kind trail_judge(uint64_t model, uint64_t total_ns, uint64_t *usual_ns)
{
    uint64_t at = model % MEANS, mean = means[at].model == model ? means[at].mean_ns : 0;
    means[at].model = model;
    means[at].mean_ns = mean == 0 ? total_ns : mean - mean / MEAN_SHARE + total_ns / MEAN_SHARE;
    *usual_ns = mean;
    return mean > 0 && total_ns > SLOW_NS_MIN && total_ns / SLOW_TIMES > mean ? TRAIL_SLOW : TRAIL_USUAL;
}

enum trail_kind trail_kind_of(enum err_code code)
{
    switch (code) {
    case ERR_BUSY:
    case ERR_UNAVAILABLE:
        return TRAIL_REFUSED;
    case ERR_TIMEOUT:
    case ERR_REJECTED:
    case ERR_INTERNAL:
    case ERR_UNSUPPORTED:
    case ERR_BACKEND:
    case ERR_IO:
        return TRAIL_FAILED;
    case ERR_OK:
    case ERR_CANCELLED:
        return TRAIL_USUAL;
    case ERR_INVALID:
    case ERR_DENIED:
    case ERR_NOT_FOUND:
    case ERR_METHOD:
    case ERR_CONFLICT:
    case ERR_TOO_LARGE:
    case ERR_MEDIA:
    case ERR_MAX_:
        break;
    }
    return TRAIL_INVALID;
}

const char *trail_kind_name(enum trail_kind k)
{
    return kinds[k].name;
}

enum trail_kind trail_kind_parse(struct str name)
{
    int k = 0;
    while (k < TRAIL_KINDS && !str_eq_c(name, kinds[k].name))
        k++;
    return (enum trail_kind)k;
}

bool trail_wants(enum trail_kind kind, uint64_t now_ns)
{
    uint64_t every = kinds[kind].every_ns, due = due_ns[kind];
    if (due > now_ns + every * (kinds[kind].burst - 1))
        return false;
    due_ns[kind] = (due > now_ns ? due : now_ns) + every;
    return true;
}

/* What names a record for trail_sent: its turn in its ring, and the ring. */
uint64_t trail_add(const struct trail_record *r)
{
    pthread_mutex_lock(&lock);
    uint64_t turn = rings[r->kind].added++;
    struct trail_record *at = &rings[r->kind].records[turn % kinds[r->kind].len];
    *at = *r;
    at->seq = ++added;
    pthread_mutex_unlock(&lock);
    return (turn + 1) << 3 | (uint64_t)r->kind;
}

void trail_sent(uint64_t name, uint64_t send_ns)
{
    uint64_t turn = (name >> 3) - 1;
    unsigned k = name & 7;
    CHECK(name >> 3 > 0 && k < TRAIL_KINDS);
    pthread_mutex_lock(&lock);
    if (rings[k].added - turn <= kinds[k].len) /* it was not replaced meanwhile */
        rings[k].records[turn % kinds[k].len].stage_ns[TRAIL_STAGES - 1] = send_ns;
    pthread_mutex_unlock(&lock);
}

/* The i-th newest of a kind; behind the lock. */
static const struct trail_record *newest(int kind, uint64_t i)
{
    uint64_t n = rings[kind].added;
    return i < n && i < kinds[kind].len ? &rings[kind].records[(n - 1 - i) % kinds[kind].len] : NULL;
}

static void put_object(const struct trail_record *r, struct json_writer *w)
{
    jw_object(w);
    trail_put(r, w);
    jw_object_end(w);
}

bool trail_write(struct str id, struct json_writer *w)
{
    const struct trail_record *found = NULL, *r;
    pthread_mutex_lock(&lock);
    for (int k = 0; k < TRAIL_KINDS; k++)
        for (uint64_t i = 0; (r = newest(k, i)) != NULL; i++)
            if (str_eq_c(id, r->id) && (!found || r->seq > found->seq))
                found = r;
    if (found)
        put_object(found, w);
    pthread_mutex_unlock(&lock);
    return found != NULL;
}

static bool is_asked(const struct trail_query *q, const struct trail_record *r)
{
    return q->model.n == 0 || str_eq_c(q->model, r->model);
}

/* The rings merged by age: each is in order already. */
void trail_write_latest(const struct trail_query *q, struct json_writer *w)
{
    uint64_t at[TRAIL_KINDS] = {0};
    pthread_mutex_lock(&lock);
    jw_array(w);
    for (size_t n = 0; n < q->max; n++) {
        const struct trail_record *best = NULL, *r;
        int from = 0;
        for (int k = 0; k < TRAIL_KINDS; k++) {
            if (q->kinds != 0 && !(q->kinds >> k & 1))
                continue;
            while ((r = newest(k, at[k])) != NULL && !is_asked(q, r))
                at[k]++;
            if (r && (!best || r->seq > best->seq)) {
                best = r;
                from = k;
            }
        }
        if (!best)
            break;
        at[from]++;
        put_object(best, w);
    }
    jw_array_end(w);
    pthread_mutex_unlock(&lock);
}
