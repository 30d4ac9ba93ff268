#include "cli/ask.h"

#include <errno.h>
#include <string.h>

#include "base/json.h"
#include "bench/subject.h"
#include "cli/exit.h"

enum err_code ask_init(struct ask *to, const struct args *args, struct arena *a, struct err *err)
{
    const char *url = args_get(args, "url");
    *to = (struct ask){0};
    if (!url) {
        to->running = running_find(args, a);
        to->unix_path = arena_printf(a, "%s/run/edge.sock", to->running.data).p;
        return ERR_OK;
    }
    struct subject *s = arena_new(a, struct subject);
    if (subject_parse(url, a, s, err) != ERR_OK) {
        (void)err_set(err, ERR_INVALID, "quern %s --url: \"%.200s\" is no address", args->command->name, url);
        return err_remedy(err, "it is http://HOST:PORT or unix:SOCKET");
    }
    to->unix_path = s->unix_path;
    to->host = s->host;
    to->port = s->port;
    return ERR_OK;
}

/* {"error": ..., "remedy": ...}, or "message" instead of "error". */
void ask_error(struct fetch_response *r, struct err *err)
{
    struct json_reader j;
    struct arena a;
    struct str key, text = STR(""), remedy = STR("");
    arena_init(&a, 4096, 4 << 20);
    buf_pad(&r->body);
    json_init(&j, buf_view(&r->body), 8);
    json_object(&j);
    while (json_key(&j, &key)) {
        if (str_eq_c(key, "error") || str_eq_c(key, "message"))
            json_string(&j, &a, &text);
        else if (str_eq_c(key, "remedy"))
            json_string(&j, &a, &remedy);
        else
            json_skip(&j, NULL);
    }
    enum err_code code = r->status == 404 ? ERR_NOT_FOUND : ERR_BACKEND;
    if (text.n)
        (void)err_set(err, code, "%.*s", (int)(text.n < 300 ? text.n : 300), text.p);
    else
        (void)err_set(err, code, "the server answers %d, without a reason", r->status);
    struct str type = fetch_header(r, "content-type");
    if (!text.n && type.n && !str_starts(type, STR("application/json")))
        (void)err_remedy(err, "it sends %.*s: is quern at that address?", (int)(type.n < 60 ? type.n : 60), type.p);
    if (remedy.n)
        (void)err_remedy(err, "%.*s", (int)(remedy.n < 230 ? remedy.n : 230), remedy.p);
    arena_done(&a);
}

int ask(const struct ask *to, const char *method, const char *path, struct fetch_response *r, struct err *err)
{
    struct fetch_request q = {.unix_path = to->unix_path,
                              .host = to->host,
                              .port = to->port,
                              .method = method,
                              .path = path,
                              .timeout_ns = to->timeout_ns};
    if (fetch(&q, r, err) != ERR_OK) {
        if (to->running.data && (err->sys == ENOENT || err->sys == ECONNREFUSED))
            (void)err_set(err, ERR_UNAVAILABLE, "no quern runs with the data directory %s", to->running.data);
        if (to->running.data)
            (void)running_remedy(&to->running, err,
                                 "quern status shows whether it runs; name its data directory with --data DIR");
        return EXIT_NOT_RUNNING;
    }
    *err = (struct err){0}; /* an address that did not answer before another did */
    if (r->status >= 200 && r->status < 300) {
        buf_pad(&r->body);
        return EXIT_FINE;
    }
    ask_error(r, err);
    fetch_done(r);
    return EXIT_FAILED;
}

bool ask_is_name(const char *name)
{
    size_t n = strlen(name);
    return n > 0 && n <= 200 && strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == n;
}
