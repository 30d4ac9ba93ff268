#include "run_cli.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"
#include "t.h"

struct cli_launch cli_launch;

static void note_models(const struct config *c)
{
    const struct model_config *models = c->models.items;
    cli_launch.models_len = c->models.len;
    for (size_t i = 0; i < c->models.len && i < ARRAY_LEN(cli_launch.models); i++) {
        (void)str_copy(cli_launch.models[i].name, 64, str_c(models[i].name));
        (void)str_copy(cli_launch.models[i].path, 512, str_c(models[i].path));
        (void)str_copy(cli_launch.models[i].backend, 32, str_c(models[i].backend));
        (void)str_copy(cli_launch.models[i].version, 24, str_c(models[i].version));
        (void)str_copy(cli_launch.models[i].class_name, 32, str_c(models[i].class_name));
        cli_launch.models[i].isolation = models[i].isolation;
        cli_launch.models[i].instances = models[i].instances;
    }
}

static int fake_master(struct config *c, const struct master_options *o)
{
    const char *const *listen = c->listen.items;
    struct config again;
    struct err err = {0};
    cli_launch.count++;
    cli_launch.is_serve = o->is_serve;
    cli_launch.threads = c->threads;
    cli_launch.log_format = c->log.format;
    cli_launch.log_level = c->log.level;
    cli_launch.access = c->log.access;
    (void)str_copy(cli_launch.config_file, sizeof cli_launch.config_file, str_c(o->config_file));
    (void)str_copy(cli_launch.data, sizeof cli_launch.data, str_c(c->data));
    (void)str_copy(cli_launch.exe, sizeof cli_launch.exe, str_c(o->exe));
    cli_launch.listen_len = c->listen.len;
    for (size_t i = 0; i < c->listen.len && i < ARRAY_LEN(cli_launch.listen); i++)
        (void)str_copy(cli_launch.listen[i], sizeof cli_launch.listen[i], str_c(listen[i]));
    note_models(c);
    if (cli_launch.reload_file)
        put_file(".", cli_launch.reload_file, cli_launch.reload_yaml);
    cli_launch.reloaded = o->reload(&again, o->reload_arg, &err);
    (void)str_copy(cli_launch.reload_text, sizeof cli_launch.reload_text, str_c(err.text));
    if (cli_launch.reloaded == ERR_OK) {
        cli_launch.models_len = again.models.len;
        config_done(&again);
    }
    return cli_launch.returns;
}

static void catch_fd(int fd, FILE **file, int *saved)
{
    *file = tmpfile();
    EXPECT(*file != NULL);
    *saved = dup(fd);
    EXPECT(*saved >= 0 && dup2(fileno(*file), fd) == fd);
}

static void release_fd(int fd, FILE *file, int saved, char *out, size_t out_size)
{
    EXPECT(dup2(saved, fd) == fd);
    (void)close(saved);
    rewind(file);
    size_t n = fread(out, 1, out_size - 1, file);
    out[n] = '\0';
    (void)fclose(file);
}

const struct cli_result *run_cli(const char *line)
{
    static struct cli_result result;
    static char words[4096];
    char *argv[64] = {0};
    int argc = 0, saved_out, saved_err;
    FILE *out, *err;
    char program[] = "quern";
    argv[argc++] = program;
    EXPECT(str_copy(words, sizeof words, str_c(line)));
    for (char *save = NULL, *w = strtok_r(words, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
        EXPECT(argc < (int)ARRAY_LEN(argv) - 1);
        argv[argc++] = w;
    }
    (void)fflush(stdout);
    (void)fflush(stderr);
    catch_fd(1, &out, &saved_out);
    catch_fd(2, &err, &saved_err);
    result.code = cli_main(argc, argv, fake_master);
    (void)fflush(stdout);
    (void)fflush(stderr);
    release_fd(1, out, saved_out, result.out, sizeof result.out);
    release_fd(2, err, saved_err, result.err, sizeof result.err);
    return &result;
}

void put_file(const char *dir, const char *name, const char *text)
{
    char path[1024];
    (void)mkdir(dir, 0755);
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    EXPECT(f && fputs(text, f) >= 0 && fclose(f) == 0);
}
