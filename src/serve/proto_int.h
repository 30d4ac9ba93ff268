/* Private to serve/proto_*.c: one inference call of a REST protocol, from its parsed request to its answer. It lies in the request's arena. */
#ifndef SERVE_PROTO_INT_H
#define SERVE_PROTO_INT_H

#include "serve/cache.h"
#include "serve/client_shm.h"
#include "serve/proto.h"
#include "serve/record.h"
#include "serve/trail.h"

struct proto_call;

/* Where the elements of an input come from. */
enum proto_source_kind {
    PROTO_ABSENT,
    PROTO_TEXT,   /* JSON text of a nested array, syntax checked, read in decode */
    PROTO_HERE,   /* the reader stands before the array: decode reads it and then the rest of the body */
    PROTO_BINARY, /* bytes of the Open Inference Protocol's binary extension */
    PROTO_REGION  /* the same in a client's shared memory */
};

struct proto_source {
    enum proto_source_kind kind;
    struct str bytes;
    struct client_shm_part part; /* PROTO_REGION */
    char where[48];              /* "inputs[1].data", for errors */
};

struct proto_ops {
    /* PROTO_HERE: goes on behind the array. NULL when the protocol never uses it. */
    enum err_code (*resume)(struct proto_call *c, struct err *err);
    void (*answer)(struct proto_call *c);
    void (*fail)(struct http_req *req, const struct err *err);
    bool allow_nan; /* bare NaN and Infinity in JSON, as Triton's clients send them */
};

struct proto_call {
    struct infer infer;
    const struct proto_ops *ops;
    struct http_req *req;
    struct serve *serve;
    const struct served_info *info;
    const struct model_desc *desc;
    struct proto_source *source;       /* one for each input of the model */
    struct cache_flight *flight;       /* it runs for others too */
    struct cache_waiter waiter;        /* it waits for another */
    uint64_t t_decode_ns, t_encode_ns; /* when they began; 0: not yet */
    struct str client_id;              /* the id in the request, for its trace; empty: none */
    struct proto_keyed *keyed;         /* proto_cached.c; NULL: no cache */
    bool is_keying;                    /* inputs are being read into the key, not into a batch */
    enum trail_cache cached;           /* whence its answer comes: TRAIL_HIT, TRAIL_JOINED; else TRAIL_NO_CACHE */
    void *protocol;                    /* the protocol's own state */
    struct json_reader reader;         /* large, last, not zeroed */
};

/* A call for a request whose model may not be known yet. NULL after answering an error. */
struct proto_call *proto_call_new(struct http_req *req, struct serve *serve, const struct proto_ops *ops);
/* Sets the model and makes room for its inputs. */
enum err_code proto_call_model(struct proto_call *c, struct served *m, struct err *err);
/* Submits; the answer comes through ops, maybe before this returns: do not touch c afterwards. */
void proto_call_submit(struct proto_call *c);
/* Answers an error before submitting. */
void proto_call_fail(struct proto_call *c, const struct err *err);
/* The whole answer, with stage times. json lies in proto_scratch. */
void proto_call_respond(struct proto_call *c, struct str content_type, const struct http_header *extra,
                        size_t extra_len, const struct str *parts, size_t parts_len);

/* The thread's buffers for answers, empty: 0 for JSON, 1 for binary strings. Kept from answer to answer. */
struct buf *proto_scratch(int which);

/* Reads a nested array of elements for input k from r, which stands before it. */
enum err_code proto_read_elements(struct proto_call *c, int k, struct json_reader *r, struct err *err);
/* infer.decode: fills all inputs from their sources. */
enum err_code proto_decode(struct infer *i, struct err *err);
/* Fills one input, which is given. */
enum err_code proto_decode_input(struct proto_call *c, int k, struct err *err);
/* One output as an array: flat, or nested by dims (ndim 0: a scalar) from element `from` on. */
void proto_write_flat(const struct infer *i, int k, struct json_writer *w);
void proto_write_nested(const struct infer *i, int k, uint64_t from, const int64_t *dims, int ndim,
                        struct json_writer *w);

/* Names for error texts: "'a', 'b'", cut to the size. */
void proto_names(const struct tensor_spec *t, uint32_t len, char *out, size_t out_size);
/* The tensor that a mistyped name most likely meant, or NULL. */
const char *proto_nearest(const struct tensor_spec *t, uint32_t len, struct str name);
/* For "%.*s" of a stranger's text: its length, cut between characters. */
int proto_cut(struct str s);

/* For whoever records: the answer that the call is about to get. parts NULL: an error. */
void proto_call_record(const struct proto_call *c, int status, struct str type, struct str header_length,
                       const struct str *parts, size_t parts_len);
/* Makes a record of the call if it failed or was slow, or is one of the sample; err NULL: it went well. Before it is answered. */
void proto_trail_note(const struct proto_call *c, const struct err *err, enum trail_cache cache, uint64_t now_ns);

/* Traces (proto_trace.c); all do nothing for a call that is not traced. begin: its model is known; inputs, outputs: their data can be read; end: about to be
 * answered. */
void proto_trace_begin(struct proto_call *c);
void proto_trace_inputs(const struct proto_call *c);
void proto_trace_end(const struct proto_call *c);

/* Handlers of the other files. */
void proto_predict(struct http_req *req, const struct route_match *m, void *arg);
void proto_v2_infer(struct http_req *req, const struct route_match *m, void *arg);
void proto_generate(struct http_req *req, const struct route_match *m, void *arg);
void proto_generate_stream(struct http_req *req, const struct route_match *m, void *arg);
void proto_v2_server(struct http_req *req, const struct route_match *m, void *arg);
void proto_v2_live(struct http_req *req, const struct route_match *m, void *arg);
void proto_v2_ready(struct http_req *req, const struct route_match *m, void *arg);
void proto_v2_model(struct http_req *req, const struct route_match *m, void *arg);
void proto_v2_model_ready(struct http_req *req, const struct route_match *m, void *arg);
void proto_v2_config(struct http_req *req, const struct route_match *m, void *arg);
void proto_v2_index(struct http_req *req, const struct route_match *m, void *arg);
void proto_requests(struct http_req *req, const struct route_match *m, void *arg);
void proto_request(struct http_req *req, const struct route_match *m, void *arg);
void proto_v2_repository(struct http_req *req, const struct route_match *m, void *arg);
void proto_v2_shm_status(struct http_req *req, const struct route_match *m, void *arg);
void proto_v2_shm_register(struct http_req *req, const struct route_match *m, void *arg);
void proto_v2_shm_unregister(struct http_req *req, const struct route_match *m, void *arg);
void proto_v2_cuda_status(struct http_req *req, const struct route_match *m, void *arg);
void proto_v2_cuda_register(struct http_req *req, const struct route_match *m, void *arg);
void proto_v2_cuda_unregister(struct http_req *req, const struct route_match *m, void *arg);
void proto_v2_trace_get(struct http_req *req, const struct route_match *m, void *arg);
void proto_v2_trace_post(struct http_req *req, const struct route_match *m, void *arg);
void proto_v2_log_get(struct http_req *req, const struct route_match *m, void *arg);
void proto_v2_log_post(struct http_req *req, const struct route_match *m, void *arg);
void proto_v2_stats(struct http_req *req, const struct route_match *m, void *arg);
void proto_nv_metrics(struct http_req *req, const struct route_match *m, void *arg);
void proto_v2_sample(struct http_req *req, const struct route_match *m, void *arg);
void proto_openapi(struct http_req *req, const struct route_match *m, void *arg);

/* All or nothing, too. */
struct trace_change;
enum err_code proto_v2_trace_read(struct str body, struct arena *a, struct trace_change *c, struct err *err);
/* Reads settings of the log over those in c, which is undefined after an error. */
struct log_choice;
enum err_code proto_v2_log_read(struct str body, struct arena *a, struct log_choice *c, struct err *err);

/* The model that captures name: {model} or {model}, {version}. */
enum err_code proto_find(struct serve *s, const struct route_match *m, struct served **out, struct err *err);

/* Sample values for one request of one row; false: over PROTO_SAMPLE_ELEMENTS_MAX. Bodies as JSON values. */
#define PROTO_SAMPLE_ELEMENTS_MAX 100000
#define PROTO_SAMPLE_SHOWN_MAX    512 /* in the API description and the curl line */
bool proto_sample_predict(const struct served_info *m, uint64_t elements_max, struct json_writer *w);
bool proto_sample_infer(const struct served_info *m, uint64_t elements_max, struct json_writer *w);

#endif
