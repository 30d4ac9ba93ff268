#include "model/backends/onnx/ort.h"

#include <dlfcn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/utf8.h"
#include "model/engine.h"
#include "sys/huge.h"
#include "sys/pieces.h"

/* A model that makes the engine complain in every run must not flood the log. */
#define LOG_LINES_MAX 100
/* What the engine allocates while it opens, its operator schemas above all. */
#define OPEN_BYTES ((size_t)9 << 20)

static const struct ort_api *api;
static struct ort_env *env;
static char version[32];

const struct ort_api *ort_api(void)
{
    return api;
}

const struct ort_env *ort_env(void)
{
    return env;
}

const char *ort_version(void)
{
    return version;
}

/* ---- memory for tensors ---- */

static struct ort_memory_info *memory_info;
static bool has_memory;

static void *memory_alloc(struct ort_allocator *a, size_t bytes)
{
    (void)a;
    return pieces_alloc(bytes); /* NULL is an error of the run */
}

static void memory_free(struct ort_allocator *a, void *p)
{
    (void)a;
    pieces_free(p);
}

static const struct ort_memory_info *memory_place(const struct ort_allocator *a)
{
    (void)a;
    return memory_info;
}

/* An engine that does not take it keeps its own way. */
static void offer_memory(void)
{
    static struct ort_allocator ours = {ORT_API_VERSION_USED, memory_alloc, memory_free, memory_place};
    struct ort_status *s = api->CreateCpuMemoryInfo(ORT_ALLOCATOR_DEVICE, ORT_MEM_DEFAULT, &memory_info);
    if (s == NULL)
        s = api->RegisterAllocator(env, &ours);
    has_memory = s == NULL;
    if (!has_memory)
        LOG_WARN("the engine does not take our memory", LOG_S("error", api->GetErrorMessage(s)));
    ort_ignore(s);
}

bool ort_has_memory(void)
{
    return has_memory;
}

/* ---- opening ---- */

static void on_log(void *arg, enum ort_log_level level, const char *category, const char *log_id, const char *place,
                   const char *message)
{
    (void)arg;
    (void)category;
    (void)log_id;
    (void)place; /* a path on the machine that built the library */
    static _Atomic unsigned lines;
    unsigned n = atomic_fetch_add_explicit(&lines, 1, memory_order_relaxed);
    if (n == LOG_LINES_MAX)
        LOG_WARN("further messages of onnxruntime are left out");
    if (n >= LOG_LINES_MAX)
        return;
    LOG_AT(level >= ORT_LOG_ERROR ? LOG_LEVEL_ERROR : LOG_LEVEL_WARN, "onnxruntime", LOG_S("message", message));
}

bool ort_version_is_enough(const char *text)
{
    struct str rest, major = str_cut(str_c(text), '.', &rest), minor = str_cut(rest, '.', &rest);
    uint64_t a, b;
    return str_to_u64(major, &a) && str_to_u64(minor, &b) && (a > 1 || (a == 1 && b >= ORT_API_VERSION_USED));
}

static enum err_code find_api(void *handle, const char *path, struct err *err)
{
    const struct ort_api_base *(*get_base)(void) = NULL;
    *(void **)&get_base = dlsym(handle, "OrtGetApiBase");
    if (get_base == NULL)
        return err_set(err, ERR_BACKEND, "%s is not ONNX Runtime: OrtGetApiBase is missing", path);
    const struct ort_api_base *base = get_base();
    (void)snprintf(version, sizeof version, "%.31s", base->GetVersionString());
    const struct ort_api *found = ort_version_is_enough(version) ? base->GetApi(ORT_API_VERSION_USED) : NULL;
    if (found == NULL) {
        (void)err_set(err, ERR_BACKEND, "ONNX Runtime %s is too old: 1.%d or newer is needed", version,
                      ORT_API_VERSION_USED);
        return err_remedy(err, "run: quern engine install onnxruntime");
    }
    api = found;
    return ERR_OK;
}

enum err_code ort_open(const char *engine_dir, struct err *err)
{
    if (env != NULL)
        return ERR_OK;
    char path[1280];
    enum err_code code = engine_find("onnxruntime", engine_dir, path, sizeof path, err);
    if (code != ERR_OK)
        return code;
    /* The library sends usage data to its makers unless this is set before it loads; later is too late. */
    if (setenv("ORT_DISABLE_TELEMETRY", "1", 1) != 0)
        return err_set(err, ERR_IO, "cannot switch off the telemetry of ONNX Runtime");
    huge_ahead(OPEN_BYTES);
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (handle == NULL)
        return err_set(err, ERR_BACKEND, "cannot load ONNX Runtime: %s", dlerror());
    code = find_api(handle, path, err);
    if (code != ERR_OK)
        return code;
    code =
        ort_check(api->CreateEnvWithCustomLogger(on_log, NULL, ORT_LOG_WARNING, "quern", &env), NULL, err, ERR_BACKEND);
    if (code == ERR_OK)
        offer_memory();
    return code;
}

/* ---- error texts ---- */

/* Behind a place in the library's source: "FILE:LINE SIGNATURE text". */
static const char *behind_place(const char *p)
{
    p += strcspn(p, " ");
    const char *open = strchr(p, '(');
    if (open == NULL)
        return p;
    int depth = 0;
    for (p = open; *p != 0; p++) {
        depth += (*p == '(') - (*p == ')');
        if (depth == 0)
            break;
    }
    if (*p == ')')
        p++;
    if (strncmp(p, " const", 6) == 0)
        p += 6;
    if (strncmp(p, " [with", 6) == 0)
        p += strcspn(p, "]") + (strchr(p, ']') != NULL);
    return p + strspn(p, " ");
}

static void clean(const char *text, const char *hidden, char *out, size_t out_size)
{
    static const char place[] = "/onnxruntime_src/";
    size_t at = 0, hidden_len = hidden != NULL ? strlen(hidden) : 0;
    while (*text != 0 && at + 1 < out_size) {
        if (strncmp(text, place, sizeof place - 1) == 0) {
            text = behind_place(text);
        } else if (hidden_len > 1 && strncmp(text, hidden, hidden_len) == 0) {
            text += hidden_len;
            out[at++] = '.';
        } else {
            out[at++] = (unsigned char)*text < 0x20 ? ' ' : *text;
            text++;
        }
    }
    out[at] = 0;
    out[utf8_check(str_c(out))] = 0;
}

enum err_code ort_check(struct ort_status *status, const char *hidden, struct err *err, enum err_code code)
{
    if (status == NULL)
        return ERR_OK;
    char text[300];
    clean(api->GetErrorMessage(status), hidden, text, sizeof text);
    api->ReleaseStatus(status);
    return err_set(err, code, "%s", text);
}

void ort_ignore(struct ort_status *status)
{
    if (status != NULL)
        api->ReleaseStatus(status);
}
