/* ONNX Runtime called barely, for the yardsticks: errors end the program. */
#ifndef BENCH_ORT_BARE_H
#define BENCH_ORT_BARE_H

#include "model/backend.h"
#include "model/backends/onnx/onnx_int.h"
#include "must.h"

static void must_ort(struct ort_status *s, const char *what)
{
    must(ort_check(s, NULL, &err, ERR_BACKEND), what);
}

static struct ort_value *wrap(const struct onnx_model *m, const struct backend_tensor *t)
{
    struct ort_value *v = NULL;
    if (t->dtype != DT_BYTES)
        must_ort(m->api->CreateTensorWithDataAsOrtValue(m->memory, t->data, t->bytes, t->dims, (size_t)t->ndim,
                                                        onnx_element(t->dtype), &v),
                 "tensor");
    return v;
}

/* A session as one gets it who sets nothing but one thread. */
static struct ort_session *bare_session(const struct onnx_model *m, struct str bytes, bool has_arena)
{
    struct ort_session_options *o;
    struct ort_session *session;
    must_ort(m->api->CreateSessionOptions(&o), "options");
    must_ort(m->api->SetIntraOpNumThreads(o, 1), "threads");
    if (!has_arena)
        must_ort(m->api->DisableCpuMemArena(o), "arena");
    must_ort(m->api->CreateSessionFromArray(ort_env(), bytes.p, bytes.n, o, &session), "session");
    m->api->ReleaseSessionOptions(o);
    return session;
}

static void bare_run(const struct onnx_model *m, struct ort_session *session, struct ort_value **in,
                     struct ort_value **out)
{
    must_ort(m->api->Run(session, NULL, (const char *const *)m->input_names, (const struct ort_value *const *)in,
                         m->inputs_len, (const char *const *)m->output_names, m->outputs_len, out),
             "bare run");
}

#endif
