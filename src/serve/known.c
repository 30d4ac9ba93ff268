#include "serve/known.h"

#include <pthread.h>

#include "base/arena.h"
#include "base/json.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct buf names = {.max_bytes = KNOWN_BYTES_MAX};
static struct buf coming = {.max_bytes =
                                KNOWN_BYTES_MAX}; /* of the parts so far; by the thread that hears the master */

static void read_names(struct json_reader *r, struct arena *a)
{
    struct str name = STR("");
    json_array(r);
    while (json_item(r))
        if (json_string(r, a, &name)) {
            buf_str(&coming, name);
            buf_char(&coming, '\0');
        }
}

static void replace(void)
{
    pthread_mutex_lock(&lock);
    struct buf old = names;
    names = coming;
    coming = old;
    pthread_mutex_unlock(&lock);
    buf_clear(&coming);
    buf_shrink(&coming, 0);
}

void known_take(struct str json)
{
    struct json_reader r;
    struct arena a;
    struct str key;
    bool is_first = false, is_last = false;
    arena_init(&a, 4096, 1 << 17);
    json_init(&r, json, 4);
    json_object(&r);
    while (json_key(&r, &key)) {
        if (str_eq_c(key, "first") && json_bool(&r, &is_first)) {
            if (is_first)
                buf_clear(&coming);
        } else if (str_eq_c(key, "last")) {
            json_bool(&r, &is_last);
        } else if (str_eq_c(key, "names")) {
            read_names(&r, &a);
        } else {
            json_skip(&r, NULL);
        }
    }
    if (json_end(&r) == ERR_OK && is_last && !coming.failed)
        replace();
    arena_done(&a);
}

void known_names(struct buf *out)
{
    pthread_mutex_lock(&lock);
    buf_str(out, buf_view(&names));
    pthread_mutex_unlock(&lock);
}
