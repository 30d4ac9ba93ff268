/* Inside of the load generator: its state, and its connections (load_client.c). */
#ifndef BENCH_LOAD_INT_H
#define BENCH_LOAD_INT_H

#include <llhttp.h>
#include <sys/socket.h>

#include "base/buf.h"
#include "bench/load.h"

struct client {
    struct load *load;
    llhttp_t parser;
    int fd;
    bool wants_out, is_busy, is_complete, closes;
    size_t sent;
    uint64_t start_ns; /* intended */
    struct str request;
    /* of a script */
    size_t item;
    struct buf body;
    char name[40], value[24]; /* the header in work; name "" when it is too long to be ours */
    char header_length[24];
};

struct load {
    const struct load_options *o;
    struct load_result *r;
    struct err *err;
    struct sockaddr_storage address;
    socklen_t address_n;
    int epoll, timer;
    struct client *clients;
    struct client **idle; /* those that may take the next request */
    size_t idle_len;
    uint64_t now_ns, begin_ns, end_ns; /* the window */
    double due_ns;                     /* open loop: the next intended start */
    size_t next;                       /* script: the item that is due next */
    bool is_failed;
    char *bytes;
};

/* The server's address, once. */
enum err_code load_resolve(struct load *l);
/* Tells epoll what the client waits for; op: EPOLL_CTL_ADD or EPOLL_CTL_MOD. */
bool load_watch(struct load *l, struct client *c, int op);
/* Connects. False: l->err says why, and the run has failed. */
bool load_open_client(struct load *l, struct client *c);

#endif
