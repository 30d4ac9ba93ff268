/* The data directory: taken at the start, and again when somebody has removed it while quern ran. Serving does not need it, but operators do: status, crash reports and
 * the control socket lie in it, and its lock keeps a second quern away. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "app/master_int.h"
#include "base/clock.h"
#include "base/log.h"
#include "net/accept.h"
#include "sys/fd.h"

#define LOOK_NS (2 * NS_PER_S)

static void path_in(const struct master *m, const char *name, char *path, size_t size)
{
    (void)snprintf(path, size, "%s%s", m->snapshot->config.data, name);
}

enum err_code folder_take(struct master *m, struct err *err)
{
    char path[4200];
    static const char *const names[] = {"", "/run", "/crashes"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        path_in(m, names[i], path, sizeof path);
        if (dir_make(path, 0750, err)) {
            err_wrap(err, "data directory");
            return err_remedy(err, "choose another one with --data DIR, or make this one writable");
        }
    }
    path_in(m, "/run/lock", path, sizeof path);
    int fd = -1;
    enum err_code code = file_lock(path, &fd, err);
    if (code == ERR_CONFLICT) {
        err_set(err, ERR_CONFLICT, "another quern uses the data directory %s", m->snapshot->config.data);
        return err_remedy(err, "stop it (quern status shows it), or give this one its own: --data DIR");
    }
    if (code)
        return code;
    (void)fd_close(m->lock_fd);
    m->lock_fd = fd;
    return ERR_OK;
}

/* The same HTTP service, for the CLI and other roles. A path too long for a socket is no reason not to serve. */
int folder_listen(const struct master *m)
{
    char path[4200];
    struct err err = {0};
    int fd = -1;
    path_in(m, "/run/edge.sock", path, sizeof path);
    if (strlen(path) >= sizeof((struct sockaddr_un *)NULL)->sun_path)
        LOG_WARN("the data directory's path is too long for a control socket", LOG_S("path", path));
    else if (listen_unix(path, 0600, 128, &fd, &err))
        LOG_WARN("no control socket", LOG_S("error", err.text), LOG_S("remedy", err.remedy));
    return fd;
}

/* Whether the lock that we hold is the one that others find. */
bool folder_is_ours(const struct master *m)
{
    char path[4200];
    struct stat held, found;
    path_in(m, "/run/lock", path, sizeof path);
    return fstat(m->lock_fd, &held) == 0 && stat(path, &found) == 0 && held.st_dev == found.st_dev &&
           held.st_ino == found.st_ino;
}

/* The control socket's place in the list is kept: a new edge gets the new one, the edge that runs is told. */
static void listen_again(struct master *m)
{
    int fd = folder_listen(m);
    if (fd < 0)
        return;
    if (m->has_control)
        (void)fd_close(m->listen_fds[--m->listen_fds_len]);
    m->listen_fds[m->listen_fds_len++] = fd;
    m->has_control = true;
    child_send(m, &m->edge, CHANNEL_LISTEN, STR("{}"), &fd, 1);
}

void folder_tick(struct master *m, uint64_t now_ns)
{
    struct err err = {0};
    if (now_ns < m->next_folder_ns || m->stopping)
        return;
    m->next_folder_ns = now_ns + LOOK_NS;
    if (folder_is_ours(m)) {
        m->has_lost_folder = false;
        return;
    }
    bool is_new = !m->has_lost_folder;
    m->has_lost_folder = true;
    if (folder_take(m, &err)) {
        if (is_new)
            LOG_ERROR("the data directory is gone, and cannot be made again; serving goes on without status, crash "
                      "reports and control socket",
                      LOG_S("error", err.text), LOG_S("remedy", err.remedy));
        return;
    }
    m->has_lost_folder = false;
    LOG_WARN("the data directory was removed while quern ran, and has been made again",
             LOG_S("data", m->snapshot->config.data));
    listen_again(m);
    m->status_dirty = true;
}

/* Nothing of another quern's, should one have taken the place of ours. */
void folder_leave(struct master *m)
{
    char path[4200];
    if (!folder_is_ours(m))
        return;
    path_in(m, "/run/edge.sock", path, sizeof path);
    (void)unlink(path);
    overrides_clear(m);
}
