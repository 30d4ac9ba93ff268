/* What protocols tell traces: stages under Triton's names, inputs and outputs. */
#include "base/clock.h"
#include "serve/proto_int.h"
#include "serve/trace.h"

void proto_trace_begin(struct proto_call *c)
{
    struct http_req *req = c->req;
    if (!req->trace_record) /* a request that waited for its model comes here again */
        req->trace_record = trace_begin(c->info->name, c->info->version);
    c->infer.trace = req->trace_record;
}

/* Texts lie in the batch in a form that only its worker reads: they are left out. */
void proto_trace_inputs(const struct proto_call *c)
{
    struct trace *t = c->infer.trace;
    if (!trace_wants_tensors(t))
        return;
    for (uint32_t k = 0; k < c->desc->inputs_len; k++) {
        const struct infer_tensor *in = &c->infer.in[k];
        if (in->given && in->dtype != DT_BYTES)
            trace_tensor(t, &(struct trace_tensor){.activity = "TENSOR_QUEUE_INPUT",
                                                   .name = c->desc->inputs[k].name,
                                                   .dtype = in->dtype,
                                                   .dims = in->dims,
                                                   .ndim = in->ndim,
                                                   .data = in->data});
    }
}

struct strings {
    const struct infer *infer;
    int k;
};

static struct str string_of(void *arg, uint64_t e)
{
    const struct strings *s = arg;
    return infer_get_bytes(s->infer, s->k, e);
}

static void trace_outputs(const struct proto_call *c)
{
    for (uint32_t k = 0; k < c->desc->outputs_len; k++) {
        const struct infer_tensor *out = &c->infer.out[k];
        struct strings strings = {&c->infer, (int)k};
        trace_tensor(c->infer.trace, &(struct trace_tensor){.activity = "TENSOR_BACKEND_OUTPUT",
                                                            .name = c->desc->outputs[k].name,
                                                            .dtype = out->dtype,
                                                            .dims = out->dims,
                                                            .ndim = out->ndim,
                                                            .data = out->data,
                                                            .string = string_of,
                                                            .arg = &strings});
    }
}

/* Inputs are decoded straight into the batch while the request is queued: COMPUTE_START and COMPUTE_INPUT_END are one moment, when the run began;
 * COMPUTE_OUTPUT_START and COMPUTE_END are when it ended. */
void proto_trace_end(const struct proto_call *c)
{
    struct trace *t = c->infer.trace;
    const struct infer *i = &c->infer;
    if (!t)
        return;
    trace_request_id(t, c->client_id.n > 0 ? c->client_id : str_c(c->req->id));
    trace_time(t, "HTTP_RECV_START", c->req->t_start_ns);
    trace_time(t, "HTTP_RECV_END", c->req->t_ready_ns);
    trace_time(t, "REQUEST_START", c->req->t_ready_ns);
    trace_time(t, "QUEUE_START", i->t_submit_ns);
    trace_time(t, "COMPUTE_START", i->t_run_ns);
    trace_time(t, "COMPUTE_INPUT_END", i->t_run_ns);
    trace_time(t, "COMPUTE_OUTPUT_START", i->t_ran_ns);
    trace_time(t, "COMPUTE_END", i->t_ran_ns);
    trace_time(t, "REQUEST_END", c->t_encode_ns);
    if (i->out && i->err.code == ERR_OK && trace_wants_tensors(t))
        trace_outputs(c);
}

void proto_trace_sent(const struct http_req *req)
{
    uint64_t now = clock_now_ns(), took = req->stage_ns[STAGE_SEND];
    trace_time(req->trace_record, "HTTP_SEND_START", now - took);
    trace_time(req->trace_record, "HTTP_SEND_END", now);
    trace_end(req->trace_record);
}
