#include "model/backends/tflite/tflite.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "model/backends/tflite/tflite_int.h"
#include "sys/fd.h"

/* FlatBuffers' offsets are 32 bits with a sign. */
#define FILE_BYTES_MAX ((int64_t)INT32_MAX)

static const char *const extensions[] = {".tflite", NULL};

static void unload(void *instance)
{
    struct tflite_model *m = instance;
    tflite_plans_done(m);
    if (m->model != NULL)
        m->api->DestroyModel(m->model);
    if (m->weights >= 0)
        (void)fd_close(m->weights);
    free(m->bytes);
    free(m->scratch);
    free(m);
}

static enum err_code open_engine(const struct backend_load *opt, struct err *err)
{
    return litert_open(opt->engine_dir, err);
}

/* ---- the file ---- */

static enum err_code check_file(int fd, size_t *out_bytes, struct err *err)
{
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_sys(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, errno, "cannot open the model file");
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_INVALID, "the model is not a regular file");
    if (st.st_size == 0)
        return err_set(err, ERR_INVALID, "the model file is empty");
    if (st.st_size > FILE_BYTES_MAX)
        return err_set(err, ERR_TOO_LARGE, "the model file is over 2 GiB");
    *out_bytes = (size_t)st.st_size;
    return ERR_OK;
}

static enum err_code read_file(struct tflite_model *m, const char *path, struct err *err)
{
    AUTO_FD fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    size_t len = 0, done = 0;
    enum err_code code = check_file(fd, &len, err);
    if (code != ERR_OK)
        return code;
    m->bytes = aligned_alloc(LITERT_ALIGN, ROUND_UP(len + LITERT_READ_PAST, LITERT_ALIGN));
    if (m->bytes == NULL)
        return err_set(err, ERR_TOO_LARGE, "no memory for the %zu bytes of the model file", len);
    while (done < len) {
        ssize_t n = read(fd, m->bytes + done, len - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return err_sys(err, ERR_IO, n < 0 ? errno : EIO, "cannot read the model file");
        done += (size_t)n;
    }
    m->bytes_len = len;
    return ERR_OK;
}

/* ---- the engine's numbers of inputs and outputs ---- */

typedef int name_of_fn(struct litert_signature *, size_t i, const char **out);

static enum err_code number_side(struct tflite_slot *slots, uint32_t len, size_t engines, struct litert_signature *s,
                                 name_of_fn *name_of, struct err *err)
{
    uint32_t found = 0;
    for (size_t k = 0; k < engines && k < len; k++) {
        const char *name;
        if (name_of(s, k, &name) != LITERT_OK)
            break;
        for (uint32_t i = 0; i < len; i++)
            if (strcmp(slots[i].io.spec.name, name) == 0) {
                slots[i].index = k;
                found++;
            }
    }
    return found == len && engines == len
               ? ERR_OK
               : err_set(err, ERR_BACKEND, "LiteRT sees other inputs or outputs in the model than its file says");
}

static enum err_code number_tensors(struct tflite_model *m, struct err *err)
{
    struct litert_signature *s;
    size_t inputs = 0, outputs = 0, signatures = 0;
    int status = m->api->GetNumModelSignatures(m->model, &signatures);
    m->signature = m->info.signature_index;
    if (status == LITERT_OK && m->signature >= signatures)
        return err_set(err, ERR_BACKEND, "LiteRT does not see signature %zu", m->signature);
    if (status == LITERT_OK)
        status = m->api->GetModelSignature(m->model, m->signature, &s);
    if (status == LITERT_OK)
        status = m->api->GetNumSignatureInputs(s, &inputs);
    if (status == LITERT_OK)
        status = m->api->GetNumSignatureOutputs(s, &outputs);
    if (status != LITERT_OK)
        return litert_fail(status, NULL, "LiteRT tells no inputs and outputs", ERR_BACKEND, err);
    enum err_code code = number_side(m->inputs, m->inputs_len, inputs, s, m->api->GetSignatureInputName, err);
    return code == ERR_OK ? number_side(m->outputs, m->outputs_len, outputs, s, m->api->GetSignatureOutputName, err)
                          : code;
}

static void make_slots(struct tflite_slot *slots, const struct tflite_io *ios, uint32_t len, bool wants_real)
{
    for (uint32_t i = 0; i < len; i++)
        slots[i] = (struct tflite_slot){
            .io = ios[i],
            .is_real = wants_real && ios[i].is_quantized,
            .size = dtype_size((enum dtype)ios[i].spec.dtype),
            .element = tflite_element((enum dtype)ios[i].spec.dtype),
        };
}

/* ---- loading ---- */

static enum err_code read_params(const struct backend_load *opt, struct tflite_model *m, const char **signature,
                                 struct err *err)
{
    for (size_t i = 0; i < opt->params_len; i++) {
        const struct backend_param *p = &opt->params[i];
        if (strcmp(p->key, "signature") == 0) {
            *signature = p->value;
        } else if (strcmp(p->key, "quantized_io") == 0) {
            m->wants_real = strcmp(p->value, "real") == 0;
            if (!m->wants_real && strcmp(p->value, "raw") != 0)
                return err_set(err, ERR_INVALID, "the parameter quantized_io is raw or real, not '%.60s'", p->value);
        } else {
            (void)err_set(err, ERR_INVALID, "TensorFlow Lite models have no parameter '%.60s'", p->key);
            return err_remedy(err, "known: signature, quantized_io");
        }
    }
    return ERR_OK;
}

static enum err_code load_model(struct tflite_model *m, const struct backend_load *opt, struct err *err)
{
    const char *signature = NULL;
    enum err_code code = read_params(opt, m, &signature, err);
    if (code == ERR_OK)
        code = read_file(m, opt->path, err);
    if (code == ERR_OK)
        code = tflite_check((struct str){(char *)m->bytes, m->bytes_len}, signature, &m->info, err);
    if (code != ERR_OK)
        return code;
    m->weights = memfd_create("quern-weights", MFD_CLOEXEC);
    if (m->weights < 0)
        return err_sys(err, ERR_IO, errno, "cannot make memory for weights");
    int status = m->api->CreateModelFromBuffer(litert_env(), m->bytes, m->bytes_len, &m->model);
    if (status != LITERT_OK)
        return litert_fail(status, NULL, "LiteRT does not take the model", ERR_INVALID, err);
    m->inputs_len = m->info.inputs_len;
    m->outputs_len = m->info.outputs_len;
    make_slots(m->inputs, m->info.inputs, m->inputs_len, m->wants_real);
    make_slots(m->outputs, m->info.outputs, m->outputs_len, m->wants_real);
    return number_tensors(m, err);
}

static enum err_code load(const struct backend_load *opt, void **out_instance, struct err *err)
{
    CHECK(litert_api() != NULL); /* engine_open comes first */
    uint64_t start = clock_now_ns();
    if (opt->path == NULL)
        return err_set(err, ERR_INVALID, "a TensorFlow Lite model needs a path");
    struct tflite_model *m = calloc(1, sizeof *m);
    CHECK(m != NULL);
    m->api = litert_api();
    m->max_batch = opt->max_batch;
    m->threads = opt->threads;
    m->weights = -1;
    enum err_code code = load_model(m, opt, err);
    if (code != ERR_OK) {
        unload(m);
        return code;
    }
    m->load_ns = clock_now_ns() - start;
    *out_instance = m;
    return ERR_OK;
}

/* The engine asks between operators: a run of one long operator goes on to its end. */
static void abort_run(void *instance)
{
    atomic_store_explicit(&((struct tflite_model *)instance)->is_aborted, true, memory_order_release);
}

/* The file, and the weights as the engine has packed them. */
static uint64_t memory(void *instance)
{
    const struct tflite_model *m = instance;
    struct stat st;
    uint64_t packed = fstat(m->weights, &st) == 0 ? (uint64_t)st.st_size : 0;
    return m->bytes_len + packed;
}

static const char *const params[] = {"signature", "quantized_io", NULL}; /* as read_params */

const struct backend backend_tflite = {
    .name = "tflite",
    .extensions = extensions,
    .params = params,
    .engine = "litert",
    .engine_open = open_engine,
    .load = load,
    .describe = tflite_describe,
    .run = tflite_run,
    .abort = abort_run,
    .unload = unload,
    .memory = memory,
    .engine_version = litert_version,
};
