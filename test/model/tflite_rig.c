#include "tflite_rig.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "model/engine.h"
#include "t.h"

#define PAGE       4096
#define READ_PAST  16
#define AREA_BYTES (1 << 20)

static _Alignas(64) unsigned char out_area[AREA_BYTES];

void lite_need_engine(void)
{
    char path[1280];
    struct err err;
    if (engine_find("litert", NULL, path, sizeof path, &err) != ERR_OK)
        SKIP("%s; %s", err.text, err.remedy);
}

enum err_code lite_load_path(struct lite_rig *r, const char *path, const char *param)
{
    char key[64] = "";
    struct backend_param p = {.key = key};
    memset(r, 0, sizeof *r);
    r->b = backend_by_path(str_c(path));
    struct backend_load opt = {.name = "test", .path = path, .params = &p};
    if (param != NULL && param[0] != 0) {
        struct str value;
        (void)str_copy(key, sizeof key, str_cut(str_c(param), '=', &value));
        p.value = value.p;
        opt.params_len = 1;
    }
    enum err_code code = r->b->engine_open(&opt, &r->err);
    if (code == ERR_OK)
        code = r->b->load(&opt, &r->instance, &r->err);
    if (code == ERR_OK)
        code = r->b->describe(r->instance, &r->desc, &r->err);
    return code;
}

enum err_code lite_load(struct lite_rig *r, const char *name, const char *param)
{
    char path[128];
    (void)snprintf(path, sizeof path, "test/data/%s.tflite", name);
    return lite_load_path(r, path, param);
}

/* The data lies as near to the end of the pages as its alignment and READ_PAST allow; the page behind cannot be read. */
static void put(struct lite_rig *r, enum dtype t, const void *data, size_t bytes, int ndim, const int64_t *dims,
                size_t align, size_t skew)
{
    size_t whole = ROUND_UP(bytes + READ_PAST + 64, PAGE);
    unsigned char *pages = mmap(NULL, whole + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT(pages != MAP_FAILED);
    unsigned char *at = pages + (whole - READ_PAST - bytes - skew) / align * align + skew;
    if (bytes > 0)
        memcpy(at, data, bytes);
    EXPECT_EQ(mprotect(pages, whole, PROT_READ), 0);
    EXPECT_EQ(mprotect(pages + whole, PAGE, PROT_NONE), 0);
    struct backend_tensor *in = &r->in[r->run.in_len++];
    *in = (struct backend_tensor){.dtype = t, .ndim = ndim, .data = at, .bytes = bytes};
    for (int i = 0; i < ndim; i++)
        in->dims[i] = dims[i];
}

void lite_in(struct lite_rig *r, enum dtype t, const void *data, size_t bytes, int ndim, const int64_t *dims)
{
    put(r, t, data, bytes, ndim, dims, 64, 0);
}

void lite_in_odd(struct lite_rig *r, enum dtype t, const void *data, size_t bytes, int ndim, const int64_t *dims)
{
    put(r, t, data, bytes, ndim, dims, 64, 8);
}

enum err_code lite_run(struct lite_rig *r)
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

void lite_free(struct lite_rig *r)
{
    if (r->instance != NULL)
        r->b->unload(r->instance);
    r->instance = NULL;
}
