/* A model that goes wrong on purpose, for tests of supervision and for showing it: see builtin.h. */
#include "model/backends/builtin/builtin_int.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/num.h"

static const char *const no_extensions[] = {NULL};

static double element(enum dtype t, const unsigned char *p)
{
    union {
        uint8_t u8;
        uint16_t u16;
        uint32_t u32;
        uint64_t u64;
        int8_t i8;
        int16_t i16;
        int32_t i32;
        int64_t i64;
        float f;
        double d;
    } v = {.u64 = 0};
    memcpy(&v, p, dtype_size(t));
    switch (t) {
    case DT_BOOL:
    case DT_UINT8:
        return v.u8;
    case DT_UINT16:
        return v.u16;
    case DT_UINT32:
        return v.u32;
    case DT_UINT64:
        return (double)v.u64;
    case DT_INT8:
        return v.i8;
    case DT_INT16:
        return v.i16;
    case DT_INT32:
        return v.i32;
    case DT_INT64:
        return (double)v.i64;
    case DT_FP16:
        return (double)f16_to_f32(v.u16);
    case DT_BF16:
        return (double)bf16_to_f32(v.u16);
    case DT_FP32:
        return (double)v.f;
    case DT_FP64:
        return v.d;
    case DT_NONE:
    case DT_BYTES: /* strings are compared elsewhere */
    case DT_MAX_:
        break;
    }
    return 0;
}

static bool row_is_bad(const struct builtin *b, const struct backend_run *run, const unsigned char *row)
{
    if (b->dtype != DT_BYTES)
        return element(b->dtype, row) == (double)b->crash_on;
    struct bytes_ref ref;
    memcpy(&ref, row, sizeof ref);
    int64_t v;
    return str_to_i64((struct str){(const char *)run->in_base + ref.off, ref.len}, &v) && v == b->crash_on;
}

static bool has_bad_row(const struct builtin *b, const struct backend_run *run)
{
    const struct backend_tensor *in = &run->in[0];
    size_t rows = in->dims[0] > 0 ? (size_t)in->dims[0] : 0;
    size_t row = rows > 0 ? in->bytes / rows : 0;
    for (size_t r = 0; r < rows && row > 0; r++)
        if (row_is_bad(b, run, (const unsigned char *)in->data + r * row))
            return true;
    return false;
}

/* Memory that is touched and never freed, as by a model with a leak. */
static enum err_code leak(const struct builtin *b, struct err *err)
{
    void *p = malloc((size_t)b->leak_bytes);
    if (p == NULL)
        return err_set(err, ERR_BACKEND, "out of memory");
    memset(p, 1, (size_t)b->leak_bytes);
    static void *volatile kept; /* keeps the compiler from dropping the unused allocation */
    kept = p;
    (void)kept;
    return ERR_OK;
}

/* A true fault, not raise(): it cannot be survived by returning from a handler. */
static void touch_bad_address(void)
{
    volatile int *volatile nowhere = (volatile int *)(uintptr_t)64;
    *nowhere = 1;
}

static enum err_code misbehave(const struct builtin *b, struct err *err)
{
    switch (b->how) {
    case CRASH_SEGV:
        touch_bad_address();
        break;
    case CRASH_ABORT:
        abort();
    case CRASH_EXIT:
        _exit(3);
    case CRASH_HANG:
        for (;;) /* deaf to abort too: only the end of the process ends it */
            (void)pause();
    case CRASH_LEAK:
        return leak(b, err);
    case CRASH_LIE:
        break;
    }
    return ERR_OK;
}

static enum err_code run_crash(void *instance, struct backend_run *run, struct err *err)
{
    struct builtin *b = instance;
    bool is_bad = has_bad_row(b, run);
    if (is_bad) {
        enum err_code code = misbehave(b, err);
        if (code != ERR_OK)
            return code;
    }
    enum err_code code = builtin_run(instance, run, err);
    if (code == ERR_OK && is_bad && b->how == CRASH_LIE)
        run->out[0].dims[0] += 1000000; /* more rows than there are bytes for */
    return code;
}

static enum err_code load_crash(const struct backend_load *opt, void **out_instance, struct err *err)
{
    return builtin_load(opt, "crash", 0, 1, out_instance, err);
}

const struct backend backend_crash = {
    .name = "crash",
    .extensions = no_extensions,
    .load = load_crash,
    .describe = builtin_describe,
    .run = run_crash,
    .abort = builtin_abort,
    .unload = builtin_unload,
};
