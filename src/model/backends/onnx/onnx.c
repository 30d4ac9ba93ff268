#include "model/backends/onnx/onnx.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "model/backends/onnx/onnx_cache.h"
#include "sys/fd.h"
#include "sys/pieces.h"

/* The format's encoding cannot hold more; larger models keep their weights as external data. */
#define FILE_BYTES_MAX ((int64_t)INT32_MAX)
/* Of weights: packing fewer takes some milliseconds, which is not worth disturbing the first runs. */
#define PACK_LATER_BYTES ((uint64_t)32 << 20)

static const char *const extensions[] = {".onnx", NULL};

static void unload(void *instance)
{
    struct onnx_model *m = instance;
    const struct ort_api *api = m->api;
    onnx_pack_end(m);
    for (uint32_t i = 0; i < MODEL_TENSORS_MAX; i++) {
        if (m->input_names[i] != NULL)
            ort_ignore(api->AllocatorFree(m->allocator, m->input_names[i]));
        if (m->output_names[i] != NULL)
            ort_ignore(api->AllocatorFree(m->allocator, m->output_names[i]));
    }
    if (m->options != NULL)
        api->ReleaseRunOptions(m->options);
    if (m->session != NULL)
        api->ReleaseSession(m->session);
    if (m->memory != NULL)
        api->ReleaseMemoryInfo(m->memory);
    onnx_held_close(&m->held);
    free(m->cache_entry);
    free(m->root);
    free(m);
}

static enum err_code open_engine(const struct backend_load *opt, struct err *err)
{
    return ort_open(opt->engine_dir, err);
}

/* One Identity: the smallest model, with which the engine sets up what all models need. */
static void warm_engine(void)
{
    static const unsigned char model[] = {
        0x08, 8,  /* format version */
        0x3a, 55, /* graph */
        0x0a, 16, 0x0a, 1,  'x', 0x12, 1,  'y',  0x22, 8,    'I', 'd',  'e', 'n',  't', 'i',  't', 'y', /* node */
        0x12, 1,  'g',                                                                                  /* name */
        0x5a, 15, 0x0a, 1,  'x', 0x12, 10, 0x0a, 8,    0x08, 1,   0x12, 4,   0x0a, 2,   0x08, 1, /* input: float[1] */
        0x62, 15, 0x0a, 1,  'y', 0x12, 10, 0x0a, 8,    0x08, 1,   0x12, 4,   0x0a, 2,   0x08, 1, /* output */
        0x42, 2,  0x10, 13,                                                                      /* operator set */
    };
    const struct ort_api *api = ort_api();
    struct ort_session_options *o;
    struct ort_session *session;
    struct ort_status *s = api->CreateSessionOptions(&o);
    if (s != NULL) {
        ort_ignore(s);
        return;
    }
    ort_ignore(api->SetIntraOpNumThreads(o, 1));
    ort_ignore(api->SetInterOpNumThreads(o, 1));
    s = api->CreateSessionFromArray(ort_env(), model, sizeof model, o, &session);
    if (s == NULL)
        api->ReleaseSession(session);
    else
        LOG_WARN("the engine does not take our first model: starts are slower");
    ort_ignore(s);
    api->ReleaseSessionOptions(o);
}

/* The file, mapped: the engine copies what it needs, so that the mapping lives only while loading. */
static enum err_code map_file(const char *path, struct str *out, struct err *err)
{
    AUTO_FD fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_sys(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, errno, "cannot open the model file");
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_INVALID, "the model is not a regular file");
    if (st.st_size == 0)
        return err_set(err, ERR_INVALID, "the model file is empty");
    if (st.st_size > FILE_BYTES_MAX) {
        (void)err_set(err, ERR_TOO_LARGE, "the model file is over 2 GiB");
        return err_remedy(err, "save the model with external data (onnx.save_model(..., save_as_external_data=True))");
    }
    void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED)
        return err_sys(err, ERR_IO, errno, "cannot map the model file");
    *out = (struct str){p, (size_t)st.st_size};
    return ERR_OK;
}

/* folder: where external data lies. */
static enum err_code set_options(struct onnx_model *m, struct ort_session_options *o, const char *folder,
                                 struct err *err)
{
    const struct ort_api *api = m->api;
    struct ort_status *s = api->SetIntraOpNumThreads(o, m->threads);
    if (s == NULL)
        s = api->SetInterOpNumThreads(o, 1);
    if (s == NULL)
        s = api->SetSessionExecutionMode(o, ORT_SEQUENTIAL);
    if (s == NULL)
        s = api->SetSessionGraphOptimizationLevel(o, ORT_OPTIMIZE_ALL);
    if (s == NULL)
        s = m->has_arena ? api->EnableCpuMemArena(o) : api->DisableCpuMemArena(o);
    if (s == NULL && !m->has_arena)
        s = api->AddSessionConfigEntry(o, "session.use_env_allocators", ort_has_memory() ? "1" : "0");
    if (s == NULL)
        s = api->AddSessionConfigEntry(o, "session.intra_op.allow_spinning", "0");
    if (s == NULL)
        s = api->AddSessionConfigEntry(o, "session.inter_op.allow_spinning", "0");
    if (s == NULL && folder != NULL)
        s = api->AddSessionConfigEntry(o, "session.model_external_initializers_file_folder_path", folder);
    return ort_check(s, m->root, err, ERR_BACKEND);
}

/* From the model's bytes; cache, if not NULL, takes what the engine makes of them. */
static enum err_code make_session(struct onnx_model *m, struct str bytes, struct onnx_cache *cache, struct err *err)
{
    struct ort_session_options *o;
    enum err_code code = ort_check(m->api->CreateSessionOptions(&o), NULL, err, ERR_BACKEND);
    if (code != ERR_OK)
        return code;
    code = set_options(m, o, m->root, err);
    if (code == ERR_OK && cache != NULL)
        code = ort_check(onnx_cache_make(cache, m->api, o), m->root, err, ERR_BACKEND);
    if (code == ERR_OK)
        code = ort_check(m->api->CreateSessionFromArray(ort_env(), bytes.p, bytes.n, o, &m->session), m->root, err,
                         ERR_INVALID);
    m->api->ReleaseSessionOptions(o);
    return code;
}

enum err_code onnx_open_entry(struct onnx_model *m, const char *entry, bool is_packed, struct ort_session **out,
                              struct err *err)
{
    char path[1300];
    struct ort_session_options *o;
    enum err_code code = ort_check(m->api->CreateSessionOptions(&o), NULL, err, ERR_BACKEND);
    if (code != ERR_OK)
        return code;
    (void)snprintf(path, sizeof path, "%s/model.onnx", entry);
    code = set_options(m, o, entry, err);
    if (code == ERR_OK) /* it was optimised when it was made */
        code = ort_check(m->api->SetSessionGraphOptimizationLevel(o, ORT_OPTIMIZE_NONE), NULL, err, ERR_BACKEND);
    if (code == ERR_OK && !is_packed)
        code = ort_check(m->api->AddSessionConfigEntry(o, "session.disable_prepacking", "1"), NULL, err, ERR_BACKEND);
    if (code == ERR_OK)
        code = ort_check(m->api->CreateSession(ort_env(), path, o, out), NULL, err, ERR_BACKEND);
    m->api->ReleaseSessionOptions(o);
    return code;
}

static void drop_session(struct onnx_model *m)
{
    if (m->session != NULL)
        m->api->ReleaseSession(m->session);
    m->session = NULL;
    pieces_give_back(); /* what packing the weights took is not needed again */
}

/* Before the engine meets it: sizes, and all of it where that is asked for, or where damage that is found later could not be removed. */
static enum err_code look_at_entry(struct onnx_model *m, const struct onnx_cache *cache, struct err *err)
{
    if (!onnx_held_open(&m->held, cache->entry))
        return err_set(err, ERR_INVALID, "its files are missing, or not as long as they were");
    if ((m->checks_first || !onnx_cache_may_drop(cache)) && onnx_held_check_now(&m->held, err) != BACKEND_WHOLE)
        return err->code;
    return ERR_OK;
}

/* False: it does not load, and is gone. */
static bool use_entry(struct onnx_model *m, struct onnx_cache *cache)
{
    struct err trouble = {0};
    bool is_packed = !m->is_urgent || m->info.initializer_bytes < PACK_LATER_BYTES;
    if (look_at_entry(m, cache, &trouble) == ERR_OK &&
        onnx_open_entry(m, cache->entry, is_packed, &m->session, &trouble) == ERR_OK) {
        if (!onnx_held_is_named(&m->held, cache->entry)) { /* made anew meanwhile: which has the engine? */
            drop_session(m);
            return false;
        }
        onnx_cache_used(cache);
        m->cache_entry = strdup(cache->entry);
        CHECK(m->cache_entry != NULL);
        if (!is_packed)
            onnx_pack_later(m);
        return true;
    }
    drop_session(m);
    onnx_held_close(&m->held);
    onnx_cache_drop(cache);
    m->shuns_entry = onnx_cache_has(cache);
    LOG_WARN(m->shuns_entry ? "a compiled model does not load and cannot be removed: the model is loaded without"
                            : "a compiled model does not load and is removed",
             LOG_S("error", trouble.text), LOG_S("folder", cache->entry));
    return false;
}

/* True: the entry is there. Else the model may be loaded all the same: m->session. */
static bool make_entry(struct onnx_model *m, struct onnx_cache *cache, struct str bytes)
{
    struct err trouble = {0};
    AUTO_FD lock = onnx_cache_lock(cache);
    (void)lock;                /* given back at the end */
    if (onnx_cache_has(cache)) /* another instance was faster */
        return true;
    bool is_kept = make_session(m, bytes, cache, &trouble) == ERR_OK && onnx_cache_keep(cache);
    if (!is_kept)
        LOG_WARN("a compiled model could not be kept, the next start takes as long",
                 LOG_S("error", trouble.code ? trouble.text : "no room, or no right to write"));
    if (is_kept || m->session == NULL)
        drop_session(m);
    if (!is_kept)
        onnx_cache_drop(cache);
    return is_kept;
}

/* The first start makes the entry and then uses it as later ones do, so that all instances share its pages. */
static enum err_code open_session(struct onnx_model *m, const char *cache_dir, struct str bytes, struct err *err)
{
    struct onnx_cache cache;
    onnx_cache_open(&cache, m, cache_dir, bytes);
    if (!cache.is_used || m->shuns_entry)
        return make_session(m, bytes, NULL, err);
    if (onnx_cache_has(&cache) && use_entry(m, &cache))
        return ERR_OK;
    if (!m->shuns_entry && make_entry(m, &cache, bytes) && use_entry(m, &cache)) {
        pieces_give_back(); /* what making it took is not needed again */
        return ERR_OK;
    }
    return m->session != NULL ? ERR_OK : make_session(m, bytes, NULL, err);
}

/* Our own look at the file first; then the engine, on the file as it is or without its ZipMaps. */
static enum err_code load_bytes(struct onnx_model *m, const char *cache_dir, struct str bytes, struct err *err)
{
    enum err_code code = onnx_check(bytes, m->root, &m->info, err);
    if (code != ERR_OK)
        return code;
    if (m->info.zipmaps_len == 0)
        return open_session(m, cache_dir, bytes, err);
    struct buf changed;
    buf_init(&changed, bytes.n + 65536);
    code = onnx_drop_zipmaps(bytes, &m->info, &changed, err);
    if (code == ERR_OK)
        code = open_session(m, cache_dir, buf_view(&changed), err);
    buf_done(&changed);
    return code;
}

static enum err_code load_file(struct onnx_model *m, const struct backend_load *opt, struct err *err)
{
    struct str bytes = {NULL, 0};
    enum err_code code = map_file(opt->path, &bytes, err);
    if (code != ERR_OK)
        return code;
    m->file_bytes = bytes.n;
    code = load_bytes(m, opt->cache_dir, bytes, err);
    (void)munmap((void *)(uintptr_t)bytes.p, bytes.n);
    if (code == ERR_OK)
        onnx_cache_know(m, opt->path);
    return code;
}

static enum err_code load_model(struct onnx_model *m, const struct backend_load *opt, struct err *err)
{
    const struct ort_api *api = m->api;
    enum err_code code = ort_check(api->GetAllocatorWithDefaultOptions(&m->allocator), NULL, err, ERR_BACKEND);
    if (code == ERR_OK)
        code = ort_check(api->CreateCpuMemoryInfo(ORT_ALLOCATOR_DEVICE, ORT_MEM_DEFAULT, &m->memory), NULL, err,
                         ERR_BACKEND);
    if (code == ERR_OK)
        code = ort_check(api->CreateRunOptions(&m->options), NULL, err, ERR_BACKEND);
    /* Failures of a run are returned; a second copy in the log, for each bad request and each trial, tells nothing. */
    if (code == ERR_OK)
        code = ort_check(api->RunOptionsSetRunLogSeverityLevel(m->options, ORT_LOG_FATAL), NULL, err, ERR_BACKEND);
    /* A file that has not changed since its entry was made or used need not be read. */
    struct onnx_cache cache;
    bool is_known = code == ERR_OK && onnx_cache_find(&cache, m, opt->cache_dir, opt->path) && use_entry(m, &cache);
    if (code == ERR_OK && !is_known)
        code = load_file(m, opt, err);
    return code == ERR_OK ? onnx_read_specs(m, err) : code;
}

static enum err_code read_arena(struct onnx_model *m, const char *value, struct err *err)
{
    m->has_arena = strcmp(value, "true") == 0;
    if (!m->has_arena && strcmp(value, "false") != 0)
        return err_set(err, ERR_INVALID, "parameter arena is '%s'; true or false is expected", value);
    return ERR_OK;
}

static enum err_code read_compile(struct onnx_model *m, const char *value, struct err *err)
{
    static const char *const names[] = {
        [COMPILE_AUTO] = "auto", [COMPILE_ALWAYS] = "always", [COMPILE_NEVER] = "never"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(value, names[i]) == 0) {
            m->compile = (enum onnx_compile)i;
            return ERR_OK;
        }
    return err_set(err, ERR_INVALID, "parameter compile is '%s'; auto, always or never is expected", value);
}

static enum err_code read_check(struct onnx_model *m, const char *value, struct err *err)
{
    m->checks_first = strcmp(value, "first") == 0;
    if (!m->checks_first && strcmp(value, "later") != 0)
        return err_set(err, ERR_INVALID, "parameter check is '%s'; first or later is expected", value);
    return ERR_OK;
}

static enum err_code read_params(struct onnx_model *m, const struct backend_load *opt, struct err *err)
{
    m->max_batch = opt->max_batch;
    m->is_urgent = opt->is_urgent;
    m->threads = opt->threads > 0 ? opt->threads : 1;
    for (size_t i = 0; i < opt->params_len; i++) {
        const struct backend_param *p = &opt->params[i];
        enum err_code code;
        if (strcmp(p->key, "arena") == 0) {
            code = read_arena(m, p->value, err);
        } else if (strcmp(p->key, "compile") == 0) {
            code = read_compile(m, p->value, err);
        } else if (strcmp(p->key, "check") == 0) {
            code = read_check(m, p->value, err);
        } else {
            (void)err_set(err, ERR_INVALID, "ONNX models have no parameter '%s'", p->key);
            code = err_remedy(err, "known: arena, check, compile");
        }
        if (code != ERR_OK)
            return code;
    }
    return ERR_OK;
}

static enum err_code load(const struct backend_load *opt, void **out_instance, struct err *err)
{
    CHECK(ort_api() != NULL); /* engine_open comes first */
    uint64_t start = clock_now_ns();
    if (opt->path == NULL)
        return err_set(err, ERR_INVALID, "an ONNX model needs a path");
    struct onnx_model *m = calloc(1, sizeof *m);
    CHECK(m != NULL);
    m->api = ort_api();
    m->root = opt->root != NULL ? strdup(opt->root) : NULL;
    enum err_code code = read_params(m, opt, err);
    if (code == ERR_OK)
        code = load_model(m, opt, err);
    if (code != ERR_OK) {
        unload(m);
        return code;
    }
    m->load_ns = clock_now_ns() - start;
    *out_instance = m;
    return ERR_OK;
}

static enum err_code describe(void *instance, struct model_desc *out, struct err *err)
{
    struct onnx_model *m = instance;
    onnx_fill_desc(m, out);
    if (onnx_cache_recall(m)) {
        memcpy(out->outputs, m->outputs, sizeof m->outputs);
    } else {
        onnx_learn_shapes(m, out);
        onnx_cache_remember(m);
    }
    for (uint32_t i = 0; i < m->outputs_len; i++)
        if (m->outputs[i].ndim < 0)
            return err_set(err, ERR_UNSUPPORTED, "output '%s' has no declared shape, and a trial run did not show it",
                           m->outputs[i].name);
    return ERR_OK;
}

static void abort_run(void *instance)
{
    struct onnx_model *m = instance;
    atomic_store_explicit(&m->is_aborted, true, memory_order_release);
    ort_ignore(m->api->RunOptionsSetTerminate(m->options));
}

static uint64_t memory(void *instance)
{
    return ((struct onnx_model *)instance)->info.initializer_bytes;
}

static const char *const params[] = {"arena", "check", "compile", NULL}; /* as read_params */

static bool is_kept(const void *instance)
{
    return ((const struct onnx_model *)instance)->held.is_open;
}

static bool is_due(const void *instance)
{
    return onnx_held_is_due(&((const struct onnx_model *)instance)->held);
}

static enum backend_state check(void *instance, const struct backend_reading *reading, struct err *err)
{
    struct onnx_model *m = instance;
    enum backend_state s = onnx_held_check(&m->held, reading, err);
    if (s != BACKEND_WHOLE)
        (void)err_wrap(err, "the compiled model in %s", m->cache_entry);
    if (s == BACKEND_DAMAGED)
        (void)err_remedy(err, "the model is compiled anew; look for errors of the disk, or for who else writes there");
    return s;
}

static void discard(void *instance)
{
    onnx_cache_discard(instance);
}

static const struct backend_kept kept = {.is_used = is_kept, .is_due = is_due, .check = check, .discard = discard};

const struct backend backend_onnx = {
    .name = "onnx",
    .extensions = extensions,
    .params = params,
    .engine = "onnxruntime",
    .engine_open = open_engine,
    .engine_warm = warm_engine,
    .load = load,
    .describe = describe,
    .run = onnx_run,
    .abort = abort_run,
    .unload = unload,
    .memory = memory,
    .engine_version = ort_version,
    .kept = &kept,
};
