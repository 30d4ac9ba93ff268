/* Warm-up: runs that a model makes before it is ready, so that its first request finds everything in place. A sample says for each input what is
 * in it: zeros, made-up numbers, or the bytes of a file. The same samples serve to compare a new version with the old one. */
#ifndef MODEL_WARMUP_H
#define MODEL_WARMUP_H

#include "model/backend.h"

#define WARMUP_SAMPLES_MAX 32
#define WARMUP_INPUTS_MAX  64
#define WARMUP_BYTES_MAX   ((size_t)256 << 20) /* inputs of one sample */

enum warmup_fill { WARMUP_RANDOM, WARMUP_ZERO, WARMUP_FILE };

struct warmup_input {
    const char *name;
    enum warmup_fill fill;
    const char *file;    /* WARMUP_FILE: in the folder */
    enum dtype datatype; /* DT_NONE: the model's */
    int64_t dims[TENSOR_DIMS_MAX];
    int ndim; /* -1: the model's shape */
};

struct warmup_sample {
    const char *name;
    int64_t batch_size; /* put before dims; 0: dims are the whole shape */
    int64_t count;
    struct warmup_input *inputs;
    size_t inputs_len;
};

struct warmup {
    const char *folder; /* NULL: there are no files */
    struct warmup_sample *samples;
    size_t samples_len;
};

/* From the object that the reader stands before: {"folder", "samples": [{"name", "batch_size", "count", "inputs": [{"name", "data", "file",
 * "datatype", "dims"}]}]}. Texts lie in the arena. */
void warmup_read(struct json_reader *r, struct arena *a, struct warmup *out);

/* A sample's inputs, ready to run. */
struct warmup_tensors {
    struct backend_tensor in[MODEL_TENSORS_MAX]; /* data NULL: an optional one that is left out */
    unsigned char *base;                         /* references of BYTES count from here */
    size_t bytes;
    uint32_t rows; /* 1 when the model has no batch dimension */
};

/* sample NULL: all inputs are made up, different ones for each seed, in `rows` rows where the model has a batch dimension. Errors name
 * sample and input. Free with warmup_free. */
enum err_code warmup_make(const struct warmup *w, const struct warmup_sample *sample, const struct model_desc *d,
                          uint32_t rows, uint64_t seed, struct warmup_tensors *out, struct err *err);
void warmup_free(struct warmup_tensors *t);

/* All samples, each as often as it says, in runs of at most the model's max_batch rows. */
enum err_code warmup_run(const struct warmup *w, const struct backend *b, void *instance, const struct model_desc *d,
                         struct err *err);

#endif
