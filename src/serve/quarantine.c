#include "serve/quarantine.h"

#include <string.h>

static void mix(struct hash128 *h, const void *p, size_t n)
{
    struct hash128 part = hash128(p, n, h->lo ^ (h->hi * 31));
    h->lo = h->lo * 0x9E3779B97F4A7C15u + part.lo;
    h->hi = h->hi * 0xC2B2AE3D27D4EB4Fu + part.hi;
}

struct hash128 quarantine_print(const struct infer *i, uint32_t inputs_len, const unsigned char *base,
                                uint64_t base_bytes)
{
    struct hash128 h = {hash_seed(), 1};
    for (uint32_t k = 0; k < inputs_len; k++) {
        const struct infer_tensor *t = &i->in[k];
        if (!t->given)
            continue;
        mix(&h, t->dims, sizeof t->dims[0] * (size_t)t->ndim);
        if (t->dtype != DT_BYTES) {
            mix(&h, t->data, t->bytes);
            continue;
        }
        const struct bytes_ref *refs = (const void *)t->data;
        for (size_t e = 0; e < t->bytes / sizeof *refs; e++)
            if ((uint64_t)refs[e].off + refs[e].len <= base_bytes)
                mix(&h, base + refs[e].off, refs[e].len);
    }
    return h;
}

void quarantine_init(struct quarantine *q)
{
    (void)pthread_mutex_init(&q->lock, NULL);
}

void quarantine_add(struct quarantine *q, struct hash128 print, uint64_t now_ns)
{
    pthread_mutex_lock(&q->lock);
    q->items[q->next].print = print;
    q->items[q->next].until_ns = now_ns + QUARANTINE_NS;
    q->next = (q->next + 1) % QUARANTINE_MAX;
    if (q->len < QUARANTINE_MAX)
        q->len++;
    pthread_mutex_unlock(&q->lock);
}

bool quarantine_has(struct quarantine *q, struct hash128 print, uint64_t now_ns)
{
    bool has = false;
    pthread_mutex_lock(&q->lock);
    for (uint32_t i = 0; i < q->len; i++)
        has = has ||
              (q->items[i].print.lo == print.lo && q->items[i].print.hi == print.hi && q->items[i].until_ns > now_ns);
    pthread_mutex_unlock(&q->lock);
    return has;
}
