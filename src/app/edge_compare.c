/* A new version is compared with the one that serves: both answer the same sample requests, one after the other, with the least priority, on the first
 * thread; so does an ensemble with each of them as its member. The master is told how far apart the answers are, and acts on it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/edge_int.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "serve/compare.h"
#include "serve/ensemble.h"

#define RETRY_MS     50 /* when the version that serves is busy */
#define MADE_UP_ROWS 3

enum sample_source { FROM_REQUESTS, FROM_WARM_UP, MADE_UP, SOURCES };

static const char *const source_names[SOURCES] = {"kept request", "warm-up sample", "made-up request"};

struct sample {
    struct warmup_tensors t;
    enum sample_source source;
};

/* What is asked: the model itself, or an ensemble that it is to be a member of. */
struct subject {
    uint32_t ensemble; /* its segment; 0: the model itself */
    bool is_required;
    double tolerance;
    uint64_t samples_max, within_ns;
};

struct edge_compare {
    struct edge *e;
    uint32_t segment; /* of the new version */
    struct subject subjects[COMPARE_SUBJECTS_MAX];
    size_t subjects_len, subject_at;
    struct ensemble_trial trial; /* ensembles: its members are as they are, or with the new version */
    struct arena arena;
    struct warmup warmup;
    /* of the subject in work */
    uint32_t before, after;         /* segments of who is asked; before 0: not begun */
    struct model_shared *described; /* a reference: its description is read by the thread that makes samples */
    struct sample *samples;
    size_t len, at;
    uint64_t began_ns;
    uint32_t compared[SOURCES];
    double greatest;
    bool is_different;
    char where[240], first_skip[200];
    /* of all */
    struct infer infer; /* in work when is_asking */
    struct infer_tensor in[MODEL_TENSORS_MAX];
    bool is_asking, is_news_turn, is_over;
    struct compare_answer *answer; /* of the version before */
    struct err failure;            /* the last one; code ERR_OK: it answered */
    bool any_differs, any_refuses;
    char told[640]; /* of those that agree, or of the first that differs, or of the one that refuses */
    uv_work_t work;
    uv_timer_t timer;
};

static const struct subject *subject(const struct edge_compare *c)
{
    return &c->subjects[c->subject_at];
}

static struct edge_model *ensemble_of(const struct edge_compare *c)
{
    return subject(c)->ensemble ? edge_model_by_id(c->e, subject(c)->ensemble) : NULL;
}

/* ---- end ---- */

static void again(struct edge_compare *c, uint64_t ms);

/* Back to where nothing is known of a subject. */
static void drop_subject(struct edge_compare *c)
{
    for (size_t i = 0; i < c->len; i++)
        warmup_free(&c->samples[i].t);
    free(c->samples);
    c->samples = NULL;
    c->answer = compare_free(c->answer);
    c->described = model_shared_unref(c->described);
    c->before = c->after = 0;
    c->len = c->at = 0;
    memset(c->compared, 0, sizeof c->compared);
    c->greatest = 0;
    c->is_different = c->is_news_turn = false;
    c->where[0] = c->first_skip[0] = '\0';
}

static void on_closed(uv_handle_t *h)
{
    struct edge_compare *c = h->data;
    drop_subject(c);
    arena_done(&c->arena);
    free(c);
}

static void finish(struct edge_compare *c)
{
    uv_close((uv_handle_t *)&c->timer, on_closed);
}

static void tell(struct edge_compare *c)
{
    struct edge_model *m = edge_model_by_id(c->e, c->segment);
    struct buf text;
    struct json_writer w;
    if (m && m->compare == c)
        m->compare = NULL;
    c->is_over = true;
    if (m) {
        m->is_compared = true;
        buf_init(&text, CHANNEL_PAYLOAD_MAX);
        jw_init(&w, &text);
        jw_object(&w);
        jw_kv_u64(&w, "segment", c->segment);
        jw_kv_bool(&w, "ok", !c->any_differs);
        jw_kv_bool(&w, "refused", c->any_refuses);
        jw_kv_c(&w, "reason", c->told);
        jw_object_end(&w);
        edge_tell(c->e, CHANNEL_VERDICT, buf_view(&text));
        buf_done(&text);
    }
    finish(c);
}

/* Of the subject in work; the next one begins, unless this one decides for all. */
static void verdict(struct edge_compare *c, bool is_same, const char *why)
{
    const struct edge_model *ensemble = ensemble_of(c);
    bool refuses = !is_same && subject(c)->is_required, replaces = refuses || (!is_same && !c->any_differs);
    size_t at = replaces ? 0 : strlen(c->told);
    if (is_same ? !c->any_differs : replaces)
        (void)snprintf(c->told + at, sizeof c->told - at, "%s%s%s%s%s", at ? "; " : "", ensemble ? "in ensemble '" : "",
                       ensemble ? ensemble->shared->name : "", ensemble ? "': " : "", why);
    c->any_differs = c->any_differs || !is_same;
    c->any_refuses = refuses;
    drop_subject(c);
    c->began_ns = clock_now_ns();
    if (refuses || ++c->subject_at == c->subjects_len)
        tell(c);
    else
        again(c, 0);
}

static void conclude(struct edge_compare *c)
{
    char text[640], sources[120] = "";
    size_t at = 0;
    uint32_t n = 0;
    double tolerance = subject(c)->tolerance;
    for (int s = 0; s < SOURCES; s++) {
        n += c->compared[s];
        if (c->compared[s] > 0 && at < sizeof sources)
            at += (size_t)snprintf(sources + at, sizeof sources - at, "%s%u %s%s", at ? ", " : "", c->compared[s],
                                   source_names[s], c->compared[s] > 1 ? "s" : "");
    }
    if (c->is_different)
        (void)snprintf(text, sizeof text, "%s; tolerance %g", c->where, tolerance);
    else if (n > 0)
        (void)snprintf(text, sizeof text, "max difference %.3g%s%s (%s); tolerance %g", c->greatest,
                       c->greatest > 0 ? " " : "", c->greatest > 0 ? c->where : "", sources, tolerance);
    else
        (void)snprintf(text, sizeof text, "nothing could be compared: %s",
                       c->first_skip[0] ? c->first_skip : "there was no time");
    verdict(c, !c->is_different && n > 0, text);
}

/* ---- asking ---- */

static enum err_code decode(struct infer *i, struct err *err)
{
    struct edge_compare *c = i->owner;
    const struct warmup_tensors *t = &c->samples[c->at].t;
    for (uint32_t k = 0; k < served_info(i->model)->desc->inputs_len; k++) {
        const struct backend_tensor *from = &t->in[k];
        if (!i->in[k].given)
            continue;
        if (i->in[k].bytes != from->bytes)
            return err_set(err, ERR_INVALID, "input %u has another size", k);
        if (from->dtype != DT_BYTES && from->bytes > 0)
            memcpy(i->in[k].data, from->data, from->bytes);
        const struct bytes_ref *refs = from->data;
        for (uint64_t e = 0; from->dtype == DT_BYTES && e < from->bytes / sizeof *refs; e++)
            if (!infer_put_bytes(i, (int)k, e, (struct str){(const char *)t->base + refs[e].off, refs[e].len}))
                return err_set(err, ERR_TOO_LARGE, "the strings do not fit in a batch block");
    }
    return ERR_OK;
}

static bool is_outside(enum err_code code)
{
    return code == ERR_BUSY || code == ERR_UNAVAILABLE || code == ERR_CANCELLED;
}

/* Neither does the version before answer it: it tells nothing of the new one. */
static void skip(struct edge_compare *c)
{
    if (!c->first_skip[0])
        (void)snprintf(c->first_skip, sizeof c->first_skip, "the version before fails too: %.150s", c->failure.text);
    c->at++;
}

static void take_old(struct edge_compare *c, struct infer *i)
{
    if (i->err.code) {
        skip(c);
        return;
    }
    c->answer = compare_keep(i);
    c->is_news_turn = true;
}

static void note(struct edge_compare *c, const struct compare_difference *d)
{
    const struct sample *s = &c->samples[c->at];
    bool is_number = d->where[0] == 'i'; /* "in output ..." */
    if (d->greatest > c->greatest || (!d->is_same && !c->is_different))
        (void)snprintf(c->where, sizeof c->where, "%.120s of %s %zu", d->where, source_names[s->source], c->at + 1);
    if (!d->is_same && is_number && (d->greatest > c->greatest || !c->is_different)) {
        char text[sizeof c->where];
        (void)snprintf(text, sizeof text, "max difference %.3g %.180s", d->greatest, c->where);
        memcpy(c->where, text, sizeof c->where);
    }
    c->greatest = d->greatest > c->greatest ? d->greatest : c->greatest;
    c->is_different = c->is_different || !d->is_same;
}

static void take_new(struct edge_compare *c, struct infer *i)
{
    struct compare_difference d;
    if (i->err.code) {
        (void)snprintf(c->where, sizeof c->where,
                       "the new version fails on %s %zu, which the version before answers: %.120s",
                       source_names[c->samples[c->at].source], c->at + 1, i->err.text);
        c->is_different = true;
        c->len = c->at + 1; /* enough is known, and each failure may cost a worker */
    } else {
        compare_with(c->answer, i, subject(c)->tolerance, &d);
        note(c, &d);
        c->compared[c->samples[c->at].source]++;
    }
    c->answer = compare_free(c->answer);
    c->is_news_turn = false;
    c->at++;
}

static void done(struct infer *i)
{
    struct edge_compare *c = i->owner;
    c->is_asking = false;
    c->failure = i->err;
    bool is_busy = is_outside(i->err.code) && !c->is_over;
    if (!is_busy && !c->is_over && c->is_news_turn)
        take_new(c, i);
    else if (!is_busy && !c->is_over)
        take_old(c, i);
    again(c, is_busy ? RETRY_MS : 0);
}

static void ask(struct edge_compare *c, struct served *m)
{
    const struct warmup_tensors *t = &c->samples[c->at].t;
    const struct model_desc *d = served_info(m)->desc;
    memset(c->in, 0, sizeof c->in);
    for (uint32_t k = 0; k < d->inputs_len; k++) {
        const struct backend_tensor *from = &t->in[k];
        struct infer_tensor *to = &c->in[k];
        *to = (struct infer_tensor){.ndim = from->ndim, .dtype = from->dtype, .given = from->data != NULL};
        memcpy(to->dims, from->dims, sizeof to->dims);
        const struct bytes_ref *refs = from->data;
        for (uint64_t e = 0; refs && from->dtype == DT_BYTES && e < from->bytes / sizeof *refs; e++)
            to->heap_bytes += refs[e].len;
    }
    c->infer = (struct infer){.serve = c->e->threads[0].serve,
                              .model = m,
                              .arena = &c->arena,
                              .in = c->in,
                              .decode = decode,
                              .done = done,
                              .owner = c,
                              .priority = SCHEDULE_PRIORITY_MAX,
                              .trial = subject(c)->ensemble && c->is_news_turn ? &c->trial : NULL,
                              .request_id = compare_request_id};
    c->is_asking = true;
    infer_submit(&c->infer);
}

/* ---- samples ---- */

static void add(struct edge_compare *c, const struct warmup_sample *s, enum sample_source source, uint32_t rows)
{
    struct err err = {0};
    struct sample *to = &c->samples[c->len];
    if (warmup_make(&c->warmup, s, c->described->desc, rows, c->len + 1, &to->t, &err)) {
        if (!c->first_skip[0])
            (void)str_copy(c->first_skip, sizeof c->first_skip, str_c(err.text));
        return;
    }
    to->source = source;
    c->len++;
}

/* On a thread of its own: files are read. */
static void make_samples(uv_work_t *w)
{
    struct edge_compare *c = w->data;
    const struct model_desc *d = c->described->desc;
    for (size_t i = 0; i < c->warmup.samples_len && c->len < subject(c)->samples_max; i++)
        add(c, &c->warmup.samples[i], FROM_WARM_UP, 1);
    for (size_t turn = c->len; turn < subject(c)->samples_max; turn++)
        add(c, NULL, MADE_UP, turn % 2 == 0 || !d->has_batch_dim ? 1 : MADE_UP_ROWS);
}

static void samples_made(uv_work_t *w, int status)
{
    struct edge_compare *c = w->data;
    (void)status;
    again(c, 0);
}

static void take_kept(struct edge_compare *c, struct model_shared *before)
{
    struct warmup_tensors *kept = calloc(COMPARE_KEPT_MAX, sizeof *kept);
    CHECK(kept);
    size_t n = before->kept ? compare_ring_copy(before->kept, kept, subject(c)->samples_max) : 0;
    for (size_t i = 0; i < n; i++)
        c->samples[c->len++] = (struct sample){.t = kept[i], .source = FROM_REQUESTS};
    free(kept);
}

static bool has_time(const struct edge_compare *c)
{
    return clock_now_ns() - c->began_ns < subject(c)->within_ns;
}

static void begin(struct edge_compare *c, struct model_shared *before, uint32_t after, struct model_shared *like)
{
    c->before = before->id;
    c->after = after;
    c->described = model_shared_ref(like);
    c->samples = calloc(subject(c)->samples_max, sizeof *c->samples);
    CHECK(c->samples);
    take_kept(c, before);
    CHECK(uv_queue_work(&c->e->threads[0].loop, &c->work, make_samples, samples_made) == 0);
}

/* The version before may not be known yet, when this edge is new. */
static void begin_model(struct edge_compare *c)
{
    struct edge_model *m = edge_model_by_id(c->e, c->segment), *stable = m ? edge_stable_of(c->e, m) : NULL;
    if (stable)
        begin(c, stable->shared, c->segment, m->shared);
    else if (has_time(c))
        again(c, RETRY_MS);
    else
        verdict(c, true, "there is no version before to compare with");
}

static void begin_ensemble(struct edge_compare *c)
{
    struct edge_model *m = edge_model_by_id(c->e, c->segment), *ensemble = ensemble_of(c);
    struct err err = {0};
    char text[sizeof err.text + 40];
    if (m && ensemble && ensemble->state == SERVED_LOADING && has_time(c)) {
        again(c, RETRY_MS);
    } else if (!m || !ensemble || ensemble->state != SERVED_READY) {
        verdict(c, true, "not compared, it does not serve now");
    } else if (edge_ensemble_try(c->e, ensemble, m, &c->trial, &err)) {
        (void)snprintf(text, sizeof text, "it could not be served with it: %s", err.text);
        verdict(c, false, text);
    } else {
        begin(c, ensemble->shared, ensemble->shared->id, ensemble->shared);
    }
}

/* ---- one after the other ---- */

static void step(uv_timer_t *h)
{
    struct edge_compare *c = h->data;
    struct serve *s = c->e->threads[0].serve;
    if (c->is_over) {
        finish(c);
        return;
    }
    if (c->subjects_len == 0) { /* ensembles that have gone meanwhile */
        (void)str_copy(c->told, sizeof c->told, STR("there is nothing to compare it with"));
        tell(c);
        return;
    }
    if (c->before == 0) {
        (subject(c)->ensemble ? begin_ensemble : begin_model)(c);
        return;
    }
    if (c->at >= c->len || !has_time(c)) {
        conclude(c);
        return;
    }
    struct served *before = rollout_served(s, c->before), *news = rollout_served(s, c->after);
    char what[220];
    if (!before)
        verdict(c, true, "the version before has gone meanwhile");
    else if (!news || !served_info(news)->desc || !served_info(before)->desc)
        again(c, RETRY_MS); /* this thread has not heard of it yet; when it has gone, we are told */
    else if (!compare_same_form(served_info(before)->desc, served_info(news)->desc, what, sizeof what))
        verdict(c, false, what);
    else
        ask(c, c->is_news_turn ? news : before);
}

static void again(struct edge_compare *c, uint64_t ms)
{
    CHECK(uv_timer_start(&c->timer, step, ms, 0) == 0);
}

/* ---- begin ---- */

static void read_subject(struct edge_compare *c, struct json_reader *r)
{
    struct subject s = {0};
    struct str key;
    uint64_t v = 0;
    json_object(r);
    while (json_key(r, &key)) {
        if (str_eq_c(key, "ensemble") && json_u64(r, &v))
            s.ensemble = (uint32_t)v;
        else if (str_eq_c(key, "required"))
            json_bool(r, &s.is_required);
        else if (str_eq_c(key, "tolerance"))
            json_f64(r, &s.tolerance);
        else if (str_eq_c(key, "samples"))
            json_u64(r, &s.samples_max);
        else if (str_eq_c(key, "within_ns"))
            json_u64(r, &s.within_ns);
        else
            json_skip(r, NULL);
    }
    if (c->subjects_len < COMPARE_SUBJECTS_MAX && s.samples_max >= 1 && s.samples_max <= COMPARE_KEPT_MAX)
        c->subjects[c->subjects_len++] = s;
}

static bool read_settings(struct edge_compare *c, struct str text)
{
    struct json_reader r;
    struct str key;
    json_init(&r, text, 8);
    json_object(&r);
    while (json_key(&r, &key)) {
        if (str_eq_c(key, "newest")) {
            json_bool(&r, &c->trial.is_newest);
        } else if (str_eq_c(key, "subjects")) {
            json_array(&r);
            while (json_item(&r))
                read_subject(c, &r);
        } else {
            json_skip(&r, NULL);
        }
    }
    return json_end(&r) == ERR_OK;
}

static void start(struct edge *e, struct edge_model *m, struct str settings, struct str warm_up)
{
    struct edge_compare *c = calloc(1, sizeof *c);
    struct json_reader r;
    CHECK(c);
    c->e = e;
    c->segment = c->trial.segment = m->shared->id;
    arena_init(&c->arena, 4096, 1 << 20);
    bool is_fine = read_settings(c, settings);
    CHECK(is_fine); /* the master's own words */
    if (warm_up.n > 0) {
        json_init(&r, warm_up, 8);
        warmup_read(&r, &c->arena, &c->warmup);
    }
    c->began_ns = clock_now_ns();
    c->timer.data = c->work.data = c;
    CHECK(uv_timer_init(&e->threads[0].loop, &c->timer) == 0);
    m->compare = c;
    again(c, 0);
}

void edge_compare_update(struct edge *e, struct edge_model *m, struct str settings, struct str warm_up)
{
    if (settings.n == 0) {
        edge_compare_end(m);
        m->is_compared = false;
        return;
    }
    if (m->compare || m->is_compared || m->state != SERVED_READY)
        return;
    start(e, m, settings, warm_up);
}

/* Whatever it waits for calls it once more, and finds that it is over. */
void edge_compare_end(struct edge_model *m)
{
    if (m->compare)
        m->compare->is_over = true;
    m->compare = NULL;
}
