/* What the built-in models share: parameters, description, a delay that abort ends, copying of rows. */
#ifndef MODEL_BACKENDS_BUILTIN_BUILTIN_INT_H
#define MODEL_BACKENDS_BUILTIN_BUILTIN_INT_H

#include <stdatomic.h>

#include "model/backends/builtin/builtin.h"

enum crash_how { CRASH_SEGV, CRASH_ABORT, CRASH_EXIT, CRASH_HANG, CRASH_LEAK, CRASH_LIE };

struct builtin {
    const char *kind;
    enum dtype dtype;
    int row_ndim;
    int64_t row_dims[TENSOR_DIMS_MAX - 1];
    int64_t max_batch;
    uint64_t delay_ns;
    int64_t times; /* copies of the input in the output */
    int64_t crash_on, leak_bytes;
    uint64_t load_delay_ns; /* like a large model */
    size_t memory_bytes;
    unsigned char *memory;
    enum crash_how how;
    _Atomic uint32_t is_aborted; /* a futex word */
};

/* default_delay_ms and default_times hold where no parameter says otherwise. Unknown parameters are errors. */
enum err_code builtin_load(const struct backend_load *opt, const char *kind, int64_t default_delay_ms,
                           int64_t default_times, void **out_instance, struct err *err);
enum err_code builtin_describe(void *instance, struct model_desc *out, struct err *err);
/* Waits for the delay, then writes the output. */
enum err_code builtin_run(void *instance, struct backend_run *run, struct err *err);
void builtin_abort(void *instance);
void builtin_unload(void *instance);

#endif
