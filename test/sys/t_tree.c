#include "sys/tree.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sys/fd.h"
#include "t.h"

static char dir[200];
static struct err err;

static const char *in(const char *name)
{
    static char path[4][5000];
    static int turn;
    char *p = path[turn++ % 4];
    (void)snprintf(p, sizeof path[0], "%s/%s", dir, name);
    return p;
}

static void folder(const char *name)
{
    EXPECT_EQ(dir_make(in(name), 0700, &err), ERR_OK);
}

static void file(const char *name, size_t bytes)
{
    static char zeros[1000];
    EXPECT_EQ(file_replace(in(name), (struct str){zeros, bytes}, false, &err), ERR_OK);
}

static void begin(void)
{
    (void)snprintf(dir, sizeof dir, "%s", t_tmpdir());
}

TEST(tree_is_removed_whole_and_links_are_not_followed)
{
    begin();
    folder("outside");
    file("outside/kept", 10);
    folder("top/a/b/c");
    folder("top/empty");
    file("top/x", 100);
    file("top/a/y", 200);
    file("top/a/b/c/z", 300);
    file("top/.hidden", 5);
    EXPECT(symlink(in("outside"), in("top/a/link")) == 0);
    EXPECT(symlink("/nowhere", in("top/dangling")) == 0);
    EXPECT(tree_bytes(in("top")) >= 605 && tree_bytes(in("top")) < 605 + 4 * 300); /* links count by their names */
    EXPECT_EQ(tree_remove(in("top"), &err), ERR_OK);
    EXPECT(access(in("top"), F_OK) != 0);
    EXPECT(access(in("outside/kept"), F_OK) == 0);
    EXPECT_EQ(tree_remove(in("top"), &err), ERR_NOT_FOUND);
    EXPECT_EQ(tree_bytes(in("top")), 0);
}

TEST(tree_a_link_in_place_of_the_folder_is_left_alone)
{
    begin();
    folder("outside");
    file("outside/kept", 10);
    EXPECT(symlink(in("outside"), in("top")) == 0);
    EXPECT_EQ(tree_remove(in("top"), &err), ERR_IO);
    EXPECT(access(in("outside/kept"), F_OK) == 0);
    EXPECT_EQ(tree_bytes(in("top")), 0);
}

TEST(tree_that_is_too_deep_stays_with_a_reason)
{
    char path[200] = "top";
    begin();
    for (int i = 0; i < TREE_DEPTH_MAX + 3; i++)
        memcpy(path + strlen(path), "/d", 3);
    folder(path);
    EXPECT_EQ(tree_remove(in("top"), &err), ERR_IO);
    EXPECT(strstr(err.text, "cannot remove the folder"));
    EXPECT(access(in(path), F_OK) == 0);
}
