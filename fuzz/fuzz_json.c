/* The JSON reader against itself: what json_skip takes, the pull parser must take too, and json_measure must agree with json_numbers. */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct arena arena;

/* Walks any value by pulling, with its own small stack of what is open. */
static bool pull(struct json_reader *r)
{
    bool is_object[JSON_DEPTH_MAX + 1];
    int depth = 0;
    struct str s;
    bool b;
    double v;
    do {
        if (depth > 0 && !(is_object[depth] ? json_key(r, &s) : json_item(r))) {
            depth--;
            continue;
        }
        enum json_type type = json_peek(r);
        if (type == JSON_OBJECT ? json_object(r) : type == JSON_ARRAY && json_array(r))
            is_object[++depth] = type == JSON_OBJECT;
        else if (type == JSON_STRING)
            (void)json_string(r, &arena, &s);
        else if (type == JSON_BOOL)
            (void)json_bool(r, &b);
        else if (type == JSON_NULL)
            (void)json_null(r);
        else
            (void)json_f64(r, &v);
    } while (depth > 0 && !r->failed);
    return json_end(r) == ERR_OK;
}

static void numbers(struct str text, enum json_num type)
{
    static unsigned char out[8 * 256];
    struct json_reader r;
    struct json_shape measured, read;
    size_t n = 0, n_read = 0;
    json_init(&r, text, JSON_DEPTH_MAX);
    r.allow_nan = true;
    bool is_measured = json_measure(&r, &measured, &n);
    json_init(&r, text, JSON_DEPTH_MAX);
    r.allow_nan = true;
    if (!json_numbers(&r, type, out, 256, &n_read, &read))
        return;
    CHECK(is_measured && n == n_read && memcmp(&measured, &read, sizeof read) == 0);
    struct buf b;
    struct json_writer w;
    buf_init(&b, 1 << 20);
    jw_init(&w, &b);
    jw_numbers(&w, type, out, n_read);
    buf_pad(&b);
    static unsigned char again[sizeof out];
    json_init(&r, buf_view(&b), JSON_DEPTH_MAX);
    r.allow_nan = true;
    size_t n_again;
    CHECK(json_numbers(&r, type, again, 256, &n_again, NULL) && n_again == n_read);
    CHECK(memcmp(out, again, type == JSON_F64 ? n_read * 8 : type == JSON_U8 ? n_read : n_read * 4) == 0);
    buf_done(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *copy = malloc(size + BUF_PAD);
    CHECK(copy);
    if (size > 0)
        memcpy(copy, data, size);
    memset(copy + size, size % 2 ? '1' : 0, BUF_PAD);
    struct str text = {copy, size};
    struct json_reader r;
    json_init(&r, text, JSON_DEPTH_MAX);
    bool skipped = json_skip(&r, NULL) && json_end(&r) == ERR_OK;
    arena_init(&arena, 4096, 1 << 20);
    json_init(&r, text, JSON_DEPTH_MAX);
    bool pulled = pull(&r);
    /* Pulling refuses more: duplicate keys, long escaped keys, numbers out of range. */
    bool meaning = strstr(r.err.text, "twice") || strstr(r.err.text, "a key with escapes") ||
                   strstr(r.err.text, "range of a double");
    CHECK(skipped == pulled || (skipped && meaning));
    arena_done(&arena);
    numbers(text, JSON_F32);
    numbers(text, JSON_F64);
    numbers(text, JSON_I32);
    numbers(text, JSON_U8);
    free(copy);
    return 0;
}
