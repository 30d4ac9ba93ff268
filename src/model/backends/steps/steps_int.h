/* Parameters of the operators: tables of what there is, and where it goes. */
#ifndef MODEL_BACKENDS_STEPS_STEPS_INT_H
#define MODEL_BACKENDS_STEPS_STEPS_INT_H

#include "model/backends/steps/steps.h"

#define STEP_NUMBERS_MAX 3

enum step_kind {
    STEP_INT,    /* int64_t */
    STEP_CHOICE, /* int: index into choices */
    STEP_FLOATS  /* double[STEP_NUMBERS_MAX]: one for all channels, or one for each */
};

struct step_param {
    const char *key;
    enum step_kind kind;
    void *to;
    int64_t min, max;           /* STEP_INT */
    const char *const *choices; /* STEP_CHOICE, NULL-terminated */
};

/* ERR_INVALID: an unknown parameter (with those there are), or a value out of range. */
enum err_code step_params_read(const struct backend_load *opt, const struct step_param *params, size_t params_len,
                               struct err *err);
void step_tensor(struct tensor_spec *t, const char *name, enum dtype dtype, const int64_t *row_dims, int row_ndim);

#endif
