/* What the master tells the edge first: settings, and the descriptors that come with them. Written by app/master_messages.c. */
#include <poll.h>
#include <unistd.h>

#include "app/edge_int.h"
#include "app/log_share.h"
#include "app/roles.h"
#include "base/json.h"
#include "serve/client_shm.h"
#include "sys/fd.h"
#include "sys/shm.h"

static void read_limits(struct json_reader *r, struct server_limits *l)
{
    struct str key;
    uint64_t v;
    json_object(r);
    while (json_key(r, &key)) {
        if (!json_u64(r, &v))
            return;
        if (str_eq_c(key, "body_bytes_max"))
            l->body_bytes_max = v;
        else if (str_eq_c(key, "head_bytes_max"))
            l->head_bytes_max = v;
        else if (str_eq_c(key, "headers_max"))
            l->headers_max = v;
        else if (str_eq_c(key, "connections_max"))
            l->connections_max = v;
        else if (str_eq_c(key, "pipeline_max"))
            l->pipeline_max = v;
        else if (str_eq_c(key, "head_timeout_ns"))
            l->head_timeout_ns = v;
        else if (str_eq_c(key, "body_timeout_ns"))
            l->body_timeout_ns = v;
        else if (str_eq_c(key, "idle_timeout_ns"))
            l->idle_timeout_ns = v;
        else if (str_eq_c(key, "send_timeout_ns"))
            l->send_timeout_ns = v;
    }
}

static enum err_code read_launch(struct edge *e, struct str text, struct err *err)
{
    struct json_reader r;
    struct str key, s = STR("");
    int64_t threads = 0;
    uint64_t expected = 0;
    bool allow_client_shm = false;
    json_init(&r, text, 8);
    json_object(&r);
    while (json_key(&r, &key)) {
        if (str_eq_c(key, "threads"))
            json_i64(&r, &threads);
        else if (str_eq_c(key, "limits"))
            read_limits(&r, &e->limits);
        else if (str_eq_c(key, "log"))
            log_share_take(&r);
        else if (str_eq_c(key, "access_log"))
            json_bool(&r, &e->access_log);
        else if (str_eq_c(key, "record_over_network"))
            json_bool(&r, &e->record_over_network);
        else if (str_eq_c(key, "base_path") && json_string(&r, &e->arena, &s))
            e->base_path = arena_str_dup(&e->arena, s);
        else if (str_eq_c(key, "allow_client_shm") && json_bool(&r, &allow_client_shm))
            client_shm_allow(allow_client_shm);
        else if (str_eq_c(key, "data") && json_string(&r, &e->arena, &s))
            (void)str_copy(e->data, sizeof e->data, s);
        else if (str_eq_c(key, "address") && json_string(&r, &e->arena, &s))
            (void)str_copy(e->address, sizeof e->address, s);
        else if (str_eq_c(key, "listen") && json_skip(&r, &s))
            e->listen_json = arena_str_dup(&e->arena, s);
        else if (str_eq_c(key, "is_serve"))
            json_bool(&r, &e->is_serve);
        else if (str_eq_c(key, "started_at_ms"))
            json_u64(&r, &e->started_at_ms);
        else if (str_eq_c(key, "models"))
            json_u64(&r, &expected);
        else
            json_skip(&r, NULL);
    }
    if (json_end(&r))
        return err_set(err, ERR_INTERNAL, "launch message: %s", r.err.text);
    if (threads < 1 || threads > LANE_THREADS_MAX)
        return err_set(err, ERR_INTERNAL, "launch message: threads");
    e->threads_len = (int)threads;
    e->models_expected = (uint32_t)expected;
    return ERR_OK;
}

/* Descriptors: doorbell memory, an eventfd for each thread, then the listening sockets. */
static enum err_code take_fds(struct edge *e, struct err *err)
{
    struct channel_msg *m = &e->msg;
    size_t first_socket = 1 + (size_t)e->threads_len;
    void *bell;
    if (m->fds_len < first_socket || m->fds_len - first_socket > ARRAY_LEN(e->listen_fds))
        return err_set(err, ERR_INTERNAL, "launch message lacks descriptors");
    if (shm_map(m->fds[0], 0, sizeof(struct doorbell_shm), true, &bell, err))
        return err->code;
    e->doorbell = bell;
    for (int i = 0; i < e->threads_len; i++)
        e->threads[i].bell_fd = m->fds[1 + i];
    for (size_t i = first_socket; i < m->fds_len; i++)
        e->listen_fds[e->listen_fds_len++] = m->fds[i];
    (void)fd_close(m->fds[0]);
    m->fds_len = 0;
    return ERR_OK;
}

enum err_code edge_wait_launch(struct edge *e, struct err *err)
{
    struct pollfd p = {.fd = CHANNEL_FD, .events = POLLIN};
    enum channel_result got;
    do {
        (void)poll(&p, 1, -1);
        got = channel_recv(CHANNEL_FD, &e->msg);
    } while (got == CHANNEL_EMPTY);
    if (got == CHANNEL_CLOSED)
        _exit(EXIT_MASTER_GONE);
    if (e->msg.type != CHANNEL_LAUNCH)
        return err_set(err, ERR_INTERNAL, "expected the launch message first");
    if (read_launch(e, e->msg.payload, err))
        return err->code;
    return take_fds(e, err);
}
