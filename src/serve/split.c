#include "serve/split.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "serve/internal_int.h"
#include "serve/queue.h"

#define ALIGN 64u /* of each input: decoders write whole elements */

struct part {
    struct infer infer;
    struct split *split;
    uint32_t row0;
};

struct split {
    struct infer *whole;
    struct part *parts;
    uint32_t parts_len, begun, left;
    unsigned char *in;               /* the request's inputs, decoded once */
    size_t *in_off, *in_row;         /* by input: where it lies in `in`, bytes of a row */
    struct infer_tensor *in_tensors; /* inputs_len for each part */
    struct infer_tensor *out;        /* joined outputs; data from malloc */
    bool has_shapes;                 /* the first part has told the outputs' shapes */
    bool is_ending;                  /* the parts that are left have been cancelled */
    struct err err;                  /* the first that happened */
    uint64_t t_run_ns, t_ran_ns;
    uint32_t attempts; /* of the part that needed most */
};

static bool has_strings(const struct model_desc *d)
{
    for (uint32_t k = 0; k < d->inputs_len; k++)
        if (d->inputs[k].dtype == DT_BYTES)
            return true;
    for (uint32_t k = 0; k < d->outputs_len; k++)
        if (d->outputs[k].dtype == DT_BYTES)
            return true;
    return false;
}

bool split_is_due(const struct infer *i)
{
    const struct served *m = i->model;
    if (i->part_of || !m->info.desc->may_share || i->rows <= m->lane.row_cap || has_strings(m->info.desc))
        return false;
    bool is_shared_out = m->info.instances_ready > 1 && m->placed == 0 && m->waiting == 0; /* parts run at once */
    return is_shared_out || i->rows > m->lane.whole_cap;
}

/* ---- end ---- */

static void split_free(struct split *s, uint32_t outputs_len)
{
    for (uint32_t k = 0; s->out && k < outputs_len; k++)
        free(s->out[k].data);
    free(s->out);
    free(s->in);
    free(s->in_off);
    free(s->in_row);
    free(s->in_tensors);
    free(s->parts);
    free(s);
}

static void finish(struct split *s)
{
    struct infer *whole = s->whole;
    uint32_t outputs_len = whole->model->info.desc->outputs_len; /* the whole's memory may go with done() */
    whole->split = NULL;
    whole->model->splits--;
    queue_note(whole->model, whole, -1);
    whole->err = s->err;
    whole->out = s->out;
    whole->t_run_ns = s->t_run_ns;
    whole->t_ran_ns = s->t_ran_ns;
    whole->batch_rows = whole->model->lane.row_cap;
    whole->attempts = s->attempts;
    infer_end(whole);
    split_free(s, outputs_len);
}

/* ---- join ---- */

/* Room for all rows of the outputs, shaped as the first part's. */
static bool take_shapes(struct split *s, const struct infer *i)
{
    const struct model_desc *d = s->whole->model->info.desc;
    s->out = calloc(d->outputs_len + 1, sizeof *s->out);
    CHECK(s->out);
    uint64_t total = 0;
    for (uint32_t k = 0; k < d->outputs_len; k++) {
        s->out[k] = i->out[k];
        s->out[k].data = NULL;
        s->out[k].dims[0] = s->whole->rows;
        s->out[k].bytes = i->out[k].bytes / i->rows * s->whole->rows;
        total += s->out[k].bytes;
    }
    if (total > s->whole->model->lane.map->out_cap) {
        err_set(&s->err, ERR_TOO_LARGE, "the answer to %u rows needs %llu bytes, more than the limit of %llu",
                s->whole->rows, (unsigned long long)total, (unsigned long long)s->whole->model->lane.map->out_cap);
        err_remedy(&s->err, "send fewer rows at once");
        return false;
    }
    for (uint32_t k = 0; k < d->outputs_len; k++) {
        s->out[k].data = malloc(s->out[k].bytes + 1);
        CHECK(s->out[k].data);
    }
    s->has_shapes = true;
    return true;
}

static bool same_shape(const struct infer_tensor *a, const struct infer_tensor *b)
{
    return a->ndim == b->ndim && memcmp(a->dims + 1, b->dims + 1, sizeof a->dims[0] * (size_t)(a->ndim - 1)) == 0;
}

static void take_rows(struct split *s, const struct part *p)
{
    const struct infer *i = &p->infer;
    const struct model_desc *d = s->whole->model->info.desc;
    if (!s->has_shapes && !take_shapes(s, i))
        return;
    for (uint32_t k = 0; k < d->outputs_len; k++) {
        if (!same_shape(&s->out[k], &i->out[k])) {
            err_set(&s->err, ERR_BACKEND, "output '%s' has another shape in another part of the request",
                    d->outputs[k].name);
            err_remedy(&s->err, "send at most %u rows at once", s->whole->model->lane.row_cap);
            return;
        }
        memcpy(s->out[k].data + i->out[k].bytes / i->rows * p->row0, i->out[k].data, i->out[k].bytes);
    }
    s->t_run_ns = s->t_run_ns == 0 || i->t_run_ns < s->t_run_ns ? i->t_run_ns : s->t_run_ns;
    s->t_ran_ns = i->t_ran_ns > s->t_ran_ns ? i->t_ran_ns : s->t_ran_ns;
}

/* Those that have not been answered; ended parts ignore it. */
static void cancel_parts(struct split *s)
{
    s->is_ending = true;
    s->left++; /* not freed below us */
    for (uint32_t n = 0; n < s->parts_len; n++)
        infer_cancel(&s->parts[n].infer);
    if (--s->left == 0)
        finish(s);
}

static void part_done(struct infer *i)
{
    struct part *p = i->owner;
    struct split *s = p->split;
    s->attempts = i->attempts > s->attempts ? i->attempts : s->attempts;
    if (s->err.code == ERR_OK && i->err.code == ERR_OK)
        take_rows(s, p);
    else if (s->err.code == ERR_OK)
        s->err = i->err;
    if (--s->left == 0)
        finish(s);
    else if (s->err.code != ERR_OK && !s->is_ending)
        cancel_parts(s);
}

/* ---- begin ---- */

static enum err_code part_decode(struct infer *i, struct err *err)
{
    struct part *p = i->owner;
    struct split *s = p->split;
    (void)err;
    for (uint32_t k = 0; k < i->model->info.desc->inputs_len; k++)
        if (i->in[k].given)
            memcpy(i->in[k].data, s->in + s->in_off[k] + s->in_row[k] * p->row0, i->in[k].bytes);
    return ERR_OK;
}

/* Lets the protocol write the whole request's elements into memory of ours. */
static enum err_code decode_whole(struct split *s, struct err *err)
{
    struct infer *w = s->whole;
    const struct model_desc *d = w->model->info.desc;
    uint64_t total = 0, count = 0;
    for (uint32_t k = 0; k < d->inputs_len; k++) {
        struct infer_tensor *t = &w->in[k];
        if (t->given && !tensor_count(t->dims + 1, t->ndim - 1, &count))
            return err_set(err, ERR_INVALID, "input '%s' is too large", d->inputs[k].name);
        s->in_row[k] = t->given ? count * dtype_size(t->dtype) : 0;
        s->in_off[k] = ROUND_UP(total, ALIGN);
        total = s->in_off[k] + s->in_row[k] * w->rows;
    }
    if (total > w->model->lane.map->in_cap) {
        err_set(err, ERR_TOO_LARGE, "the request's tensors need %llu bytes, more than the limit of %llu",
                (unsigned long long)total, (unsigned long long)w->model->lane.map->in_cap);
        return err_remedy(err, "send fewer rows at once, or raise http.body_max");
    }
    s->in = aligned_alloc(ALIGN, ROUND_UP(total + 1, ALIGN));
    CHECK(s->in);
    for (uint32_t k = 0; k < d->inputs_len; k++) {
        w->in[k].data = s->in + s->in_off[k];
        w->in[k].bytes = s->in_row[k] * w->rows;
    }
    return w->decode(w, err);
}

static void make_parts(struct split *s)
{
    struct infer *w = s->whole;
    uint32_t size = w->model->lane.row_cap, inputs = w->model->info.desc->inputs_len;
    uint64_t step = infer_part_order(w->model);
    s->parts_len = s->left = (w->rows + size - 1) / size;
    s->parts = calloc(s->parts_len, sizeof *s->parts);
    s->in_tensors = calloc((size_t)s->parts_len * inputs, sizeof *s->in_tensors);
    CHECK(s->parts && s->in_tensors);
    for (uint32_t n = 0; n < s->parts_len; n++) {
        struct part *p = &s->parts[n];
        uint32_t rows = n + 1 < s->parts_len ? size : w->rows - n * size;
        p->split = s;
        p->row0 = n * size;
        p->infer = (struct infer){.serve = w->serve,
                                  .model = w->model,
                                  .arena = w->arena,
                                  .in = s->in_tensors + (size_t)n * inputs,
                                  .decode = part_decode,
                                  .done = part_done,
                                  .owner = p,
                                  .priority = w->priority,
                                  .client = w->client,
                                  .deadline_ns = w->deadline_ns,
                                  .order = w->order + n * step,
                                  .begin_by_ns = queue_part_begin_by(w->model, w, n),
                                  .request_id = w->request_id,
                                  .part_of = w};
        for (uint32_t k = 0; k < inputs; k++) {
            p->infer.in[k] = w->in[k];
            p->infer.in[k].dims[0] = rows;
        }
    }
}

void split_submit(struct infer *whole)
{
    struct split *s = calloc(1, sizeof *s);
    CHECK(s);
    s->whole = whole;
    s->in_row = calloc(whole->model->info.desc->inputs_len + 1, sizeof *s->in_row);
    s->in_off = calloc(whole->model->info.desc->inputs_len + 1, sizeof *s->in_off);
    CHECK(s->in_row && s->in_off);
    if (decode_whole(s, &whole->err)) {
        split_free(s, 0);
        infer_end(whole);
        return;
    }
    whole->t_decoded_ns = clock_now_ns();
    whole->state = INFER_SPLIT;
    whole->split = s;
    whole->model->serve->busy++;
    whole->model->splits++;
    queue_note(whole->model, whole, 1);
    make_parts(s);
    s->left++; /* ours: parts may end while others are still being submitted */
    for (; s->begun < s->parts_len && !s->is_ending; s->begun++)
        infer_submit(&s->parts[s->begun].infer);
    s->left -= s->parts_len - s->begun; /* an earlier one has failed */
    if (--s->left == 0)
        finish(s);
}

void split_cancel(struct infer *whole)
{
    cancel_parts(whole->split);
}
