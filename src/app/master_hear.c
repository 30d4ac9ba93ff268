/* What children say on their lifecycle channels. Nobody is believed more than their role needs: an edge names workers by segment and pid, and only children that have
 * both are touched. */
#include <stdio.h>

#include "app/log_share.h"
#include "app/master_int.h"
#include "base/clock.h"
#include "base/log.h"
#include "sys/fd.h"

struct told { /* fields that children put into their messages */
    uint64_t id, segment, pid, lane, block, gen, row_ns;
    struct str text, remedy, reason;
};

static void read_told(struct str payload, struct arena *a, struct told *t)
{
    struct json_reader r;
    struct str key;
    *t = (struct told){.text = STR(""), .remedy = STR(""), .reason = STR("")};
    json_init(&r, payload, 4);
    json_object(&r);
    while (json_key(&r, &key)) {
        if (str_eq_c(key, "segment"))
            json_u64(&r, &t->segment);
        else if (str_eq_c(key, "id"))
            json_u64(&r, &t->id);
        else if (str_eq_c(key, "row_ns"))
            json_u64(&r, &t->row_ns);
        else if (str_eq_c(key, "pid"))
            json_u64(&r, &t->pid);
        else if (str_eq_c(key, "text"))
            json_string(&r, a, &t->text);
        else if (str_eq_c(key, "remedy"))
            json_string(&r, a, &t->remedy);
        else if (str_eq_c(key, "reason"))
            json_string(&r, a, &t->reason);
        else
            json_skip(&r, NULL);
    }
}

static struct child *worker_by_pid(struct master *m, const struct told *t)
{
    struct life *l = life_by_segment(m, (uint32_t)t->segment);
    for (int i = 0; l && i < l->children_len; i++)
        if (l->children[i].pid != 0 && l->children[i].pid == (int)t->pid)
            return &l->children[i];
    return NULL; /* it died meanwhile, or the edge is wrong: nobody else may be killed on its word */
}

static void on_ready(struct master *m, struct child *c, const struct told *t)
{
    if (child_is_edge(c) && t->segment != 0) {
        life_inline_result(m, (uint32_t)t->segment, NULL);
        return;
    }
    if (c->state == CHILD_DRAINING)
        return; /* it was stopped while it said so */
    restart_ready(&c->restart, clock_now_ns());
    c->kill_at_ns = 0;
    c->is_in_trouble = false;
    c->reason[0] = '\0';
    child_set_state(m, c, CHILD_READY);
    if (child_is_edge(c)) {
        m->edge_was_ready = true;
        lives_tell_edge(m);
    } else {
        scale_child_ready(c->life, t->row_ns);
        life_child_ready(m, c->life);
    }
}

/* What has served before is tried again and again: its file lies on a disk that is away, or no thread is to be had, and by the time that this is over nobody may be
 * there to reload it. */
static void on_failed(struct master *m, struct child *c, const struct told *t)
{
    char text[600];
    (void)snprintf(text, sizeof text, "%.*s%s%.*s", STR_F(t->text), t->remedy.n ? "; " : "", STR_F(t->remedy));
    if (child_is_edge(c) && t->segment != 0) {
        life_inline_result(m, (uint32_t)t->segment, text);
        return;
    }
    if (c->restart.was_ready) { /* it ends by itself, and is started again */
        (void)str_copy(c->kill_reason, sizeof c->kill_reason, str_c(text));
        c->has_told_why = true;
        return;
    }
    (void)str_copy(c->reason, sizeof c->reason, str_c(text));
    c->kill_at_ns = 0;
    child_set_state(m, c, CHILD_FAILED); /* it ends by itself; the reaper sees this state and does not start it again */
    if (child_is_edge(c)) {
        LOG_ERROR("edge cannot serve", LOG_S("error", text));
        m->exit_code = 1;
        m->stopping = true;
    } else {
        life_child_failed(m, c->life, text);
    }
}

/* What it ran when it told so is run again by another one, as after any kill from outside. */
static void on_damaged(struct child *c, const struct told *t)
{
    char reason[sizeof c->kill_reason];
    (void)snprintf(reason, sizeof reason, "ended by the master: %.*s", STR_F(t->text));
    LOG_ERROR("a compiled model was damaged on the disk: it is made anew", LOG_S("model", c->life->config->name),
              LOG_I("instance", c->index), LOG_STR("error", t->text), LOG_STR("remedy", t->remedy));
    child_kill(c, reason, false);
}

/* Those that start later are told at launch. */
static void tell_workers_log(struct master *m)
{
    struct buf text;
    struct json_writer w;
    buf_init(&text, CHANNEL_PAYLOAD_MAX);
    jw_init(&w, &text);
    log_share_write(&w);
    for (struct life *l = m->lives; l; l = l->next)
        for (int i = 0; i < l->children_len; i++)
            child_send(m, &l->children[i], CHANNEL_LOG, buf_view(&text), NULL, 0);
    buf_done(&text);
}

static void on_edge_asks(struct master *m, enum channel_type type, const struct told *t, struct str payload)
{
    struct child *w = worker_by_pid(m, t);
    char reason[240];
    switch ((int)type) {
    case CHANNEL_KILL:
        (void)str_copy(reason, sizeof reason, t->reason);
        if (w)
            child_kill(w, reason, true);
        break;
    case CHANNEL_CANCEL:
        if (w)
            child_send(m, w, CHANNEL_ABORT, payload, NULL, 0);
        break;
    case CHANNEL_LOG_CHOSEN:
        log_share_take_text(payload);
        tell_workers_log(m);
        break;
    case CHANNEL_DRAINED:
        if (t->segment != 0)
            life_drained(m, (uint32_t)t->segment);
        break;
    case CHANNEL_LOAD:
    case CHANNEL_UNLOAD:
    case CHANNEL_ROLLBACK:
    case CHANNEL_PROMOTE:
        loads_on_message(m, type, payload);
        break;
    case CHANNEL_WANT:
    case CHANNEL_UNWANT:
    case CHANNEL_YIELDED:
    case CHANNEL_USED:
        wants_on_message(m, type, payload);
        break;
    case CHANNEL_VERDICT:
        canary_verdict(m, payload);
        break;
    case CHANNEL_RELOAD:
        master_reload_asked(m, t->id);
        break;
    default:
        break;
    }
}

static void on_message(struct master *m, struct child *c)
{
    struct arena a;
    struct told t;
    arena_init(&a, 1024, 1 << 16);
    read_told(m->msg.payload, &a, &t);
    if (m->msg.type == CHANNEL_PONG)
        c->pinged_ns = 0;
    else if (c->stem)
        stem_told(m, c, m->msg.type, t.text);
    else if (c == &m->prober)
        scale_on_message(m, m->msg.type, m->msg.payload, t.text);
    else if (m->msg.type == CHANNEL_READY)
        on_ready(m, c, &t);
    else if (m->msg.type == CHANNEL_FAILED)
        on_failed(m, c, &t);
    else if (m->msg.type == CHANNEL_DAMAGED && c->life)
        on_damaged(c, &t);
    else if (child_is_edge(c))
        on_edge_asks(m, m->msg.type, &t, m->msg.payload);
    arena_done(&a);
}

void child_read(struct master *m, struct child *c)
{
    while (c->channel >= 0) {
        enum channel_result got = channel_recv(c->channel, &m->msg);
        if (got == CHANNEL_EMPTY)
            return;
        if (got == CHANNEL_CLOSED) {
            c->channel = fd_close(c->channel); /* the reaper does the rest */
            return;
        }
        channel_msg_close(&m->msg); /* children pass no descriptors */
        on_message(m, c);
    }
}
