#include "cli/status.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>

#include "base/json.h"
#include "sys/fd.h"

/* A string or null, copied: the reader's text is gone before the table is shown. */
static void take_text(struct json_reader *r, struct arena *a, struct str *out)
{
    if (json_peek(r) == JSON_NULL)
        (void)json_null(r);
    else if (json_string(r, a, out))
        *out = arena_str_dup(a, *out);
}

static void take_i64(struct json_reader *r, int64_t *out)
{
    (void)(json_peek(r) == JSON_NULL ? json_null(r) : json_i64(r, out));
}

static void take_u64(struct json_reader *r, uint64_t *out)
{
    (void)(json_peek(r) == JSON_NULL ? json_null(r) : json_u64(r, out));
}

static void read_process(struct json_reader *r, struct arena *a, struct status_process *p)
{
    struct str key;
    (void)json_object(r);
    while (json_key(r, &key)) {
        if (str_eq_c(key, "role"))
            take_text(r, a, &p->role);
        else if (str_eq_c(key, "model"))
            take_text(r, a, &p->model);
        else if (str_eq_c(key, "version"))
            take_text(r, a, &p->version);
        else if (str_eq_c(key, "state"))
            take_text(r, a, &p->state);
        else if (str_eq_c(key, "reason"))
            take_text(r, a, &p->reason);
        else if (str_eq_c(key, "pid"))
            take_i64(r, &p->pid);
        else if (str_eq_c(key, "instance"))
            take_i64(r, &p->instance);
        else if (str_eq_c(key, "restarts"))
            take_i64(r, &p->restarts);
        else if (str_eq_c(key, "since_ms"))
            take_u64(r, &p->since_ms);
        else
            (void)json_skip(r, NULL);
    }
}

static void read_stack(struct json_reader *r, struct arena *a, struct status_crash *c)
{
    (void)json_array(r);
    while (json_item(r)) {
        if (c->frames_len < STATUS_FRAMES_MAX)
            take_text(r, a, &c->frames[c->frames_len++]);
        else
            (void)json_skip(r, NULL);
    }
}

static void read_crash(struct json_reader *r, struct arena *a, struct status_crash *c)
{
    struct str key;
    (void)json_object(r);
    while (json_key(r, &key)) {
        if (str_eq_c(key, "id"))
            take_text(r, a, &c->id);
        else if (str_eq_c(key, "role"))
            take_text(r, a, &c->role);
        else if (str_eq_c(key, "model"))
            take_text(r, a, &c->model);
        else if (str_eq_c(key, "version"))
            take_text(r, a, &c->version);
        else if (str_eq_c(key, "signal_name"))
            take_text(r, a, &c->signal_name);
        else if (str_eq_c(key, "reason"))
            take_text(r, a, &c->reason);
        else if (str_eq_c(key, "request_id"))
            take_text(r, a, &c->request_id);
        else if (str_eq_c(key, "stack"))
            read_stack(r, a, c);
        else if (str_eq_c(key, "pid"))
            take_i64(r, &c->pid);
        else if (str_eq_c(key, "instance"))
            take_i64(r, &c->instance);
        else if (str_eq_c(key, "signal"))
            take_i64(r, &c->signal);
        else if (str_eq_c(key, "time_ms"))
            take_u64(r, &c->time_ms);
        else
            (void)json_skip(r, NULL);
    }
}

static void read_listen(struct json_reader *r, struct arena *a, struct status *out)
{
    (void)json_array(r);
    while (json_item(r)) {
        if (out->listen_len < ARRAY_LEN(out->listen))
            take_text(r, a, &out->listen[out->listen_len++]);
        else
            (void)json_skip(r, NULL);
    }
}

static void read_processes(struct json_reader *r, struct arena *a, struct status *out)
{
    out->processes = arena_array(a, struct status_process, STATUS_PROCESSES_MAX);
    (void)json_array(r);
    while (json_item(r)) {
        if (out->processes_len < STATUS_PROCESSES_MAX)
            read_process(r, a, &out->processes[out->processes_len++]);
        else
            (void)json_skip(r, NULL);
    }
}

static void read_crashes(struct json_reader *r, struct arena *a, struct status *out)
{
    out->crashes = arena_array(a, struct status_crash, STATUS_CRASHES_MAX);
    (void)json_array(r);
    while (json_item(r)) {
        if (out->crashes_len < STATUS_CRASHES_MAX)
            read_crash(r, a, &out->crashes[out->crashes_len++]);
        else
            (void)json_skip(r, NULL);
    }
}

/* Copied, with room behind it for another reader. */
static void take_raw(struct json_reader *r, struct arena *a, struct str *out)
{
    struct str raw;
    if (!json_skip(r, &raw))
        return;
    char *copy = arena_zalloc(a, raw.n + BUF_PAD);
    memcpy(copy, raw.p, raw.n);
    *out = (struct str){copy, raw.n};
}

static void read_root(struct json_reader *r, struct arena *a, struct status *out)
{
    struct str key;
    (void)json_object(r);
    while (json_key(r, &key)) {
        if (str_eq_c(key, "version"))
            take_text(r, a, &out->version);
        else if (str_eq_c(key, "master_pid"))
            take_i64(r, &out->master_pid);
        else if (str_eq_c(key, "started_at_ms"))
            take_u64(r, &out->started_at_ms);
        else if (str_eq_c(key, "listen"))
            read_listen(r, a, out);
        else if (str_eq_c(key, "processes"))
            read_processes(r, a, out);
        else if (str_eq_c(key, "memory"))
            take_raw(r, a, &out->memory);
        else if (str_eq_c(key, "models"))
            take_raw(r, a, &out->models);
        else if (str_eq_c(key, "last_error"))
            take_text(r, a, &out->last_error);
        else if (str_eq_c(key, "crashes"))
            read_crashes(r, a, out);
        else
            (void)json_skip(r, NULL);
    }
}

enum err_code status_parse(struct str text, struct arena *a, struct status *out, struct err *err)
{
    struct json_reader r;
    struct buf padded;
    struct status status = {0};
    buf_init(&padded, STATUS_BYTES_MAX);
    buf_str(&padded, text);
    buf_pad(&padded);
    if (padded.failed)
        return err_set(err, ERR_TOO_LARGE, "the status has %zu bytes, more than %zu", text.n, STATUS_BYTES_MAX);
    json_init(&r, buf_view(&padded), 8);
    read_root(&r, a, &status);
    enum err_code code = json_end(&r);
    if (code)
        *err = r.err;
    buf_done(&padded);
    if (code)
        return code;
    status.text = text;
    *out = status;
    return ERR_OK;
}

/* The lock tells, the pid alone does not: another program may have got the number. The lock is tried only when the pid lives, so
 * that a quern that starts at this moment never finds it taken by us. */
static bool is_running(const char *data, int64_t pid, struct arena *a)
{
    if (pid <= 0 || pid > INT32_MAX || (kill((pid_t)pid, 0) < 0 && errno == ESRCH))
        return false;
    AUTO_FD fd = open(arena_printf(a, "%s/run/lock", data).p, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return false;
    return flock(fd, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK;
}

enum err_code status_read(const char *data, struct arena *a, struct status *out, struct err *err)
{
    const char *path = arena_printf(a, "%s/run/status.json", data).p;
    struct str text = {0};
    struct status status = {0};
    if (file_read(path, STATUS_BYTES_MAX, a, &text, err))
        return err->code;
    if (status_parse(text, a, &status, err)) {
        err_wrap(err, "%s", path);
        return err_remedy(
            err,
            "it is damaged, or of another version of quern: use the quern that runs, or ask the server itself (GET "
            "/api/status); the next start writes it anew");
    }
    status.is_running = is_running(data, status.master_pid, a);
    *out = status;
    return ERR_OK;
}
