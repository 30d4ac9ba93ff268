/* The master's inside. One thread, one poll loop; it touches no network byte and no model. What it knows: the configuration in force, one `life` per served model
 * version, one `child` per process. */
#ifndef APP_MASTER_INT_H
#define APP_MASTER_INT_H

#include "base/arena.h"
#include "base/hash.h"
#include "base/json.h"
#include "cli/launch.h"
#include "model/scale.h"
#include "proc/budget.h"
#include "proc/channel.h"
#include "proc/report.h"
#include "proc/restart.h"
#include "serve/lane_shm.h"
#include "sys/cgroup.h"
#include "sys/oom.h"

#define MASTER_LISTEN_MAX    16
#define MASTER_CRASHES_SHOWN 20
#define MASTER_CRASH_FILES   100

enum child_state { CHILD_WAITING, CHILD_STARTING, CHILD_READY, CHILD_DRAINING, CHILD_FAILED, CHILD_STOPPED };

struct life;
struct stem;

struct child {
    const char *role;  /* "edge", "worker" */
    struct life *life; /* workers */
    struct stem *stem; /* stems */
    int index;         /* instance */
    int pid;           /* 0: no process */
    int channel;       /* -1: none */
    int report_fd;
    struct report_shm *report;
    enum child_state state;
    struct restart restart;
    uint64_t start_at_ns; /* CHILD_WAITING */
    uint64_t kill_at_ns;  /* give up waiting for ready, or for the end of a drain; 0: no limit */
    uint64_t pinged_ns;   /* heartbeat on its way; 0: none */
    uint64_t since_ms;
    char reason[600];      /* why it failed, or why it last died */
    char kill_reason[240]; /* we killed it: why */
    bool is_crash_kill;    /* ... and it counts against the requests it ran */
    bool has_told_why;     /* it cannot start, and kill_reason is what it said */
    bool is_in_trouble;    /* one before it told so; until one is ready */
    bool waits_for_stem;   /* CHILD_STARTING, without a process */
    bool is_refused;       /* CHILD_FAILED, without a process, and not told yet */
    int threads;           /* of the engine; workers */
    int copies;            /* of the model that it may load, a prober; 0: one */
    bool leaves;           /* CHILD_DRAINING: after the run in progress, others take what waits */
};

/* A configuration and whoever still uses it. */
struct snapshot {
    struct config config;
    int refs;
};

/* What a model's workers take, together: `known` when it was measured, now or by an earlier start; else by the size of its file. */
struct model_memory {
    bool is_known;
    uint64_t private_bytes, shared_bytes; /* shared by its instances; counted once */
    uint64_t program_bytes;               /* shared with other models of its backend */
    uint64_t peak_bytes;                  /* while it loads; of private and shared */
    uint64_t load_ns;
};

/* A life's workers in memory (master_budget.c). Lives without workers of their own have none. */
struct residence {
    enum budget_phase phase;
    struct model_memory memory;
    uint64_t file_bytes; /* with all that lies beside it */
    uint64_t due_ns;     /* it is to be loaded whoever asks, since then; 0: it waits for somebody who wants it */
    bool is_busy;        /* as the edge said last */
    uint64_t used_ns;    /* the same */
    uint64_t started_ns, ready_ns, sampled_ns;
    uint64_t wanted_ns, expect_ns;  /* as last decided */
    uint64_t together_bytes;        /* the same: of others that must be in memory with it */
    const struct life *replaced_by; /* the same, only then valid: a new life of the model that is on its way */
    bool is_beside;                 /* the same: while it waits for room, what it is to be loaded beside is there */
    uint32_t group;    /* the same: not 0 for all lives of a model one of which waits to be loaded beside another */
    uint64_t retry_ns; /* FAILED, on demand: from then on it may be tried again */
    uint32_t failures, loads, unloads; /* failures: in a row */
    char why[240];                     /* for people: what became of it last */
};

/* Instances and threads of a life that are wanted (master_scale.c). */
struct scaling {
    bool is_auto;    /* something is to be chosen */
    bool is_settled; /* nothing is to be tried any more, with this budget */
    bool is_kept;    /* the choice comes from an earlier start */
    int instances, threads;
    int budget;                          /* its part of the machine's processors; 0: it does not choose */
    int part_next;                       /* another part, since part_since_ns */
    uint64_t part_since_ns, next_try_ns; /* 0: never; at once */
    uint32_t failures;                   /* tries in a row that told nothing to keep */
    double row_ns;                       /* what a row takes at its best, as its workers say; 0: unknown */
    struct scale_limits tried;           /* what the prober was told */
    struct scale found;                  /* tries_len 0: nothing */
    char why[240];
};

/* ASLEEP: on demand, and not loaded. KEPT: loaded and idle, for the way back. Those before it are what the configuration speaks of. */
enum life_state { LIFE_LOADING, LIFE_READY, LIFE_FAILED, LIFE_ASLEEP, LIFE_KEPT, LIFE_RETIRED };

/* One served model version from one configuration: a segment and its workers. A changed model is a new life beside the old one. */
struct life {
    struct life *next;
    struct snapshot *snapshot;
    const struct model_config *config;
    uint32_t segment;
    int segment_fd;         /* -1: inline */
    struct hash128 file_id; /* a changed file is a changed model */
    enum life_state state;
    char reason[600];
    bool announced, sent, replaces; /* replaces: an older life serves until this one is ready */
    bool is_canary;                 /* READY, and replaces: it is tried beside the older life */
    bool is_comparing;              /* ... but nobody gets it yet: it is being compared */
    char compared[400];             /* what came of that */
    bool is_leaving;                /* no longer wanted; serves until another of its name is ready */
    bool is_wanted_back;            /* LIFE_KEPT: serves again as soon as the edge has let go of it */
    uint32_t replaced_by;           /* LIFE_KEPT: segment of the life that took over */
    uint64_t keep_until_ns;         /* LIFE_KEPT */
    struct residence res;
    struct scaling scaling;
    struct child *children;
    int children_len, children_room; /* those behind children_len have no process */
};

/* UNDECIDED: workers wait; how many, is known at the end of this turn of the loop. BEHIND: to be opened when nothing starts any more. */
enum stem_plan { STEM_UNPLANNED, STEM_UNDECIDED, STEM_BEHIND };

/* A process in which an engine is open, for workers to be forked from. */
struct stem {
    struct stem *next;
    const struct backend *backend;
    struct child child;
    struct hash128 engine_id; /* of the engine's file when it was opened */
    uint64_t used_ns;         /* a model of its backend was there */
    enum stem_plan plan;
    bool is_behind;           /* it was started while nobody waited for it, and opens its engine at low priority */
    uint64_t open_at_ns;      /* STEM_BEHIND; 0: something starts still */
    struct child *goes_alone; /* within decide() */
};

struct master {
    struct snapshot *snapshot; /* in force */
    const struct master_options *options;
    struct arena arena;
    int lock_fd, signal_fd;
    int listen_fds[MASTER_LISTEN_MAX + 1];
    size_t listen_fds_len;
    char addresses[MASTER_LISTEN_MAX][300];
    size_t addresses_len;
    int doorbell_fd;
    int bells[LANE_THREADS_MAX];
    int threads;
    int cores;
    struct child edge;
    struct child prober; /* tries instances and threads of its life; life NULL: there is none */
    uint64_t scale_next_ns;
    struct cgroup cgroup; /* shares of the classes */
    bool has_cgroup;      /* more than one class is in use */
    struct life *lives;
    struct stem *stems;
    bool has_control;     /* the last of listen_fds is the control socket */
    bool has_lost_folder; /* the data directory is not ours, and that has been said */
    uint64_t next_folder_ns;
    bool is_reaper; /* orphans of stems become our children */
    uint32_t next_segment;
    uint64_t started_at_ms, next_watch_ns, next_ping_ns;
    bool stopping, status_dirty, edge_was_ready;
    bool has_started;         /* the first models have been loaded, or have failed */
    uint64_t status_due_ns;   /* status_dirty; 0: not looked at yet */
    uint64_t status_retry_ns; /* it could not be written; 0: it could */
    int exit_code;
    char *crashes[MASTER_CRASHES_SHOWN]; /* JSON texts, newest first */
    size_t crashes_len;
    uint64_t crash_seq;
    char last_error[600]; /* of a reload, for the status */
    struct watch *watch;  /* master_watch.c */
    uint64_t next_scan_ns, next_cache_ns;
    bool is_auto_reload;         /* a reload by the watch: models whose files are not settled stay as they are */
    struct rejected *rejected;   /* master_rollback.c */
    struct overrides *overrides; /* master_overrides.c */
    struct loads *loads;         /* master_loads.c */
    struct budget *budget;       /* master_budget.c */
    struct wants *wants;         /* master_wants.c */
    struct oom_watch oom;        /* master_oom.c */
    uint64_t next_oom_ns;
    struct channel_msg msg;
};

/* master_children.c */
void child_start(struct master *m, struct child *c);
void child_signal_drain(struct master *m, struct child *c);
void child_leave(struct master *m, struct child *c); /* the same, after its run: others do what waits */
void child_kill(struct child *c, const char *reason, bool is_crash);
void child_send(struct master *m, struct child *c, enum channel_type type, struct str payload, const int *fds,
                size_t fds_len);
void children_tick(struct master *m, uint64_t now_ns);
uint64_t children_next_ns(const struct master *m, uint64_t now_ns); /* when to tick again */
const char *child_state_name(enum child_state s);
void child_set_state(struct master *m, struct child *c, enum child_state s);
bool child_is_edge(const struct child *c);

/* master_hear.c */
void child_read(struct master *m, struct child *c); /* its channel is readable */

/* master_bury.c */
void child_reap(struct master *m);                           /* SIGCHLD */
void child_describe_death(struct child *c, int wait_status); /* sets its reason */

/* master_stems.c */
bool stem_prepare(struct master *m, struct child *c); /* true: the worker is to wait, see stem_is_awaited */
bool stem_is_awaited(const struct master *m, const struct child *c);
void stems_decide(struct master *m); /* everything that is to start now waits: which of them go without */
/* Sets pid and channel of the worker. False: start it in another way. */
bool stem_fork(struct master *m, struct child *c, const char *title, uint64_t data_bytes_max);
void stem_told(struct master *m, struct child *c, enum channel_type type, struct str text);
bool stem_buried(struct master *m, int pid, int wait_status); /* false: it was none */
void stems_tick(struct master *m, uint64_t now_ns);
uint64_t stems_next_ns(const struct master *m);
void stems_end(struct master *m);

/* master_scale.c: instances and threads that are not configured */
void scale_begin(struct master *m,
                 struct life *l); /* makes room for children, and says how many; no process is there */
void scale_child_ready(struct life *l, uint64_t row_ns);
void scale_on_message(struct master *m, enum channel_type type, struct str payload,
                      struct str text);                        /* of the prober */
bool scale_buried(struct master *m, int pid, int wait_status); /* false: it was not the prober */
void scale_forget(struct master *m, const struct life *l);     /* it is not served any more; NULL: none is */
void scale_tick(struct master *m, uint64_t now_ns);
uint64_t scale_next_ns(const struct master *m);
void scale_write_trial(const struct master *m, const struct child *c,
                       struct json_writer *w); /* nothing, if c is no prober */
void scale_write(const struct life *l, struct json_writer *w);

/* master_models.c */
void classes_open(struct master *m);                     /* when more than one class is in use */
void class_put(struct master *m, const struct child *c); /* a new worker into its class's group */
enum err_code lives_start(struct master *m, struct err *err);
void life_changed(struct master *m, struct life *l); /* tell the edge */
void life_child_ready(struct master *m, struct life *l);
void life_child_failed(struct master *m, struct life *l, const char *reason);
/* Why a model that is ready has nobody who serves it, where that was told. NULL: one serves, or will in a moment. */
const char *life_trouble(const struct life *l);
void life_inline_result(struct master *m, uint32_t segment, const char *error);
void life_drained(struct master *m, uint32_t segment); /* the edge has no request of it any more */
void lives_tell_edge(struct master *m);                /* a new edge knows nothing */
void lives_sweep(struct master *m);                    /* frees retired lives without processes */
struct life *life_by_segment(struct master *m, uint32_t segment);
void model_log_notes(const struct model_config *c); /* what its config.pbtxt says in vain */
enum err_code life_start(struct master *m, struct snapshot *s, const struct model_config *c, bool replaces,
                         struct err *err);
void life_withdraw(struct master *m, struct life *l); /* the edge is to forget it */
void life_takes_over(struct master *m, struct life *l);
void life_fail(struct master *m, struct life *l, const char *reason);
void life_retire(struct master *m, struct life *l); /* no new requests; its workers end after the last answer */
bool life_is_unchanged(const struct life *l, const struct model_config *c); /* by settings and file */
bool life_has_new_file(const struct life *l);
void snapshot_unref(struct snapshot *s);

/* master_messages.c: what the edge and the workers are told */
void master_worker_launch(const struct master *m, const struct child *c, struct buf *out);
void master_edge_launch(const struct master *m, struct buf *out);
/* Sets up out, whose owner the caller is. */
void master_model_news(const struct master *m, const struct life *l, struct buf *out);
struct hash128 life_memory_key(const struct life *l); /* what its need of memory depends on */

/* master_ensemble.c */
void master_write_ensemble(const struct ensemble_config *e, struct json_writer *w); /* nothing, if it is none */
/* A member is being replaced: what the ensemble looks like then is seen when that has ended. */
bool ensemble_waits(const struct master *m, const struct life *l);
void ensembles_tick(struct master *m); /* tells the edge of those that need not wait any more */
bool master_same_ensemble(const struct ensemble_config *a, const struct ensemble_config *b);

/* master_cache.c: folders of models that are gone */
void cache_tick(struct master *m, uint64_t now_ns);
uint64_t cache_next_ns(const struct master *m);

/* master_warm_up.c */
void master_write_warm_up(const struct model_config *c, struct json_writer *w); /* nothing, if there is none */

/* master_reload.c */
bool life_is_wanted(const struct master *m, const struct life *l); /* its version, by the configuration in force */
enum err_code master_reload(struct master *m, struct err *err);    /* logs its own failure */
void master_reload_asked(struct master *m, uint64_t id);           /* by the edge, which hears of it by this id */
void lives_leave(struct master *m, const struct life *news); /* versions no longer wanted, when others are ready */

/* master_watch.c */
void watch_tick(struct master *m, uint64_t now_ns);
uint64_t watch_next_ns(const struct master *m);
bool watch_holds(const struct master *m, const struct model_config *c); /* not to be touched by this reload */

/* master_loads.c */
bool loads_want(struct master *m, const struct config *c, const char *name); /* false: not loaded, in mode explicit */
void loads_on_message(struct master *m, enum channel_type type, struct str payload);
void loads_after_reload(struct master *m);
bool loads_asks_for(const struct master *m, const char *name); /* the reload in work is for a load of it by request */
void loads_settle(struct master *m, const char *name, const char *reason); /* reason NULL: a life is ready */

/* master_known.c: tells the edge which models the repository has */
void known_tell(struct master *m);

/* master_budget.c: which models are in memory */
/* A new life with workers: loads it, at once or when there is room, or leaves it asleep. */
void budget_enter(struct master *m, struct life *l);
void budget_tick(struct master *m, uint64_t now_ns);
uint64_t budget_next_ns(const struct master *m);
void budget_edge_is_new(struct master *m);     /* it knows nothing of what an earlier one was asked, or asked for */
void budget_changed(struct master *m);         /* look again */
bool budget_is_yielding(const struct life *l); /* the edge was asked to let go of it and has not answered */
void budget_yielded(struct master *m, struct life *l, bool is_busy);
bool life_is_on_demand(const struct life *l);
enum err_code budget_unload(struct master *m, const char *name, struct err *err); /* an operator wants it unloaded */

/* master_budget_show.c */
void budget_write(const struct master *m, struct json_writer *w);    /* for the status */
void budget_write_life(const struct life *l, struct json_writer *w); /* for the edge */

/* master_wants.c: what the edge says of who waits and what is used */
void wants_on_message(struct master *m, enum channel_type type, struct str payload);
void wants_by_request(struct master *m, const char *name);    /* an operator wants it loaded */
bool wants_has(const struct master *m, const struct life *l); /* ... and it is not yet */
void wants_mark(struct master *m, uint64_t now_ns);           /* sets wanted_ns and together_bytes of all lives */
void wants_expect(struct master *m);                          /* tells the edge when they will be ready */
void wants_refused(struct master *m, struct life *l, const struct err *why);
void wants_forget(struct master *m);
uint64_t wants_next_ns(const struct master *m); /* when one of them is over */

/* master_memory.c: measuring */
void memory_recall(const struct master *m, struct life *l);
void memory_measure(const struct master *m, struct life *l); /* and remembers it */
uint64_t memory_now(const struct life *l);                   /* quickly, about */
uint64_t memory_need(const struct life *l);                  /* private and shared */

/* master_overrides.c: models loaded with what a request brought */
enum err_code overrides_put(struct master *m, const char *name, const char *theirs, struct err *err);
void overrides_drop(struct master *m, const char *name);
void overrides_settle(struct master *m, const char *name, bool is_good); /* it serves, or the one before goes on */
void overrides_sweep(
    struct master *m,
    const char *theirs); /* folders that nothing uses any more, and this one, if the edge still owns it */
void overrides_clear(struct master *m); /* all: at the start and at the end */

/* master_canary.c */
bool canary_is_due(struct master *m, const struct life *l); /* the configuration wants it tried first */
void canary_begin(struct master *m, struct life *l);
void canary_verdict(struct master *m, struct str payload);
void canary_tick(struct master *m);
enum err_code canary_promote(struct master *m, const char *name, struct err *err);
bool canary_reject(struct master *m, const char *name, const char *reason); /* false: there is none */
void canary_payload(const struct life *l, struct json_writer *w);

/* master_compare.c */
bool compare_is_due(const struct master *m, const struct life *l); /* the configuration wants it compared first */
/* One that the edge loads: nobody may get it before it is compared. */
void compare_expect(const struct master *m, struct life *l);
void compare_begin(struct master *m, struct life *l);
void compare_payload(const struct master *m, const struct life *l, struct json_writer *w);
bool compare_passes(struct master *m, struct life *l, bool is_same, bool is_refused,
                    const char *text); /* the comparison has ended */

/* master_rollback.c */
void rollback_reject(struct master *m, const struct life *l); /* a reload does not take it until it changes */
void life_keep(struct master *m, struct life *l, const struct life *by); /* or retires it */
/* False: no version of it is there; err says so. */
bool master_has_model(const struct master *m, const char *name, struct err *err);
enum err_code master_rollback(struct master *m, const char *name, const char *reason, struct err *err);
bool rollback_rejects(struct master *m, const struct model_config *c); /* was rolled back, and has not changed since */
void rollback_drained(struct master *m, struct life *l);
void rollback_tick(struct master *m, uint64_t now_ns);
uint64_t rollback_next_ns(const struct master *m);

/* master_folder.c */
enum err_code folder_take(struct master *m, struct err *err); /* makes it and locks it */
bool folder_is_ours(const struct master *m);
int folder_listen(const struct master *m);           /* the control socket; -1: there is none */
void folder_tick(struct master *m, uint64_t now_ns); /* makes it again when it was removed */
void folder_leave(struct master *m);

/* master_status.c */
void status_write(struct master *m);
void status_tick(struct master *m, uint64_t now_ns); /* writes what has changed, soon */
void crashes_load(struct master *m);
void crash_record(struct master *m, const struct child *c, int pid, int wait_status);

/* master_oom.c */
void oom_start(struct master *m);
void oom_note_death(struct master *m, struct child *c,
                    int wait_status); /* once for each that has died; fills kill_reason */
void oom_tick(struct master *m, uint64_t now_ns);

#endif
