/* Built-in models: no file, no engine. For tests, demonstrations and measurements.
 *   identity  OUTPUT0 = INPUT0
 *   delay     identity that sleeps 10 ms in each run
 *   repeat    OUTPUT0 = INPUT0 `times` times along the first dimension of a row
 *   crash     identity that misbehaves when a row starts with the number `on`
 * Parameters of all: datatype (FP32), dims of one row ("16", "3,224,224", "-1" = any length, "" = one number), execute_delay_ms.
 * repeat: times (2). crash: on (666), how (segv abort exit hang leak lie), leak_mib (64). */
#ifndef MODEL_BACKENDS_BUILTIN_BUILTIN_H
#define MODEL_BACKENDS_BUILTIN_BUILTIN_H

#include "model/backend.h"

extern const struct backend backend_identity, backend_delay, backend_repeat, backend_crash;

#endif
