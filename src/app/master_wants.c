/* Who waits for models that are not loaded. The edge says so when the first request for a model waits and when the last one is gone; a want lives on for a
 * while after that, so that clients that come back later find their place kept. A want of an ensemble is one of all its members. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/master_int.h"
#include "base/check.h"
#include "base/clock.h"

#define WANTS_MAX        2048
#define LINGER_NS        (10 * NS_PER_S)
#define OPERATOR_NS      (600 * NS_PER_S)
#define EXPECT_CHANGE_NS (50 * NS_PER_MS) /* smaller changes are not told */

struct want {
    uint32_t segment;
    uint64_t since_ns;
    uint64_t until_ns; /* UINT64_MAX: requests wait */
    uint64_t told_ns;  /* when the edge was told that it will be ready */
};

struct wants {
    struct want items[WANTS_MAX];
    size_t len;
    struct life **index; /* all lives by descending segment, which is their order; made anew before use */
    size_t index_len, index_cap;
};

static struct wants *wants_of(struct master *m)
{
    if (!m->wants) {
        m->wants = calloc(1, sizeof *m->wants);
        CHECK(m->wants);
    }
    return m->wants;
}

static struct want *find(struct wants *w, uint32_t segment)
{
    for (size_t i = 0; i < w->len; i++)
        if (w->items[i].segment == segment)
            return &w->items[i];
    return NULL;
}

static void drop(struct wants *w, struct want *gone)
{
    *gone = w->items[--w->len];
}

/* ---- the lives; there may be a thousand, and as many wants of them ---- */

static void make_index(struct master *m)
{
    struct wants *w = wants_of(m);
    w->index_len = 0;
    for (struct life *l = m->lives; l; l = l->next) {
        if (w->index_len == w->index_cap) {
            w->index_cap = w->index_cap ? w->index_cap * 2 : 64;
            w->index = realloc(w->index, w->index_cap * sizeof *w->index);
            CHECK(w->index);
        }
        w->index[w->index_len++] = l;
    }
}

static struct life *indexed(const struct wants *w, uint64_t segment)
{
    size_t from = 0, to = w->index_len;
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        if (w->index[middle]->segment == segment)
            return w->index[middle];
        if (w->index[middle]->segment > segment)
            from = middle + 1;
        else
            to = middle;
    }
    return NULL;
}

/* ---- what a want is about ---- */

/* Versions are whole numbers without leading zeros: the longer is the greater. */
static bool is_newer(const char *a, const char *b)
{
    size_t na = strlen(a), nb = strlen(b);
    return na != nb ? na > nb : strcmp(a, b) > 0;
}

static struct life *member_of(const struct master *m, const struct ensemble_step_config *s)
{
    struct life *best = NULL;
    for (struct life *l = m->lives; l; l = l->next) {
        bool is_it = l->state < LIFE_KEPT && !l->replaces && l->segment_fd >= 0 &&
                     strcmp(l->config->name, s->model) == 0 &&
                     (!s->version || strcmp(l->config->version, s->version) == 0);
        if (is_it && (!best || is_newer(l->config->version, best->config->version)))
            best = l;
    }
    return best;
}

static size_t steps_of(const struct life *l)
{
    return l->config->ensemble.steps.len;
}

/* The i-th life that a want of l is about: itself, or a member; NULL: that member is not there. */
static struct life *target(const struct master *m, struct life *l, size_t i)
{
    const struct ensemble_step_config *steps = l->config->ensemble.steps.items;
    return steps_of(l) > 0 ? member_of(m, &steps[i]) : l;
}

static size_t targets_len(const struct life *l)
{
    return steps_of(l) > 0 ? steps_of(l) : 1;
}

static bool is_there(const struct life *l)
{
    return l->state == LIFE_READY && l->res.phase == BUDGET_READY;
}

static bool is_satisfied(const struct master *m, struct life *l)
{
    for (size_t i = 0; i < targets_len(l); i++) {
        const struct life *t = target(m, l, i);
        if (t && !is_there(t))
            return false;
    }
    return true;
}

static bool is_over(const struct master *m, const struct want *w, uint64_t now_ns)
{
    struct life *l = indexed(m->wants, w->segment);
    if (!l || l->state >= LIFE_KEPT || l->state == LIFE_FAILED)
        return true;
    return w->until_ns != UINT64_MAX && (now_ns >= w->until_ns || is_satisfied(m, l));
}

/* A member that is in memory already is held for the others, hence wanted too. */
static void mark(const struct master *m, const struct want *w)
{
    struct life *l = indexed(m->wants, w->segment);
    for (size_t i = 0; l && i < targets_len(l); i++) {
        struct life *t = target(m, l, i);
        if (t && (t->res.wanted_ns == 0 || w->since_ns < t->res.wanted_ns))
            t->res.wanted_ns = w->since_ns;
    }
}

/* Of the members of one ensemble, each counted once. */
static uint64_t others_of(const struct master *m, struct life *ensemble, const struct life *member)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < targets_len(ensemble); i++) {
        const struct life *t = target(m, ensemble, i);
        bool is_counted = !t || t == member || !life_is_on_demand(t);
        for (size_t k = 0; k < i && !is_counted; k++)
            is_counted = target(m, ensemble, k) == t;
        sum += is_counted ? 0 : memory_need(t);
    }
    return sum;
}

static void mark_together(const struct master *m, const struct want *w)
{
    struct life *l = indexed(m->wants, w->segment);
    for (size_t i = 0; l && steps_of(l) > 0 && i < targets_len(l); i++) {
        struct life *t = target(m, l, i);
        uint64_t sum = t ? others_of(m, l, t) : 0;
        if (t && sum > t->res.together_bytes)
            t->res.together_bytes = sum;
    }
}

void wants_mark(struct master *m, uint64_t now_ns)
{
    struct wants *w = wants_of(m);
    make_index(m);
    for (struct life *l = m->lives; l; l = l->next) {
        l->res.wanted_ns = l->res.due_ns;
        l->res.together_bytes = 0;
    }
    for (size_t i = 0; i < w->len; i++)
        if (is_over(m, &w->items[i], now_ns))
            drop(w, &w->items[i--]);
    for (size_t i = 0; i < w->len; i++)
        mark(m, &w->items[i]);
    for (size_t i = 0; i < w->len; i++)
        mark_together(m, &w->items[i]);
}

uint64_t wants_next_ns(const struct master *m)
{
    const struct wants *w = m->wants;
    uint64_t next = UINT64_MAX;
    for (size_t i = 0; w && i < w->len; i++)
        next = w->items[i].until_ns < next ? w->items[i].until_ns : next;
    return next;
}

/* ---- what the edge is told ---- */

void wants_expect(struct master *m)
{
    struct wants *w = wants_of(m);
    char text[120];
    for (size_t i = 0; i < w->len; i++) {
        struct life *l = indexed(w, w->items[i].segment);
        uint64_t at_ns = 0;
        for (size_t k = 0; l && k < targets_len(l); k++) {
            const struct life *t = target(m, l, k);
            if (t && !is_there(t) && t->res.expect_ns != UINT64_MAX && t->res.expect_ns > at_ns)
                at_ns = t->res.expect_ns;
        }
        uint64_t told = w->items[i].told_ns, change = at_ns > told ? at_ns - told : told - at_ns;
        if (at_ns == 0 || change < EXPECT_CHANGE_NS)
            continue;
        w->items[i].told_ns = at_ns;
        (void)snprintf(text, sizeof text, "{\"segment\":%u,\"at_ns\":%llu}", w->items[i].segment,
                       (unsigned long long)at_ns);
        child_send(m, &m->edge, CHANNEL_EXPECT, str_c(text), NULL, 0);
    }
}

static void tell_refused(struct master *m, uint32_t segment, const struct err *why)
{
    struct buf text;
    buf_init(&text, CHANNEL_PAYLOAD_MAX);
    channel_write_err(&text, segment, why);
    child_send(m, &m->edge, CHANNEL_EXPECT, buf_view(&text), NULL, 0);
    buf_done(&text);
}

void wants_refused(struct master *m, struct life *l, const struct err *why)
{
    struct wants *w = wants_of(m);
    for (size_t i = 0; i < w->len; i++) {
        struct life *who = indexed(w, w->items[i].segment);
        bool is_about = false;
        for (size_t k = 0; who && k < targets_len(who); k++)
            is_about = is_about || target(m, who, k) == l;
        if (!is_about)
            continue;
        tell_refused(m, w->items[i].segment, why);
        drop(w, &w->items[i--]);
    }
}

/* ---- what the edge tells ---- */

/* [[segment, idle_ms, busy], ...] */
static void read_used(struct master *m, struct json_reader *r)
{
    uint64_t now_ns = clock_now_ns();
    make_index(m);
    json_array(r);
    while (json_item(r)) {
        uint64_t v[3] = {0};
        json_array(r);
        for (int i = 0; json_item(r); i++)
            if (i < 3 ? !json_u64(r, &v[i]) : !json_skip(r, NULL))
                return;
        struct life *l = indexed(m->wants, v[0]);
        if (!l)
            continue;
        uint64_t idle_ns = v[1] < UINT64_MAX / NS_PER_MS ? v[1] * NS_PER_MS : 0;
        uint64_t used_ns = idle_ns < now_ns ? now_ns - idle_ns : 0;
        l->res.used_ns = used_ns > l->res.used_ns ? used_ns : l->res.used_ns;
        l->res.is_busy = v[2] != 0;
    }
}

static void add(struct master *m, uint32_t segment, uint64_t until_ns)
{
    struct wants *w = wants_of(m);
    struct want *it = find(w, segment);
    if (it) {
        it->until_ns = until_ns > it->until_ns ? until_ns : it->until_ns;
        return;
    }
    if (w->len < WANTS_MAX && life_by_segment(m, segment))
        w->items[w->len++] = (struct want){.segment = segment, .since_ns = clock_now_ns(), .until_ns = until_ns};
}

void wants_by_request(struct master *m, const char *name)
{
    for (struct life *l = m->lives; l; l = l->next)
        if (l->state == LIFE_ASLEEP && strcmp(l->config->name, name) == 0)
            add(m, l->segment, clock_now_ns() + OPERATOR_NS);
    budget_changed(m);
}

bool wants_has(const struct master *m, const struct life *l)
{
    if (l->state != LIFE_ASLEEP || !m->wants)
        return false;
    for (size_t i = 0; i < m->wants->len; i++)
        if (m->wants->items[i].segment == l->segment)
            return true;
    return false;
}

void wants_forget(struct master *m)
{
    if (m->wants)
        m->wants->len = 0;
    budget_changed(m);
}

void wants_on_message(struct master *m, enum channel_type type, struct str payload)
{
    struct json_reader r;
    struct str key;
    uint64_t segment = 0;
    bool is_busy = false;
    json_init(&r, payload, 6);
    json_object(&r);
    while (json_key(&r, &key)) {
        if (str_eq_c(key, "segment"))
            json_u64(&r, &segment);
        else if (str_eq_c(key, "busy"))
            json_bool(&r, &is_busy);
        else if (str_eq_c(key, "used"))
            read_used(m, &r);
        else
            json_skip(&r, NULL);
    }
    struct life *l = life_by_segment(m, (uint32_t)segment);
    if (type == CHANNEL_WANT) {
        add(m, (uint32_t)segment, UINT64_MAX);
    } else if (type == CHANNEL_UNWANT) {
        struct want *w = find(wants_of(m), (uint32_t)segment);
        if (w)
            w->until_ns = clock_now_ns() + LINGER_NS;
    } else if (type == CHANNEL_YIELDED && l) {
        budget_yielded(m, l, is_busy);
    }
    if (type != CHANNEL_USED)
        budget_changed(m);
}
