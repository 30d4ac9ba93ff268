#include "t.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "serve/client_shm.h"

#define BYTES 8192

static char key[64];
static int fd;

/* A region of 8 KiB whose bytes count up, in /dev/shm. */
static void set_up(void)
{
    unsigned char bytes[BYTES];
    for (size_t i = 0; i < BYTES; i++)
        bytes[i] = (unsigned char)i;
    (void)snprintf(key, sizeof key, "quern-test-%d", (int)getpid());
    fd = shm_open(key, O_RDWR | O_CREAT | O_EXCL, 0600);
    EXPECT(fd >= 0);
    EXPECT_EQ(write(fd, bytes, BYTES), BYTES);
}

static void tear_down(void)
{
    client_shm_unregister_all();
    (void)shm_unlink(key);
    (void)close(fd);
}

static enum err_code add(const char *name, uint64_t offset, uint64_t bytes)
{
    struct err err;
    return client_shm_register(str_c(name), str_c(key), offset, bytes, &err);
}

static struct client_shm_part part(const char *name, uint64_t offset, uint64_t bytes)
{
    return (struct client_shm_part){.name = str_c(name), .offset = offset, .bytes = bytes};
}

TEST(client_shm_reads_and_writes_its_part_alone)
{
    struct err err;
    unsigned char got[16], all[BYTES];
    set_up();
    EXPECT_EQ(add("a", 4096, 100), ERR_OK);
    struct client_shm_part p = part("a", 4, 16);
    EXPECT_EQ(client_shm_find(&p, &err), ERR_OK);
    EXPECT_EQ(client_shm_read(&p, got, 16, &err), ERR_OK);
    EXPECT(got[0] == 4 && got[15] == 19);
    memset(got, 0xEE, sizeof got);
    EXPECT_EQ(client_shm_write(&p, got, 16, &err), ERR_OK);
    EXPECT_EQ(pread(fd, all, BYTES, 0), BYTES);
    for (size_t i = 0; i < BYTES; i++)
        if (all[i] != (i >= 4100 && i < 4116 ? 0xEE : (unsigned char)i))
            FAIL("byte %zu is %u", i, all[i]);
    tear_down();
}

TEST(client_shm_bounds)
{
    struct err err;
    set_up();
    EXPECT_EQ(add("a", 0, BYTES), ERR_OK);
    EXPECT_EQ(add("a", 0, 1), ERR_INVALID); /* the name is taken */
    EXPECT_EQ(add("b", 0, BYTES + 1), ERR_INVALID);
    EXPECT_EQ(add("b", BYTES, 1), ERR_INVALID);
    EXPECT_EQ(add("b", UINT64_MAX, 2), ERR_INVALID);
    EXPECT_EQ(add("b", 2, UINT64_MAX), ERR_INVALID);
    EXPECT_EQ(add("b", 0, 0), ERR_INVALID);
    EXPECT_EQ(add("", 0, 1), ERR_INVALID);
    static const uint64_t outside[][2] = {{0, BYTES + 1},  {BYTES, 1},      {1, BYTES},
                                          {UINT64_MAX, 1}, {1, UINT64_MAX}, {UINT64_MAX, UINT64_MAX}};
    for (size_t i = 0; i < sizeof outside / sizeof outside[0]; i++) {
        struct client_shm_part p = part("a", outside[i][0], outside[i][1]);
        EXPECT_EQ(client_shm_find(&p, &err), ERR_INVALID);
    }
    struct client_shm_part whole = part("a", 0, BYTES), unknown = part("A", 0, 1);
    EXPECT_EQ(client_shm_find(&whole, &err), ERR_OK);
    EXPECT_EQ(client_shm_find(&unknown, &err), ERR_INVALID);
    tear_down();
}

TEST(client_shm_of_another_registration_is_not_found)
{
    struct err err;
    char byte;
    set_up();
    EXPECT_EQ(add("a", 0, 8), ERR_OK);
    struct client_shm_part p = part("a", 0, 8);
    EXPECT_EQ(client_shm_find(&p, &err), ERR_OK);
    client_shm_unregister(STR("a"));
    EXPECT_EQ(client_shm_read(&p, &byte, 1, &err), ERR_INVALID);
    EXPECT_EQ(add("a", 8, 8), ERR_OK);
    EXPECT_EQ(client_shm_read(&p, &byte, 1, &err), ERR_INVALID);
    EXPECT_EQ(client_shm_write(&p, "x", 1, &err), ERR_INVALID);
    tear_down();
}

TEST(client_shm_that_shrank_is_an_error_and_does_not_grow)
{
    struct err err;
    char bytes[BYTES] = {0};
    set_up();
    EXPECT_EQ(add("a", 0, BYTES), ERR_OK);
    struct client_shm_part p = part("a", 0, BYTES);
    EXPECT_EQ(client_shm_find(&p, &err), ERR_OK);
    EXPECT_EQ(ftruncate(fd, 100), 0);
    EXPECT_EQ(client_shm_read(&p, bytes, BYTES, &err), ERR_INVALID);
    EXPECT(strstr(err.text, "smaller"));
    EXPECT_EQ(client_shm_write(&p, bytes, BYTES, &err), ERR_INVALID);
    EXPECT_EQ(lseek(fd, 0, SEEK_END), 100);
    tear_down();
}

TEST(client_shm_that_may_only_be_read)
{
    struct err err;
    char byte = 0;
    set_up();
    if (geteuid() == 0) {
        tear_down();
        SKIP("root may write to everything");
    }
    EXPECT_EQ(fchmod(fd, 0400), 0);
    EXPECT_EQ(add("a", 0, 8), ERR_OK);
    struct client_shm_part p = part("a", 0, 8);
    EXPECT_EQ(client_shm_find(&p, &err), ERR_OK);
    EXPECT_EQ(client_shm_read(&p, &byte, 1, &err), ERR_OK);
    EXPECT_EQ(client_shm_write(&p, &byte, 1, &err), ERR_INVALID);
    EXPECT(strstr(err.text, "may only be read"));
    tear_down();
}

/* One registers and unregisters, the others use what they find: each access is whole or an error. */
static void *use(void *arg)
{
    unsigned char got[64];
    struct err err;
    for (int i = 0; i < 3000; i++) {
        struct client_shm_part p = part("a", 64, 64);
        if (client_shm_find(&p, &err) == ERR_OK && client_shm_read(&p, got, 64, &err) == ERR_OK &&
            (got[0] != 64 || got[63] != 127))
            *(int *)arg += 1;
    }
    return NULL;
}

TEST(client_shm_by_many_threads)
{
    pthread_t threads[3];
    int wrong[3] = {0};
    set_up();
    for (int i = 0; i < 3; i++)
        EXPECT_EQ(pthread_create(&threads[i], NULL, use, &wrong[i]), 0);
    for (int i = 0; i < 1000; i++) {
        EXPECT_EQ(add("a", 0, BYTES), ERR_OK);
        client_shm_unregister(STR("a"));
    }
    for (int i = 0; i < 3; i++) {
        EXPECT_EQ(pthread_join(threads[i], NULL), 0);
        EXPECT_EQ(wrong[i], 0);
    }
    tear_down();
}
