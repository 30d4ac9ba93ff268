/* The lane by itself: layout, rows, blocks. No requests end here. */
#include <string.h>

#include "base/clock.h"
#include "rig.h"
#include "sys/fd.h"

static const struct batch_policy plain; /* no waiting, no padding */

struct bench {
    struct segment_map map;
    struct model_desc desc;
    struct lane lane;
    struct err err;
};

struct item {
    struct infer i;
    struct infer_tensor in[2];
};

static void bench_init(struct bench *b, const struct rig_opt *opt)
{
    memset(b, 0, sizeof *b);
    rig_describe(&b->desc, opt);
    if (segment_private(opt->area ? opt->area : 1 << 20, 1 << 20, &b->map, &b->err))
        FAIL("%s", b->err.text);
    lane_init(&b->lane, &b->map, 0, &b->desc, &plain);
}

static void bench_done(struct bench *b)
{
    lane_done(&b->lane);
    segment_close(&b->map);
}

static struct item *item(struct item *it, uint32_t rows, uint32_t cols)
{
    memset(it, 0, sizeof *it);
    it->i.in = it->in;
    it->i.rows = rows;
    it->i.priority = 1;
    it->i.request_id = "id";
    it->in[0] = (struct infer_tensor){.ndim = 2, .dims = {rows, cols}, .dtype = DT_INT32, .given = true};
    return it;
}

static struct lane_block *reserve(struct bench *b, struct item *it)
{
    struct lane_block *block = NULL;
    EXPECT_EQ(lane_reserve(&b->lane, &it->i, &block, &b->err), LANE_ROOM);
    return block;
}

static struct lane_block *put(struct bench *b, struct item *it)
{
    struct lane_block *block = reserve(b, it);
    lane_commit(block, &it->i);
    return block;
}

static uint64_t state_of(const struct bench *b, const struct lane_block *block)
{
    return atomic_load(&b->map.shm->lane[0].blocks[block->index].state);
}

TEST(rows_lie_behind_each_other)
{
    struct bench b;
    struct item x, y;
    bench_init(&b, &(struct rig_opt){0});
    struct lane_block *block = put(&b, item(&x, 1, 3));
    EXPECT(put(&b, item(&y, 2, 3)) == block);
    EXPECT_EQ(x.i.row0, 0);
    EXPECT_EQ(y.i.row0, 1);
    EXPECT_EQ(y.in[0].data - x.in[0].data, 12);
    EXPECT_EQ(x.in[0].bytes, 12);
    EXPECT_EQ(y.in[0].bytes, 24);
    EXPECT_EQ(block->rows, 3);
    EXPECT_EQ(block->live, 2);
    lane_publish(block);
    struct block_shm *shm = &b.map.shm->lane[0].blocks[block->index];
    EXPECT_EQ(shm->rows, 3);
    EXPECT_EQ(shm->in[0].dims[0], 3);
    EXPECT_EQ(shm->in[0].dims[1], 3);
    EXPECT_EQ(shm->in[0].bytes, 36);
    EXPECT(segment_in(&b.map, 0, block->index) + shm->in[0].off == x.in[0].data);
    bench_done(&b);
}

TEST(tensors_do_not_overlap)
{
    struct bench b;
    struct item x;
    bench_init(&b, &(struct rig_opt){.has_optional = true});
    item(&x, 4, 3);
    x.in[1] = (struct infer_tensor){.ndim = 2, .dims = {4, 1}, .dtype = DT_INT32, .given = true};
    struct lane_block *block = put(&b, &x);
    EXPECT(x.in[1].data >= x.in[0].data + x.in[0].bytes);
    EXPECT_EQ((uintptr_t)x.in[0].data % 64, 0);
    EXPECT_EQ((uintptr_t)x.in[1].data % 64, 0);
    EXPECT_EQ(x.in[1].bytes, 16);
    lane_publish(block);
    EXPECT_EQ(b.map.shm->lane[0].blocks[block->index].in[1].given, 1);
    bench_done(&b);
}

TEST(a_lone_run_sees_only_its_rows)
{
    struct bench b;
    struct item x, y;
    bench_init(&b, &(struct rig_opt){.dtype = DT_INT32});
    struct lane_block *block = put(&b, item(&x, 1, 3));
    (void)put(&b, item(&y, 2, 3));
    lane_publish_alone(block, &y.i);
    struct block_shm *shm = &b.map.shm->lane[0].blocks[block->index];
    EXPECT_EQ(shm->rows, 2);
    EXPECT_EQ(shm->in[0].dims[0], 2);
    EXPECT_EQ(shm->in[0].bytes, 24);
    EXPECT(segment_in(&b.map, 0, block->index) + shm->in[0].off == y.in[0].data);
    EXPECT(block->alone == &y.i);
    bench_done(&b);
}

TEST(states_follow_the_table)
{
    struct bench b;
    struct item x;
    bench_init(&b, &(struct rig_opt){0});
    struct lane_block *block = put(&b, item(&x, 1, 3));
    uint32_t gen = block->gen;
    EXPECT_EQ(state_of(&b, block), block_state(gen, 0, BLOCK_FILLING));
    EXPECT_EQ(atomic_load(&b.map.shm->lane[0].open), 0);
    lane_publish(block);
    EXPECT_EQ(state_of(&b, block), block_state(gen, 0, BLOCK_OPEN));
    EXPECT_EQ(atomic_load(&b.map.shm->lane[0].open), UINT64_C(1) << block->index);
    EXPECT_EQ(b.lane.published, 1u << block->index);
    EXPECT(lane_take_back(block));
    EXPECT_EQ(state_of(&b, block), block_state(gen, 0, BLOCK_FILLING));
    EXPECT_EQ(atomic_load(&b.map.shm->lane[0].open), 0);
    EXPECT_EQ(b.lane.published, 0);
    EXPECT(!lane_take_back(block)); /* only what is open */
    lane_unlink(&x.i);
    EXPECT(x.i.block == NULL);
    lane_release(block);
    EXPECT_EQ(state_of(&b, block), block_state(gen + 1, 0, BLOCK_FREE));
    EXPECT_EQ(b.lane.unused, UINT32_MAX);
    bench_done(&b);
}

TEST(a_claimed_block_cannot_be_taken_back)
{
    struct bench b;
    struct item x;
    bench_init(&b, &(struct rig_opt){0});
    struct lane_block *block = put(&b, item(&x, 1, 3));
    lane_publish(block);
    struct exec worker = {.segment = &b.map, .pid = 9};
    struct exec_block claimed;
    EXPECT(exec_claim(&worker, &claimed));
    EXPECT_EQ(state_of(&b, block), block_state(block->gen, 9, BLOCK_RUNNING));
    EXPECT(!lane_take_back(block));
    EXPECT_EQ(block->use, LANE_PUBLISHED);
    bench_done(&b);
}

TEST(each_use_has_a_new_generation)
{
    struct bench b;
    struct item x;
    bench_init(&b, &(struct rig_opt){0});
    for (uint32_t gen = b.lane.blocks[0].gen, n = 0; n < 3; n++) {
        struct lane_block *block = reserve(&b, item(&x, 1, 3));
        EXPECT_EQ(block->index, 0); /* the lowest: its pages are warm */
        EXPECT_EQ(block->gen, gen + n);
        lane_void(block);
    }
    bench_done(&b);
}

TEST(a_void_reservation_leaves_the_mates)
{
    struct bench b;
    struct item x, y, z;
    bench_init(&b, &(struct rig_opt){0});
    struct lane_block *block = put(&b, item(&x, 1, 3));
    EXPECT(reserve(&b, item(&y, 3, 3)) == block);
    lane_void(block);
    EXPECT_EQ(block->rows, 1);
    EXPECT(put(&b, item(&z, 1, 3)) == block);
    EXPECT_EQ(z.i.row0, 1);
    bench_done(&b);
}

TEST(a_lane_is_full_when_no_block_is_unused)
{
    struct bench b;
    static struct item x[LANE_BLOCKS + 1];
    struct lane_block *block;
    bench_init(&b, &(struct rig_opt){.max_batch = 2});
    for (int k = 0; k < LANE_BLOCKS; k++)
        lane_publish(put(&b, item(&x[k], 2, 3)));
    EXPECT_EQ(b.lane.unused, 0);
    EXPECT_EQ(lane_reserve(&b.lane, &item(&x[LANE_BLOCKS], 1, 3)->i, &block, &b.err), LANE_FULL);
    bench_done(&b);
}

TEST(fewer_rows_share_when_the_area_is_small)
{
    struct bench b;
    struct item x, y;
    bench_init(&b, &(struct rig_opt){.area = 4096, .max_batch = 64});
    struct lane_block *block = put(&b, item(&x, 1, 200)); /* 800 bytes a row */
    EXPECT_EQ(block->rows_max, 4);
    (void)put(&b, item(&y, 3, 200));
    EXPECT_EQ(block->rows, 4);
    bench_done(&b);
}

TEST(a_row_that_just_fits)
{
    struct bench b;
    struct item x;
    struct lane_block *block;
    bench_init(&b, &(struct rig_opt){.area = 4096, .max_batch = 64});
    block = put(&b, item(&x, 1, 1024));
    EXPECT_EQ(block->rows_max, 1);
    EXPECT(x.in[0].data + x.in[0].bytes <= segment_in(&b.map, 0, block->index) + 4096);
    EXPECT_EQ(lane_reserve(&b.lane, &item(&x, 1, 1025)->i, &block, &b.err), LANE_TOO_LARGE);
    EXPECT_EQ(b.err.code, ERR_TOO_LARGE);
    EXPECT(b.err.remedy[0] != '\0');
    EXPECT_EQ(lane_reserve(&b.lane, &item(&x, UINT32_MAX, UINT32_MAX)->i, &block, &b.err), LANE_TOO_LARGE);
    bench_done(&b);
}

TEST(too_large_costs_no_block)
{
    struct bench b;
    struct item x;
    struct lane_block *block;
    bench_init(&b, &(struct rig_opt){.area = 4096});
    for (int k = 0; k < 2 * LANE_BLOCKS; k++)
        EXPECT_EQ(lane_reserve(&b.lane, &item(&x, 1, 5000)->i, &block, &b.err), LANE_TOO_LARGE);
    EXPECT_EQ(b.lane.unused, UINT32_MAX);
    bench_done(&b);
}

TEST(promised_text_is_room_behind_the_tensors)
{
    struct bench b;
    struct item x;
    struct lane_block *block;
    bench_init(&b, &(struct rig_opt){.area = 4096, .dtype = DT_BYTES});
    memset(&x, 0, sizeof x);
    x.i = (struct infer){.in = x.in, .rows = 1, .priority = 1};
    x.in[0] = (struct infer_tensor){.ndim = 1, .dims = {1}, .dtype = DT_BYTES, .heap_bytes = 4032, .given = true};
    block = put(&b, &x);
    EXPECT_EQ(x.i.heap_at, 64); /* behind 4 references */
    EXPECT_EQ(x.i.heap_end, 4096);
    bench_done(&b);
    bench_init(&b, &(struct rig_opt){.area = 4096, .dtype = DT_BYTES});
    x.in[0].heap_bytes = 4033;
    EXPECT_EQ(lane_reserve(&b.lane, &x.i, &block, &b.err), LANE_TOO_LARGE);
    x.in[0].heap_bytes = UINT32_MAX;
    EXPECT_EQ(lane_reserve(&b.lane, &x.i, &block, &b.err), LANE_TOO_LARGE);
    bench_done(&b);
}

TEST(large_batches_give_their_memory_back)
{
    struct bench b;
    struct item x;
    bench_init(&b, &(struct rig_opt){.area = 16 << 20, .alone = true});
    struct lane_block *block = put(&b, item(&x, 1, 2 << 20)); /* 8 MiB */
    memset(x.in[0].data, 0xEE, x.in[0].bytes);
    const unsigned char *data = x.in[0].data;
    lane_unlink(&x.i);
    lane_release(block);
    EXPECT_EQ(data[0], 0xEE);          /* the first part stays warm */
    EXPECT_EQ(data[(8 << 20) - 1], 0); /* the rest went back */
    bench_done(&b);
}

TEST(a_new_lane_adopts_all_but_runs_in_progress)
{
    struct bench b;
    static struct item x[4];
    struct lane_block *block[4];
    bench_init(&b, &(struct rig_opt){.alone = true});
    for (int k = 0; k < 4; k++)
        block[k] = put(&b, item(&x[k], 1, 3));
    for (int k = 1; k < 4; k++)
        lane_publish(block[k]);
    struct exec worker = {.segment = &b.map, .pid = 9};
    struct exec_block claimed[2];
    EXPECT(exec_claim(&worker, &claimed[0]));
    EXPECT(exec_claim(&worker, &claimed[1]));
    atomic_store(&b.map.shm->lane[0].blocks[claimed[1].block].state, block_state(claimed[1].gen, 9, BLOCK_DONE));
    lane_done(&b.lane);

    lane_init(&b.lane, &b.map, 0, &b.desc, &plain);
    EXPECT_EQ(b.lane.orphans, 1u << claimed[0].block);
    EXPECT_EQ(b.lane.unused, ~(1u << claimed[0].block));
    EXPECT_EQ(atomic_load(&b.map.shm->lane[0].open), 0);
    for (uint32_t k = 0; k < 4; k++) {
        uint64_t state = atomic_load(&b.map.shm->lane[0].blocks[k].state);
        EXPECT_EQ(block_phase_of(state), k == claimed[0].block ? BLOCK_RUNNING : BLOCK_FREE);
    }
    EXPECT(!exec_claim(&worker, &claimed[1]));
    struct item y;
    EXPECT(put(&b, item(&y, 1, 3))->index != claimed[0].block);
    bench_done(&b);
}

TEST(generations_wrap)
{
    struct bench b;
    struct item x;
    bench_init(&b, &(struct rig_opt){0});
    lane_done(&b.lane);
    atomic_store(&b.map.shm->lane[0].blocks[0].state, block_state(UINT32_MAX, 0, BLOCK_FREE));
    lane_init(&b.lane, &b.map, 0, &b.desc, &plain);
    struct lane_block *block = put(&b, item(&x, 1, 3));
    EXPECT_EQ(block->index, 0);
    EXPECT_EQ(block->gen, 0);
    lane_publish(block);
    EXPECT_EQ(state_of(&b, block), block_state(0, 0, BLOCK_OPEN));
    bench_done(&b);
}

TEST(state_words_keep_their_parts)
{
    uint64_t s = block_state(0xABCDEF01u, 0x0FFFFFFFu, BLOCK_DONE);
    EXPECT_EQ(block_gen_of(s), 0xABCDEF01u);
    EXPECT_EQ(block_owner_of(s), 0x0FFFFFFFu);
    EXPECT_EQ(block_phase_of(s), BLOCK_DONE);
    EXPECT_EQ(block_owner_of(block_state(1, 0xFFFFFFFFu, BLOCK_FREE)), 0x0FFFFFFFu);
    EXPECT_EQ(block_gen_of(block_state(1, 0xFFFFFFFFu, BLOCK_FREE)), 1);
}
