/* quern version: what this build is, and what it can do on this machine. */
#include <gnu/libc-version.h>
#include <limits.h>
#include <sys/utsname.h>

#include "base/json.h"
#include "cli/commands.h"
#include "cli/config.h"
#include "model/backend.h"
#include "model/engine.h"
#include "sys/cpu.h"
#include "sys/sandbox.h"

struct platform {
    struct utsname system;
    char sandbox[128];
    int cores;
};

static void look(struct platform *p)
{
    *p = (struct platform){.cores = cpu_budget()};
    (void)uname(&p->system); /* fails for bad pointers only */
    sandbox_describe(p->sandbox, sizeof p->sandbox);
}

static void features_people(struct buf *out)
{
    struct platform p;
    size_t len;
    const struct engine_info *engines = engine_list(&len);
    look(&p);
    buf_printf(out, "platform   %s %s, %s, glibc %s\n", p.system.sysname, p.system.release, p.system.machine,
               gnu_get_libc_version());
    buf_printf(out, "cores      %d that this process may use\n", p.cores);
    buf_printf(out, "sandbox    %s\n", p.sandbox[0] ? p.sandbox : "none: this kernel has neither Landlock nor seccomp");
    buf_printf(out, "backends   %s\n", backend_names());
    for (size_t i = 0; i < len; i++) {
        char path[PATH_MAX];
        struct err err = {0};
        bool is_found = engine_find(engines[i].name, NULL, path, sizeof path, &err) == ERR_OK;
        buf_printf(out, "%s %s %s: ", i ? "          " : "engines   ", engines[i].name, engines[i].version);
        if (is_found)
            buf_printf(out, "%s\n", path);
        else
            buf_printf(out, "not installed; run: quern engine install %s\n", engines[i].name);
    }
    buf_c(out, "protocols  HTTP/1.1: /predict, Open Inference Protocol v2 (REST)\n");
    buf_printf(out, "limits     %d models, %d tensors per model, %d dimensions, %d addresses\n", CONFIG_MODELS_MAX,
               MODEL_TENSORS_MAX, TENSOR_DIMS_MAX, CONFIG_LISTEN_MAX);
}

static void engines_json(struct json_writer *w)
{
    size_t len;
    const struct engine_info *engines = engine_list(&len);
    jw_key(w, "engines");
    jw_array(w);
    for (size_t i = 0; i < len; i++) {
        char path[PATH_MAX];
        struct err err = {0};
        bool is_found = engine_find(engines[i].name, NULL, path, sizeof path, &err) == ERR_OK;
        jw_object(w);
        jw_kv_c(w, "name", engines[i].name);
        jw_kv_c(w, "version", engines[i].version);
        jw_kv_bool(w, "installed", is_found);
        if (is_found)
            jw_kv_c(w, "path", path);
        jw_object_end(w);
    }
    jw_array_end(w);
}

static void features_json(struct json_writer *w)
{
    struct platform p;
    look(&p);
    jw_kv_c(w, "system", p.system.sysname);
    jw_kv_c(w, "kernel", p.system.release);
    jw_kv_c(w, "machine", p.system.machine);
    jw_kv_c(w, "libc", gnu_get_libc_version());
    jw_kv_i64(w, "cores", p.cores);
    jw_kv_c(w, "sandbox", p.sandbox);
    jw_kv_c(w, "backends", backend_names());
    engines_json(w);
    jw_key(w, "limits");
    jw_object(w);
    jw_kv_i64(w, "models", CONFIG_MODELS_MAX);
    jw_kv_i64(w, "tensors", MODEL_TENSORS_MAX);
    jw_kv_i64(w, "dimensions", TENSOR_DIMS_MAX);
    jw_kv_i64(w, "addresses", CONFIG_LISTEN_MAX);
    jw_object_end(w);
}

int cmd_version(const struct args *a, master_run_fn *run)
{
    (void)run;
    struct buf out;
    bool has_features = args_has(a, "features");
    buf_init(&out, CLI_OUTPUT_MAX);
    if (args_has(a, "json")) {
        struct json_writer w;
        jw_init(&w, &out);
        jw_object(&w);
        jw_kv_c(&w, "version", QUERN_VERSION);
        if (has_features)
            features_json(&w);
        jw_object_end(&w);
        buf_char(&out, '\n');
    } else {
        buf_printf(&out, "quern %s\n", QUERN_VERSION);
        if (has_features)
            features_people(&out);
    }
    return cli_print(&out);
}
