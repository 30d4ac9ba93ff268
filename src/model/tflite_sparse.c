/* Sparse constants of a TensorFlow Lite file. A tensor is a tree with one level for each dimension, in an order that the file chooses, and further
 * levels for the dimensions inside of blocks. A dense level has all children; a sparse one lists them: `segments` says where each node's children begin
 * in `indices`. The engine follows these lists without a look at the shape, so that each is checked here. */
#include "model/tflite_file_int.h"

#define BLOCKS_MAX 4
#define LEVELS_MAX (TENSOR_DIMS_MAX + BLOCKS_MAX)

enum { LEVEL_DENSE, LEVEL_SPARSE };
enum { NUMBERS_32 = 1, NUMBERS_16, NUMBERS_8 }; /* which table a list of numbers is */

struct numbers {
    struct flat_vector v;
    size_t size;
};

struct sparse {
    struct flat_vector order, blocks, levels;
    int64_t limit[LEVELS_MAX]; /* children of a node, by level */
};

static enum err_code bad(struct lite_walk *w, const struct lite_tensor *t, const char *what)
{
    char name[80];
    if (w->f.is_bad)
        return lite_damaged(w, "a list of a sparse constant");
    return err_set(w->err, ERR_INVALID, "sparse constant '%s': %s", lite_shown(t->name, name), what);
}

static struct numbers read_numbers(struct lite_walk *w, struct flat_table level, unsigned type_field, unsigned field)
{
    uint64_t type = flat_number(&w->f, level, type_field, 1, 0);
    struct numbers n = {.size = type == NUMBERS_32 ? 4 : type == NUMBERS_16 ? 2 : type == NUMBERS_8 ? 1 : 0};
    if (n.size > 0)
        n.v = flat_vector(&w->f, flat_child(&w->f, level, field), 0, n.size);
    return n;
}

static int64_t number_at(const struct lite_walk *w, const struct numbers *n, uint32_t i)
{
    const unsigned char *p = w->f.p + n->v.at + i * n->size;
    if (n->size == 4)
        return flat_vector_i32(&w->f, n->v, i);
    return n->size == 2 ? p[0] | p[1] << 8 : p[0];
}

/* The order names every dimension once, those of blocks last and as they are. Fills the limits. */
static bool read_order(struct lite_walk *w, const struct lite_tensor *t, struct sparse *s)
{
    int64_t inner[TENSOR_DIMS_MAX]; /* size of a block along each dimension */
    bool is_seen[TENSOR_DIMS_MAX] = {false};
    uint32_t rank = (uint32_t)t->ndim;
    for (uint32_t d = 0; d < rank; d++)
        inner[d] = 1;
    int32_t last = -1;
    for (uint32_t i = 0; i < s->blocks.len; i++) {
        struct flat_table level = flat_vector_table(&w->f, s->levels, rank + i);
        int32_t d = flat_vector_i32(&w->f, s->blocks, i), size = flat_i32(&w->f, level, LEVEL_SIZE, 0);
        if (d <= last || (uint32_t)d >= rank || size < 1 || t->dims[d] % size != 0 ||
            flat_vector_i32(&w->f, s->order, rank + i) != (int32_t)(rank + i))
            return false;
        last = d;
        inner[d] = size;
        s->limit[rank + i] = size;
    }
    for (uint32_t i = 0; i < rank; i++) {
        int32_t d = flat_vector_i32(&w->f, s->order, i);
        if (d < 0 || (uint32_t)d >= rank || is_seen[d])
            return false;
        is_seen[d] = true;
        s->limit[i] = t->dims[d] / inner[d];
    }
    return true;
}

/* One sparse level under `nodes` nodes; they become its children. */
static enum err_code follow_sparse(struct lite_walk *w, const struct lite_tensor *t, struct flat_table level,
                                   int64_t limit, uint64_t *nodes)
{
    struct numbers segments = read_numbers(w, level, LEVEL_SEGMENTS_TYPE, LEVEL_SEGMENTS);
    struct numbers indices = read_numbers(w, level, LEVEL_INDICES_TYPE, LEVEL_INDICES);
    if (w->f.is_bad || segments.size == 0 || segments.v.len != *nodes + 1 || number_at(w, &segments, 0) != 0 ||
        number_at(w, &segments, segments.v.len - 1) != indices.v.len)
        return bad(w, t, "its lists do not fit each other");
    for (uint32_t i = 1; i < segments.v.len; i++)
        if (number_at(w, &segments, i) < number_at(w, &segments, i - 1))
            return bad(w, t, "its lists do not fit each other");
    for (uint32_t i = 0; i < indices.v.len; i++)
        if (number_at(w, &indices, i) < 0 || number_at(w, &indices, i) >= limit)
            return bad(w, t, "an element lies outside of its shape");
    *nodes = indices.v.len;
    return lite_count(w, 0, (segments.v.len * segments.size + indices.v.len * indices.size) / 4);
}

enum err_code lite_check_sparse(struct lite_walk *w, const struct lite_tensor *t, uint64_t *stored)
{
    struct flat_table at = flat_child(&w->f, t->at, TENSOR_SPARSITY);
    struct sparse s = {.order = flat_vector(&w->f, at, SPARSITY_ORDER, 4),
                       .blocks = flat_vector(&w->f, at, SPARSITY_BLOCKS, 4),
                       .levels = flat_vector(&w->f, at, SPARSITY_LEVELS, 4)};
    uint64_t nodes = 1;
    if (w->f.is_bad || s.blocks.len > BLOCKS_MAX || s.levels.len != (uint32_t)t->ndim + s.blocks.len ||
        s.order.len != s.levels.len || t->ndim == 0 || !read_order(w, t, &s))
        return bad(w, t, "its levels are not those of its shape");
    for (uint32_t i = 0; i < s.levels.len; i++) {
        struct flat_table level = flat_vector_table(&w->f, s.levels, i);
        uint64_t format = flat_number(&w->f, level, LEVEL_FORMAT, 1, LEVEL_DENSE);
        enum err_code code = ERR_OK;
        if (format == LEVEL_DENSE && flat_i32(&w->f, level, LEVEL_SIZE, 0) == s.limit[i])
            nodes *= (uint64_t)s.limit[i]; /* at most the tensor's elements */
        else if (format == LEVEL_SPARSE && i < (uint32_t)t->ndim)
            code = follow_sparse(w, t, level, s.limit[i], &nodes);
        else
            code = bad(w, t, "its levels are not those of its shape");
        if (code == ERR_OK && nodes > t->count)
            code = bad(w, t, "it stores more elements than its shape has");
        if (code != ERR_OK)
            return code;
    }
    *stored = nodes;
    return w->f.is_bad ? bad(w, t, "") : lite_count(w, s.levels.len, 0);
}
