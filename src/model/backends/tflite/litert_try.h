/* Whether a library does what litert_api.h says: a tiny model is run and its answer compared. Takes under a millisecond. */
#ifndef MODEL_BACKENDS_TFLITE_LITERT_TRY_H
#define MODEL_BACKENDS_TFLITE_LITERT_TRY_H

#include "base/err.h"
#include "model/backends/tflite/litert_api.h"

enum err_code litert_try(const struct litert_api *api, struct litert_env *env, struct err *err);

#endif
