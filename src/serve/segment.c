#include "serve/segment.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/check.h"
#include "sys/fd.h"
#include "sys/shm.h"

#define PAGE 4096u

/* Where the parts of a segment begin. Behind the last input and the last output lies a page that nobody uses: vector instructions of engines read a
 * few bytes past the end of a tensor (LiteRT: 16). */
struct places {
    uint64_t control_bytes, in_off, out_off, bytes;
};

static struct places places_of(uint32_t lanes, uint64_t in_cap, uint64_t out_cap)
{
    struct places p;
    p.control_bytes = ROUND_UP(sizeof(struct segment_shm) + lanes * sizeof(struct lane_shm), PAGE);
    p.in_off = p.control_bytes;
    p.out_off = p.in_off + (uint64_t)lanes * LANE_BLOCKS * in_cap + PAGE;
    p.bytes = p.out_off + (uint64_t)lanes * LANE_BLOCKS * out_cap + PAGE;
    return p;
}

static void init_header(struct segment_shm *s, uint32_t lanes, uint64_t in_cap, uint64_t out_cap)
{
    struct places p = places_of(lanes, in_cap, out_cap);
    s->layout = SEGMENT_LAYOUT;
    s->lanes = lanes;
    s->in_cap = in_cap;
    s->out_cap = out_cap;
    s->control_bytes = p.control_bytes;
    s->in_off = p.in_off;
    s->out_off = p.out_off;
    s->bytes = p.bytes;
    s->magic = SEGMENT_MAGIC;
}

enum err_code segment_create(uint32_t lanes, uint64_t in_cap, uint64_t out_cap, int *out_fd, struct err *err)
{
    CHECK(lanes > 0 && lanes <= LANE_THREADS_MAX);
    in_cap = ROUND_UP(in_cap, PAGE);
    out_cap = ROUND_UP(out_cap, PAGE);
    int fd;
    void *p;
    if (shm_create("quern-model", places_of(lanes, in_cap, out_cap).bytes, &fd, err))
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

/* The part of the header that never changes. */
struct head {
    uint32_t magic, layout, lanes, pad;
    uint64_t bytes, control_bytes, in_off, in_cap, out_off, out_cap;
};
static_assert(sizeof(struct head) == offsetof(struct segment_shm, out_cap) + sizeof(uint64_t), "begins the same");

static enum err_code check_head(const struct head *h, uint64_t file_bytes, struct err *err)
{
    bool is_sane = h->magic == SEGMENT_MAGIC && h->layout == SEGMENT_LAYOUT && h->lanes > 0 &&
                   h->lanes <= LANE_THREADS_MAX && h->in_cap > 0 && h->in_cap <= UINT32_MAX && h->in_cap % PAGE == 0 &&
                   h->out_cap > 0 && h->out_cap <= UINT32_MAX && h->out_cap % PAGE == 0;
    struct places p = is_sane ? places_of(h->lanes, h->in_cap, h->out_cap) : (struct places){0};
    if (!is_sane || h->bytes != p.bytes || file_bytes != p.bytes || h->control_bytes != p.control_bytes ||
        h->in_off != p.in_off || h->out_off != p.out_off)
        return err_set(err, ERR_INTERNAL, "shared memory of a model has a wrong header");
    return ERR_OK;
}

static enum err_code read_head(int fd, struct head *out, struct err *err)
{
    struct stat st;
    void *p;
    if (fstat(fd, &st) < 0)
        return err_sys(err, ERR_IO, errno, "shared memory of a model");
    if (st.st_size < (off_t)PAGE) /* reading behind the end of the file would be a bus error */
        return err_set(err, ERR_INTERNAL, "shared memory of a model has no header");
    enum err_code code = shm_map(fd, 0, PAGE, false, &p, err);
    if (code)
        return code;
    memcpy(out, p, sizeof *out);
    shm_unmap(p, PAGE);
    return check_head(out, (uint64_t)st.st_size, err);
}

enum err_code segment_open(int fd, enum segment_side side, struct segment_map *out, struct err *err)
{
    struct head h;
    void *control = NULL, *in = NULL, *outs = NULL;
    if (read_head(fd, &h, err))
        return err->code;
    bool is_edge = side == SEGMENT_EDGE;
    if (shm_map(fd, 0, h.control_bytes, true, &control, err) ||
        shm_map(fd, h.in_off, h.out_off - h.in_off, is_edge, &in, err) ||
        shm_map(fd, h.out_off, h.bytes - h.out_off, true, &outs, err)) {
        shm_unmap(control, h.control_bytes);
        shm_unmap(in, h.out_off - h.in_off);
        return err->code;
    }
    *out = (struct segment_map){.shm = control,
                                .in = in,
                                .in_rw = is_edge ? in : NULL,
                                .out = outs,
                                .lanes = h.lanes,
                                .in_cap = h.in_cap,
                                .out_cap = h.out_cap};
    return ERR_OK;
}

enum err_code segment_private(uint64_t in_cap, uint64_t out_cap, struct segment_map *out, struct err *err)
{
    in_cap = ROUND_UP(in_cap, PAGE);
    out_cap = ROUND_UP(out_cap, PAGE);
    struct places at = places_of(1, in_cap, out_cap);
    void *p;
    if (shm_map_private(at.bytes, &p, err))
        return err->code;
    init_header(p, 1, in_cap, out_cap);
    unsigned char *base = p;
    *out = (struct segment_map){.shm = p,
                                .in = base + at.in_off,
                                .in_rw = base + at.in_off,
                                .out = base + at.out_off,
                                .lanes = 1,
                                .in_cap = in_cap,
                                .out_cap = out_cap,
                                .is_private = true};
    return ERR_OK;
}

void segment_trim(int fd)
{
    struct head h;
    struct err err;
    if (read_head(fd, &h, &err) == ERR_OK)
        (void)fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)h.in_off, (off_t)(h.bytes - h.in_off));
}

void segment_close(struct segment_map *m)
{
    if (!m->shm)
        return;
    struct places p = places_of(m->lanes, m->in_cap, m->out_cap);
    if (m->is_private) {
        shm_unmap(m->shm, p.bytes);
    } else {
        shm_unmap((void *)(uintptr_t)m->in, p.out_off - p.in_off);
        shm_unmap(m->out, p.bytes - p.out_off);
        shm_unmap(m->shm, p.control_bytes);
    }
    *m = (struct segment_map){0};
}

const unsigned char *segment_in_ro(const struct segment_map *m, uint32_t lane, uint32_t block)
{
    return m->in + ((uint64_t)lane * LANE_BLOCKS + block) * m->in_cap;
}

unsigned char *segment_in(const struct segment_map *m, uint32_t lane, uint32_t block)
{
    return m->in_rw + ((uint64_t)lane * LANE_BLOCKS + block) * m->in_cap;
}

unsigned char *segment_out(const struct segment_map *m, uint32_t lane, uint32_t block)
{
    return m->out + ((uint64_t)lane * LANE_BLOCKS + block) * m->out_cap;
}
