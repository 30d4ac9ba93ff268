/* quern model: what an operator does to one model of the quern that runs. */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "cli/commands.h"
#include "net/fetch.h"

static enum err_code ask(const struct args *a, const char *path, struct fetch_response *r, struct err *err)
{
    char socket_path[PATH_MAX];
    struct arena arena;
    arena_init(&arena, 4096, 1 << 20);
    const char *data = args_get(a, "data");
    (void)snprintf(socket_path, sizeof socket_path, "%s/run/edge.sock", data ? data : config_data_default(&arena));
    arena_done(&arena);
    struct fetch_request q = {.unix_path = socket_path, .method = "POST", .path = path};
    if (fetch(&q, r, err) == ERR_OK)
        return ERR_OK;
    return err_remedy(err, "quern status shows whether it runs; name its data directory with --data DIR");
}

/* The error of an answer: {"error": ..., "remedy": ...}. */
static void read_error(const struct fetch_response *r, struct err *err)
{
    struct json_reader j;
    struct arena a;
    struct str key, text = STR(""), remedy = STR("");
    struct buf copy;
    arena_init(&a, 4096, 1 << 20);
    buf_init(&copy, 1 << 20);
    buf_str(&copy, buf_view(&r->body));
    buf_pad(&copy);
    json_init(&j, buf_view(&copy), 8);
    json_object(&j);
    while (json_key(&j, &key)) {
        if (str_eq_c(key, "error"))
            json_string(&j, &a, &text);
        else if (str_eq_c(key, "remedy"))
            json_string(&j, &a, &remedy);
        else
            json_skip(&j, NULL);
    }
    (void)err_set(err, ERR_BACKEND, "%.*s", (int)(text.n < 300 ? text.n : 300), text.n ? text.p : "no answer");
    if (remedy.n)
        (void)err_remedy(err, "%.*s", (int)(remedy.n < 230 ? remedy.n : 230), remedy.p);
    arena_done(&a);
    buf_done(&copy);
}

static int rollback(const struct args *a, const char *name)
{
    struct fetch_response r;
    struct err err = {0};
    char path[400];
    if (strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") != strlen(name) ||
        strlen(name) > 200) {
        (void)err_set(&err, ERR_INVALID, "\"%.60s\" is no name of a model", name);
        return cli_fail(&err, EXIT_USAGE);
    }
    (void)snprintf(path, sizeof path, "/api/models/%s/rollback", name);
    if (ask(a, path, &r, &err))
        return cli_fail(&err, EXIT_NOT_RUNNING);
    int status = r.status;
    if (status != 200)
        read_error(&r, &err);
    fetch_done(&r);
    if (status != 200)
        return cli_fail(&err, EXIT_FAILED);
    (void)printf("%s: rolled back\n", name);
    return EXIT_FINE;
}

int cmd_model(const struct args *a, master_run_fn *run)
{
    (void)run;
    struct err err = {0};
    if (strcmp(a->pos[0], "rollback") == 0 && a->pos_len == 2)
        return rollback(a, a->pos[1]);
    (void)err_set(&err, ERR_INVALID, "quern model: expected rollback NAME");
    (void)err_remedy(&err, "see: quern model --help");
    return cli_fail(&err, EXIT_USAGE);
}
