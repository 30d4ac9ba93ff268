/* A model configuration as JSON (protobuf's JSON form of Triton's ModelConfig: numbers may be texts, names may be in camel case) written as the text
 * format that config.pbtxt has, so that one reader knows what it means. No recursion; bounds as in pbtxt.h. */
#ifndef MODEL_REPO_PBTXT_JSON_H
#define MODEL_REPO_PBTXT_JSON_H

#include "base/buf.h"
#include "base/json.h"

/* json as json_init takes it. Appends to out. */
enum err_code pbtxt_from_json(struct str json, struct buf *out, struct err *err);

#endif
