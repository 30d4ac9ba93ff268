/* Compiled models, one for each shape of the inputs. To compile takes from a tenth of a millisecond to some ten, and each has working memory and packed
 * weights of its own; so a few are kept, and the one that was not used for the longest time goes. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "model/backends/tflite/tflite_int.h"

static bool is_for(const struct tflite_model *m, const struct tflite_plan *p, const int32_t (*in_dims)[LITERT_DIMS_MAX])
{
    for (uint32_t i = 0; i < m->inputs_len; i++)
        if (memcmp(p->in_dims[i], in_dims[i], sizeof(int32_t) * (size_t)m->inputs[i].io.spec.ndim) != 0)
            return false;
    return true;
}

static void drop(struct tflite_model *m, struct tflite_plan *p)
{
    if (p->compiled != NULL)
        m->api->DestroyCompiledModel(p->compiled);
    free(p->in_dims);
    free(p->outs);
    memset(p, 0, sizeof *p);
}

void tflite_plans_done(struct tflite_model *m)
{
    for (int i = 0; i < TFLITE_PLANS_MAX; i++)
        drop(m, &m->plans[i]);
}

/* Called by the engine between operators. */
static bool is_cancelled(void *arg)
{
    const struct tflite_model *m = arg;
    return atomic_load_explicit(&m->is_aborted, memory_order_acquire) ||
           (m->deadline_ns != 0 && clock_now_ns() > m->deadline_ns);
}

/* A free dimension must be given before anything else, even where it keeps the size that the file says. */
static bool must_resize(const struct tflite_io *io, const int32_t *dims)
{
    for (int k = 0; k < io->spec.ndim; k++)
        if (io->spec.dims[k] == -1 || io->shape[k] != dims[k])
            return true;
    return false;
}

static enum err_code resize(struct tflite_model *m, struct tflite_plan *p, struct err *err)
{
    for (uint32_t i = 0; i < m->inputs_len; i++) {
        const struct tflite_io *io = &m->inputs[i].io;
        if (!must_resize(io, p->in_dims[i]))
            continue;
        int status = m->api->CompiledModelResizeInputTensorNonStrict(p->compiled, m->signature, m->inputs[i].index,
                                                                     p->in_dims[i], (size_t)io->spec.ndim);
        if (status != LITERT_OK)
            return litert_fail(status, p->compiled, "the model does not take this shape", ERR_INVALID, err);
    }
    return ERR_OK;
}

static enum err_code read_outputs(struct tflite_model *m, struct tflite_plan *p, struct err *err)
{
    int status = m->api->GetCompiledModelOutputTensorLayouts(p->compiled, m->signature, m->outputs_len, p->outs, true);
    if (status != LITERT_OK)
        return litert_fail(status, p->compiled, "the model does not take this shape", ERR_INVALID, err);
    for (uint32_t i = 0; i < m->outputs_len; i++) {
        struct litert_layout *o = &p->outs[i];
        o->rank &= 0x7f;
        if (o->rank > LITERT_DIMS_MAX)
            return err_set(err, ERR_UNSUPPORTED, "an output has %u dimensions", o->rank);
        for (uint32_t k = 0; k < o->rank; k++)
            if (o->dims[k] < 0)
                return err_set(err, ERR_UNSUPPORTED,
                               "the size of an output depends on values, not only on shapes; not supported");
    }
    return ERR_OK;
}

/* The library closes the descriptor that it is given. */
static enum err_code create(struct tflite_model *m, struct tflite_plan *p, struct err *err)
{
    struct litert_options *options;
    int weights = fcntl(m->weights, F_DUPFD_CLOEXEC, 3);
    enum err_code code = litert_make_options(m->threads, weights, &options, err);
    if (code != ERR_OK)
        return code;
    int status = m->api->CreateCompiledModel(litert_env(), m->model, options, &p->compiled);
    m->api->DestroyOptions(options);
    if (status == LITERT_OK)
        return ERR_OK;
    p->compiled = NULL;
    return litert_fail(status, NULL, "LiteRT does not take the model", ERR_INVALID, err);
}

static enum err_code compile(struct tflite_model *m, struct tflite_plan *p, const int32_t (*in_dims)[LITERT_DIMS_MAX],
                             struct err *err)
{
    p->in_dims = calloc(m->inputs_len + 1, sizeof *p->in_dims);
    p->outs = calloc(m->outputs_len + 1, sizeof *p->outs);
    CHECK(p->in_dims != NULL);
    CHECK(p->outs != NULL);
    memcpy(p->in_dims, in_dims, m->inputs_len * sizeof *p->in_dims);
    enum err_code code = create(m, p, err);
    if (code != ERR_OK)
        return code;
    int status = m->api->SetCompiledModelCancellationFunction(p->compiled, m, is_cancelled);
    if (status != LITERT_OK)
        return litert_fail(status, p->compiled, "LiteRT does not take the model", ERR_BACKEND, err);
    code = resize(m, p, err);
    return code == ERR_OK ? read_outputs(m, p, err) : code;
}

enum err_code tflite_plan(struct tflite_model *m, const int32_t (*in_dims)[LITERT_DIMS_MAX], struct tflite_plan **out,
                          struct err *err)
{
    struct tflite_plan *oldest = &m->plans[0];
    for (int i = 0; i < TFLITE_PLANS_MAX; i++) {
        struct tflite_plan *p = &m->plans[i];
        if (p->compiled != NULL && is_for(m, p, in_dims)) {
            p->used = ++m->clock;
            *out = p;
            return ERR_OK;
        }
        if (p->used < oldest->used)
            oldest = p;
    }
    drop(m, oldest);
    enum err_code code = compile(m, oldest, in_dims, err);
    if (code != ERR_OK) {
        drop(m, oldest);
        return code;
    }
    oldest->used = ++m->clock;
    *out = oldest;
    return ERR_OK;
}
