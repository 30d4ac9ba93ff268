/* Ensembles over the rig's inline models: "m" doubles; the ensemble "e" runs it twice, or in two branches. */
#include <stdio.h>
#include <string.h>

#include "rig.h"
#include "serve/ensemble.h"

#define TWICE                                                                                                          \
    "{\"inputs\":[\"a\"],\"outputs\":[\"c\"],\"memory\":%s,\"steps\":["                                                \
    "{\"name\":\"two\",\"model\":\"m\",\"version\":\"\",\"inputs\":{\"x\":\"b\"},\"outputs\":{\"y\":\"c\"}},"          \
    "{\"name\":\"one\",\"model\":\"m\",\"version\":\"\",\"inputs\":{\"x\":\"a\"},\"outputs\":{\"y\":\"b\"}}]}"
#define FORK                                                                                                           \
    "{\"inputs\":[\"a\"],\"outputs\":[\"b\",\"c\"],\"memory\":%s,\"steps\":["                                          \
    "{\"name\":\"left\",\"model\":\"m\",\"version\":\"\",\"inputs\":{\"x\":\"a\"},\"outputs\":{\"y\":\"b\"}},"         \
    "{\"name\":\"right\",\"model\":\"m\",\"version\":\"1\",\"inputs\":{\"x\":\"b\"},\"outputs\":{\"y\":\"c\"}}]}"

static struct ensemble *read_ensemble(const char *format, const char *memory)
{
    static char text[2048]; /* read by the reader to its end, with the room behind that it asks for */
    struct json_reader r;
    memset(text, 0, sizeof text);
    const char *hole = strstr(format, "%s");
    EXPECT(hole != NULL);
    int n = snprintf(text, sizeof text - 64, "%.*s%s%s", (int)(hole - format), format, memory, hole + 2);
    json_init(&r, (struct str){text, (size_t)n}, 8);
    struct ensemble *e = ensemble_read(&r);
    EXPECT(e != NULL);
    return e;
}

struct ens {
    struct rig rig;
    struct model_shared *shared;
    struct served *model;
};

static void ens_init(struct ens *t, const struct rig_opt *opt, const char *format, const char *memory)
{
    const struct model_desc *members[ENSEMBLE_STEPS_MAX];
    struct serve_state ready = {.state = SERVED_READY, .reason = "", .labels = ""};
    struct err err = {0};
    rig_init(&t->rig, opt);
    struct model_shared *sh = t->shared = model_shared_new(LANE_THREADS_MAX);
    sh->id = 77;
    sh->is_inline = true;
    (void)str_copy(sh->name, sizeof sh->name, STR("e"));
    (void)str_copy(sh->version, sizeof sh->version, STR("1"));
    sh->limits = (struct model_limits){.timeout_ns = RIG_TIMEOUT_MS * UINT64_C(1000000), .queue_max = 3};
    sh->ensemble = read_ensemble(format, memory);
    for (uint32_t i = 0; i < sh->ensemble->steps_len; i++)
        members[i] = served_info(t->rig.model)->desc;
    sh->desc = model_desc_new();
    if (ensemble_describe(sh->ensemble, members, sh->desc, &err))
        FAIL("%s", err.text);
    sh->threads_draining = 1;
    EXPECT_EQ(serve_update(t->rig.serve, sh, &ready, &err), ERR_OK);
    EXPECT_EQ(serve_model(t->rig.serve, STR("e"), STR(""), &t->model, &err), ERR_OK);
}

static void ens_done(struct ens *t)
{
    EXPECT_EQ(atomic_load(&t->shared->ensemble->memory_used), 0);
    (void)model_shared_unref(t->shared);
    rig_done(&t->rig);
}

static void make(struct ens *t, struct req *q, uint32_t rows, int32_t first)
{
    req_make(&t->rig, q, rows, 2, first);
    q->i->model = t->model;
}

static void expect_times(const struct req *q, int32_t times)
{
    EXPECT_EQ(q->done, 1);
    if (q->code)
        FAIL("%s", q->text);
    for (size_t e = 0; e < (size_t)q->rows * 2; e++)
        EXPECT_EQ(q->got[e], times * (q->first + (int32_t)e));
}

TEST(ensemble_runs_its_steps_in_order_of_tensors)
{
    struct ens t;
    struct req q;
    ens_init(&t, &(struct rig_opt){0}, TWICE, "100000");
    make(&t, &q, 3, 5);
    req_submit(&q);
    rig_settle(&t.rig);
    expect_times(&q, 4);
    ens_done(&t);
}

TEST(ensemble_outputs_may_come_from_any_step)
{
    struct ens t;
    struct req q;
    ens_init(&t, &(struct rig_opt){0}, FORK, "100000");
    make(&t, &q, 2, 1);
    req_submit(&q);
    rig_settle(&t.rig);
    expect_times(&q, 2); /* the first output: "b" */
    ens_done(&t);
}

TEST(ensemble_passes_strings)
{
    struct ens t;
    struct req q;
    const char *texts[] = {"hello", "", "world", NULL};
    ens_init(&t, &(struct rig_opt){.dtype = DT_BYTES}, TWICE, "100000");
    req_make_texts(&t.rig, &q, texts);
    q.i->model = t.model;
    req_submit(&q);
    rig_settle(&t.rig);
    EXPECT_EQ(q.done, 1);
    EXPECT_EQ(q.code, ERR_OK);
    EXPECT_CSTR(q.got_texts[0], "hello");
    EXPECT_CSTR(q.got_texts[2], "world");
    ens_done(&t);
}

TEST(ensemble_errors_name_the_step)
{
    struct ens t;
    struct req q;
    ens_init(&t, &(struct rig_opt){0}, TWICE, "100000");
    make(&t, &q, 1, 1);
    req_submit(&q);
    serve_flush(t.rig.serve);
    EXPECT(rig_work(&t.rig));
    (void)serve_collect(t.rig.serve);
    t.rig.state.fail = ERR_INVALID;
    rig_settle(&t.rig);
    EXPECT_ERR(q, ERR_INVALID, "step 'two' (model 'm'): the test's model refuses");
    EXPECT_CSTR(q.remedy, "ask the test");
    ens_done(&t);
}

TEST(ensemble_deadline_covers_all_steps)
{
    struct ens t;
    struct req q;
    ens_init(&t, &(struct rig_opt){0}, TWICE, "100000");
    make(&t, &q, 1, 1);
    req_submit(&q);
    rig_pass_ms(RIG_TIMEOUT_MS / 2);
    serve_flush(t.rig.serve);
    EXPECT(rig_work(&t.rig));
    (void)serve_collect(t.rig.serve);
    EXPECT_OPEN(q);
    rig_pass_ms(RIG_TIMEOUT_MS);
    serve_tick(t.rig.serve, rig_clock());
    EXPECT_ERR(q, ERR_TIMEOUT, "step 'two' (model 'm')");
    rig_settle(&t.rig);
    ens_done(&t);
}

TEST(ensemble_cancel_ends_the_running_step)
{
    struct ens t;
    struct req q;
    ens_init(&t, &(struct rig_opt){0}, TWICE, "100000");
    make(&t, &q, 1, 1);
    req_submit(&q);
    req_cancel(&q);
    EXPECT_EQ(q.done, 1);
    EXPECT_EQ(q.code, ERR_CANCELLED);
    EXPECT(!rig_work(&t.rig));
    ens_done(&t);
}

TEST(ensemble_step_survives_a_death)
{
    struct ens t;
    struct req q;
    ens_init(&t, &(struct rig_opt){0}, TWICE, "100000");
    make(&t, &q, 1, 3);
    req_submit(&q);
    serve_flush(t.rig.serve);
    (void)rig_claim(&t.rig);
    rig_die(&t.rig, true);
    rig_settle(&t.rig);
    expect_times(&q, 4);
    EXPECT_EQ(q.attempts, 2);
    ens_done(&t);
}

TEST(ensemble_memory_is_bounded)
{
    struct ens t;
    struct req q, other;
    ens_init(&t, &(struct rig_opt){0}, TWICE, "16"); /* two rows of two INT32 */
    make(&t, &q, 3, 1);
    req_submit(&q);
    EXPECT_ERR(q, ERR_TOO_LARGE, "needs 24 bytes, more than its limit of 16");
    make(&t, &q, 2, 1);
    req_submit(&q);
    make(&t, &other, 2, 7);
    req_submit(&other); /* the first has moved into its block, its memory is free again */
    rig_settle(&t.rig);
    expect_times(&q, 4);
    expect_times(&other, 4);
    ens_done(&t);
}

TEST(ensemble_queue_is_bounded)
{
    struct ens t;
    struct req q[4];
    ens_init(&t, &(struct rig_opt){0}, TWICE, "100000");
    for (int n = 0; n < 4; n++) {
        make(&t, &q[n], 1, n);
        req_submit(&q[n]);
    }
    EXPECT_ERR(q[3], ERR_BUSY, "3 requests are in work for model 'e'");
    rig_settle(&t.rig);
    for (int n = 0; n < 3; n++)
        expect_times(&q[n], 4);
    ens_done(&t);
}

/* ---- comparing ---- */

TEST(ensemble_steps_try_a_member_that_nobody_gets_yet)
{
    struct ens t;
    struct rig news;
    struct req q;
    struct err err = {0};
    struct rollout_policy canary = {.is_canary = true};
    struct serve_state ready = {.state = SERVED_READY, .reason = "", .labels = "", .rollout = &canary};
    struct ensemble_trial trial = {.segment = 8, .is_newest = true};
    ens_init(&t, &(struct rig_opt){0}, TWICE, "100000");
    rig_init(&news, &(struct rig_opt){0});
    news.shared->id = trial.segment;
    (void)str_copy(news.shared->version, sizeof news.shared->version, STR("2"));
    news.state.fail = ERR_INVALID; /* whoever comes to it */
    EXPECT_EQ(serve_update(t.rig.serve, news.shared, &ready, &err), ERR_OK);
    make(&t, &q, 1, 1);
    req_submit(&q);
    rig_settle(&t.rig);
    expect_times(&q, 4);
    make(&t, &q, 1, 1);
    q.i->trial = &trial;
    req_submit(&q);
    serve_flush(t.rig.serve);
    EXPECT(!rig_work(&t.rig) && rig_work(&news));
    (void)serve_collect(t.rig.serve);
    EXPECT_ERR(q, ERR_INVALID, "step 'one' (model 'm'): the test's model refuses");
    serve_retire(t.rig.serve, trial.segment); /* a trial whose model has gone asks who serves */
    rig_settle(&t.rig);
    make(&t, &q, 1, 1);
    q.i->trial = &trial;
    req_submit(&q);
    rig_settle(&t.rig);
    expect_times(&q, 4);
    ens_done(&t);
    rig_done(&news);
}

TEST(ensemble_steps_with_a_version_try_only_that)
{
    struct ensemble_step any = {.model = "m", .version = ""}, two = {.model = "m", .version = "2"};
    struct ensemble_trial newest = {.is_newest = true}, older = {0};
    EXPECT(ensemble_step_tries(&any, &newest, "m", "3") && !ensemble_step_tries(&any, &older, "m", "3"));
    EXPECT(ensemble_step_tries(&two, &older, "m", "2") && !ensemble_step_tries(&two, &newest, "m", "3"));
    EXPECT(!ensemble_step_tries(&any, &newest, "n", "3"));
}

TEST(ensemble_keeps_what_it_was_asked_and_could_answer)
{
    struct ens t;
    struct req q;
    struct warmup_tensors got[4];
    ens_init(&t, &(struct rig_opt){0}, TWICE, "100000");
    t.shared->kept = compare_ring_new(4);
    make(&t, &q, 2, 5);
    req_submit(&q);
    rig_settle(&t.rig);
    expect_times(&q, 4);
    make(&t, &q, 1, 7); /* in the same moment */
    req_submit(&q);
    rig_settle(&t.rig);
    rig_pass_ms(20);
    make(&t, &q, 1, 9);
    t.rig.state.fail = ERR_INVALID;
    req_submit(&q);
    rig_settle(&t.rig);
    EXPECT_EQ(q.code, ERR_INVALID);
    EXPECT_EQ(compare_ring_copy(t.shared->kept, got, 4), 1);
    EXPECT(got[0].rows == 2 && got[0].in[0].bytes == 16 && ((int32_t *)got[0].in[0].data)[3] == 8);
    warmup_free(&got[0]);
    EXPECT_EQ(atomic_load(&t.shared->ensemble->memory_used), 0);
    ens_done(&t);
}

static void expect_kept_text(const struct warmup_tensors *t, uint64_t e, const char *text)
{
    const struct bytes_ref *refs = t->in[0].data;
    EXPECT(refs[e].off + refs[e].len <= t->bytes && refs[e].len == strlen(text) &&
           memcmp(t->base + refs[e].off, text, refs[e].len) == 0);
}

TEST(texts_are_kept_of_ensembles_and_of_models)
{
    struct ens t;
    struct req q;
    struct warmup_tensors got[2];
    const char *texts[] = {"hello", "", "world", NULL};
    ens_init(&t, &(struct rig_opt){.dtype = DT_BYTES}, TWICE, "100000");
    t.shared->kept = compare_ring_new(1);
    t.rig.shared->kept = compare_ring_new(1);
    for (int is_ensemble = 0; is_ensemble < 2; is_ensemble++) {
        req_make_texts(&t.rig, &q, texts);
        q.i->model = is_ensemble ? t.model : t.rig.model;
        req_submit(&q);
        rig_settle(&t.rig);
        EXPECT_EQ(q.code, ERR_OK);
        EXPECT_EQ(compare_ring_copy(is_ensemble ? t.shared->kept : t.rig.shared->kept, got, 2), 1);
        EXPECT_EQ(got[0].rows, 3);
        for (uint64_t e = 0; e < 3; e++)
            expect_kept_text(&got[0], e, texts[e]);
        warmup_free(&got[0]);
    }
    ens_done(&t);
}

TEST(ensemble_describe_names_both_ends)
{
    struct ensemble *e = read_ensemble(TWICE, "1");
    struct model_desc a, b, out;
    const struct model_desc *members[] = {&b, &a};
    struct err err = {0};
    rig_describe(&a, &(struct rig_opt){0});
    b = a;
    a.max_batch = b.max_batch = 4;
    b.inputs[0].dtype = DT_FP32;
    EXPECT_EQ(ensemble_describe(e, members, &out, &err), ERR_INVALID);
    EXPECT_CSTR(err.text, "tensor 'b' does not fit: 'y' of step 'one' is INT32 [-1,-1], but 'x' of step 'two' is FP32 "
                          "[-1,-1]");
    (void)str_copy(b.inputs[0].name, sizeof b.inputs[0].name, STR("z"));
    EXPECT_EQ(ensemble_describe(e, members, &out, &err), ERR_INVALID);
    EXPECT_CSTR(err.text, "step 'two': model 'm' has no input 'x'");
    EXPECT_CSTR(err.remedy, "its inputs are z");
    (void)ensemble_free(e);
}
