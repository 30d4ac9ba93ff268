/* One request to an ensemble: its steps are ordinary requests, begun as their inputs come to be. Thread: that of the request. */
#include "serve/ensemble.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "serve/ensemble_int.h"
#include "serve/facts.h"
#include "serve/internal_int.h"
#include "serve/trace.h"

enum step_state { STEP_WAITS, STEP_RUNS, STEP_ENDED };

struct step_run {
    struct infer infer;
    struct ensemble_run *run;
    const struct ensemble_step *step;
    enum step_state state;
};

struct ensemble_run {
    struct infer *whole;
    struct ensemble *e;
    struct step_run steps[ENSEMBLE_STEPS_MAX];
    uint32_t steps_len;
    struct ensemble_value values[ENSEMBLE_TENSORS_MAX];
    struct infer_tensor out[ENSEMBLE_TENSORS_MAX];
    uint32_t left;  /* steps that run, and callers of ours that are not done with it */
    bool is_ending; /* the steps that are left have been cancelled */
    bool is_kept;   /* its inputs stay until the end: they are to be asked again of a new version */
    struct err err; /* the first that happened */
    uint32_t attempts;
    uint64_t t_run_ns, t_ran_ns;
};

/* ---- end ---- */

static void run_free(struct ensemble_run *run)
{
    for (uint32_t t = 0; t < run->e->tensors_len; t++)
        value_free(run->e, &run->values[t]);
    for (uint32_t n = 0; n < run->steps_len; n++)
        free(run->steps[n].infer.in);
    free(run);
}

static void finish(struct ensemble_run *run)
{
    struct infer *whole = run->whole;
    struct served *m = whole->model;
    for (uint32_t k = 0; k < run->e->outputs_len && run->err.code == ERR_OK; k++) {
        run->out[k] = run->values[run->e->outputs[k]].t;
        if (!run->out[k].given) /* the configuration's check has made sure that it is */
            err_set(&run->err, ERR_INTERNAL, "no step made '%s'", run->e->tensors[run->e->outputs[k]]);
    }
    whole->err = run->err;
    whole->out = run->out;
    whole->t_run_ns = run->t_run_ns;
    whole->t_ran_ns = run->t_ran_ns;
    whole->batch_rows = whole->rows;
    whole->attempts = run->attempts;
    if (m->shared->runs && run->err.code == ERR_OK) {
        metric_add(m->shared->runs, m->serve->thread, 1);
        metric_add(m->shared->rows, m->serve->thread, whole->rows);
    }
    if (run->is_kept && run->err.code == ERR_OK)
        compare_ring_offer(m->shared->kept, whole);
    m->placed--;
    infer_end(whole); /* reads strings from run; its memory may go */
    run_free(run);
}

static void release(struct ensemble_run *run)
{
    if (--run->left == 0)
        finish(run);
}

/* Those that have not been answered; the caller holds the run. */
static void cancel_steps(struct ensemble_run *run)
{
    if (run->is_ending)
        return;
    run->is_ending = true;
    for (uint32_t n = 0; n < run->steps_len; n++)
        if (run->steps[n].state == STEP_RUNS)
            infer_cancel(&run->steps[n].infer);
}

/* ---- steps ---- */

static void fail_step(struct ensemble_run *run, const struct ensemble_step *s, const struct err *why)
{
    if (run->err.code)
        return;
    run->err = *why;
    err_wrap(&run->err, "step '%s' (model '%s')", s->name, s->model);
}

static enum err_code step_decode(struct infer *i, struct err *err)
{
    struct step_run *st = i->owner;
    const struct ensemble_step *s = st->step;
    for (uint32_t w = 0; w < s->inputs_len; w++) {
        struct ensemble_value *v = &st->run->values[s->inputs[w].tensor];
        int k = model_desc_input(i->model->info.desc, str_c(s->inputs[w].inner));
        struct infer_tensor *to = &i->in[k];
        if (to->bytes != v->t.bytes)
            return err_set(err, ERR_INTERNAL, "'%s' has %zu bytes where %zu are needed", s->inputs[w].inner, v->t.bytes,
                           to->bytes);
        if (to->dtype != DT_BYTES && to->bytes > 0)
            memcpy(to->data, v->t.data, to->bytes);
        for (uint64_t e = 0; to->dtype == DT_BYTES && e < value_strings(v); e++)
            if (!infer_put_bytes(i, k, e, value_get_string(v, e)))
                return err_set(err, ERR_TOO_LARGE, "the strings of '%s' do not fit in a batch block",
                               s->inputs[w].inner);
        value_drop_use(st->run->e, v);
    }
    return ERR_OK;
}

static void run_steps(struct ensemble_run *run);

static void take_outputs(struct step_run *st)
{
    const struct infer *i = &st->infer;
    for (uint32_t w = 0; w < st->step->outputs_len; w++) {
        int k = model_desc_output(i->model->info.desc, str_c(st->step->outputs[w].inner));
        if (k >= 0) /* a member that was replaced meanwhile may lack it: whoever needs it says so */
            value_borrow(&st->run->values[st->step->outputs[w].tensor], i, k);
    }
}

/* Values that go with the block, and are needed later. When all steps have ended, the answer is written at once. */
static void keep_outputs(struct step_run *st)
{
    struct ensemble_run *run = st->run;
    bool is_last = run->left == 1;
    for (uint32_t w = 0; w < st->step->outputs_len && !is_last; w++) {
        struct ensemble_value *v = &run->values[st->step->outputs[w].tensor];
        if (v->from == &st->infer && v->users > 0 && run->err.code == ERR_OK)
            value_keep(run->e, run->whole->model->info.name, v, &run->err);
    }
}

static uint32_t us_between(uint64_t from_ns, uint64_t to_ns)
{
    uint64_t us = to_ns > from_ns ? (to_ns - from_ns) / NS_PER_US : 0;
    return us < UINT32_MAX ? (uint32_t)us : UINT32_MAX;
}

void ensemble_facts(const struct infer *whole, struct infer_facts *out)
{
    const struct ensemble_run *run = whole->ensemble;
    for (uint32_t n = 0; n < run->steps_len && out->steps_len < FACTS_STEPS_MAX; n++) {
        const struct step_run *st = &run->steps[n];
        const struct infer *i = &st->infer;
        if (i->t_submit_ns == 0)
            continue; /* it did not come to that */
        struct facts_step *f = &out->steps[out->steps_len++];
        (void)str_copy(f->name, sizeof f->name, str_c(st->step->name));
        (void)str_copy(f->model, sizeof f->model, str_c(st->step->model));
        f->from_us = us_between(whole->t_submit_ns, i->t_submit_ns);
        f->wait_us = us_between(i->t_submit_ns, i->t_run_ns > 0 ? i->t_run_ns : clock_now_ns());
        f->run_us = i->t_run_ns > 0 ? us_between(i->t_run_ns, i->t_ran_ns) : 0;
        f->batch_rows = i->batch_rows;
    }
}

static void trace_step(const struct ensemble_run *run, const struct infer *i)
{
    struct trace *t = trace_begin_child(run->whole->trace, i->model->info.name, i->model->info.version);
    trace_time(t, "REQUEST_START", i->t_submit_ns);
    trace_time(t, "QUEUE_START", i->t_submit_ns);
    trace_time(t, "COMPUTE_START", i->t_run_ns);
    trace_time(t, "COMPUTE_INPUT_END", i->t_run_ns);
    trace_time(t, "COMPUTE_OUTPUT_START", i->t_ran_ns);
    trace_time(t, "COMPUTE_END", i->t_ran_ns);
    trace_time(t, "REQUEST_END", clock_now_ns());
}

static void step_done(struct infer *i)
{
    struct step_run *st = i->owner;
    struct ensemble_run *run = st->run;
    if (run->whole->trace)
        trace_step(run, i);
    st->state = STEP_ENDED; /* its own share of run->left holds the run until we return */
    run->attempts = i->attempts > run->attempts ? i->attempts : run->attempts;
    run->t_run_ns = run->t_run_ns == 0 ? i->t_run_ns : run->t_run_ns;
    run->t_ran_ns = i->t_ran_ns > run->t_ran_ns ? i->t_ran_ns : run->t_ran_ns;
    if (i->err.code) {
        fail_step(run, st->step, &i->err);
    } else if (run->err.code == ERR_OK) {
        take_outputs(st);
        run_steps(run);
        keep_outputs(st);
    }
    if (run->err.code)
        cancel_steps(run);
    release(run);
}

static bool is_ready(const struct ensemble_run *run, const struct step_run *st)
{
    bool ready = st->state == STEP_WAITS;
    for (uint32_t w = 0; w < st->step->inputs_len; w++)
        ready = ready && run->values[st->step->inputs[w].tensor].t.given;
    return ready;
}

static enum err_code bind_step(struct step_run *st, struct served *m, struct err *err)
{
    const struct infer *whole = st->run->whole;
    const struct model_desc *d = m->info.desc;
    st->infer = (struct infer){.serve = whole->serve,
                               .model = m,
                               .arena = whole->arena,
                               .in = calloc(d->inputs_len + 1, sizeof *st->infer.in),
                               .decode = step_decode,
                               .done = step_done,
                               .owner = st,
                               .priority = whole->priority,
                               .client = whole->client,
                               .deadline_ns = whole->deadline_ns,
                               .request_id = whole->request_id};
    CHECK(st->infer.in);
    for (uint32_t w = 0; w < st->step->inputs_len; w++) {
        int k = model_desc_input(d, str_c(st->step->inputs[w].inner));
        if (k < 0)
            return err_set(err, ERR_UNAVAILABLE, "the model has no input '%s' any more", st->step->inputs[w].inner);
        const struct ensemble_value *v = &st->run->values[st->step->inputs[w].tensor];
        struct infer_tensor *t = &st->infer.in[k];
        t->ndim = v->t.ndim;
        memcpy(t->dims, v->t.dims, sizeof t->dims);
        t->dtype = v->t.dtype;
        t->heap_bytes = v->strings_bytes;
        t->given = true;
    }
    return ERR_OK;
}

bool ensemble_step_tries(const struct ensemble_step *s, const struct ensemble_trial *t, const char *model,
                         const char *version)
{
    return strcmp(s->model, model) == 0 && (s->version[0] ? strcmp(s->version, version) == 0 : t->is_newest);
}

static enum err_code member_of(const struct step_run *st, struct served **out, struct err *err)
{
    const struct infer *whole = st->run->whole;
    const struct ensemble_trial *trial = whole->trial;
    struct served *m = trial ? rollout_served(whole->serve, trial->segment) : NULL;
    if (!m || !ensemble_step_tries(st->step, trial, m->info.name, m->info.version))
        return serve_step_model(whole->serve, str_c(st->step->model), str_c(st->step->version), out, err);
    if (m->info.state != SERVED_READY)
        return err_set(err, ERR_UNAVAILABLE, "the version that is tried is not ready");
    *out = m;
    return ERR_OK;
}

static void start_step(struct step_run *st)
{
    struct ensemble_run *run = st->run;
    struct served *m = NULL;
    struct err err = {0};
    if (member_of(st, &m, &err)) {
        err.code = ERR_UNAVAILABLE; /* not the client's fault */
        fail_step(run, st->step, &err);
        return;
    }
    if (m->shared->ensemble) {
        err_set(&err, ERR_UNAVAILABLE, "an ensemble has taken its name");
        fail_step(run, st->step, &err);
        return;
    }
    if (bind_step(st, m, &err)) {
        fail_step(run, st->step, &err);
        return;
    }
    st->state = STEP_RUNS;
    run->left++;
    infer_submit(&st->infer);
}

/* All whose inputs are there; the caller holds the run. */
static void run_steps(struct ensemble_run *run)
{
    for (uint32_t n = 0; n < run->steps_len && run->err.code == ERR_OK; n++)
        if (is_ready(run, &run->steps[n]))
            start_step(&run->steps[n]);
}

/* ---- begin ---- */

static void count_users(struct ensemble_run *run)
{
    const struct ensemble *e = run->e;
    for (uint32_t n = 0; n < e->steps_len; n++)
        for (uint32_t w = 0; w < e->steps[n].inputs_len; w++)
            run->values[e->steps[n].inputs[w].tensor].users++;
    for (uint32_t k = 0; k < e->outputs_len; k++)
        run->values[e->outputs[k]].users++;
    for (uint32_t k = 0; k < e->inputs_len && run->is_kept; k++)
        run->values[e->inputs[k]].users++;
}

/* The protocol writes the request's elements into memory of ours. */
static enum err_code decode_whole(struct ensemble_run *run, struct err *err)
{
    struct infer *w = run->whole;
    for (uint32_t k = 0; k < run->e->inputs_len; k++) {
        struct ensemble_value *v = &run->values[run->e->inputs[k]];
        uint64_t count;
        v->t = w->in[k];
        if (!tensor_count(v->t.dims, v->t.ndim, &count))
            return err_set(err, ERR_INVALID, "input '%s' is too large", run->e->tensors[run->e->inputs[k]]);
        v->t.bytes = count * dtype_size(v->t.dtype);
        if (value_make(run->e, run->whole->model->info.name, v, v->t.dtype == DT_BYTES ? v->t.heap_bytes : 0, err))
            return err->code;
        w->in[k].data = v->t.data;
        w->in[k].bytes = v->t.bytes;
        v->t.given = true;
    }
    return w->decode(w, err);
}

static enum err_code admit(struct infer *i, struct err *err)
{
    struct served *m = i->model;
    if (m->info.state != SERVED_READY)
        return err_set(err, ERR_UNAVAILABLE, "model '%s' is not ready: %s", m->info.name,
                       m->reason[0] ? m->reason : "loading");
    if (infer_check(i, err) || infer_rows(i, &i->rows, err))
        return err->code;
    if (m->placed < m->shared->limits.queue_max)
        return ERR_OK;
    err_set(err, ERR_BUSY, "Exceeds maximum queue size: %u requests are in work for model '%s'", m->placed,
            m->info.name);
    return err_remedy(err, "try again later, or raise models.%s.queue_max", m->info.name);
}

static struct ensemble_run *run_new(struct infer *i)
{
    struct ensemble_run *run = calloc(1, sizeof *run);
    CHECK(run);
    run->whole = i;
    run->e = i->model->shared->ensemble;
    run->steps_len = run->e->steps_len;
    run->is_kept = compare_ring_is_due(i->model->shared->kept) && !compare_is_one(i);
    for (uint32_t n = 0; n < run->steps_len; n++) {
        run->steps[n].run = run;
        run->steps[n].step = &run->e->steps[n];
    }
    count_users(run);
    return run;
}

void ensemble_submit(struct infer *i)
{
    if (admit(i, &i->err)) {
        infer_end(i);
        return;
    }
    struct ensemble_run *run = run_new(i);
    i->ensemble = run;
    if (decode_whole(run, &i->err)) {
        run_free(run);
        i->ensemble = NULL;
        infer_end(i);
        return;
    }
    i->t_decoded_ns = clock_now_ns();
    i->state = INFER_ENSEMBLE;
    i->model->placed++;
    served_wake(i->model);
    i->model->serve->busy++;
    run->left = 1; /* ours */
    run_steps(run);
    if (run->err.code)
        cancel_steps(run);
    release(run);
}

void ensemble_cancel(struct infer *i)
{
    struct ensemble_run *run = i->ensemble;
    if (run->is_ending)
        return;
    run->left++;
    if (run->err.code == ERR_OK)
        err_set(&run->err, ERR_CANCELLED, "the client went away");
    cancel_steps(run);
    release(run);
}

bool ensemble_put_bytes(struct infer *i, int k, uint64_t e, struct str s)
{
    return value_put_string(&i->ensemble->values[i->ensemble->e->inputs[k]], e, s);
}

struct str ensemble_get_bytes(const struct infer *i, int k, uint64_t e)
{
    return value_get_string(&i->ensemble->values[i->ensemble->e->outputs[k]], e);
}

struct str ensemble_in_bytes(const struct infer *i, int k, uint64_t e)
{
    return value_get_string(&i->ensemble->values[i->ensemble->e->inputs[k]], e);
}
