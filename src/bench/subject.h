/* What is measured: where a server listens, and the request that it gets again and again. Built once, before any time is taken. */
#ifndef BENCH_SUBJECT_H
#define BENCH_SUBJECT_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"

#define SUBJECT_BODY_MAX ((size_t)1 << 30)

struct subject {
    char host[256];
    int port;
    const char *unix_path; /* NULL: TCP */
    const char *path;      /* as in the URL, at least "/" */
    const char *model;     /* of /v2/models/MODEL[/versions/V][/infer]; NULL: another path */
    const char *base;      /* of the same: "/v2/models/MODEL[/versions/V]" */
    struct buf request;    /* all its bytes */
    const char *what;      /* for people: "POST /v2/models/iris/infer, 1 row as JSON, 312 bytes" */
};

struct subject_options {
    int64_t rows;
    bool is_binary;
    const char *body_file;      /* NULL: made from the model's description */
    const char *content_type;   /* NULL: application/json, for a body */
    const char *const *headers; /* "Name: value" */
    size_t headers_len;
};

/* http://HOST[:PORT][/PATH] or unix:SOCKET[:/PATH]. */
enum err_code subject_parse(const char *url, struct arena *a, struct subject *out, struct err *err);
/* Fills request. Asks the server for the model's description where it needs it. */
enum err_code subject_build(struct subject *t, const struct subject_options *o, struct arena *a, struct err *err);
void subject_done(struct subject *t);

#endif
