/* quern engine install: the platform's own package client fetches the pinned wheel and checks its hash; the library is taken out, checked again,
 * tried, and moved into place whole. Nothing runs through a shell, nothing of the wheel is executed. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "model/engine_int.h"
#include "sys/fd.h"

#define PATH_SIZE 1280

struct install {
    const struct engine_pin *pin;
    char base[1024];       /* where engines lie */
    char tmp[PATH_SIZE];   /* work folder beside the target, so that rename works */
    char wheel[PATH_SIZE]; /* the fetched file */
    char lib[PATH_SIZE];   /* the library as unpacked */
};

static enum err_code join(char *out, size_t out_size, const char *a, const char *b, struct err *err)
{
    int n = snprintf(out, out_size, "%s/%s", a, b);
    if (n < 0 || (size_t)n >= out_size)
        return err_set(err, ERR_INVALID, "the path %s is too long", a);
    return ERR_OK;
}

static void say(const struct install *in, const char *text)
{
    (void)fprintf(stderr, "%s %s: %s\n", in->pin->info.name, in->pin->info.version, text);
}

/* Runs python3 with the given arguments; its output goes to our standard error, so that pip's progress is seen. */
static enum err_code run_python(const char *const *argv, const char *what, struct err *err)
{
    posix_spawn_file_actions_t actions;
    if (posix_spawn_file_actions_init(&actions) != 0)
        return err_set(err, ERR_IO, "cannot start python3");
    (void)posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    (void)posix_spawn_file_actions_adddup2(&actions, 2, 1);
    pid_t pid;
    int e = posix_spawnp(&pid, argv[0], &actions, NULL, (char *const *)(uintptr_t)argv, environ);
    (void)posix_spawn_file_actions_destroy(&actions);
    if (e != 0) {
        (void)err_sys(err, ERR_NOT_FOUND, e, "cannot start %s, which is needed to %s", argv[0], what);
        return err_remedy(err, "run: apt-get install python3-pip");
    }
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return ERR_OK;
    return err_set(err, ERR_IO, "python3 could not %s (%s %d)", what, WIFSIGNALED(status) ? "signal" : "exit status",
                   WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

static enum err_code check_pip(struct err *err)
{
    static const char *const argv[] = {"python3", "-m", "pip", "--version", NULL};
    enum err_code code = run_python(argv, "find pip", err);
    if (code != ERR_IO)
        return code;
    (void)err_set(err, ERR_NOT_FOUND, "python3 has no pip, which fetches the engine");
    return err_remedy(err, "run: apt-get install python3-pip");
}

static enum err_code fetch(struct install *in, struct err *err)
{
    const struct engine_pin *pin = in->pin;
    char list[PATH_SIZE], line[256];
    enum err_code code = join(list, sizeof list, in->tmp, "requirements.txt", err);
    if (code != ERR_OK)
        return code;
    (void)snprintf(line, sizeof line, "%s==%s --hash=sha256:%s\n", pin->package, pin->info.version,
                   pin->build->wheel_sha256);
    code = file_replace(list, str_c(line), false, err);
    if (code != ERR_OK)
        return code;
    /* The Python version names the wheel that is pinned, not the Python that runs pip. */
    const char *const argv[] = {"python3",
                                "-m",
                                "pip",
                                "download",
                                "--no-deps",
                                "--only-binary=:all:",
                                "--disable-pip-version-check",
                                "--require-hashes",
                                "--platform",
                                pin->build->wheel_platform,
                                "--python-version",
                                "3.11",
                                "--implementation",
                                "cp",
                                "--abi",
                                "cp311",
                                "-d",
                                in->tmp,
                                "-r",
                                list,
                                NULL};
    code = run_python(argv, "fetch the package", err);
    if (code != ERR_OK)
        (void)err_remedy(
            err, "read pip's message above: a network, a proxy (HTTPS_PROXY) or an index (pip config) may be missing");
    return code;
}

static enum err_code unpack(struct install *in, struct err *err)
{
    int n = snprintf(in->wheel, sizeof in->wheel, "%s/%s-%s-cp311-cp311-%s.whl", in->tmp, in->pin->package,
                     in->pin->info.version, in->pin->build->wheel_platform);
    if (n < 0 || (size_t)n >= sizeof in->wheel)
        return err_set(err, ERR_INVALID, "the path %s is too long", in->tmp);
    const char *const argv[] = {"python3", "-m", "zipfile", "-e", in->wheel, in->tmp, NULL};
    enum err_code code = run_python(argv, "unpack the package", err);
    if (code == ERR_OK)
        code = join(in->lib, sizeof in->lib, in->tmp, in->pin->lib_in_wheel, err);
    return code;
}

static enum err_code check_lib(struct install *in, struct err *err)
{
    char hex[65];
    enum err_code code = engine_file_sha256(in->lib, hex, err);
    if (code != ERR_OK)
        return code;
    if (strcmp(hex, in->pin->build->lib_sha256) != 0)
        return err_set(err, ERR_REJECTED, "the library in the package has the SHA-256 %s, not the pinned one", hex);
    return engine_trial_load(in->pin, in->lib, err);
}

/* The new version folder is made aside and renamed: whoever looks sees none or a whole one. */
static enum err_code move_in(struct install *in, struct err *err)
{
    char stage[PATH_SIZE], lib[PATH_SIZE], sum[PATH_SIZE], family[PATH_SIZE], target[PATH_SIZE], text[256];
    enum err_code code = join(stage, sizeof stage, in->tmp, "stage", err);
    if (code == ERR_OK)
        code = dir_make(stage, 0755, err);
    if (code == ERR_OK)
        code = join(lib, sizeof lib, stage, in->pin->lib_name, err);
    if (code == ERR_OK)
        code = join(sum, sizeof sum, stage, "SHA256", err);
    if (code == ERR_OK)
        code = join(family, sizeof family, in->base, in->pin->info.name, err);
    if (code == ERR_OK)
        code = join(target, sizeof target, family, in->pin->info.version, err);
    if (code == ERR_OK)
        code = dir_make(family, 0755, err);
    if (code != ERR_OK)
        return code;
    (void)snprintf(text, sizeof text, "%s  %s\n", in->pin->build->lib_sha256, in->pin->lib_name);
    code = file_replace(sum, str_c(text), true, err);
    if (code != ERR_OK)
        return code;
    if (rename(in->lib, lib) < 0 || chmod(lib, 0755) < 0)
        return err_sys(err, ERR_IO, errno, "cannot move %s to %s", in->lib, lib);
    if (rename(stage, target) == 0)
        return ERR_OK;
    if (errno != ENOTEMPTY && errno != EEXIST)
        return err_sys(err, ERR_IO, errno, "cannot move the engine to %s", target);
    /* A folder is there, but its library did not pass: replace the file. */
    char old[PATH_SIZE];
    code = join(old, sizeof old, target, in->pin->lib_name, err);
    if (code == ERR_OK && rename(lib, old) < 0)
        code = err_sys(err, ERR_IO, errno, "cannot replace %s", old);
    return code;
}

static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st;
    (void)kind;
    (void)at;
    return remove(path);
}

static enum err_code install_locked(struct install *in, struct err *err)
{
    char lib[PATH_SIZE];
    char hex[65];
    /* Another process may have installed it while this one waited, or it was there all along. */
    if (engine_find(in->pin->info.name, in->base, lib, sizeof lib, err) == ERR_OK &&
        engine_file_sha256(lib, hex, err) == ERR_OK && strcmp(hex, in->pin->build->lib_sha256) == 0) {
        say(in, "is installed already");
        return ERR_OK;
    }
    *err = (struct err){.code = ERR_OK};
    enum err_code code = join(in->tmp, sizeof in->tmp, in->base, ".install-XXXXXX", err);
    if (code != ERR_OK)
        return code;
    if (mkdtemp(in->tmp) == NULL)
        return err_sys(err, ERR_IO, errno, "cannot make a folder in %s", in->base);
    (void)fprintf(stderr, "%s %s: fetching with pip (%u MB)\n", in->pin->info.name, in->pin->info.version,
                  in->pin->wheel_megabytes);
    code = check_pip(err);
    if (code == ERR_OK)
        code = fetch(in, err);
    if (code == ERR_OK) {
        say(in, "unpacking");
        code = unpack(in, err);
    }
    if (code == ERR_OK) {
        say(in, "checking");
        code = check_lib(in, err);
    }
    if (code == ERR_OK)
        code = move_in(in, err);
    (void)nftw(in->tmp, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    if (code == ERR_OK)
        (void)fprintf(stderr, "%s %s: installed in %s\n", in->pin->info.name, in->pin->info.version, in->base);
    return code;
}

enum err_code engine_install(const char *name, struct err *err)
{
    struct install in = {.pin = engine_pin(name, err)};
    if (in.pin == NULL)
        return err->code;
    if (in.pin->build == NULL)
        return err_set(err, ERR_UNSUPPORTED, "no build of %s is published for this machine", name);
    enum err_code code = engine_user_dir(in.base, sizeof in.base, err);
    char lock_path[PATH_SIZE];
    if (code == ERR_OK)
        code = join(lock_path, sizeof lock_path, in.base, ".lock", err);
    if (code != ERR_OK)
        return code;
    AUTO_FD lock = -1;
    code = file_lock(lock_path, &lock, err);
    if (code == ERR_CONFLICT)
        (void)err_remedy(err, "another installation is running; wait for it to end");
    if (code != ERR_OK)
        return code;
    return install_locked(&in, err);
}
