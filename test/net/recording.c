/* The file format of recordings: what is written is read back, and nothing that stands in a file is believed. */
#include "net/recording.h"

#include <string.h>

#include "t.h"

static struct recorded sample(void)
{
    return (struct recorded){.at_ns = 123456789012345,
                             .took_ns = 77,
                             .status = 200,
                             .id = STR("r-1"),
                             .model = STR("iris"),
                             .version = STR("3"),
                             .path = STR("/v2/models/iris/infer"),
                             .type = STR("application/octet-stream"),
                             .header_length = STR("20"),
                             .body = STR("any \0 bytes\r\n"),
                             .answer_type = STR("application/json; charset=utf-8"),
                             .answer_header_length = STR(""),
                             .answer = STR("{\"a\": 1}")};
}

static void write_sample(struct buf *b, const struct recorded *x)
{
    buf_init(b, 1 << 20);
    recording_put_head(b);
    recording_put_json(RECORDING_ABOUT, STR("{\"model\":\"iris\"}"), b);
    recording_put(x, b);
    recording_put_json(RECORDING_END, STR("{}"), b);
}

static bool same(struct str a, struct str b)
{
    return a.n == b.n && memcmp(a.p, b.p, a.n) == 0;
}

TEST(what_is_written_is_read_back)
{
    struct recorded x = sample();
    struct recording_reader r;
    struct recording_frame f;
    struct err err = {0};
    struct buf b;
    write_sample(&b, &x);
    EXPECT_EQ(recording_open(buf_view(&b), &r, &err), ERR_OK);
    EXPECT(recording_next(&r, &f, &err) && f.kind == RECORDING_ABOUT);
    EXPECT_STR(f.json, "{\"model\":\"iris\"}");
    EXPECT(recording_next(&r, &f, &err) && f.kind == RECORDING_EXCHANGE);
    EXPECT_EQ(f.x.at_ns, x.at_ns);
    EXPECT_EQ(f.x.took_ns, 77);
    EXPECT_EQ(f.x.status, 200);
    const struct str got[] = {f.x.id,    f.x.model,       f.x.version,
                              f.x.path,  f.x.type,        f.x.header_length,
                              f.x.body,  f.x.answer_type, f.x.answer_header_length,
                              f.x.answer};
    const struct str want[] = {
        x.id,    x.model, x.version, x.path, x.type, x.header_length, x.body, x.answer_type, x.answer_header_length,
        x.answer};
    for (size_t i = 0; i < ARRAY_LEN(got); i++)
        EXPECT(same(got[i], want[i]));
    EXPECT(!r.is_ended);
    EXPECT(recording_next(&r, &f, &err) && f.kind == RECORDING_END);
    EXPECT(r.is_ended && !recording_next(&r, &f, &err) && !r.is_cut && err.code == ERR_OK);
    buf_done(&b);
}

TEST(a_size_is_told_before_it_is_written)
{
    struct recorded x = sample();
    struct buf b;
    buf_init(&b, 1 << 20);
    recording_put(&x, &b);
    EXPECT_EQ(b.len, recording_bytes(&x));
    EXPECT_EQ(recording_whole(buf_view(&b)), b.len);
    EXPECT_EQ(recording_whole(str_sub(buf_view(&b), 0, b.len - 1)), 0);
    recording_put_json(RECORDING_END, STR("{}"), &b);
    EXPECT_EQ(recording_whole(str_sub(buf_view(&b), 0, b.len - 1)), recording_bytes(&x));
    buf_done(&b);
}

/* Cut anywhere, a recording has the frames before the cut, and never an error. */
TEST(a_recording_that_was_broken_off_is_read_as_far_as_it_goes)
{
    struct recorded x = sample();
    struct buf b;
    write_sample(&b, &x);
    size_t last = 0;
    for (size_t n = RECORDING_HEAD; n <= b.len; n++) {
        struct recording_reader r;
        struct recording_frame f;
        struct err err = {0};
        size_t frames = 0;
        EXPECT_EQ(recording_open(str_sub(buf_view(&b), 0, n), &r, &err), ERR_OK);
        while (recording_next(&r, &f, &err))
            frames++;
        EXPECT_EQ(err.code, ERR_OK);
        EXPECT(frames >= last);
        bool is_between =
            recording_whole(str_sub(buf_view(&b), RECORDING_HEAD, n - RECORDING_HEAD)) == n - RECORDING_HEAD;
        EXPECT_EQ(r.is_cut, !is_between);
        last = frames;
    }
    EXPECT_EQ(last, 3);
    buf_done(&b);
}

static void expect_refused(const struct recorded *x, const char *what)
{
    struct recording_reader r;
    struct recording_frame f;
    struct err err = {0};
    struct buf b;
    EXPECT(!recording_is_sound(x));
    buf_init(&b, 1 << 20);
    recording_put_head(&b);
    recording_put(x, &b);
    EXPECT_EQ(recording_open(buf_view(&b), &r, &err), ERR_OK);
    EXPECT(!recording_next(&r, &f, &err));
    if (!strstr(err.text, what))
        FAIL("%s does not name %s", err.text, what);
    buf_done(&b);
}

/* They become parts of an HTTP head when they are sent again. */
TEST(texts_that_would_change_a_request_are_refused)
{
    struct recorded x = sample();
    EXPECT(recording_is_sound(&x));
    x.path = STR("/a HTTP/1.1\r\nX: y");
    expect_refused(&x, "a path");
    x.path = STR("http://elsewhere/");
    expect_refused(&x, "a path");
    x = sample();
    x.type = STR("text/plain\r\nX-Evil: 1");
    expect_refused(&x, "a content type");
    x = sample();
    x.header_length = STR("1\r\n");
    expect_refused(&x, "a header length");
    x = sample();
    x.id = STR("a b");
    expect_refused(&x, "an id");
    x = sample();
    x.status = 600;
    expect_refused(&x, "a status");
}

TEST(sizes_that_lie_are_refused)
{
    struct recorded x = sample();
    struct recording_reader r;
    struct recording_frame f;
    struct buf b;
    write_sample(&b, &x);
    size_t about = RECORDING_HEAD, exchange = about + 8 + strlen("{\"model\":\"iris\"}");
    static const unsigned char huge[] = {0xff, 0xff, 0xff, 0xff}, small[] = {3, 0, 0, 0}, one[] = {1, 0, 1, 0};
    const struct {
        size_t at;
        const unsigned char *bytes;
        const char *says;
    } cases[] = {{about, huge, "a frame's size"},
                 {about, small, "a frame's size"},
                 {exchange + 8 + 20, huge, "longer than it"},
                 {exchange + 8 + 20 + 4 * 6, one, "longer than it"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err err = {0};
        struct buf copy;
        buf_init(&copy, 1 << 20);
        buf_str(&copy, buf_view(&b));
        memcpy(copy.p + cases[i].at, cases[i].bytes, 4);
        EXPECT_EQ(recording_open(buf_view(&copy), &r, &err), ERR_OK);
        while (recording_next(&r, &f, &err))
            ;
        if (!strstr(err.text, cases[i].says))
            FAIL("case %zu: %s", i, err.text);
        buf_done(&copy);
    }
    buf_done(&b);
}

TEST(another_file_and_another_version_are_told)
{
    struct recording_reader r;
    struct err err = {0};
    struct buf b;
    EXPECT_EQ(recording_open(STR("not a recording at all"), &r, &err), ERR_INVALID);
    EXPECT_EQ(recording_open(STR(""), &r, &err), ERR_INVALID);
    buf_init(&b, 100);
    recording_put_head(&b);
    b.p[8] = 2;
    EXPECT_EQ(recording_open(buf_view(&b), &r, &err), ERR_UNSUPPORTED);
    EXPECT(strstr(err.text, "version 2"));
    buf_done(&b);
}
