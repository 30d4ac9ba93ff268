#include "cli/tune_int.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "net/fetch.h"
#include "sys/fd.h"
#include "sys/spawn.h"

#define READY_NS       (120 * NS_PER_S)
#define STOP_NS        (10 * NS_PER_S)
#define FILE_BYTES_MAX ((size_t)64 << 10)

/* What the configuration says of the model beside what is tuned. */
static void put_known(const struct model_config *m, struct buf *out)
{
    struct json_writer w;
    const struct setting_text_pair *p = m->parameters.items;
    jw_init(&w, out);
    if (m->backend && m->path) {
        buf_c(out, "    backend: ");
        jw_c(&w, m->backend);
        buf_c(out, "\n");
    }
    if (m->parameters.len == 0)
        return;
    buf_c(out, "    parameters: ");
    jw_init(&w, out);
    jw_object(&w);
    for (size_t i = 0; i < m->parameters.len; i++)
        jw_kv_c(&w, p[i].name, p[i].value);
    jw_object_end(&w);
    buf_c(out, "\n");
}

void tune_put_model(const struct tune *x, const struct trial *t, struct buf *out)
{
    struct json_writer w; /* JSON's strings are YAML's */
    buf_c(out, "models:\n  tuned:\n    path: ");
    jw_init(&w, out);
    jw_c(&w, x->model);
    buf_c(out, "\n");
    if (x->known)
        put_known(x->known, out);
    buf_printf(out, "    instances: %d\n    threads: %d\n    max_batch: %d\n    batching: {delay: %lluus}\n",
               t->instances, t->threads, t->max_batch, (unsigned long long)t->delay_us);
}

enum err_code tune_server_start(struct tune *x, const struct trial *t)
{
    struct buf yaml;
    buf_init(&yaml, FILE_BYTES_MAX);
    buf_c(&yaml, "listen: 127.0.0.1:0\nlog: {level: error}\ndrain_timeout: 1s\n");
    tune_put_model(x, t, &yaml);
    const char *file = arena_printf(&x->arena, "%s/quern.yaml", x->dir).p;
    enum err_code code = file_replace(file, buf_view(&yaml), false, &x->err);
    buf_done(&yaml);
    if (code != ERR_OK)
        return code;
    const char *const argv[] = {"quern", "up", "-c", file, "--data", x->dir, NULL};
    AUTO_FD out = dup(STDOUT_FILENO); /* where the server listens concerns nobody; what goes wrong it logs */
    AUTO_FD nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    (void)dup2(nowhere, STDOUT_FILENO);
    code = spawn_child(&(struct spawn){.exe = "/proc/self/exe", .argv = argv}, &x->pid, &x->err);
    (void)dup2(out, STDOUT_FILENO);
    return code;
}

void tune_server_stop(struct tune *x)
{
    uint64_t end_ns = clock_now_ns() + STOP_NS;
    if (x->pid <= 0)
        return;
    (void)kill(x->pid, SIGTERM);
    while (waitpid(x->pid, NULL, WNOHANG) == 0) {
        if (clock_now_ns() > end_ns) {
            (void)kill(x->pid, SIGKILL);
            end_ns += STOP_NS;
        }
        (void)nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
    x->pid = 0;
}

static bool is_ready(const struct tune *x)
{
    struct fetch_response r;
    struct err err;
    char path[96];
    (void)snprintf(path, sizeof path, "%s/run/edge.sock", x->dir); /* fits */
    struct fetch_request q = {.unix_path = path, .path = "/v2/models/tuned/ready", .timeout_ns = NS_PER_S};
    if (fetch(&q, &r, &err) != ERR_OK)
        return false;
    bool ready = r.status == 200;
    fetch_done(&r);
    return ready;
}

enum err_code tune_server_wait(struct tune *x)
{
    uint64_t end_ns = clock_now_ns() + READY_NS;
    while (!is_ready(x)) {
        if (waitpid(x->pid, NULL, WNOHANG) != 0) {
            x->pid = 0;
            return err_set(&x->err, ERR_BACKEND, "the private server ended before the model was ready, see above");
        }
        if (tune_is_stopped || clock_now_ns() > end_ns)
            return err_set(&x->err, ERR_TIMEOUT,
                           tune_is_stopped ? "stopped" : "the model is not ready within 120 s, see above");
        (void)nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    return ERR_OK;
}
