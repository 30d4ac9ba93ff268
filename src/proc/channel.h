/* Lifecycle channel: one SOCK_SEQPACKET pair between the master and each child, descriptor 3 in the child. A message is a header, a
 * bounded payload (JSON text, or nothing) and, from master to child only, descriptors. Nothing else goes here: data goes through shared
 * memory, questions through each role's HTTP service. End of file means that the other side is gone: a child ends then, the
 * master reaps. */
#ifndef PROC_CHANNEL_H
#define PROC_CHANNEL_H

#include "base/buf.h"
#include "base/err.h"

#define CHANNEL_FD          3     /* in every child */
#define CHANNEL_PAYLOAD_MAX 32768 /* well under the kernel's default socket buffer */
#define CHANNEL_FDS_MAX     136   /* an edge of 64 threads with its doorbells and sockets */

enum channel_type {
    /* master to child */
    CHANNEL_LAUNCH = 1, /* first message: who you are, with the descriptors to inherit */
    CHANNEL_MODEL,      /* to edge: a model's state changed (descriptor: its segment, when new) */
    CHANNEL_MODEL_GONE, /* to edge: forget this model */
    CHANNEL_DIED,       /* to edge: worker process {pid} of {segment} is gone: run its rows again */
    CHANNEL_DRAIN,      /* finish what you have, then end */
    CHANNEL_ABORT,      /* to worker: give up the run of block {lane, block, gen} */
    CHANNEL_RELOADED,   /* to edge: answer to CHANNEL_RELOAD {id, ok, text, remedy} */
    CHANNEL_LOADED,     /* to edge: answer to CHANNEL_LOAD or CHANNEL_UNLOAD {id, code, text, remedy} */
    CHANNEL_LOG,        /* to worker: what to log from now on */
    CHANNEL_FORK,       /* to stem: a worker {title, data_max} with these descriptors: its channel, its report */
    CHANNEL_YIELD, /* to edge: no new requests for {segment}; answer CHANNEL_YIELDED: at once, or with drain when it has none */
    CHANNEL_EXPECT, /* to edge: {segment} will be ready at {at_ns}, or never: {text, remedy} */
    CHANNEL_KNOWN,  /* to edge: {names} of the models that the repository has, in parts, see serve/known.h */
    CHANNEL_LISTEN, /* to edge: one more socket to take connections from (descriptor) */
    CHANNEL_PING,   /* heartbeat: answer with CHANNEL_PONG at once */
    /* child to master */
    CHANNEL_READY = 32, /* loaded; serves */
    CHANNEL_FAILED,     /* cannot: {text, remedy}; restarting would not help */
    CHANNEL_RELOAD,     /* edge: an operator asks to read the configuration again {id} */
    CHANNEL_LOAD,       /* edge: an operator asks to load a model {id, name} */
    CHANNEL_UNLOAD,
    CHANNEL_PROMOTE,    /* edge: take the canary {id, name} */
    CHANNEL_VERDICT,    /* edge: the canary {segment} is good or bad {ok, reason} */
    CHANNEL_ROLLBACK,   /* edge: back to the version before {id, name, reason}; id 0: nobody waits for an answer */
    CHANNEL_KILL,       /* edge: worker {pid} hangs: {reason} */
    CHANNEL_CANCEL,     /* edge: pass on as CHANNEL_ABORT */
    CHANNEL_LOG_CHOSEN, /* edge: an operator asks for this to be logged, by all */
    CHANNEL_FORKED,     /* stem: answer to CHANNEL_FORK {pid}; 0: could not */
    CHANNEL_DRAINED,    /* nothing is in flight any more */
    CHANNEL_SCALED,     /* prober: what instances and threads are worth {rows, tries}; it ends */
    CHANNEL_DAMAGED,    /* worker: what it has loaded is damaged on the disk {text, remedy}; it runs nothing more */
    CHANNEL_PONG,
    CHANNEL_WANT,    /* edge: requests wait for {segment}, which is not loaded; what is used of the others: {used} */
    CHANNEL_UNWANT,  /* edge: none waits any more */
    CHANNEL_YIELDED, /* edge: {segment} has no requests, or is {busy} and serves on */
    CHANNEL_USED,    /* edge: when models were used: {used: [[segment, idle_ms, busy], ...]} */
    CHANNEL_TYPE_MAX_
};

struct channel_msg {
    enum channel_type type;
    struct str payload;       /* borrowed from text */
    int fds[CHANNEL_FDS_MAX]; /* owned by the receiver */
    size_t fds_len;
    char text[CHANNEL_PAYLOAD_MAX + 64];
};

enum channel_result { CHANNEL_MESSAGE, CHANNEL_EMPTY, CHANNEL_CLOSED };

enum err_code channel_pair(int *out_master, int *out_child, struct err *err);
/* Waits at most a second for a full buffer: a child that reads nothing for so long is stuck (ERR_TIMEOUT). */
enum err_code channel_send(int fd, enum channel_type type, struct str payload, const int *fds, size_t fds_len,
                           struct err *err);
/* What went wrong, as it is told: {segment, text, remedy}. segment 0: the child that tells it is meant. */
void channel_write_err(struct buf *out, uint32_t segment, const struct err *e);
/* Never blocks. A malformed message is a broken peer: CHANNEL_CLOSED. */
enum channel_result channel_recv(int fd, struct channel_msg *out);
void channel_msg_close(struct channel_msg *m); /* closes descriptors not taken (set to -1 by the taker) */

#endif
