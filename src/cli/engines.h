/* Which engine a model's backend needs, and what to say when it is missing. */
#ifndef CLI_ENGINES_H
#define CLI_ENGINES_H

#include "cli/config.h"

struct engine_need {
    const char *engine; /* as engine_find knows it */
    const char *title;  /* "ONNX Runtime" */
};

/* NULL: the backend needs none. */
const struct engine_need *engine_needed(const char *backend);
/* The first engine that a model of the configuration needs and that is not installed; NULL: all are there. */
const struct engine_need *engine_missing(const struct config *c);
/* "ONNX Runtime is not installed. Run: quern engine install onnxruntime" */
void engine_missing_text(const struct engine_need *n, char *out, size_t out_size);

#endif
