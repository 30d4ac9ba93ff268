/* One loaded TensorFlow Lite model; what load, describe and run share. */
#ifndef MODEL_BACKENDS_TFLITE_TFLITE_INT_H
#define MODEL_BACKENDS_TFLITE_TFLITE_INT_H

#include <stdatomic.h>

#include "model/backends/tflite/litert.h"
#include "model/backends/tflite/tflite.h"
#include "model/backends/tflite/tflite_sizes.h"
#include "model/tflite_file.h"

/* Shapes for which the model is kept compiled: all sizes of tflite_sizes.c, and a few others. */
#define TFLITE_PLANS_MAX 16

/* The model compiled for one shape of all its inputs. */
struct tflite_plan {
    struct litert_compiled *compiled; /* NULL: free */
    uint64_t used;                    /* when last, by tflite_model.clock */
    int32_t (*in_dims)[LITERT_DIMS_MAX];
    struct litert_layout *outs; /* in the engine's order */
};

/* What a tensor is for the engine and for us. */
struct tflite_slot {
    struct tflite_io io;
    size_t index; /* the engine's number of it */
    bool is_real; /* FP32 outside, quantised inside */
    size_t size;  /* bytes of an element inside */
    int32_t element;
};

struct tflite_model {
    const struct litert_api *api;
    struct litert_model *model;
    unsigned char *bytes; /* the file; the engine reads it until the end */
    size_t bytes_len;
    struct tflite_info info;
    size_t signature;
    bool wants_real;
    int threads;
    int weights;    /* packed weights, shared by all plans: a memory file */
    bool may_split; /* rows are independent of each other: a run may be made in pieces */
    struct tflite_sizes sizes;
    int64_t max_batch;
    uint64_t load_ns;
    uint32_t inputs_len, outputs_len;
    struct tflite_slot inputs[MODEL_TENSORS_MAX], outputs[MODEL_TENSORS_MAX];
    struct tflite_plan plans[TFLITE_PLANS_MAX];
    uint64_t clock;
    unsigned char *scratch; /* tensors that cannot lie in the block as they are */
    size_t scratch_cap, scratch_used;
    _Atomic bool is_aborted;
    uint64_t deadline_ns; /* of runs while the model is described; 0: none */
};

/* The plan for these dimensions of the inputs (our order), compiled if there is none. Valid until the next call. */
enum err_code tflite_plan(struct tflite_model *m, const int32_t (*in_dims)[LITERT_DIMS_MAX], struct tflite_plan **out,
                          struct err *err);
void tflite_plans_done(struct tflite_model *m);

enum err_code tflite_describe(void *instance, struct model_desc *out, struct err *err);
enum err_code tflite_run(void *instance, struct backend_run *run, struct err *err);

/* The engine's type for ours; 0: none. */
int32_t tflite_element(enum dtype t);

/* Real numbers to and from 8 and 16 bits. Out of range becomes the nearest value; what is no number becomes zero. */
void tflite_quantize(const struct tflite_io *io, const float *in, size_t n, void *out);
void tflite_dequantize(const struct tflite_io *io, const void *in, size_t n, float *out);

#endif
