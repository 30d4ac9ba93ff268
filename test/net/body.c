/* Bodies: chunked forms, splits at every byte, content codings. */
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "parse.h"
#include "t.h"

#define CRLF "\r\n"
#define POST "POST / HTTP/1.1" CRLF "Host: a" CRLF
#define CH   POST "Transfer-Encoding: chunked" CRLF CRLF

struct item {
    const char *name;
    struct str text;
    int status;
    const char *body;
};

#define ITEM(name, status, body, text)                                                                                 \
    {                                                                                                                  \
        name, {text, sizeof(text) - 1}, status, body                                                                   \
    }

static const struct item items[] = {
    ITEM("one chunk", 200, "hello", CH "5" CRLF "hello" CRLF "0" CRLF CRLF),
    ITEM("two chunks", 200, "hello world", CH "5" CRLF "hello" CRLF "6" CRLF " world" CRLF "0" CRLF CRLF),
    ITEM("hex in both cases", 200, "0123456789abcdef01234567890",
         CH "f" CRLF "0123456789abcde" CRLF "C" CRLF "f01234567890" CRLF "0" CRLF CRLF),
    ITEM("leading zeros", 200, "hello", CH "00005" CRLF "hello" CRLF "000" CRLF CRLF),
    ITEM("extension", 200, "hello", CH "5;a=b" CRLF "hello" CRLF "0;x" CRLF CRLF),
    ITEM("trailer", 200, "hello", CH "5" CRLF "hello" CRLF "0" CRLF "X-Sum: 1" CRLF CRLF),
    ITEM("empty size", 400, NULL, CH CRLF "hello" CRLF "0" CRLF CRLF),
    ITEM("size 0x5", 400, NULL, CH "0x5" CRLF "hello" CRLF "0" CRLF CRLF),
    ITEM("size +5", 400, NULL, CH "+5" CRLF "hello" CRLF "0" CRLF CRLF),
    ITEM("size -5", 400, NULL, CH "-5" CRLF "hello" CRLF "0" CRLF CRLF),
    ITEM("space before the size", 400, NULL, CH " 5" CRLF "hello" CRLF "0" CRLF CRLF),
    ITEM("space behind the size", 400, NULL, CH "5 " CRLF "hello" CRLF "0" CRLF CRLF),
    ITEM("tab behind the size", 400, NULL, CH "5\t" CRLF "hello" CRLF "0" CRLF CRLF),
    ITEM("underscore", 400, NULL, CH "1_0" CRLF "hello" CRLF "0" CRLF CRLF),
    ITEM("LF alone behind the size", 400, NULL, CH "5\nhello" CRLF "0" CRLF CRLF),
    ITEM("CR and another byte behind the size", 400, NULL, CH "5\rXhello" CRLF "0" CRLF CRLF),
    ITEM("quoted extension", 400, NULL, CH "5;a=\"b\"" CRLF "hello" CRLF "0" CRLF CRLF),
    ITEM("two extensions", 400, NULL, CH "5;a;b" CRLF "hello" CRLF "0" CRLF CRLF),
    ITEM("extension without a name", 400, NULL, CH "5;" CRLF "hello" CRLF "0" CRLF CRLF),
    ITEM("extension without a value", 400, NULL, CH "5;a=" CRLF "hello" CRLF "0" CRLF CRLF),
    ITEM("extension with two values", 400, NULL, CH "5;a=b=c" CRLF "hello" CRLF "0" CRLF CRLF),
    ITEM("extension with a space", 400, NULL, CH "5; a" CRLF "hello" CRLF "0" CRLF CRLF),
    ITEM("LF in an extension", 400, NULL, CH "5;a\nhello" CRLF "0" CRLF CRLF),
    ITEM("CR in an extension", 400, NULL, CH "5;a\rb" CRLF "hello" CRLF "0" CRLF CRLF),
    ITEM("NUL in an extension", 400, NULL, CH "5;a\0" CRLF "hello" CRLF "0" CRLF CRLF),
    ITEM("no CRLF behind the data", 400, NULL, CH "5" CRLF "hello0" CRLF CRLF),
    ITEM("LF alone behind the data", 400, NULL, CH "5" CRLF "hello\n0" CRLF CRLF),
    ITEM("CR X behind the data", 400, NULL, CH "5" CRLF "hello\rX0" CRLF CRLF),
    ITEM("more data than said", 400, NULL, CH "4" CRLF "hello" CRLF "0" CRLF CRLF),
    ITEM("empty line before the terminator", 400, NULL, CH "5" CRLF "hello" CRLF CRLF "0" CRLF CRLF),
    ITEM("size of 2^64", 400, NULL, CH "10000000000000000" CRLF),
    ITEM("size of 2^63", 400, NULL, CH "8000000000000000" CRLF),
    ITEM("size over the limit", 413, NULL, CH "100001" CRLF),
    ITEM("sizes over the limit together", 413, NULL, CH "1" CRLF "a" CRLF "100000" CRLF),
    ITEM("trailer with a length", 400, NULL, CH "0" CRLF "Content-Length: 5" CRLF CRLF),
    ITEM("trailer with a coding", 400, NULL, CH "0" CRLF "transfer-encoding: chunked" CRLF CRLF),
    ITEM("trailer with a host", 400, NULL, CH "0" CRLF "Host: b" CRLF CRLF),
    ITEM("trailer with credentials", 400, NULL, CH "0" CRLF "Authorization: b" CRLF CRLF),
    ITEM("trailer with LF alone", 400, NULL, CH "0" CRLF "X: y\n" CRLF),
    ITEM("LF alone at the end", 400, NULL, CH "0" CRLF "\n"),
    ITEM("trailer with a fold", 400, NULL, CH "0" CRLF "X: y" CRLF " z" CRLF CRLF),
    ITEM("trailer with a space before the colon", 400, NULL, CH "0" CRLF "X : y" CRLF CRLF),
    ITEM("trailer with a control byte", 400, NULL, CH "0" CRLF "X: \001" CRLF CRLF),
    ITEM("with length", 200, "hello", POST "Content-Length: 5" CRLF CRLF "hello"),
    ITEM("identity coding", 200, "hello", POST "Content-Encoding: identity" CRLF "Content-Length: 5" CRLF CRLF "hello"),
};

TEST(every_form_of_body_has_its_status)
{
    for (size_t i = 0; i < ARRAY_LEN(items); i++) {
        for (size_t step = 0; step < 9; step++) {
            struct parse p;
            parse_init(&p);
            int status = parse_feed(&p, items[i].text, step, NULL);
            if (status != items[i].status)
                FAIL("%s (step %zu): status %d (%s), expected %d", items[i].name, step, status, p.err.text,
                     items[i].status);
            if (items[i].body && !str_eq_c(p.m.x->req.body, items[i].body))
                FAIL("%s (step %zu): body '%.*s'", items[i].name, step, STR_F(p.m.x->req.body));
            parse_done(&p);
        }
    }
}

TEST(what_follows_a_body_is_left_for_the_next_request)
{
    struct str text = STR(CH "5" CRLF "hello" CRLF "0" CRLF CRLF "GET /next");
    size_t used = 0;
    struct parse p;
    parse_init(&p);
    EXPECT_EQ(parse_feed(&p, text, 0, &used), 200);
    EXPECT_EQ(used, text.n - strlen("GET /next"));
    EXPECT(!message_is_partial(&p.m));
    parse_done(&p);
}

static int feed_pieces(const char *before, const char *piece, size_t count, const char *after)
{
    struct parse p;
    struct buf b;
    parse_init(&p);
    buf_init(&b, 1 << 24);
    buf_c(&b, before);
    for (size_t i = 0; i < count; i++)
        buf_c(&b, piece);
    buf_c(&b, after);
    EXPECT(!b.failed);
    int status = parse_feed(&p, buf_view(&b), 0, NULL);
    buf_done(&b);
    parse_done(&p);
    return status;
}

TEST(count_of_chunks_extensions_and_trailers_is_limited)
{
    EXPECT_EQ(feed_pieces(CH, "1" CRLF "a" CRLF, 100000, "0" CRLF CRLF), 200);
    EXPECT_EQ(feed_pieces(CH, "1" CRLF "a" CRLF, 100001, "0" CRLF CRLF), 400);
    EXPECT_EQ(feed_pieces(CH, "1;abcdefg" CRLF "a" CRLF, 2000, "0" CRLF CRLF), 200);
    EXPECT_EQ(feed_pieces(CH, "1;abcdefg" CRLF "a" CRLF, 3000, "0" CRLF CRLF), 400);
    EXPECT_EQ(feed_pieces(CH "0" CRLF, "X: y" CRLF, 100, CRLF), 200);
    EXPECT_EQ(feed_pieces(CH "0" CRLF, "X: y" CRLF, 101, CRLF), 431);
    EXPECT_EQ(feed_pieces(CH "0" CRLF "X: ", "yyyyyyyyyyyyyyyy", 5000, CRLF CRLF), 431);
}

TEST(body_is_read_in_place)
{
    struct parse p;
    parse_init(&p);
    EXPECT_EQ(parse_feed(&p, STR(POST "Content-Length: 8" CRLF CRLF "abc"), 0, NULL), 0);
    char *at = NULL;
    EXPECT_EQ(message_room(&p.m, &at), 5);
    memcpy(at, "de", 2);
    EXPECT_EQ(message_took(&p.m, 2), MESSAGE_MORE);
    EXPECT_EQ(message_room(&p.m, &at), 3);
    memcpy(at, "fgh", 3);
    EXPECT_EQ(message_took(&p.m, 3), MESSAGE_DONE);
    EXPECT_STR(p.m.x->req.body, "abcdefgh");
    EXPECT_EQ(message_room(&p.m, &at), 0);
    parse_done(&p);
}

TEST(continue_is_asked_for_only_when_the_client_waits)
{
    static const struct {
        const char *text;
        bool waits;
    } cases[] = {
        {POST "Expect: 100-Continue" CRLF "Content-Length: 5" CRLF CRLF, true},
        {POST "Expect: 100-continue" CRLF "Transfer-Encoding: chunked" CRLF CRLF, true},
        {POST "Expect: 100-continue" CRLF "Content-Length: 5" CRLF CRLF "h", false},
        {POST "Expect: 100-continue" CRLF "Content-Length: 0" CRLF CRLF, false},
        {"POST / HTTP/1.0" CRLF "Expect: 100-continue" CRLF "Content-Length: 5" CRLF CRLF, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct parse p;
        parse_init(&p);
        struct str in = str_c(cases[i].text);
        bool waits = message_feed(&p.m, &in) == MESSAGE_CONTINUE;
        if (waits != cases[i].waits)
            FAIL("case %zu", i);
        parse_done(&p);
    }
}

/* ---- Content codings ---- */

static struct str pack(struct str plain, int bits)
{
    static unsigned char out[1 << 20];
    z_stream z = {0};
    EXPECT_EQ(deflateInit2(&z, 9, Z_DEFLATED, bits, 9, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = (Bytef *)(uintptr_t)plain.p;
    z.avail_in = (uInt)plain.n;
    z.next_out = out;
    z.avail_out = sizeof(out);
    EXPECT_EQ(deflate(&z, Z_FINISH), Z_STREAM_END);
    struct str packed = {(char *)out, sizeof(out) - z.avail_out};
    EXPECT_EQ(deflateEnd(&z), Z_OK);
    return packed;
}

static int steps; /* of the last decode */

static int decode(const char *coding, struct str packed, struct buf *body, struct err *err)
{
    struct coder c;
    coder_init(&c, 1 << 20);
    buf_init(body, 1 << 20);
    buf_str(body, packed);
    buf_pad(body);
    struct inflater *at;
    int status = coder_decode(&c, str_c(coding), body, &at, err);
    for (steps = 1; status == CODER_MORE; steps++) {
        size_t before = body->len;
        status = coder_decode_more(&c, &at, body, err);
        EXPECT(status != CODER_MORE || body->len == before); /* it lies still meanwhile */
    }
    EXPECT(at == NULL);
    coder_done(&c);
    return status;
}

static struct str fill(size_t n)
{
    char *p = malloc(n);
    EXPECT(p != NULL);
    for (size_t i = 0; i < n; i++)
        p[i] = (char)('a' + i % 7);
    return (struct str){p, n};
}

TEST(compressed_bodies_are_read)
{
    struct err err;
    struct buf body;
    struct str plain = fill(300000);
    EXPECT_EQ(decode("gzip", pack(plain, 31), &body, &err), 0);
    EXPECT(str_eq(buf_view(&body), plain));
    buf_done(&body);
    EXPECT_EQ(decode("DEFLATE", pack(plain, 15), &body, &err), 0);
    EXPECT(str_eq(buf_view(&body), plain));
    buf_done(&body);
    EXPECT_EQ(decode("x-gzip", pack(STR(""), 31), &body, &err), 0);
    EXPECT_EQ(body.len, 0);
    buf_done(&body);
    free((void *)(uintptr_t)plain.p);
}

TEST(exactly_the_limit_fits_and_one_byte_more_does_not)
{
    struct err err;
    struct buf body;
    struct str plain = fill((1 << 20) + 1);
    EXPECT_EQ(decode("gzip", pack(str_sub(plain, 0, 1 << 20), 31), &body, &err), 0);
    EXPECT_EQ(body.len, 1 << 20);
    buf_done(&body);
    EXPECT_EQ(decode("gzip", pack(plain, 31), &body, &err), 413);
    buf_done(&body);
    free((void *)(uintptr_t)plain.p);
}

TEST(bomb_is_stopped_at_the_limit)
{
    struct err err;
    struct buf body;
    size_t n = (size_t)200 << 20;
    char *zeros = calloc(1, n);
    struct str packed = pack((struct str){zeros, n}, 31); /* 200 MiB in 200 kB */
    free(zeros);
    EXPECT(packed.n < 400000);
    EXPECT_EQ(decode("gzip", packed, &body, &err), 413);
    buf_done(&body);
}

TEST(damaged_bodies_are_refused)
{
    struct err err;
    struct buf body;
    struct str plain = fill(1000);
    struct str packed = pack(plain, 31);
    char copy[2000];
    memcpy(copy, packed.p, packed.n);
    EXPECT_EQ(decode("gzip", str_sub(packed, 0, packed.n - 1), &body, &err), 400);
    buf_done(&body);
    EXPECT_EQ(decode("gzip", STR(""), &body, &err), 400);
    buf_done(&body);
    EXPECT_EQ(decode("gzip", STR("not gzip at all"), &body, &err), 400);
    buf_done(&body);
    EXPECT_EQ(decode("deflate", packed, &body, &err), 400);
    buf_done(&body);
    copy[packed.n] = 'x';
    EXPECT_EQ(decode("gzip", (struct str){copy, packed.n + 1}, &body, &err), 400);
    buf_done(&body);
    copy[packed.n - 6] ^= 1; /* the checksum */
    EXPECT_EQ(decode("gzip", (struct str){copy, packed.n}, &body, &err), 400);
    buf_done(&body);
    free((void *)(uintptr_t)plain.p);
}

TEST(gzip_members_may_follow_one_another)
{
    struct err err;
    struct buf two, body;
    buf_init(&two, 10000);
    buf_str(&two, pack(STR("one "), 31));
    buf_str(&two, pack(STR("two"), 31));
    EXPECT_EQ(decode("gzip", buf_view(&two), &body, &err), 0);
    EXPECT_STR(buf_view(&body), "one two");
    buf_done(&body);
    buf_done(&two);
}

TEST(accept_encoding_is_read_with_its_q_values)
{
    static const struct {
        const char *value;
        bool wants;
    } cases[] = {
        {"gzip", true},
        {"GZIP", true},
        {"x-gzip", true},
        {"deflate, gzip;q=0.5, br", true},
        {"*", true},
        {"*;q=0", false},
        {"gzip;q=0", false},
        {"gzip;q=0.000", false},
        {"gzip;q=0.001", true},
        {"*, gzip;q=0", false},
        {"gzip;q=0, *", false},
        {"*;q=0, gzip", true},
        {"gzip;q=1.0", true},
        {"gzip ; q=1", true},
        {"gzip;q=x", false},
        {"gzip;q=0.0001", false},
        {"", false},
        {"identity", false},
        {"br, deflate", false},
        {"gzipped", false},
        {"gzip;level=1;q=0", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        if (coding_accepts_gzip(str_c(cases[i].value)) != cases[i].wants)
            FAIL("'%s'", cases[i].value);
}

TEST(text_types_are_compressed_and_others_are_not)
{
    EXPECT(coding_is_text(STR("application/json")));
    EXPECT(coding_is_text(STR("application/problem+json; charset=utf-8")));
    EXPECT(coding_is_text(STR("text/html; charset=utf-8")));
    EXPECT(!coding_is_text(STR("text/event-stream")));
    EXPECT(!coding_is_text(STR("application/octet-stream")));
    EXPECT(!coding_is_text(STR("image/png")));
}

TEST(large_bodies_are_decoded_in_steps)
{
    struct err err;
    struct buf body;
    struct str plain = fill(1 << 20);
    EXPECT_EQ(decode("gzip", pack(plain, 31), &body, &err), 0);
    EXPECT(str_eq(buf_view(&body), plain));
    EXPECT(steps >= 4 && steps <= 8); /* by output */
    buf_done(&body);
    free((void *)(uintptr_t)plain.p);

    struct str member = pack(STR(""), 31);
    struct buf many;
    buf_init(&many, 1 << 20);
    while (many.len < (size_t)900000)
        buf_str(&many, member);
    EXPECT_EQ(decode("gzip", buf_view(&many), &body, &err), 0);
    EXPECT_EQ(body.len, 0);
    EXPECT_EQ(steps, 4); /* by input */
    buf_done(&body);
    buf_done(&many);
}

/* The bytes where one step's input ends are any bytes of the format. */
TEST(steps_may_end_anywhere)
{
    struct err err;
    struct buf body, stored;
    struct str plain = fill(1000);
    struct str packed = pack(plain, 31);
    for (size_t before = CODER_STEP_BYTES - packed.n - 2; before <= CODER_STEP_BYTES + 2; before++) {
        buf_init(&stored, 1 << 20);
        buf_add(&stored, "\x1f\x8b\x08\x08\0\0\0\0\0\3", 10);
        while (stored.len < before)
            buf_char(&stored, 'n'); /* a name in the header, which zlib skips */
        buf_char(&stored, '\0');
        buf_add(&stored, packed.p + 10, packed.n - 10);
        EXPECT_EQ(decode("gzip", buf_view(&stored), &body, &err), 0);
        EXPECT(str_eq(buf_view(&body), plain));
        buf_done(&body);
        EXPECT_EQ(decode("gzip", str_sub(buf_view(&stored), 0, stored.len - 1), &body, &err), 400);
        buf_done(&body);
        buf_done(&stored);
    }
    free((void *)(uintptr_t)plain.p);
}
