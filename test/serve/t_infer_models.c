/* The table of models as one edge thread sees it: states, versions, retiring. */
#include <string.h>

#include "base/clock.h"
#include "rig.h"

/* A second model beside the rig's, never ready by itself. */
static struct model_shared *other_model(uint32_t id, const char *name, const char *version)
{
    struct model_shared *m = model_shared_new(LANE_THREADS_MAX);
    m->id = id;
    (void)str_copy(m->name, sizeof m->name, str_c(name));
    (void)str_copy(m->version, sizeof m->version, str_c(version));
    m->limits = (struct model_limits){.timeout_ns = NS_PER_S, .queue_max = 8};
    m->threads_draining = 1;
    return m;
}

/* Ready, with a segment of its own that nobody works on. The serve holds the only reference afterwards. */
static void add_ready(struct serve *s, uint32_t id, const char *name, const char *version)
{
    struct err err;
    struct serve_state ready = {.state = SERVED_READY, .reason = ""};
    struct model_shared *m = other_model(id, name, version);
    int fd;
    if (segment_create(1, 4096, 4096, &fd, &err) || segment_open(fd, SEGMENT_EDGE, &m->map, &err))
        FAIL("%s", err.text);
    (void)close(fd);
    m->desc = model_desc_new();
    rig_describe(m->desc, &(struct rig_opt){0});
    EXPECT_EQ(serve_update(s, m, &ready, &err), ERR_OK);
    (void)model_shared_unref(m);
}

static void add_in(struct serve *s, uint32_t id, const char *name, const char *version, enum served_state state,
                   const char *reason)
{
    struct err err;
    struct serve_state news = {.state = state, .reason = reason};
    struct model_shared *m = other_model(id, name, version);
    EXPECT_EQ(serve_update(s, m, &news, &err), ERR_OK);
    (void)model_shared_unref(m);
}

static const char *version_of(struct serve *s, const char *name, const char *version)
{
    struct served *m;
    struct err err;
    if (serve_model(s, str_c(name), str_c(version), &m, &err))
        return err_code_name(err.code);
    return served_info(m)->version;
}

TEST(unknown_models_are_named_with_the_known_ones)
{
    struct rig r;
    struct served *m;
    struct err err;
    rig_init(&r, NULL);
    add_ready(r.serve, 20, "iris", "1");
    EXPECT_EQ(serve_model(r.serve, STR("irsi"), STR(""), &m, &err), ERR_NOT_FOUND);
    EXPECT_CSTR(err.text, "Request for unknown model: 'irsi' is not found");
    EXPECT_CSTR(err.remedy, "known models: iris, m");
    EXPECT_EQ(serve_model(r.serve, STR("iris"), STR("7"), &m, &err), ERR_NOT_FOUND);
    EXPECT_CSTR(err.text, "Request for unknown model: 'iris' version 7 is not found");
    rig_done(&r);
}

/* Names that begin alike, in no order; some have a second version, some a life that is retired and still in work. */
TEST(each_of_many_models_is_found_by_its_whole_name)
{
    enum { MANY = 200 };
    struct rig r;
    struct served *m;
    struct err err;
    char name[32];
    rig_init(&r, NULL);
    for (uint32_t k = 0; k < MANY; k++) {
        uint32_t i = k * 77 % MANY;
        (void)snprintf(name, sizeof name, "m%u", i);
        add_in(r.serve, 100 + i, name, "9", SERVED_UNLOADED, "");
        if (i % 3 == 0)
            add_in(r.serve, 500 + i, name, "10", SERVED_UNLOADED, "");
        if (i % 5 == 0)
            serve_retire(r.serve, 100 + i);
    }
    for (uint32_t i = 0; i < MANY; i++) {
        (void)snprintf(name, sizeof name, "m%u", i);
        bool has_9 = i % 5 != 0, has_10 = i % 3 == 0;
        EXPECT_EQ(serve_model(r.serve, str_c(name), STR(""), &m, &err),
                  has_9 || has_10 ? ERR_UNAVAILABLE : ERR_NOT_FOUND);
        m = serve_awaited(r.serve);
        EXPECT_EQ(m != NULL, has_9 || has_10);
        if (m) {
            EXPECT_CSTR(served_info(m)->name, name);
            EXPECT_CSTR(served_info(m)->version, has_10 ? "10" : "9");
        }
        EXPECT_EQ(serve_model(r.serve, str_c(name), STR("9"), &m, &err), has_9 ? ERR_UNAVAILABLE : ERR_NOT_FOUND);
    }
    EXPECT_CSTR(version_of(r.serve, "m", ""), "1");
    const struct str none[] = {{NULL, 0}, STR("l"), STR("m1000"), STR("n"), {"m1\0", 3}, STR("\xff")};
    for (size_t i = 0; i < ARRAY_LEN(none); i++)
        EXPECT_EQ(serve_model(r.serve, none[i], STR(""), &m, &err), ERR_NOT_FOUND);
    rig_done(&r);
}

TEST(no_models_at_all)
{
    struct serve_hooks none = {0};
    struct serve *s = serve_new(0, &none);
    struct served *m;
    struct err err;
    EXPECT_EQ(serve_models_len(s), 0);
    EXPECT_EQ(serve_model(s, STR("m"), STR(""), &m, &err), ERR_NOT_FOUND);
    EXPECT_CSTR(err.remedy, "no model is served");
    serve_flush(s);
    EXPECT(!serve_collect(s));
    serve_tick(s, 1);
    EXPECT(!serve_is_busy(s));
    EXPECT(!serve_all_settled(s));
    serve_set_settled(s, true);
    EXPECT(serve_all_settled(s));
    serve_free(s);
    EXPECT(serve_free(NULL) == NULL);
}

TEST(without_a_version_the_newest_that_is_ready)
{
    struct rig r;
    rig_init(&r, NULL);
    add_ready(r.serve, 20, "iris", "2");
    add_ready(r.serve, 21, "iris", "9");
    add_ready(r.serve, 22, "iris", "10");
    add_in(r.serve, 23, "iris", "11", SERVED_LOADING, "");
    EXPECT_CSTR(version_of(r.serve, "iris", ""), "10");
    EXPECT_CSTR(version_of(r.serve, "iris", "2"), "2");
    EXPECT_CSTR(version_of(r.serve, "iris", "11"), "unavailable");
    EXPECT_EQ(serve_models_len(r.serve), 5);
    static const char *const order[] = {"2", "9", "10", "11"};
    for (size_t i = 0; i < 4; i++)
        EXPECT_CSTR(served_info(serve_model_at(r.serve, i))->version, order[i]);
    EXPECT_CSTR(served_info(serve_model_at(r.serve, 4))->name, "m");
    rig_done(&r);
}

TEST(loading_and_failed_models_say_so)
{
    struct rig r;
    struct served *m;
    struct err err;
    rig_init(&r, NULL);
    add_in(r.serve, 20, "slow", "1", SERVED_LOADING, "");
    add_in(r.serve, 21, "bad", "1", SERVED_FAILED, "the file is no ONNX model");
    EXPECT_EQ(serve_model(r.serve, STR("slow"), STR(""), &m, &err), ERR_UNAVAILABLE);
    EXPECT_CSTR(err.text, "model 'slow' version 1 is not ready: loading");
    EXPECT_CSTR(err.remedy, "try again in a moment");
    EXPECT_EQ(serve_model(r.serve, STR("bad"), STR("1"), &m, &err), ERR_UNAVAILABLE);
    EXPECT_CSTR(err.text, "model 'bad' version 1 is not ready: the file is no ONNX model");
    EXPECT(str_contains(str_c(err.remedy), STR("correct the model")));
    rig_done(&r);
}

TEST(a_model_that_fails_ends_its_requests_with_the_reason)
{
    struct rig r;
    struct req blocks[LANE_BLOCKS], waiting, filling, late;
    rig_init(&r, NULL);
    for (int k = 0; k < LANE_BLOCKS - 1; k++) {
        req_make(&r, &blocks[k], 4, 1, k);
        req_submit(&blocks[k]);
    }
    req_make(&r, &filling, 1, 1, 5);
    req_submit(&filling);
    req_make(&r, &waiting, 1, 2, 5); /* another shape: it needs a block of its own */
    req_submit(&waiting);
    EXPECT_EQ(atomic_load(&r.shared->load[0].queued), 1);
    (void)rig_claim(&r);
    rig_tell(&r, SERVED_FAILED, "gave up after 5 deaths");
    EXPECT_ERR(waiting, ERR_UNAVAILABLE, "gave up after 5 deaths");
    EXPECT_ERR(filling, ERR_UNAVAILABLE, "gave up after 5 deaths");
    for (int k = 0; k < LANE_BLOCKS - 1; k++)
        EXPECT_ERR(blocks[k], ERR_UNAVAILABLE, "gave up after 5 deaths");
    EXPECT(!rig_work(&r));
    req_make(&r, &late, 1, 1, 5);
    req_submit(&late);
    EXPECT_ERR(late, ERR_UNAVAILABLE, "model 'm' is not ready: gave up after 5 deaths");
    rig_die(&r, true);
    serve_flush(r.serve);
    EXPECT(!serve_is_busy(r.serve));
    EXPECT_EQ(r.model->lane.unused, UINT32_MAX);
    rig_done(&r);
}

TEST(rows_that_were_not_flushed_end_when_the_model_fails)
{
    struct rig r;
    struct req q;
    rig_init(&r, NULL);
    req_make(&r, &q, 1, 1, 5);
    req_submit(&q);
    rig_tell(&r, SERVED_FAILED, "broken");
    EXPECT_ERR(q, ERR_UNAVAILABLE, "broken");
    serve_flush(r.serve);
    EXPECT(!rig_work(&r));
    EXPECT(!serve_is_busy(r.serve));
    rig_done(&r);
}

TEST(a_failed_model_can_serve_again)
{
    struct rig r;
    struct req q, again;
    rig_init(&r, NULL);
    req_make(&r, &q, 1, 1, 5);
    req_submit(&q);
    serve_flush(r.serve);
    rig_tell(&r, SERVED_FAILED, "broken");
    EXPECT_ERR(q, ERR_UNAVAILABLE, "broken");
    rig_tell(&r, SERVED_READY, "");
    req_make(&r, &again, 1, 1, 6);
    req_submit(&again);
    rig_settle(&r);
    EXPECT_OK(again);
    rig_done(&r);
}

/* Between two lives of its only worker a model takes requests all the same: they run when it is back. */
TEST(requests_queue_while_the_worker_restarts)
{
    struct rig r;
    struct req q;
    struct serve_state restarting = {.state = SERVED_READY, .reason = "", .instances = 1};
    struct err err;
    rig_init(&r, NULL);
    EXPECT_EQ(serve_update(r.serve, r.shared, &restarting, &err), ERR_OK);
    EXPECT_EQ(served_info(r.model)->instances_ready, 0);
    req_make(&r, &q, 1, 1, 5);
    req_submit(&q);
    serve_flush(r.serve);
    EXPECT_OPEN(q);
    rig_settle(&r);
    EXPECT_OK(q);
    rig_done(&r);
}

TEST(a_retired_model_drains_and_is_forgotten)
{
    struct rig r;
    struct req running, waiting, late;
    struct req blocks[LANE_BLOCKS - 1];
    struct served *m;
    struct err err;
    rig_init(&r, NULL);
    for (int k = 0; k < LANE_BLOCKS - 1; k++) {
        req_make(&r, &blocks[k], 4, 1, k);
        req_submit(&blocks[k]);
    }
    req_make(&r, &running, 1, 1, 5);
    req_make(&r, &waiting, 1, 2, 6);
    req_submit(&running);
    req_submit(&waiting);
    EXPECT_EQ(atomic_load(&r.shared->load[0].queued), 1);
    serve_retire(r.serve, r.shared->id);
    EXPECT_EQ(serve_models_len(r.serve), 0);
    EXPECT_EQ(serve_model(r.serve, STR("m"), STR(""), &m, &err), ERR_NOT_FOUND);
    req_make(&r, &late, 1, 1, 7); /* found the model just before */
    req_submit(&late);
    EXPECT_EQ(late.code, ERR_UNAVAILABLE);
    EXPECT_EQ(r.drains, 0);
    EXPECT(serve_is_busy(r.serve));
    rig_settle(&r);
    EXPECT_OK(running);
    EXPECT_OK(waiting);
    EXPECT_EQ(r.drains, 1);
    EXPECT_EQ(r.drained_segment, r.shared->id);
    EXPECT(!serve_is_busy(r.serve));
    EXPECT(!serve_collect(r.serve));
    EXPECT_EQ(r.drains, 1);
    EXPECT_EQ(atomic_load(&r.shared->refs), 1); /* ours */
    rig_done(&r);
}

TEST(an_idle_retired_model_drains_at_the_next_collect)
{
    struct rig r;
    rig_init(&r, NULL);
    serve_retire(r.serve, r.shared->id);
    serve_retire(r.serve, r.shared->id);
    serve_retire(r.serve, 999);
    (void)serve_collect(r.serve);
    EXPECT_EQ(r.drains, 1);
    rig_done(&r);
}

TEST(a_model_retired_before_it_was_ready_drains)
{
    struct rig r;
    rig_init(&r, NULL);
    add_in(r.serve, 8, "slow", "1", SERVED_LOADING, "");
    serve_retire(r.serve, 8);
    (void)serve_collect(r.serve);
    EXPECT_EQ(r.drains, 1);
    EXPECT_EQ(r.drained_segment, 8);
    EXPECT_EQ(serve_models_len(r.serve), 1);
    rig_done(&r);
}

TEST(a_drained_model_waits_for_a_run_that_nobody_wants)
{
    struct rig r;
    struct req q;
    rig_init(&r, NULL);
    req_make(&r, &q, 1, 1, 5);
    req_submit(&q);
    serve_flush(r.serve);
    struct exec_block run = rig_claim(&r);
    serve_retire(r.serve, r.shared->id);
    req_cancel(&q);
    (void)serve_collect(r.serve);
    EXPECT_EQ(r.drains, 0); /* the worker still writes into the block */
    EXPECT(exec_run(&r.worker, &run));
    (void)serve_collect(r.serve);
    EXPECT_EQ(r.drains, 1);
    rig_done(&r);
}

TEST(the_last_edge_thread_tells_that_a_model_is_drained)
{
    struct rig r;
    struct req q;
    rig_init(&r, &(struct rig_opt){.lanes = 2});
    struct serve *second = rig_thread(&r, 1);
    struct served *first_model = r.model;
    struct err err;
    if (serve_model(second, STR("m"), STR(""), &r.model, &err))
        FAIL("%s", err.text);
    req_make(&r, &q, 1, 1, 5);
    req_submit(&q);
    serve_flush(second);
    serve_retire(r.serve, r.shared->id);
    serve_retire(second, r.shared->id);
    (void)serve_collect(r.serve);
    (void)serve_collect(second);
    EXPECT_EQ(r.drains, 0);
    r.model = first_model;
    EXPECT(rig_work(&r));
    (void)serve_collect(second);
    EXPECT_OK(q);
    EXPECT_EQ(r.drains, 1);
    serve_free(second);
    rig_done(&r);
}

TEST(a_new_life_of_a_model_takes_over_when_it_is_ready)
{
    struct rig r;
    struct req old;
    rig_init(&r, NULL);
    req_make(&r, &old, 1, 1, 5);
    req_submit(&old);
    serve_flush(r.serve);
    add_in(r.serve, 20, "m", "1", SERVED_LOADING, "");
    struct served *m = NULL;
    struct err err;
    EXPECT_EQ(serve_model(r.serve, STR("m"), STR(""), &m, &err), ERR_OK); /* the old one serves while the new loads */
    EXPECT_EQ(served_shared(m)->id, 7);
    add_ready(r.serve, 21, "m", "1");
    EXPECT_EQ(serve_model(r.serve, STR("m"), STR("1"), &m, &err), ERR_OK);
    EXPECT_EQ(served_shared(m)->id, 21);
    EXPECT(rig_work(&r));
    (void)serve_collect(r.serve);
    EXPECT_OK(old);         /* what the old one had is answered */
    EXPECT_EQ(r.drains, 2); /* it, and the life that never got ready */
    rig_done(&r);
}

TEST(news_of_a_retired_model_are_ignored)
{
    struct rig r;
    struct served *m;
    struct err err;
    rig_init(&r, NULL);
    serve_retire(r.serve, r.shared->id);
    rig_tell(&r, SERVED_READY, "");
    EXPECT_EQ(serve_model(r.serve, STR("m"), STR(""), &m, &err), ERR_NOT_FOUND);
    rig_done(&r);
}

TEST(outcomes_are_counted)
{
    static const struct metric_family family = {.name = "t_total", .help = "t", .kind = METRIC_COUNTER};
    struct rig r;
    struct req q;
    struct metric_set *set = metric_set_new(1);
    rig_init(&r, NULL);
    for (int k = 0; k < OUTCOME_MAX_; k++) {
        char label[2] = {(char)('a' + k), '\0'};
        r.shared->outcome[k] = metric_get(set, &family, (const char *[]){"outcome", label, NULL});
    }
    r.shared->runs = metric_get(set, &family, (const char *[]){"what", "runs", NULL});
    r.shared->rows = metric_get(set, &family, (const char *[]){"what", "rows", NULL});
    for (int k = 0; k < 3; k++) {
        req_make(&r, &q, 2, 1, k);
        req_submit(&q);
        if (k == 2)
            req_cancel(&q);
        rig_settle(&r);
    }
    req_make(&r, &q, 0, 1, 0);
    req_submit(&q);
    r.state.fail = ERR_BACKEND;
    req_make(&r, &q, 1, 1, 0);
    req_submit(&q);
    rig_settle(&r);
    EXPECT_EQ(metric_value(r.shared->outcome[OUTCOME_OK]), 2);
    EXPECT_EQ(metric_value(r.shared->outcome[OUTCOME_CANCELLED]), 1);
    EXPECT_EQ(metric_value(r.shared->outcome[OUTCOME_CLIENT_ERROR]), 1);
    EXPECT_EQ(metric_value(r.shared->outcome[OUTCOME_FAILED]), 1);
    EXPECT_EQ(metric_value(r.shared->runs), 3);
    EXPECT_EQ(metric_value(r.shared->rows), 5);
    rig_done(&r);
    metric_set_free(set);
}
