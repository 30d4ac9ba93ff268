/* The well-behaved built-in models: identity, delay, repeat. */
#include "model/backends/builtin/builtin_int.h"

static const char *const no_extensions[] = {NULL};

static enum err_code load_identity(const struct backend_load *opt, void **out_instance, struct err *err)
{
    return builtin_load(opt, "identity", 0, 1, out_instance, err);
}

static enum err_code load_delay(const struct backend_load *opt, void **out_instance, struct err *err)
{
    return builtin_load(opt, "delay", 10, 1, out_instance, err);
}

static enum err_code load_repeat(const struct backend_load *opt, void **out_instance, struct err *err)
{
    return builtin_load(opt, "repeat", 0, 2, out_instance, err);
}

const struct backend backend_identity = {
    .name = "identity",
    .extensions = no_extensions,
    .load = load_identity,
    .describe = builtin_describe,
    .run = builtin_run,
    .abort = builtin_abort,
    .unload = builtin_unload,
};

const struct backend backend_delay = {
    .name = "delay",
    .extensions = no_extensions,
    .load = load_delay,
    .describe = builtin_describe,
    .run = builtin_run,
    .abort = builtin_abort,
    .unload = builtin_unload,
};

const struct backend backend_repeat = {
    .name = "repeat",
    .extensions = no_extensions,
    .load = load_repeat,
    .describe = builtin_describe,
    .run = builtin_run,
    .abort = builtin_abort,
    .unload = builtin_unload,
};
