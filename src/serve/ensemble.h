/* Ensembles: several models as one. A graph of steps, each an ordinary request to a member model, so that batching, isolation, retries and
 * limits are the members'. Tensors go from the block of one step straight into the block of the next where that has room, else over
 * memory of ours that is bounded by `memory_max`. */
#ifndef SERVE_ENSEMBLE_H
#define SERVE_ENSEMBLE_H

#include <stdatomic.h>

#include "base/arena.h"
#include "serve/infer.h"

#define ENSEMBLE_STEPS_MAX   32
#define ENSEMBLE_TENSORS_MAX 128

struct ensemble_wire {
    const char *inner; /* the member's name of it */
    uint32_t tensor;   /* the ensemble's: index into tensors */
};

struct ensemble_step {
    const char *name, *model, *version; /* version "": the newest that is ready */
    struct ensemble_wire *inputs, *outputs;
    uint32_t inputs_len, outputs_len;
};

/* The configuration has been checked (cli/config_ensemble.c): no cycles, each tensor has one source. */
struct ensemble {
    const char *tensors[ENSEMBLE_TENSORS_MAX];
    uint32_t tensors_len;
    uint32_t inputs[ENSEMBLE_TENSORS_MAX], outputs[ENSEMBLE_TENSORS_MAX]; /* indices of tensors, as clients see them */
    uint32_t inputs_len, outputs_len;
    struct ensemble_step steps[ENSEMBLE_STEPS_MAX];
    uint32_t steps_len;
    uint64_t memory_max; /* bytes that wait between steps, of all its requests */
    _Atomic uint64_t memory_used;
    struct arena arena;
};

/* Reads the master's description, an object that the reader stands before. NULL, with the reader failed, when it is none. */
struct ensemble *ensemble_read(struct json_reader *r);
struct ensemble *ensemble_free(struct ensemble *e); /* returns NULL; e may be NULL */

/* What the ensemble looks like from outside, from the descriptions of its members (by step). ERR_INVALID: two ends of a tensor do not fit; the text
 * names both. */
enum err_code ensemble_describe(const struct ensemble *e, const struct model_desc *const *members,
                                struct model_desc *out, struct err *err);

/* One request may try a member that nobody else gets yet: steps of that model are served by the one with this segment. Steps without a version only if
 * it would be the newest. */
struct ensemble_trial {
    uint32_t segment;
    bool is_newest;
};
bool ensemble_step_tries(const struct ensemble_step *s, const struct ensemble_trial *t, const char *model,
                         const char *version);

/* What its steps took, as far as they went. */
struct infer_facts;
void ensemble_facts(const struct infer *whole, struct infer_facts *out);
/* infer_submit and infer_cancel of a request to an ensemble, and its strings; in: of an input, while the request is in work. */
void ensemble_submit(struct infer *i);
void ensemble_cancel(struct infer *i);
bool ensemble_put_bytes(struct infer *i, int k, uint64_t e, struct str s);
struct str ensemble_get_bytes(const struct infer *i, int k, uint64_t e);
struct str ensemble_in_bytes(const struct infer *i, int k, uint64_t e);

#endif
