#include "net/deadline_int.h"

void deadline_list_init(struct deadline_list *l, int kind, uint64_t limit_ns)
{
    *l = (struct deadline_list){.limit_ns = limit_ns, .kind = kind};
    l->ends.prev = l->ends.next = &l->ends;
}

bool deadline_is_on(const struct deadline *d)
{
    return d->next != NULL;
}

void deadline_stop(struct deadline *d)
{
    if (!d->next)
        return;
    d->prev->next = d->next;
    d->next->prev = d->prev;
    d->prev = d->next = NULL;
}

void deadline_start(struct deadline_list *l, struct deadline *d, uint64_t now_ns)
{
    deadline_stop(d);
    d->at_ns = now_ns + l->limit_ns;
    d->kind = l->kind;
    d->prev = l->ends.prev;
    d->next = &l->ends;
    d->prev->next = d;
    l->ends.prev = d;
}

struct deadline *deadline_first(struct deadline_list *l)
{
    return l->ends.next == &l->ends ? NULL : l->ends.next;
}

struct deadline *deadline_expired(struct deadline_list *l, uint64_t now_ns)
{
    struct deadline *d = deadline_first(l);
    return d && d->at_ns <= now_ns ? d : NULL;
}
