/* Operators as models, for the ends of an ensemble (docs/ensembles.md):
 *   image  IMAGE (JPEG or PNG files) to PIXELS, sized, normalised and laid out as a network wants them
 *   topk   SCORES to the k best: LABEL, SCORE, INDEX; labels come from the file at `path`, one a line */
#ifndef MODEL_BACKENDS_STEPS_STEPS_H
#define MODEL_BACKENDS_STEPS_STEPS_H

#include "model/backend.h"

extern const struct backend backend_image, backend_topk;

#endif
