/* Packing weights after the model serves. The engine packs the weights of matrix products for each session anew, before it finds that the result is kept; for
 * large models that is most of a start. When somebody waits, the first session does without (its runs copy weights as they need them, with the same results but for
 * rounding), and a thread makes the session that stays. It has the priority of the runs: held back by others on the machine while it changes the process's
 * mappings, it would hold back the runs. */
#include "base/log.h"
#include "model/backends/onnx/onnx_int.h"
#include "sys/pieces.h"

static void *pack(void *arg)
{
    struct onnx_model *m = arg;
    struct ort_session *packed = NULL;
    struct err err = {0};
    enum err_code code = onnx_open_entry(m, m->cache_entry, true, &packed, &err);
    if (code == ERR_OK && !onnx_held_is_named(&m->held, m->cache_entry)) { /* not the one that is checked */
        m->api->ReleaseSession(packed);
        code = err_set(&err, ERR_CONFLICT, "the compiled model was replaced meanwhile");
    }
    if (code == ERR_OK)
        atomic_store_explicit(&m->packed, packed, memory_order_release);
    else
        LOG_WARN("the weights could not be packed: runs are slower", LOG_S("error", err.text));
    pieces_give_back(); /* what packing took is not needed again */
    return NULL;
}

void onnx_pack_later(struct onnx_model *m)
{
    m->has_packer = pthread_create(&m->packer, NULL, pack, m) == 0;
    if (!m->has_packer)
        LOG_WARN("the weights cannot be packed for want of a thread: runs are slower");
}

void onnx_take_packed(struct onnx_model *m)
{
    struct ort_session *packed = atomic_exchange_explicit(&m->packed, NULL, memory_order_acquire);
    if (packed == NULL)
        return;
    m->api->ReleaseSession(m->session);
    m->session = packed;
}

void onnx_pack_end(struct onnx_model *m)
{
    if (m->has_packer)
        (void)pthread_join(m->packer, NULL);
    m->has_packer = false;
    struct ort_session *packed = atomic_exchange_explicit(&m->packed, NULL, memory_order_acquire);
    if (packed != NULL)
        m->api->ReleaseSession(packed);
}
