/* Damage of a compiled model: found whatever is hit, and the next one that loads is right. */
#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "model/backends/onnx/onnx_int.h"
#include "onnx_rig.h"
#include "t.h"

#define SIDE ((size_t)300)

static unsigned char room[BACKEND_READING_BYTES];

/* A folder for compiled models in which there is one, and a path below it. */
struct entry {
    const char *cache;
    char model[600];
    char folder[600], file[700];
};

static void find(struct entry *e)
{
    DIR *d = opendir(e->cache);
    int n = 0;
    for (struct dirent *f; d && (f = readdir(d)) != NULL;) {
        if (f->d_name[0] == '.')
            continue;
        n++;
        (void)snprintf(e->folder, sizeof e->folder, "%s/%s", e->cache, f->d_name);
    }
    (void)closedir(d);
    EXPECT_EQ(n, 1);
}

static const char *in(struct entry *e, const char *name)
{
    (void)snprintf(e->file, sizeof e->file, "%s/%s", e->folder, name);
    return e->file;
}

/* Compiled and in use. */
static void begin(struct entry *e, struct rig *r)
{
    rig_need_engine();
    e->cache = t_tmpdir();
    (void)snprintf(e->model, sizeof e->model, "%s/m.onnx", t_tmpdir());
    rig_write_matrix(e->model, SIDE);
    EXPECT_EQ(rig_load_cached(r, e->model, e->cache), ERR_OK);
    find(e);
}

static void flip(const char *path, off_t at, int bit)
{
    unsigned char byte;
    int fd = open(path, O_RDWR);
    EXPECT_EQ(pread(fd, &byte, 1, at), 1);
    byte ^= (unsigned char)(1 << bit);
    EXPECT_EQ(pwrite(fd, &byte, 1, at), 1);
    EXPECT_EQ(close(fd), 0);
}

static off_t size_of(const char *path)
{
    struct stat st;
    EXPECT_EQ(stat(path, &st), 0);
    return st.st_size;
}

/* A high bit of the exponent of some of the numbers, so that answers are wrong. */
static void spoil_weights(struct entry *e)
{
    off_t size = size_of(in(e, "weights"));
    for (off_t at = 3; at < size; at += 256)
        flip(e->file, at, 6);
}

struct steps {
    int taken, allowed; /* -1: any number */
};

static bool go_on(void *arg)
{
    struct steps *s = arg;
    s->taken++;
    return s->allowed < 0 || s->taken <= s->allowed;
}

static enum backend_state check(struct rig *r, struct steps *s)
{
    r->err = (struct err){0};
    return r->b->kept->check(r->instance, &(struct backend_reading){.room = room, .go_on = go_on, .arg = s}, &r->err);
}

static bool is_due(const struct rig *r)
{
    return r->b->kept->is_due(r->instance);
}

/* Of all columns. */
static float answer(struct rig *r)
{
    static float x[SIDE];
    float sum = 0;
    for (size_t i = 0; i < SIDE; i++)
        x[i] = (float)(i % 7) - 3;
    r->run.in_len = 0;
    rig_in(r, DT_FP32, x, sizeof x, 2, (int64_t[]){1, SIDE});
    EXPECT_EQ(rig_run(r), ERR_OK);
    for (size_t i = 0; i < SIDE; i++)
        sum += (float)(i % 3) * ((const float *)r->out[0].data)[i];
    return sum;
}

TEST(what_is_whole_is_read_once)
{
    static struct rig r;
    struct entry e;
    struct steps s = {.allowed = -1};
    begin(&e, &r);
    EXPECT(r.b->kept->is_used(r.instance) && is_due(&r));
    EXPECT_EQ(check(&r, &s), BACKEND_WHOLE);
    EXPECT(s.taken > 0);
    EXPECT(!is_due(&r));
    EXPECT_EQ(chmod(in(&e, "weights"), 0640), 0); /* it has changed, the kernel says; not how */
    EXPECT(is_due(&r));
    EXPECT_EQ(check(&r, &s), BACKEND_WHOLE);
    EXPECT(!is_due(&r));
    rig_free(&r);
}

TEST_SLOW(every_flipped_bit_is_found, 60)
{
    static const char *const names[] = {"model.onnx", "weights"};
    static struct rig r;
    struct entry e;
    struct steps s = {.allowed = -1};
    begin(&e, &r);
    for (size_t n = 0; n < ARRAY_LEN(names); n++) {
        off_t size = size_of(in(&e, names[n]));
        for (int i = 0; i < 200; i++) {
            off_t at = i < 2 ? (i == 0 ? 0 : size - 1) : (off_t)((uint64_t)i * 2654435761u % (uint64_t)size);
            flip(e.file, at, i % 8);
            EXPECT_EQ(check(&r, &s), BACKEND_DAMAGED);
            EXPECT(r.err.text[0] && r.err.remedy[0]);
            EXPECT(is_due(&r));
            flip(e.file, at, i % 8);
        }
        EXPECT_EQ(check(&r, &s), BACKEND_WHOLE);
    }
    rig_free(&r);
}

TEST(what_is_damaged_is_discarded_and_made_anew)
{
    static struct rig r, second;
    struct entry e;
    struct steps s = {.allowed = -1};
    begin(&e, &r);
    float right = answer(&r);
    ino_t before;
    struct stat st;
    EXPECT_EQ(stat(in(&e, "weights"), &st), 0);
    before = st.st_ino;
    spoil_weights(&e);
    EXPECT(answer(&r) != right); /* else this shows nothing */
    EXPECT_EQ(check(&r, &s), BACKEND_DAMAGED);
    r.b->kept->discard(r.instance);
    EXPECT(access(e.folder, F_OK) < 0);
    EXPECT_EQ(rig_load_cached(&second, e.model, e.cache), ERR_OK);
    EXPECT_NEAR(answer(&second), right, 1e-6);
    EXPECT(stat(e.file, &st) == 0 && st.st_ino != before);
    EXPECT_EQ(check(&r, &s), BACKEND_DAMAGED); /* what it has mapped, not what now has the name */
    r.b->kept->discard(r.instance);
    EXPECT_EQ(access(e.file, F_OK), 0);
    EXPECT_EQ(check(&second, &s), BACKEND_WHOLE);
    rig_free(&second);
    rig_free(&r);
}

TEST(a_check_is_for_all_that_began_before_it)
{
    static struct rig first, second, third;
    struct entry e;
    struct steps s = {.allowed = -1};
    begin(&e, &first);
    EXPECT_EQ(rig_load_cached(&second, e.model, e.cache), ERR_OK);
    (void)usleep(50000);
    EXPECT_EQ(check(&first, &s), BACKEND_WHOLE);
    s.taken = 0;
    EXPECT_EQ(check(&second, &s), BACKEND_WHOLE);
    EXPECT_EQ(s.taken, 0);
    EXPECT(!is_due(&second));
    (void)usleep(50000);
    EXPECT_EQ(rig_load_cached(&third, e.model, e.cache), ERR_OK);
    EXPECT_EQ(check(&third, &s), BACKEND_WHOLE);
    EXPECT(s.taken > 0);
    flip(in(&e, "weights"), 5, 1); /* behind its back */
    s.taken = 0;
    EXPECT_EQ(check(&second, &s), BACKEND_DAMAGED);
    EXPECT(s.taken > 0);
    rig_free(&third);
    rig_free(&second);
    rig_free(&first);
}

TEST(one_waits_while_another_looks)
{
    static struct rig r;
    struct entry e;
    struct steps s = {.allowed = 7};
    begin(&e, &r);
    int theirs = open(in(&e, "sums"), O_RDONLY);
    EXPECT_EQ(flock(theirs, LOCK_EX), 0);
    EXPECT_EQ(check(&r, &s), BACKEND_UNREAD);
    EXPECT_EQ(r.err.code, ERR_CANCELLED);
    EXPECT_EQ(s.taken, 8);
    EXPECT(is_due(&r));
    EXPECT_EQ(close(theirs), 0); /* as by kill -9 */
    s = (struct steps){.allowed = -1};
    EXPECT_EQ(check(&r, &s), BACKEND_WHOLE);
    rig_free(&r);
}

TEST(a_check_that_is_stopped_or_cannot_read_says_nothing)
{
    static struct rig r;
    struct entry e;
    struct steps s = {.allowed = 0};
    begin(&e, &r);
    EXPECT_EQ(check(&r, &s), BACKEND_UNREAD);
    EXPECT_EQ(r.err.code, ERR_CANCELLED);
    EXPECT(is_due(&r));
    struct onnx_model *m = r.instance;
    int kept = dup(m->held.fds[SUMMED_WEIGHTS]), folder = open(e.folder, O_RDONLY | O_DIRECTORY);
    EXPECT_EQ(dup2(folder, m->held.fds[SUMMED_WEIGHTS]), m->held.fds[SUMMED_WEIGHTS]); /* reading it fails */
    s.allowed = -1;
    EXPECT_EQ(check(&r, &s), BACKEND_UNREAD);
    EXPECT_EQ(r.err.code, ERR_IO);
    EXPECT(is_due(&r));
    EXPECT_EQ(dup2(kept, m->held.fds[SUMMED_WEIGHTS]), m->held.fds[SUMMED_WEIGHTS]);
    EXPECT_EQ(check(&r, &s), BACKEND_WHOLE);
    EXPECT_EQ(close(kept) + close(folder), 0);
    rig_free(&r);
}

TEST(another_file_of_the_same_name_is_not_the_one_that_is_checked)
{
    static struct rig r;
    char other[700];
    struct entry e;
    struct steps s = {.allowed = -1};
    begin(&e, &r);
    (void)snprintf(other, sizeof other, "%s/other", e.folder);
    int fd = open(other, O_WRONLY | O_CREAT, 0600);
    EXPECT_EQ(ftruncate(fd, size_of(in(&e, "weights"))), 0);
    EXPECT_EQ(close(fd), 0);
    EXPECT_EQ(rename(other, e.file), 0); /* a file of zeros of the same size */
    struct onnx_model *m = r.instance;
    EXPECT(!onnx_held_is_named(&m->held, e.folder));
    EXPECT_EQ(check(&r, &s), BACKEND_WHOLE);
    rig_free(&r);
    EXPECT_EQ(rig_load_cached(&r, e.model, e.cache), ERR_OK); /* nothing tells before it is read */
    EXPECT_EQ(check(&r, &s), BACKEND_DAMAGED);
    rig_free(&r);
}

/* Seen when it is opened, without reading it. */
TEST_SLOW(an_entry_that_is_not_whole_is_made_anew_at_once, 60)
{
    static const char *const names[] = {"model.onnx", "weights", "sums"};
    static struct rig r;
    struct entry e;
    struct steps s = {.allowed = -1};
    begin(&e, &r);
    float right = answer(&r);
    rig_free(&r);
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        for (int how = 0; how < 4; how++) {
            const char *file = in(&e, names[i]);
            off_t size = size_of(file);
            if (how == 0)
                EXPECT_EQ(unlink(file), 0);
            else
                EXPECT_EQ(truncate(file, how == 1 ? 0 : how == 2 ? size - 1 : size + 1), 0);
            EXPECT_EQ(rig_load_cached(&r, e.model, e.cache), ERR_OK);
            find(&e);
            EXPECT_NEAR(answer(&r), right, 1e-6);
            EXPECT_EQ(check(&r, &s), BACKEND_WHOLE);
            rig_free(&r);
            EXPECT(i == 2 && how == 3 ? true : size_of(in(&e, names[i])) == size);
        }
    flip(in(&e, "sums"), 20, 3);
    EXPECT_EQ(rig_load_cached(&r, e.model, e.cache), ERR_OK);
    EXPECT_EQ(check(&r, &s), BACKEND_WHOLE);
    rig_free(&r);
}

TEST(checked_first_it_is_never_used_damaged)
{
    static struct rig r;
    struct entry e;
    struct steps s = {.allowed = -1};
    begin(&e, &r);
    float right = answer(&r);
    rig_free(&r);
    spoil_weights(&e);
    EXPECT_EQ(rig_load_checked(&r, e.model, e.cache), ERR_OK);
    EXPECT_NEAR(answer(&r), right, 1e-6);
    EXPECT_EQ(check(&r, &s), BACKEND_WHOLE);
    rig_free(&r);
    EXPECT_EQ(rig_load_checked(&r, e.model, e.cache), ERR_OK);
    EXPECT(!is_due(&r)); /* that was the check */
    rig_free(&r);
}

/* What the kernel makes of a file system that has errors. */
TEST(on_a_disk_that_is_read_only_it_is_checked_first)
{
    static struct rig r;
    struct entry e;
    struct steps s = {.allowed = -1};
    begin(&e, &r);
    float right = answer(&r);
    rig_free(&r);
    spoil_weights(&e);
    if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount(e.cache, e.cache, NULL, MS_BIND, NULL) < 0 ||
        mount(NULL, e.cache, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL) < 0)
        SKIP("mounting needs a privilege");
    EXPECT_EQ(rig_load_cached(&r, e.model, e.cache), ERR_OK);
    EXPECT_NEAR(answer(&r), right, 1e-6);
    EXPECT(!r.b->kept->is_used(r.instance)); /* from the model's own file */
    rig_free(&r);
    EXPECT_EQ(mount(NULL, e.cache, NULL, MS_BIND | MS_REMOUNT, NULL), 0);
    spoil_weights(&e);
    EXPECT_EQ(mount(NULL, e.cache, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL), 0);
    EXPECT_EQ(rig_load_cached(&r, e.model, e.cache), ERR_OK);
    EXPECT(r.b->kept->is_used(r.instance));
    EXPECT_NEAR(answer(&r), right, 1e-6);
    EXPECT_EQ(check(&r, &s), BACKEND_WHOLE);
    rig_free(&r);
}

TEST(a_model_that_is_not_kept_has_nothing_to_check)
{
    static struct rig r;
    rig_need_engine();
    EXPECT_EQ(rig_load(&r, "test/data/iris.onnx", NULL), ERR_OK);
    EXPECT(!r.b->kept->is_used(r.instance) && !is_due(&r));
    rig_free(&r);
}
