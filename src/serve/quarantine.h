/* Requests that killed workers: their inputs' fingerprints are remembered for a while, so that a client which sends the same again does not kill another one.
 * Bounded: the oldest is forgotten. */
#ifndef SERVE_QUARANTINE_H
#define SERVE_QUARANTINE_H

#include "base/hash.h"
#include "serve/infer.h"

#define QUARANTINE_MAX 64
#define QUARANTINE_NS  (600 * UINT64_C(1000000000))

struct quarantine {
    struct {
        struct hash128 print;
        uint64_t until_ns;
    } items[QUARANTINE_MAX];
    uint32_t len, next;
};

/* Of a request whose inputs are in a block. base: the block's input area, for BYTES. */
struct hash128 quarantine_print(const struct infer *i, uint32_t inputs_len, const unsigned char *base,
                                uint64_t base_bytes);
void quarantine_add(struct quarantine *q, struct hash128 print, uint64_t now_ns);
bool quarantine_has(struct quarantine *q, struct hash128 print, uint64_t now_ns);

#endif
