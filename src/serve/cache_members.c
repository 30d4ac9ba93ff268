#include "serve/cache_members.h"

#include "serve/internal_int.h"

bool cache_members(const struct infer *i, uint64_t **w)
{
    const struct ensemble *e = served_shared(i->model)->ensemble;
    if (e && i->serve->canaries > 0)
        return false;
    for (uint32_t n = 0; e && n < e->steps_len; n++) {
        struct served *m;
        struct err err;
        if (serve_step_model(i->serve, str_c(e->steps[n].model), str_c(e->steps[n].version), &m, &err))
            return false;
        *(*w)++ = m->shared->id;
    }
    return true;
}
