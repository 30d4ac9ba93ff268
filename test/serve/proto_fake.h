/* The REST protocols over made-up models, without server, batches or workers: a request goes in, the answer comes back. The models:
 *   iris     X FP32[-1,4]                        -> label INT64[-1], probabilities FP32[-1,3]; label = X[0] cut, probabilities = X[0..2]
 *   pair     a FP32[-1,2], b INT32[-1,2]         -> sum FP32[-1,2]
 *   text     s BYTES[-1,-1]                      -> s BYTES (the same strings, one row)
 *   fixed    x UINT8[2,3] (no batch dimension), scale FP32[] optional -> y UINT8[2,3]
 *   broken   failed, with a reason;  slow: still loading
 * Every input is poisoned before decoding, so that what is not written shows. */
#ifndef TEST_SERVE_PROTO_FAKE_H
#define TEST_SERVE_PROTO_FAKE_H

#include "net/http.h"

struct fake_answer {
    int status;
    char content_type[64];
    char infer_header[32]; /* Inference-Header-Content-Length, or "" */
    char retry_after[8];
    char cache[8]; /* x-quern-cache, or "" */
    char *body;    /* NUL behind it */
    size_t body_len;
    int done_calls;
    size_t copied;    /* bytes that http_body_copy brought */
    bool was_decoded; /* decode ran: the request came as far as a batch */
};

struct fake_request {
    enum http_method method;
    const char *path;
    const char *header_length; /* Inference-Header-Content-Length; NULL: none */
    struct str body;
};

/* Runs a request to its end. The answer is freed by the next call. */
const struct fake_answer *fake_run(const struct fake_request *r);
const struct fake_answer *fake_post(const char *path, const char *body);
const struct fake_answer *fake_get(const char *path);

/* How the next calls behave. */
extern bool fake_is_late;          /* decode and done come after infer_submit has returned */
extern bool fake_only_iris;        /* no other model is served */
extern bool fake_is_settled;       /* serve_all_settled */
extern bool fake_client_leaves;    /* on_cancel while the call waits */
extern size_t fake_away;           /* so many bytes of a body that may be deferred are away */
extern const char *fake_run_fails; /* text of an ERR_BACKEND error of the run */
extern size_t fake_cache_bytes;    /* budget of each model's cache; 0: none. Set before a model's first request */
extern int64_t fake_drift;         /* added to iris' label: it is not the same function any more */
extern bool fake_hash_is_constant; /* all inputs have one hash */
extern bool fake_has_pictures;     /* what goes into 'text' are pictures */
extern float fake_scale;           /* of 'fixed', with zero point 7; 0: none */
void fake_free(void);
struct cache *fake_cache_of_iris(void);

#endif
