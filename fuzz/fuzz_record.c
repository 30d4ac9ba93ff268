/* Any bytes as a recording: read to its end within its bounds, what was read is written back to the same bytes, and its answers are compared with each
 * other in every form. */
#include <string.h>

#include "base/check.h"
#include "bench/compare.h"
#include "net/recording.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void inside(struct str all, struct str part)
{
    CHECK(part.n == 0 || (part.p >= all.p && part.p + part.n <= all.p + all.n));
}

static void check_exchange(struct str all, const struct recorded *x)
{
    inside(all, x->body);
    inside(all, x->answer);
    inside(all, x->path);
    CHECK(recording_is_sound(x));
    for (size_t i = 0; i < x->path.n; i++)
        CHECK(x->path.p[i] > ' ' && x->path.p[i] <= '~');
    struct buf again;
    buf_init(&again, RECORDING_FRAME_MAX + 8);
    recording_put(x, &again);
    CHECK(again.len == recording_bytes(x) && recording_whole(buf_view(&again)) == again.len);
    CHECK(memcmp(again.p + 8, x->id.p - 8 - 8 - 4 - 36, again.len - 8) == 0);
    buf_done(&again);
}

static void compare(const struct recorded *x, const struct recorded *y)
{
    struct compare_answer a = {x->answer_header_length, x->answer}, b = {y->answer_header_length, y->answer};
    struct compare_result r;
    compare_answers(&a, &a, 0, &r);
    CHECK(r.is_same);
    compare_answers(&a, &b, 0.01, &r);
    CHECK(r.is_same || r.where[0] != '\0');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf file;
    struct recording_reader r;
    struct recording_frame f;
    struct recorded last = {0};
    struct err err = {0};
    buf_init(&file, size + 1);
    buf_add(&file, data, size);
    buf_pad(&file);
    struct str all = buf_view(&file);
    (void)recording_whole(all);
    if (recording_open(all, &r, &err) == ERR_OK) {
        while (recording_next(&r, &f, &err)) {
            inside(all, f.json);
            if (f.kind != RECORDING_EXCHANGE)
                continue;
            check_exchange(all, &f.x);
            compare(&f.x, last.answer.p ? &last : &f.x);
            last = f.x;
        }
    }
    buf_done(&file);
    return 0;
}
