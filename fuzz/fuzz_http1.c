/* Bytes of a connection through the request parser, in pieces whose sizes come from the input itself.
 *
 * Checked beside memory safety: cutting the same bytes otherwise changes nothing (requests, bodies, the refusal), and llhttp, which reads
 * bodies too, finds the same bodies in whatever we accept: two readers that disagree are how requests are smuggled. */
#include <llhttp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "net/message_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUESTS_MAX 16

struct outcome {
    int status; /* of the refusal; 0: none */
    size_t requests;
    size_t taken; /* bytes up to the end of the last request */
    struct buf bodies;
    bool is_coded; /* a body had a content coding, which llhttp does not undo */
};

static struct server_limits limits;

static void parse(const uint8_t *data, size_t size, const uint8_t *cuts, size_t cuts_len, struct outcome *out)
{
    static struct err err;
    struct coder coder;
    struct message m;
    *out = (struct outcome){0};
    buf_init(&out->bodies, 1 << 24);
    coder_init(&coder, limits.body_bytes_max);
    message_init(&m, &limits, &coder, &err);
    m.x = exchange_new(&limits);
    CHECK(m.x != NULL);
    size_t at = 0, cut = 0;
    while (at < size && out->status == 0 && out->requests < REQUESTS_MAX) {
        size_t n = cuts_len == 0 ? size - at : (size_t)cuts[cut++ % cuts_len] + 1;
        struct str in = {(const char *)data + at, n < size - at ? n : size - at};
        size_t before = in.n;
        enum message_result r = message_feed(&m, &in);
        at += before - in.n;
        while (r == MESSAGE_BUSY)
            r = message_decode(&m);
        switch (r) {
        case MESSAGE_MORE:
            CHECK(in.n == 0);
            break;
        case MESSAGE_CONTINUE:
        case MESSAGE_BUSY:
            break;
        case MESSAGE_DONE:
            out->requests++;
            out->taken = at;
            out->is_coded = out->is_coded || m.x->head.content_encoding.p;
            buf_str(&out->bodies, m.x->req.body);
            buf_char(&out->bodies, '|');
            for (size_t i = 0; i < BUF_PAD; i++)
                CHECK(m.x->req.body.p[m.x->req.body.n + i] == 0);
            CHECK(m.x->req.path.n > 0 && m.x->req.method != 0);
            exchange_reset(m.x);
            break;
        case MESSAGE_BAD:
            CHECK(m.status >= 400 && m.status < 600 && err.text[0] != '\0');
            out->status = m.status;
            break;
        }
    }
    m.x = exchange_free(m.x);
    message_done(&m);
    coder_done(&coder);
}

/* ---- llhttp as an oracle for bodies ---- */

static int on_body(llhttp_t *p, const char *at, size_t n)
{
    buf_add(p->data, at, n);
    return 0;
}

static int on_complete(llhttp_t *p)
{
    buf_char(p->data, '|');
    /* An upgrade is ignored by us; a closing connection is the server's business, not the parser's. */
    p->upgrade = 0;
    return 0;
}

static void compare_with_llhttp(const uint8_t *data, const struct outcome *ours)
{
    static const llhttp_settings_t settings = {.on_body = on_body, .on_message_complete = on_complete};
    struct buf bodies;
    llhttp_t p;
    buf_init(&bodies, 1 << 24);
    llhttp_init(&p, HTTP_REQUEST, &settings);
    llhttp_set_lenient_keep_alive(&p, 1); /* reads on behind Connection: close */
    p.data = &bodies;
    llhttp_errno_t rc = llhttp_execute(&p, (const char *)data, ours->taken);
    if (rc != HPE_PAUSED_UPGRADE) { /* llhttp stops at an upgrade */
        CHECK(rc == HPE_OK);
        CHECK(str_eq(buf_view(&bodies), buf_view(&ours->bodies)));
    }
    buf_done(&bodies);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (limits.head_bytes_max == 0) {
        server_limits_default(&limits);
        limits.head_bytes_max = 2048;
        limits.headers_max = 20;
        limits.body_bytes_max = 4096;
    }
    /* The first byte says how many of the following are sizes of pieces. */
    size_t cuts_len = size > 0 ? data[0] % 8 : 0;
    if (size < 1 + cuts_len)
        return 0;
    const uint8_t *text = data + 1 + cuts_len;
    size_t n = size - 1 - cuts_len;
    struct outcome whole, cut;
    parse(text, n, NULL, 0, &whole);
    parse(text, n, data + 1, cuts_len, &cut);
    /* A refusal may come sooner or later depending on the cut, and what was complete before it too; a request never differs. */
    CHECK(whole.status == cut.status);
    CHECK(whole.requests == cut.requests && whole.taken == cut.taken);
    CHECK(str_eq(buf_view(&whole.bodies), buf_view(&cut.bodies)));
    if (whole.requests > 0 && !whole.is_coded)
        compare_with_llhttp(text, &whole);
    buf_done(&whole.bodies);
    buf_done(&cut.bodies);
    return 0;
}
