/* The same network in two engines, through the backends as workers call them, and LiteRT in a bare loop as the yardstick of its backend.
 *
 *   bench_engines SECONDS BATCH MODEL.tflite MODEL.onnx
 *
 * For each model first a process of its own: time from its start to the first answer, and memory then. After that both in turns in one process, so that a change
 * of the machine's mood hits both alike. Times of runs are CPU time of the thread. Models: tools/make-tflite-models.py --bench. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "model/backend.h"
#include "model/backends/tflite/tflite_int.h"
#include "must.h"

#define OUT_CAP ((size_t)64 << 20)
#define TURNS   20

struct side {
    const char *path;
    const struct backend *b;
    void *instance;
    struct model_desc desc;
    struct backend_tensor in[MODEL_TENSORS_MAX], out[MODEL_TENSORS_MAX];
    unsigned char *out_area;
    struct arena arena;
    uint64_t runs, ns;
};

/* LiteRT with tensors wrapped once. */
struct bare {
    struct tflite_plan *plan;
    struct litert_buffer *in[MODEL_TENSORS_MAX], *out[MODEL_TENSORS_MAX];
    uint64_t runs, ns;
};

static void run(struct side *s, uint32_t batch)
{
    struct backend_run r = {.in = s->in,
                            .in_len = (int)s->desc.inputs_len,
                            .in_base = s->in[0].data,
                            .out = s->out,
                            .out_len = (int)s->desc.outputs_len,
                            .out_base = s->out_area,
                            .out_cap = OUT_CAP,
                            .rows = batch};
    must(s->b->run(s->instance, &r, &err), s->path);
}

/* Samples lie where an arena puts them; a block's tensors begin at multiples of 64. */
static void align_input(struct side *s, struct backend_tensor *t)
{
    unsigned char *p = arena_alloc(&s->arena, t->bytes + 128);
    p += ROUND_UP((uintptr_t)p, 64) - (uintptr_t)p;
    memcpy(p, t->data, t->bytes);
    t->data = p;
}

static void load(struct side *s, uint32_t batch)
{
    struct backend_load opt = {.name = "bench", .path = s->path};
    s->b = backend_by_path(str_c(s->path));
    if (s->b == NULL || s->b->engine_open == NULL) {
        (void)fprintf(stderr, "%s: no engine is for it\n", s->path);
        exit(2);
    }
    must(s->b->engine_open(&opt, &err), "engine");
    must(s->b->load(&opt, &s->instance, &err), "load");
    must(s->b->describe(s->instance, &s->desc, &err), "describe");
    arena_init(&s->arena, 1 << 20, (size_t)1 << 30);
    s->out_area = aligned_alloc(64, OUT_CAP);
    for (uint32_t i = 0; i < s->desc.inputs_len; i++) {
        backend_sample(&s->desc.inputs[i], batch, 8, &s->in[i], &s->arena);
        align_input(s, &s->in[i]);
    }
    run(s, batch);
}

/* ---- a process of its own ---- */

static unsigned long status_kb(const char *name)
{
    char line[256];
    unsigned long kb = 0;
    FILE *f = fopen("/proc/self/status", "re");
    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, name, strlen(name)) == 0)
            kb = strtoul(line + strlen(name) + 1, NULL, 10);
    if (f != NULL)
        (void)fclose(f);
    return kb;
}

static void alone(struct side *s, uint32_t batch)
{
    (void)fflush(stdout);
    uint64_t start = clock_now_ns();
    pid_t pid = fork();
    if (pid == 0) {
        load(s, batch);
        (void)printf("%-24s first answer %.1f ms, memory %.1f MB (%.1f MB of its own)\n", s->path,
                     (double)(clock_now_ns() - start) / 1e6, (double)status_kb("VmRSS") / 1024,
                     (double)status_kb("RssAnon") / 1024);
        (void)fflush(stdout);
        _exit(0);
    }
    (void)waitpid(pid, NULL, 0);
}

/* ---- in turns ---- */

static uint64_t cpu_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

static void make_bare(struct bare *b, struct side *s)
{
    struct tflite_model *m = s->instance;
    int32_t dims[MODEL_TENSORS_MAX][LITERT_DIMS_MAX] = {{0}};
    for (uint32_t i = 0; i < m->inputs_len; i++)
        for (int k = 0; k < s->in[i].ndim; k++)
            dims[i][k] = (int32_t)s->in[i].dims[k];
    must(tflite_plan(m, (const int32_t(*)[LITERT_DIMS_MAX])dims, &b->plan, &err), "plan");
    for (uint32_t i = 0; i < m->inputs_len; i++) {
        struct litert_tensor_type t = {m->inputs[i].element, {.rank = (uint32_t)s->in[i].ndim}};
        memcpy(t.layout.dims, dims[i], sizeof t.layout.dims);
        (void)m->api->CreateTensorBufferFromHostMemory(&t, s->in[i].data, s->in[i].bytes, NULL,
                                                       &b->in[m->inputs[i].index]);
    }
    for (uint32_t i = 0; i < m->outputs_len; i++) {
        size_t index = m->outputs[i].index;
        struct litert_tensor_type t = {m->outputs[i].element, b->plan->outs[index]};
        (void)m->api->CreateTensorBufferFromHostMemory(&t, s->out[i].data, s->out[i].bytes, NULL, &b->out[index]);
    }
}

static void bare_turn(struct bare *b, const struct side *s, uint64_t ns)
{
    const struct tflite_model *m = s->instance;
    uint64_t start = cpu_ns(), now = start;
    for (; now - start < ns; now = cpu_ns()) {
        for (int i = 0; i < 8; i++)
            if (m->api->RunCompiledModel(b->plan->compiled, m->signature, m->inputs_len, b->in, m->outputs_len,
                                         b->out) != LITERT_OK)
                exit(1);
        b->runs += 8;
    }
    b->ns += now - start;
}

static void turn(struct side *s, uint32_t batch, uint64_t ns)
{
    uint64_t start = cpu_ns(), now = start;
    for (; now - start < ns; now = cpu_ns()) {
        for (int i = 0; i < 8; i++)
            run(s, batch);
        s->runs += 8;
    }
    s->ns += now - start;
}

static void show(const char *what, uint64_t runs, uint64_t ns, uint32_t batch)
{
    double us = (double)ns / 1e3 / (double)runs;
    (void)printf("%-24s batch %u: %.2f us per run, %.3f us per row\n", what, batch, us, us / batch);
}

int main(int argc, char **argv)
{
    static struct side lite, onnx;
    static struct bare bare;
    if (argc != 5) {
        (void)fprintf(stderr, "usage: bench_engines SECONDS BATCH MODEL.tflite MODEL.onnx\n");
        return 2;
    }
    uint64_t ns = (uint64_t)(strtod(argv[1], NULL) / TURNS / 3 * 1e9);
    uint32_t batch = (uint32_t)strtoul(argv[2], NULL, 10);
    lite.path = argv[3];
    onnx.path = argv[4];
    alone(&lite, batch);
    alone(&onnx, batch);
    load(&lite, batch);
    load(&onnx, batch);
    make_bare(&bare, &lite);
    for (int i = 0; i < TURNS; i++) {
        turn(&lite, batch, ns);
        bare_turn(&bare, &lite, ns);
        turn(&onnx, batch, ns);
    }
    show("LiteRT, bare loop", bare.runs, bare.ns, batch);
    show("tflite backend", lite.runs, lite.ns, batch);
    show("onnx backend", onnx.runs, onnx.ns, batch);
    return 0;
}
