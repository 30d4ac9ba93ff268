#include "net/server_int.h"

#include "base/clock.h"

/* Without its step, a body of 64 MiB would hold up everybody on this thread for a good part of a second. */
static void on_idle(uv_idle_t *h)
{
    struct server *s = h->data;
    struct http_conn *c = s->decoding;
    s->now_ns = clock_now_ns();
    decode_forget(c);
    enum message_result r = message_decode(&c->in);
    if (r == MESSAGE_BUSY)
        decode_begin(c); /* behind the others */
    else
        conn_decoded(c, r);
}

void decode_init(struct server *s)
{
    (void)uv_idle_init(s->loop, &s->decoder); /* only fills the structure */
    s->decoder.data = s;
    s->decoding_end = &s->decoding;
    uv_unref((uv_handle_t *)&s->decoder); /* connections keep the loop alive */
}

void decode_begin(struct http_conn *c)
{
    struct server *s = c->server;
    if (!s->decoding)
        (void)uv_idle_start(&s->decoder, on_idle); /* fails only without a callback */
    c->is_decoding = true;
    c->decoding_next = NULL;
    *s->decoding_end = c;
    s->decoding_end = &c->decoding_next;
}

void decode_forget(struct http_conn *c)
{
    struct server *s = c->server;
    if (!c->is_decoding)
        return;
    struct http_conn **at = &s->decoding;
    while (*at != c)
        at = &(*at)->decoding_next;
    *at = c->decoding_next;
    if (!c->decoding_next)
        s->decoding_end = at;
    c->is_decoding = false;
    if (!s->decoding)
        (void)uv_idle_stop(&s->decoder); /* always succeeds */
}
