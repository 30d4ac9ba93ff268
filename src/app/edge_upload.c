/* Loading a model with parts of the request in place of the repository's: `parameters`: {"config": JSON text, "file:1/model.onnx": Base64}. Reading and
 * writing happen on libuv's threads: a model of many megabytes must not hold up the requests of others. */
#include "app/edge_upload.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/base64.h"
#include "base/check.h"
#include "base/json.h"
#include "cli/config_override.h"
#include "model/repo/pbtxt_json.h"
#include "sys/fd.h"
#include "sys/tree.h"

#define UPLOADS_MAX  4 /* at a time: each holds a decoded copy of its largest file */
#define FILES_MAX    64
#define PATH_DEPTH   4
#define CONFIG_BYTES ((size_t)1 << 20)

struct upload {
    uv_work_t work;
    struct edge_thread *thread;
    struct edge_load *load;
    const struct http_req *req;
    char name[64], folder[700]; /* of what is written; its name alone, and with the way to it */
    size_t files;
    bool has_config, is_made;
    struct err err;
};

static atomic_int running;
static atomic_uint_least64_t last;

/* ---- on a thread of libuv's: nothing of the edge's but the body may be touched ---- */

/* 1/model.onnx, labels.txt: names without tricks, not too deep. */
static bool path_is_sane(struct str path)
{
    int depth = 0;
    struct str rest = path;
    if (path.n == 0 || path.n > 200)
        return false;
    while (rest.n > 0 && depth <= PATH_DEPTH) {
        struct str part = str_cut(rest, '/', &rest);
        depth++;
        if (part.n == 0 || part.p[0] == '.')
            return false;
        for (size_t i = 0; i < part.n; i++) {
            char c = part.p[i];
            if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9') && c != '.' && c != '_' &&
                c != '-')
                return false;
        }
    }
    return depth <= PATH_DEPTH && path.p[path.n - 1] != '/';
}

static enum err_code make_folder(struct upload *u, const char *path)
{
    u->is_made = true;
    return dir_make(path, 0700, &u->err);
}

static enum err_code write_config(struct upload *u, struct json_reader *r)
{
    struct arena a;
    struct buf in, out;
    struct str text;
    char path[800];
    arena_init(&a, 4096, CONFIG_BYTES);
    buf_init(&in, CONFIG_BYTES);
    buf_init(&out, CONFIG_BYTES);
    r->str_max = CONFIG_BYTES / 2;
    u->has_config = json_string(r, &a, &text);
    if (u->has_config) {
        buf_str(&in, text);
        buf_pad(&in);
        (void)snprintf(path, sizeof path, "%s/" OVERRIDE_CONFIG, u->folder);
        if (pbtxt_from_json(buf_view(&in), &out, &u->err))
            (void)err_wrap(&u->err, "config");
        else if (make_folder(u, u->folder) == ERR_OK)
            (void)file_replace(path, buf_view(&out), false, &u->err);
    }
    buf_done(&in);
    buf_done(&out);
    arena_done(&a);
    return u->err.code;
}

static enum err_code put_bytes(struct upload *u, struct str name, struct str text)
{
    char path[1000];
    size_t n = 0;
    char *bytes = malloc(base64_bound(text.n) + 1);
    CHECK(bytes);
    (void)snprintf(path, sizeof path, "%s/" OVERRIDE_FILES "/%.*s", u->folder, STR_F(name));
    if (!base64_decode(text, bytes, &n)) {
        err_set(&u->err, ERR_INVALID, "file:%.*s: not Base64 from character %zu on", STR_F(name), n);
    } else {
        char *end = strrchr(path, '/');
        *end = '\0';
        enum err_code code = make_folder(u, path);
        *end = '/';
        if (code == ERR_OK)
            (void)file_replace(path, (struct str){bytes, n}, false, &u->err);
    }
    free(bytes);
    return u->err.code;
}

static enum err_code write_one(struct upload *u, struct json_reader *r, struct str name)
{
    struct arena a;
    struct str text, path;
    arena_init(&a, 4096, u->req->body.n + 4096);
    path = arena_str_dup(&a, name); /* the key may lie in the reader */
    if (!path_is_sane(name))
        err_set(&u->err, ERR_INVALID, "file:%.*s is not a path inside of a model's folder",
                (int)(name.n < 100 ? name.n : 100), name.p);
    else if (u->files++ == FILES_MAX)
        err_set(&u->err, ERR_TOO_LARGE, "more than %d files", FILES_MAX);
    else if (json_string(r, &a, &text))
        (void)put_bytes(u, path, text);
    arena_done(&a);
    return u->err.code;
}

static void read_parameters(struct upload *u, struct json_reader *r)
{
    static const struct str prefix = {"file:", 5};
    struct str key;
    json_object(r);
    while (json_key(r, &key)) {
        if (str_eq_c(key, "config"))
            (void)write_config(u, r);
        else if (str_starts(key, prefix))
            (void)write_one(u, r, str_sub(key, prefix.n, key.n));
        else
            err_set(&u->err, ERR_UNSUPPORTED, "parameter '%.*s' is not taken here", (int)(key.n < 60 ? key.n : 60),
                    key.p);
        if (u->err.code)
            return;
    }
}

static void on_work(uv_work_t *work)
{
    struct upload *u = work->data;
    struct json_reader r;
    struct str key;
    json_init(&r, u->req->body, 8);
    json_object(&r);
    while (u->err.code == ERR_OK && json_key(&r, &key))
        if (str_eq_c(key, "parameters") && json_peek(&r) == JSON_OBJECT)
            read_parameters(u, &r);
        else
            json_skip(&r, NULL);
    if (u->err.code == ERR_OK && json_end(&r))
        u->err = r.err;
    if (u->err.code == ERR_OK && u->files > 0 && !u->has_config) {
        err_set(&u->err, ERR_INVALID, "override model directory requires 'config' in parameters");
        err_remedy(&u->err, "send \"config\": \"{}\" when the files say it all");
    }
    if (u->err.code && u->is_made)
        (void)tree_remove(u->folder, &(struct err){0}); /* what is wrong is told already */
}

/* ---- on the edge's thread ---- */

static void on_worked(uv_work_t *work, int status)
{
    struct upload *u = work->data;
    struct edge_load *l = u->load;
    (void)status; /* never cancelled */
    atomic_fetch_sub(&running, 1);
    if (u->err.code) {
        l->done(l, &u->err);
    } else {
        if (u->has_config)
            (void)str_copy(l->folder, sizeof l->folder, str_c(u->name));
        edge_load_ask(u->thread, l);
    }
    free(u);
}

void edge_upload(struct edge_thread *t, struct edge_load *l, const struct http_req *req)
{
    struct err err;
    if (atomic_fetch_add(&running, 1) >= UPLOADS_MAX) {
        atomic_fetch_sub(&running, 1);
        err_set(&err, ERR_BUSY, "%d models are being uploaded", UPLOADS_MAX);
        l->done(l, &err);
        return;
    }
    struct upload *u = calloc(1, sizeof *u);
    CHECK(u);
    u->thread = t;
    u->load = l;
    u->req = req;
    u->work.data = u;
    (void)snprintf(u->name, sizeof u->name, ".new-%d-%llu", (int)getpid(),
                   (unsigned long long)atomic_fetch_add(&last, 1));
    (void)snprintf(u->folder, sizeof u->folder, "%s/uploads/%s", t->edge->data, u->name);
    CHECK(uv_queue_work(&t->loop, &u->work, on_work, on_worked) == 0);
}
