/* Which models the repository has, for who asks the edge: in mode `explicit` most of them may not be loaded. */
#include <string.h>

#include "app/master_int.h"

#define PART_BYTES (CHANNEL_PAYLOAD_MAX / 2) /* of one message; a name more, escaped at its worst, fits */

/* Tells names from `at` on until the message is full; returns where to go on. */
static size_t tell_part(struct master *m, size_t at)
{
    const struct model_config *models = m->snapshot->config.models.items;
    size_t len = m->snapshot->config.repository.mode == REPOSITORY_EXPLICIT ? m->snapshot->config.models.len : 0;
    struct buf text;
    struct json_writer w;
    buf_init(&text, CHANNEL_PAYLOAD_MAX);
    jw_init(&w, &text);
    jw_object(&w);
    jw_kv_bool(&w, "first", at == 0);
    jw_key(&w, "names");
    jw_array(&w);
    for (; at < len && text.len < PART_BYTES; at++)
        if (at == 0 || strcmp(models[at].name, models[at - 1].name) != 0) /* versions of one stand together */
            jw_c(&w, models[at].name);
    jw_array_end(&w);
    jw_kv_bool(&w, "last", at >= len);
    jw_object_end(&w);
    child_send(m, &m->edge, CHANNEL_KNOWN, buf_view(&text), NULL, 0);
    buf_done(&text);
    return at < len ? at : SIZE_MAX;
}

void known_tell(struct master *m)
{
    for (size_t at = 0; at != SIZE_MAX;)
        at = tell_part(m, at);
}
