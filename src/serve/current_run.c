#include "serve/current_run.h"

#include "base/check.h"

void current_run_init(struct current_run *r)
{
    *r = (struct current_run){0};
    CHECK(pthread_mutex_init(&r->lock, NULL) == 0);
}

void current_run_begin(struct current_run *r, const struct exec_block *b)
{
    pthread_mutex_lock(&r->lock);
    r->is_any = true;
    r->block = *b;
    pthread_mutex_unlock(&r->lock);
}

void current_run_end(struct current_run *r)
{
    pthread_mutex_lock(&r->lock);
    r->is_any = false;
    pthread_mutex_unlock(&r->lock);
}

/* The backend is asked under the lock: else the run that is meant could end between the look and the asking. */
bool current_run_abort(struct current_run *r, const struct exec_block *b, const struct backend *backend, void *instance)
{
    if (!backend->abort)
        return false;
    pthread_mutex_lock(&r->lock);
    bool is_it = r->is_any && r->block.lane == b->lane && r->block.block == b->block && r->block.gen == b->gen;
    if (is_it)
        backend->abort(instance);
    pthread_mutex_unlock(&r->lock);
    return is_it;
}
