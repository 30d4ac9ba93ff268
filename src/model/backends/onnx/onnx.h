/* ONNX models, run by ONNX Runtime (model/engine.h), a shared library that is loaded when the first model needs it.
 *
 * One thread per run unless `threads` says more, and no spinning: instances, not threads, are what scales on a shared machine.
 *
 * Parameter `arena` (false): whether the engine keeps the memory of past runs for the next. Off, a run costs the same as long as no inner tensor
 * is over 32 MiB (measured: from 3 us to 10 ms per run), and memory goes back after it. On, MobileNetV2 in batches of 16 takes 163 instead of 250 ms, and
 * holds 145 MB more.
 *
 * Parameter `compile` (auto): whether what the engine makes of the model is kept for the next start and shared by all instances (onnx_cache.h): auto for models
 * with 256 KiB of weights or more, always, never. A 285 MB model then needs 10 MB of private memory for each instance instead of 320.
 *
 * Parameter `check` (later): whether what was kept is read and compared with its sums after the model serves, or before (first). */
#ifndef MODEL_BACKENDS_ONNX_ONNX_H
#define MODEL_BACKENDS_ONNX_ONNX_H

#include "model/backend.h"

extern const struct backend backend_onnx;

#endif
