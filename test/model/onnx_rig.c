#include "onnx_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/engine.h"
#include "t.h"

static _Alignas(64) unsigned char out_area[1 << 20];

void rig_need_engine(void)
{
    char path[1280];
    struct err err;
    if (engine_find("onnxruntime", NULL, path, sizeof path, &err) != ERR_OK)
        SKIP("%s; %s", err.text, err.remedy);
}

static enum err_code load(struct rig *r, const struct backend_load *opt)
{
    memset(r, 0, sizeof *r);
    r->b = backend_by_path(str_c(opt->path));
    enum err_code code = r->b->engine_open(opt, &r->err);
    if (code == ERR_OK)
        code = r->b->load(opt, &r->instance, &r->err);
    if (code == ERR_OK)
        code = r->b->describe(r->instance, &r->desc, &r->err);
    return code;
}

enum err_code rig_load(struct rig *r, const char *path, const char *root)
{
    return load(r, &(struct backend_load){.name = "test", .path = path, .root = root});
}

enum err_code rig_load_cached(struct rig *r, const char *path, const char *cache_dir)
{
    static const struct backend_param always = {"compile", "always"};
    return load(r, &(struct backend_load){
                       .name = "test", .path = path, .cache_dir = cache_dir, .params = &always, .params_len = 1});
}

enum err_code rig_load_urgent(struct rig *r, const char *path, const char *cache_dir)
{
    static const struct backend_param always = {"compile", "always"};
    return load(r, &(struct backend_load){.name = "test",
                                          .path = path,
                                          .cache_dir = cache_dir,
                                          .params = &always,
                                          .params_len = 1,
                                          .is_urgent = true});
}

enum err_code rig_load_checked(struct rig *r, const char *path, const char *cache_dir)
{
    static const struct backend_param params[] = {{"compile", "always"}, {"check", "first"}};
    return load(r, &(struct backend_load){
                       .name = "test", .path = path, .cache_dir = cache_dir, .params = params, .params_len = 2});
}

void rig_in(struct rig *r, enum dtype t, const void *data, size_t bytes, int ndim, const int64_t *dims)
{
    struct backend_tensor *in = &r->in[r->run.in_len++];
    *in = (struct backend_tensor){.dtype = t, .ndim = ndim, .data = (void *)(uintptr_t)data, .bytes = bytes};
    for (int i = 0; i < ndim; i++)
        in->dims[i] = dims[i];
}

enum err_code rig_run(struct rig *r)
{
    memset(r->out, 0, sizeof r->out);
    r->run.in = r->in;
    r->run.in_base = r->in[0].data;
    r->run.out = r->out;
    r->run.out_len = (int)r->desc.outputs_len;
    r->run.out_base = out_area;
    r->run.out_cap = sizeof out_area;
    r->run.out_used = 0;
    enum err_code code = r->b->run(r->instance, &r->run, &r->err);
    r->run.in_len = 0;
    return code;
}

void rig_free(struct rig *r)
{
    if (r->instance != NULL)
        r->b->unload(r->instance);
    r->instance = NULL;
}

struct str rig_text(const struct rig *r, int output, size_t i)
{
    const struct bytes_ref *refs = r->out[output].data;
    return (struct str){(const char *)out_area + refs[i].off, refs[i].len};
}

static size_t put_varint(unsigned char *out, size_t at, uint64_t v)
{
    for (; v > 127; v >>= 7)
        out[at++] = (unsigned char)(v | 128);
    out[at++] = (unsigned char)v;
    return at;
}

void rig_write_matrix(const char *path, size_t side)
{
    EXPECT(side >= 128 && side < 16384); /* two bytes of the encoding */
    const unsigned char low = (unsigned char)(side | 128), high = (unsigned char)(side >> 7);
    static const unsigned char head[] = {0x08, 8, 0x42, 2, 0x10, 13, 0x3a}; /* version, operator set, graph */
    static const unsigned char node[] = {0x0a, 17, 0x0a, 1,   'x', 0x0a, 1,   'w', 0x12, 1, 'y',
                                         0x22, 6,  'M',  'a', 't', 'M',  'u', 'l', 0x12, 1, 'g'};
    const unsigned char ends[] = {0x5a, 25,   0x0a, 1,   'x',  0x12, 20,   0x0a, 18,   0x08, 1,    0x12, 14,   0x0a,
                                  7,    0x12, 5,    'b', 'a',  't',  'c',  'h',  0x0a, 3,    0x08, low,  high, 0x62,
                                  25,   0x0a, 1,    'y', 0x12, 20,   0x0a, 18,   0x08, 1,    0x12, 14,   0x0a, 7,
                                  0x12, 5,    'b',  'a', 't',  'c',  'h',  0x0a, 3,    0x08, low,  high};
    static unsigned char tensor[64];
    size_t count = side * side, bytes = count * sizeof(float);
    float *w = malloc(bytes);
    size_t t = 0;
    EXPECT(w != NULL);
    for (size_t i = 0; i < side; i++)
        for (size_t j = 0; j < side; j++)
            w[i * side + j] = (float)((int)((i + 3 * j) % 7) - 3) / 64;
    for (int k = 0; k < 2; k++) {
        tensor[t++] = 0x08;
        t = put_varint(tensor, t, side);
    }
    static const unsigned char rest[] = {0x10, 1, 0x42, 1, 'w', 0x4a}; /* float, name, bytes */
    memcpy(tensor + t, rest, sizeof rest);
    t = put_varint(tensor, t + sizeof rest, bytes);
    unsigned char graph_len[10], init[11] = {0x2a};
    size_t init_len = put_varint(init, 1, t + bytes);
    size_t graph = sizeof node + init_len + t + bytes + sizeof ends, graph_len_len = put_varint(graph_len, 0, graph);
    FILE *f = fopen(path, "wb");
    EXPECT(f != NULL);
    EXPECT_EQ(fwrite(head, 1, sizeof head, f) + fwrite(graph_len, 1, graph_len_len, f), sizeof head + graph_len_len);
    EXPECT_EQ(fwrite(node, 1, sizeof node, f) + fwrite(init, 1, init_len, f), sizeof node + init_len);
    EXPECT_EQ(fwrite(tensor, 1, t, f) + fwrite(w, 1, bytes, f) + fwrite(ends, 1, sizeof ends, f),
              t + bytes + sizeof ends);
    EXPECT_EQ(fclose(f), 0);
    free(w);
}
