#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "serve/segment.h"
#include "sys/fd.h"
#include "sys/shm.h"
#include "t.h"

static int make(uint32_t lanes, uint64_t in_cap, uint64_t out_cap)
{
    struct err err;
    int fd;
    if (segment_create(lanes, in_cap, out_cap, &fd, &err))
        FAIL("%s", err.text);
    return fd;
}

static struct segment_map open_side(int fd, enum segment_side side)
{
    struct err err;
    struct segment_map m;
    if (segment_open(fd, side, &m, &err))
        FAIL("%s", err.text);
    return m;
}

TEST(both_sides_see_the_same_memory)
{
    int fd = make(2, 8192, 4096);
    struct segment_map edge = open_side(fd, SEGMENT_EDGE), worker = open_side(fd, SEGMENT_WORKER);
    EXPECT(edge.in_rw == edge.in);
    EXPECT(worker.in_rw == NULL);
    EXPECT_EQ(edge.lanes, 2);
    EXPECT_EQ(worker.in_cap, 8192);
    EXPECT_EQ(worker.out_cap, 4096);
    for (uint32_t lane = 0; lane < 2; lane++) {
        for (uint32_t b = 0; b < LANE_BLOCKS; b++) {
            memset(segment_in(&edge, lane, b), (int)(lane * 100 + b), edge.in_cap);
            memset(segment_out(&worker, lane, b), (int)(lane * 100 + b + 50), edge.out_cap);
        }
    }
    for (uint32_t lane = 0; lane < 2; lane++) { /* no two areas overlap */
        for (uint32_t b = 0; b < LANE_BLOCKS; b++) {
            EXPECT_EQ(segment_in_ro(&worker, lane, b)[0], lane * 100 + b);
            EXPECT_EQ(segment_in_ro(&worker, lane, b)[worker.in_cap - 1], lane * 100 + b);
            EXPECT_EQ(segment_out(&edge, lane, b)[0], lane * 100 + b + 50);
            EXPECT_EQ(segment_out(&edge, lane, b)[edge.out_cap - 1], lane * 100 + b + 50);
        }
    }
    atomic_store(&worker.shm->lane[1].blocks[LANE_BLOCKS - 1].state, 77);
    EXPECT_EQ(atomic_load(&edge.shm->lane[1].blocks[LANE_BLOCKS - 1].state), 77);
    segment_close(&edge);
    segment_close(&worker);
    EXPECT(worker.shm == NULL);
    segment_close(&worker); /* again: nothing */
    (void)fd_close(fd);
}

TEST(sizes_are_rounded_to_pages)
{
    int fd = make(1, 1, 4097);
    struct segment_map m = open_side(fd, SEGMENT_EDGE);
    EXPECT_EQ(m.in_cap, 4096);
    EXPECT_EQ(m.out_cap, 8192);
    segment_close(&m);
    (void)fd_close(fd);
}

TEST(workers_cannot_write_inputs)
{
    int fd = make(1, 4096, 4096);
    struct segment_map worker = open_side(fd, SEGMENT_WORKER);
    pid_t pid = fork();
    if (pid == 0) {
        (void)signal(SIGSEGV, SIG_DFL); /* not the sanitizer's */
        *(volatile unsigned char *)(uintptr_t)segment_in_ro(&worker, 0, 3) = 1;
        _exit(0);
    }
    int status;
    EXPECT_EQ(waitpid(pid, &status, 0), pid);
    EXPECT(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
    segment_close(&worker);
    (void)fd_close(fd);
}

TEST(the_largest_segment_can_be_made)
{
    int fd = make(LANE_THREADS_MAX, 64u << 20, 64u << 20); /* sparse: costs nothing until touched */
    struct segment_map m = open_side(fd, SEGMENT_EDGE);
    segment_in(&m, LANE_THREADS_MAX - 1, LANE_BLOCKS - 1)[m.in_cap - 1] = 1;
    segment_out(&m, LANE_THREADS_MAX - 1, LANE_BLOCKS - 1)[m.out_cap - 1] = 1;
    segment_close(&m);
    (void)fd_close(fd);
}

TEST(too_many_lanes_are_a_programmers_error)
{
    EXPECT_ABORT((void)make(LANE_THREADS_MAX + 1, 4096, 4096));
    EXPECT_ABORT((void)make(0, 4096, 4096));
}

/* ---- headers that lie ---- */

static void refused(int fd)
{
    struct err err;
    struct segment_map m;
    EXPECT_EQ(segment_open(fd, SEGMENT_EDGE, &m, &err), ERR_INTERNAL);
    EXPECT(err.text[0] != '\0');
}

static struct segment_shm *head_of(int fd)
{
    struct err err;
    void *p;
    if (shm_map(fd, 0, 4096, true, &p, &err))
        FAIL("%s", err.text);
    return p;
}

TEST(wrong_headers_are_refused)
{
    int fd = make(2, 8192, 8192);
    struct segment_shm *h = head_of(fd);
#define SPOIL(field, value)                                                                                            \
    do {                                                                                                               \
        __typeof__(h->field) was = h->field;                                                                           \
        h->field = (value);                                                                                            \
        refused(fd);                                                                                                   \
        h->field = was;                                                                                                \
    } while (0)
    SPOIL(magic, 0);
    SPOIL(layout, SEGMENT_LAYOUT + 1);
    SPOIL(lanes, 0);
    SPOIL(lanes, 1);
    SPOIL(lanes, 3);
    SPOIL(lanes, LANE_THREADS_MAX + 1);
    SPOIL(lanes, UINT32_MAX);
    SPOIL(bytes, 4096);
    SPOIL(in_cap, 0);
    SPOIL(in_cap, 8191);
    SPOIL(in_cap, 4096);
    SPOIL(in_cap, UINT64_MAX - 4095);
    SPOIL(out_cap, 0);
    SPOIL(out_cap, UINT64_MAX);
    SPOIL(in_off, 0);
    SPOIL(out_off, 4096);
    SPOIL(control_bytes, UINT64_MAX);
#undef SPOIL
    struct segment_map good = open_side(fd, SEGMENT_WORKER);
    segment_close(&good);
    shm_unmap(h, 4096);
    (void)fd_close(fd);
}

TEST(files_of_another_size_are_refused)
{
    int fd = make(1, 4096, 4096);
    struct segment_shm *h = head_of(fd);
    off_t bytes = (off_t)h->bytes;
    shm_unmap(h, 4096);
    EXPECT_EQ(ftruncate(fd, bytes + 4096), 0);
    refused(fd);
    EXPECT_EQ(ftruncate(fd, bytes - 4096), 0);
    refused(fd);
    EXPECT_EQ(ftruncate(fd, 4096), 0);
    refused(fd);
    EXPECT_EQ(ftruncate(fd, 100), 0);
    refused(fd);
    EXPECT_EQ(ftruncate(fd, 0), 0);
    refused(fd);
    (void)fd_close(fd);
}

TEST(what_is_no_segment_is_refused)
{
    struct err err;
    struct segment_map m;
    int pipe_fds[2];
    EXPECT_EQ(pipe(pipe_fds), 0);
    EXPECT(segment_open(pipe_fds[0], SEGMENT_EDGE, &m, &err) != ERR_OK);
    EXPECT(segment_open(-1, SEGMENT_EDGE, &m, &err) != ERR_OK);
    (void)close(pipe_fds[0]);
    (void)close(pipe_fds[1]);
}

TEST(private_segments_have_one_lane)
{
    struct err err;
    struct segment_map m;
    EXPECT_EQ(segment_private(5000, 100, &m, &err), ERR_OK);
    EXPECT(m.is_private);
    EXPECT_EQ(m.lanes, 1);
    EXPECT_EQ(m.in_cap, 8192);
    memset(segment_in(&m, 0, LANE_BLOCKS - 1), 1, m.in_cap);
    memset(segment_out(&m, 0, LANE_BLOCKS - 1), 2, m.out_cap);
    EXPECT_EQ(segment_in(&m, 0, LANE_BLOCKS - 1)[m.in_cap - 1], 1);
    segment_close(&m);
    EXPECT(m.shm == NULL);
}
