/* Inside of ensembles: the tensors of one request while it runs (ensemble_value.c). One thread, that of the request (ensemble.c). */
#ifndef SERVE_ENSEMBLE_INT_H
#define SERVE_ENSEMBLE_INT_H

#include "serve/ensemble.h"
#include "serve/infer.h"

/* A tensor of the ensemble while one request runs. It lies in our memory, or, during done() of the step that made it, in that step's block. */
struct ensemble_value {
    struct infer_tensor t; /* given: it is known */
    const struct infer *from;
    int from_k;               /* borrowed: the step's request and its output; from NULL: ours */
    unsigned char *heap;      /* BYTES: references, then the strings they count from heap */
    size_t heap_len, heap_at; /* in all; next free byte for strings */
    uint64_t strings_bytes;   /* BYTES: of all strings */
    uint32_t users;           /* steps that have not taken it, and the answer */
};

/* Room for a value whose shape (v->t) is known; strings: bytes of all of them. name: of the ensemble, for the text. ERR_TOO_LARGE: it never fits; ERR_BUSY: not
 * beside what waits now. */
enum err_code value_make(struct ensemble *e, const char *name, struct ensemble_value *v, uint64_t strings,
                         struct err *err);
/* An output of a step, where it lies; until the step's done() returns. */
void value_borrow(struct ensemble_value *v, const struct infer *i, int k);
/* Copied: the block that it lies in goes when done() returns, and somebody still needs it. */
void value_keep(struct ensemble *e, const char *name, struct ensemble_value *v, struct err *err);
void value_drop_use(struct ensemble *e, struct ensemble_value *v); /* with the last one its memory goes */
void value_free(struct ensemble *e, struct ensemble_value *v);

uint64_t value_strings(const struct ensemble_value *v);                     /* how many; BYTES only */
struct str value_get_string(const struct ensemble_value *v, uint64_t at);   /* borrowed; empty: there is none */
bool value_put_string(struct ensemble_value *v, uint64_t at, struct str s); /* in order; false: there is no room */

#endif
