#include "onnx_rig.h"

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
