/* The configuration: what quern.yaml and the command line say, checked. One snapshot, immutable, in one arena; a reload builds a second one aside.
 * The tables in config.c are the truth for YAML keys, defaults, limits, --help and docs/reference.md. */
#ifndef CLI_CONFIG_H
#define CLI_CONFIG_H

#include "base/log.h"
#include "base/settings.h"

enum isolation { ISOLATION_PROCESS, ISOLATION_INLINE };
enum load_mode { LOAD_ALWAYS, LOAD_ON_DEMAND };

#define BATCHING_SIZES_MAX 8

struct batching_config { /* models: {iris: {batching: {delay: 2ms}}}; the most rows of a run is max_batch */
    uint64_t delay_ns;
    struct setting_list preferred, sizes; /* const char *: ascending whole numbers, see config_sizes */
    bool is_ordered;                      /* key `ordered` */
};

enum queue_late { QUEUE_REJECT, QUEUE_DELAY };

struct priority_config { /* models: {iris: {priorities: {3: {queue_max: 10}}}}; in place of the model's own */
    const char *name;    /* "1" ... "10" */
    int64_t queue_max;   /* 0: no other limit than the model's */
    uint64_t queue_timeout_ns;
    int queue_late; /* enum queue_late */
};

struct canary_config { /* models: {iris: {canary: {percent: 10}}}; how a new version is tried before it takes over */
    int64_t percent, shadow; /* both 0: not at all */
    const char *header;
    uint64_t for_ns;
    int64_t min_requests;
    double max_failures, max_slower, max_different, tolerance;
};

enum compare_mode { COMPARE_OFF, COMPARE_WARN, COMPARE_REQUIRE };

struct compare_config { /* models: {iris: {compare: {mode: require}}}; a new version against the old one */
    int mode;           /* enum compare_mode */
    double tolerance;
    int64_t samples, keep_requests;
    uint64_t within_ns;
};

struct ensemble_step_config { /* of models.NAME.ensemble.steps */
    const char *name, *model;
    const char *version;                 /* NULL: the newest that is ready */
    struct setting_list inputs, outputs; /* struct setting_text_pair: the member's tensor, the ensemble's */
    uint32_t line;                       /* found out: in the file of struct ensemble_config */
};

struct ensemble_config {
    struct setting_list inputs, outputs; /* const char *: tensors of the ensemble */
    struct setting_list steps;           /* struct ensemble_step_config; none: not an ensemble */
    uint64_t memory_bytes;
    const char *file; /* found out: the config.pbtxt that it came from; NULL: the configuration */
    uint32_t line;
};

struct warm_up_input_config {
    const char *name;
    int data;                 /* enum warmup_fill */
    const char *file;         /* in the model's folder warmup/ */
    struct setting_list dims; /* const char *: whole numbers; none: as the model says */
    const char *datatype;     /* NULL: the model's */
    bool has_dims;            /* found out: dims count, even if there are none */
};

#define WARM_UP_BATCH_MAX 65536
#define WARM_UP_COUNT_MAX 10000

struct warm_up_config { /* models: {iris: {warm_up: {first: {batch_size: 8}}}} */
    const char *name;
    int64_t batch_size, count;
    struct setting_list inputs; /* struct warm_up_input_config; others are made up */
};

struct model_config { /* models: {iris: {path: ..., instances: 2}}; a scalar is the path */
    const char *name;
    const char *path;    /* file; made absolute when loaded, relative to the configuration file; NULL for built-ins */
    const char *backend; /* NULL: by the file's extension */
    const char *version; /* default "1" */
    int isolation;       /* enum isolation, default process */
    int64_t instances;   /* worker processes; 0 = chosen, see model/scale.h */
    int64_t threads;     /* intra-op threads of the engine per instance; 0 = chosen */
    int64_t max_batch;   /* rows in one run; 0 = chosen by the backend */
    struct batching_config batching;
    struct ensemble_config ensemble;
    int64_t queue_max;              /* requests that may wait, default 1024 */
    uint64_t queue_timeout_ns;      /* so long they wait for a run; 0: as long as their deadlines allow */
    int queue_late;                 /* enum queue_late: and then */
    struct setting_list priorities; /* struct priority_config: where this is otherwise */
    int64_t priority;               /* of requests that name none; 1 is most urgent */
    uint64_t timeout_ns;            /* default deadline of a request, 30s */
    uint64_t load_timeout_ns;       /* default 120s */
    uint64_t memory_bytes;          /* most private memory of one instance; 0 = no limit */
    uint64_t cache_bytes;           /* of answers kept; 0 = no cache */
    int load;                       /* enum load_mode, default always */
    uint64_t unload_after_ns;       /* on demand: idle for so long it is unloaded; 0 = stays */
    const char *class_name;         /* key `class`: one of classes; default the first */
    struct setting_list parameters; /* struct setting_text_pair: for the backend */
    uint64_t keep_old_ns;           /* how long what a new version replaced is kept warm */
    struct canary_config canary;
    struct compare_config compare;
    struct setting_list warm_up;  /* struct warm_up_config: runs before it is ready */
    struct setting_list versions; /* const char *: which of a folder are served: "all", "latest:N", or numbers */
    struct setting_list labels;   /* struct setting_pair: names for versions */
    /* found out, not in the table: */
    bool in_repository;          /* found in a folder of `repository` */
    bool is_load_by_repository;  /* load, and unload_after, are what `repository` says */
    const char *origin;          /* the file or folder that path came from; NULL for built-ins */
    const char *problem;         /* a model of a repository that cannot be served, with the reason; NULL: none */
    struct setting_list notes;   /* const char *: what its config.pbtxt says without effect here */
    const char *warm_up_folder;  /* files of warm_up lie in it */
    const char *pbtxt;           /* the config.pbtxt that was read; NULL: none */
    const char *labels_file;     /* its config.pbtxt's label_filename, a name in the model's folder; NULL: none */
    const char *declared;        /* JSON for model/declared.h: tensors that its config.pbtxt names; NULL: none */
    const char *override_config; /* a config.pbtxt that stands over quern.yaml, see config_override.h; NULL: none */
};

enum repository_mode { REPOSITORY_FIXED, REPOSITORY_WATCH, REPOSITORY_EXPLICIT };

struct repository_config {     /* section `repository` */
    struct setting_list paths; /* const char *: folders of models, absolute when loaded */
    int mode;                  /* enum repository_mode */
    uint64_t scan_ns, settle_ns;
    bool is_on_demand;        /* its models are, where they do not say otherwise */
    uint64_t unload_after_ns; /* of those; 0 = they stay */
    struct setting_list load; /* const char *: with mode explicit, the models to load at start */
};

struct http_config {         /* section `http`: limits of the HTTP server, see net/server.h */
    uint64_t body_bytes_max; /* 64 MiB */
    uint64_t head_bytes_max; /* 64 KiB */
    int64_t headers_max;     /* 100 */
    int64_t connections_max; /* 10000, in all */
    int64_t pipeline_max;    /* 64 */
    uint64_t head_timeout_ns, body_timeout_ns, idle_timeout_ns, send_timeout_ns; /* 10s 30s 75s 30s */
};

struct log_config {
    int level;
    int format;
    bool access; /* default off */
};               /* enum log_level; enum log_format; access log lines on/off */

struct config {
    const char *file;           /* where it came from, absolute; NULL for `quern serve` */
    struct setting_list listen; /* const char * "HOST:PORT", default 127.0.0.1:8000; [::1]:8000 for IPv6 */
    bool allow_remote;          /* key `allow_unauthenticated_remote`: listen beyond loopback without authentication */
    bool allow_client_shm;      /* clients may register their shared memory for inputs and outputs */
    bool record_over_network;   /* requests may be recorded over TCP */
    const char *base_path;      /* in front of the protocols' paths, without it they work too; NULL: none */
    const char *data;           /* data directory, absolute */
    int64_t threads;            /* edge threads; 0 = the machine's budget */
    uint64_t drain_timeout_ns;  /* 30s */
    uint64_t memory_budget_bytes; /* for all workers; 0 = no limit */
    bool warm_engines;            /* default true */
    struct log_config log;
    struct http_config http;
    struct repository_config repository;
    struct setting_list models;  /* struct model_config: one for each served version, those of one model side by side */
    struct setting_list classes; /* struct setting_pair, default high 60, medium 30, low 10 */
    struct setting_list left_out; /* const char *: what lies in repositories and cannot be a model, with the reason */
    struct setting_list models_given; /* struct model_config: as in the file, for `quern check` */
    const char *file_given;           /* private: the file's name as the user wrote it, for error texts */
    struct setting_places places;     /* private: where each key stood, for error texts */
    struct arena arena;               /* owns all of the above */
};

#define CONFIG_MODELS_MAX 4096
#define CONFIG_LISTEN_MAX 16

/* All builders below fill *c on success only, and leave nothing to free on failure.
 *
 * Reads and checks a file. All checks that need no other process are here: known backends, files exist and are regular and readable, names are sane ([A-Za-z0-9._-]+),
 * classes known, addresses parse, shares add up to at most 100, loopback unless allow_remote. */
enum err_code config_load(struct config *c, const char *file, struct err *err);
/* What `quern serve FILE|DIR|builtin:NAME ...` means, in the same form. Options are set by the caller afterwards with config_set. */
enum err_code config_from_paths(struct config *c, const char *const *paths, size_t paths_len, struct err *err);
/* One setting from the command line: "threads", "log.level", "models.*.instances" (every model); where: "--instances". */
enum err_code config_set(struct config *c, const char *key, const char *value, const char *where, struct err *err);
/* For `quern check`: what can be seen of inputs and outputs without loading models. Those that contradict their file, or in an ensemble each other,
 * get a `problem`. A load finds the rest. */
void config_check_tensors(struct config *c);
void config_log_left_out(const struct config *c);
enum err_code config_check(struct config *c, struct err *err); /* the checks, again, after config_set */
void config_done(struct config *c);
/* The numbers of batching.preferred or batching.sizes of a checked configuration; returns how many, at most BATCHING_SIZES_MAX. */
size_t config_sizes(const struct setting_list *list, uint32_t out[BATCHING_SIZES_MAX]);
/* Most rows of a run as configured: max_batch, else the greatest of the sizes asked for; 0 = to be chosen. */
int64_t config_max_batch(const struct model_config *m);
/* "127.0.0.1:8000" apart; port 0 allowed (kernel's choice). */
enum err_code config_address(const char *text, char *host, size_t host_size, int *port, bool *is_loopback,
                             struct err *err);
/* $QUERN_DATA, else $XDG_DATA_HOME/quern, else ~/.local/share/quern, else /var/lib/quern; absolute. */
const char *config_data_default(struct arena *a);
extern const struct setting config_table[];

#endif
