#include "t.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "model/engine.h"
#include "sys/fd.h"

static struct err err;

static void put(const char *dir, const char *name, const char *text, unsigned mode)
{
    char path[1024];
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    EXPECT_EQ(file_replace(path, str_c(text), false, &err), ERR_OK);
    EXPECT_EQ(chmod(path, mode), 0);
}

/* Everything that looks at the environment is pointed at fresh folders. */
static const char *isolate(void)
{
    const char *home = t_tmpdir();
    EXPECT_EQ(setenv("HOME", home, 1), 0);
    EXPECT_EQ(unsetenv("XDG_DATA_HOME"), 0);
    EXPECT_EQ(unsetenv("QUERN_ENGINE_DIR"), 0);
    return home;
}

static void fake_engine(const char *place)
{
    char dir[1024];
    (void)snprintf(dir, sizeof dir, "%s/onnxruntime/1.32.0", place);
    EXPECT_EQ(dir_make(dir, 0755, &err), ERR_OK);
    put(dir, "libonnxruntime.so.1.32.0", "not a library", 0644);
}

TEST(missing_engine_names_the_remedy)
{
    char path[1280];
    (void)isolate();
    EXPECT_EQ(engine_find("onnxruntime", t_tmpdir(), path, sizeof path, &err), ERR_NOT_FOUND);
    EXPECT_CSTR(err.remedy, "run: quern engine install onnxruntime");
    EXPECT_EQ(engine_find("nonsense", NULL, path, sizeof path, &err), ERR_NOT_FOUND);
    EXPECT(strstr(err.remedy, "onnxruntime") != NULL);
}

TEST(places_are_tried_in_order)
{
    char path[1280], place[1024];
    const char *home = isolate(), *asked = t_tmpdir();
    (void)snprintf(place, sizeof place, "%s/.local/share/quern/engines", home);
    fake_engine(place);
    EXPECT_EQ(engine_find("onnxruntime", NULL, path, sizeof path, &err), ERR_OK);
    EXPECT(strncmp(path, place, strlen(place)) == 0);
    fake_engine(asked);
    EXPECT_EQ(setenv("QUERN_ENGINE_DIR", asked, 1), 0);
    EXPECT_EQ(engine_find("onnxruntime", NULL, path, sizeof path, &err), ERR_OK);
    EXPECT(strncmp(path, asked, strlen(asked)) == 0);
    EXPECT_EQ(engine_find("onnxruntime", t_tmpdir(), path, sizeof path, &err),
              ERR_NOT_FOUND); /* one place asked for: no other */
}

TEST(verify_finds_a_changed_file)
{
    struct buf report;
    const char *dir = (isolate(), t_tmpdir());
    fake_engine(dir);
    EXPECT_EQ(setenv("QUERN_ENGINE_DIR", dir, 1), 0);
    buf_init(&report, 4096);
    EXPECT_EQ(engine_verify("onnxruntime", &report, &err), ERR_REJECTED);
    EXPECT(strstr(err.text, "SHA-256") != NULL);
    buf_done(&report);
}

TEST_SLOW(verify_passes_the_installed_one, 30)
{
    struct buf report;
    char path[1280];
    if (engine_find("onnxruntime", NULL, path, sizeof path, &err) != ERR_OK)
        SKIP("%s; %s", err.text, err.remedy);
    buf_init(&report, 4096);
    EXPECT_EQ(engine_verify("onnxruntime", &report, &err), ERR_OK);
    EXPECT(str_contains(buf_view(&report), STR("matches the pinned one")));
    EXPECT(str_contains(buf_view(&report), STR("right version")));
    buf_done(&report);
}

TEST(install_without_python_says_what_to_run)
{
    (void)isolate();
    EXPECT_EQ(setenv("PATH", t_tmpdir(), 1), 0);
    EXPECT_EQ(engine_install("onnxruntime", &err), ERR_NOT_FOUND);
    EXPECT_CSTR(err.remedy, "run: apt-get install python3-pip");
}

TEST(install_without_pip_says_what_to_run)
{
    const char *bin = (isolate(), t_tmpdir());
    put(bin, "python3", "#!/bin/sh\nexit 1\n", 0755);
    EXPECT_EQ(setenv("PATH", bin, 1), 0);
    EXPECT_EQ(engine_install("onnxruntime", &err), ERR_NOT_FOUND);
    EXPECT(strstr(err.text, "pip") != NULL);
    EXPECT_CSTR(err.remedy, "run: apt-get install python3-pip");
}

static bool has_entries(const char *path)
{
    DIR *d = opendir(path);
    bool any = false;
    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;)
        any = any || (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 && strcmp(e->d_name, ".lock") != 0);
    if (d != NULL)
        (void)closedir(d);
    return any;
}

/* A python3 whose zipfile unpacks some other library. */
TEST(install_refuses_another_library_and_leaves_nothing)
{
    char place[1024];
    const char *home = isolate(), *bin = t_tmpdir();
    put(bin, "python3",
        "#!/bin/sh\n"
        "PATH=/usr/bin:/bin\n"
        "if [ \"$2\" = zipfile ]; then mkdir -p \"$5/onnxruntime/capi\" && echo junk > "
        "\"$5/onnxruntime/capi/libonnxruntime.so.1.32.0\"; fi\n",
        0755);
    EXPECT_EQ(setenv("PATH", bin, 1), 0);
    EXPECT_EQ(engine_install("onnxruntime", &err), ERR_REJECTED);
    EXPECT(strstr(err.text, "SHA-256") != NULL);
    (void)snprintf(place, sizeof place, "%s/.local/share/quern/engines", home);
    EXPECT(!has_entries(place));
}

TEST(two_installations_do_not_meet)
{
    char dir[1024], lock[1100];
    int fd = -1;
    (void)isolate();
    EXPECT_EQ(engine_user_dir(dir, sizeof dir, &err), ERR_OK);
    (void)snprintf(lock, sizeof lock, "%s/.lock", dir);
    EXPECT_EQ(file_lock(lock, &fd, &err), ERR_OK);
    EXPECT_EQ(engine_install("onnxruntime", &err), ERR_CONFLICT);
    EXPECT(strstr(err.remedy, "another installation") != NULL);
    (void)fd_close(fd);
}
