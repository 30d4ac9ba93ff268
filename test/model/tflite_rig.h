/* One TensorFlow Lite model of test/data, loaded through the backend's table as a worker does it. */
#ifndef TEST_MODEL_TFLITE_RIG_H
#define TEST_MODEL_TFLITE_RIG_H

#include "base/clock.h"
#include "model/backend.h"

struct lite_rig {
    const struct backend *b;
    void *instance;
    struct model_desc desc;
    struct err err;
    struct backend_tensor in[MODEL_TENSORS_MAX], out[MODEL_TENSORS_MAX];
    struct backend_run run;
};

/* Skips the test when LiteRT is not installed. */
void lite_need_engine(void);
/* test/data/NAME.tflite, with parameters as "key=value" ("" or NULL: none). Describes too. The error is in r->err. */
enum err_code lite_load(struct lite_rig *r, const char *name, const char *param);
enum err_code lite_load_path(struct lite_rig *r, const char *path, const char *param);
/* Data of one input, copied to read-only pages with as many bytes behind it as a block has at least, then nothing. The next call is for the next one. */
void lite_in(struct lite_rig *r, enum dtype t, const void *data, size_t bytes, int ndim, const int64_t *dims);
/* As lite_in, but not aligned. */
void lite_in_odd(struct lite_rig *r, enum dtype t, const void *data, size_t bytes, int ndim, const int64_t *dims);
enum err_code lite_run(struct lite_rig *r);
void lite_free(struct lite_rig *r);

#endif
