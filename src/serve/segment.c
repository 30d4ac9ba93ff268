#include "serve/segment.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/check.h"
#include "sys/fd.h"
#include "sys/shm.h"

#define PAGE 4096u

static uint64_t control_bytes(uint32_t lanes)
{
    return ROUND_UP(sizeof(struct segment_shm) + lanes * sizeof(struct lane_shm), PAGE);
}

static void init_header(struct segment_shm *s, uint32_t lanes, uint64_t in_cap, uint64_t out_cap)
{
    s->layout = SEGMENT_LAYOUT;
    s->lanes = lanes;
    s->in_cap = ROUND_UP(in_cap, PAGE);
    s->out_cap = ROUND_UP(out_cap, PAGE);
    s->control_bytes = control_bytes(lanes);
    s->in_off = s->control_bytes;
    s->out_off = s->in_off + (uint64_t)lanes * LANE_BLOCKS * s->in_cap;
    s->bytes = s->out_off + (uint64_t)lanes * LANE_BLOCKS * s->out_cap;
    s->magic = SEGMENT_MAGIC;
}

enum err_code segment_create(uint32_t lanes, uint64_t in_cap, uint64_t out_cap, int *out_fd, struct err *err)
{
    CHECK(lanes > 0 && lanes <= LANE_THREADS_MAX);
    struct segment_shm sizes = {0};
    init_header(&sizes, lanes, in_cap, out_cap);
    int fd;
    void *p;
    if (shm_create("quern-model", sizes.bytes, &fd, err))
        return err->code;
    if (shm_map(fd, 0, PAGE, true, &p, err)) {
        (void)fd_close(fd);
        return err->code;
    }
    init_header(p, lanes, in_cap, out_cap);
    shm_unmap(p, PAGE);
    *out_fd = fd;
    return ERR_OK;
}

static enum err_code check_header(const struct segment_shm *s, uint64_t file_bytes, struct err *err)
{
    struct segment_shm want = {0};
    bool is_sane = s->magic == SEGMENT_MAGIC && s->layout == SEGMENT_LAYOUT && s->lanes > 0 &&
                   s->lanes <= LANE_THREADS_MAX && s->in_cap > 0 && s->in_cap <= UINT32_MAX && s->out_cap > 0 &&
                   s->out_cap <= UINT32_MAX;
    if (is_sane)
        init_header(&want, s->lanes, s->in_cap, s->out_cap);
    if (!is_sane || s->bytes != want.bytes || file_bytes != want.bytes || s->in_off != want.in_off ||
        s->out_off != want.out_off)
        return err_set(err, ERR_INTERNAL, "shared memory of a model has a wrong header");
    return ERR_OK;
}

enum err_code segment_open(int fd, enum segment_side side, struct segment_map *out, struct err *err)
{
    struct stat st;
    void *head, *control = NULL, *in = NULL, *outs = NULL;
    if (fstat(fd, &st) < 0)
        return err_sys(err, ERR_IO, errno, "shared memory of a model");
    if (shm_map(fd, 0, PAGE, false, &head, err))
        return err->code;
    struct segment_shm h;
    memcpy(&h, head, offsetof(struct segment_shm, work));
    shm_unmap(head, PAGE);
    if (check_header(&h, (uint64_t)st.st_size, err))
        return err->code;
    bool is_edge = side == SEGMENT_EDGE;
    if (shm_map(fd, 0, h.control_bytes, true, &control, err) ||
        shm_map(fd, h.in_off, h.out_off - h.in_off, is_edge, &in, err) ||
        shm_map(fd, h.out_off, h.bytes - h.out_off, true, &outs, err)) {
        shm_unmap(control, h.control_bytes);
        shm_unmap(in, h.out_off - h.in_off);
        return err->code;
    }
    *out = (struct segment_map){.shm = control, .in = in, .in_rw = is_edge ? in : NULL, .out = outs};
    return ERR_OK;
}

enum err_code segment_private(uint64_t in_cap, uint64_t out_cap, struct segment_map *out, struct err *err)
{
    struct segment_shm h = {0};
    init_header(&h, 1, in_cap, out_cap);
    void *p;
    if (shm_map_private(h.bytes, &p, err))
        return err->code;
    init_header(p, 1, in_cap, out_cap);
    unsigned char *base = p;
    *out = (struct segment_map){
        .shm = p, .in = base + h.in_off, .in_rw = base + h.in_off, .out = base + h.out_off, .is_private = true};
    return ERR_OK;
}

void segment_close(struct segment_map *m)
{
    if (!m->shm)
        return;
    struct segment_shm h = {.bytes = m->shm->bytes,
                            .control_bytes = m->shm->control_bytes,
                            .in_off = m->shm->in_off,
                            .out_off = m->shm->out_off};
    if (m->is_private) {
        shm_unmap(m->shm, h.bytes);
    } else {
        shm_unmap((void *)(uintptr_t)m->in, h.out_off - h.in_off);
        shm_unmap(m->out, h.bytes - h.out_off);
        shm_unmap(m->shm, h.control_bytes);
    }
    *m = (struct segment_map){0};
}

const unsigned char *segment_in_ro(const struct segment_map *m, uint32_t lane, uint32_t block)
{
    return m->in + ((uint64_t)lane * LANE_BLOCKS + block) * m->shm->in_cap;
}

unsigned char *segment_in(const struct segment_map *m, uint32_t lane, uint32_t block)
{
    return m->in_rw + ((uint64_t)lane * LANE_BLOCKS + block) * m->shm->in_cap;
}

unsigned char *segment_out(const struct segment_map *m, uint32_t lane, uint32_t block)
{
    return m->out + ((uint64_t)lane * LANE_BLOCKS + block) * m->shm->out_cap;
}
