/* Private to serve/proto_v2_*.c: what the answer of an inference needs to know of its request. */
#ifndef SERVE_PROTO_V2_INT_H
#define SERVE_PROTO_V2_INT_H

#include "serve/proto_int.h"

enum v2_form { V2_DEFAULT, V2_JSON, V2_BINARY };

struct v2_wanted {
    uint32_t index;
    enum v2_form form;
    uint32_t classes; /* 0: the tensor itself */
    bool has_part;
    struct client_shm_part part; /* has_part: where the client wants it */
};

/* First member of the call's protocol state. */
struct v2 {
    struct str id;
    bool is_binary_default;
    uint32_t wanted_len; /* 0: all outputs */
    struct v2_wanted *wanted;
};

void proto_v2_answer(struct proto_call *c);
/* The call's one input from the whole body. */
enum err_code proto_v2_raw(struct proto_call *c, struct str binary, struct err *err);
/* The request's member "outputs"; false: the reader has failed. */
bool proto_v2_outputs(struct proto_call *c);

/* proto_v2_infer.c. read_part takes the parameters that name a part of a client's shared memory; false: the key is none of them. */
bool proto_v2_read_part(struct json_reader *r, struct str key, struct arena *a, struct client_shm_part *p, bool *has);
bool proto_v2_find_part(struct proto_call *c, struct client_shm_part *p);
bool proto_v2_fail_name(struct json_reader *r, const char *what, const struct tensor_spec *t, uint32_t len,
                        struct str name);

#endif
