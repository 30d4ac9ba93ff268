#include "cli/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "run_cli.h"
#include "t.h"

static struct err err;

/* A fresh folder, with the process standing in it and no data directory from outside. */
static const char *enter(void)
{
    const char *dir = t_tmpdir();
    EXPECT(chdir(dir) == 0);
    EXPECT(setenv("QUERN_DATA", "/tmp/quern-data-of-test", 1) == 0);
    return dir;
}

static enum err_code load(const char *yaml, struct config *c)
{
    put_file(".", "quern.yaml", yaml);
    return config_load(c, "quern.yaml", &err);
}

static const struct model_config *model(const struct config *c, size_t i)
{
    EXPECT(i < c->models.len);
    return &((const struct model_config *)c->models.items)[i];
}

TEST(config_defaults)
{
    struct config c;
    (void)enter();
    EXPECT_EQ(load("", &c), ERR_OK);
    EXPECT_CSTR(((const char *const *)c.listen.items)[0], "127.0.0.1:8000");
    EXPECT_EQ(c.http.body_bytes_max, 64 << 20);
    EXPECT_EQ(c.http.head_bytes_max, 64 << 10);
    EXPECT_EQ(c.http.headers_max, 100);
    EXPECT_EQ(c.http.connections_max, 10000);
    EXPECT_EQ(c.http.pipeline_max, 64);
    EXPECT_EQ(c.http.head_timeout_ns, 10000000000);
    EXPECT_EQ(c.http.body_timeout_ns, 30000000000);
    EXPECT_EQ(c.http.idle_timeout_ns, 75000000000);
    EXPECT_EQ(c.http.send_timeout_ns, 30000000000);
    EXPECT_EQ(c.drain_timeout_ns, 30000000000);
    EXPECT_EQ(c.log.level, LOG_LEVEL_INFO);
    EXPECT_EQ(c.log.format, LOG_PEOPLE);
    EXPECT(!c.log.access && !c.allow_remote);
    EXPECT_EQ(c.classes.len, 3);
    EXPECT_CSTR(c.data, "/tmp/quern-data-of-test");
    config_done(&c);
}

TEST(config_models_are_resolved_from_the_files_folder)
{
    struct config c;
    char want[600], dir[512];
    (void)enter();
    EXPECT(getcwd(dir, sizeof dir) != NULL);
    put_file("models", "iris.onnx", "x");
    put_file("models/ocr", "note.txt", "");
    put_file("models/ocr/2", "model.onnx", "x");
    put_file("models/ocr/10", "model.onnx", "x");
    put_file("models/ocr/11", "other.onnx", "x");
    put_file("conf", "quern.yaml",
             "data: state\n"
             "models:\n"
             "  iris: ../models/iris.onnx\n"
             "  ocr: {path: ../models/ocr, class: low, instances: 3, timeout: 250ms}\n"
             "  old: {path: ../models/ocr, version: 2}\n"
             "  id: builtin:identity\n"
             "  wait: {backend: delay, isolation: inline, parameters: {execute_delay_ms: 5}}\n");
    EXPECT_EQ(config_load(&c, "conf/quern.yaml", &err), ERR_OK);
    EXPECT_EQ(c.models.len, 5);
    (void)snprintf(want, sizeof want, "%s/conf/../models/iris.onnx", dir);
    EXPECT_CSTR(model(&c, 0)->path, want);
    EXPECT_CSTR(model(&c, 0)->backend, "onnx");
    EXPECT_CSTR(model(&c, 0)->version, "1");
    EXPECT_CSTR(model(&c, 0)->class_name, "high");
    (void)snprintf(want, sizeof want, "%s/conf/../models/ocr/10/model.onnx", dir);
    EXPECT_CSTR(model(&c, 1)->path, want);
    EXPECT_CSTR(model(&c, 1)->version, "10");
    EXPECT_CSTR(model(&c, 1)->class_name, "low");
    EXPECT_EQ(model(&c, 1)->instances, 3);
    EXPECT_EQ(model(&c, 1)->timeout_ns, 250000000);
    EXPECT_CSTR(model(&c, 2)->version, "2");
    EXPECT(model(&c, 3)->path == NULL);
    EXPECT_CSTR(model(&c, 3)->backend, "identity");
    EXPECT_EQ(model(&c, 4)->isolation, ISOLATION_INLINE);
    EXPECT_EQ(model(&c, 4)->parameters.len, 1);
    (void)snprintf(want, sizeof want, "%s/conf/state", dir);
    EXPECT_CSTR(c.data, want);
    (void)snprintf(want, sizeof want, "%s/conf/quern.yaml", dir);
    EXPECT_CSTR(c.file, want);
    config_done(&c);
}

TEST(config_errors_of_meaning_have_places_and_remedies)
{
    static const struct {
        const char *yaml, *text, *remedy;
    } cases[] = {
        {"models:\n  a: {path: m.onnx, class: hihg}\n", "quern.yaml:2:28: models.a.class: there is no class \"hihg\"",
         "name one of the keys of classes"},
        {"models:\n  a: {path: m.pb}\n", "quern.yaml:2:13: models.a.path: no backend reads files like \"m.pb\"",
         "export the model to ONNX (.onnx), or say which backend it is for: backend: NAME"},
        {"models:\n  a: {backend: tensorrt, path: m.onnx}\n",
         "quern.yaml:2:16: models.a.backend: there is no backend \"tensorrt\"",
         "known: onnx, tflite, image, topk, identity, delay, repeat, crash"},
        {"models:\n  a: {backend: identity, path: m.onnx}\n",
         "quern.yaml:2:32: models.a.path: a built-in backend reads no file", ""},
        {"models:\n  a: {backend: onnx}\n", "quern.yaml:2:3: models.a: a model of this backend needs a path", ""},
        {"models:\n  a:\n", "quern.yaml:2:3: models.a: a model needs a path or a built-in backend", "add path: FILE"},
        {"models:\n  a b: m.onnx\n",
         "quern.yaml:2:3: models.a b: a model's name has 1 to 127 letters, digits, \".\", \"_\" and \"-\"",
         "rename it; a file can keep its name with models: {NAME: FILE} in a configuration"},
        {"models:\n  ..: m.onnx\n",
         "quern.yaml:2:3: models...: a model's name has 1 to 127 letters, digits, \".\", \"_\" and \"-\"",
         "rename it; a file can keep its name with models: {NAME: FILE} in a configuration"},
        {"models:\n  a: {path: m.onnx, version: v2}\n", "quern.yaml:2:30: models.a.version: a version has digits only",
         ""},
        {"models:\n  a: {path: m.onnx, isolation: inline, instances: 2}\n",
         "quern.yaml:2:51: models.a.instances: isolation inline has no worker processes",
         "leave instances out, or say isolation: process"},
        {"models:\n  a: {path: m.onnx, load: on-demand, isolation: inline}\n",
         "quern.yaml:2:27: models.a.load: isolation inline has no worker processes that could end",
         "leave load out, or say isolation: process"},
        {"models:\n  a: {path: m.onnx, unload_after: 1m}\n",
         "quern.yaml:2:35: models.a.unload_after: a model that is always loaded is never unloaded",
         "say load: on-demand too, or leave unload_after out"},
        {"models:\n  a: {path: builtin:identity, backend: delay}\n",
         "quern.yaml:2:40: models.a.backend: \"delay\" contradicts the path builtin:identity", ""},
        {"models:\n  a: builtin:x\n", "quern.yaml:2:3: models.a.backend: there is no backend \"x\"",
         "known: onnx, tflite, image, topk, identity, delay, repeat, crash"},
        {"classes: {a: 60, b: 50}\n", "quern.yaml:1:10: classes: the shares add up to 110 percent, 100 are there", ""},
        {"classes: {}\n", "quern.yaml:1:10: classes: 0 classes, from 1 to 16 are allowed", ""},
        {"listen: 8000\n", "quern.yaml:1:9: listen: \"8000\" is not of the form HOST:PORT", "write 127.0.0.1:8000"},
        {"listen: [127.0.0.1:1, example.org:80]\n",
         "quern.yaml:1:23: listen[1]: \"example.org:80\": the host must be an IPv4 address, an [IPv6] address or "
         "localhost",
         "for all addresses of this machine write 0.0.0.0:PORT or [::]:PORT"},
        {"listen: 127.0.0.1:70000\n",
         "quern.yaml:1:9: listen: \"127.0.0.1:70000\": the port must be a number from 0 to 65535", ""},
        {"listen: [127.0.0.1:1, 127.0.0.1:1]\n", "quern.yaml:1:23: listen[1]: 127.0.0.1:1 stands here twice", ""},
        {"listen: 0.0.0.0:80\n",
         "quern.yaml:1:9: listen: 0.0.0.0:80 can be reached from other machines, and nobody would be asked who they "
         "are",
         "listen on 127.0.0.1, or say allow_unauthenticated_remote: true (option --allow-unauthenticated-remote)"},
        {"models:\n  a:\n    paht: m.onnx\n", "quern.yaml:3:5: models.a: unknown key \"paht\"",
         "did you mean \"path\"?"},
        {"models: {a: {path: m.onnx, instances: 0}}\n",
         "quern.yaml:1:39: models.a.instances: expected auto or a whole number from 1 to 64, got \"0\"", ""},
    };
    (void)enter();
    put_file(".", "m.onnx", "x");
    put_file(".", "m.pb", "x");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct config c;
        if (load(cases[i].yaml, &c) == ERR_OK)
            FAIL("accepted: %s", cases[i].yaml);
        EXPECT_CSTR(err.text, cases[i].text);
        EXPECT_CSTR(err.remedy, cases[i].remedy);
    }
}

/* They travel in one message; as JSON a quote is two bytes. */
TEST(config_parameters_have_a_limit_in_all)
{
    static char yaml[8000], value[2100];
    struct config c;
    (void)enter();
    for (int is_over = 0; is_over < 2; is_over++) {
        memset(value, '"', is_over ? 1997 : 1996);
        (void)snprintf(yaml, sizeof yaml, "models:\n  a: {backend: identity, parameters: {k: '%s'}}\n", value);
        EXPECT_EQ(load(yaml, &c) != ERR_OK, is_over);
        if (!is_over)
            config_done(&c);
    }
    EXPECT(strstr(err.text, "models.a.parameters: keys and values have more than 4000 bytes") != NULL);
    EXPECT_CSTR(err.remedy, "put what is long into a file, and its path here");
}

TEST(config_model_files_are_looked_at)
{
    struct config c;
    (void)enter();
    put_file(".", "empty.onnx", "");
    EXPECT(mkdir("dir", 0755) == 0 && mkfifo("fifo.onnx", 0600) == 0);
    EXPECT_EQ(load("models: {a: missing.onnx}\n", &c), ERR_INVALID);
    EXPECT(strstr(err.text, "quern.yaml:1:13: models.a.path: cannot read "));
    EXPECT(strstr(err.text, "missing.onnx: No such file or directory"));
    EXPECT_EQ(load("models: {a: empty.onnx}\n", &c), ERR_OK); /* perhaps still being copied: it hurts that model only */
    config_done(&c);
    EXPECT_EQ(load("models: {a: fifo.onnx}\n", &c), ERR_INVALID);
    EXPECT(strstr(err.text, "not a regular file"));
    EXPECT_EQ(load("models: {a: dir}\n", &c), ERR_INVALID);
    EXPECT(strstr(err.text, "has no model file: expected <version>/model.onnx"));
    EXPECT_EQ(config_load(&c, "nowhere.yaml", &err), ERR_NOT_FOUND);
    EXPECT(strstr(err.text, "cannot read nowhere.yaml"));
}

TEST(config_addresses)
{
    static const struct {
        const char *text, *host;
        int port;
        bool is_loopback;
    } good[] = {{"127.0.0.1:8000", "127.0.0.1", 8000, true},
                {"127.9.8.7:0", "127.9.8.7", 0, true},
                {"[::1]:65535", "::1", 65535, true},
                {"0.0.0.0:1", "0.0.0.0", 1, false},
                {"[::]:1", "::", 1, false},
                {"localhost:5", "127.0.0.1", 5, true},
                {"[::ffff:127.0.0.1]:5", "::ffff:127.0.0.1", 5, true},
                {"[::ffff:10.0.0.1]:5", "::ffff:10.0.0.1", 5, false}};
    static const char *const bad[] = {
        "",       ":",           ":8000",        "127.0.0.1",     "127.0.0.1:",      "127.0.0.1:-1",
        "::1:80", "[::1]",       "[]:1",         "[127.0.0.1]:1", "1.2.3:4",         "0127.0.0.1:1",
        "a:b",    "[::1]:65536", "localhost:+1", "127.0.0.1:80 ", "[fe80::1%eth0]:1"};
    char host[64];
    int port = 0;
    bool is_loopback = false;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        EXPECT_EQ(config_address(good[i].text, host, sizeof host, &port, &is_loopback, &err), ERR_OK);
        EXPECT_CSTR(host, good[i].host);
        EXPECT_EQ(port, good[i].port);
        EXPECT_EQ(is_loopback, good[i].is_loopback);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (config_address(bad[i], host, sizeof host, &port, &is_loopback, &err) == ERR_OK)
            FAIL("accepted: %s", bad[i]);
}

TEST(config_data_directory_follows_the_environment)
{
    struct arena a;
    arena_init(&a, 4096, 1 << 20);
    EXPECT(setenv("QUERN_DATA", "/q", 1) == 0 && setenv("XDG_DATA_HOME", "/x", 1) == 0 && setenv("HOME", "/h", 1) == 0);
    EXPECT_CSTR(config_data_default(&a), "/q");
    EXPECT(unsetenv("QUERN_DATA") == 0);
    EXPECT_CSTR(config_data_default(&a), "/x/quern");
    EXPECT(setenv("XDG_DATA_HOME", "relative", 1) == 0);
    EXPECT_CSTR(config_data_default(&a), "/h/.local/share/quern");
    EXPECT(unsetenv("HOME") == 0);
    EXPECT_CSTR(config_data_default(&a), "/var/lib/quern");
    arena_done(&a);
}

static enum err_code from(const char *a, const char *b, struct config *c)
{
    const char *paths[] = {a, b};
    return config_from_paths(c, paths, b ? 2 : 1, &err);
}

TEST(config_from_a_file_and_built_ins)
{
    struct config c;
    (void)enter();
    put_file("m", "iris.v2.onnx", "x");
    EXPECT_EQ(from("m/iris.v2.onnx", "builtin:identity", &c), ERR_OK);
    EXPECT_EQ(c.models.len, 2);
    EXPECT(c.file == NULL);
    EXPECT_CSTR(model(&c, 0)->name, "iris.v2");
    EXPECT(model(&c, 0)->path[0] == '/');
    EXPECT_CSTR(model(&c, 0)->version, "1");
    EXPECT_CSTR(model(&c, 1)->name, "identity");
    EXPECT(model(&c, 1)->path == NULL);
    config_done(&c);
}

TEST(config_of_a_repository_with_a_name_that_no_model_can_have)
{
    struct config c;
    const char *const paths[] = {"models"};
    (void)enter();
    put_file("models", "good.onnx", "x");
    put_file("models", "my model (1).onnx", "x");
    put_file("models/a b", "notes", "x");
    put_file("models/a b/1", "model.onnx", "x");
    put_file(".", "q.yaml", "repository: {path: models}\n");
    for (int i = 0; i < 2; i++) {
        EXPECT_EQ(i ? config_from_paths(&c, paths, 1, &err) : config_load(&c, "q.yaml", &err), ERR_OK);
        EXPECT_CSTR(err.text, "");
        EXPECT_EQ(c.models.len, 1);
        EXPECT_EQ(c.left_out.len, 2);
        EXPECT(
            strstr(((const char *const *)c.left_out.items)[0], "models/a b is left out: a model's name has 1 to 127"));
        EXPECT(strstr(((const char *const *)c.left_out.items)[1], "models/my model (1).onnx is left out"));
        config_done(&c);
    }
}

TEST(config_of_two_repositories_with_the_same_model)
{
    struct config c;
    (void)enter();
    put_file("a", "iris.onnx", "x");
    put_file("b", "iris.onnx", "x");
    put_file(".", "q.yaml", "repository:\n  path: [a, b]\n");
    EXPECT_EQ(config_load(&c, "q.yaml", &err), ERR_CONFLICT);
    EXPECT(strncmp(err.text, "q.yaml:2:", 9) == 0 && strstr(err.text, "two models have the name \"iris\""));
    EXPECT(strstr(err.remedy, "rename one"));
    /* Also where the configuration says more about it; one that it gives a path is another one. */
    put_file(".", "q.yaml", "repository:\n  path: [a/, b]\nmodels: {iris: {queue_max: 5}}\n");
    EXPECT_EQ(config_load(&c, "q.yaml", &err), ERR_CONFLICT);
    EXPECT(strstr(err.text, "/a/iris.onnx and ") && strstr(err.text, "/b/iris.onnx") && !strstr(err.text, "//"));
    EXPECT(strstr(err.remedy, "models: {iris: {path: "));
    put_file(".", "q.yaml", "repository:\n  path: [a, b]\nmodels: {iris: {path: b/iris.onnx}}\n");
    EXPECT_EQ(config_load(&c, "q.yaml", &err), ERR_OK);
    EXPECT_EQ(c.models.len, 1);
    config_done(&c);
}

TEST(config_of_a_repository_on_demand)
{
    struct config c;
    (void)enter();
    put_file("models", "a.onnx", "x");
    put_file("models", "b.onnx", "x");
    put_file("models", "c.onnx", "x");
    put_file("models", "d.onnx", "x");
    put_file(".", "other.onnx", "x");
    put_file(".", "q.yaml",
             "repository: {path: models, on_demand: true, unload_after: 10m}\n"
             "models: {b: {load: always}, c: {unload_after: 1m}, d: {isolation: inline}, other: other.onnx}\n");
    EXPECT_EQ(config_load(&c, "q.yaml", &err), ERR_OK);
    EXPECT_CSTR(err.text, "");
    EXPECT_EQ(c.models.len, 5);
    for (size_t i = 0; i < c.models.len; i++) {
        const struct model_config *m = model(&c, i);
        bool is_on_demand = m->name[0] == 'a' || m->name[0] == 'c';
        EXPECT_EQ(m->load, is_on_demand ? LOAD_ON_DEMAND : LOAD_ALWAYS);
        EXPECT_EQ(m->unload_after_ns, m->name[0] == 'a' ? 600 * NS_PER_S : m->name[0] == 'c' ? 60 * NS_PER_S : 0);
    }
    config_done(&c);
    put_file(".", "q.yaml", "repository: {path: models, unload_after: 10m}\n");
    EXPECT_EQ(config_load(&c, "q.yaml", &err), ERR_INVALID);
    EXPECT(strstr(err.text, "repository.unload_after"));
}

TEST(config_from_a_repository)
{
    struct config c;
    (void)enter();
    put_file("repo", "zeta.onnx", "x");
    put_file("repo", "readme.md", "x");
    put_file("repo", ".hidden.onnx", "x");
    put_file("repo/alpha", "notes", "x");
    put_file("repo/alpha/9", "model.onnx", "x");
    put_file("repo/alpha/10", "model.onnx", "x");
    put_file("repo/alpha/x1", "model.onnx", "x");
    put_file("repo/data", "train.csv", "x");
    EXPECT_EQ(from("repo", NULL, &c), ERR_OK);
    EXPECT_EQ(c.models.len, 2);
    EXPECT_CSTR(model(&c, 0)->name, "alpha");
    EXPECT_CSTR(model(&c, 0)->version, "10");
    EXPECT_CSTR(model(&c, 0)->backend, "onnx");
    EXPECT_CSTR(model(&c, 1)->name, "zeta");
    config_done(&c);
    EXPECT_EQ(from("repo/alpha/", NULL, &c), ERR_OK); /* a model's own folder */
    EXPECT_EQ(c.models.len, 1);
    EXPECT_CSTR(model(&c, 0)->name, "alpha");
    config_done(&c);
}

TEST(config_from_paths_that_do_not_work)
{
    struct config c;
    (void)enter();
    put_file("a", "iris.onnx", "x");
    put_file("b", "iris.onnx", "x");
    put_file(".", "m.pb", "x");
    put_file(".", "my model.onnx", "x");
    EXPECT(mkdir("empty", 0755) == 0);
    EXPECT_EQ(from("a/iris.onnx", "b/iris.onnx", &c), ERR_CONFLICT);
    EXPECT_CSTR(err.text, "two models have the name \"iris\": a/iris.onnx and b/iris.onnx");
    EXPECT(err.remedy[0]);
    EXPECT_EQ(from("builtin:identity", "builtin:identity", &c), ERR_CONFLICT);
    EXPECT_EQ(from("builtin:nothing", NULL, &c), ERR_INVALID);
    EXPECT(strstr(err.remedy, "builtin:identity"));
    EXPECT_EQ(from("builtin:onnx", NULL, &c), ERR_INVALID);
    EXPECT_EQ(from("nowhere.onnx", NULL, &c), ERR_NOT_FOUND);
    EXPECT(strstr(err.text, "cannot read nowhere.onnx"));
    EXPECT_EQ(from("m.pb", NULL, &c), ERR_INVALID);
    EXPECT_EQ(from("empty", NULL, &c), ERR_NOT_FOUND);
    EXPECT(strstr(err.text, "there is no model in the folder empty"));
    EXPECT_EQ(from("my model.onnx", NULL, &c), ERR_INVALID);
    EXPECT(strstr(err.text, "a model's name has"));
    EXPECT_EQ(from("/dev/null", NULL, &c), ERR_INVALID);
}

TEST(config_set_reaches_all_models_and_sections)
{
    struct config c;
    (void)enter();
    EXPECT_EQ(from("builtin:identity", "builtin:delay", &c), ERR_OK);
    EXPECT_EQ(config_set(&c, "models.*.instances", "4", "--instances", &err), ERR_OK);
    EXPECT_EQ(model(&c, 0)->instances, 4);
    EXPECT_EQ(model(&c, 1)->instances, 4);
    EXPECT_EQ(config_set(&c, "log.level", "debug", "--log-level", &err), ERR_OK);
    EXPECT_EQ(c.log.level, LOG_LEVEL_DEBUG);
    EXPECT_EQ(config_set(&c, "data", "here", "--data", &err), ERR_OK);
    EXPECT(c.data[0] == '/' && strstr(c.data, "/here"));
    EXPECT_EQ(config_set(&c, "models.*.instances", "many", "--instances", &err), ERR_INVALID);
    EXPECT_CSTR(err.text, "--instances: expected auto or a whole number from 1 to 64, got \"many\"");
    EXPECT_EQ(config_set(&c, "listen", "0.0.0.0:9", "--listen", &err), ERR_OK);
    EXPECT_EQ(config_check(&c, &err), ERR_INVALID);
    EXPECT_EQ(config_set(&c, "allow_unauthenticated_remote", "true", "--x", &err), ERR_OK);
    EXPECT_EQ(config_check(&c, &err), ERR_OK);
    config_done(&c);
}
