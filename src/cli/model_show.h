/* What `quern model show` prints of a model: settings with their origins and reasons, measurements, and how it does now. From the server's
 * GET /api/models/NAME, or the settings alone from a configuration. */
#ifndef CLI_MODEL_SHOW_H
#define CLI_MODEL_SHOW_H

#include "cli/leaves.h"

/* One element of the answer's `models`. */
void model_show(const struct leaves *f, struct arena *a, struct buf *out);
/* The settings alone: what config_explain wrote. */
void model_show_settings(const struct leaves *f, struct arena *a, struct buf *out);

#endif
