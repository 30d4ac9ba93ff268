/* Models without processes: inline ones are loaded here, by a thread of their own, since loading takes long; the master, which sees no process of
 * theirs, is told when they (or ensembles) are ready. */
#include <stdlib.h>

#include "app/edge_model_news.h"
#include "base/check.h"
#include "base/clock.h"
#include "model/repo/fingerprint.h"

#define PROBE_NS   (20 * NS_PER_MS)
#define MEASURE_NS (20 * NS_PER_MS)

struct inline_load {
    struct edge *edge;
    struct model_shared *shared;
    struct model_news news;
    struct arena arena;      /* of the news */
    struct model_desc *desc; /* until it is loaded */
    struct err err;
    uv_async_t done;
};

static void tell_inline(struct edge *e, uint32_t segment, const struct err *err)
{
    struct buf text;
    buf_init(&text, CHANNEL_PAYLOAD_MAX);
    channel_write_err(&text, segment, err);
    edge_tell(e, err->code ? CHANNEL_FAILED : CHANNEL_READY, buf_view(&text));
    buf_done(&text);
}

static enum err_code load_instances(struct inline_load *l, struct err *err)
{
    struct model_shared *sh = l->shared;
    struct model_desc *d = l->desc;
    const struct model_news *n = &l->news;
    struct backend_load opt = {
        .name = sh->name,
        .path = n->path.n ? n->path.p : NULL,
        .root = n->root.n ? n->root.p : NULL,
        .engine_dir = n->engine_dir.n ? n->engine_dir.p : NULL,
        .params = n->params,
        .params_len = n->params_len,
        .threads = (int)n->threads,
        .max_batch = n->max_batch,
    };
    uint64_t start_ns = clock_now_ns();
    sh->backend = backend_by_name(n->backend);
    if (!sh->backend)
        return err_set(err, ERR_INVALID, "unknown backend '%.*s'", STR_F(n->backend));
    if (sh->backend->engine_open && sh->backend->engine_open(&opt, err))
        return err->code;
    if (opt.path && repo_verify(opt.path, err))
        return err->code;
    for (int i = 0; i < l->edge->threads_len; i++)
        if (sh->backend->load(&opt, &sh->instances[i], err))
            return err->code;
    if (sh->backend->describe(sh->instances[0], d, err) || declared_check(&n->declared, d, err))
        return err->code;
    backend_probe_batching(sh->backend, sh->instances[0], d, PROBE_NS);
    backend_measure_batching(sh->backend, sh->instances[0], d, n->max_batch > 0, MEASURE_NS);
    for (int i = 0; i < l->edge->threads_len; i++)
        if (warmup_run(&n->warmup, sh->backend, sh->instances[i], d, err))
            return err->code;
    d->load_ns = clock_now_ns() - start_ns;
    return model_desc_check(d, err);
}

void edge_model_is(struct edge *e, struct edge_model *m, enum served_state state, const struct err *err)
{
    pthread_mutex_lock(&e->models_lock);
    m->state = state;
    m->reason[0] = '\0';
    m->instances = m->instances_ready = 0;
    if (state == SERVED_FAILED)
        edge_model_set_failed(m, err->text, err->remedy);
    if (state == SERVED_READY && m->ready_at_ms == 0)
        m->ready_at_ms = clock_wall_ms();
    pthread_mutex_unlock(&e->models_lock);
    edge_model_publish(e, m);
    if (state != SERVED_LOADING)
        tell_inline(e, m->shared->id, err);
}

static void on_inline_closed(uv_handle_t *h)
{
    struct inline_load *l = h->data;
    (void)model_shared_unref(l->shared);
    model_desc_free(l->desc);
    arena_done(&l->arena);
    free(l);
}

static void on_inline_loaded(uv_async_t *h)
{
    struct inline_load *l = h->data;
    struct edge_model *m = edge_model_by_id(l->edge, l->shared->id);
    pthread_mutex_lock(&l->edge->models_lock);
    if (m && l->err.code) {
        edge_model_set_failed(m, l->err.text, l->err.remedy);
    } else if (m) {
        l->shared->desc = model_desc_copy(l->desc);
        m->state = SERVED_READY;
        m->instances = m->instances_ready = l->edge->threads_len;
        m->ready_at_ms = clock_wall_ms();
    }
    pthread_mutex_unlock(&l->edge->models_lock);
    if (m) {
        edge_model_publish(l->edge, m);
        tell_inline(l->edge, l->shared->id, &l->err);
        edge_ensembles_update(l->edge);
    }
    uv_close((uv_handle_t *)h, on_inline_closed);
}

static void *inline_thread(void *arg)
{
    struct inline_load *l = arg;
    (void)load_instances(l, &l->err); /* the code is in err */
    (void)uv_async_send(&l->done);
    return NULL;
}

void edge_inline_start(struct edge *e, struct edge_model *m, struct str payload)
{
    struct inline_load *l = calloc(1, sizeof *l);
    pthread_t thread;
    CHECK(l);
    l->edge = e;
    l->shared = model_shared_ref(m->shared);
    l->desc = model_desc_new();
    arena_init(&l->arena, 4096, 1 << 20);
    struct buf copy; /* the message is gone before the thread reads it */
    buf_init(&copy, CHANNEL_PAYLOAD_MAX);
    buf_str(&copy, payload);
    buf_pad(&copy);
    (void)model_news_read(buf_view(&copy), &l->arena, &l->news); /* was read once already */
    buf_done(&copy);
    l->done.data = l;
    CHECK(uv_async_init(&e->threads[0].loop, &l->done, on_inline_loaded) == 0);
    CHECK(pthread_create(&thread, NULL, inline_thread, l) == 0);
    (void)pthread_detach(thread);
}
