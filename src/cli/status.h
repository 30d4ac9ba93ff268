/* The state that the master writes to DIR/run/status.json at each change, and how to tell whether it is still true. */
#ifndef CLI_STATUS_H
#define CLI_STATUS_H

#include "base/arena.h"
#include "base/err.h"

#define STATUS_BYTES_MAX     ((size_t)8 << 20)
#define STATUS_PROCESSES_MAX 4096
#define STATUS_CRASHES_MAX   4096

struct status_process {
    struct str role, model, version, state, reason;
    int64_t pid, instance, restarts;
    uint64_t since_ms;
};
#define STATUS_FRAMES_MAX 3 /* the innermost ones; all are in the file */

struct status_crash {
    struct str id, role, model, version, signal_name, reason, request_id;
    struct str frames[STATUS_FRAMES_MAX];
    size_t frames_len;
    int64_t pid, instance, signal;
    uint64_t time_ms;
};
struct status {
    struct str text; /* the whole file */
    struct str version;
    int64_t master_pid;
    uint64_t started_at_ms;
    struct str listen[16];
    size_t listen_len;
    struct status_process *processes;
    size_t processes_len;
    struct str memory; /* JSON, see cli/status_memory.h */
    struct str models; /* JSON, see cli/status_models.h */
    struct str last_error;
    struct status_crash *crashes;
    size_t crashes_len;
    bool is_running;
};

/* ERR_NOT_FOUND: nothing ever ran with this data directory. Text points into the arena. */
enum err_code status_read(const char *data, struct arena *a, struct status *out, struct err *err);
/* The text alone; unknown keys are skipped, so that an older program reads what a newer one wrote. */
enum err_code status_parse(struct str text, struct arena *a, struct status *out, struct err *err);

#endif
