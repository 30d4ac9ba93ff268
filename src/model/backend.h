/* A backend runs models of one kind. It is code inside a worker process (or, with isolation inline, on an edge thread), called by one
 * thread at a time per instance, except abort, which may come from another thread at any time between load and unload.
 *
 * Adding a backend: one folder under model/backends/, one line in the table of backend.c.
 *
 * Order of calls: engine_open (once per process, BEFORE the sandbox closes: may open libraries, must not read the model),
 * then inside the sandbox: load, describe, run..., unload. */
#ifndef MODEL_BACKEND_H
#define MODEL_BACKEND_H

#include "model/desc.h"

struct backend_param {
    const char *key, *value;
};

struct backend_load {
    const char *name; /* model's name, for texts */
    const char *path; /* model file; NULL for built-in models */
    const char *root; /* folder that external data may lie in (the model's own folder) */
    const char
        *cache_dir; /* folder of this model's own in which a backend may keep what makes loading faster; NULL: none */
    const char *engine_dir;             /* where engines are installed; NULL: the default places (engine.h) */
    const struct backend_param *params; /* the configuration's `parameters` */
    size_t params_len;
    bool is_urgent;    /* somebody waits: what only makes runs faster may be done after load */
    int threads;       /* intra-op threads, 1 unless configured */
    int64_t max_batch; /* configured, 0 = backend's choice */
};

/* A tensor of a run. For BYTES, data is an array of struct bytes_ref into area_base of its side. */
struct backend_tensor {
    enum dtype dtype;
    int ndim;
    int64_t dims[TENSOR_DIMS_MAX];
    void *data;
    size_t bytes;
};

struct backend_run {
    const struct backend_tensor
        *in; /* all inputs of the model, in its order; data NULL for an optional one not given */
    int in_len;
    const unsigned char *in_base; /* BYTES refs of inputs count from here */
    struct backend_tensor *out;   /* to fill, in the model's order: dtype, ndim, dims, data, bytes */
    int out_len;
    unsigned char
        *out_base; /* BYTES refs of outputs count from here; all output memory lies in [out_base, out_base + out_cap) */
    size_t out_cap, out_used;
    uint32_t rows; /* rows in this run when the model has a batch dimension, else 1 */
};

/* Memory for outputs inside the block, 64-byte aligned; NULL when the block is full: return ERR_TOO_LARGE then. A backend asks before the run
 * where sizes are known and writes there directly; else runs first and copies. */
void *backend_out_alloc(struct backend_run *r, size_t bytes);
/* Copies one string into the out area; false when full. */
ATTR_MUST_USE bool backend_out_bytes(struct backend_run *r, struct str s, struct bytes_ref *ref);

/* What an instance has mapped of its cache_dir can be spoiled: by a disk, or by somebody who writes there. */
enum backend_state {
    BACKEND_WHOLE,
    BACKEND_DAMAGED, /* it is not what was written: the instance's outputs may be wrong. err says what it is */
    BACKEND_UNREAD   /* not known: it could not be read, or the check was stopped (ERR_CANCELLED) */
};

#define BACKEND_READING_BYTES ((size_t)256 << 10)

struct backend_reading {
    void *room;               /* BACKEND_READING_BYTES */
    bool (*go_on)(void *arg); /* before each piece: may sleep; false stops. NULL: to the end at once */
    void *arg;
};

/* Any thread, one call at a time, beside runs. */
struct backend_kept {
    bool (*is_used)(const void *instance); /* false: it has nothing of cache_dir, and never will */
    bool (*is_due)(const void *instance);  /* quick */
    /* Takes no memory and no lock that a run may want, so that it may be done at the lowest priority. */
    enum backend_state (*check)(void *instance, const struct backend_reading *reading, struct err *err);
    void (*discard)(void *instance); /* it is damaged: what is loaded from now on makes it anew */
};

struct backend {
    const char *name;              /* as in configuration */
    const char *const *extensions; /* file name endings, NULL-terminated: ".onnx"; empty for built-ins */
    const char *const *params;     /* that it knows, NULL-terminated; NULL: ask load */
    bool may_have_file;            /* a built-in that a path may be given to all the same */
    const char *engine;            /* that it runs models with (engine.h); NULL: none */
    enum err_code (*engine_open)(const struct backend_load *opt, struct err *err); /* may be NULL */
    void (*engine_warm)(void); /* after engine_open: what the first model of a process costs once; may be NULL */
    enum err_code (*load)(const struct backend_load *opt, void **out_instance, struct err *err);
    enum err_code (*describe)(void *instance, struct model_desc *out, struct err *err);
    enum err_code (*run)(void *instance, struct backend_run *run, struct err *err);
    void (*abort)(void *instance); /* ends a run in progress soon with ERR_CANCELLED; may be NULL */
    void (*unload)(void *instance);
    uint64_t (*memory)(void *instance);  /* bytes that it knows of, 0 = unknown; may be NULL */
    const char *(*engine_version)(void); /* after engine_open; may be NULL */
    const struct backend_kept *kept;     /* NULL: instances have nothing of cache_dir once they are loaded */
};

const struct backend *backend_by_name(struct str name); /* NULL: none; backend_names lists them for error texts */
const struct backend *backend_by_path(struct str path); /* by extension */
const char *backend_names(void); /* "onnx, tflite, image, topk, identity, delay, repeat, crash" */

/* Which requests may share a run. A backend that knows it sets these fields in describe, with batch_reason: then this does nothing. Else looks at the described shapes, then runs made-up rows alone and together and compares. Sets has_batch_dim,
 * may_share, max_batch and batch_reason of d. In the sandbox, after describe. A run that fails in the probe means "never shared", with
 * the reason; it is not an error. budget_ns bounds the time spent (no run starts after it). d->max_batch: what is configured, 0 = choose. */
void backend_probe_batching(const struct backend *b, void *instance, struct model_desc *d, uint64_t budget_ns);

/* How long runs of 1, 2, 4, 8 ... rows take, for models whose rows may share runs: sets d->measures, and, unless is_configured, d->max_batch to the size
 * beyond which throughput no longer rises, 1 when runs together gain nothing; the numbers go into batch_reason. After the probe, where it ran. budget_ns
 * bounds the time; a model whose runs take long gets more, within reason. False: runs of one size differed, the machine was not calm enough to keep the verdict.
 * d->measures as it comes in: what was measured on days that were not calm; the shortest times count. */
bool backend_measure_batching(const struct backend *b, void *instance, struct model_desc *d, bool is_configured,
                              uint64_t budget_ns);

/* Fills one input with valid sample values for `rows` rows (small numbers that vary by row; text "a"), free dimensions other than the batch
 * set to `free_dim`. For samples on the dashboard and in texts. refs of BYTES count from out->data. out->data is NULL when the arena has no room
 * or the tensor has no possible size. */
void backend_sample(const struct tensor_spec *spec, uint32_t rows, int64_t free_dim, struct backend_tensor *out,
                    struct arena *a);

#endif
