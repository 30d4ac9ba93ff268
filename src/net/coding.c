#include "net/coding_int.h"

#include <stdlib.h>

#include "net/refuse_int.h"

#define ROOM_BYTES 65536u
#define KEEP_BYTES 65536u
/* zlib's windowBits: 15 is the largest window; +16 asks for the gzip wrapper. */
enum { BITS_ZLIB = 15, BITS_GZIP = 31 };

struct inflater {
    z_stream z;
    struct buf out;
    size_t taken; /* bytes of the body */
    bool may_have_members;
};

static void inflater_free(struct inflater *f)
{
    if (!f)
        return;
    (void)inflateEnd(&f->z); /* can fail only for a stream that is not one */
    buf_done(&f->out);
    free(f);
}

void coder_init(struct coder *c, size_t body_bytes_max)
{
    *c = (struct coder){.body_bytes_max = body_bytes_max};
    buf_init(&c->out, body_bytes_max);
}

void coder_done(struct coder *c)
{
    inflater_free(c->spare);
    if (c->has_deflater)
        (void)deflateEnd(&c->deflater); /* as in inflater_free */
    buf_done(&c->out);
    *c = (struct coder){0};
}

/* ---- Request bodies ---- */

static struct inflater *inflater_new(size_t body_bytes_max)
{
    struct inflater *f = calloc(1, sizeof *f);
    if (!f || inflateInit2(&f->z, BITS_GZIP) != Z_OK) {
        free(f);
        return NULL;
    }
    buf_init(&f->out, body_bytes_max);
    return f;
}

static struct inflater *start_inflater(struct coder *c, bool is_gzip)
{
    struct inflater *f = c->spare ? c->spare : inflater_new(c->body_bytes_max);
    c->spare = NULL;
    if (!f || inflateReset2(&f->z, is_gzip ? BITS_GZIP : BITS_ZLIB) != Z_OK) {
        inflater_free(f);
        return NULL;
    }
    f->may_have_members = is_gzip;
    f->taken = 0;
    return f;
}

void coder_forget(struct coder *c, struct inflater **at)
{
    struct inflater *f = *at;
    *at = NULL;
    if (!f)
        return;
    buf_clear(&f->out);
    buf_shrink(&f->out, KEEP_BYTES);
    if (c->spare)
        inflater_free(f);
    else
        c->spare = f;
}

static int refuse_inflate(int rc, const struct inflater *f, struct err *err)
{
    if (rc == Z_MEM_ERROR)
        return refuse(err, 503, "no memory to decompress the body");
    if (rc == Z_BUF_ERROR || rc == Z_OK)
        return refuse(err, 400, "the compressed body ends too early");
    return refuse(err, 400, "the compressed body is damaged: %s", f->z.msg ? f->z.msg : "not in the announced coding");
}

/* Room for the next piece, never above the limit. */
static bool make_room(struct buf *out)
{
    size_t step = out->max_bytes - out->len < ROOM_BYTES ? out->max_bytes - out->len : ROOM_BYTES;
    return buf_reserve(out, step) && step > 0;
}

/* One call of inflate; got: bytes that it made. Returns 0 with zlib's verdict in rc, or the status to refuse with. */
static int inflate_piece(struct inflater *f, int *rc, size_t *got, struct err *err)
{
    z_stream *z = &f->z;
    bool has_room = make_room(&f->out);
    if (f->out.failed)
        return refuse(err, 503, "no memory to decompress the body");
    Bytef probe; /* at the limit, one byte more tells "complete" from "too large" */
    size_t room = has_room ? f->out.cap - BUF_PAD - f->out.len : 1;
    if (has_room && room > f->out.max_bytes - f->out.len)
        room = f->out.max_bytes - f->out.len;
    room = room > ROOM_BYTES ? ROOM_BYTES : room;
    z->next_out = has_room ? (Bytef *)f->out.p + f->out.len : &probe;
    z->avail_out = (uInt)room;
    *rc = inflate(z, Z_NO_FLUSH);
    *got = room - z->avail_out;
    if (!has_room && *got > 0)
        return refuse(err, 413, "the decompressed body is larger than the limit of %zu bytes", f->out.max_bytes);
    f->out.len += *got;
    return 0;
}

static int inflate_step(struct inflater *f, struct str packed, struct err *err)
{
    z_stream *z = &f->z;
    struct str in = str_sub(packed, f->taken, CODER_STEP_BYTES);
    bool is_last = f->taken + in.n == packed.n;
    size_t until = f->out.len + CODER_STEP_BYTES;
    z->next_in = (Bytef *)(uintptr_t)in.p; /* zlib's type lacks the const */
    z->avail_in = (uInt)in.n;
    while (true) {
        int rc = Z_OK;
        size_t got = 0;
        int status = inflate_piece(f, &rc, &got, err);
        if (status != 0)
            return status;
        if (rc == Z_STREAM_END && z->avail_in == 0 && is_last)
            return 0;
        if (rc == Z_STREAM_END && (!f->may_have_members || inflateReset(z) != Z_OK))
            return refuse(err, 400, "bytes follow the end of the compressed body");
        /* Z_STREAM_END: gzip members may follow one another (RFC 1952 2.2) */
        bool is_stuck = got == 0 && z->avail_in == 0 && is_last;
        if ((rc != Z_STREAM_END && rc != Z_OK && rc != Z_BUF_ERROR) || is_stuck)
            return refuse_inflate(rc, f, err);
        if (f->out.len >= until || (z->avail_in == 0 && !is_last)) {
            f->taken += in.n - z->avail_in;
            return CODER_MORE;
        }
    }
}

int coder_decode_more(struct coder *c, struct inflater **at, struct buf *body, struct err *err)
{
    struct inflater *f = *at;
    int status = inflate_step(f, buf_view(body), err);
    if (status == CODER_MORE)
        return status;
    if (status == 0) {
        struct buf compressed = *body;
        *body = f->out;
        f->out = compressed;
    }
    coder_forget(c, at);
    return status;
}

int coder_decode(struct coder *c, struct str coding, struct buf *body, struct inflater **at, struct err *err)
{
    *at = NULL;
    if (!coding.p || str_eq_nocase(coding, STR("identity")))
        return 0;
    bool is_gzip = str_eq_nocase(coding, STR("gzip")) || str_eq_nocase(coding, STR("x-gzip"));
    if (!is_gzip && !str_eq_nocase(coding, STR("deflate"))) {
        int status = refuse(err, 415, "Content-Encoding '%.*s' is not supported", (int)(coding.n < 64 ? coding.n : 64),
                            coding.p);
        (void)err_remedy(err, "send the body as it is, or compressed with gzip or deflate");
        return status;
    }
    *at = start_inflater(c, is_gzip);
    return *at ? coder_decode_more(c, at, body, err) : refuse(err, 503, "no memory to decompress the body");
}

/* ---- Answers ---- */

/* "0", "0.5", "1.000": is it above zero? What is no q value counts as zero. */
static bool is_q_positive(struct str q)
{
    if (q.n == 0 || q.n > 5 || (q.p[0] != '0' && q.p[0] != '1') || (q.n > 1 && q.p[1] != '.'))
        return false;
    bool positive = q.p[0] == '1';
    for (size_t i = 2; i < q.n; i++) {
        if (q.p[i] < '0' || q.p[i] > '9')
            return false;
        positive = positive || q.p[i] != '0';
    }
    return positive;
}

static bool is_wanted(struct str params)
{
    while (params.n > 0) {
        struct str value;
        struct str name = str_trim(str_cut(str_cut(params, ';', &params), '=', &value));
        if (str_eq_nocase(name, STR("q")))
            return is_q_positive(str_trim(value));
    }
    return true;
}

bool coding_accepts_gzip(struct str accept_encoding)
{
    bool by_star = false;
    while (accept_encoding.n > 0) {
        struct str params;
        struct str name = str_trim(str_cut(str_cut(accept_encoding, ',', &accept_encoding), ';', &params));
        if (str_eq_nocase(name, STR("gzip")) || str_eq_nocase(name, STR("x-gzip")))
            return is_wanted(params); /* its own entry beats the star */
        if (str_eq_c(name, "*"))
            by_star = is_wanted(params);
    }
    return by_star;
}

bool coding_is_text(struct str content_type)
{
    struct str params;
    struct str type = str_trim(str_cut(content_type, ';', &params));
    if (str_eq_nocase(type, STR("text/event-stream")))
        return false; /* events must not wait in a compressor */
    return str_starts(type, STR("text/")) || str_eq_c(type, "application/json") ||
           str_eq_c(type, "application/javascript") || str_eq_c(type, "application/xml") ||
           str_eq_c(type, "image/svg+xml") || str_ends(type, STR("+json"));
}

static bool start_deflater(struct coder *c)
{
    if (c->has_deflater)
        return deflateReset(&c->deflater) == Z_OK;
    c->has_deflater =
        deflateInit2(&c->deflater, Z_BEST_SPEED, Z_DEFLATED, BITS_GZIP, MAX_MEM_LEVEL, Z_DEFAULT_STRATEGY) == Z_OK;
    return c->has_deflater;
}

bool coder_gzip(struct coder *c, const struct str *parts, size_t parts_len, size_t total, struct str *out)
{
    buf_clear(&c->out);
    buf_shrink(&c->out, KEEP_BYTES);
    if (!start_deflater(c) || !buf_reserve(&c->out, total)) /* more than the plain form would not pay */
        return false;
    z_stream *z = &c->deflater;
    z->next_out = (Bytef *)c->out.p;
    z->avail_out = (uInt)total;
    int rc = Z_OK;
    for (size_t i = 0; i < parts_len && rc == Z_OK; i++) {
        z->next_in = (Bytef *)(uintptr_t)parts[i].p; /* zlib's type lacks the const */
        z->avail_in = (uInt)parts[i].n;
        rc = deflate(z, i + 1 == parts_len ? Z_FINISH : Z_NO_FLUSH);
        if (rc == Z_OK && z->avail_in > 0)
            return false;
    }
    if (rc != Z_STREAM_END)
        return false;
    *out = (struct str){c->out.p, total - z->avail_out};
    return true;
}
