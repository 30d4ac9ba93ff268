/* The trail: what became of the latest requests that were slow or failed, so that a request id can be explained afterwards. A ring of fixed size, one
 * in the process as the log is; only such requests take its lock. */
#ifndef SERVE_TRAIL_H
#define SERVE_TRAIL_H

#include "base/json.h"

#define TRAIL_LEN    1024
#define TRAIL_STAGES 6 /* as enum http_stage */
#define TRAIL_MATES  8 /* told of one run */

struct trail_record {
    char id[40], model[128], version[32];
    char error[200]; /* "" when it went well */
    int status;      /* enum err_code */
    uint64_t at_ms;  /* wall clock of its end */
    uint64_t total_ns, stage_ns[TRAIL_STAGES];
    uint64_t run_ns; /* when its run began: requests of one run have it in common; 0: it did not run */
    uint32_t rows, batch_rows, attempts;
};

/* Is a good answer that took so long worth a record? By what is usual on this thread: 4 times the mean, and over 1 ms. */
bool trail_is_slow(uint64_t total_ns);
void trail_add(const struct trail_record *r);
/* The newest record of that id, with those of its run, as a JSON object; false: none. */
bool trail_write(struct str id, struct json_writer *w);
/* The newest first, at most so many, as a JSON array. */
void trail_write_latest(size_t max, struct json_writer *w);

#endif
