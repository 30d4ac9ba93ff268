#include "model/backends/onnx/onnx.h"

static const char *const extensions[] = {".onnx", NULL};

static enum err_code load(const struct backend_load *opt, void **out_instance, struct err *err)
{
    (void)out_instance;
    return err_set(err, ERR_UNSUPPORTED, "model %s: ONNX models cannot be loaded yet", opt->name);
}

const struct backend backend_onnx = {.name = "onnx", .extensions = extensions, .load = load};
