/* Compiled models: what the engine made of a model (optimised graph, weights packed for this processor) is kept in a folder of the model's own, so that the next
 * start maps it instead of making it again, and all instances share the mapped pages.
 *
 *   <cache_dir>/<key>/model.onnx    the optimised graph
 *   <cache_dir>/<key>/weights       its weights, original and packed, mapped by the engine
 *   <cache_dir>/<key>/sums          of both, see onnx_sums.h
 *   <cache_dir>/<key>/learned       what trial runs have shown of its outputs
 *   <cache_dir>/<key>/known-<id>    what our own look at the file has found; id: the file's inode, size and times, and the options
 *   <cache_dir>/.lock               held by who makes an entry
 *
 * key: a fingerprint of the model's bytes, the engine's version, the processor's features, and what of the options matters. An entry appears by
 * one rename, whole or not at all; of other keys the least used are removed when a new one is made. A file that is known by its id is neither read nor
 * hashed. Anything that goes wrong here costs speed only: the model is
 * then loaded from its own file. Models that keep weights in files of their own are not cached. */
#ifndef MODEL_BACKENDS_ONNX_ONNX_CACHE_H
#define MODEL_BACKENDS_ONNX_ONNX_CACHE_H

#include "model/backends/onnx/onnx_int.h"

#define ONNX_CACHE_BYTES_MIN ((uint64_t)256 << 10) /* of weights: below, loading is quick anyway */

struct onnx_cache {
    char entry[1200]; /* folder of this model's entry */
    char fresh[1200]; /* folder in which a new one is being made */
    bool is_used;     /* false: this model is not cached */
};

/* Finds the entry of a file that has not changed since it was last looked at, by its times; sets m->info and m->file_bytes then. Comes before
 * the file is read: notes in m what it is. */
bool onnx_cache_find(struct onnx_cache *c, struct onnx_model *m, const char *cache_dir, const char *path);
/* The model was loaded from the entry: the next start may find it by the file. */
void onnx_cache_know(const struct onnx_model *m, const char *path);
/* One instance makes the entry, the others wait for it. Returns a descriptor to close, or -1. */
int onnx_cache_lock(const struct onnx_cache *c);
/* bytes: the model as given to the engine. */
void onnx_cache_open(struct onnx_cache *c, const struct onnx_model *m, const char *cache_dir, struct str bytes);
bool onnx_cache_has(const struct onnx_cache *c);
void onnx_cache_used(const struct onnx_cache *c); /* so that others go before it */
/* Options for making an entry. */
struct ort_status *onnx_cache_make(struct onnx_cache *c, const struct ort_api *api, struct ort_session_options *o);
/* After a session was made with onnx_cache_make: the entry is there from now on. False: it could not be kept. */
bool onnx_cache_keep(struct onnx_cache *c);
/* What onnx_learn_shapes found, so that the next start need not try. False: nothing is kept, or not by this program. */
bool onnx_cache_recall(struct onnx_model *m);
void onnx_cache_remember(const struct onnx_model *m);
/* Removes the entry (it does not load), and what was being made. */
void onnx_cache_drop(struct onnx_cache *c);
/* Removes the entry that m has open, unless another has taken its place already. */
void onnx_cache_discard(const struct onnx_model *m);
/* Whether it could be removed: on a disk that is read only it is checked before it is used, since damage would stay. */
bool onnx_cache_may_drop(const struct onnx_cache *c);

#endif
