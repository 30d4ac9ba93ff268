/* TensorFlow Lite models, run by LiteRT (model/engine.h), a shared library that is loaded when the first model needs it.
 *
 * Parameters:
 *   signature      which of the model's signatures to serve; default "serving_default", or else the first
 *   quantized_io   raw (default): inputs and outputs of 8 and 16 bits as they are; real: as FP32, by their scale and zero point
 *
 * One thread per run unless `threads` says more. The engine's working memory is laid out for one shape: a model is compiled once for each shape
 * that it runs with, and the last few are kept (tflite_plan.c). The model's file is read into memory of its own: the engine uses the weights where
 * they lie, and a file that is changed under it must not change them. */
#ifndef MODEL_BACKENDS_TFLITE_TFLITE_H
#define MODEL_BACKENDS_TFLITE_TFLITE_H

#include "model/backend.h"

extern const struct backend backend_tflite;

#endif
