/* Recording: copies of a model's requests and answers for whoever asked for them, over net/recording.h's format. Off unless asked: then a request costs
 * one look at a flag. Requests of all threads are offered; who records takes frames on its own thread. What it does not take in time is lost and
 * counted, never waited for. */
#ifndef SERVE_RECORD_H
#define SERVE_RECORD_H

#include "base/json.h"
#include "net/http.h"

#define RECORDS_MAX         4                  /* at a time */
#define RECORD_QUEUE_BYTES  ((size_t)64 << 20) /* of each, that were not taken yet */
#define RECORD_ONE_IN_MAX   1000000u
#define RECORD_REQUESTS_MAX 1000000u
#define RECORD_BYTES_MAX    (UINT64_C(1) << 30)

struct record_options {
    struct str model;
    uint32_t one_in;                  /* of so many requests one is taken, by chance; 1: all */
    uint64_t requests_max, bytes_max; /* it is complete then; at least 1 */
    void (*wake)(void *arg);          /* from any thread: there is something to take */
    void *arg;
};

struct record;

/* NULL: RECORDS_MAX are running. */
struct record *record_begin(const struct record_options *o);
/* The next frame; NULL: none now. The caller's, for buf_done and free. */
struct buf *record_take(struct record *r);
/* Bytes of the next frame; 0: none now. */
size_t record_next_bytes(struct record *r);
/* All that was asked for was recorded, and taken. */
bool record_is_complete(struct record *r);
/* {"recorded", "seen", "lost", "too_large"} */
void record_write_end(struct record *r, struct json_writer *w);
void record_end(struct record *r);

/* ---- the protocols' side ---- */

bool record_is_on(void);
/* A request that is answered now. Before http_respond. header_length: of the answer, "" without. parts NULL: an error, whose text is not kept. */
void record_note(struct http_req *req, struct str model, struct str version, int status, struct str type,
                 struct str header_length, const struct str *parts, size_t parts_len);

#endif
