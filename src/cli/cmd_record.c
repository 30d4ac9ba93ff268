/* quern record: a model's requests and answers into a file. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/settings.h"
#include "cli/ask.h"
#include "cli/commands.h"
#include "cli/table.h"
#include "net/recording.h"
#include "sys/fd.h"

#define REQUESTS_DEFAULT 1000
#define REQUESTS_MAX     1000000
#define ONE_IN_MAX       1000000
#define FOR_MAX_NS       (UINT64_C(30) * 24 * 3600 * NS_PER_S)

struct recording {
    const struct args *args;
    struct arena arena;
    struct err err;
    struct err disk; /* the file could not be written */
    uint64_t one_in, requests_max, bytes_max, for_ns;
    int fd;
    struct buf pending; /* the beginning of a frame that has not come whole */
    bool has_head;
    uint64_t frames, bytes;
};

static volatile sig_atomic_t stopped;

static void on_stop(int sig)
{
    (void)sig;
    stopped = 1;
}

/* ---- options ---- */

/* "1/10" */
static enum err_code read_sample(struct recording *r)
{
    const char *text = args_get(r->args, "sample");
    struct str of, one = str_cut(str_c(text ? text : "1/1"), '/', &of);
    if (str_eq(one, STR("1")) && str_to_u64(of, &r->one_in) && r->one_in >= 1 && r->one_in <= ONE_IN_MAX)
        return ERR_OK;
    return err_set(&r->err, ERR_INVALID, "quern record --sample: \"%.40s\" is not 1/N, N up to %d", text, ONE_IN_MAX);
}

struct limits {
    uint64_t bytes, for_ns;
};

static const struct setting limit_table[] = {
    SETTING_BYTES("limit", struct limits, bytes, .min = 1024, .max = (double)RECORDING_FILE_MAX),
    SETTING_TIME("for", struct limits, for_ns, .min = 1e6, .max = (double)FOR_MAX_NS),
    {0}};

/* A plain number is one of requests; with a unit, of bytes. */
static enum err_code read_limits(struct recording *r)
{
    struct limits l = {.bytes = RECORDING_FILE_MAX, .for_ns = FOR_MAX_NS};
    r->requests_max = REQUESTS_DEFAULT;
    for (size_t i = 0; i < r->args->hits_len; i++) {
        const char *name = r->args->hits[i].option->name, *value = r->args->hits[i].value;
        bool is_limit = strcmp(name, "limit") == 0;
        if (!is_limit && strcmp(name, "for") != 0)
            continue;
        if (is_limit && str_to_u64(str_c(value), &r->requests_max)) {
            if (r->requests_max < 1 || r->requests_max > REQUESTS_MAX)
                return err_set(&r->err, ERR_INVALID, "quern record --limit: not a number of requests from 1 to %d",
                               REQUESTS_MAX);
            continue;
        }
        if (is_limit && r->requests_max == REQUESTS_DEFAULT)
            r->requests_max = REQUESTS_MAX; /* bytes alone are asked for */
        if (settings_set(limit_table, &l, name, str_c(value), arena_printf(&r->arena, "quern record --%s", name).p,
                         &r->arena, &r->err) != ERR_OK)
            return r->err.code;
    }
    r->bytes_max = l.bytes;
    r->for_ns = l.for_ns;
    return ERR_OK;
}

/* ---- the stream ---- */

static bool write_all(struct recording *r, struct str bytes)
{
    while (bytes.n > 0) {
        ssize_t n = write(r->fd, bytes.p, bytes.n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            (void)err_sys(&r->disk, ERR_IO, errno, "cannot write %s, the recording ends early",
                          args_get(r->args, "out"));
            bool is_sound = ftruncate(r->fd, (off_t)r->bytes) == 0;
            (void)is_sound; /* else a reader meets half a frame, and says so */
            return false;
        }
        bytes = str_sub(bytes, (size_t)n, bytes.n);
    }
    return true;
}

/* Only whole frames go to the file, so that it is sound whenever it ends. */
static bool take(void *arg, struct str bytes)
{
    struct recording *r = arg;
    buf_str(&r->pending, bytes);
    size_t head = r->has_head ? 0 : RECORDING_HEAD;
    if (r->pending.len < head)
        return true;
    struct str all = buf_view(&r->pending);
    size_t n = recording_whole(str_sub(all, head, all.n));
    struct recording_reader reader;
    if (r->pending.failed || n == SIZE_MAX || (head && recording_open(all, &reader, &r->err) != ERR_OK)) {
        (void)err_set(&r->err, ERR_BACKEND, "the server sent something else than a recording");
        return false;
    }
    if (!r->has_head && !args_has(r->args, "json"))
        (void)fprintf(stderr, "recording %s; Ctrl-C ends it\n", args_get(r->args, "model"));
    r->has_head = true;
    n += head;
    if (n == 0)
        return true;
    if (!write_all(r, str_sub(all, 0, n)))
        return false;
    r->bytes += n;
    buf_consume(&r->pending, n);
    return true;
}

static enum err_code open_out(struct recording *r)
{
    const char *out = args_get(r->args, "out");
    int flags = O_WRONLY | O_CREAT | O_CLOEXEC | (args_has(r->args, "force") ? O_TRUNC : O_EXCL);
    r->fd = open(out, flags, 0600);
    if (r->fd >= 0)
        return ERR_OK;
    (void)err_sys(&r->err, ERR_IO, errno, "cannot make %s", out);
    return errno == EEXIST ? err_remedy(&r->err, "name another file, or write over it with --force") : r->err.code;
}

static void watch_signals(void)
{
    struct sigaction act = {.sa_handler = on_stop}; /* no SA_RESTART: a waiting call ends */
    (void)sigemptyset(&act.sa_mask);
    (void)sigaction(SIGINT, &act, NULL);
    (void)sigaction(SIGTERM, &act, NULL);
}

/* What was recorded, from the file itself. */
static int tell(struct recording *r)
{
    struct arena a;
    struct str bytes;
    struct recording_reader reader;
    struct recording_frame f;
    struct buf out;
    size_t n = 0;
    struct str counts = STR("null");
    arena_init(&a, 65536, 2 * RECORDING_FILE_MAX);
    if (file_read(args_get(r->args, "out"), RECORDING_FILE_MAX + RECORDING_FRAME_MAX, &a, &bytes, &r->err) != ERR_OK ||
        recording_open(bytes, &reader, &r->err) != ERR_OK) {
        arena_done(&a);
        return cli_fail(&r->err, EXIT_FAILED);
    }
    r->err.code = ERR_OK;
    while (recording_next(&reader, &f, &r->err)) {
        n += f.kind == RECORDING_EXCHANGE;
        counts = f.kind == RECORDING_END ? f.json : counts;
    }
    buf_init(&out, CLI_OUTPUT_MAX);
    if (args_has(r->args, "json"))
        buf_printf(&out, "{\"file\":\"%s\",\"requests\":%zu,\"bytes\":%llu,\"server\":%.*s}\n",
                   args_get(r->args, "out"), n, (unsigned long long)r->bytes, STR_F(counts));
    else
        buf_printf(&out, "%zu request%s of %s in %s, %s\n", n, n == 1 ? "" : "s", args_get(r->args, "model"),
                   args_get(r->args, "out"), table_bytes(&a, r->bytes));
    int code = r->err.code == ERR_OK ? cli_print(&out) : cli_fail(&r->err, EXIT_FAILED);
    buf_done(&out);
    arena_done(&a);
    return code;
}

static int record(struct recording *r)
{
    struct ask to;
    struct fetch_response response;
    if (ask_init(&to, r->args, &r->arena, &r->err) != ERR_OK || read_sample(r) != ERR_OK || read_limits(r) != ERR_OK)
        return cli_fail(&r->err, EXIT_USAGE);
    if (open_out(r) != ERR_OK)
        return cli_fail(&r->err, EXIT_FAILED);
    struct fetch_request q = {
        .unix_path = to.unix_path,
        .host = to.host,
        .port = to.port,
        .path = arena_printf(&r->arena, "/api/record?model=%s&one_in=%llu&requests=%llu&bytes=%llu",
                             args_get(r->args, "model"), (unsigned long long)r->one_in,
                             (unsigned long long)r->requests_max, (unsigned long long)r->bytes_max)
                    .p,
        .timeout_ns = r->for_ns,
        .on_body = take,
        .on_body_arg = r,
        .stop = &stopped,
    };
    watch_signals();
    enum err_code code = fetch(&q, &response, &r->err);
    int status = code == ERR_OK ? response.status : 200;
    if (code == ERR_OK && status != 200)
        ask_error(&response, &r->err);
    if (code == ERR_OK)
        fetch_done(&response);
    /* Time, a signal, the end of the server, or a full disk end a recording; what came is kept. */
    if (r->bytes > 0) {
        int told = tell(r);
        return r->disk.code ? cli_fail(&r->disk, EXIT_FAILED) : told;
    }
    (void)unlink(args_get(r->args, "out"));
    if (r->disk.code)
        return cli_fail(&r->disk, EXIT_FAILED);
    if (to.running.data && status == 200)
        (void)err_remedy(&r->err, "quern status shows whether it runs; name its data directory with --data DIR");
    return cli_fail(&r->err, status == 200 ? EXIT_NOT_RUNNING : EXIT_FAILED);
}

int cmd_record(const struct args *args, master_run_fn *run)
{
    (void)run;
    struct recording r = {.args = args, .fd = -1};
    const char *model = args_get(args, "model");
    int code;
    arena_init(&r.arena, 16384, 1 << 20);
    buf_init(&r.pending, RECORDING_FRAME_MAX + (1 << 20));
    if (!model || !ask_is_name(model) || !args_get(args, "out")) {
        (void)err_set(&r.err, ERR_INVALID, "quern record: expected --model NAME and --out FILE");
        (void)err_remedy(&r.err, "see: quern record --help");
        code = cli_fail(&r.err, EXIT_USAGE);
    } else {
        code = record(&r);
    }
    (void)fd_close(r.fd);
    buf_done(&r.pending);
    arena_done(&r.arena);
    return code;
}
