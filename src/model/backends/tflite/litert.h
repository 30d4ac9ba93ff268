/* The loaded library: one for the process, never unloaded (a process that has served its model ends). */
#ifndef MODEL_BACKENDS_TFLITE_LITERT_H
#define MODEL_BACKENDS_TFLITE_LITERT_H

#include "base/err.h"
#include "model/backends/tflite/litert_api.h"

/* Finds, loads and tries the library. Later calls do nothing. Not for several threads at once. */
enum err_code litert_open(const char *engine_dir, struct err *err);
/* NULL before litert_open. */
const struct litert_api *litert_api(void);
struct litert_env *litert_env(void);
const char *litert_version(void);

/* Options to compile a model with, for so many threads. weights: a memory file in which compiled models of the same model share their packed weights,
 * or -1; the library closes it. */
enum err_code litert_make_options(int threads, int weights, struct litert_options **out, struct err *err);
/* An error in words: what was tried, and what the compiled model's log (may be NULL) says, without paths. Empties that log. */
enum err_code litert_fail(int status, struct litert_compiled *compiled, const char *what, enum err_code code,
                          struct err *err);

/* For engine_trial_load (model/engine_int.h): tries a loaded library; the answer is the pinned version, or "! why not". */
void litert_tell(void *handle, char *out, size_t out_size);

#endif
