#include "app/log_share.h"

#include "base/log.h"

void log_share_write(struct json_writer *w)
{
    struct log_choice c = log_chosen();
    jw_object(w);
    jw_kv_bool(w, "info", c.info);
    jw_kv_bool(w, "warn", c.warn);
    jw_kv_bool(w, "error", c.error);
    jw_kv_u64(w, "verbose", c.verbose);
    jw_kv_i64(w, "format", c.format);
    jw_object_end(w);
}

void log_share_take(struct json_reader *r)
{
    struct log_choice c = log_chosen();
    struct str key;
    uint64_t verbose = c.verbose, format = c.format;
    json_object(r);
    while (json_key(r, &key)) {
        if (str_eq_c(key, "info"))
            json_bool(r, &c.info);
        else if (str_eq_c(key, "warn"))
            json_bool(r, &c.warn);
        else if (str_eq_c(key, "error"))
            json_bool(r, &c.error);
        else if (str_eq_c(key, "verbose"))
            json_u64(r, &verbose);
        else if (str_eq_c(key, "format"))
            json_u64(r, &format);
        else
            json_skip(r, NULL);
    }
    if (r->failed || format > LOG_PEOPLE_DATED || verbose > UINT32_MAX)
        return;
    c.verbose = (uint32_t)verbose;
    c.format = (enum log_format)format;
    log_choose(&c);
}

void log_share_take_text(struct str payload)
{
    struct json_reader r;
    json_init(&r, payload, 4);
    log_share_take(&r);
}
