/* What a record of the trail says: its numbers as JSON, and sentences for people that draw the conclusions. */
#include <stdio.h>

#include "base/clock.h"
#include "serve/trail.h"

static const char *const stage_names[TRAIL_STAGES] = {"receive", "decode", "queue", "compute", "encode", "send"};
enum { RECEIVE, DECODE, QUEUE, COMPUTE, ENCODE, SEND };

#define SHARE(part, whole) ((whole) > 0 ? (double)(part) / (double)(whole) : 0)

/* A stage below these shares is not the reason. */
#define SHARE_MAIN     0.5
#define SHARE_QUEUE    0.2
#define RUN_LONG_TIMES 2

#define SENTENCE_MAX 320

/* "41 ms", for the middle of a sentence. */
struct time_text {
    char text[24];
};

static struct time_text text_of(uint64_t ns)
{
    struct time_text t;
    double v = (double)ns;
    const char *unit = v >= 1e9 ? "s" : v >= 1e6 ? "ms" : "us";
    v /= v >= 1e9 ? 1e9 : v >= 1e6 ? 1e6 : 1e3;
    (void)snprintf(t.text, sizeof t.text, "%.*f %s", v >= 100 ? 0 : v >= 10 ? 1 : 2, v, unit);
    return t;
}
#define TIME(ns) text_of(ns).text

static const char *plural(uint32_t n)
{
    return n == 1 ? "" : "s";
}

static const char *were(uint32_t n)
{
    return n == 1 ? " was" : "s were";
}

static void say(struct json_writer *w, const char *fmt, ...) ATTR_PRINTF(2, 3);
static void say(struct json_writer *w, const char *fmt, ...)
{
    char text[SENTENCE_MAX];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    jw_c(w, text);
}

/* ---- refused ---- */

static void say_refusal(const struct trail_record *r, struct json_writer *w)
{
    switch (r->refusal) {
    case INFER_BY_DEADLINE:
        say(w,
            "It was refused when it came: %u row%s ahead of it on %u instance%s, so its answer was expected after "
            "%s, and it allowed %s.",
            r->ahead_rows, were(r->ahead_rows), r->instances, plural(r->instances), TIME(r->expected_ns),
            TIME(r->deadline_ns));
        say(w,
            "A run as large as its own takes %s, as runs have taught; more instances or a longer deadline would "
            "have let it in.",
            TIME(r->usual_run_ns));
        break;
    case INFER_BY_QUEUE:
        say(w,
            "It was refused because the queue was full: %u request%s waited, queue_max is %u, and it was the last in "
            "their order.",
            r->queue_len, plural(r->queue_len), r->queue_max);
        break;
    case INFER_BY_PRIORITY:
        say(w,
            "It was refused because more urgent requests kept the model busy: of its priority %u, as many waited as "
            "could run beside them.",
            r->priority);
        break;
    case INFER_BY_STATE:
        say(w, "It was refused because the model could not take it then.");
        break;
    case INFER_ADMITTED:
        say(w, "It was refused after it had been let in.");
        break;
    }
    if (r->retry_after_ms > 0)
        say(w, "It was told to try again after %u ms.", r->retry_after_ms);
}

/* ---- failed ---- */

static void say_failure(const struct trail_record *r, struct json_writer *w)
{
    if (r->status == ERR_TIMEOUT && r->running_ns > 0)
        say(w, "Its deadline of %s passed while its run was under way, for %s by then.", TIME(r->deadline_ns),
            TIME(r->running_ns));
    else if (r->status == ERR_TIMEOUT)
        say(w, "Its deadline of %s passed before an instance was free to run it.", TIME(r->deadline_ns));
    else if (r->status == ERR_REJECTED)
        say(w, "Its input has crashed workers before and is not run for a while.");
    else
        say(w, "The model, or the process that runs it, failed.");
}

/* ---- slow ---- */

static void say_queue(const struct trail_record *r, struct json_writer *w)
{
    if (r->ahead_rows > 0 && r->expected_ns > 0)
        say(w, "When it came %u row%s ahead of it on %u instance%s; its answer was expected after %s.", r->ahead_rows,
            were(r->ahead_rows), r->instances, plural(r->instances), TIME(r->expected_ns));
    else if (r->ahead_rows > 0)
        say(w, "When it came %u row%s ahead of it on %u instance%s.", r->ahead_rows, were(r->ahead_rows), r->instances,
            plural(r->instances));
    else if (r->delay_ns > 0 && r->batch_rows > 0 && r->batch_rows < r->run_max)
        say(w, "Nothing was ahead of it: its batch waited for more rows, for up to %s (batching.delay).",
            TIME(r->delay_ns));
    else if (r->stage_ns[QUEUE] > 0)
        say(w, "Nothing was ahead of it when it came: the wait is that for a worker to wake, or for the processor.");
}

static void say_compute(const struct trail_record *r, struct json_writer *w)
{
    uint64_t run = r->stage_ns[COMPUTE];
    if (r->usual_run_ns > 0 && run / RUN_LONG_TIMES > r->usual_run_ns)
        say(w, "Its run of %u row%s took %s where %s is usual: the processor was busy, or this input costs more.",
            r->batch_rows, plural(r->batch_rows), TIME(run), TIME(r->usual_run_ns));
    else if (r->usual_run_ns > 0)
        say(w, "A run of %u row%s usually takes %s.", r->batch_rows, plural(r->batch_rows), TIME(r->usual_run_ns));
}

static void say_main_stage(const struct trail_record *r, struct json_writer *w)
{
    static const char *const doing[TRAIL_STAGES] = {"for its bytes to come from the client",
                                                    "turning its text or bytes into tensors",
                                                    "waiting for its run",
                                                    "in the model's run",
                                                    "writing the answer",
                                                    "sending the answer to the client"};
    int most = 0;
    for (int s = 1; s < TRAIL_STAGES; s++)
        if (r->stage_ns[s] > r->stage_ns[most])
            most = s;
    uint64_t all = r->total_ns + r->stage_ns[SEND];
    if (r->stage_ns[most] > 0)
        say(w, "%s of its %s went by %s.", TIME(r->stage_ns[most]), TIME(all), doing[most]);
    if (SHARE(r->stage_ns[QUEUE], all) >= SHARE_QUEUE)
        say_queue(r, w);
    if (SHARE(r->stage_ns[COMPUTE], all) >= SHARE_MAIN)
        say_compute(r, w);
    if (most == DECODE && r->body_bytes > 0)
        say(w, "Its body has %u bytes; binary tensors are read many times faster than JSON.", r->body_bytes);
    if (most == RECEIVE && r->body_bytes > 0)
        say(w, "Its body has %u bytes.", r->body_bytes);
}

static void say_steps(const struct trail_record *r, struct json_writer *w)
{
    const struct facts_step *longest = NULL;
    for (uint32_t i = 0; i < r->steps_len; i++) {
        const struct facts_step *s = &r->steps[i];
        if (!longest || (uint64_t)s->wait_us + s->run_us > (uint64_t)longest->wait_us + longest->run_us)
            longest = s;
    }
    if (longest)
        say(w, "The model is an ensemble; its longest step was '%s' (model '%s'): it waited %s and ran %s.",
            longest->name, longest->model, TIME(longest->wait_us * NS_PER_US), TIME(longest->run_us * NS_PER_US));
}

static void say_run(const struct trail_record *r, struct json_writer *w)
{
    if (r->cache == TRAIL_HIT)
        say(w, "The cache had the answer: nothing ran.");
    if (r->cache == TRAIL_JOINED)
        say(w, "It waited for an equal request that was running already, and got its answer.");
    if (r->is_ensemble)
        say_steps(r, w);
    if (r->batch_rows > 0 && r->rows > r->run_max && r->run_max > 0)
        say(w, "Its %u rows ran in parts of up to %u.", r->rows, r->run_max);
    if (r->batch_requests > 1)
        say(w, "It shared its run with %u other request%s, %u rows in all.", r->batch_requests - 1,
            plural(r->batch_requests - 1), r->batch_rows);
    if (r->is_guest)
        say(w, "It took a free place in a run of requests of another priority.");
    else if (r->guests > 0)
        say(w, "Free places of its run went to %u row%s of other priorities, which made it about %s longer.", r->guests,
            plural(r->guests), TIME(r->guests_ns));
    if (r->attempts > 1)
        say(w, "%u worker%s died while running it; it was run again.", r->attempts - 1, plural(r->attempts - 1));
}

static void put_why(const struct trail_record *r, struct json_writer *w)
{
    jw_key(w, "why");
    jw_array(w);
    switch (r->kind) {
    case TRAIL_REFUSED:
        say_refusal(r, w);
        break;
    case TRAIL_FAILED:
        say_failure(r, w);
        say_queue(r, w);
        break;
    case TRAIL_INVALID:
        say(w, "It was not run: the request is wrong, or asks for what is not there.");
        break;
    case TRAIL_SLOW:
        say(w, "It took %s, where %s is the mean of the model's latest requests.", TIME(r->total_ns),
            TIME(r->usual_ns));
        break;
    case TRAIL_USUAL:
        if (r->usual_ns > 0)
            say(w, "It took %s, which is not unusual: the mean of the model's latest requests is %s.",
                TIME(r->total_ns), TIME(r->usual_ns));
        else
            say(w, "It took %s, as one of the first requests to the model.", TIME(r->total_ns));
        break;
    case TRAIL_KINDS:
        break;
    }
    if (r->kind == TRAIL_SLOW || r->kind == TRAIL_USUAL)
        say_main_stage(r, w);
    say_run(r, w);
    jw_array_end(w);
}

/* ---- numbers ---- */

static void put_us(struct json_writer *w, const char *key, uint64_t ns)
{
    jw_kv_f64(w, key, (double)ns / 1e3);
}

static void put_stages(const struct trail_record *r, struct json_writer *w)
{
    jw_key(w, "stages_us");
    jw_object(w);
    for (int s = 0; s < TRAIL_STAGES; s++)
        put_us(w, stage_names[s], r->stage_ns[s]);
    jw_object_end(w);
}

static void put_run(const struct trail_record *r, struct json_writer *w)
{
    jw_kv_u64(w, "rows", r->rows);
    jw_kv_u64(w, "batch_rows", r->batch_rows);
    jw_kv_u64(w, "batch_requests", r->batch_requests);
    jw_kv_u64(w, "batch_guests", r->guests);
    jw_kv_bool(w, "is_guest", r->is_guest);
    jw_key(w, "batch_mates");
    jw_array(w);
    for (uint32_t i = 0; i < r->mates_len; i++)
        jw_c(w, r->mates[i]);
    jw_array_end(w);
    jw_kv_u64(w, "attempts", r->attempts);
    jw_kv_u64(w, "worker_pid", r->worker_pid);
    put_us(w, "usual_run_us", r->usual_run_ns);
}

static void put_steps(const struct trail_record *r, struct json_writer *w)
{
    jw_key(w, "steps");
    jw_array(w);
    for (uint32_t i = 0; i < r->steps_len; i++) {
        jw_object(w);
        jw_kv_c(w, "name", r->steps[i].name);
        jw_kv_c(w, "model", r->steps[i].model);
        jw_kv_u64(w, "from_us", r->steps[i].from_us);
        jw_kv_u64(w, "wait_us", r->steps[i].wait_us);
        jw_kv_u64(w, "run_us", r->steps[i].run_us);
        jw_kv_u64(w, "batch_rows", r->steps[i].batch_rows);
        jw_object_end(w);
    }
    jw_array_end(w);
}

static void put_admission(const struct trail_record *r, struct json_writer *w)
{
    static const char *const reasons[] = {"", "deadline", "queue", "state", "priority"};
    jw_key(w, "admission");
    jw_object(w);
    jw_kv_c(w, "refused_by", reasons[r->refusal]);
    jw_kv_u64(w, "ahead_rows", r->ahead_rows);
    put_us(w, "expected_us", r->expected_ns);
    put_us(w, "deadline_us", r->deadline_ns);
    jw_kv_u64(w, "priority", r->priority);
    jw_kv_u64(w, "instances", r->instances);
    jw_kv_u64(w, "queue", r->queue_len);
    jw_kv_u64(w, "queue_max", r->queue_max);
    jw_kv_u64(w, "retry_after_ms", r->retry_after_ms);
    jw_object_end(w);
}

void trail_put(const struct trail_record *r, struct json_writer *w)
{
    static const char *const caches[] = {"off", "hit", "miss", "joined"};
    jw_kv_c(w, "id", r->id);
    jw_kv_c(w, "model", r->model);
    jw_kv_c(w, "version", r->version);
    jw_kv_c(w, "path", r->path);
    jw_kv_c(w, "kind", trail_kind_name(r->kind));
    jw_kv_c(w, "outcome", r->status == ERR_OK ? "ok" : err_code_name(r->status));
    jw_kv_i64(w, "status", r->status == ERR_OK ? 200 : err_http_status(r->status));
    jw_kv_c(w, "error", r->error);
    jw_kv_c(w, "remedy", r->remedy);
    jw_kv_u64(w, "at_ms", r->at_ms);
    put_us(w, "total_us", r->total_ns);
    put_us(w, "usual_us", r->usual_ns);
    put_stages(r, w);
    put_run(r, w);
    if (r->is_ensemble)
        put_steps(r, w);
    put_admission(r, w);
    jw_kv_c(w, "cache", caches[r->cache]);
    jw_kv_c(w, "isolation", r->is_ensemble ? "ensemble" : r->is_inline ? "inline" : "process");
    jw_kv_u64(w, "body_bytes", r->body_bytes);
    put_why(r, w);
}
