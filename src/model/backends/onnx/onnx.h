/* ONNX models, run by ONNX Runtime (engine.h), which is loaded when the first model needs it.
 * Parameters: none yet are known to it; see onnx.c. */
#ifndef MODEL_BACKENDS_ONNX_ONNX_H
#define MODEL_BACKENDS_ONNX_ONNX_H

#include "model/backend.h"

extern const struct backend backend_onnx;

#endif
