/* One ONNX model of test/data, loaded through the backend's table as a worker does it. */
#ifndef TEST_MODEL_ONNX_RIG_H
#define TEST_MODEL_ONNX_RIG_H

#include "base/clock.h"
#include "model/backend.h"

struct rig {
    const struct backend *b;
    void *instance;
    struct model_desc desc;
    struct err err;
    struct backend_tensor in[MODEL_TENSORS_MAX], out[MODEL_TENSORS_MAX];
    struct backend_run run;
};

/* Skips the test when ONNX Runtime is not installed. */
void rig_need_engine(void);
/* Loads and describes; the error is in r->err. */
enum err_code rig_load(struct rig *r, const char *path, const char *root);
/* The same with a folder for compiled models; they are always compiled. */
enum err_code rig_load_cached(struct rig *r, const char *path, const char *cache_dir);
/* The same for one that somebody waits for. */
enum err_code rig_load_urgent(struct rig *r, const char *path, const char *cache_dir);
/* The same, checked before it is used. */
enum err_code rig_load_checked(struct rig *r, const char *path, const char *cache_dir);
/* Data of one input; the next call is for the next one. */
void rig_in(struct rig *r, enum dtype t, const void *data, size_t bytes, int ndim, const int64_t *dims);
enum err_code rig_run(struct rig *r);
void rig_free(struct rig *r);
/* A model of one matrix: y = x * w, x of any number of rows; w[i][j] = ((i + 3 j) mod 7 - 3) / 64. side: 128 to 16383. */
void rig_write_matrix(const char *path, size_t side);
struct str rig_text(const struct rig *r, int output, size_t i);

#endif
