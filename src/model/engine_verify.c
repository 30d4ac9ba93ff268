#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/hash.h"
#include "model/backends/onnx/ort_api.h"
#include "model/engine_int.h"
#include "sys/fd.h"

enum err_code engine_file_sha256(const char *path, char out_hex[65], struct err *err)
{
    AUTO_FD fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_sys(err, ERR_IO, errno, "cannot read %s", path);
    struct sha256 sum;
    sha256_init(&sum);
    static char part[65536];
    ssize_t n;
    while ((n = read(fd, part, sizeof part)) > 0)
        sha256_add(&sum, part, (size_t)n);
    if (n < 0)
        return err_sys(err, ERR_IO, errno, "cannot read %s", path);
    unsigned char bytes[32];
    sha256_end(&sum, bytes);
    sha256_hex(bytes, out_hex);
    return ERR_OK;
}

void engine_onnxruntime_tell(void *handle, char *out, size_t out_size)
{
    const struct ort_api_base *(*get_base)(void) = NULL;
    *(void **)&get_base = dlsym(handle, "OrtGetApiBase");
    if (get_base != NULL)
        (void)snprintf(out, out_size, "%s", get_base()->GetVersionString());
    else
        (void)snprintf(out, out_size, "! %s", dlerror());
}

/* In the child: the answer is the version, or "! why not". */
static void tell_version(const struct engine_pin *pin, const char *lib, int fd)
{
    char text[512];
    (void)setenv("ORT_DISABLE_TELEMETRY", "1", 1);
    void *handle = dlopen(lib, RTLD_NOW | RTLD_LOCAL);
    if (handle != NULL)
        pin->tell(handle, text, sizeof text);
    else
        (void)snprintf(text, sizeof text, "! %s", dlerror());
    (void)!write(fd, text, strlen(text));
    _exit(0);
}

enum err_code engine_trial_load(const struct engine_pin *pin, const char *lib, struct err *err)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0)
        return err_sys(err, ERR_IO, errno, "cannot make a pipe");
    AUTO_FD in = fds[0];
    pid_t pid = fork();
    if (pid == 0)
        tell_version(pin, lib, fds[1]);
    (void)fd_close(fds[1]);
    if (pid < 0)
        return err_sys(err, ERR_IO, errno, "cannot start a process");
    char text[512];
    size_t len = 0;
    for (ssize_t n; len < sizeof text - 1 && (n = read(in, text + len, sizeof text - 1 - len)) != 0;) {
        if (n < 0 && errno != EINTR)
            break;
        len += n > 0 ? (size_t)n : 0;
    }
    text[len] = 0;
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (WIFSIGNALED(status))
        return err_set(err, ERR_BACKEND, "%s crashed while loading (signal %d)", pin->lib_name, WTERMSIG(status));
    if (text[0] == '!')
        return err_set(err, ERR_BACKEND, "%s does not load:%.*s", pin->lib_name, 250, text + 1);
    if (strcmp(text, pin->info.version) != 0)
        return err_set(err, ERR_BACKEND, "%s says that it is version '%.40s', not %s", pin->lib_name, text,
                       pin->info.version);
    return ERR_OK;
}

enum err_code engine_verify(const char *name, struct buf *report, struct err *err)
{
    const struct engine_pin *pin = engine_pin(name, err);
    if (pin == NULL)
        return err->code;
    char path[1280], hex[65];
    enum err_code code = engine_find(name, NULL, path, sizeof path, err);
    if (code == ERR_OK)
        code = engine_file_sha256(path, hex, err);
    if (code != ERR_OK)
        return code;
    if (pin->build == NULL) {
        buf_printf(report, "%s %s: no hash is pinned for this machine\n", name, pin->info.version);
    } else if (strcmp(hex, pin->build->lib_sha256) != 0) {
        (void)err_set(err, ERR_REJECTED, "%s is not the file that was published: its SHA-256 is %s", path, hex);
        return err_remedy(err, "delete it and run: quern engine install %s", name);
    } else {
        buf_printf(report, "%s %s: SHA-256 matches the pinned one\n", name, pin->info.version);
    }
    code = engine_trial_load(pin, path, err);
    if (code == ERR_OK)
        buf_printf(report, "%s %s: loads and tells the right version (%s)\n", name, pin->info.version, path);
    return code;
}
