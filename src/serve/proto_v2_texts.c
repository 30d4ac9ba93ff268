#include "serve/proto_v2_texts.h"

#include <stdlib.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/json.h"
#include "serve/infer.h"

#define TEXT_BYTES_MAX ((size_t)1 << 20) /* names have limits */

struct v2_texts {
    const struct model_desc *desc; /* whose they are: one that was recalled gives way to what the worker tells */
    struct buf all;
    struct {
        size_t at, len;
    } part[1 + MODEL_TENSORS_MAX]; /* of the model, of its outputs */
};

/* Two members, each a text. */
static void add(struct v2_texts *t, uint32_t part, const char *const key[2], const char *const value[2])
{
    struct json_writer w;
    size_t at = t->all.len;
    jw_init(&w, &t->all);
    jw_object(&w);
    for (int i = 0; i < 2; i++)
        jw_kv_c(&w, key[i], value[i]);
    jw_object_end(&w);
    CHECK(!t->all.failed);
    t->part[part].at = at + 1;
    t->part[part].len = t->all.len - at - 2;
}

static void make(struct v2_texts *t, const struct served_info *info)
{
    static const char *const of_model[] = {"model_name", "model_version"}, *const of_output[] = {"name", "datatype"};
    t->desc = info->desc;
    buf_clear(&t->all);
    add(t, 0, of_model, (const char *[]){info->name, info->version});
    for (uint32_t k = 0; k < t->desc->outputs_len; k++) {
        const struct tensor_spec *o = &t->desc->outputs[k];
        add(t, 1 + k, of_output, (const char *[]){o->name, dtype_name((enum dtype)o->dtype)});
    }
}

static struct str text(const struct v2_texts *t, uint32_t part)
{
    return (struct str){t->all.p + t->part[part].at, t->part[part].len};
}

struct str v2_text_of_model(struct v2_texts **t, const struct served_info *info)
{
    if (!*t) {
        *t = calloc(1, sizeof **t);
        CHECK(*t);
        buf_init(&(*t)->all, TEXT_BYTES_MAX);
    }
    if ((*t)->desc != info->desc)
        make(*t, info);
    return text(*t, 0);
}

struct str v2_text_of_output(const struct v2_texts *t, uint32_t k)
{
    return text(t, 1 + k);
}

void v2_texts_free(struct v2_texts *t)
{
    if (t)
        buf_done(&t->all);
    free(t);
}
