/* Triton's config.pbtxt: what we take from it, and the names of what we do not. Read whole: a field that is not taken is named with its place,
 * so that nobody believes in a setting that has no effect. */
#ifndef MODEL_REPO_TRITON_H
#define MODEL_REPO_TRITON_H

#include "base/arena.h"
#include "base/err.h"
#include "model/tensor.h"

#define TRITON_UNUSED_MAX      256
#define TRITON_LABELS_FILE_MAX 128 /* bytes with the NUL */

struct triton_pair {
    const char *key, *value;
    uint32_t line;
};

struct triton_step { /* of an ensemble */
    const char *model;
    int64_t version;                      /* -1: the newest */
    struct triton_pair *inputs, *outputs; /* the step model's tensor, the ensemble's tensor */
    size_t inputs_len, outputs_len;
    uint32_t line;
};

enum triton_fill { TRITON_RANDOM, TRITON_ZERO, TRITON_FILE };

struct triton_warmup_input {
    const char *name, *data_type; /* "FP32" */
    int64_t *dims;
    size_t dims_len;
    enum triton_fill fill;
    const char *file; /* TRITON_FILE: in the model's folder warmup/ */
};

struct triton_warmup { /* one of model_warmup */
    const char *name;
    int64_t batch_size, count;
    struct triton_warmup_input *inputs;
    size_t inputs_len;
};

enum triton_policy { TRITON_LATEST, TRITON_ALL, TRITON_SPECIFIC };

struct triton_tensor {
    const char *name;
    enum dtype datatype; /* DT_NONE: not said */
    int64_t *dims, *reshape;
    size_t dims_len, reshape_len;
    bool has_reshape, is_ragged, is_shape_tensor;
    uint32_t line;
};

struct triton_queue { /* of dynamic_batching */
    int64_t level;    /* 0: default_queue_policy */
    int64_t max_queue_size, default_timeout_us;
    bool is_delay;
};

struct triton_config { /* texts are NULL and numbers 0 where the file is silent */
    const char *name;
    const char *backend; /* ours: "onnx", "tflite" ..., "ensemble"; of backend or platform */
    const char *default_model_filename;
    int64_t max_batch_size;
    int64_t instances; /* sum of the groups' counts */
    enum triton_policy policy;
    bool has_policy;
    int64_t latest; /* num_versions */
    int64_t *versions;
    size_t versions_len; /* TRITON_SPECIFIC */
    bool has_dynamic_batching, preserve_ordering, response_cache;
    int64_t *preferred;
    size_t preferred_len;
    int64_t max_queue_delay_us, default_priority_level;
    struct triton_queue queue;   /* default_queue_policy */
    struct triton_queue *queues; /* priority_queue_policy */
    size_t queues_len;
    int64_t threads; /* parameters intra_op_thread_count */
    struct triton_pair *parameters;
    size_t parameters_len;
    struct triton_tensor *inputs, *outputs;
    size_t inputs_len, outputs_len;
    const char *labels_file; /* the first label_filename: a name in the model's folder */
    struct triton_step *steps;
    size_t steps_len;
    uint32_t ensemble_line; /* where the steps stand; 0: there are none */
    struct triton_warmup *warmups;
    size_t warmups_len;
    const char *unused[TRITON_UNUSED_MAX]; /* "optimization (line 12)": read, and without effect here */
    size_t unused_len, unused_more;        /* more: that found no place */
};

/* Errors name file:line:column. Everything lies in the arena. */
enum err_code triton_parse(const char *file, struct str text, struct arena *a, struct triton_config *out,
                           struct err *err);
enum err_code triton_read(const char *file, struct arena *a, struct triton_config *out, struct err *err);

#endif
