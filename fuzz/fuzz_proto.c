/* Bodies of strangers for both protocols, over made-up models. The first byte chooses path, length header and time of decoding. What must hold
 * for every input: exactly one answer, of a status that we mean, as well-formed JSON unless it is binary. */
#include "../test/serve/proto_fake.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_json(struct str text)
{
    struct json_reader r;
    json_init(&r, text, JSON_DEPTH_MAX);
    r.allow_nan = true;
    (void)json_skip(&r, NULL);
    CHECK(json_end(&r) == ERR_OK);
}

/* Where the body's bytes are changes nothing. */
static void compare_with_part_away(const struct fake_request *r, const struct fake_answer *whole, size_t away)
{
    size_t n = whole->body_len;
    char *body = malloc(n + 1);
    CHECK(body);
    memcpy(body, whole->body, n);
    fake_away = away;
    const struct fake_answer *a = fake_run(r);
    CHECK(a->status == 200 && a->body_len == n && memcmp(a->body, body, n) == 0);
    fake_away = 0;
    free(body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const paths[] = {"/predict",
                                        "/v2/models/iris/infer",
                                        "/v2/models/pair/infer",
                                        "/v2/models/text/infer",
                                        "/v2/models/fixed/infer",
                                        "/v2/repository/index",
                                        "/v2/models/pair/generate",
                                        "/v2/models/text/generate"};
    if (size < 2)
        return 0;
    char length[16];
    (void)snprintf(length, sizeof length, "%u", data[1]);
    fake_is_late = (data[0] & 1) != 0;
    fake_only_iris = (data[0] & 2) != 0;
    struct fake_request r = {HTTP_POST_,
                             paths[(data[0] >> 3) % ARRAY_LEN(paths)],
                             (data[0] & 4) != 0 ? length : NULL,
                             {(const char *)data + 2, size - 2}};
    fake_away = 0;
    const struct fake_answer *a = fake_run(&r);
    if (a->status == 200 && r.body.n > 0)
        compare_with_part_away(&r, a, 1 + data[1] * 7U % r.body.n);
    a = fake_run(&r);
    CHECK(a->status == 200 || a->status == 400 || a->status == 404 || a->status == 413 || a->status == 501 ||
          a->status == 503);
    CHECK(a->done_calls <= 1);
    size_t n = a->body_len;
    if (a->infer_header[0])
        CHECK(sscanf(a->infer_header, "%zu", &n) == 1 && n < a->body_len);
    char *json = malloc(n + BUF_PAD);
    CHECK(json);
    memcpy(json, a->body, n);
    memset(json + n, 0, BUF_PAD);
    check_json((struct str){json, n});
    free(json);
    fake_free();
    return 0;
}
