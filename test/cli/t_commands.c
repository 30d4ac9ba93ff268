#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "cli/commands.h"
#include "run_cli.h"
#include "t.h"

static void enter(void)
{
    EXPECT(chdir(t_tmpdir()) == 0);
    EXPECT(setenv("QUERN_DATA", "/tmp/quern-data-of-test", 1) == 0);
    /* no engine is found, whatever this machine has */
    EXPECT(setenv("QUERN_ENGINE_DIR", "/nonexistent", 1) == 0);
    EXPECT(setenv("XDG_DATA_HOME", "/nonexistent", 1) == 0);
    EXPECT(setenv("HOME", "/nonexistent", 1) == 0);
}

#define EXPECT_HAS(text, part)                                                                                         \
    (strstr((text), (part)) ? (void)0 : t_fail(__FILE__, __LINE__, "\"%s\" is not in:\n%s", (part), (text)))

TEST(cli_wrong_command_lines_end_with_2_and_a_hint)
{
    static const struct {
        const char *line, *text, *hint;
    } cases[] = {
        {"sreve x", "quern: there is no command sreve", "did you mean quern serve?"},
        {"iris.onnx", "quern: there is no command iris.onnx", "quern serve iris.onnx"},
        {"--port 80", "quern: there is no option --port", "see: quern --help"},
        {"serve", "quern serve: something is missing", "see: quern serve --help"},
        {"serve --lisetn 1 x", "quern serve: there is no option --lisetn", "did you mean --listen?"},
        {"serve --listen=1 --liste=2 x", "quern serve: there is no option --liste=2", "did you mean --listen?"},
        {"serve x --zzz", "quern serve: there is no option --zzz", "see: quern serve --help"},
        {"serve x -z", "quern serve: there is no option -z", "see: quern serve --help"},
        {"serve x --listen", "quern serve: --listen needs a value: HOST:PORT", "see: quern serve --help"},
        {"serve x --data a --data b", "quern serve: --data is given twice", ""},
        {"serve builtin:identity --access-log=no", "quern serve: --access-log takes no value", ""},
        {"serve builtin:identity --threads no", "quern: --threads: expected a whole number from 0 to 64, got \"no\"",
         ""},
        {"serve builtin:identity --isolation inlien",
         "quern: --isolation: expected one of process, inline, got \"inlien\"", "did you mean \"inline\"?"},
        {"serve builtin:identity --drain-timeout 30",
         "quern: --drain-timeout: expected a time from 0s to 1h, got \"30\"", "write a number with its unit"},
        {"check a -c b", "quern check: two configurations: b and a", "name one, with -c or without"},
        {"up --config=b a", "quern up: two configurations: b and a", "name one, with -c or without"},
        {"check a b", "quern check: too many arguments, from \"b\" on", ""},
        {"engine", "quern engine: something is missing", ""},
        {"engine instal onnxruntime", "quern engine: expected ls, install NAME or verify NAME", ""},
        {"engine install", "quern engine: expected ls, install NAME or verify NAME", ""},
        {"engine install onnxruntim", "quern: there is no engine \"onnxruntim\"", "did you mean onnxruntime?"},
        {"help nothing", "quern: there is no command nothing", ""},
        {"ps", "quern: there is no command ps", "here: quern status"},
        {"-V", "quern: there is no option -V", "here: quern --version"},
        {"serve --port 80 x", "quern serve: there is no option --port", "here: --listen 127.0.0.1:PORT"},
        {"serve --max-batch=4 x", "quern serve: there is no option --max-batch", "models.NAME.max_batch in quern.yaml"},
        {"up --memory-budget 4", "quern up: there is no option --memory-budget", "memory_budget in quern.yaml"},
        {"bench --port 80", "quern bench: there is no option --port", "see: quern bench --help"},
        {"model list", "quern model: expected show, promote, rollback, load or unload, and NAME", "quern model --help"},
        {"model promote m@2", "quern model: m@2: this is done to a model", ""},
        {"completion tcsh", "quern: no completion for the shell \"tcsh\"", "known: bash, zsh, fish"},
    };
    enter();
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct cli_result *r = run_cli(cases[i].line);
        EXPECT_HAS(r->err, cases[i].text);
        EXPECT_HAS(r->err, cases[i].hint);
        EXPECT_CSTR(r->out, "");
        EXPECT_EQ(r->code, EXIT_USAGE);
    }
    EXPECT_EQ(cli_launch.count, 0);
}

TEST(cli_serve_hands_over_what_was_asked)
{
    enter();
    const struct cli_result *r =
        run_cli("serve builtin:identity --listen 127.0.0.1:1 --listen=[::1]:2 --threads 3 --instances 2 "
                "--data d --log-format json --log-level=warn --access-log builtin:delay");
    EXPECT_CSTR(r->err, "");
    EXPECT_EQ(r->code, EXIT_FINE);
    EXPECT_EQ(cli_launch.count, 1);
    EXPECT(cli_launch.is_serve);
    EXPECT_EQ(cli_launch.listen_len, 2);
    EXPECT_CSTR(cli_launch.listen[0], "127.0.0.1:1");
    EXPECT_CSTR(cli_launch.listen[1], "[::1]:2");
    EXPECT_EQ(cli_launch.threads, 3);
    EXPECT_EQ(cli_launch.models_len, 2);
    EXPECT_EQ(cli_launch.models[1].instances, 2);
    EXPECT_EQ(cli_launch.log_format, LOG_JSON);
    EXPECT_EQ(cli_launch.log_level, LOG_LEVEL_WARN);
    EXPECT(cli_launch.access);
    EXPECT(cli_launch.data[0] == '/' && strstr(cli_launch.data, "/d"));
    EXPECT_EQ(cli_launch.reloaded, ERR_OK);
    cli_launch.returns = EXIT_ADDRESS;
    EXPECT_EQ(run_cli("serve builtin:identity")->code, EXIT_ADDRESS);
}

TEST(cli_serve_and_up_end_with_3_on_a_bad_configuration)
{
    enter();
    const struct cli_result *r = run_cli("serve nowhere.onnx");
    EXPECT_EQ(r->code, EXIT_CONFIG);
    EXPECT_HAS(r->err, "quern: cannot read nowhere.onnx: No such file or directory");
    r = run_cli("up");
    EXPECT_EQ(r->code, EXIT_CONFIG);
    EXPECT_HAS(r->err, "cannot read quern.yaml");
    put_file(".", "bad.yaml", "models:\n  a: builtin:identity\n  b: {instances: x}\n");
    r = run_cli("up -c bad.yaml");
    EXPECT_EQ(r->code, EXIT_CONFIG);
    EXPECT_HAS(r->err, "bad.yaml:3:18: models.b.instances: expected auto or a whole number from 1 to 64, got \"x\"");
    r = run_cli("serve builtin:identity --listen 0.0.0.0:80");
    EXPECT_EQ(r->code, EXIT_USAGE); /* all of it stands in the command line */
    EXPECT_HAS(r->err, "--allow-unauthenticated-remote");
    EXPECT_EQ(cli_launch.count, 0);
    EXPECT_EQ(run_cli("serve builtin:identity --listen 0.0.0.0:80 --allow-unauthenticated-remote")->code, EXIT_FINE);
    EXPECT_EQ(cli_launch.count, 1);
}

TEST(cli_a_configuration_is_named_with_and_without_an_option)
{
    static const char *const lines[] = {"check other.yaml", "check -c other.yaml", "check --config other.yaml --json",
                                        "up other.yaml",    "up -c other.yaml",    "up --config=other.yaml"};
    enter();
    put_file(".", "other.yaml", "models: {other: builtin:identity}\n");
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        const struct cli_result *r = run_cli(lines[i]);
        EXPECT_CSTR(r->err, "");
        EXPECT_EQ(r->code, EXIT_FINE);
        if (i < 3)
            EXPECT_HAS(r->out, "other");
        else
            EXPECT_CSTR(cli_launch.models[0].name, "other");
    }
    EXPECT_EQ(cli_launch.count, 3);
}

TEST(cli_up_options_stand_above_the_file)
{
    enter();
    put_file(".", "quern.yaml", "listen: 127.0.0.1:7\nthreads: 2\nmodels: {id: builtin:identity}\n");
    EXPECT_EQ(run_cli("up --threads 5")->code, EXIT_FINE);
    EXPECT(!cli_launch.is_serve);
    EXPECT_EQ(cli_launch.threads, 5);
    EXPECT_CSTR(cli_launch.listen[0], "127.0.0.1:7");
    EXPECT_CSTR(cli_launch.models[0].name, "id");
    EXPECT_CSTR(cli_launch.exe, "/proc/self/exe");
    EXPECT(cli_launch.config_file[0] == '/' && strstr(cli_launch.config_file, "/quern.yaml"));
    EXPECT_EQ(run_cli("up -cquern.yaml")->code, EXIT_FINE);
    EXPECT_EQ(run_cli("up --config=quern.yaml")->code, EXIT_FINE);
    EXPECT_EQ(cli_launch.count, 3);
}

TEST(cli_reload_changes_models_and_nothing_that_is_held)
{
    static const struct {
        const char *yaml, *text;
    } refused[] = {
        {"listen: 127.0.0.1:8\n", "q.yaml:1:9: listen: cannot change while quern runs"},
        {"data: d\n", "q.yaml:1:7: data: cannot change while quern runs"},
        {"threads: 2\n", "q.yaml:1:10: threads: cannot change while quern runs"},
        {"drain_timeout: 1s\n", "q.yaml:1:16: drain_timeout: cannot change while quern runs"},
        {"http: {body_max: 1MB}\n", "q.yaml:1:7: http: cannot change while quern runs"},
        {"log: {access: true}\n", "q.yaml:1:6: log: cannot change while quern runs"},
        {"models: {a: 1, a: 2}\n", "q.yaml:1:16: key \"a\" stands here a second time, first in line 1"},
    };
    enter();
    cli_launch.reload_file = "q.yaml";
    cli_launch.reload_yaml = "models: {id: builtin:identity, b: builtin:delay}\nclasses: {a: 5}\n";
    put_file(".", "q.yaml", "models: {id: builtin:identity}\n");
    EXPECT_EQ(run_cli("up -c q.yaml")->code, EXIT_FINE);
    EXPECT_EQ(cli_launch.reloaded, ERR_OK);
    EXPECT_EQ(cli_launch.models_len, 2);
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        put_file(".", "q.yaml", "models: {id: builtin:identity}\n");
        cli_launch.reload_yaml = refused[i].yaml;
        EXPECT_EQ(run_cli("up -c q.yaml")->code, EXIT_FINE);
        EXPECT_EQ(cli_launch.reloaded, ERR_INVALID);
        EXPECT_CSTR(cli_launch.reload_text, refused[i].text);
    }
}

TEST(cli_serve_without_the_engine_says_how_to_get_it)
{
    enter();
    put_file(".", "iris.onnx", "x");
    const struct cli_result *r = run_cli("serve iris.onnx");
    EXPECT_CSTR(r->err, "quern: ONNX Runtime is not installed. Run: quern engine install onnxruntime\n");
    EXPECT_EQ(r->code, EXIT_ENGINE);
    EXPECT_EQ(cli_launch.count, 0);
    /* `up` runs the rest of the platform */
    put_file(".", "quern.yaml", "models: {iris: iris.onnx, id: builtin:identity}\n");
    r = run_cli("up");
    EXPECT_EQ(r->code, EXIT_FINE);
    EXPECT_HAS(r->err, "an engine is not installed");
    EXPECT_EQ(cli_launch.count, 1);
}

TEST(cli_check_explains)
{
    enter();
    put_file(".", "iris.onnx", "12345");
    put_file(".", "q.yaml", "models:\n  iris: iris.onnx\n  id: {path: builtin:identity, isolation: inline}\n");
    const struct cli_result *r = run_cli("check q.yaml");
    EXPECT_EQ(r->code, EXIT_CONFIG);
    EXPECT_HAS(r->out, "iris cannot be served: not an ONNX model");
    EXPECT_HAS(r->out, "# q.yaml is valid.");
    EXPECT_HAS(r->out, "listen: [127.0.0.1:8000] # default\n");
    EXPECT_HAS(r->out, "    isolation: inline\n");
    EXPECT_HAS(r->out, "iris   1        onnx      process         auto   5 B  /");
    EXPECT_HAS(r->out, "id     1        identity  inline             -     -  built in");
    EXPECT_HAS(r->out, "ONNX Runtime is not installed. Run: quern engine install onnxruntime");
    r = run_cli("check q.yaml --json");
    EXPECT_EQ(r->code, EXIT_CONFIG);
    EXPECT_HAS(r->out, "\"problem\":\"not an ONNX model");
    EXPECT_HAS(r->out, "{\"valid\":true,");
    EXPECT_HAS(r->out, "\"engine_installed\":false");
    put_file(".", "q.yaml", "");
    EXPECT_HAS(run_cli("check q.yaml")->out, "It names no model: every request for one would be answered 404.");
    put_file(".", "q.yaml", "modles:\n");
    r = run_cli("check q.yaml");
    EXPECT_EQ(r->code, EXIT_CONFIG);
    EXPECT_CSTR(r->err, "quern: q.yaml:1:1: unknown key \"modles\"\n  did you mean \"models\"?\n");
    EXPECT_CSTR(r->out, "");
    r = run_cli("check --json q.yaml");
    EXPECT_EQ(r->code, EXIT_CONFIG);
    EXPECT_HAS(r->out, "\"valid\":false");
    EXPECT_EQ(cli_launch.count, 0);
}

TEST(cli_help_of_every_command_is_whole)
{
    enter();
    for (const struct command *c = cli_commands; c->name; c++) {
        char line[80];
        (void)snprintf(line, sizeof line, "%s --help", c->name);
        const struct cli_result *r = run_cli(line);
        EXPECT_EQ(r->code, EXIT_FINE);
        EXPECT_HAS(r->out, "NAME\n    quern ");
        EXPECT_HAS(r->out, "\nUSAGE\n");
        EXPECT_HAS(r->out, "\nDESCRIPTION\n");
        EXPECT_HAS(r->out, "    -h, --help\n");
        EXPECT_HAS(r->out, "    7  no quern is running with this data directory\n");
        for (const struct arg_option *o = c->options; o && o->name; o++) {
            EXPECT_HAS(r->out, o->name);
            EXPECT(help_option_text(o)[0]);
        }
        for (const char *p = r->out, *end; (end = strchr(p, '\n')) != NULL; p = end + 1)
            if (end - p > 100)
                FAIL("a line of %d columns in the help of %s", (int)(end - p), c->name);
        (void)snprintf(line, sizeof line, "help %s", c->name);
        EXPECT_EQ(run_cli(line)->code, EXIT_FINE);
    }
    EXPECT_HAS(run_cli("--help")->out, "    status       show the processes");
    EXPECT_EQ(run_cli("")->code, EXIT_USAGE);
}

TEST(cli_version)
{
    enter();
    EXPECT_CSTR(run_cli("version")->out, "quern " QUERN_VERSION "\n");
    EXPECT_CSTR(run_cli("--version")->out, "quern " QUERN_VERSION "\n");
    const struct cli_result *r = run_cli("version --features");
    EXPECT_HAS(r->out, "\nsandbox    ");
    EXPECT_HAS(r->out, "\nbackends   onnx, tflite, ");
    EXPECT_HAS(r->out, "not installed; run: quern engine install onnxruntime");
    EXPECT_HAS(run_cli("version --features --json")->out, "\"engines\":[{\"name\":\"onnxruntime\"");
}

TEST(cli_engine_ls)
{
    enter();
    EXPECT_HAS(run_cli("engine ls")->out, "no; run: quern engine install onnxruntime");
    EXPECT_HAS(run_cli("engine ls --json")->out, "\"installed\":false");
    const struct cli_result *r = run_cli("engine verify onnxruntime");
    EXPECT_EQ(r->code, EXIT_ENGINE);
    EXPECT_HAS(r->err, "quern engine install onnxruntime");
}

TEST(cli_completion_scripts_are_valid)
{
    static const char *const shells[] = {"bash", "zsh", "fish"};
    enter();
    for (size_t i = 0; i < ARRAY_LEN(shells); i++) {
        char line[80];
        (void)snprintf(line, sizeof line, "completion %s", shells[i]);
        const struct cli_result *r = run_cli(line);
        EXPECT_EQ(r->code, EXIT_FINE);
        EXPECT_HAS(r->out, "serve");
        EXPECT_HAS(r->out, "isolation");
        EXPECT(!strstr(r->out, "reference"));
    }
}

TEST(cli_output_that_cannot_be_written_is_a_failure)
{
    enter();
    int full = open("/dev/full", O_WRONLY);
    if (full < 0)
        SKIP("no /dev/full");
    EXPECT(dup2(full, 1) == 1);
    struct buf out;
    buf_init(&out, 100);
    buf_c(&out, "text");
    EXPECT_EQ(cli_print(&out), EXIT_FAILED);
}

static const char running[] =
    "{\"version\":\"0.1.0\",\"master_pid\":%d,\"started_at_ms\":1000,\"listen\":[\"127.0.0.1:8000\"],\"new_key\":[{}],"
    "\"processes\":[{\"role\":\"edge\",\"pid\":11,\"model\":null,\"restarts\":0,\"state\":\"ready\",\"since_ms\":1},"
    "{\"role\":\"worker\",\"pid\":12,\"model\":\"iris\",\"version\":\"1\",\"instance\":1,\"restarts\":3,"
    "\"state\":\"backoff\",\"since_ms\":5,\"reason\":\"died\\u001b[31m\\u009bx\"}],"
    "\"crashes\":[{\"id\":\"c1\",\"time_ms\":1700000000000,\"role\":\"worker\",\"pid\":9,\"model\":\"iris\","
    "\"instance\":1,"
    "\"signal\":11,\"signal_name\":\"SIGSEGV\",\"reason\":\"killed by a signal\",\"request_id\":\"r-1\","
    "\"stack\":[\"run+0x10\",\"main+0x1\"]}]}\n";

TEST(cli_status_not_running)
{
    char text[2048];
    enter();
    const struct cli_result *r = run_cli("status --data none");
    EXPECT_EQ(r->code, EXIT_NOT_RUNNING);
    EXPECT_CSTR(r->out, "not running (data directory none)\n");
    EXPECT_CSTR(run_cli("status --json --data none")->out, "{\"running\":false,\"data\":\"none\"}\n");
    put_file("d", "x", "");
    (void)snprintf(text, sizeof text, running, 999999999); /* no such process */
    put_file("d/run", "status.json", text);
    put_file("d/run", "lock", "");
    r = run_cli("status --data d");
    EXPECT_EQ(r->code, EXIT_NOT_RUNNING);
    EXPECT_HAS(r->out, "not running (data directory d)\n");
    EXPECT_HAS(r->out, "Crash reports: 1\n"); /* reports outlive the process */
    EXPECT_HAS(r->out, "SIGSEGV  request r-1\n");
    (void)snprintf(text, sizeof text, running,
                   (int)getpid()); /* alive, but nobody holds the lock: the number was used again */
    put_file("d/run", "status.json", text);
    EXPECT_EQ(run_cli("status --data d")->code, EXIT_NOT_RUNNING);
}

TEST(cli_status_running)
{
    char text[2048];
    enter();
    put_file("d", "x", "");
    put_file("d/run", "lock", "");
    (void)snprintf(text, sizeof text, running, (int)getpid());
    put_file("d/run", "status.json", text);
    int lock = open("d/run/lock", O_RDWR);
    EXPECT(lock >= 0 && flock(lock, LOCK_EX | LOCK_NB) == 0);
    const struct cli_result *r = run_cli("status --data d");
    EXPECT_EQ(r->code, EXIT_FINE);
    EXPECT_HAS(r->out, "quern 0.1.0 on 127.0.0.1:8000, up ");
    EXPECT_HAS(r->out, "ROLE    PID  MODEL     STATE    RESTARTS");
    EXPECT_HAS(r->out, "worker   12  iris@1#1  backoff         3");
    EXPECT_HAS(r->out, "died [31m  x\n"); /* no escape reaches the terminal */
    EXPECT_HAS(r->out, "at run+0x10 < main+0x1\n");
    r = run_cli("status --json --data d");
    EXPECT_EQ(r->code, EXIT_FINE);
    EXPECT_CSTR(r->out, text);
    put_file("d/run", "status.json", "{\"version\":");
    r = run_cli("status --data d");
    EXPECT_EQ(r->code, EXIT_FAILED);
    EXPECT_HAS(r->err, "d/run/status.json: ");
}

TEST(cli_status_lists_in_an_order_and_says_what_states_mean)
{
    static const char json[] =
        "{\"version\":\"0.1.0\",\"master_pid\":%d,\"started_at_ms\":1000,\"listen\":[],\"processes\":["
        "{\"role\":\"edge\",\"pid\":11,\"restarts\":0,\"state\":\"ready\"},"
        "{\"role\":\"worker\",\"pid\":15,\"model\":\"b\",\"version\":\"1\",\"instance\":0,\"restarts\":0,\"state\":"
        "\"ready\"},"
        "{\"role\":\"worker\",\"pid\":14,\"model\":\"a\",\"version\":\"10\",\"instance\":0,\"restarts\":0,\"state\":"
        "\"ready\"},"
        "{\"role\":\"worker\",\"pid\":13,\"model\":\"a\",\"version\":\"9\",\"instance\":1,\"restarts\":0,\"state\":"
        "\"ready\"},"
        "{\"role\":\"worker\",\"pid\":12,\"model\":\"a\",\"version\":\"9\",\"instance\":0,\"restarts\":0,\"state\":"
        "\"ready\"}],"
        "\"models\":[{\"name\":\"b\",\"version\":\"1\",\"state\":\"kept\",\"reason\":\"\"},"
        "{\"name\":\"a\",\"version\":\"10\",\"state\":\"canary\",\"reason\":\"\"},"
        "{\"name\":\"a\",\"version\":\"9\",\"state\":\"failed\",\"reason\":\"no such file\"}]}";
    static const char *const in_order[] = {"edge ",        "a@9#0",
                                           "a@9#1",        "a@10#0",
                                           "b@1#0",        "a@9",
                                           "no such file", "quern model show a, promote a, rollback a",
                                           "b@1 ",         "quern model rollback b"};
    char text[2048];
    enter();
    put_file("d", "x", "");
    put_file("d/run", "lock", "");
    (void)snprintf(text, sizeof text, json, (int)getpid());
    put_file("d/run", "status.json", text);
    int lock = open("d/run/lock", O_RDWR);
    EXPECT(lock >= 0 && flock(lock, LOCK_EX | LOCK_NB) == 0);
    const struct cli_result *r = run_cli("status --data d");
    EXPECT_EQ(r->code, EXIT_FINE);
    const char *at = r->out;
    for (size_t i = 0; i < ARRAY_LEN(in_order); i++) {
        const char *found = strstr(at, in_order[i]);
        if (!found)
            FAIL("%s is not behind what comes before it:\n%s", in_order[i], r->out);
        at = found + strlen(in_order[i]);
    }
}
