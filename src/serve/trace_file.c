#include "serve/trace_file.h"

#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "sys/fd.h"

#define NAME_BYTES     64
#define NAMES_MAX      4096     /* of a folder that somebody else filled */
#define WRITE_EVERY_NS NS_PER_S /* a file that grows */
#define IDLE_NS        (3600 * NS_PER_S)
#define TELL_DROPPED   (10 * NS_PER_S)

struct item {
    struct item *next;
    struct buf text;
    uint64_t frequency;
};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct item *first, *last;
    size_t pending_bytes;
    uint64_t dropped;
    bool has_thread;
    bool is_idle;    /* all that came is in a file */
    bool is_hurried; /* somebody waits for that */
    char folder[600], name[NAME_BYTES];
} queue = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER, .is_idle = true};

/* ---- the writer's thread ---- */

/* The file in work: all of it is kept, and replaces what is on the disk. Half a file is never seen, and after any death there is a whole one. */
struct file {
    struct buf text; /* empty: no file */
    char name[NAME_BYTES];
    uint64_t traces, seq;
    bool is_dirty;
    uint64_t written_ns;
};

/* For pthread_cond_timedwait, which takes wall time. */
static struct timespec later(uint64_t ns)
{
    uint64_t ms = clock_wall_ms() + ns / NS_PER_MS + 1;
    return (struct timespec){.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};
}

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

static bool is_ours(const char *name)
{
    size_t n = strlen(name);
    return n > 5 && n < NAME_BYTES && name[0] >= '0' && name[0] <= '9' && strcmp(name + n - 5, ".json") == 0;
}

/* Names begin with the time, so that their order is that of age. */
static void remove_oldest(void)
{
    DIR *d = opendir(queue.folder);
    char(*names)[NAME_BYTES] = malloc(NAMES_MAX * sizeof *names);
    size_t n = 0;
    CHECK(names);
    for (struct dirent *e; d && n < NAMES_MAX && (e = readdir(d)) != NULL;)
        if (is_ours(e->d_name))
            (void)str_copy(names[n++], NAME_BYTES, str_c(e->d_name));
    if (n > 0)
        qsort(names, n, sizeof *names, by_name);
    for (size_t i = 0; d && i + TRACE_FILES_MAX <= n; i++)
        (void)unlinkat(dirfd(d), names[i], 0); /* one that stays is tried again with the next file */
    free(names);
    if (d)
        (void)closedir(d);
}

static void begin_file(struct file *f)
{
    (void)snprintf(f->name, sizeof f->name, "%013llu-%06llu.json", (unsigned long long)clock_wall_ms(),
                   (unsigned long long)++f->seq);
    f->traces = 0;
    buf_c(&f->text, "[\n");
}

static void end_file(struct file *f)
{
    buf_clear(&f->text);
    f->traces = 0;
    f->is_dirty = false;
}

static void write_file(struct file *f)
{
    char path[700];
    struct err err = {0};
    size_t len = f->text.len;
    f->is_dirty = false;
    f->written_ns = clock_now_ns();
    (void)snprintf(path, sizeof path, "%s/%s", queue.folder, f->name);
    if (access(path, F_OK) != 0)
        remove_oldest();
    buf_c(&f->text, "\n]\n");
    CHECK(!f->text.failed);
    if (dir_make(queue.folder, 0700, &err) || file_replace(path, buf_view(&f->text), false, &err))
        LOG_WARN("traces could not be written", LOG_S("error", err.text), LOG_S("remedy", err.remedy));
    f->text.len = len;
    pthread_mutex_lock(&queue.lock);
    (void)str_copy(queue.name, sizeof queue.name, str_c(f->name));
    pthread_mutex_unlock(&queue.lock);
}

static void take_item(struct file *f, const struct item *i)
{
    if (f->text.len == 0)
        begin_file(f);
    if (f->traces++ > 0)
        buf_c(&f->text, ",\n");
    buf_str(&f->text, buf_view(&i->text));
    f->is_dirty = true;
    if (f->text.len < TRACE_FILE_BYTES && (i->frequency == 0 || f->traces < i->frequency))
        return;
    write_file(f);
    end_file(f);
}

static void tell_dropped(uint64_t *told_ns)
{
    uint64_t now = clock_now_ns();
    pthread_mutex_lock(&queue.lock);
    uint64_t n = now - *told_ns > TELL_DROPPED ? queue.dropped : 0;
    queue.dropped -= n;
    pthread_mutex_unlock(&queue.lock);
    if (n == 0)
        return;
    *told_ns = now;
    LOG_WARN("traces were dropped: they come faster than they can be written", LOG_U("traces", n));
}

/* Until something came, or what came before is to be written. NULL: it is. */
static struct item *next_item(const struct file *f)
{
    struct item *i;
    pthread_mutex_lock(&queue.lock);
    queue.is_idle = !queue.first && !f->is_dirty;
    (void)pthread_cond_broadcast(&queue.changed); /* drain waits for this */
    int code = 0;
    while (!queue.first && code == 0 && !(f->is_dirty && queue.is_hurried)) {
        uint64_t passed = clock_now_ns() - f->written_ns;
        if (f->is_dirty && passed >= WRITE_EVERY_NS)
            break;
        struct timespec at = later(f->is_dirty ? WRITE_EVERY_NS - passed : IDLE_NS);
        code = pthread_cond_timedwait(&queue.changed, &queue.lock, &at);
    }
    i = queue.first;
    if (i) {
        queue.first = i->next;
        queue.last = queue.first ? queue.last : NULL;
        queue.pending_bytes -= i->text.cap;
    }
    pthread_mutex_unlock(&queue.lock);
    return i;
}

static _Noreturn void *write_all(void *arg)
{
    struct file f = {0};
    uint64_t told_ns = 0;
    (void)arg;
    (void)prctl(PR_SET_NAME, "quern-traces");
    buf_init(&f.text, TRACE_FILE_BYTES + TRACE_PENDING_BYTES);
    for (;;) {
        struct item *i = next_item(&f);
        if (i) {
            take_item(&f, i);
            buf_done(&i->text);
            free(i);
        }
        if (f.is_dirty && (!i || clock_now_ns() - f.written_ns >= WRITE_EVERY_NS))
            write_file(&f);
        tell_dropped(&told_ns);
    }
}

/* ---- for the others ---- */

void trace_file_open(const char *data)
{
    (void)snprintf(queue.folder, sizeof queue.folder, "%s/traces", data);
}

static bool start_locked(void)
{
    pthread_t thread;
    if (!queue.has_thread)
        queue.has_thread = pthread_create(&thread, NULL, write_all, NULL) == 0 && pthread_detach(thread) == 0;
    return queue.has_thread;
}

void trace_file_put(struct buf *text, uint64_t frequency)
{
    struct item *i = calloc(1, sizeof *i);
    CHECK(i);
    *i = (struct item){.text = *text, .frequency = frequency};
    buf_init(text, 0);
    pthread_mutex_lock(&queue.lock);
    if (queue.folder[0] && queue.pending_bytes + i->text.cap <= TRACE_PENDING_BYTES && start_locked()) {
        if (queue.last)
            queue.last->next = i;
        else
            queue.first = i;
        queue.last = i;
        queue.pending_bytes += i->text.cap;
        queue.is_idle = false;
        i = NULL;
        (void)pthread_cond_broadcast(&queue.changed);
    } else {
        queue.dropped++;
    }
    pthread_mutex_unlock(&queue.lock);
    if (!i)
        return;
    buf_done(&i->text);
    free(i);
}

void trace_file_drain(uint64_t within_ns)
{
    struct timespec at = later(within_ns);
    int code = 0;
    pthread_mutex_lock(&queue.lock);
    queue.is_hurried = true;
    (void)pthread_cond_broadcast(&queue.changed);
    while (queue.has_thread && !queue.is_idle && code == 0)
        code = pthread_cond_timedwait(&queue.changed, &queue.lock, &at);
    queue.is_hurried = false;
    pthread_mutex_unlock(&queue.lock);
}

void trace_file_name(char *out, size_t out_size)
{
    pthread_mutex_lock(&queue.lock);
    (void)snprintf(out, out_size, "%s%s", queue.name[0] ? "traces/" : "", queue.name);
    pthread_mutex_unlock(&queue.lock);
}
