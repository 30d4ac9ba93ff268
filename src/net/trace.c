#include "net/trace_int.h"

#include <string.h>

#include "base/rand.h"

enum { TRACE_AT = 3, TRACE_N = 32, SPAN_AT = 36, SPAN_N = 16, FLAGS_AT = 53, TRACEPARENT_N = 55 };

static bool is_sane_id(struct str s)
{
    if (s.n == 0 || s.n > sizeof(((struct http_req *)NULL)->id) - 1)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
                  c == '-';
        if (!ok)
            return false;
    }
    return true;
}

/* Lower-case hex only, as the recommendation demands. */
static bool is_hex(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!((s.p[i] >= '0' && s.p[i] <= '9') || (s.p[i] >= 'a' && s.p[i] <= 'f')))
            return false;
    return true;
}

static bool is_all_zero(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] != '0')
            return false;
    return true;
}

static bool is_traceparent(struct str s)
{
    if (s.n < TRACEPARENT_N || s.p[2] != '-' || s.p[35] != '-' || s.p[52] != '-')
        return false;
    struct str version = str_sub(s, 0, 2), trace = str_sub(s, TRACE_AT, TRACE_N), span = str_sub(s, SPAN_AT, SPAN_N);
    if (!is_hex(version) || !is_hex(trace) || !is_hex(span) || !is_hex(str_sub(s, FLAGS_AT, 2)))
        return false;
    if (str_eq_c(version, "ff") || is_all_zero(trace) || is_all_zero(span))
        return false;
    /* Version 00 ends here; a later one may go on after a dash. */
    return s.n == TRACEPARENT_N || (!str_eq_c(version, "00") && s.p[TRACEPARENT_N] == '-');
}

void trace_identify(struct http_req *req, struct str client_id, struct str traceparent)
{
    char fresh[TRACE_N];
    bool has_id = is_sane_id(client_id), has_trace = is_traceparent(traceparent);
    if (!has_id || !has_trace)
        rand_hex(fresh, TRACE_N / 2);
    if (has_id)
        (void)str_copy(req->id, sizeof(req->id), client_id);
    else
        (void)str_copy(req->id, sizeof(req->id), (struct str){fresh, TRACE_N});

    memcpy(req->trace, "00-", TRACE_AT);
    memcpy(req->trace + TRACE_AT, has_trace ? traceparent.p + TRACE_AT : fresh, TRACE_N);
    req->trace[SPAN_AT - 1] = '-';
    rand_hex(req->trace + SPAN_AT, SPAN_N / 2);
    /* Only the sampled flag has a meaning in version 00; a trace of ours is not sampled by anybody before us. */
    bool sampled = has_trace && ((traceparent.p[FLAGS_AT + 1] >= 'a' ? traceparent.p[FLAGS_AT + 1] - 'a' + 10
                                                                     : traceparent.p[FLAGS_AT + 1] - '0') &
                                 1) != 0;
    memcpy(req->trace + SPAN_AT + SPAN_N, sampled ? "-01" : "-00", 4);
}
