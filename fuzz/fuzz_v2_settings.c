/* Bodies of strangers that change settings: of the log, of traces, and a model's configuration as JSON. What is taken must be within its bounds, and a
 * configuration that is taken must be text that the reader of config.pbtxt can say something about. */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "model/repo/pbtxt_json.h"
#include "model/repo/triton.h"
#include "serve/proto_int.h"
#include "serve/trace.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_log(struct str body, struct arena *a)
{
    struct log_choice c = log_chosen();
    struct err err = {0};
    enum err_code code = proto_v2_log_read(body, a, &c, &err);
    CHECK(code == ERR_OK ? (int)c.format >= LOG_PEOPLE && c.format <= LOG_PEOPLE_DATED : err.text[0] != '\0');
}

static void try_trace(struct str body, struct arena *a)
{
    struct trace_change c;
    struct err err = {0};
    if (proto_v2_trace_read(body, a, &c, &err)) {
        CHECK(err.text[0] != '\0');
        return;
    }
    CHECK(trace_change(NULL, &c, &err) == ERR_OK);
    struct trace_settings s = trace_settings_of(NULL);
    CHECK(s.rate >= 1 && s.count >= -1 && (s.level & ~(TRACE_TIMESTAMPS | TRACE_TENSORS)) == 0);
    struct trace *t = trace_begin("m", "1");
    trace_request_id(t, str_sub(body, 0, 40));
    trace_end(t);
}

static void try_config(struct str body, struct arena *a)
{
    struct buf out;
    struct err err = {0};
    struct triton_config c;
    buf_init(&out, 1 << 20);
    if (pbtxt_from_json(body, &out, &err) == ERR_OK && triton_parse("x", buf_view(&out), a, &c, &err))
        CHECK(err.text[0] != '\0');
    buf_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena a;
    struct buf body;
    if (size < 1)
        return 0;
    arena_init(&a, 4096, 64 << 20);
    buf_init(&body, 1 << 20);
    buf_add(&body, data + 1, size - 1);
    buf_pad(&body);
    if (data[0] % 3 == 0)
        try_log(buf_view(&body), &a);
    else if (data[0] % 3 == 1)
        try_trace(buf_view(&body), &a);
    else
        try_config(buf_view(&body), &a);
    buf_done(&body);
    arena_done(&a);
    return 0;
}
