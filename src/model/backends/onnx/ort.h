/* The loaded library: one for the process, never unloaded (a process that has served its model ends). */
#ifndef MODEL_BACKENDS_ONNX_ORT_H
#define MODEL_BACKENDS_ONNX_ORT_H

#include "base/err.h"
#include "model/backends/onnx/ort_api.h"

/* Finds, loads and checks the library, and makes its environment. Later calls do nothing. Not for several threads at once. */
enum err_code ort_open(const char *engine_dir, struct err *err);
/* NULL before ort_open. */
const struct ort_api *ort_api(void);
const struct ort_env *ort_env(void);
const char *ort_version(void);
/* Sessions may have the memory of their tensors from sys/pieces.h: "session.use_env_allocators". */
bool ort_has_memory(void);
/* "1.17.3" and newer are. */
bool ort_version_is_enough(const char *text);

/* Turns a status into an error and releases it; NULL gives ERR_OK. Texts lose the library's source places and, where hidden is not NULL, that folder. */
enum err_code ort_check(struct ort_status *status, const char *hidden, struct err *err, enum err_code code);
void ort_ignore(struct ort_status *status);

#endif
