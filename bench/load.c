/* HTTP/1.1 load generator of all our benchmarks: one thread, N keep-alive connections, closed loop with optional pipelining, or open loop at a rate. Prints one JSON
 * object. With --server-pid it also reads how much CPU time the server (its threads and descendants) used in the measured window, which is the
 * figure that does not depend on how fast this generator is. */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/json.h"
#include "load_open.h"
#include "load_proc.h"
#include "sys/fd.h"

#define CONNECTIONS_MAX 20000
#define PIPELINE_MAX    256
#define HEAD_BYTES_MAX  16384
#define READ_BYTES      262144
#define PIDS_MAX        16
#define KINDS_MAX       4

/* ---- Options ---- */

/* What is offered beside the first, over connections of its own. */
struct also {
    double rate, deadline_ms;
    const char *from;
    struct buf body;
};

struct options {
    const char *host, *port, *unix_path;
    long connections, pipeline;
    double seconds, warmup_s, rate, deadline_ms;
    const char *method, *path;
    struct buf headers, body;
    bool has_body;
    const char *from;
    struct also also[KINDS_MAX];
    int also_len;
    int pids[PIDS_MAX];
    int pids_len;
};

static void usage(FILE *f)
{
    (void)fprintf(f,
                  "usage: bench_load [options] http://HOST:PORT/PATH | unix:SOCKET\n"
                  "  --connections N   keep-alive connections (64)\n"
                  "  --pipeline N      requests in flight for each connection (1)\n"
                  "  --rate N          open loop: N requests a second on average, over the connections that are free\n"
                  "  --deadline MS     with --rate: answers that came later count as late\n"
                  "  --from ADDRESS    IPv4 address that connections come from\n"
                  "  --also RATE,MS,ADDRESS,FILE  offers another kind of request at the same time, up to 3 times: its "
                  "rate, deadline,\n"
                  "                    address and body; each has as many connections\n"
                  "  --seconds S       measured time (5)\n"
                  "  --warmup S        seconds before (1)\n"
                  "  --method M        (GET, or POST with a body)\n"
                  "  --path P          request path, for a UNIX socket (/)\n"
                  "  --header 'K: V'   may be repeated\n"
                  "  --body TEXT       request body\n"
                  "  --body-file FILE  request body from a file\n"
                  "  --server-pid P[,P...]  processes whose CPU time is measured, with their descendants\n");
}

static void die(const char *what)
{
    (void)fprintf(stderr, "bench_load: %s\n", what);
    exit(2);
}

static long number(const char *text, const char *name, long min, long max)
{
    int64_t v = 0;
    if (!str_to_i64(str_c(text), &v) || v < min || v > max) {
        (void)fprintf(stderr, "bench_load: --%s must be a number from %ld to %ld, not '%s'\n", name, min, max, text);
        exit(2);
    }
    return (long)v;
}

static double seconds(const char *text, const char *name)
{
    char *end;
    double v = strtod(text, &end);
    if (end == text || *end || !(v >= 0 && v <= 86400)) {
        (void)fprintf(stderr, "bench_load: --%s must be a number of seconds, not '%s'\n", name, text);
        exit(2);
    }
    return v;
}

static void read_body(struct buf *body, const char *file)
{
    struct arena a;
    struct err err;
    struct str content;
    arena_init(&a, 65536, (size_t)300 << 20);
    if (file_read(file, (size_t)256 << 20, &a, &content, &err) != ERR_OK)
        die(err.text);
    buf_clear(body);
    buf_str(body, content);
    arena_done(&a);
}

/* The text is cut into pieces in place. */
static void parse_also(struct options *o, char *text)
{
    if (o->also_len == KINDS_MAX - 1)
        die("too many kinds of requests");
    struct also *a = &o->also[o->also_len++];
    char *part[4] = {text};
    for (int i = 1; i < 4; i++) {
        part[i] = strchr(part[i - 1], ',');
        if (!part[i])
            die("--also must be RATE,MS,ADDRESS,FILE");
        *part[i]++ = '\0';
    }
    a->rate = seconds(part[0], "also");
    a->deadline_ms = seconds(part[1], "also");
    a->from = part[2];
    buf_init(&a->body, (size_t)256 << 20);
    read_body(&a->body, part[3]);
}

static void parse_pids(struct options *o, struct str list)
{
    while (list.n > 0) {
        uint64_t pid = 0;
        if (o->pids_len == PIDS_MAX || !str_to_u64(str_cut(list, ',', &list), &pid) || pid == 0 || pid > INT32_MAX)
            die("--server-pid must be process ids with commas in between");
        o->pids[o->pids_len++] = (int)pid;
    }
}

/* The text is cut into pieces in place. */
static void parse_target(struct options *o, char *text)
{
    if (str_starts(str_c(text), STR("unix:"))) {
        o->unix_path = text + 5;
        return;
    }
    if (!str_starts(str_c(text), STR("http://")))
        die("the target must be http://HOST:PORT/PATH or unix:SOCKET");
    o->host = text + 7;
    char *slash = strchr(text + 7, '/');
    if (slash) {
        o->path = strdup(slash);
        *slash = '\0';
    }
    char *colon = strrchr(text + 7, ':');
    o->port = colon ? colon + 1 : "80";
    if (colon)
        *colon = '\0';
    if (!o->path)
        die("out of memory");
}

static void parse_options(struct options *o, int argc, char **argv)
{
    static const struct option longs[] = {
        {"connections", 1, NULL, 'c'}, {"pipeline", 1, NULL, 'p'},
        {"seconds", 1, NULL, 'd'},     {"warmup", 1, NULL, 'w'},
        {"method", 1, NULL, 'm'},      {"path", 1, NULL, 'u'},
        {"header", 1, NULL, 'H'},      {"body", 1, NULL, 'b'},
        {"body-file", 1, NULL, 'f'},   {"server-pid", 1, NULL, 's'},
        {"help", 0, NULL, 'h'},        {"rate", 1, NULL, 'r'},
        {"deadline", 1, NULL, 'D'},    {"from", 1, NULL, 'F'},
        {"also", 1, NULL, 'a'},        {NULL, 0, NULL, 0},
    };
    *o = (struct options){.connections = 64, .pipeline = 1, .seconds = 5, .warmup_s = 1, .path = "/"};
    buf_init(&o->headers, 65536);
    buf_init(&o->body, (size_t)256 << 20);
    int c;
    while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        switch (c) {
        case 'c':
            o->connections = number(optarg, "connections", 1, CONNECTIONS_MAX);
            break;
        case 'p':
            o->pipeline = number(optarg, "pipeline", 1, PIPELINE_MAX);
            break;
        case 'd':
            o->seconds = seconds(optarg, "seconds");
            break;
        case 'w':
            o->warmup_s = seconds(optarg, "warmup");
            break;
        case 'm':
            o->method = optarg;
            break;
        case 'u':
            o->path = optarg;
            break;
        case 'H':
            buf_c(&o->headers, optarg);
            buf_c(&o->headers, "\r\n");
            break;
        case 'b':
            buf_clear(&o->body);
            buf_c(&o->body, optarg);
            o->has_body = true;
            break;
        case 'f':
            read_body(&o->body, optarg);
            o->has_body = true;
            break;
        case 'F':
            o->from = optarg;
            break;
        case 'a':
            parse_also(o, optarg);
            break;
        case 'r':
            o->rate = seconds(optarg, "rate");
            break;
        case 'D':
            o->deadline_ms = seconds(optarg, "deadline");
            break;
        case 's':
            parse_pids(o, str_c(optarg));
            break;
        case 'h':
            usage(stdout);
            exit(0);
        default:
            usage(stderr);
            exit(2);
        }
    }
    if (optind != argc - 1) {
        usage(stderr);
        exit(2);
    }
    parse_target(o, argv[optind]);
    if (!o->method)
        o->method = o->has_body ? "POST" : "GET";
}

/* ---- Latencies: 64 linear steps for each power of two of nanoseconds, so that a quantile is at most 1.6 % too high ---- */

#define STEP_BITS 6
#define STEPS     (1u << STEP_BITS)

struct histogram {
    uint64_t counts[64 * STEPS];
    uint64_t total, max;
};

static size_t slot_of(uint64_t ns)
{
    if (ns < STEPS)
        return (size_t)ns;
    unsigned shift = 63u - (unsigned)__builtin_clzll(ns) - STEP_BITS;
    return (size_t)(((uint64_t)shift + 1) * STEPS + ((ns >> shift) & (STEPS - 1)));
}

static uint64_t top_of(size_t slot)
{
    if (slot < STEPS)
        return slot;
    unsigned shift = (unsigned)(slot / STEPS) - 1;
    return (((uint64_t)STEPS + slot % STEPS + 1) << shift) - 1;
}

static void record(struct histogram *h, uint64_t ns)
{
    h->counts[slot_of(ns)]++;
    h->total++;
    if (ns > h->max)
        h->max = ns;
}

static double quantile_us(const struct histogram *h, double q)
{
    uint64_t want = (uint64_t)(q * (double)h->total), seen = 0;
    for (size_t i = 0; i < ARRAY_LEN(h->counts); i++) {
        seen += h->counts[i];
        if (seen > want)
            return (double)(top_of(i) < h->max ? top_of(i) : h->max) / 1e3;
    }
    return (double)h->max / 1e3;
}

/* ---- Connections ---- */

enum part { PART_HEAD, PART_BODY, PART_CHUNK_SIZE, PART_CHUNK_DATA, PART_TRAILER };

/* One kind of request: its text, its arrivals, what came of them. Without --also there is one. */
struct kind {
    struct load_open open; /* rate 0: closed loop */
    struct histogram ok;   /* open loop: good answers */
    struct str request;    /* o.pipeline copies of it lie behind one another */
    struct sockaddr_in from;
    bool has_from;
    struct client *clients; /* its part of them */
    long next_client;
};

struct client {
    int fd;
    struct kind *kind;
    bool wants_out;
    enum part part;
    uint64_t left; /* bytes of body or chunk */
    size_t line_n; /* of the chunk size or trailer line */
    bool closes;   /* the server said Connection: close */
    size_t head_n;
    char head[HEAD_BYTES_MAX];
    size_t to_send; /* bytes of requests not handed to the kernel */
    uint64_t sent_ns[PIPELINE_MAX];
    unsigned first, in_flight;
    int status;
};

struct load {
    struct options o;
    struct sockaddr_storage address;
    socklen_t address_n;
    int epoll;
    struct client *clients;
    struct kind *kinds;
    int kinds_len;
    bool is_measuring;
    struct histogram h;
    uint64_t requests, bad_status, broken, reconnects, bytes_in;
    uint64_t now_ns;
    char read_buf[READ_BYTES];
};

static void watch(struct load *l, struct client *c, int op)
{
    struct epoll_event e = {.events = EPOLLIN | (c->wants_out ? EPOLLOUT : 0u), .data.ptr = c};
    if (epoll_ctl(l->epoll, op, c->fd, &e) != 0)
        die("epoll_ctl failed");
}

/* Sends whole requests; the position inside of one follows from what is left. */
static bool send_more(struct load *l, struct client *c)
{
    while (c->to_send > 0) {
        struct str request = c->kind->request;
        size_t all = request.n * (size_t)l->o.pipeline;
        size_t left_of_one = c->to_send % request.n;
        size_t from = left_of_one ? request.n - left_of_one : 0;
        size_t n = c->to_send < all - from ? c->to_send : all - from;
        ssize_t sent = send(c->fd, request.p + from, n, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN)
            return false;
        if (sent > 0)
            c->to_send -= (size_t)sent;
        bool is_stuck = sent < 0;
        if (is_stuck != c->wants_out) {
            c->wants_out = is_stuck;
            watch(l, c, EPOLL_CTL_MOD);
        }
        if (is_stuck)
            return true;
    }
    return true;
}

static bool add_requests(struct load *l, struct client *c, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        c->sent_ns[(c->first + c->in_flight++) % PIPELINE_MAX] = l->now_ns;
    c->to_send += n * c->kind->request.n;
    return send_more(l, c);
}

static void open_client(struct load *l, struct client *c)
{
    struct kind *k = c->kind;
    *c = (struct client){.fd = socket(l->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0), .kind = k};
    int one = 1;
    if (k->has_from && bind(c->fd, (struct sockaddr *)&k->from, sizeof k->from) != 0)
        die("cannot use the address of --from or --also");
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&l->address, l->address_n) != 0) {
        (void)fprintf(stderr, "bench_load: cannot connect: %s\n", strerror(errno));
        exit(1);
    }
    if (l->address.ss_family != AF_UNIX)
        (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)); /* only speed */
    struct err err;
    if (fd_set_nonblock(c->fd, &err) != ERR_OK)
        die(err.text);
    watch(l, c, EPOLL_CTL_ADD);
}

/* Open loop: what is due goes out on this connection, which is free. */
static bool add_due(struct load *l, struct client *c)
{
    uint64_t at = load_open_take(&c->kind->open);
    if (at == 0)
        return true;
    if (!add_requests(l, c, 1))
        return false;
    c->sent_ns[c->first] = at;
    return true;
}

static void reopen(struct load *l, struct client *c)
{
    (void)close(c->fd);
    open_client(l, c);
    if (c->kind->open.rate > 0)
        return;
    if (!add_requests(l, c, (unsigned)l->o.pipeline))
        die("the server closes new connections");
}

/* ---- Answers ---- */

static bool header_is(const char *line, const char *name)
{
    return strncasecmp(line, name, strlen(name)) == 0;
}

/* The head is complete and NUL-terminated. False: not understood. */
static bool read_head(struct load *l, struct client *c)
{
    if (strncmp(c->head, "HTTP/1.", 7) != 0 || c->head_n < 15)
        return false;
    int status = (c->head[9] - '0') * 100 + (c->head[10] - '0') * 10 + (c->head[11] - '0');
    c->status = status;
    if (status < 200 || status > 299)
        l->bad_status += l->is_measuring;
    bool has_length = false;
    for (char *line = strstr(c->head, "\r\n"); line && line[2] != '\r'; line = strstr(line + 2, "\r\n")) {
        const char *field = line + 2;
        if (header_is(field, "content-length:")) {
            c->left = strtoull(field + 15, NULL, 10);
            c->part = PART_BODY;
            has_length = true;
        } else if (header_is(field, "transfer-encoding: chunked")) {
            c->part = PART_CHUNK_SIZE;
            has_length = true;
        } else if (header_is(field, "connection: close")) {
            c->closes = true;
        }
    }
    if (!has_length && status == 204) {
        c->left = 0;
        c->part = PART_BODY;
        has_length = true;
    }
    if (strcmp(l->o.method, "HEAD") == 0) {
        c->left = 0;
        c->part = PART_BODY;
    }
    return has_length;
}

/* Takes head bytes; *used is how many. Returns false when the answer is not HTTP. */
static bool take_head(struct load *l, struct client *c, const char *p, size_t n, size_t *used)
{
    size_t old = c->head_n, room = sizeof(c->head) - 1 - old;
    size_t copy = n < room ? n : room;
    memcpy(c->head + old, p, copy);
    c->head_n += copy;
    size_t from = old > 3 ? old - 3 : 0;
    char *end = memmem(c->head + from, c->head_n - from, "\r\n\r\n", 4);
    if (!end) {
        *used = copy;
        return copy == n; /* else the head is too long */
    }
    c->head_n = (size_t)(end - c->head) + 4;
    c->head[c->head_n] = '\0';
    *used = c->head_n - old;
    return read_head(l, c);
}

static void chunk_byte(struct client *c, char b, bool *is_complete)
{
    if (b != '\n') {
        if (c->part == PART_CHUNK_SIZE && b != '\r' && c->line_n < 16)
            c->left = c->left * 16 + (uint64_t)(b <= '9' ? b - '0' : (b | 0x20) - 'a' + 10);
        c->line_n += b != '\r';
        return;
    }
    bool is_empty = c->line_n == 0;
    c->line_n = 0;
    if (c->part == PART_TRAILER) {
        *is_complete = is_empty;
    } else if (!is_empty) { /* the empty line stands behind a chunk's data */
        c->part = c->left > 0 ? PART_CHUNK_DATA : PART_TRAILER;
    }
}

/* Takes bytes of one answer. Returns how many; 0: not HTTP. */
static size_t take_answer(struct load *l, struct client *c, const char *p, size_t n, bool *is_complete)
{
    size_t used = 0;
    if (c->part == PART_HEAD) {
        if (!take_head(l, c, p, n, &used))
            return 0;
        *is_complete = c->part == PART_BODY && c->left == 0;
        return used;
    }
    if (c->part == PART_BODY || c->part == PART_CHUNK_DATA) {
        used = c->left < n ? (size_t)c->left : n;
        c->left -= used;
        *is_complete = c->part == PART_BODY && c->left == 0;
        if (c->part == PART_CHUNK_DATA && c->left == 0)
            c->part = PART_CHUNK_SIZE;
        return used;
    }
    while (used < n && (c->part == PART_CHUNK_SIZE || c->part == PART_TRAILER) && !*is_complete)
        chunk_byte(c, p[used++], is_complete);
    return used;
}

static void count_answer(struct load *l, struct client *c)
{
    if (l->is_measuring) {
        uint64_t took_ns = l->now_ns - c->sent_ns[c->first];
        l->requests++;
        record(&l->h, took_ns);
        if (c->kind->open.rate > 0)
            load_open_count(&c->kind->open, c->status, took_ns);
        if (c->kind->open.rate > 0 && c->status >= 200 && c->status <= 299)
            record(&c->kind->ok, took_ns);
    }
    c->first = (c->first + 1) % PIPELINE_MAX;
    c->in_flight--;
    c->part = PART_HEAD;
    c->head_n = c->line_n = 0;
    c->left = 0;
}

/* False: the connection is of no more use. */
static bool take_bytes(struct load *l, struct client *c, size_t n)
{
    unsigned answers = 0;
    for (size_t at = 0; at < n;) {
        bool is_complete = false;
        size_t used = c->in_flight > 0 ? take_answer(l, c, l->read_buf + at, n - at, &is_complete) : 0;
        if (used == 0)
            return false;
        at += used;
        if (is_complete) {
            count_answer(l, c);
            answers++;
        }
    }
    if (c->closes && c->part == PART_HEAD)
        return false;
    if (c->kind->open.rate > 0)
        return c->in_flight > 0 || add_due(l, c);
    return answers == 0 || add_requests(l, c, answers);
}

static void on_event(struct load *l, struct client *c, uint32_t events)
{
    bool ok = true;
    if (events & EPOLLOUT)
        ok = send_more(l, c);
    if (ok && (events & (EPOLLIN | EPOLLHUP | EPOLLERR))) {
        ssize_t n = recv(c->fd, l->read_buf, sizeof(l->read_buf), 0);
        if (n > 0) {
            l->bytes_in += l->is_measuring ? (uint64_t)n : 0;
            ok = take_bytes(l, c, (size_t)n);
        } else {
            ok = n < 0 && errno == EAGAIN;
        }
    }
    if (ok)
        return;
    if (!c->closes)
        l->broken += l->is_measuring;
    l->reconnects += l->is_measuring;
    reopen(l, c);
}

/* New requests onto free connections; returns how long epoll may wait. */
static void arrive(struct load *l, struct kind *k)
{
    load_open_arrive(&k->open, l->now_ns);
    for (long i = 0; i < l->o.connections && k->open.due_len > 0; i++) {
        struct client *c = &k->clients[(k->next_client + i) % l->o.connections];
        if (c->in_flight > 0)
            continue;
        if (!add_due(l, c))
            reopen(l, c);
        k->next_client = (k->next_client + i + 1) % l->o.connections;
        i = -1;
    }
}

static int arrivals(struct load *l)
{
    int may_wait_ms = 1;
    if (l->kinds[0].open.rate <= 0)
        return 50;
    for (int n = 0; n < l->kinds_len; n++) {
        arrive(l, &l->kinds[n]);
        if (l->kinds[n].open.next_ns <= l->now_ns + 2 * NS_PER_MS)
            may_wait_ms = 0; /* looks all the time: a millisecond's sleep would be late */
    }
    return may_wait_ms;
}

static void run_until(struct load *l, uint64_t end_ns)
{
    struct epoll_event events[256];
    while ((l->now_ns = clock_now_ns()) < end_ns) {
        int n = epoll_wait(l->epoll, events, ARRAY_LEN(events), arrivals(l));
        l->now_ns = clock_now_ns();
        for (int i = 0; i < n; i++) {
            if (i > 0)
                l->now_ns = clock_now_ns();
            on_event(l, events[i].data.ptr, events[i].events);
        }
    }
}

/* ---- Start and report ---- */

static void resolve(struct load *l)
{
    if (l->o.unix_path) {
        struct sockaddr_un *a = (struct sockaddr_un *)(void *)&l->address;
        a->sun_family = AF_UNIX;
        if (!str_copy(a->sun_path, sizeof(a->sun_path), str_c(l->o.unix_path)))
            die("the socket path is too long");
        l->address_n = sizeof(*a);
        return;
    }
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    int rc = getaddrinfo(l->o.host, l->o.port, &hints, &list);
    if (rc != 0)
        die(gai_strerror(rc));
    memcpy(&l->address, list->ai_addr, list->ai_addrlen);
    l->address_n = list->ai_addrlen;
    freeaddrinfo(list);
}

static void build_request(struct load *l, const struct buf *body, struct kind *k)
{
    struct options *o = &l->o;
    struct buf text, *b = &text; /* for the program's life */
    buf_init(b, SIZE_MAX / 4);
    size_t one = 0;
    for (long i = 0; i < o->pipeline; i++) {
        buf_printf(b, "%s %s HTTP/1.1\r\nHost: %s\r\n", o->method, o->path, o->host ? o->host : "localhost");
        buf_str(b, buf_view(&o->headers));
        if (o->has_body)
            buf_printf(b, "Content-Length: %zu\r\n", body->len);
        buf_c(b, "\r\n");
        buf_str(b, buf_view(body));
        if (i == 0)
            one = b->len;
    }
    if (b->failed || one == 0)
        die("the requests do not fit into memory");
    k->request = (struct str){b->p, one};
}

static void report_kind(const struct kind *k, double wall_s, struct json_writer *w)
{
    jw_object(w);
    load_open_report(&k->open, wall_s, w);
    jw_kv_f64(w, "good_p50_us", quantile_us(&k->ok, 0.5));
    jw_kv_f64(w, "good_p99_us", quantile_us(&k->ok, 0.99));
    jw_kv_f64(w, "good_max_us", (double)k->ok.max / 1e3);
    jw_object_end(w);
}

/* "open_loop" is the first kind. */
static void report_kinds(const struct load *l, double wall_s, struct json_writer *w)
{
    jw_key(w, "open_loop");
    report_kind(&l->kinds[0], wall_s, w);
    jw_key(w, "kinds");
    jw_array(w);
    for (int n = 0; n < l->kinds_len; n++)
        report_kind(&l->kinds[n], wall_s, w);
    jw_array_end(w);
}

static void report(struct load *l, double wall_s, double cpu_s)
{
    struct buf b;
    struct json_writer w;
    buf_init(&b, 65536);
    jw_init(&w, &b);
    jw_object(&w);
    jw_kv_u64(&w, "requests", l->requests);
    jw_kv_u64(&w, "errors", l->broken + l->bad_status);
    jw_kv_u64(&w, "errors_status", l->bad_status);
    jw_kv_u64(&w, "errors_connection", l->broken);
    jw_kv_u64(&w, "reconnects", l->reconnects);
    jw_kv_f64(&w, "seconds", wall_s);
    jw_kv_f64(&w, "rps", (double)l->requests / wall_s);
    jw_kv_f64(&w, "mb_in_per_s", (double)l->bytes_in / wall_s / 1e6);
    jw_kv_i64(&w, "connections", l->o.connections);
    jw_kv_i64(&w, "pipeline", l->o.pipeline);
    jw_kv_f64(&w, "p50_us", quantile_us(&l->h, 0.5));
    jw_kv_f64(&w, "p90_us", quantile_us(&l->h, 0.9));
    jw_kv_f64(&w, "p99_us", quantile_us(&l->h, 0.99));
    jw_kv_f64(&w, "p999_us", quantile_us(&l->h, 0.999));
    jw_kv_f64(&w, "max_us", (double)l->h.max / 1e3);
    if (l->kinds[0].open.rate > 0)
        report_kinds(l, wall_s, &w);
    if (l->o.pids_len > 0) {
        jw_kv_f64(&w, "server_cpu_s", cpu_s);
        jw_kv_f64(&w, "server_cores", cpu_s / wall_s);
        jw_kv_f64(&w, "cpu_us_per_request", l->requests ? cpu_s * 1e6 / (double)l->requests : 0);
    }
    jw_key(&w, "scheduling");
    jw_object(&w);
    jw_kv_str(&w, "load", load_proc_scheduling(0));
    for (int i = 0; i < l->o.pids_len; i++) {
        char key[24];
        (void)snprintf(key, sizeof(key), "server %d", l->o.pids[i]); /* fits any int */
        jw_kv_str(&w, key, load_proc_scheduling(l->o.pids[i]));
    }
    jw_object_end(&w);
    jw_object_end(&w);
    (void)printf("%.*s\n", STR_F(buf_view(&b)));
    buf_done(&b);
}

static void set_kind(struct load *l, int n, double rate, double deadline_ms, const char *from, const struct buf *body)
{
    struct kind *k = &l->kinds[n];
    if (n > 0 && (rate <= 0 || l->o.rate <= 0))
        die("--also needs a rate of its own, and --rate");
    k->from.sin_family = AF_INET;
    k->has_from = from != NULL;
    if (from && (l->address.ss_family != AF_INET || inet_pton(AF_INET, from, &k->from.sin_addr) != 1))
        die("--from and --also must name an IPv4 address, as the target must be");
    build_request(l, body, k);
    k->open.rate = rate;
    k->open.deadline_ns = (uint64_t)(deadline_ms * 1e6);
    k->open.next_ns = l->now_ns;
    k->clients = &l->clients[n * l->o.connections];
    for (long i = 0; i < l->o.connections; i++) {
        k->clients[i].kind = k;
        open_client(l, &k->clients[i]);
    }
}

int main(int argc, char **argv)
{
    static struct load l;
    parse_options(&l.o, argc, argv);
    resolve(&l);
    (void)fd_limit_raise();
    l.epoll = epoll_create1(EPOLL_CLOEXEC);
    l.kinds_len = 1 + l.o.also_len;
    l.kinds = calloc((size_t)l.kinds_len, sizeof(*l.kinds));
    l.clients = calloc((size_t)(l.o.connections * l.kinds_len), sizeof(*l.clients));
    if (l.epoll < 0 || !l.clients || !l.kinds)
        die("out of memory");
    l.now_ns = clock_now_ns();
    set_kind(&l, 0, l.o.rate, l.o.deadline_ms, l.o.from, &l.o.body);
    for (int n = 0; n < l.o.also_len; n++)
        set_kind(&l, n + 1, l.o.also[n].rate, l.o.also[n].deadline_ms, l.o.also[n].from, &l.o.also[n].body);
    for (long i = 0; i < l.o.connections && l.o.rate <= 0; i++)
        if (!add_requests(&l, &l.clients[i], (unsigned)l.o.pipeline))
            die("the server closes new connections");

    run_until(&l, clock_now_ns() + (uint64_t)(l.o.warmup_s * 1e9));
    double cpu0 = load_proc_cpu_s(l.o.pids, l.o.pids_len);
    uint64_t start = clock_now_ns();
    l.is_measuring = true;
    run_until(&l, start + (uint64_t)(l.o.seconds * 1e9));
    double wall_s = (double)(clock_now_ns() - start) / 1e9;
    double cpu_s = load_proc_cpu_s(l.o.pids, l.o.pids_len) - cpu0;
    report(&l, wall_s, cpu_s);
    return l.requests > 0 ? 0 : 1;
}
