#include "model/backends/tflite/litert.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/utf8.h"
#include "model/backends/tflite/litert_try.h"
#include "model/engine.h"
#include "sys/fd.h"

/* The library tells no version; this is the pinned one, whose hash is checked when it is installed. */
#define VERSION "2.3.0"

static struct litert_api api;
static struct litert_env *env;

const struct litert_api *litert_api(void)
{
    return env != NULL ? &api : NULL;
}

struct litert_env *litert_env(void)
{
    return env;
}

const char *litert_version(void)
{
    return VERSION;
}

/* ---- loading ---- */

static enum err_code find_functions(void *handle, struct litert_api *out, struct err *err)
{
    const char *missing = NULL;
#define LITERT_FIND(result, name, args)                                                                                \
    *(void **)&out->name = dlsym(handle, "LiteRt" #name);                                                              \
    if (out->name == NULL)                                                                                             \
        missing = #name;
    LITERT_FUNCTIONS(LITERT_FIND)
#undef LITERT_FIND
    if (missing == NULL)
        return ERR_OK;
    (void)err_set(err, ERR_BACKEND, "the library is not LiteRT of the pinned version: LiteRt%s is missing", missing);
    return err_remedy(err, "run: quern engine install litert");
}

/* Only the CPU: otherwise the library looks for others on the machine, and says so at length. */
static enum err_code make_env(const struct litert_api *a, struct litert_env **out, struct err *err)
{
    const struct litert_env_option options[] = {
        {LITERT_ENV_ACCELERATORS, {LITERT_ANY_INT, {.number = LITERT_ACCELERATOR_CPU}}},
        {LITERT_ENV_LOG_SEVERITY, {LITERT_ANY_INT, {.number = LITERT_LOG_SILENT}}},
    };
    int status = a->CreateEnvironment(ARRAY_LEN(options), options, out);
    return status == LITERT_OK ? ERR_OK : err_set(err, ERR_BACKEND, "LiteRT cannot start (status %d)", status);
}

/* The library writes one line to standard error with the first model of a process, and nothing can switch it off. Ours is structured: it goes nowhere. */
static int mute(void)
{
    int kept = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (kept >= 0 && nowhere >= 0)
        (void)dup2(nowhere, STDERR_FILENO);
    if (nowhere >= 0)
        (void)fd_close(nowhere);
    return kept;
}

static void unmute(int kept)
{
    if (kept < 0)
        return;
    (void)dup2(kept, STDERR_FILENO);
    (void)fd_close(kept);
}

static enum err_code start(void *handle, struct litert_api *out_api, struct litert_env **out_env, struct err *err)
{
    enum err_code code = find_functions(handle, out_api, err);
    if (code == ERR_OK)
        code = make_env(out_api, out_env, err);
    if (code != ERR_OK)
        return code;
    int kept = mute();
    code = litert_try(out_api, *out_env, err);
    unmute(kept);
    return code;
}

enum err_code litert_open(const char *engine_dir, struct err *err)
{
    if (env != NULL)
        return ERR_OK;
    char path[1280];
    enum err_code code = engine_find("litert", engine_dir, path, sizeof path, err);
    if (code != ERR_OK)
        return code;
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (handle == NULL)
        return err_set(err, ERR_BACKEND, "cannot load LiteRT: %s", dlerror());
    struct litert_env *started;
    code = start(handle, &api, &started, err);
    if (code == ERR_OK)
        env = started;
    return code;
}

void litert_tell(void *handle, char *out, size_t out_size)
{
    struct err err;
    if (start(handle, &api, &env, &err) == ERR_OK)
        (void)snprintf(out, out_size, "%s", VERSION);
    else
        (void)snprintf(out, out_size, "! %s", err.text);
}

/* ---- options ---- */

static int add_text(struct litert_options *o, const char *id, const char *text)
{
    struct litert_opaque *opaque;
    char *payload = strdup(text);
    CHECK(payload != NULL);
    int status = api.CreateOpaqueOptions(id, payload, free, &opaque);
    if (status != LITERT_OK) {
        free(payload);
        return status;
    }
    status = api.AddOpaqueOptions(o, opaque); /* owns it from here */
    if (status != LITERT_OK)
        api.DestroyOpaqueOptions(opaque);
    return status;
}

enum err_code litert_make_options(int threads, int weights, struct litert_options **out, struct err *err)
{
    char cpu[96];
    struct litert_options *o;
    int status = api.CreateOptions(&o);
    if (status != LITERT_OK)
        return err_set(err, ERR_BACKEND, "LiteRT gives no options (status %d)", status);
    int n = snprintf(cpu, sizeof cpu, "num_threads = %d\n", threads > 0 ? threads : 1);
    if (weights >= 0)
        (void)snprintf(cpu + n, sizeof cpu - (size_t)n, "weight_cache_file_descriptor = %d\n", weights);
    status = api.SetOptionsHardwareAccelerators(o, LITERT_ACCELERATOR_CPU);
    if (status == LITERT_OK)
        status = add_text(o, "xnnpack", cpu);
    /* Errors are kept with the compiled model, for litert_fail. */
    if (status == LITERT_OK)
        status = add_text(o, "runtime_options_string", "error_reporter_mode = 2\n");
    if (status != LITERT_OK) {
        api.DestroyOptions(o);
        return err_set(err, ERR_BACKEND, "LiteRT does not take its options (status %d)", status);
    }
    *out = o;
    return ERR_OK;
}

/* ---- error texts ---- */

static const char *status_text(int status)
{
    switch (status) {
    case LITERT_INVALID_ARGUMENT:
        return "an argument is wrong";
    case LITERT_NO_MEMORY:
        return "out of memory";
    case LITERT_RUNTIME_FAILURE:
        return "the engine failed";
    case LITERT_UNSUPPORTED:
        return "the model uses something that LiteRT does not support";
    case LITERT_WRONG_VERSION:
        return "the model is of a version that LiteRT does not know";
    case LITERT_CANCELLED:
        return "the run was ended";
    case LITERT_INVALID_FILE:
        return "the model file is damaged";
    case LITERT_COMPILATION:
        return "the model cannot be prepared";
    default:
        return "the engine failed";
    }
}

/* "third_party/x/reshape.cc:92 text": a place in the library's source. */
static size_t place_len(const char *p)
{
    size_t word = strcspn(p, " \n");
    const char *dot = memchr(p, '.', word);
    return dot != NULL && memchr(p, '/', word) != NULL && memchr(p, ':', word) != NULL ? word : 0;
}

static void clean(const char *text, char *out, size_t out_size)
{
    size_t at = 0;
    bool is_start = true;
    while (*text != 0 && at + 1 < out_size) {
        size_t skip = is_start ? place_len(text) : 0;
        is_start = false;
        if (skip > 0) {
            text += skip + strspn(text + skip, " ");
            continue;
        }
        if (*text == '\n') {
            text += strspn(text, "\n ");
            is_start = true;
            if (*text != 0 && at + 3 < out_size) {
                out[at++] = ';';
                out[at++] = ' ';
            }
            continue;
        }
        is_start = *text == ' ';
        out[at++] = (unsigned char)*text < 0x20 ? ' ' : *text;
        text++;
    }
    out[at] = 0;
    out[utf8_check(str_c(out))] = 0;
}

enum err_code litert_fail(int status, struct litert_compiled *compiled, const char *what, enum err_code code,
                          struct err *err)
{
    char *messages = NULL, text[240] = "";
    if (compiled != NULL && api.CompiledModelGetErrorMessages(compiled, &messages) == LITERT_OK && messages != NULL) {
        clean(messages, text, sizeof text);
        (void)api.CompiledModelClearErrors(compiled);
    }
    free(messages);
    return err_set(err, code, "%s: %s (status %d)", what, text[0] != 0 ? text : status_text(status), status);
}
