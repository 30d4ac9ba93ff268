#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/backends/steps/steps_int.h"

static enum err_code read_int(const struct step_param *p, const char *value, struct err *err)
{
    int64_t v;
    if (!str_to_i64(str_c(value), &v) || v < p->min || v > p->max)
        return err_set(err, ERR_INVALID, "parameter %s is '%.60s'; a whole number from %lld to %lld is expected",
                       p->key, value, (long long)p->min, (long long)p->max);
    *(int64_t *)p->to = v;
    return ERR_OK;
}

static enum err_code read_choice(const struct step_param *p, const char *value, struct err *err)
{
    char names[160];
    size_t at = 0;
    names[0] = '\0';
    for (int i = 0; p->choices[i]; i++) {
        if (strcmp(value, p->choices[i]) == 0) {
            *(int *)p->to = i;
            return ERR_OK;
        }
        if (at < sizeof names)
            at += (size_t)snprintf(names + at, sizeof names - at, "%s%s", i ? ", " : "", p->choices[i]);
    }
    return err_set(err, ERR_INVALID, "parameter %s is '%.60s'; one of %s is expected", p->key, value, names);
}

static bool read_float(struct str text, double *out)
{
    char copy[64], *end;
    text = str_trim(text);
    if (text.n == 0 || !str_copy(copy, sizeof copy, text))
        return false;
    *out = strtod(copy, &end);
    return *end == '\0' && isfinite(*out);
}

static enum err_code read_floats(const struct step_param *p, const char *value, struct err *err)
{
    double *to = p->to;
    struct str rest = str_c(value);
    size_t n = 0;
    bool is_fine = rest.n > 0;
    while (is_fine && rest.n > 0)
        is_fine = n < STEP_NUMBERS_MAX && read_float(str_cut(rest, ',', &rest), &to[n++]);
    if (!is_fine || (n != 1 && n != STEP_NUMBERS_MAX))
        return err_set(err, ERR_INVALID,
                       "parameter %s is '%.60s'; one number is expected, or one for each channel with commas between",
                       p->key, value);
    for (; n < STEP_NUMBERS_MAX; n++)
        to[n] = to[0];
    return ERR_OK;
}

static enum err_code unknown(const char *key, const struct step_param *params, size_t params_len, struct err *err)
{
    char names[220];
    size_t at = 0;
    names[0] = '\0';
    for (size_t i = 0; i < params_len && at < sizeof names; i++)
        at += (size_t)snprintf(names + at, sizeof names - at, "%s%s", i ? ", " : "", params[i].key);
    err_set(err, ERR_INVALID, "there is no parameter '%.60s'", key);
    return err_remedy(err, "known: %s", names);
}

static enum err_code read_one(const struct backend_param *given, const struct step_param *params, size_t params_len,
                              struct err *err)
{
    for (size_t i = 0; i < params_len; i++) {
        if (strcmp(given->key, params[i].key) != 0)
            continue;
        switch (params[i].kind) {
        case STEP_INT:
            return read_int(&params[i], given->value, err);
        case STEP_CHOICE:
            return read_choice(&params[i], given->value, err);
        case STEP_FLOATS:
            return read_floats(&params[i], given->value, err);
        }
    }
    return unknown(given->key, params, params_len, err);
}

enum err_code step_params_read(const struct backend_load *opt, const struct step_param *params, size_t params_len,
                               struct err *err)
{
    for (size_t i = 0; i < opt->params_len; i++)
        if (read_one(&opt->params[i], params, params_len, err))
            return err->code;
    return ERR_OK;
}

void step_tensor(struct tensor_spec *t, const char *name, enum dtype dtype, const int64_t *row_dims, int row_ndim)
{
    (void)str_copy(t->name, sizeof t->name, str_c(name));
    (void)str_copy(t->symbols[0], sizeof t->symbols[0], STR("batch"));
    t->dtype = (uint32_t)dtype;
    t->ndim = row_ndim + 1;
    t->dims[0] = -1;
    for (int i = 0; i < row_ndim; i++)
        t->dims[i + 1] = row_dims[i];
}
