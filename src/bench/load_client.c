#include "bench/load_int.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/un.h>

#include "sys/fd.h"

#define CONNECT_S 5

/* ---- Addresses and connections ---- */

enum err_code load_resolve(struct load *l)
{
    const struct subject *t = l->o->subject;
    if (t->unix_path) {
        struct sockaddr_un *a = (struct sockaddr_un *)(void *)&l->address;
        a->sun_family = AF_UNIX;
        if (!str_copy(a->sun_path, sizeof a->sun_path, str_c(t->unix_path)))
            return err_set(l->err, ERR_INVALID, "the socket path %.100s... is too long", t->unix_path);
        l->address_n = sizeof *a;
        return ERR_OK;
    }
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    char port[8];
    (void)snprintf(port, sizeof port, "%d", t->port); /* at most five digits */
    int rc = getaddrinfo(t->host, port, &hints, &list);
    if (rc != 0)
        return err_set(l->err, ERR_NOT_FOUND, "cannot find the host %s: %s", t->host, gai_strerror(rc));
    memcpy(&l->address, list->ai_addr, list->ai_addrlen);
    l->address_n = list->ai_addrlen;
    freeaddrinfo(list);
    return ERR_OK;
}

/* ---- What a script wants of an answer ---- */

static void add_text(char *out, size_t out_size, const char *at, size_t n)
{
    size_t have = strlen(out);
    if (n >= out_size - have)
        n = out_size - have - 1;
    memcpy(out + have, at, n);
    out[have + n] = '\0';
}

static int on_field(llhttp_t *p, const char *at, size_t n)
{
    struct client *c = p->data;
    add_text(c->name, sizeof c->name, at, n);
    return 0;
}

static int on_value(llhttp_t *p, const char *at, size_t n)
{
    struct client *c = p->data;
    add_text(c->value, sizeof c->value, at, n);
    return 0;
}

static int on_header(llhttp_t *p)
{
    struct client *c = p->data;
    if (str_eq_nocase(str_c(c->name), STR("inference-header-content-length")))
        (void)str_copy(c->header_length, sizeof c->header_length, str_c(c->value)); /* both have one size */
    c->name[0] = c->value[0] = '\0';
    return 0;
}

static int on_body(llhttp_t *p, const char *at, size_t n)
{
    struct client *c = p->data;
    buf_add(&c->body, at, n);
    return c->body.failed ? HPE_USER : 0;
}

static int on_complete(llhttp_t *p)
{
    struct client *c = p->data;
    if (p->status_code < 200) /* the real answer follows */
        return 0;
    c->is_complete = true;
    c->closes = !llhttp_should_keep_alive(p);
    return 0;
}

static const llhttp_settings_t answer_settings = {.on_message_complete = on_complete};
static const llhttp_settings_t script_settings = {.on_message_complete = on_complete,
                                                  .on_header_field = on_field,
                                                  .on_header_value = on_value,
                                                  .on_header_value_complete = on_header,
                                                  .on_body = on_body};

bool load_watch(struct load *l, struct client *c, int op)
{
    struct epoll_event e = {.events = EPOLLIN | (c->wants_out ? (uint32_t)EPOLLOUT : 0U), .data.ptr = c};
    return epoll_ctl(l->epoll, op, c->fd, &e) == 0;
}

/* Blocking, with a limit: a server on the same machine takes a connection at once or not at all. */
bool load_open_client(struct load *l, struct client *c)
{
    buf_done(&c->body);
    *c = (struct client){.load = l, .fd = socket(l->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    buf_init(&c->body, LOAD_ANSWER_MAX);
    struct timeval limit = {.tv_sec = CONNECT_S};
    int one = 1;
    if (c->fd >= 0) {
        (void)setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &limit,
                         sizeof limit); /* the kernel's own limit would do too */
        (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one,
                         sizeof one); /* fails for UNIX sockets, which need none */
    }
    llhttp_init(&c->parser, HTTP_RESPONSE, l->o->kind == LOAD_SCRIPT ? &script_settings : &answer_settings);
    c->parser.data = c;
    if (c->fd >= 0 && connect(c->fd, (struct sockaddr *)&l->address, l->address_n) == 0 &&
        fd_set_nonblock(c->fd, l->err) == ERR_OK && load_watch(l, c, EPOLL_CTL_ADD))
        return true;
    l->is_failed = true;
    (void)err_sys(l->err, ERR_UNAVAILABLE, errno, "the server takes no connection");
    (void)err_remedy(l->err, errno == EMFILE ? "raise the limit of open files (ulimit -n), or use fewer connections"
                                             : "is it running, and is the address right?");
    c->fd = fd_close(c->fd);
    return false;
}
