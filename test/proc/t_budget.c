/* The memory budget: single decisions, and days of made-up traffic in which nothing may ever go wrong. */
#include "proc/budget.h"

#include <string.h>

#include "base/rand.h"
#include "t.h"

#define MS  UINT64_C(1000000)
#define SEC (1000 * MS)
#define MIB UINT64_C(1048576)
#define T0  (1000 * SEC) /* now, in the tests of single decisions */

static struct budget_model loaded(uint64_t mib, uint64_t used_ns)
{
    return (struct budget_model){
        .phase = BUDGET_READY, .need_bytes = mib * MIB, .load_ns = SEC, .used_ns = used_ns, .ready_ns = T0 - 100 * SEC};
}

static struct budget_model wanted(uint64_t mib, uint64_t since_ns)
{
    return (struct budget_model){
        .phase = BUDGET_ABSENT, .need_bytes = mib * MIB, .load_ns = SEC, .wanted_ns = since_ns};
}

TEST(what_fits_is_loaded_at_once)
{
    struct budget_model m[] = {loaded(40, T0), wanted(60, T0)};
    (void)budget_decide(m, 2, 100 * MIB, T0);
    EXPECT_EQ(m[0].act, BUDGET_NONE);
    EXPECT_EQ(m[1].act, BUDGET_LOAD);
    EXPECT_EQ(m[1].expect_ns, T0 + SEC);
}

TEST(the_peak_of_loading_must_fit_too)
{
    struct budget_model m[] = {loaded(40, T0), wanted(60, T0)};
    m[1].peak_bytes = 61 * MIB;
    (void)budget_decide(m, 2, 100 * MIB, T0);
    EXPECT_EQ(m[1].act, BUDGET_NONE);
}

TEST(the_one_used_longest_ago_goes)
{
    struct budget_model m[] = {loaded(40, T0 - 20 * SEC), loaded(40, T0 - 30 * SEC), wanted(40, T0)};
    (void)budget_decide(m, 3, 100 * MIB, T0);
    EXPECT_EQ(m[0].act, BUDGET_NONE);
    EXPECT_EQ(m[1].act, BUDGET_UNLOAD);
    EXPECT_EQ(m[2].act, BUDGET_NONE); /* its memory is not free yet */
    m[1].phase = BUDGET_LEAVING;
    (void)budget_decide(m, 3, 100 * MIB, T0);
    EXPECT_EQ(m[0].act, BUDGET_NONE); /* enough is on its way */
    m[1].phase = BUDGET_ABSENT;
    (void)budget_decide(m, 3, 100 * MIB, T0);
    EXPECT_EQ(m[2].act, BUDGET_LOAD);
}

TEST(one_large_model_goes_rather_than_it_and_a_small_one)
{
    struct budget_model m[] = {loaded(10, T0 - 30 * SEC), loaded(80, T0 - 20 * SEC), wanted(60, T0)};
    (void)budget_decide(m, 3, 100 * MIB, T0);
    EXPECT_EQ(m[0].act, BUDGET_NONE);
    EXPECT_EQ(m[1].act, BUDGET_UNLOAD);
}

TEST(nobody_goes_when_it_would_not_be_enough)
{
    struct budget_model m[] = {loaded(40, T0 - 30 * SEC), loaded(40, T0), wanted(80, T0)};
    m[1].is_busy = true;
    uint64_t next = budget_decide(m, 3, 100 * MIB, T0);
    EXPECT_EQ(m[0].act, BUDGET_NONE);
    EXPECT_EQ(m[1].act, BUDGET_NONE);
    EXPECT_EQ(next, T0 + BUDGET_PATIENCE * 2 * SEC); /* then the busy one must take turns */
    EXPECT_EQ(m[2].expect_ns, next + SEC);
    (void)budget_decide(m, 3, 100 * MIB, next);
    EXPECT_EQ(m[0].act, BUDGET_UNLOAD);
    EXPECT_EQ(m[1].act, BUDGET_DRAIN);
}

TEST(a_model_that_was_just_loaded_stays)
{
    struct budget_model m[] = {loaded(80, T0 - 1 * SEC), wanted(80, T0 - 60 * SEC)};
    m[0].ready_ns = T0 - 2 * SEC;
    uint64_t next = budget_decide(m, 2, 100 * MIB, T0);
    EXPECT_EQ(m[0].act, BUDGET_NONE);
    EXPECT_EQ(next, T0 + SEC);
    (void)budget_decide(m, 2, 100 * MIB, next);
    EXPECT_EQ(m[0].act, BUDGET_UNLOAD);
}

TEST(models_that_were_never_measured_are_loaded_one_at_a_time)
{
    struct budget_model m[] = {wanted(10, T0), wanted(10, T0 + 1), wanted(10, T0 + 2)};
    m[0].is_guess = m[1].is_guess = true;
    (void)budget_decide(m, 3, 100 * MIB, T0 + 3);
    EXPECT_EQ(m[0].act, BUDGET_LOAD);
    EXPECT_EQ(m[1].act, BUDGET_NONE);
    EXPECT_EQ(m[2].act, BUDGET_LOAD);
    m[0].phase = m[2].phase = BUDGET_LOADING;
    (void)budget_decide(m, 3, 100 * MIB, T0 + 3);
    EXPECT_EQ(m[1].act, BUDGET_NONE);
    (void)budget_decide(m, 3, 0, T0 + 3); /* without a budget it does not matter */
    EXPECT_EQ(m[1].act, BUDGET_LOAD);
}

TEST(pinned_models_stay_and_what_cannot_fit_beside_them_is_refused)
{
    struct budget_model m[] = {loaded(60, T0 - 90 * SEC), wanted(60, T0), wanted(40, T0 + 1)};
    m[0].is_pinned = true;
    (void)budget_decide(m, 3, 100 * MIB, T0 + 2);
    EXPECT_EQ(m[0].act, BUDGET_NONE);
    EXPECT_EQ(m[1].act, BUDGET_REFUSE);
    EXPECT_EQ(m[2].act, BUDGET_LOAD);
    EXPECT_EQ(budget_staying(m, 3), 60 * MIB);
}

TEST(who_does_not_fit_beside_what_goes_in_a_moment_waits_for_that)
{
    struct budget_model m[] = {loaded(60, T0), wanted(60, T0)};
    m[0].is_pinned = m[0].is_passing = true;
    uint64_t next = budget_decide(m, 2, 100 * MIB, T0);
    EXPECT_EQ(m[0].act, BUDGET_NONE);
    EXPECT_EQ(m[1].act, BUDGET_NONE);
    EXPECT_EQ(next, T0 + BUDGET_PASSING_NS);
    (void)budget_decide(m, 2, 100 * MIB, next); /* it was not a moment */
    EXPECT_EQ(m[1].act, BUDGET_REFUSE);
}

TEST(a_new_life_that_cannot_be_there_beside_the_old_one_is_refused_at_once)
{
    struct budget_model m[] = {loaded(60, T0 - 90 * SEC), wanted(60, T0)};
    m[0].group = m[1].group = 1;
    (void)budget_decide(m, 2, 100 * MIB, T0);
    EXPECT_EQ(m[0].act, BUDGET_NONE);
    EXPECT_EQ(m[1].act, BUDGET_REFUSE);
    m[0].group = m[1].group = 0; /* of two models */
    (void)budget_decide(m, 2, 100 * MIB, T0);
    EXPECT_EQ(m[0].act, BUDGET_UNLOAD);
    EXPECT_EQ(m[1].act, BUDGET_NONE);
}

TEST(two_new_lives_do_not_wait_for_each_others_old_one)
{
    struct budget_model m[] = {loaded(40, T0 - 90 * SEC), wanted(40, T0), loaded(40, T0 - 80 * SEC),
                               wanted(40, T0 + 1)};
    m[0].group = m[1].group = 1;
    m[2].group = m[3].group = 2;
    m[0].wanted_ns = T0; /* each is held for its new life */
    m[2].wanted_ns = T0 + 1;
    (void)budget_decide(m, 4, 100 * MIB, T0 + 2);
    EXPECT_EQ(m[0].act, BUDGET_NONE); /* it is the one that is replaced first */
    EXPECT_EQ(m[1].act, BUDGET_NONE);
    EXPECT_EQ(m[2].act, BUDGET_UNLOAD); /* its new life need not be loaded beside it then */
    EXPECT_EQ(m[3].act, BUDGET_NONE);
    m[2].wanted_ns = m[3].wanted_ns = T0; /* in the same moment */
    (void)budget_decide(m, 4, 100 * MIB, T0 + 2);
    EXPECT_EQ(m[0].act, BUDGET_NONE);
    EXPECT_EQ(m[2].act, BUDGET_UNLOAD);
}

TEST(members_of_an_ensemble_that_do_not_fit_together_are_refused)
{
    struct budget_model m[] = {wanted(60, T0), wanted(60, T0)};
    m[0].together_bytes = m[1].together_bytes = 60 * MIB;
    (void)budget_decide(m, 2, 100 * MIB, T0);
    EXPECT_EQ(m[0].act, BUDGET_REFUSE);
    EXPECT_EQ(m[1].act, BUDGET_REFUSE);
}

TEST(a_member_that_is_there_waits_for_the_others_but_not_for_ever)
{
    struct budget_model m[] = {loaded(50, T0 - 60 * SEC), loaded(50, T0 - 60 * SEC), wanted(50, T0 - 2)};
    m[0].wanted_ns = T0 - 2; /* the same ensemble */
    m[1].wanted_ns = T0 - 1; /* another one, which came later */
    (void)budget_decide(m, 3, 100 * MIB, T0);
    EXPECT_EQ(m[0].act, BUDGET_NONE);
    EXPECT_EQ(m[1].act, BUDGET_UNLOAD);
}

TEST(nobody_overtakes_into_room_that_another_waits_for)
{
    struct budget_model m[] = {loaded(60, T0), wanted(80, T0), wanted(20, T0 + 1)};
    m[0].is_busy = true;
    (void)budget_decide(m, 3, 100 * MIB, T0 + 2);
    EXPECT_EQ(m[2].act, BUDGET_NONE); /* 40 are free, but the 80 wait for them */
    EXPECT(m[2].expect_ns > m[1].expect_ns && m[2].expect_ns < UINT64_MAX);
}

TEST(idle_models_go_after_their_time)
{
    struct budget_model m[] = {loaded(10, T0 - 59 * SEC), loaded(10, T0 - 61 * SEC), loaded(10, T0 - 900 * SEC)};
    for (int i = 0; i < 3; i++)
        m[i].unload_after_ns = 60 * SEC;
    m[2].is_busy = true;
    uint64_t next = budget_decide(m, 3, 0, T0);
    EXPECT_EQ(m[0].act, BUDGET_NONE);
    EXPECT_EQ(m[1].act, BUDGET_UNLOAD);
    EXPECT_EQ(m[2].act, BUDGET_NONE);
    EXPECT_EQ(next, T0 + SEC);
}

TEST(a_load_that_takes_too_much_is_stopped_when_nobody_can_go)
{
    struct budget_model m[] = {loaded(40, T0), loaded(30, T0), wanted(0, T0)};
    m[0].is_pinned = true;
    m[2].phase = BUDGET_LOADING;
    m[2].peak_bytes = 50 * MIB; /* as seen so far; was thought to be less */
    (void)budget_decide(m, 3, 100 * MIB, T0);
    EXPECT_EQ(m[1].act, BUDGET_UNLOAD);
    EXPECT_EQ(m[2].act, BUDGET_NONE);
    m[2].peak_bytes = 70 * MIB;
    (void)budget_decide(m, 3, 100 * MIB, T0);
    EXPECT_EQ(m[2].act, BUDGET_STOP);
}

/* ---- days ---- */

#define MODELS_MAX 24
#define RUNS_MAX   64
#define LOAD_NS    (2 * SEC) /* no load takes longer */
#define DRAIN_NS   (2 * SEC) /* no request takes longer */
#define LEAVE_NS   (50 * MS) /* until the memory of a process is free */
#define VOTE_NS    (1 * MS)  /* until it is known whether a model is idle */
#define KNOWN_NS   (1 * SEC) /* how old the news of uses may be */

struct world_model {
    bool is_renewal;        /* of models[i - n / 2]: a new life of it, beside the old one */
    uint64_t renewed_ns;    /* since when it waits */
    uint64_t renewals;      /* done */
    uint64_t phase_ends_ns; /* LOADING, LEAVING, YIELDING by UNLOAD */
    uint64_t run_ends_ns[RUNS_MAX];
    int runs;      /* requests in work */
    int parked;    /* requests that wait for it */
    bool is_drain; /* YIELDING: until its requests are answered */
    uint64_t really_used_ns, loads, served;
    uint64_t known_ns; /* when the policy was last told of uses */
};

struct world {
    uint64_t now_ns, bytes, decide_ns;
    size_t n;
    struct budget_model m[MODELS_MAX];
    struct world_model w[MODELS_MAX];
    uint64_t worst_wait_ns, wait_bound_ns;
};

static void must(bool ok, const struct world *w, size_t i, const char *what)
{
    if (!ok)
        FAIL("after %llu ms, model %zu: %s", (unsigned long long)(w->now_ns / MS), i, what);
}

static void begin_run(struct world *w, size_t i)
{
    struct world_model *x = &w->w[i];
    if (x->runs == RUNS_MAX)
        return;
    x->run_ends_ns[x->runs++] = w->now_ns + MS + rand_below(rand_below(20) == 0 ? DRAIN_NS - MS : 50 * MS);
    x->really_used_ns = w->now_ns;
    x->served++;
}

static void become_ready(struct world *w, size_t i)
{
    struct budget_model *m = &w->m[i];
    m->phase = BUDGET_READY;
    for (; w->w[i].parked > 0; w->w[i].parked--)
        begin_run(w, i);
    m->wanted_ns = 0;
}

static void request(struct world *w, size_t i)
{
    struct budget_model *m = &w->m[i];
    if (m->phase == BUDGET_READY) {
        begin_run(w, i);
        return;
    }
    w->w[i].parked++;
    if (m->wanted_ns == 0) {
        m->wanted_ns = w->now_ns;
        w->decide_ns = w->now_ns;
    }
}

static void pass_runs(struct world *w, size_t i)
{
    struct world_model *x = &w->w[i];
    for (int k = 0; k < x->runs; k++)
        if (x->run_ends_ns[k] <= w->now_ns) {
            x->run_ends_ns[k--] = x->run_ends_ns[--x->runs];
            x->really_used_ns = w->now_ns;
        }
}

/* What has happened by now: runs end, loads end, memory becomes free. */
static void pass(struct world *w, size_t i)
{
    struct budget_model *m = &w->m[i];
    struct world_model *x = &w->w[i];
    enum budget_phase before = m->phase;
    pass_runs(w, i);
    if (m->phase == BUDGET_LOADING && x->phase_ends_ns <= w->now_ns) {
        m->ready_ns = m->used_ns = w->now_ns;
        if (m->wanted_ns != 0 && w->now_ns - m->wanted_ns > w->worst_wait_ns)
            w->worst_wait_ns = w->now_ns - m->wanted_ns;
        must(m->wanted_ns == 0 || w->now_ns - m->wanted_ns <= w->wait_bound_ns, w, i, "waited too long");
        become_ready(w, i);
    } else if (m->phase == BUDGET_YIELDING && !x->is_drain && x->phase_ends_ns <= w->now_ns && x->runs > 0) {
        m->is_busy = true; /* the vote: in use after all */
        m->used_ns = w->now_ns;
        become_ready(w, i);
    } else if (m->phase == BUDGET_YIELDING && x->phase_ends_ns <= w->now_ns && x->runs == 0) {
        m->phase = BUDGET_LEAVING;
        x->phase_ends_ns = w->now_ns + LEAVE_NS;
    } else if (m->phase == BUDGET_LEAVING && x->phase_ends_ns <= w->now_ns) {
        m->phase = BUDGET_ABSENT;
    }
    if (m->phase != before)
        w->decide_ns = w->now_ns;
    if (w->now_ns >= x->known_ns + KNOWN_NS) {
        x->known_ns = w->now_ns;
        m->used_ns = x->really_used_ns > m->used_ns ? x->really_used_ns : m->used_ns;
        m->is_busy = x->runs > 0;
    }
}

static void obey(struct world *w, size_t i)
{
    struct budget_model *m = &w->m[i];
    struct world_model *x = &w->w[i];
    if (m->act == BUDGET_UNLOAD || m->act == BUDGET_DRAIN) {
        must(m->phase == BUDGET_READY && !m->is_pinned, w, i, "was told to go, and may not");
        must(m->act == BUDGET_DRAIN || !m->is_busy, w, i, "was to go as idle while it has requests");
        must(w->now_ns >= m->ready_ns + BUDGET_STAY * m->load_ns, w, i, "was just loaded and goes");
        m->phase = BUDGET_YIELDING;
        x->is_drain = m->act == BUDGET_DRAIN;
        x->phase_ends_ns = w->now_ns + VOTE_NS;
    } else if (m->act == BUDGET_LOAD) {
        must(m->phase == BUDGET_ABSENT && m->wanted_ns != 0, w, i, "was loaded, and nobody wants it");
        m->phase = BUDGET_LOADING;
        m->is_busy = false;
        x->phase_ends_ns = w->now_ns + m->load_ns;
        x->loads++;
    } else {
        must(m->act == BUDGET_NONE, w, i, "was refused or stopped, and fits");
    }
}

static void decide(struct world *w)
{
    uint64_t held = 0;
    w->decide_ns = budget_decide(w->m, w->n, w->bytes, w->now_ns);
    for (size_t i = 0; i < w->n; i++)
        obey(w, i);
    for (size_t i = 0; i < w->n; i++)
        held += budget_held(&w->m[i]);
    must(held <= w->bytes, w, 0, "over the budget");
}

static uint64_t next_event(const struct world *w, uint64_t arrival_ns)
{
    uint64_t next = w->decide_ns < arrival_ns ? w->decide_ns : arrival_ns;
    for (size_t i = 0; i < w->n; i++) {
        const struct world_model *x = &w->w[i];
        bool is_timed = w->m[i].phase != BUDGET_READY && w->m[i].phase != BUDGET_ABSENT;
        if (is_timed && x->phase_ends_ns > w->now_ns && x->phase_ends_ns < next)
            next = x->phase_ends_ns;
        for (int k = 0; k < x->runs; k++)
            next = x->run_ends_ns[k] < next ? x->run_ends_ns[k] : next;
    }
    return next > w->now_ns ? next : w->now_ns + 1;
}

/* pick: which model the next request is for; gap: how long until it comes. */
static void play(struct world *w, uint64_t for_ns, size_t (*pick)(const struct world *w), uint64_t (*gap)(void))
{
    uint64_t end = w->now_ns + for_ns, arrival = w->now_ns + gap();
    while (w->now_ns < end) {
        w->now_ns = next_event(w, arrival);
        for (size_t i = 0; i < w->n; i++)
            pass(w, i);
        for (; arrival <= w->now_ns; arrival += gap())
            request(w, pick(w));
        if (w->decide_ns <= w->now_ns)
            decide(w);
    }
}

/* n models of 20 to 100 MiB, the first `pinned` of which are there and stay. */
static void make(struct world *w, uint64_t seed, size_t n, size_t pinned, uint64_t bytes)
{
    rand_seed(seed);
    memset(w, 0, sizeof *w);
    w->now_ns = T0;
    w->n = n;
    w->bytes = bytes;
    for (size_t i = 0; i < n; i++) {
        struct budget_model *m = &w->m[i];
        m->need_bytes = (20 + rand_below(80)) * MIB;
        m->peak_bytes = m->need_bytes + rand_below(2) * rand_below(20) * MIB;
        m->load_ns = 10 * MS + rand_below(LOAD_NS - 10 * MS);
        m->is_pinned = i < pinned;
        m->phase = m->is_pinned ? BUDGET_READY : BUDGET_ABSENT;
        m->unload_after_ns = rand_below(3) == 0 ? 10 * SEC + rand_below(600 * SEC) : 0;
    }
    uint64_t turn = (2 + BUDGET_STAY + 2 * BUDGET_PATIENCE) * LOAD_NS + DRAIN_NS + LEAVE_NS + KNOWN_NS + VOTE_NS;
    w->wait_bound_ns = (n - pinned) * turn;
}

static void check_all_were_served(const struct world *w)
{
    for (size_t i = 0; i < w->n; i++)
        must(w->w[i].served > 0, w, i, "was never served");
    EXPECT(w->worst_wait_ns > 0);
}

static size_t pick_any(const struct world *w)
{
    return rand_below(w->n);
}

/* A few are asked for most of the time. */
static size_t pick_uneven(const struct world *w)
{
    size_t i = rand_below(w->n);
    return rand_below(4) == 0 ? i : i % 3;
}

static uint64_t gap_calm(void)
{
    return rand_below(6 * SEC);
}

/* Nights without requests, storms of hundreds. */
static uint64_t gap_bursts(void)
{
    uint64_t dice = rand_below(1000);
    return dice == 0 ? rand_below(4 * 3600 * SEC) : dice < 20 ? rand_below(120 * SEC) : rand_below(20 * MS);
}

static uint64_t gap_fast(void)
{
    return rand_below(20 * MS);
}

TEST_SLOW(three_calm_days, 60)
{
    static struct world w;
    make(&w, 1, 18, 2, 450 * MIB);
    play(&w, 3 * 86400 * SEC, pick_any, gap_calm);
    check_all_were_served(&w);
}

TEST_SLOW(a_week_of_storms_and_silence, 60)
{
    static struct world w;
    for (uint64_t seed = 0; seed < 7; seed++) {
        make(&w, 100 + seed, 8 + seed * 2, seed % 3, (300 + seed * 20) * MIB);
        play(&w, 86400 * SEC, seed % 2 ? pick_uneven : pick_any, gap_bursts);
        check_all_were_served(&w);
    }
}

TEST_SLOW(two_models_that_do_not_fit_together_take_turns_in_rounds, 60)
{
    static struct world w;
    make(&w, 7, 2, 0, 120 * MIB);
    for (int i = 0; i < 2; i++) {
        w.m[i].need_bytes = w.m[i].peak_bytes = 100 * MIB;
        w.m[i].load_ns = 500 * MS;
        w.m[i].unload_after_ns = 0;
    }
    play(&w, 3600 * SEC, pick_any, gap_fast);
    check_all_were_served(&w);
    uint64_t loads = w.w[0].loads + w.w[1].loads;
    EXPECT(loads * 500 * MS < 3600 * SEC / (1 + BUDGET_STAY)); /* of the time loading takes */
    EXPECT(w.w[0].loads + 1 >= w.w[1].loads && w.w[1].loads + 1 >= w.w[0].loads);
    EXPECT(w.worst_wait_ns < 10 * SEC);
}

/* ---- days with roll-outs: model i may have a new life in place n / 2 + i ---- */

static size_t half;

/* What the master does when a new life is ready, or when what it was to be loaded beside has gone. */
static void look_at_renewal(struct world *w, size_t i)
{
    struct budget_model *old = &w->m[i], *news = &w->m[half + i];
    struct world_model *x = &w->w[half + i];
    bool is_coming = x->is_renewal && news->phase != BUDGET_ABSENT, is_waiting = x->is_renewal && !is_coming;
    old->group = news->group = is_waiting ? (uint32_t)i + 1 : 0;
    if (old->phase == BUDGET_READY || old->phase == BUDGET_YIELDING)
        old->wanted_ns = is_waiting ? x->renewed_ns : 0;
    if (is_waiting && old->phase != BUDGET_READY && old->phase != BUDGET_YIELDING) {
        x->is_renewal = false; /* just replaced */
        x->renewals++;
        news->wanted_ns = 0;
        news->group = old->group = 0;
    } else if (is_coming && news->phase == BUDGET_READY) {
        struct budget_model ready = *news;
        uint64_t wanted_ns = old->wanted_ns;
        must(w->now_ns - x->renewed_ns <= w->wait_bound_ns, w, i, "its new life waited too long");
        *news = *old; /* the old one ends in the other place, when its requests are answered */
        news->phase = BUDGET_LEAVING;
        news->wanted_ns = 0;
        news->is_busy = false;
        x->phase_ends_ns = w->now_ns + (w->w[i].runs > 0 ? DRAIN_NS : 0) + LEAVE_NS;
        *old = ready;
        old->wanted_ns = wanted_ns;
        x->is_renewal = false;
        x->renewals++;
        become_ready(w, i);
    }
    old->is_pinned = old->is_passing = is_coming && x->is_renewal;
    news->is_pinned = news->is_passing = news->phase != BUDGET_ABSENT || x->is_renewal;
    w->decide_ns = w->now_ns;
}

static void renew(struct world *w, size_t i)
{
    struct budget_model *news = &w->m[half + i];
    struct world_model *x = &w->w[half + i];
    if (x->is_renewal || news->phase != BUDGET_ABSENT || w->m[i].phase != BUDGET_READY)
        return;
    *news = w->m[i];
    news->phase = BUDGET_ABSENT;
    news->need_bytes = (40 + rand_below(50)) * MIB;
    news->peak_bytes = news->need_bytes;
    news->unload_after_ns = 0;
    news->wanted_ns = x->renewed_ns = w->now_ns;
    x->is_renewal = true;
}

static size_t pick_first_half(const struct world *w)
{
    (void)w;
    return rand_below(half);
}

TEST_SLOW(days_of_roll_outs_in_a_tight_budget, 60)
{
    static struct world w;
    for (uint64_t seed = 0; seed < 4; seed++) {
        half = 6;
        make(&w, 300 + seed, half, 0, 230 * MIB);
        w.n = 2 * half;
        for (size_t i = 0; i < half; i++)
            w.m[i].need_bytes = w.m[i].peak_bytes =
                (40 + rand_below(50)) * MIB; /* two of them, and one is replaced: tight */
        for (size_t i = 0; i < half; i++)
            w.m[half + i] = (struct budget_model){.phase = BUDGET_ABSENT};
        w.wait_bound_ns *= 4; /* in line are new lives too, and each may load twice beside others */
        uint64_t end = w.now_ns + 86400 * SEC, arrival = w.now_ns, roll_out = w.now_ns;
        while (w.now_ns < end) {
            w.now_ns = next_event(&w, arrival < roll_out ? arrival : roll_out);
            for (size_t i = 0; i < w.n; i++)
                pass(&w, i);
            for (; arrival <= w.now_ns; arrival += gap_calm())
                request(&w, pick_first_half(&w));
            for (; roll_out <= w.now_ns; roll_out += rand_below(60 * SEC)) {
                renew(&w, pick_first_half(&w)); /* often two at once */
                renew(&w, pick_first_half(&w));
            }
            for (size_t i = 0; i < half; i++)
                look_at_renewal(&w, i);
            decide(&w);
        }
        uint64_t renewals = 0;
        for (size_t i = 0; i < half; i++) {
            must(w.w[i].served > 0, &w, i, "was never served");
            renewals += w.w[half + i].renewals;
        }
        EXPECT(renewals > 100);
        EXPECT(w.worst_wait_ns > 0);
    }
}
