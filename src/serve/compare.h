/* Answers of two versions of a model to the same request, compared; and the latest requests of a model, kept to be asked again. */
#ifndef SERVE_COMPARE_H
#define SERVE_COMPARE_H

#include "model/warmup.h"
#include "serve/infer.h"

#define COMPARE_KEPT_MAX     64
#define COMPARE_SUBJECTS_MAX 16                /* a new version itself, and ensembles that it is to be a member of */
#define COMPARE_KEPT_BYTES   ((size_t)1 << 20) /* inputs of one kept request */

extern const char compare_request_id[]; /* of requests that are made to compare: by its address */
bool compare_is_one(const struct infer *i);

/* The greatest difference of n bytes of floating-point numbers, relative to 1 + their size; *at: which element. Two NaNs are the same, one is 1e9 away
 * from anything. */
double compare_numbers(enum dtype type, const unsigned char *a, const unsigned char *b, size_t bytes, uint64_t *at);
bool compare_is_float(enum dtype type);

/* Inputs of one request by another: name and type must be the same for both. False: what differs. */
bool compare_same_form(const struct model_desc *a, const struct model_desc *b, char *what, size_t what_size);

/* The outputs of a request, copied in its done(). */
struct compare_answer;
struct compare_answer *compare_keep(const struct infer *i);
struct compare_answer *compare_free(struct compare_answer *a); /* returns NULL */

struct compare_difference {
    bool is_same;    /* within the tolerance */
    double greatest; /* of numbers */
    char where[200]; /* "in output 'prob', row 3", of the greatest; or what differs otherwise */
};

/* In done(): the answer of another version, whose description has the same form. */
void compare_with(const struct compare_answer *before, const struct infer *i, double tolerance,
                  struct compare_difference *out);

/* ---- kept requests: offered by any thread, taken by one ---- */

struct compare_ring;
struct compare_ring *compare_ring_new(size_t len);
struct compare_ring *compare_ring_free(struct compare_ring *r); /* returns NULL */
bool compare_ring_is_due(const struct compare_ring *r); /* false: the last one was kept a moment ago, or r is NULL */
/* In the end of an answered request, whose inputs still lie in its block, or in its ensemble's memory. Cheap when none is due. Large inputs are left
 * out. */
void compare_ring_offer(struct compare_ring *r, const struct infer *i);
/* Copies of what is kept, the newest first; returns how many. Each is to be freed with warmup_free. */
size_t compare_ring_copy(struct compare_ring *r, struct warmup_tensors *out, size_t max);

#endif
