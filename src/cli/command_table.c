/* The table of commands: options, examples, texts. */
#include "cli/commands.h"

#define OPTION_DATA                                                                                                    \
    {                                                                                                                  \
        .name = "data", .value = "DIR", .key = "data", .complete = "DIR"                                               \
    }
#define OPTION_LISTEN                                                                                                  \
    {                                                                                                                  \
        .name = "listen", .value = "HOST:PORT", .key = "listen", .is_repeatable = true                                 \
    }
#define OPTION_THREADS                                                                                                 \
    {                                                                                                                  \
        .name = "threads", .value = "N", .key = "threads"                                                              \
    }
#define OPTION_REMOTE                                                                                                  \
    {                                                                                                                  \
        .name = "allow-unauthenticated-remote", .key = "allow_unauthenticated_remote"                                  \
    }
#define OPTION_DRAIN                                                                                                   \
    {                                                                                                                  \
        .name = "drain-timeout", .value = "TIME", .key = "drain_timeout"                                               \
    }
#define OPTION_LOG_FORMAT                                                                                              \
    {                                                                                                                  \
        .name = "log-format", .value = "FORMAT", .key = "log.format", .complete = "people json"                        \
    }
#define OPTION_LOG_LEVEL                                                                                               \
    {                                                                                                                  \
        .name = "log-level", .value = "LEVEL", .key = "log.level", .complete = "debug info warn error off"             \
    }
#define OPTION_ACCESS                                                                                                  \
    {                                                                                                                  \
        .name = "access-log", .key = "log.access"                                                                      \
    }
#define OPTION_CONFIG                                                                                                  \
    {                                                                                                                  \
        .name = "config", .letter = 'c', .value = "FILE",                                                              \
        .help = "The configuration. Default: quern.yaml in the current folder.", .complete = "FILE"                    \
    }
#define OPTION_URL                                                                                                     \
    {                                                                                                                  \
        .name = "url", .value = "URL",                                                                                 \
        .help = "Ask this server, http://HOST:PORT or unix:SOCKET, instead of the one of the data directory."          \
    }
#define OPTION_JSON                                                                                                    \
    {                                                                                                                  \
        .name = "json", .help = "Print JSON for programs."                                                             \
    }

static const struct arg_option serve_options[] = {
    OPTION_LISTEN,
    {.name = "isolation", .value = "KIND", .key = "models.*.isolation", .complete = "process inline"},
    {.name = "instances", .value = "N", .key = "models.*.instances"},
    {.name = "repository-mode", .value = "MODE", .key = "repository.mode", .complete = "fixed watch explicit"},
    OPTION_THREADS,
    OPTION_DATA,
    OPTION_LOG_FORMAT,
    OPTION_LOG_LEVEL,
    OPTION_ACCESS,
    OPTION_DRAIN,
    OPTION_REMOTE,
    {0}};
static const struct arg_example serve_examples[] = {
    {"quern serve iris.onnx", "Serves the model as \"iris\" on 127.0.0.1:8000."},
    {"quern serve models/ --listen 127.0.0.1:9000 --instances 2",
     "Every model file in a folder, and every folder NAME/<version>/model.onnx in it."},
    {"quern serve builtin:identity --isolation inline", "No model at all, to try things out and to measure."},
    {0}};

static const struct arg_option up_options[] = {
    OPTION_CONFIG,    OPTION_LISTEN, OPTION_THREADS, OPTION_DATA,   OPTION_LOG_FORMAT,
    OPTION_LOG_LEVEL, OPTION_ACCESS, OPTION_DRAIN,   OPTION_REMOTE, {0}};
static const struct arg_example up_examples[] = {
    {"quern up -c /etc/quern/quern.yaml", "Runs what the file describes."},
    {"quern reload", "While it runs: reads the file again, as SIGHUP does; an invalid one changes nothing."},
    {0}};

static const struct arg_option check_options[] = {OPTION_CONFIG, OPTION_JSON, {0}};
static const struct arg_example check_examples[] = {
    {"quern check quern.yaml", "What would run, with which settings, and what is missing."}, {0}};

static const struct arg_option status_options[] = {OPTION_JSON, OPTION_DATA, {0}};
static const struct arg_example status_examples[] = {
    {"quern status", "Processes and crash reports of the quern that runs."},
    {"quern status --json --data /var/lib/quern | jq '.processes[].pid'", "For scripts."},
    {0}};

static const struct arg_option reload_options[] = {OPTION_DATA, OPTION_URL, {0}};
static const struct arg_example reload_examples[] = {
    {"quern check quern.yaml && quern reload", "Looks at the file first; an invalid one would change nothing."}, {0}};

static const struct arg_option engine_options[] = {OPTION_JSON, {0}};
static const struct arg_example engine_examples[] = {
    {"quern engine install onnxruntime",
     "Fetches the engine for ONNX models with pip, checked by its hash; needs no root."},
    {"quern engine ls", "What there is, and where."},
    {0}};

static const struct arg_option model_options[] = {
    {.name = "config",
     .letter = 'c',
     .value = "FILE",
     .help = "With show: the settings that this configuration gives the model, without a quern that runs.",
     .complete = "FILE"},
    OPTION_JSON,
    OPTION_DATA,
    OPTION_URL,
    {0}};
static const struct arg_example model_examples[] = {
    {"quern model show ocr", "Every setting, where it comes from, what was chosen and measured, how it does now."},
    {"quern model show ocr@3 --json | jq '.models[].status.batching'", "For scripts."},
    {"quern model show ocr -c quern.yaml", "Before it runs: what stands in the file, in config.pbtxt, and defaults."},
    {"quern model promote ocr", "The canary takes over now."},
    {"quern model rollback ocr", "The version before serves again."},
    {0}};

static const struct arg_option request_options[] = {
    {.name = "slow", .help = "List requests that took over 4 times their model's mean, and over 1 ms."},
    {.name = "failed", .help = "List those that failed by their model, its worker or their deadline."},
    {.name = "refused", .help = "List those that were not let in: too late, queue full, model not ready."},
    {.name = "invalid", .help = "List those that were wrong."},
    {.name = "usual", .help = "List those that were kept as a sample of what goes well."},
    {.name = "last", .value = "N", .help = "How many to list, 1 to 500. Default 20."},
    {.name = "model", .value = "NAME", .help = "List those of one model."},
    OPTION_JSON,
    OPTION_DATA,
    OPTION_URL,
    {0}};
static const struct arg_example request_examples[] = {
    {"quern request 4bf92f3577b34da6a3ce929d0e0e4736",
     "Stages with their times, the run and who shared it, what was ahead, and sentences that draw the conclusion."},
    {"quern request --slow --failed --last 50", "The latest of these, newest first."},
    {"quern request --refused --json | jq -r '.requests[].admission.refused_by' | sort | uniq -c",
     "Why requests are refused."},
    {0}};

static const struct arg_option record_options[] = {
    {.name = "model", .value = "NAME", .help = "Whose requests, of all its versions."},
    {.name = "out",
     .letter = 'o',
     .value = "FILE",
     .help = "Where to; for its owner's eyes only (mode 600).",
     .complete = "FILE"},
    {.name = "sample", .value = "1/N", .help = "Take one of N requests, by chance. Default 1/1."},
    {.name = "limit",
     .value = "N|SIZE",
     .is_repeatable = true,
     .help = "End after so many requests (1000), or with a unit, bytes (64MB). Default 1000; at most 1 GiB."},
    {.name = "for", .value = "TIME", .help = "End after that time."},
    {.name = "force", .help = "Write over a file that exists."},
    OPTION_JSON,
    OPTION_DATA,
    OPTION_URL,
    {0}};
static const struct arg_example record_examples[] = {
    {"quern record --model ocr --out ocr.rec --for 1m", "Up to 1000 requests of the next minute."},
    {"quern record --model ocr --out ocr.rec --sample 1/100 --limit 64MB", "A hundredth of the traffic."},
    {0}};

static const struct arg_option replay_options[] = {
    {.name = "speed",
     .value = "1x|2x|max",
     .help = "Recorded times, twice as fast, or as fast as answers come. Default 1x."},
    {.name = "compare", .help = "Compare answers with the recorded ones."},
    {.name = "tolerance",
     .value = "NUMBER",
     .help = "Compare, and take numbers that differ by less, relative to 1 + their size, for the same; 0: exactly. "
             "Default 0.001."},
    {.name = "connections", .letter = 'c', .value = "N", .help = "Most requests in flight, 1 to 4096. Default 64."},
    OPTION_JSON,
    OPTION_DATA,
    OPTION_URL,
    {0}};
static const struct arg_example replay_examples[] = {
    {"quern replay ocr.rec --compare", "Against the quern that runs: the same answers, as fast?"},
    {"quern replay ocr.rec --url http://127.0.0.1:9000 --speed max --tolerance 0",
     "Against another one, as fast as it answers; every bit counts."},
    {0}};

static const struct arg_option bench_options[] = {
    {.name = "connections",
     .letter = 'c',
     .value = "N[,N...]",
     .help = "Connections that each send their next request when the last one was answered; several numbers are "
             "measured one after another. With --rate or --p99: most requests in flight. Default 64, with a rate 256."},
    {.name = "rate",
     .letter = 'r',
     .value = "N[,N...]",
     .help = "Requests a second, however fast the server answers; latency counts from the intended start."},
    {.name = "p99",
     .value = "TIME",
     .help = "Find the highest rate whose 99th percentile of latency stays within this time."},
    {.name = "arrivals",
     .value = "KIND",
     .complete = "poisson fixed",
     .help = "How requests of a rate are spread: by chance as those of people are, or evenly. Default poisson."},
    {.name = "duration", .letter = 'd', .value = "TIME", .help = "What is measured at each point. Default 5s."},
    {.name = "warmup", .value = "TIME", .help = "Load before it that does not count. Default 1s."},
    {.name = "repeat", .value = "N", .help = "Measure each point so often; medians and spread are shown. Default 1."},
    {.name = "rows",
     .value = "N",
     .help = "Rows of each request, where the model's first dimension is free. Default 1."},
    {.name = "tensors", .value = "KIND", .complete = "json binary", .help = "How requests carry them. Default json."},
    {.name = "body", .value = "FILE", .complete = "FILE", .help = "Send this instead of made-up inputs."},
    {.name = "content-type", .value = "TYPE", .help = "Of the body. Default application/json."},
    {.name = "header", .value = "'NAME: VALUE'", .help = "One more header.", .is_repeatable = true},
    {.name = "timeout", .value = "TIME", .help = "An answer that takes longer is an error. Default 30s."},
    {.name = "server-pid",
     .value = "PID",
     .help = "Measure the CPU time of this process and its descendants. For a model's name it is known.",
     .is_repeatable = true},
    OPTION_DATA,
    OPTION_JSON,
    {0}};
static const struct arg_example bench_examples[] = {
    {"quern bench iris", "The model of the quern that runs: answers a second, latencies, CPU time of a request."},
    {"quern bench iris --p99 5ms", "The highest rate that holds 5 ms."},
    {"quern bench http://127.0.0.1:8000/v2/models/cnn -c 1,4,16,64 --tensors binary",
     "Any server of the Open Inference Protocol."},
    {"quern bench http://127.0.0.1:8080/predict --body request.json -r 500 --json", "Any other, with a body of yours."},
    {0}};

static const struct arg_option tune_options[] = {
    {.name = "p99", .value = "TIME", .help = "The 99th percentile of latency to hold. Default 20ms."},
    {.name = "duration", .letter = 'd', .value = "TIME", .help = "Of each of the measurements. Default 2s."},
    {.name = "rows",
     .value = "N",
     .help = "Rows of each request, where the model's first dimension is free. Default 1."},
    {.name = "tensors", .value = "KIND", .complete = "json binary", .help = "How requests carry them. Default binary."},
    {.name = "config",
     .letter = 'c',
     .value = "FILE",
     .complete = "FILE",
     .help = "The configuration in which the model stands. Default: quern.yaml in the current folder, if it is there."},
    {.name = "write",
     .help = "Put the best settings into the configuration; comments and all other lines stay. Without it, what would "
             "change is shown."},
    OPTION_JSON,
    {0}};
static const struct arg_example tune_examples[] = {
    {"quern tune ocr.onnx --p99 10ms", "A table of what was tried, and the best settings as YAML."},
    {"quern tune ocr -c quern.yaml --p99 20ms --write", "The same for a model of a configuration, into which it goes."},
    {0}};

static const struct arg_option version_options[] = {
    {.name = "features", .help = "Also what this build and this machine can do."}, OPTION_JSON, {0}};

static const struct arg_example completion_examples[] = {
    {"source <(quern completion bash)", "For this shell; put the line into ~/.bashrc to keep it."}, {0}};

const struct command cli_commands[] = {
    {.name = "serve",
     .summary = "serve model files, without a configuration",
     .usage = "[OPTION]... FILE|DIR|builtin:NAME...",
     .about =
         "Serves each model file under its base name; each folder as a repository: every model file in it, and for "
         "each folder NAME/<version>/model.onnx in it the greatest version. Built-in models need no file: "
         "builtin:identity, builtin:delay, builtin:repeat, builtin:crash.\n"
         "Requests are taken by HTTP: POST /predict, and the Open Inference Protocol under /v2. The dashboard is "
         "at /, metrics are at /metrics. SIGTERM or SIGINT (Ctrl-C) drain and end.",
     .options = serve_options,
     .examples = serve_examples,
     .args_min = 1,
     .args_max = 1000,
     .complete = "FILE",
     .run = cmd_serve},
    {.name = "up",
     .summary = "run everything that a configuration describes",
     .usage = "[OPTION]... [FILE]",
     .about =
         "Runs the platform by a configuration (see docs/reference.md); FILE and -c FILE are the same. Options stand "
         "above the file. SIGHUP reads it again; SIGTERM and SIGINT drain and end.",
     .options = up_options,
     .examples = up_examples,
     .args_max = 1,
     .complete = "FILE",
     .run = cmd_up},
    {.name = "check",
     .summary = "explain a configuration without running it",
     .usage = "[--json] [FILE]",
     .about =
         "Reads the file (default: quern.yaml; -c FILE is the same) as `up` does, and shows every setting in force, "
         "each model with its file, backend and engine. An error is told with its file, line and column, and ends "
         "with code 3.",
     .options = check_options,
     .examples = check_examples,
     .args_max = 1,
     .complete = "FILE",
     .run = cmd_check},
    {.name = "status",
     .summary = "show the processes that run, and crash reports",
     .usage = "[--json] [--data DIR]",
     .about =
         "Shows each process of the quern that runs, its state and restarts, models that do not simply serve, and the "
         "reports of crashes. It is the one of --data or $QUERN_DATA, or else of the default data directory, or else "
         "the only one that runs. Ends with code 7 when none is running.",
     .options = status_options,
     .examples = status_examples,
     .run = cmd_status},
    {.name = "reload",
     .summary = "read the configuration again",
     .usage = "[OPTION]...",
     .about =
         "Asks the quern that runs to read its configuration again, as SIGHUP does, and tells what it says: new models "
         "are loaded, those that changed are replaced when they are ready, no request fails. When something is wrong "
         "in the file nothing changes, and it ends with code 1 and the file, line and column.",
     .options = reload_options,
     .examples = reload_examples,
     .run = cmd_reload},
    {.name = "engine",
     .summary = "list, install and verify the engines that run models",
     .usage = "ls [--json] | install NAME | verify NAME",
     .about =
         "Engines are shared libraries that models of one kind need. They are looked for in $QUERN_ENGINE_DIR, the "
         "user's data folder, /usr/local/lib/quern/engines and /usr/lib/quern/engines.\n"
         "  ls            what is known and what is installed\n"
         "  install NAME  fetches the pinned version, checks its hash, puts it into place\n"
         "  verify NAME   checks the hash of an installed engine, and that it loads",
     .options = engine_options,
     .examples = engine_examples,
     .args_min = 1,
     .args_max = 2,
     .complete = "ls install verify onnxruntime litert",
     .run = cmd_engine},
    {.name = "model",
     .summary = "explain a model of the quern that runs, or act on it",
     .usage = "show NAME[@VERSION] | promote|rollback|load|unload NAME",
     .about =
         "show: every setting with its value and where it comes from: the line of the configuration, config.pbtxt, the "
         "command line, what was inferred and why, or the default. Settings that were left open are shown as they "
         "were chosen, with the measurement: what runs of each size took when the model was loaded, what runs have "
         "taught since, memory, cache, workers, a canary's counts, latency.\n"
         "promote: a new version that is tried (canary) or compared takes over at once.\n"
         "rollback: a new version that is tried or compared is sent back; else back to the version that the present "
         "one has replaced, at once. That must still be kept, see models.NAME.keep_old. The version that was left is "
         "not taken again until it changes.\n"
         "load, unload: with repository mode explicit, and for models on demand; load answers when the model serves. "
         "See docs/repository.md.\n"
         "All ask the quern of the data directory, or the one at --url. Ends with code 7 when none answers. See "
         "docs/explain.md.",
     .options = model_options,
     .examples = model_examples,
     .args_min = 1,
     .args_max = 2,
     .complete = "show promote rollback load unload",
     .run = cmd_model},
    {.name = "request",
     .summary = "tell why a request was slow, refused or failed",
     .usage = "[OPTION]... [ID]",
     .about =
         "With the id of a request: where its time went, which requests shared its run, which worker ran it and after "
         "how many tries, how many rows were ahead of it and when its answer was expected, and for a refused one the "
         "numbers that the decision went by. Without: a list. The id stands in the header x-request-id of every "
         "answer; a client may choose it with the same header.\n"
         "The server keeps the latest failed, refused, invalid and slow requests in places of their own and at a "
         "bounded rate, and of the usual ones a sample, in memory only: no bodies, and none survives a restart of the "
         "edge. See docs/explain.md.",
     .options = request_options,
     .examples = request_examples,
     .args_max = 1,
     .run = cmd_request},
    {.name = "record",
     .summary = "record a model's requests and answers into a file",
     .usage = "--model NAME --out FILE [OPTION]...",
     .about =
         "Takes copies of the requests that a model gets from now on, and of its answers, until a limit, the time, or "
         "Ctrl-C. quern replay sends them again. They hold what clients send, which may be private: so nothing is "
         "recorded unless somebody asks, the server itself keeps and writes nothing, the file is readable for its "
         "owner only, and a server is asked through the socket in its data directory, which only its user may open; "
         "record_over_network: true allows --url http://... too. Headers are not recorded but the content type, and "
         "of failed requests the status alone is.\n"
         "Requests wait for the recording nowhere: when it does not keep up, some are lost, and counted. The format "
         "is described in docs/explain.md.",
     .options = record_options,
     .examples = record_examples,
     .run = cmd_record},
    {.name = "replay",
     .summary = "send recorded requests again, and compare",
     .usage = "[OPTION]... FILE",
     .about =
         "Sends the requests of a recording at the times at which they came, and shows their latencies beside the "
         "recorded ones; with --compare also whether answers say the same, JSON by its meaning and tensors by their "
         "elements. Request ids and the model's version are left out of it. Latency counts from the intended start. "
         "Ends with code 1 when an answer was missing or not as recorded.",
     .options = replay_options,
     .examples = replay_examples,
     .args_min = 1,
     .args_max = 1,
     .complete = "FILE",
     .run = cmd_replay},
    {.name = "bench",
     .summary = "measure a model, or any HTTP server, under load",
     .usage = "[OPTION]... MODEL|http://HOST:PORT/PATH|unix:SOCKET[:/PATH]",
     .about =
         "Sends one request again and again and shows answers a second, latencies, errors, and where it knows the "
         "server's process the CPU time of a request. For a model of the quern that runs its name is enough; under "
         "/v2/models/NAME of any server the request is made from the server's own description of the model; other "
         "paths get --body, or GET. Keep the load and the server on different cores. Ends with code 1 when answers "
         "failed or no rate held. See docs/bench.md.",
     .options = bench_options,
     .examples = bench_examples,
     .args_min = 1,
     .args_max = 1,
     .run = cmd_bench},
    {.name = "tune",
     .summary = "find the settings with which a model serves most",
     .usage = "[OPTION]... NAME|FILE|DIR|builtin:NAME",
     .about =
         "Starts a private quern with the model again and again, on no network address that others know, with other "
         "instances, threads, batch sizes and delays, and finds for each the highest rate that holds the "
         "objective: one setting after another, each from the best before. It takes some minutes, and the machine "
         "should have nothing else to do. Ends with code 1 when nothing holds. See docs/bench.md.",
     .options = tune_options,
     .examples = tune_examples,
     .args_min = 1,
     .args_max = 1,
     .complete = "FILE",
     .run = cmd_tune},
    {.name = "version",
     .summary = "show the version, and what this build can do here",
     .usage = "[--features] [--json]",
     .about = "With --features: platform, sandbox, engines, backends and limits.",
     .options = version_options,
     .run = cmd_version},
    {.name = "completion",
     .summary = "print a completion script for a shell",
     .usage = "bash|zsh|fish",
     .about = "Prints a script that completes commands, options and their values.",
     .examples = completion_examples,
     .args_min = 1,
     .args_max = 1,
     .complete = "bash zsh fish",
     .run = cmd_completion},
    {.name = "help",
     .summary = "tell all about a command",
     .usage = "[COMMAND]",
     .about = "Without a command: the overview.",
     .args_max = 1,
     .complete = "COMMAND",
     .run = cmd_help},
    {.name = "reference",
     .summary = "print docs/reference.md",
     .usage = "",
     .about = "Commands, settings, exit codes, environment: from the tables that the program uses.",
     .is_hidden = true,
     .run = cmd_reference},
    {0}};
