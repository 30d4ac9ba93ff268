#include "bench/subject_sample.h"

#include "base/base64.h"
#include "base/json.h"

static void take_b64(struct json_reader *r, struct arena *a, struct str *out)
{
    struct str key, text;
    json_object(r);
    while (json_key(r, &key)) {
        if (!str_eq_c(key, "b64") || !json_string(r, a, &text)) {
            json_skip(r, NULL);
            continue;
        }
        size_t len;
        char *bytes = arena_alloc(a, base64_bound(text.n) + 1);
        if (base64_decode(text, bytes, &len))
            *out = (struct str){bytes, len};
        else
            json_fail(r, ERR_INVALID, "not Base64");
    }
}

/* The first element; the others are like it. */
static void take_data(struct json_reader *r, struct arena *a, struct str *json, struct str *bytes)
{
    json_array(r);
    while (json_item(r)) {
        struct str text;
        enum json_type type = json_peek(r); /* moves to the value */
        const char *from = r->at;
        if (json->n > 0 || (type != JSON_OBJECT && type != JSON_STRING)) {
            json_skip(r, NULL);
            continue;
        }
        if (type == JSON_OBJECT)
            take_b64(r, a, bytes);
        else if (json_string(r, a, &text))
            *bytes = arena_str_dup(a, text);
        if (!r->failed)
            *json = arena_str_dup(a, (struct str){from, (size_t)(r->at - from)});
    }
}

static void take_input(struct json_reader *r, struct arena *a, struct subject_samples *out)
{
    struct str key, name = {0}, datatype = {0}, json = {0}, bytes = {0};
    json_object(r);
    while (json_key(r, &key)) {
        if (str_eq_c(key, "name"))
            json_string(r, a, &name);
        else if (str_eq_c(key, "datatype"))
            json_string(r, a, &datatype);
        else if (str_eq_c(key, "data") && json_peek(r) == JSON_ARRAY)
            take_data(r, a, &json, &bytes);
        else
            json_skip(r, NULL);
    }
    if (!r->failed && str_eq_c(datatype, "BYTES") && json.n > 0 && out->len < SUBJECT_SAMPLES_MAX) {
        out->of[out->len].name = arena_str_dup(a, name);
        out->of[out->len].json = json;
        out->of[out->len++].bytes = bytes;
    }
}

static void take_infer(struct json_reader *r, struct arena *a, struct subject_samples *out)
{
    struct str key;
    json_object(r);
    while (json_key(r, &key)) {
        if (!str_eq_c(key, "inputs")) {
            json_skip(r, NULL);
            continue;
        }
        json_array(r);
        while (json_item(r))
            take_input(r, a, out);
    }
}

bool subject_samples_read(struct str text, struct arena *a, struct subject_samples *out)
{
    struct json_reader *r = arena_new(a, struct json_reader);
    struct str key;
    *out = (struct subject_samples){0};
    json_init(r, text, JSON_DEPTH_MAX);
    json_object(r);
    while (json_key(r, &key)) {
        if (str_eq_c(key, "infer"))
            take_infer(r, a, out);
        else
            json_skip(r, NULL);
    }
    if (json_end(r) == ERR_OK)
        return true;
    *out = (struct subject_samples){0};
    return false;
}

int subject_samples_find(const struct subject_samples *s, const char *input)
{
    for (size_t i = 0; i < s->len; i++)
        if (str_eq_c(s->of[i].name, input))
            return (int)i;
    return -1;
}
