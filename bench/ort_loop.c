/* The yardstick: ONNX Runtime called in a bare loop, and the same through the backend as a worker calls it.
 *
 *   bench_ort_loop MODEL.onnx BATCH SECONDS [bare|arena|backend]
 *
 * bare: session, tensors made once, outputs in memory that is given. arena: the same with the engine's memory arena on. backend: load, describe and run of
 * model/backend.h. Times are CPU time of the thread, so that a busy machine changes them little. Without a mode: all three, in turns of a tenth of the time each, so that a change of the machine's mood hits all alike. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "ort_bare.h"
#include "sys/fd.h"

#define OUT_CAP ((size_t)256 << 20)
#define TURNS   10

struct loop {
    const struct backend *b;
    void *instance;
    struct model_desc desc;
    struct backend_tensor in[MODEL_TENSORS_MAX], out[MODEL_TENSORS_MAX];
    unsigned char *out_area;
    size_t out_used;
    uint32_t batch;
    struct arena arena;
};

struct bare {
    struct ort_session *session;
    struct ort_value *in[MODEL_TENSORS_MAX], *out[MODEL_TENSORS_MAX];
};

static void run_backend(struct loop *l)
{
    struct backend_run run = {.in = l->in,
                              .in_len = (int)l->desc.inputs_len,
                              .in_base = l->in[0].data,
                              .out = l->out,
                              .out_len = (int)l->desc.outputs_len,
                              .out_base = l->out_area,
                              .out_cap = OUT_CAP,
                              .rows = l->batch};
    must(l->b->run(l->instance, &run, &err), "run");
    l->out_used = run.out_used;
}

static void load(struct loop *l, const char *path)
{
    struct backend_load opt = {.name = "bench", .path = path};
    l->b = backend_by_path(str_c(path));
    if (l->b == NULL || l->b->engine_open == NULL) {
        (void)fprintf(stderr, "%s is no ONNX model\n", path);
        exit(2);
    }
    must(l->b->engine_open(&opt, &err), "engine");
    must(l->b->load(&opt, &l->instance, &err), "load");
    must(l->b->describe(l->instance, &l->desc, &err), "describe");
    arena_init(&l->arena, 1 << 20, (size_t)1 << 30);
    l->out_area = aligned_alloc(64, OUT_CAP);
    for (uint32_t i = 0; i < l->desc.inputs_len; i++) {
        if (l->desc.inputs[i].dtype == DT_BYTES) {
            (void)fprintf(stderr, "models with text inputs are not measured\n");
            exit(2);
        }
        backend_sample(&l->desc.inputs[i], l->batch, 224, &l->in[i], &l->arena);
    }
    run_backend(l); /* shows the shapes of outputs */
}

static void make_bare(const struct loop *l, struct str bytes, bool has_arena, struct bare *out)
{
    const struct onnx_model *m = l->instance;
    out->session = bare_session(m, bytes, has_arena);
    for (uint32_t i = 0; i < m->inputs_len; i++)
        out->in[i] = wrap(m, &l->in[i]);
    for (uint32_t i = 0; i < m->outputs_len; i++)
        out->out[i] = wrap(m, &l->out[i]);
}

static void run_bare(const struct loop *l, struct bare *b)
{
    bare_run(l->instance, b->session, b->in, b->out);
}

struct mode {
    const char *name;
    uint64_t runs, ns;
};

static uint64_t cpu_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

static void turn(struct loop *l, struct bare *bare, struct mode *mode, uint64_t ns)
{
    uint64_t start = cpu_ns(), now = start;
    while (now - start < ns) {
        for (int i = 0; i < 8; i++) {
            if (bare != NULL)
                run_bare(l, bare);
            else
                run_backend(l);
        }
        mode->runs += 8;
        now = cpu_ns();
    }
    mode->ns += now - start;
}

int main(int argc, char **argv)
{
    static struct loop l;
    static struct bare plain, arena;
    struct mode modes[] = {{.name = "bare"}, {.name = "arena"}, {.name = "backend"}};
    if (argc < 4) {
        (void)fprintf(stderr, "usage: bench_ort_loop MODEL.onnx BATCH SECONDS [bare|arena|backend]\n");
        return 2;
    }
    l.batch = (uint32_t)strtoul(argv[2], NULL, 10);
    double seconds = strtod(argv[3], NULL);
    load(&l, argv[1]);
    struct str bytes;
    must(file_read(argv[1], (size_t)1 << 30, &l.arena, &bytes, &err), "model");
    make_bare(&l, bytes, false, &plain);
    make_bare(&l, bytes, true, &arena);
    for (int t = 0; t < TURNS; t++) {
        for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
            if (argc > 4 && strcmp(argv[4], modes[i].name) != 0)
                continue;
            turn(&l, i == 0 ? &plain : i == 1 ? &arena : NULL, &modes[i], (uint64_t)(seconds / TURNS * 1e9));
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
        if (modes[i].runs == 0)
            continue;
        double us = (double)modes[i].ns / 1e3 / (double)modes[i].runs;
        (void)printf("%-8s batch %u: %.3f us per run, %.3f us per row, %.0f rows/s\n", modes[i].name, l.batch, us,
                     us / l.batch, l.batch * 1e6 / us);
    }
    return 0;
}
