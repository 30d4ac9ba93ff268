#include "cli/engines.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "model/engine.h"

static const struct {
    const char *backend;
    struct engine_need need;
} needs[] = {{"onnx", {"onnxruntime", "ONNX Runtime"}}, {"tflite", {"litert", "LiteRT"}}};

const struct engine_need *engine_needed(const char *backend)
{
    for (size_t i = 0; i < ARRAY_LEN(needs); i++)
        if (backend && strcmp(needs[i].backend, backend) == 0) /* NULL: a model that cannot be served */
            return &needs[i].need;
    return NULL;
}

const struct engine_need *engine_missing(const struct config *c)
{
    const struct model_config *models = c->models.items;
    for (size_t i = 0; i < c->models.len; i++) {
        const struct engine_need *n = engine_needed(models[i].backend);
        char path[PATH_MAX];
        struct err err = {0};
        if (n && engine_find(n->engine, NULL, path, sizeof path, &err) == ERR_NOT_FOUND)
            return n;
    }
    return NULL;
}

void engine_missing_text(const struct engine_need *n, char *out, size_t out_size)
{
    (void)snprintf(out, out_size, "%s is not installed. Run: quern engine install %s", n->title, n->engine);
}
