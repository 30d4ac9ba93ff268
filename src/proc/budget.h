/* Which models are in memory. A pure function of what is known of them and the time, so that tests can play days of it in a second; the master does
 * what it says (app/master_budget.c) and asks again when something has changed, or at the time that it returns.
 *
 * A model that somebody wants and that is not in memory waits for room; who came first is served first, and nobody overtakes into room that an earlier one
 * waits for. Room is made by models that may go (not pinned), the one that was used longest ago first:
 *  - a model stays for BUDGET_STAY times its load time after it was loaded, whoever waits: loading takes at most a known part of the time;
 *  - one that was not used for as long as loading it again would take is unloaded when it is idle;
 *  - one that is in use is drained (no new requests; what it has is answered first) when somebody has waited for BUDGET_PATIENCE times both load
 *    times: so models that do not fit together take turns, in rounds instead of request by request.
 * Nothing goes unless what goes makes enough room. What can never fit is refused; what does not fit because of models that are about to go (replaced ones, and
 * what replaces them until it has taken over) waits for that, for BUDGET_PASSING_NS at most. A new life of a model that waits for room to be loaded beside
 * the old one does not make room by that; but for others the old one may go, so two such never wait for each other. */
#ifndef PROC_BUDGET_H
#define PROC_BUDGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BUDGET_STAY            3
#define BUDGET_PATIENCE        2
#define BUDGET_PATIENCE_MIN_NS UINT64_C(100000000)
#define BUDGET_PATIENCE_MAX_NS UINT64_C(10000000000)
#define BUDGET_PASSING_NS      UINT64_C(30000000000)

enum budget_phase {
    BUDGET_ABSENT,
    BUDGET_LOADING,
    BUDGET_READY,
    BUDGET_YIELDING, /* was told to go; may turn out to be in use, and be READY again */
    BUDGET_LEAVING   /* goes; its memory is not free yet */
};

enum budget_act {
    BUDGET_NONE,
    BUDGET_LOAD,
    BUDGET_UNLOAD, /* READY: if it is idle */
    BUDGET_DRAIN,  /* READY: after what it has is answered */
    BUDGET_STOP,   /* LOADING: it takes more than there is */
    BUDGET_REFUSE  /* wanted: it can never fit; the budget says why */
};

struct budget_model {
    /* told */
    enum budget_phase phase;
    bool is_pinned;           /* may not be unloaded */
    bool is_passing;          /* ... but goes by itself, or is free to go, in a moment */
    uint32_t group;           /* lives of one model: none makes room for another. 0: it has one life */
    bool is_busy;             /* has requests */
    bool is_guess;            /* what it needs was never measured: such models are loaded one at a time */
    uint64_t need_bytes;      /* when loaded */
    uint64_t peak_bytes;      /* while it loads; counts when it is more */
    uint64_t together_bytes;  /* of others that must be in memory at the same time, and are not pinned */
    uint64_t load_ns;         /* how long loading takes */
    uint64_t wanted_ns;       /* since when somebody waits; 0: nobody */
    uint64_t used_ns;         /* last request */
    uint64_t ready_ns;        /* READY since */
    uint64_t unload_after_ns; /* of idleness; 0: never */
    /* decided */
    enum budget_act act;
    uint64_t expect_ns; /* wanted, or LOADING: when it will be ready, about; UINT64_MAX: not known */
};

/* bytes 0: no budget; models are loaded when they are wanted and go when unload_after says so. Returns when to decide again if nothing happens before. */
uint64_t budget_decide(struct budget_model *models, size_t n, uint64_t bytes, uint64_t now_ns);
/* What it takes of the budget now. */
uint64_t budget_held(const struct budget_model *m);
/* What those take that stay: the most that is left for another is the rest. */
uint64_t budget_staying(const struct budget_model *models, size_t n);

#endif
