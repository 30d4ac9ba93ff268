/* Checks of how long, and how many, requests may wait. */
#include <stdio.h>

#include "base/str.h"
#include "cli/config_int.h"
#include "cli/config_queue.h"

#define PRIORITY_MAX 10

uint32_t config_priority(const struct priority_config *p)
{
    uint64_t v;
    return str_to_u64(str_c(p->name), &v) && v >= 1 && v <= PRIORITY_MAX && p->name[0] != '0' ? (uint32_t)v : 0;
}

static enum err_code contradiction(const struct config *c, const struct model_config *m, const char *key,
                                   struct err *err)
{
    (void)config_fail_model(c, err, m, key, "the model is to keep the order in which requests come (batching.ordered)");
    return err_remedy(err, "leave out one of them: in order there are no priorities, and nobody is put behind others");
}

static enum err_code check_wait(const struct config *c, const struct model_config *m, const char *key, uint64_t wait_ns,
                                bool is_delay, struct err *err)
{
    if (wait_ns > 0 && wait_ns <= m->batching.delay_ns) {
        (void)config_fail_model(c, err, m, "batching.delay", "requests may not wait so long (queue_timeout)");
        return err_remedy(err, "make it shorter; a few milliseconds are usual");
    }
    if (is_delay && wait_ns == 0) {
        (void)config_fail_model(c, err, m, key, "delay needs a queue_timeout beside it, after which it begins");
        return err_remedy(err, "write for example queue_timeout: 100ms");
    }
    return ERR_OK;
}

enum err_code config_check_queue(const struct config *c, const struct model_config *m, struct err *err)
{
    const struct priority_config *p = m->priorities.items;
    char key[80];
    if (check_wait(c, m, "queue_late", m->queue_timeout_ns, m->queue_late == QUEUE_DELAY, err))
        return err->code;
    if (m->batching.is_ordered && m->queue_late == QUEUE_DELAY)
        return contradiction(c, m, "queue_late", err);
    for (size_t i = 0; i < m->priorities.len; i++) {
        (void)snprintf(key, sizeof key, "priorities.%.20s", p[i].name);
        if (config_priority(&p[i]) == 0)
            return config_fail_model(c, err, m, key, "a priority is a whole number from 1 to 10, 1 is most urgent");
        if (m->batching.is_ordered)
            return contradiction(c, m, key, err);
        (void)snprintf(key, sizeof key, "priorities.%.20s.queue_late", p[i].name);
        if (check_wait(c, m, key, p[i].queue_timeout_ns, p[i].queue_late == QUEUE_DELAY, err))
            return err->code;
    }
    return ERR_OK;
}
