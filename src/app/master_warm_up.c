/* Warm-up between configuration and those who load models: model/warmup.h has the form. */
#include "app/master_int.h"
#include "model/warmup.h"

static void write_dims(const struct setting_list *dims, struct json_writer *w)
{
    const char *const *texts = dims->items;
    int64_t v = 0;
    jw_key(w, "dims");
    jw_array(w);
    for (size_t i = 0; i < dims->len; i++)
        if (str_to_i64(str_c(texts[i]), &v)) /* the configuration's check has made sure of it */
            jw_i64(w, v);
    jw_array_end(w);
}

static void write_input(const struct warm_up_input_config *in, struct json_writer *w)
{
    static const char *const fills[] = {[WARMUP_RANDOM] = "random", [WARMUP_ZERO] = "zero", [WARMUP_FILE] = "file"};
    jw_object(w);
    jw_kv_c(w, "name", in->name);
    jw_kv_c(w, "data", fills[in->data]);
    if (in->file)
        jw_kv_c(w, "file", in->file);
    if (in->datatype)
        jw_kv_c(w, "datatype", in->datatype);
    if (in->has_dims)
        write_dims(&in->dims, w);
    jw_object_end(w);
}

void master_write_warm_up(const struct model_config *c, struct json_writer *w)
{
    const struct warm_up_config *samples = c->warm_up.items;
    if (c->warm_up.len == 0)
        return;
    jw_key(w, "warm_up");
    jw_object(w);
    if (c->warm_up_folder)
        jw_kv_c(w, "folder", c->warm_up_folder);
    jw_key(w, "samples");
    jw_array(w);
    for (size_t i = 0; i < c->warm_up.len; i++) {
        const struct warm_up_input_config *in = samples[i].inputs.items;
        jw_object(w);
        jw_kv_c(w, "name", samples[i].name);
        jw_kv_i64(w, "batch_size", samples[i].batch_size);
        jw_kv_i64(w, "count", samples[i].count);
        jw_key(w, "inputs");
        jw_array(w);
        for (size_t k = 0; k < samples[i].inputs.len; k++)
            write_input(&in[k], w);
        jw_array_end(w);
        jw_object_end(w);
    }
    jw_array_end(w);
    jw_object_end(w);
}
