/* Traces of single requests: when each stage began and ended, and what the tensors were, in the form that Triton writes and its tools read. Off by
 * default; settings for all models, and for one model over these, may change at any time, on any thread.
 * A trace is text that grows with its request, on the request's thread; when the answer has left, a thread of its own writes it to a file
 * (trace_file.h), so that no disk delays a request. Costs one relaxed load for each request while no tracing is asked for. */
#ifndef SERVE_TRACE_H
#define SERVE_TRACE_H

#include "base/err.h"
#include "model/tensor.h"

#define TRACE_TIMESTAMPS 1u
#define TRACE_TENSORS    2u

#define TRACE_MODELS_MAX   1024       /* with settings of their own */
#define TRACE_OPEN_MAX     1024       /* at a time; further requests are not traced */
#define TRACE_TEXT_MAX     (1u << 20) /* of one trace; tensors that do not fit are left out */
#define TRACE_ELEMENTS_MAX 1024       /* of one tensor; more are left out, and the tensor says so */

/* ---- settings ---- */

enum trace_setting { TRACE_LEVEL, TRACE_RATE, TRACE_COUNT, TRACE_FREQUENCY, TRACE_SETTINGS };

struct trace_settings {
    unsigned level;     /* TRACE_TIMESTAMPS | TRACE_TENSORS; 0: off */
    uint64_t rate;      /* one in so many requests */
    int64_t count;      /* so many are still to be traced; -1: no end */
    uint64_t frequency; /* a new file after so many traces; 0: when the file is large */
};

/* Some settings, each given or taken back: a model's to what holds for all, and what holds for all to the default. */
struct trace_change {
    bool is_set[TRACE_SETTINGS], is_cleared[TRACE_SETTINGS];
    struct trace_settings to;
};

/* model NULL: for all that have none of their own. ERR_BUSY: too many models with settings. */
enum err_code trace_change(const char *model, const struct trace_change *c, struct err *err);
struct trace_settings trace_settings_of(const char *model);

/* ---- one request ---- */

struct trace;

/* NULL: this one is not traced; every function below takes that. Names are copied. */
struct trace *trace_begin(const char *model, const char *version);
/* A member of an ensemble: it ends with its parent. */
struct trace *trace_begin_child(struct trace *parent, const char *model, const char *version);
bool trace_wants_tensors(const struct trace *t);
void trace_request_id(struct trace *t, struct str id); /* once */
/* Stages in order; 0: it did not happen, and is left out. */
void trace_time(struct trace *t, const char *name, uint64_t ns);
/* string(arg, e): element e of a tensor of texts. */
struct trace_tensor {
    const char *activity, *name;
    enum dtype dtype;
    const int64_t *dims;
    int ndim;
    const void *data;
    struct str (*string)(void *arg, uint64_t e);
    void *arg;
};
void trace_tensor(struct trace *t, const struct trace_tensor *x);
/* Hands it, and its children, to the writer. */
void trace_end(struct trace *t);

#endif
