/* One loaded ONNX model; what load, describe and run share. */
#ifndef MODEL_BACKENDS_ONNX_ONNX_INT_H
#define MODEL_BACKENDS_ONNX_ONNX_INT_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/hash.h"
#include "model/backends/onnx/onnx.h"
#include "model/backends/onnx/onnx_sums.h"
#include "model/backends/onnx/ort.h"
#include "model/onnx_file.h"

enum onnx_compile { COMPILE_AUTO, COMPILE_ALWAYS, COMPILE_NEVER };

struct onnx_model {
    const struct ort_api *api;
    struct ort_session *session;
    struct ort_run_options *options;
    struct ort_memory_info *memory;
    struct ort_allocator *allocator; /* the library's own, not to be released */
    char *root;                      /* hidden in error texts */
    struct onnx_info info;
    int64_t max_batch;
    int threads;
    bool has_arena;
    bool is_urgent; /* somebody waits */
    enum onnx_compile compile;
    uint64_t file_bytes, load_ns;
    struct hash128 file_id; /* of the file before it was read, see onnx_cache.c */
    bool is_settled;        /* ... and it may be known by that */
    char *cache_entry;      /* folder of the compiled model that is in use; NULL: none */
    struct onnx_held held;  /* its files */
    bool checks_first;      /* before it is used, not after */
    bool shuns_entry;       /* the compiled model is damaged and cannot be removed */
    uint32_t inputs_len, outputs_len;
    char *input_names[MODEL_TENSORS_MAX], *output_names[MODEL_TENSORS_MAX]; /* the library's */
    struct tensor_spec inputs[MODEL_TENSORS_MAX], outputs[MODEL_TENSORS_MAX];
    /* The size of this output is known before the run (its free first dimension is that of the inputs): the engine writes it in place. */
    bool is_placed[MODEL_TENSORS_MAX];
    _Atomic bool is_aborted;
    bool has_packer; /* see onnx_later.c */
    pthread_t packer;
    _Atomic(struct ort_session *) packed; /* ready to take the place of session */
};

/* What the session says of inputs and outputs, into the model's specs. */
enum err_code onnx_read_specs(struct onnx_model *m, struct err *err);
/* Trial runs: corrects declared shapes that do not hold, and finds the outputs that can be placed. */
void onnx_learn_shapes(struct onnx_model *m, struct model_desc *d);
void onnx_fill_desc(const struct onnx_model *m, struct model_desc *d);

/* A session from a folder that onnx_cache has made; is_packed: its runs find their weights packed. */
enum err_code onnx_open_entry(struct onnx_model *m, const char *entry, bool is_packed, struct ort_session **out,
                              struct err *err);
void onnx_pack_later(struct onnx_model *m);  /* m was opened without */
void onnx_take_packed(struct onnx_model *m); /* between two runs: it may be there */
void onnx_pack_end(struct onnx_model *m);    /* waits for the thread */

enum err_code onnx_run(void *instance, struct backend_run *run, struct err *err);

enum ort_element onnx_element(enum dtype t);

#endif
