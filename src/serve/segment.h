/* Making and mapping a model's segment (lane_shm.h). */
#ifndef SERVE_SEGMENT_H
#define SERVE_SEGMENT_H

#include "serve/lane_shm.h"

struct segment_map {
    struct segment_shm *shm; /* header and control, writable */
    const unsigned char *in; /* input areas of all blocks; written through in_rw by the edge only */
    unsigned char *in_rw;    /* NULL in workers */
    unsigned char *out;
    uint32_t lanes; /* these are copies: the header lies in memory that workers can write [L5] */
    uint64_t in_cap, out_cap;
    bool is_private; /* inline: not shared, one process */
};

enum segment_side { SEGMENT_EDGE, SEGMENT_WORKER };

/* Master: makes and initialises one for `lanes` edge threads. in_cap, out_cap: bytes of one block's areas (rounded up to pages). */
enum err_code segment_create(uint32_t lanes, uint64_t in_cap, uint64_t out_cap, int *out_fd, struct err *err);
/* Checks the header (sizes must be consistent with the file's) and maps. */
enum err_code segment_open(int fd, enum segment_side side, struct segment_map *out, struct err *err);
/* Inline: one lane in private memory. */
enum err_code segment_private(uint64_t in_cap, uint64_t out_cap, struct segment_map *out, struct err *err);
void segment_close(struct segment_map *m);
/* Master: gives back the memory of all blocks. Only while nobody has anything in them; who maps it need not know. */
void segment_trim(int fd);

unsigned char *segment_in(const struct segment_map *m, uint32_t lane, uint32_t block); /* edge */
const unsigned char *segment_in_ro(const struct segment_map *m, uint32_t lane, uint32_t block);
unsigned char *segment_out(const struct segment_map *m, uint32_t lane, uint32_t block);

#endif
