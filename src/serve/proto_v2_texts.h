/* What every answer of a model says alike, as JSON that is made once: its name and version, and each output's name and type. */
#ifndef SERVE_PROTO_V2_TEXTS_H
#define SERVE_PROTO_V2_TEXTS_H

#include "base/str.h"

struct served_info;
struct v2_texts;

/* Members of an object, without its braces. *t keeps them, made on first use and again when the model is described otherwise: they are valid until then. */
struct str v2_text_of_model(struct v2_texts **t, const struct served_info *info);
struct str v2_text_of_output(const struct v2_texts *t, uint32_t k); /* after v2_text_of_model */
void v2_texts_free(struct v2_texts *t);                             /* NULL is fine */

#endif
