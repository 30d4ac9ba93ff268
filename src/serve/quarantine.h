/* One for each model, shared by all edge threads. Requests that killed workers: their inputs' fingerprints are remembered for a while, so that a client which sends the same again does not kill another one.
 * Bounded: the oldest is forgotten. */
#ifndef SERVE_QUARANTINE_H
#define SERVE_QUARANTINE_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/hash.h"
#include "serve/infer.h"

#define QUARANTINE_MAX 64
#define QUARANTINE_NS  (600 * UINT64_C(1000000000))

struct quarantine {
    pthread_mutex_t lock;
    _Atomic uint32_t len; /* read without the lock: 0 is the usual case */
    struct {
        struct hash128 print;
        uint64_t until_ns;
    } items[QUARANTINE_MAX];
    uint32_t next;
};

void quarantine_init(struct quarantine *q);
/* Of a request whose inputs are in a block. base: the block's input area, for BYTES. */
struct hash128 quarantine_print(const struct infer *i, uint32_t inputs_len, const unsigned char *base,
                                uint64_t base_bytes);
void quarantine_add(struct quarantine *q, struct hash128 print, uint64_t now_ns);
bool quarantine_has(struct quarantine *q, struct hash128 print, uint64_t now_ns);

#endif
