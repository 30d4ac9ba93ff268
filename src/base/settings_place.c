/* Where settings stood in their file. A configuration of 1,000 models has thousands of places, and each of a model's settings is looked
 * up when it is explained: an index. */
#include <string.h>

#include "base/check.h"
#include "base/hash.h"
#include "base/settings_int.h"

static size_t slot_of(const struct setting_places *places, struct str path)
{
    return (size_t)hash64(path.p, path.n, hash_seed()) & (places->index_cap - 1);
}

enum err_code settings_places_index(struct setting_places *places, struct arena *a)
{
    size_t cap = 16;
    while (cap < places->len * 2)
        cap *= 2;
    places->index = arena_try_alloc(a, cap * sizeof *places->index);
    if (!places->index)
        return ERR_TOO_LARGE;
    memset(places->index, 0, cap * sizeof *places->index);
    places->index_cap = cap;
    for (size_t i = 0; i < places->len; i++) {
        size_t at = slot_of(places, places->items[i].path);
        while (places->index[at])
            at = (at + 1) & (cap - 1);
        places->index[at] = (uint32_t)i + 1;
    }
    return ERR_OK;
}

void settings_place_add(struct setting_places *places, const char *path, struct arena *a)
{
    struct setting_place *more = arena_array(a, struct setting_place, places->len + 1);
    if (places->len)
        memcpy(more, places->items, places->len * sizeof *more);
    more[places->len++] = (struct setting_place){.path = str_c(arena_cstr(a, str_c(path)))};
    places->items = more;
    CHECK(settings_places_index(places, a) == ERR_OK);
}

static const struct setting_place *look_up(const struct setting_places *places, struct str path)
{
    if (places->index_cap == 0)
        return NULL; /* nothing was read */
    for (size_t at = slot_of(places, path); places->index[at]; at = (at + 1) & (places->index_cap - 1)) {
        const struct setting_place *p = &places->items[places->index[at] - 1];
        if (str_eq(p->path, path))
            return p;
    }
    return NULL;
}

const struct setting_place *settings_place(const struct setting_places *places, const char *path)
{
    for (struct str p = str_c(path);;) {
        const struct setting_place *found = look_up(places, p);
        if (found)
            return found;
        ptrdiff_t dot = str_rchr(p, '.'), bracket = str_rchr(p, '[');
        ptrdiff_t cut = dot > bracket ? dot : bracket;
        if (cut < 0)
            return NULL;
        p.n = (size_t)cut;
    }
}
