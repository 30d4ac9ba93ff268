#include "cli/config_int.h"

static const char *const isolations[] = {"process", "inline", NULL};
static const char *const load_modes[] = {"always", "on-demand", NULL};               /* as enum load_mode */
static const char *const levels[] = {"debug", "info", "warn", "error", "off", NULL}; /* as enum log_level */
static const char *const formats[] = {"people", "json", NULL};                       /* as enum log_format */

#define KIB 1024.0
#define GIB (1024.0 * 1024 * 1024)
#define MS  1e6
#define S   1e9
#define H   3600e9

static const char *const queue_lates[] = {"reject", "delay", NULL}; /* as enum queue_late */

static const struct setting priority_table[] = {
    SETTING_INT(
        "queue_max", struct priority_config, queue_max, .def = "0", .max = 1000000, .unit = "requests",
        .help = "Requests of this priority that may wait for a run. 0: no other limit than the model's `queue_max`."),
    SETTING_TIME("queue_timeout", struct priority_config, queue_timeout_ns, .def = "0", .max = 24 * H,
                 .help = "As the model's, in its place. 0: as long as their deadlines allow."),
    SETTING_ENUM("queue_late", struct priority_config, queue_late, .def = "reject", .choices = queue_lates,
                 .help = "As the model's, in its place."),
    {0}};

static const struct setting batching_table[] = {
    SETTING_TIME("delay", struct batching_config, delay_ns, .def = "0", .max = 60 * S,
                 .help = "How long a batch that is not full waits for more rows. 0: it runs as soon as an instance is "
                         "free; while all "
                         "are busy rows gather anyway."),
    SETTING_STRS("preferred", struct batching_config, preferred, .max = BATCHING_SIZES_MAX,
                 .help = "Sizes in rows, ascending: a batch of the first one or more does not wait for `delay`."),
    SETTING_STRS("sizes", struct batching_config, sizes, .max = BATCHING_SIZES_MAX,
                 .help =
                     "The only sizes that a shared run may have, in rows, ascending: batches are filled up to the next "
                     "one with copies of a row. Empty: any size."),
    SETTING_BOOL("ordered", struct batching_config, is_ordered, .def = "false",
                 .help = "Requests run, and are answered, in the order in which they came; priorities do not count."),
    {0}};

static const struct setting canary_table[] = {
    SETTING_INT("percent", struct canary_config, percent, .def = "0", .max = 100, .unit = "percent",
                .help = "Of the callers that name no version, so many get the new one; a caller stays with its own."),
    SETTING_INT("shadow", struct canary_config, shadow, .def = "0", .max = 100, .unit = "percent",
                .help = "Of the answered requests, copies of so many run on the new version; nobody waits for them, "
                        "their outputs are compared."),
    SETTING_STR("header", struct canary_config, header, .def = "x-canary", .min = 1, .max = 63,
                .help = "Request header, in lower case: `always` and `never` choose; any other value is the caller's "
                        "name, in place of its address."),
    SETTING_TIME("for", struct canary_config, for_ns, .def = "5m", .max = 24 * H,
                 .help = "How long it is tried before it takes over."),
    SETTING_INT("min_requests", struct canary_config, min_requests, .def = "100", .min = 1, .max = 1000000,
                .help = "Fewer are not judged: neither taken over nor, but for failures, sent back."),
    SETTING_FLOAT("max_failures", struct canary_config, max_failures, .def = "1", .max = 100, .unit = "percent",
                  .help = "More failures than that, beyond those of the old version, send it back."),
    SETTING_FLOAT("max_slower", struct canary_config, max_slower, .def = "2", .min = 1, .max = 1000, .unit = "times",
                  .help = "A 95th percentile that is so much longer sends it back."),
    SETTING_FLOAT("max_different", struct canary_config, max_different, .def = "1", .max = 100, .unit = "percent",
                  .help = "More compared requests with other outputs send it back."),
    SETTING_FLOAT("tolerance", struct canary_config, tolerance, .def = "0.001", .max = 1e6,
                  .help = "Numbers that differ by less, relative to 1 + their size, are the same."),
    {0}};

static const struct setting ensemble_step_table[] = {
    SETTING_STR("model", struct ensemble_step_config, model, .min = 1, .max = 127,
                .help = "The member: another of `models`, not an ensemble."),
    SETTING_STR("version", struct ensemble_step_config, version, .min = 1, .max = 18,
                .help = "Of the member. By default the greatest that is ready."),
    SETTING_TEXT_MAP("inputs", struct ensemble_step_config, inputs,
                     .help = "What each input of the member gets: `{MEMBERS_INPUT: TENSOR}`."),
    SETTING_TEXT_MAP("outputs", struct ensemble_step_config, outputs,
                     .help = "What the member's outputs are called from here on: `{MEMBERS_OUTPUT: TENSOR}`."),
    {0}};

static const struct setting ensemble_table[] = {
    SETTING_STRS("inputs", struct ensemble_config, inputs, .max = 64,
                 .help = "Tensors that a request brings, by the names that steps use."),
    SETTING_STRS("outputs", struct ensemble_config, outputs, .max = 64, .help = "Tensors that are answered."),
    SETTING_MAP("steps", struct ensemble_config, steps, ensemble_step_table, struct ensemble_step_config, .max = 32,
                .help = "Steps by name; each runs when its inputs are there."),
    SETTING_BYTES("memory", struct ensemble_config, memory_bytes, .def = "256MiB", .min = KIB, .max = 1024 * GIB,
                  .help =
                      "Most memory of tensors that wait between steps, of all its requests together; above it 429."),
    {0}};

static const char *const compare_modes[] = {"off", "warn", "require", NULL}; /* as enum compare_mode */

static const struct setting compare_table[] = {
    SETTING_ENUM("mode", struct compare_config, mode, .def = "off", .choices = compare_modes,
                 .help = "`warn`: outputs that differ are told. `require`: the old one goes on when they do."),
    SETTING_FLOAT("tolerance", struct compare_config, tolerance, .def = "0.001", .max = 1e6,
                  .help = "Numbers that differ by less, relative to 1 + their size, are the same."),
    SETTING_INT("samples", struct compare_config, samples, .def = "8", .min = 1, .max = 64, .unit = "requests",
                .help = "Requests that both answer: those that were kept, then those of `warm_up`, then made-up ones."),
    SETTING_INT("keep_requests", struct compare_config, keep_requests, .def = "0", .max = 64, .unit = "requests",
                .help = "Inputs of so many of the latest requests are kept in memory to be compared with, up to 1 MiB "
                        "each. Text is not kept."),
    SETTING_TIME("within", struct compare_config, within_ns, .def = "30s", .min = MS, .max = H,
                 .help = "A comparison that takes longer ends there: it counts if any request was compared."),
    {0}};

static const char *const fills[] = {"random", "zero", "file", NULL}; /* as enum warmup_fill */

static const struct setting warm_up_input_table[] = {
    SETTING_ENUM("data", struct warm_up_input_config, data, .def = "random", .choices = fills,
                 .help = "`random`: small made-up numbers. `zero`. `file`: the bytes of `file`."),
    SETTING_STR("file", struct warm_up_input_config, file, .min = 1, .max = 255,
                .help = "With `data: file`, a file in the folder `warmup` of the model's folder: the elements in their "
                        "order, little-endian; of BYTES each with its length before it, in 4 bytes."),
    SETTING_STRS("dims", struct warm_up_input_config, dims, .max = 8,
                 .help = "Shape without the batch. By default the model's, where that is fixed."),
    SETTING_STR("datatype", struct warm_up_input_config, datatype, .min = 1, .max = 8,
                .help = "`FP32` ... `BYTES`, to be checked against the model's."),
    {0}};

static const struct setting warm_up_table[] = {
    SETTING_INT("batch_size", struct warm_up_config, batch_size, .def = "0", .max = WARM_UP_BATCH_MAX, .unit = "rows",
                .help = "Put before `dims`. 0: `dims` are the whole shape; where they are left out, one row."),
    SETTING_INT("count", struct warm_up_config, count, .def = "1", .min = 1, .max = WARM_UP_COUNT_MAX,
                .help = "How often it runs."),
    SETTING_MAP("inputs", struct warm_up_config, inputs, warm_up_input_table, struct warm_up_input_config, .max = 64,
                .help = "Inputs by name. One that is left out is made up."),
    {0}};

const struct setting config_model_table[] = {
    SETTING_STR("path", struct model_config, path, .min = 1, .max = 4000,
                .help =
                    "Model file, relative to the configuration file; or a folder with `<version>/model.onnx` and maybe "
                    "Triton's `config.pbtxt`, see `versions`; or `builtin:NAME`. A model that is one line (`iris: "
                    "iris.onnx`) gives "
                    "the path."),
    SETTING_STR("backend", struct model_config, backend, .min = 1, .max = 31,
                .help = "What runs the model. By default it follows from the file's extension."),
    SETTING_STR("version", struct model_config, version, .min = 1, .max = 18,
                .help = "Version of the model, digits only. By default the number of the folder the file lies in (in a "
                        "repository), else 1."),
    SETTING_ENUM("isolation", struct model_config, isolation, .def = "process", .choices = isolations,
                 .help =
                     "`process`: worker processes of its own, sandboxed; a crash costs nothing but time. `inline`: on "
                     "the threads that serve connections; least latency, for small models that you trust."),
    SETTING_INT("instances", struct model_config, instances, .def = "auto", .zero = "auto", .min = 1, .max = 64,
                .help = "Worker processes of the model. `auto`: tried on the model itself, within its part of the "
                        "machine's processors, see docs/scaling.md."),
    SETTING_INT("threads", struct model_config, threads, .def = "auto", .zero = "auto", .min = 1, .max = 256,
                .help = "Threads of the engine in each instance. `auto`: tried together with `instances`."),
    SETTING_INT(
        "max_batch", struct model_config, max_batch, .def = "0", .max = 65536, .unit = "rows",
        .help = "Most rows in one run; larger requests run in parts. 0: chosen by measuring at load. 1: requests never "
                "share a run."),
    SETTING_SECTION("batching", struct model_config, batching, batching_table,
                    .help = "How requests that wait together share runs, where the model allows it."),
    SETTING_SECTION("ensemble", struct model_config, ensemble, ensemble_table,
                    .help = "Instead of a path: several models as one, see docs/ensembles.md."),
    SETTING_INT("queue_max", struct model_config, queue_max, .def = "1024", .min = 1, .max = 1000000,
                .unit = "requests", .help = "Requests that may wait for a run; more are refused with 429 at once."),
    SETTING_TIME("queue_timeout", struct model_config, queue_timeout_ns, .def = "0", .max = 24 * H,
                 .help = "How long a request may wait for its run to begin, however far its deadline is. 0: as long as "
                         "that allows."),
    SETTING_ENUM("queue_late", struct model_config, queue_late, .def = "reject", .choices = queue_lates,
                 .help =
                     "What becomes of a request that has waited for `queue_timeout`. `reject`: it fails with 504; "
                     "one that would have to wait longer is refused with 429 when it comes. `delay`: it goes behind "
                     "all that have not waited so long, until its deadline."),
    SETTING_MAP("priorities", struct model_config, priorities, priority_table, struct priority_config, .max = 10,
                .help = "By priority, from 1 to 10: what holds for its requests in place of `queue_timeout` and "
                        "`queue_late`, and a limit of its own."),
    SETTING_INT(
        "priority", struct model_config, priority, .def = "1", .min = 1, .max = 10,
        .help =
            "Of requests that name none, 1 is most urgent. A request overtakes those of the next priority that came "
            "up to half a second before it."),
    SETTING_TIME("timeout", struct model_config, timeout_ns, .def = "30s", .min = MS, .max = 24 * H,
                 .help =
                     "A request that is not answered by then fails with 504, unless it brought a deadline of its own."),
    SETTING_TIME("load_timeout", struct model_config, load_timeout_ns, .def = "120s", .min = MS, .max = 24 * H,
                 .help = "A model that is not ready by then has failed."),
    SETTING_BYTES("memory", struct model_config, memory_bytes, .def = "0",
                  .help = "Most private memory of one instance; it is restarted when it takes more. 0: no limit."),
    SETTING_ENUM("load", struct model_config, load, .def = "always", .choices = load_modes,
                 .help =
                     "`always`: loaded at the start, and it stays. `on-demand`: its first request loads it and waits; "
                     "it goes when `memory_budget` has no room for another that is wanted, the one used longest ago "
                     "first, and never with requests in work."),
    SETTING_TIME("unload_after", struct model_config, unload_after_ns, .def = "0", .max = 30 * 24 * H,
                 .help = "With `load: on-demand`, a model that was not used for that long is unloaded. 0: it stays."),
    SETTING_BYTES("cache", struct model_config, cache_bytes, .def = "0", .max = 64 * GIB,
                  .help = "Memory for answers that are given again to requests whose tensors are equal; equal "
                          "requests at the same time share one run. Only for models whose answer depends on nothing "
                          "but the request. 0: no cache."),
    SETTING_STR("class", struct model_config, class_name, .min = 1, .max = 64,
                .help =
                    "One of `classes`: whose requests and instances come first when the machine is short. By default "
                    "the first class."),
    SETTING_TEXT_MAP("parameters", struct model_config, parameters,
                     .help = "Handed to the backend as they are; up to 4000 bytes in all."),
    SETTING_TIME("keep_old", struct model_config, keep_old_ns, .def = "0", .max = 24 * H,
                 .help = "How long what a new version has replaced stays loaded, idle, for `quern model rollback`. It "
                         "costs its memory."),
    SETTING_SECTION("canary", struct model_config, canary, canary_table,
                    .help =
                        "A new version is tried beside the old one before it takes over, and goes back by itself when "
                        "it is worse."),
    SETTING_MAP("warm_up", struct model_config, warm_up, warm_up_table, struct warm_up_config, .max = 32,
                .help = "Runs that a model makes before it is ready, by name; one that fails is a model that fails. "
                        "config.pbtxt calls it `model_warmup`."),
    SETTING_SECTION("compare", struct model_config, compare, compare_table,
                    .help = "A new version or file is compared with the one that serves, before it takes over or is "
                            "tried as canary."),
    SETTING_STRS("versions", struct model_config, versions, .max = 64,
                 .help = "Which versions of a folder are served, each under its number: `latest` (the default, unless "
                         "`config.pbtxt` has a policy), `latest:N`, `all`, or numbers. Who names none gets the "
                         "greatest that is ready."),
    SETTING_INTS_MAP("labels", struct model_config, labels, .min = 1, .max = 1e15,
                     .help = "Names for versions, for `/v2/models/NAME/versions/LABEL`: `{stable: 3, next: 4}`."),
    {0}};

static const struct setting http_table[] = {
    SETTING_BYTES("body_max", struct http_config, body_bytes_max, .def = "64MiB", .min = KIB, .max = 16 * GIB,
                  .help = "Largest body of a request, before and after decompression; above it 413."),
    SETTING_BYTES("head_max", struct http_config, head_bytes_max, .def = "64KiB", .min = KIB, .max = KIB * KIB,
                  .help = "Request line and headers together; above it 431."),
    SETTING_INT("headers_max", struct http_config, headers_max, .def = "100", .min = 8, .max = 1000,
                .help = "Headers of a request; above it 431."),
    SETTING_INT("connections_max", struct http_config, connections_max, .def = "10000", .min = 1, .max = 1000000,
                .help = "Open connections; the one that was idle longest is closed to make room."),
    SETTING_INT("pipeline_max", struct http_config, pipeline_max, .def = "64", .min = 1, .max = 1024,
                .help = "Requests of one connection in work at a time; reading pauses beyond."),
    SETTING_TIME("head_timeout", struct http_config, head_timeout_ns, .def = "10s", .min = 100 * MS, .max = H,
                 .help = "For a whole request head to arrive."),
    SETTING_TIME("body_timeout", struct http_config, body_timeout_ns, .def = "30s", .min = 100 * MS, .max = H,
                 .help = "For the next piece of a body to arrive."),
    SETTING_TIME("idle_timeout", struct http_config, idle_timeout_ns, .def = "75s", .min = 100 * MS, .max = 24 * H,
                 .help = "For the next request on an open connection."),
    SETTING_TIME("send_timeout", struct http_config, send_timeout_ns, .def = "30s", .min = 100 * MS, .max = H,
                 .help = "For a client to take the next piece of its answer."),
    {0}};

static const struct setting log_table[] = {
    SETTING_ENUM("level", struct log_config, level, .def = "info", .choices = levels,
                 .help = "Least level that is logged."),
    SETTING_ENUM("format", struct log_config, format, .def = "people", .choices = formats,
                 .help = "`people`: lines to read. `json`: one JSON object per line."),
    SETTING_BOOL("access", struct log_config, access, .def = "false",
                 .help = "A line for every request: id, trace, method, path, status, sizes, time, model."),
    {0}};

static const char *const repository_modes[] = {"fixed", "watch", "explicit", NULL}; /* as enum repository_mode */

static const struct setting repository_table[] = {
    SETTING_STRS("path", struct repository_config, paths, .max = 16,
                 .help = "Folders of models: each model file in it, and each folder `NAME/<version>/model.onnx`. "
                         "`models` may say more about a model by its name."),
    SETTING_ENUM("mode", struct repository_config, mode, .def = "fixed", .choices = repository_modes,
                 .help = "`fixed`: files are looked at when quern starts and reloads. `watch`: all the time; what "
                         "changed is served when it has settled. `explicit`: models come and go by "
                         "`/v2/repository/models/NAME/load` and `/unload`."),
    SETTING_TIME("scan", struct repository_config, scan_ns, .def = "1s", .min = 100 * MS, .max = H,
                 .help = "How often files are looked at with mode watch."),
    SETTING_TIME("settle", struct repository_config, settle_ns, .def = "1s", .max = H,
                 .help = "With mode watch, a model is taken when its files have not changed for that long and nobody "
                         "has them open for writing."),
    SETTING_BOOL("on_demand", struct repository_config, is_on_demand, .def = "false",
                 .help = "Its models have `load: on-demand`, except those that say otherwise, ensembles and inline "
                         "models."),
    SETTING_TIME("unload_after", struct repository_config, unload_after_ns, .def = "0s", .max = 7 * 24 * H,
                 .help = "`unload_after` of the models that `on_demand` is for."),
    SETTING_STRS("load", struct repository_config, load, .max = CONFIG_MODELS_MAX,
                 .help = "With mode explicit, the models to load at start. `*`: all."),
    {0}};

const struct setting config_table[] = {
    SETTING_STRS("listen", struct config, listen, .def = "127.0.0.1:8000", .min = 1, .max = CONFIG_LISTEN_MAX,
                 .help = "Addresses to listen on, HOST:PORT or [IPv6]:PORT. Port 0 is the system's choice."),
    SETTING_BOOL("allow_unauthenticated_remote", struct config, allow_remote, .def = "false",
                 .help = "Listen on addresses that other machines can reach although nobody is asked who they are."),
    SETTING_STR(
        "base_path", struct config, base_path, .min = 2, .max = 100,
        .help = "Path that clients put in front, such as `/team/models`: what follows is read as if it stood alone. "
                "Without it requests are answered too."),
    SETTING_BOOL("allow_client_shm", struct config, allow_client_shm, .def = "false",
                 .help =
                     "Clients on this machine may register POSIX shared memory by its name and have tensors read from "
                     "it and written to it, see docs/protocols.md. Whoever can send requests can have any shared "
                     "memory read and written that the user of quern may read and write."),
    SETTING_BOOL("record_over_network", struct config, record_over_network, .def = "false",
                 .help = "`quern record` may ask for requests and answers, which may be private, at the addresses of "
                         "`listen` too, and not only at the socket in the data directory."),
    SETTING_STR("data", struct config, data, .min = 1, .max = 4000,
                .help = "Data directory: state, crash reports, sockets. By default `$QUERN_DATA`, else "
                        "`$XDG_DATA_HOME/quern`, else `~/.local/share/quern`, else `/var/lib/quern`."),
    SETTING_INT("threads", struct config, threads, .def = "0", .max = 64,
                .help = "Threads that serve connections. 0: as many as the cores that the process may use."),
    SETTING_TIME("drain_timeout", struct config, drain_timeout_ns, .def = "30s", .max = H,
                 .help = "How long requests in work may take to end after SIGTERM or SIGINT."),
    SETTING_BOOL("warm_engines", struct config, warm_engines, .def = "true",
                 .help =
                     "Keep each engine that is in use open in one process of its own: instances start from it within "
                     "milliseconds and share its memory."),
    SETTING_BYTES("memory_budget", struct config, memory_budget_bytes, .def = "0", .max = 1024.0 * 1024 * GIB,
                  .help =
                      "Memory for all loaded models together, as measured: what their workers have for themselves and "
                      "share. A model that does not fit waits until others with `load: on-demand` have gone, or "
                      "fails with the reason. 0: no limit. See docs/memory.md."),
    SETTING_SECTION("log", struct config, log, log_table, .help = "The log, one line per event on standard error."),
    SETTING_SECTION("http", struct config, http, http_table, .help = "Limits of the HTTP server."),
    SETTING_SECTION("repository", struct config, repository, repository_table,
                    .help = "Where models are found, and when what changes there is taken."),
    SETTING_MAP("models", struct config, models, config_model_table, struct model_config, .max = CONFIG_MODELS_MAX,
                .help = "Models to serve, by name (letters, digits, `.`, `_` and `-`)."),
    SETTING_INTS_MAP("classes", struct config, classes, .def = "high: 60, medium: 30, low: 10", .min = 1, .max = 100,
                     .unit = "percent",
                     .help =
                         "Guaranteed shares of the machine by class, greatest first, 100 in all at most; lent while "
                         "idle."),
    {0}};
