/* The files of the dashboard, embedded into the binary at build time (web/ is their source, cmake/assets.cmake bundles them).
 * Everything is constant, lives as long as the program, and may be read from any thread.
 *
 *   const struct asset *a = asset_find(req->path);
 *   if (a) ... If-None-Match equal to a->etag: 304; gzip accepted and a->gzip.n > 0: send a->gzip; else a->data.
 *
 * The pages need nothing but their own origin, so they are served with ASSET_CSP. */
#ifndef APP_ASSETS_H
#define APP_ASSETS_H

#include "base/str.h"

struct asset {
    struct str path; /* as requested: "/", "/app.js" */
    struct str type; /* Content-Type */
    struct str etag; /* with quotes; weak, because it stands for both the plain and the compressed form */
    struct str data;
    struct str gzip; /* the same compressed; empty when that saves nothing */
};

/* Content-Security-Policy for the pages: no inline scripts, no foreign origins, no framing. */
#define ASSET_CSP                                                                                                      \
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "   \
    "form-action 'none'; frame-ancestors 'none'"

/* NULL when there is no such file. */
const struct asset *asset_find(struct str path);

#endif
