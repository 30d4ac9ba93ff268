#include "serve/client_shm.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "base/map.h"
#include "sys/fd.h"

#define SHM_FOLDER "/dev/shm"
#define NAME_F(s)  (int)((s).n < 100 ? (s).n : 100), (s).p /* for "%.*s" of a stranger's text */

struct region {
    uint64_t id, offset, bytes;
    int fd;
    int refs; /* one of the table */
    bool is_writable;
    char key[CLIENT_SHM_NAME_MAX + 2];
};

static struct {
    pthread_mutex_t lock;
    struct map regions;
    bool is_ready;
    uint64_t last_id, bytes;
} table = {.lock = PTHREAD_MUTEX_INITIALIZER};
static atomic_bool allowed;

void client_shm_allow(bool is_allowed)
{
    atomic_store(&allowed, is_allowed);
}

bool client_shm_is_allowed(void)
{
    return atomic_load(&allowed);
}

static void lock_table(void)
{
    pthread_mutex_lock(&table.lock);
    if (!table.is_ready)
        map_init(&table.regions, CLIENT_SHM_REGIONS_MAX);
    table.is_ready = true;
}

static void unref_locked(struct region *r)
{
    if (--r->refs > 0)
        return;
    (void)fd_close(r->fd);
    free(r);
}

/* ---- registering ---- */

/* A key is a name in /dev/shm and nothing else: no path, no way out of the folder. */
static bool key_is_sane(struct str key)
{
    return key.n > 0 && key.n <= CLIENT_SHM_NAME_MAX && str_chr(key, '/') < 0 && str_chr(key, '\0') < 0 &&
           key.p[0] != '.';
}

static int open_key(const char *key)
{
    int folder = open(SHM_FOLDER, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int flags = O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK; /* no link, and no waiting should it be a pipe */
    int fd = folder < 0 ? -1 : openat(folder, key, O_RDWR | flags);
    if (fd < 0 && folder >= 0 && errno == EACCES)
        fd = openat(folder, key, O_RDONLY | flags); /* good for inputs */
    (void)fd_close(folder);
    return fd;
}

/* One text for "is not there" and "is not yours": whoever asks learns nothing about the memory of others. */
static enum err_code open_region(struct region *r, struct str key, struct err *err)
{
    struct stat st;
    struct str bare = key.n > 0 && key.p[0] == '/' ? str_sub(key, 1, key.n) : key;
    if (!key_is_sane(bare))
        return err_set(err, ERR_INVALID, "the key of a shared memory region is a name of 1 to %d bytes, without '/'",
                       CLIENT_SHM_NAME_MAX);
    (void)str_copy(r->key, sizeof r->key, bare);
    r->fd = open_key(r->key);
    (void)str_copy(r->key, sizeof r->key, key); /* as the client wrote it, for the status */
    if (r->fd < 0 || fstat(r->fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        err_set(err, ERR_INVALID, "Unable to open shared memory region: '%.*s'", STR_F(key));
        return err_remedy(err, "create it with shm_open on this machine, readable for the user that quern runs as");
    }
    if (r->offset > (uint64_t)st.st_size || r->bytes > (uint64_t)st.st_size - r->offset)
        return err_set(err, ERR_INVALID, "Invalid offset + byte size for shared memory region: '%.*s' has %llu bytes",
                       STR_F(key), (unsigned long long)st.st_size);
    int mode = fcntl(r->fd, F_GETFL);
    r->is_writable = mode >= 0 && (mode & O_ACCMODE) == O_RDWR;
    return ERR_OK;
}

static enum err_code add_locked(struct str name, struct region *r, struct err *err)
{
    if (map_get(&table.regions, name)) {
        err_set(err, ERR_INVALID, "shared memory region '%.*s' already in manager", STR_F(name));
        return err_remedy(err, "unregister it first, or choose another name");
    }
    if (r->bytes > CLIENT_SHM_BYTES_MAX - table.bytes) {
        err_set(err, ERR_BUSY, "more than %llu GiB of shared memory are registered",
                (unsigned long long)(CLIENT_SHM_BYTES_MAX >> 30));
        return err_remedy(err, "unregister regions that are not used any more");
    }
    if (!map_put(&table.regions, name, r)) {
        err_set(err, ERR_BUSY, "more than %d shared memory regions are registered", CLIENT_SHM_REGIONS_MAX);
        return err_remedy(err, "unregister regions that are not used any more");
    }
    r->id = ++table.last_id;
    r->refs = 1;
    table.bytes += r->bytes;
    return ERR_OK;
}

enum err_code client_shm_register(struct str name, struct str key, uint64_t offset, uint64_t bytes, struct err *err)
{
    if (name.n == 0 || name.n > CLIENT_SHM_NAME_MAX)
        return err_set(err, ERR_INVALID, "the name of a shared memory region has 1 to %d bytes", CLIENT_SHM_NAME_MAX);
    if (bytes == 0)
        return err_set(err, ERR_INVALID, "byte_size of a shared memory region must be more than 0");
    struct region *r = calloc(1, sizeof *r);
    CHECK(r);
    *r = (struct region){.fd = -1, .offset = offset, .bytes = bytes};
    enum err_code code = open_region(r, key, err);
    if (code == ERR_OK) {
        lock_table();
        code = add_locked(name, r, err);
        pthread_mutex_unlock(&table.lock);
    }
    if (code) {
        (void)fd_close(r->fd);
        free(r);
    }
    return code;
}

void client_shm_unregister(struct str name)
{
    lock_table();
    struct region *r = map_take(&table.regions, name);
    if (r) {
        table.bytes -= r->bytes;
        unref_locked(r);
    }
    pthread_mutex_unlock(&table.lock);
}

void client_shm_unregister_all(void)
{
    struct str name;
    void *value;
    lock_table();
    for (size_t i = 0; map_next(&table.regions, &i, &name, &value);)
        unref_locked(value);
    map_done(&table.regions);
    map_init(&table.regions, CLIENT_SHM_REGIONS_MAX);
    table.bytes = 0;
    pthread_mutex_unlock(&table.lock);
}

/* ---- status ---- */

static void put_region(struct json_writer *w, struct str name, const struct region *r)
{
    jw_object(w);
    jw_kv_str(w, "name", name);
    jw_kv_c(w, "key", r->key);
    jw_kv_u64(w, "offset", r->offset);
    jw_kv_u64(w, "byte_size", r->bytes);
    jw_object_end(w);
}

enum err_code client_shm_status(struct str name, struct json_writer *w, struct err *err)
{
    struct str each;
    void *value;
    lock_table();
    const struct region *one = name.p ? map_get(&table.regions, name) : NULL;
    if (!name.p || one)
        jw_array(w);
    if (one)
        put_region(w, name, one);
    for (size_t i = 0; !name.p && map_next(&table.regions, &i, &each, &value);)
        put_region(w, each, value);
    if (!name.p || one)
        jw_array_end(w);
    pthread_mutex_unlock(&table.lock);
    if (name.p && !one)
        return err_set(err, ERR_NOT_FOUND, "Unable to find system shared memory region: '%.*s'", NAME_F(name));
    return ERR_OK;
}

/* ---- bytes ---- */

static enum err_code not_found(struct str name, struct err *err)
{
    err_set(err, ERR_INVALID, "Unable to find shared memory region: '%.*s'", NAME_F(name));
    return err_remedy(err, "register it first; a restart of the server's edge forgets regions");
}

enum err_code client_shm_find(struct client_shm_part *p, struct err *err)
{
    enum err_code code = ERR_OK;
    lock_table();
    const struct region *r = map_get(&table.regions, p->name);
    if (!r)
        code = not_found(p->name, err);
    else if (p->offset > r->bytes || p->bytes > r->bytes - p->offset)
        code = err_set(err, ERR_INVALID,
                       "Invalid offset + byte size for shared memory region: '%.*s' was registered with %llu bytes",
                       NAME_F(p->name), (unsigned long long)r->bytes);
    else
        p->id = r->id;
    pthread_mutex_unlock(&table.lock);
    return code;
}

/* A reference, so that the descriptor stays open while bytes move. */
static struct region *take(const struct client_shm_part *p, struct err *err)
{
    lock_table();
    struct region *r = map_get(&table.regions, p->name);
    if (r && r->id == p->id)
        r->refs++;
    else
        r = NULL;
    pthread_mutex_unlock(&table.lock);
    if (!r)
        (void)not_found(p->name, err);
    return r;
}

static void give(struct region *r)
{
    lock_table();
    unref_locked(r);
    pthread_mutex_unlock(&table.lock);
}

static enum err_code shrunk(const struct client_shm_part *p, struct err *err)
{
    err_set(err, ERR_INVALID, "shared memory region '%.*s' is smaller than it was when it was registered",
            NAME_F(p->name));
    return err_remedy(err, "unregister it, and register it again with its new size");
}

enum err_code client_shm_read(const struct client_shm_part *p, void *out, size_t n, struct err *err)
{
    CHECK(n <= p->bytes);
    struct region *r = take(p, err);
    if (!r)
        return err->code;
    enum err_code code = ERR_OK;
    for (size_t done = 0; done < n && code == ERR_OK;) {
        ssize_t got = pread(r->fd, (char *)out + done, n - done, (off_t)(r->offset + p->offset + done));
        if (got > 0)
            done += (size_t)got;
        else if (got == 0)
            code = shrunk(p, err);
        else if (errno != EINTR)
            code = err_sys(err, ERR_INVALID, errno, "cannot read shared memory region '%.*s'", NAME_F(p->name));
    }
    give(r);
    return code;
}

/* Writing behind the end would grow what the client has made smaller: looked at before. Should it shrink in between, it grows again, to no more
 * than was registered. */
static enum err_code check_size(const struct region *r, const struct client_shm_part *p, size_t n, struct err *err)
{
    struct stat st;
    if (!r->is_writable) {
        err_set(err, ERR_INVALID, "shared memory region '%.*s' may only be read by this server", NAME_F(p->name));
        return err_remedy(err, "make it writable for the user that quern runs as, and register it again");
    }
    if (fstat(r->fd, &st) != 0 || (uint64_t)st.st_size < r->offset + p->offset + n)
        return shrunk(p, err);
    return ERR_OK;
}

enum err_code client_shm_write(const struct client_shm_part *p, const void *bytes, size_t n, struct err *err)
{
    CHECK(n <= p->bytes);
    struct region *r = take(p, err);
    if (!r)
        return err->code;
    enum err_code code = check_size(r, p, n, err);
    for (size_t done = 0; done < n && code == ERR_OK;) {
        ssize_t put = pwrite(r->fd, (const char *)bytes + done, n - done, (off_t)(r->offset + p->offset + done));
        if (put > 0)
            done += (size_t)put;
        else if (put == 0 || errno != EINTR)
            code = err_sys(err, ERR_INVALID, put == 0 ? ENOSPC : errno, "cannot write shared memory region '%.*s'",
                           NAME_F(p->name));
    }
    give(r);
    return code;
}
