#include "model/tflite_file.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/utf8.h"
#include "model/tflite_file_int.h"
#include "model/tflite_ops.h"

#define SCHEMA_VERSION 3

/* The smallest table has its own 4 bytes and is pointed to by 4 more. */
#define TABLE_BYTES 8

enum err_code lite_damaged(struct lite_walk *w, const char *what)
{
    if (w->f.is_bad)
        return err_set(w->err, ERR_INVALID, "the file is damaged or cut off: %s lies outside of it (byte %zu)", what,
                       w->f.bad_at);
    return err_set(w->err, ERR_INVALID, "the file is damaged: %s", what);
}

const char *lite_shown(struct str s, char out[80])
{
    (void)str_copy(out, 80, s);
    out[utf8_check(str_c(out))] = 0;
    for (char *c = out; *c != 0; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
    return out;
}

enum err_code lite_count(struct lite_walk *w, uint64_t tables, uint64_t entries)
{
    w->tables += tables;
    w->entries += entries;
    if (w->tables > w->f.n / TABLE_BYTES || w->entries > w->f.n / 4)
        return err_set(w->err, ERR_INVALID, "the file is damaged: its parts overlap");
    return ERR_OK;
}

/* Files over 2 GiB keep buffers behind the FlatBuffer, by offset and size. */
static enum err_code far_buffer(struct lite_walk *w, uint32_t index, uint64_t offset, uint64_t size, struct str *out)
{
    if (offset > w->f.n || size > w->f.n - offset)
        return err_set(w->err, ERR_INVALID, "buffer %u lies outside the file", index);
    *out = (struct str){(const char *)w->f.p + offset, (size_t)size};
    return ERR_OK;
}

enum err_code lite_buffer(struct lite_walk *w, uint32_t index, struct str *out)
{
    if (index >= w->buffers.len)
        return err_set(w->err, ERR_INVALID, "buffer %u is used, but there are only %u", index, w->buffers.len);
    struct flat_table b = flat_vector_table(&w->f, w->buffers, index);
    uint64_t offset = flat_number(&w->f, b, BUFFER_OFFSET, 8, 0);
    uint64_t size = flat_number(&w->f, b, BUFFER_SIZE, 8, 0);
    struct flat_vector data = flat_vector(&w->f, b, BUFFER_DATA, 1);
    if (w->f.is_bad)
        return lite_damaged(w, "a buffer");
    if (offset > 1) /* 0 and 1 are what writers leave behind */
        return far_buffer(w, index, offset, size, out);
    *out = (struct str){(const char *)w->f.p + data.at, data.len};
    return ERR_OK;
}

/* ---- the outermost table ---- */

static enum err_code not_tflite(struct lite_walk *w)
{
    return err_set(w->err, ERR_INVALID, "not a TensorFlow Lite model: it does not carry the mark TFL3");
}

static enum err_code check_head(struct lite_walk *w, struct flat_table model)
{
    uint64_t version = flat_number(&w->f, model, MODEL_VERSION, 4, 0);
    w->opcodes = flat_vector(&w->f, model, MODEL_OPCODES, 4);
    w->buffers = flat_vector(&w->f, model, MODEL_BUFFERS, 4);
    w->subgraphs = flat_vector(&w->f, model, MODEL_SUBGRAPHS, 4);
    w->signatures = flat_vector(&w->f, model, MODEL_SIGNATURES, 4);
    struct str description = flat_text(&w->f, model, MODEL_DESCRIPTION);
    if (w->f.is_bad)
        return lite_damaged(w, "the list of its parts");
    if (version != SCHEMA_VERSION)
        return err_set(w->err, ERR_UNSUPPORTED, "version %llu of the format; the engine knows version %d",
                       (unsigned long long)version, SCHEMA_VERSION);
    if (flat_has(&w->f, model, MODEL_EXTERNAL_GROUPS) || flat_has(&w->f, model, MODEL_EXTERNAL_BUFFERS)) {
        (void)err_set(w->err, ERR_UNSUPPORTED, "the model keeps weights in other files");
        return err_remedy(w->err, "export the model as one file");
    }
    if (w->subgraphs.len == 0)
        return err_set(w->err, ERR_INVALID, "the model has no graph");
    if (w->subgraphs.len > LITE_SUBGRAPHS_MAX)
        return err_set(w->err, ERR_TOO_LARGE, "the model has %u subgraphs; at most %d are served", w->subgraphs.len,
                       LITE_SUBGRAPHS_MAX);
    w->info->subgraphs = w->subgraphs.len;
    (void)str_copy(w->info->description, sizeof w->info->description, description);
    w->info->description[utf8_check(str_c(w->info->description))] = 0;
    for (char *c = w->info->description; *c != 0; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = ' ';
    return lite_count(w, (uint64_t)w->opcodes.len + w->buffers.len + w->subgraphs.len + w->signatures.len, 0);
}

static enum err_code check_buffers(struct lite_walk *w)
{
    struct str data;
    enum err_code code = ERR_OK;
    for (uint32_t i = 0; code == ERR_OK && i < w->buffers.len; i++)
        code = lite_buffer(w, i, &data);
    return code;
}

static enum err_code check_metadata(struct lite_walk *w, struct flat_table model)
{
    struct flat_vector list = flat_vector(&w->f, model, MODEL_METADATA, 4);
    struct flat_vector old = flat_vector(&w->f, model, MODEL_METADATA_BUFFER, 4);
    enum err_code code = lite_count(w, list.len, old.len);
    for (uint32_t i = 0; code == ERR_OK && i < old.len; i++)
        if (flat_vector_i32(&w->f, old, i) < 0 || (uint32_t)flat_vector_i32(&w->f, old, i) >= w->buffers.len)
            code = err_set(w->err, ERR_INVALID, "metadata %u has no buffer", i);
    for (uint32_t i = 0; code == ERR_OK && i < list.len; i++) {
        struct flat_table m = flat_vector_table(&w->f, list, i);
        struct str name = flat_text(&w->f, m, METADATA_NAME);
        uint64_t buffer = flat_number(&w->f, m, METADATA_BUFFER, 4, 0);
        if (w->f.is_bad)
            code = lite_damaged(w, "metadata");
        else if (name.p == NULL || buffer >= w->buffers.len)
            code = err_set(w->err, ERR_INVALID, "metadata %u has no name or no buffer", i);
    }
    return code == ERR_OK && w->f.is_bad ? lite_damaged(w, "metadata") : code;
}

static enum err_code read_graphs(struct lite_walk *w)
{
    for (uint32_t i = 0; i < w->subgraphs.len; i++) {
        struct flat_table t = flat_vector_table(&w->f, w->subgraphs, i);
        w->graphs[i] = (struct lite_graph){
            .tensors = flat_vector(&w->f, t, GRAPH_TENSORS, 4),
            .inputs = flat_vector(&w->f, t, GRAPH_INPUTS, 4),
            .outputs = flat_vector(&w->f, t, GRAPH_OUTPUTS, 4),
            .operators = flat_vector(&w->f, t, GRAPH_OPERATORS, 4),
        };
        (void)flat_text(&w->f, t, GRAPH_NAME);
        if (w->f.is_bad)
            return lite_damaged(w, "a graph");
    }
    return ERR_OK;
}

static enum err_code check_all(struct lite_walk *w, struct flat_table model, const char *signature)
{
    enum err_code code = check_head(w, model);
    if (code == ERR_OK)
        code = check_buffers(w);
    if (code == ERR_OK)
        code = check_metadata(w, model);
    if (code == ERR_OK)
        code = read_graphs(w);
    for (uint32_t i = 0; code == ERR_OK && i < w->subgraphs.len; i++)
        code = lite_check_graph(w, i);
    if (code == ERR_OK)
        code = lite_check_calls(w);
    return code == ERR_OK ? lite_check_signatures(w, signature) : code;
}

enum err_code tflite_check(struct str bytes, const char *signature, struct tflite_info *out, struct err *err)
{
    struct lite_walk *w = calloc(1, sizeof *w); /* too large for a stack */
    struct flat_table model;
    CHECK(w != NULL);
    memset(out, 0, sizeof *out);
    w->info = out;
    w->err = err;
    enum err_code code = flat_open(&w->f, bytes, "TFL3", &model) ? check_all(w, model, signature) : not_tflite(w);
    free(w->calls);
    free(w);
    return code;
}
