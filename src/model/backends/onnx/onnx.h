/* ONNX models, run by ONNX Runtime (model/engine.h), a shared library that is loaded when the first model needs it. Takes no parameters.
 * One thread per run unless `threads` says more, and no spinning: instances, not threads, are what scales on a shared machine. */
#ifndef MODEL_BACKENDS_ONNX_ONNX_H
#define MODEL_BACKENDS_ONNX_ONNX_H

#include "model/backend.h"

extern const struct backend backend_onnx;

#endif
