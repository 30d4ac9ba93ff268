/* Trial runs of a loaded model on made-up rows: what the probe of batching and the check of declared shapes are made of. Single-threaded, in
 * the process that loaded the model. Memory is given back by trial_done. */
#ifndef MODEL_TRIAL_H
#define MODEL_TRIAL_H

#include "model/backend.h"

/* Different rows that trial_run chooses from; they differ in spread and sign, so that effects of one row on another show. */
#define TRIAL_ROWS 8

struct trial {
    const struct backend *backend;
    void *instance;
    const struct model_desc *desc;
    uint64_t deadline_ns;                         /* no run starts after it */
    int64_t free_dim;                             /* size given to free dimensions other than the first */
    struct backend_tensor out[MODEL_TENSORS_MAX]; /* results of the last run */
    unsigned char *out_base;
    size_t out_used;
    uint32_t runs;
    uint64_t run_ns; /* how long the last one took */
    /* private */
    uint32_t int_bound, rows_max;
    size_t out_cap, in_cap, in_used;
    unsigned char *in_base;
    struct backend_tensor in[MODEL_TENSORS_MAX];
    unsigned char *rows[MODEL_TENSORS_MAX]; /* TRIAL_ROWS rows, or one whole tensor, of each input */
    size_t row_bytes[MODEL_TENSORS_MAX];
};

/* Finds sizes for free dimensions, and whole numbers, with which the model runs at all: tries a few. An error says why the last try failed. */
enum err_code trial_init(struct trial *t, const struct backend *b, void *instance, const struct model_desc *d,
                         uint64_t deadline_ns, struct err *err);
/* Runs the rows order[0..n) together. rows_of, if not NULL, gives each input its own number of rows instead. ERR_TIMEOUT after the deadline. */
enum err_code trial_run(struct trial *t, const int *order, uint32_t n, const uint32_t *rows_of, struct err *err);
/* Room for runs of up to rows_max rows, TRIAL_ROWS before; the rows of an order may repeat. */
enum err_code trial_grow(struct trial *t, uint32_t rows_max, struct err *err);
void trial_done(struct trial *t);

#endif
