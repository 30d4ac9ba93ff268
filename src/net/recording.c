#include "net/recording.h"

#include <string.h>

#define TEXTS      10 /* of an exchange */
#define FIXED      (8u + 8u + 4u + 4u * (TEXTS - 1))
#define HEAD_TEXTS 9 /* all but the answer have their length written */

static const char magic[8] = {'q', 'u', 'e', 'r', 'n', 'r', 'e', 'c'};

/* ---- writing ---- */

static void put_u32(struct buf *b, uint32_t v)
{
    char bytes[4];
    for (int i = 0; i < 4; i++)
        bytes[i] = (char)(v >> 8 * i & 0xff);
    buf_add(b, bytes, sizeof bytes);
}

static void put_u64(struct buf *b, uint64_t v)
{
    put_u32(b, (uint32_t)v);
    put_u32(b, (uint32_t)(v >> 32));
}

static void texts_of(const struct recorded *x, struct str out[TEXTS])
{
    const struct str all[TEXTS] = {x->id,    x->model,       x->version,
                                   x->path,  x->type,        x->header_length,
                                   x->body,  x->answer_type, x->answer_header_length,
                                   x->answer};
    memcpy(out, all, sizeof all);
}

size_t recording_bytes(const struct recorded *x)
{
    struct str texts[TEXTS];
    size_t n = 8 + FIXED;
    texts_of(x, texts);
    for (int i = 0; i < TEXTS; i++)
        n += texts[i].n;
    return n;
}

void recording_put_head(struct buf *out)
{
    buf_add(out, magic, sizeof magic);
    put_u32(out, RECORDING_VERSION);
    put_u32(out, 0);
}

void recording_put(const struct recorded *x, struct buf *out)
{
    recording_put_parts(x, NULL, 0, out);
}

void recording_put_parts(const struct recorded *x, const struct str *parts, size_t parts_len, struct buf *out)
{
    struct str texts[TEXTS];
    size_t n = recording_bytes(x) - 4;
    texts_of(x, texts);
    for (size_t i = 0; i < parts_len; i++)
        n += parts[i].n;
    put_u32(out, (uint32_t)n);
    put_u32(out, RECORDING_EXCHANGE);
    put_u64(out, x->at_ns);
    put_u64(out, x->took_ns);
    put_u32(out, (uint32_t)x->status);
    for (int i = 0; i < HEAD_TEXTS; i++)
        put_u32(out, (uint32_t)texts[i].n);
    for (int i = 0; i < TEXTS; i++)
        buf_str(out, texts[i]);
    for (size_t i = 0; i < parts_len; i++)
        buf_str(out, parts[i]);
}

void recording_put_json(enum recording_kind kind, struct str json, struct buf *out)
{
    put_u32(out, (uint32_t)(4 + json.n));
    put_u32(out, kind);
    buf_str(out, json);
}

/* ---- reading ---- */

static uint32_t get_u32(const char *p)
{
    uint32_t v = 0;
    for (int i = 3; i >= 0; i--)
        v = v << 8 | (unsigned char)p[i];
    return v;
}

static uint64_t get_u64(const char *p)
{
    return get_u32(p) | (uint64_t)get_u32(p + 4) << 32;
}

enum err_code recording_open(struct str bytes, struct recording_reader *r, struct err *err)
{
    if (bytes.n < RECORDING_HEAD || memcmp(bytes.p, magic, sizeof magic) != 0) {
        (void)err_set(err, ERR_INVALID, "this is no recording");
        return err_remedy(err, "quern record --model NAME --out FILE writes one");
    }
    uint32_t version = get_u32(bytes.p + 8);
    if (version != RECORDING_VERSION) {
        (void)err_set(err, ERR_UNSUPPORTED, "the recording has version %u of the format, this program reads version %u",
                      version, RECORDING_VERSION);
        return err_remedy(err, "use the quern that recorded it, or a newer one");
    }
    *r = (struct recording_reader){.rest = str_sub(bytes, RECORDING_HEAD, bytes.n)};
    return ERR_OK;
}

static bool bad(struct err *err, const char *what)
{
    (void)err_set(err, ERR_INVALID, "the recording is damaged: %s", what);
    return false;
}

/* Fit for a line of an HTTP head: printable, no line ends. */
static bool is_line(struct str s, size_t max, char from)
{
    if (s.n > max)
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] < from || s.p[i] > '~')
            return false;
    return true;
}

static bool check_texts(const struct recorded *x, struct err *err)
{
    if (!is_line(x->id, 64, '!') || !is_line(x->model, 256, '!') || !is_line(x->version, 64, '!'))
        return bad(err, "an id, or the name or version of a model");
    if (x->path.n == 0 || x->path.p[0] != '/' || !is_line(x->path, 4096, '!'))
        return bad(err, "a path");
    if (!is_line(x->type, 256, ' ') || !is_line(x->answer_type, 256, ' '))
        return bad(err, "a content type");
    if (!is_line(x->header_length, 20, '0') || !is_line(x->answer_header_length, 20, '0'))
        return bad(err, "a header length");
    return true;
}

bool recording_is_sound(const struct recorded *x)
{
    struct err err;
    return check_texts(x, &err) && x->status >= 100 && x->status <= 599;
}

static bool read_exchange(struct str content, struct recorded *out, struct err *err)
{
    struct recorded x = {0};
    struct str *const texts[TEXTS] = {&x.id,    &x.model,       &x.version,
                                      &x.path,  &x.type,        &x.header_length,
                                      &x.body,  &x.answer_type, &x.answer_header_length,
                                      &x.answer};
    if (content.n < FIXED)
        return bad(err, "an exchange is too short");
    x.at_ns = get_u64(content.p);
    x.took_ns = get_u64(content.p + 8);
    uint32_t status = get_u32(content.p + 16);
    struct str rest = str_sub(content, FIXED, content.n);
    for (int i = 0; i < TEXTS; i++) {
        size_t n = i < HEAD_TEXTS ? get_u32(content.p + 20 + 4 * i) : rest.n;
        if (n > rest.n)
            return bad(err, "an exchange's texts are longer than it");
        *texts[i] = str_sub(rest, 0, n);
        rest = str_sub(rest, n, rest.n);
    }
    if (status < 100 || status > 599)
        return bad(err, "a status");
    x.status = (int)status;
    *out = x;
    return check_texts(&x, err);
}

bool recording_next(struct recording_reader *r, struct recording_frame *out, struct err *err)
{
    for (;;) {
        if (r->rest.n == 0)
            return false;
        uint32_t n = r->rest.n >= 4 ? get_u32(r->rest.p) : 0;
        if (r->rest.n >= 4 && (n < 4 || n > RECORDING_FRAME_MAX))
            return bad(err, "a frame's size");
        if (r->rest.n < 8 || r->rest.n - 4 < n) {
            r->is_cut = true;
            r->rest = (struct str){0};
            return false;
        }
        uint32_t kind = get_u32(r->rest.p + 4);
        struct str content = str_sub(r->rest, 8, n - 4);
        r->rest = str_sub(r->rest, 4 + (size_t)n, r->rest.n);
        if (kind < RECORDING_ABOUT || kind > RECORDING_END)
            continue; /* of a later minor version */
        *out = (struct recording_frame){.kind = (enum recording_kind)kind};
        if (kind == RECORDING_EXCHANGE)
            return read_exchange(content, &out->x, err);
        out->json = content;
        r->is_ended = kind == RECORDING_END;
        return true;
    }
}

size_t recording_whole(struct str stream)
{
    size_t at = 0;
    while (stream.n - at >= 4) {
        uint32_t n = get_u32(stream.p + at);
        if (n < 4 || n > RECORDING_FRAME_MAX)
            return SIZE_MAX;
        if (stream.n - at - 4 < n)
            break;
        at += 4 + (size_t)n;
    }
    return at;
}
