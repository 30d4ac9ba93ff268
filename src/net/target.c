#include "net/target_int.h"

#include <string.h>

#include "base/utf8.h"
#include "net/chars_int.h"
#include "net/refuse_int.h"

static bool is_port(struct str s)
{
    uint64_t port;
    return s.n <= 5 && str_to_u64(s, &port) && port <= 65535;
}

static bool is_reg_name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
           c == '_' || c == '~';
}

static bool is_ip_literal_char(char c)
{
    return char_hex(c) >= 0 || c == ':' || c == '.';
}

bool target_host_is_valid(struct str host)
{
    size_t i = 0;
    if (host.n > 1 && host.p[0] == '[') {
        for (i = 1; i < host.n && is_ip_literal_char(host.p[i]); i++)
            ;
        if (i == 1 || i == host.n || host.p[i] != ']')
            return false;
        i++;
    } else {
        while (i < host.n && is_reg_name_char(host.p[i]))
            i++;
        if (i == 0)
            return false;
    }
    if (i == host.n)
        return true;
    return host.p[i] == ':' && is_port(str_sub(host, i + 1, host.n));
}

bool target_decode(struct str s, bool plus_is_space, struct arena *a, struct str *out)
{
    char *to = arena_try_alloc(a, s.n + 1);
    if (!to)
        return false;
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c == '%') {
            if (s.n - i < 3 || char_hex(s.p[i + 1]) < 0 || char_hex(s.p[i + 2]) < 0)
                return false;
            c = (char)(char_hex(s.p[i + 1]) * 16 + char_hex(s.p[i + 2]));
            i += 2;
        } else if (c == '+' && plus_is_space) {
            c = ' ';
        }
        to[n++] = c;
    }
    to[n] = '\0';
    *out = (struct str){to, n};
    return true;
}

/* An encoded slash would move the borders of segments for whoever decodes first. */
static bool has_encoded_slash(struct str raw)
{
    for (size_t i = 0; i + 2 < raw.n; i++)
        if (raw.p[i] == '%' && raw.p[i + 1] == '2' && (raw.p[i + 2] | 0x20) == 'f')
            return true;
    return false;
}

static int check_path(struct str path, struct err *err)
{
    for (size_t i = 0; i < path.n; i++)
        if ((unsigned char)path.p[i] < 0x20 || path.p[i] == 0x7f || path.p[i] == '\\')
            return refuse(err, 400, "the path holds a control byte or a backslash at byte %zu", i);
    if (utf8_check(path) != path.n)
        return refuse(err, 400, "the path is not UTF-8 at byte %zu", utf8_check(path));
    struct str rest = str_sub(path, 1, path.n);
    while (rest.n > 0) {
        struct str segment = str_cut(rest, '/', &rest);
        if (str_eq_c(segment, ".") || str_eq_c(segment, ".."))
            return refuse(err, 400, "the path has the segment '%.*s'", STR_F(segment));
    }
    return 0;
}

static int parse_path(struct str raw, struct arena *a, struct str *path, struct err *err)
{
    struct str out = raw;
    if (str_chr(raw, '%') >= 0) { /* most paths need no copy */
        if (has_encoded_slash(raw))
            return refuse(err, 400, "the path has an encoded slash (%%2F)");
        if (!target_decode(raw, false, a, &out))
            return refuse(err, 400, "the path has an invalid %%-escape");
    }
    int status = check_path(out, err);
    if (status == 0)
        *path = out;
    return status;
}

/* "http://host:port/path": the authority must be the one that Host names, else two readers route differently. */
static int cut_absolute(struct str *target, struct str host, struct err *err)
{
    struct str scheme = STR("http://");
    if (!str_eq_nocase(str_sub(*target, 0, scheme.n), scheme))
        return refuse(err, 400, "the request target must begin with '/'");
    struct str rest = str_sub(*target, scheme.n, target->n);
    size_t end = 0;
    while (end < rest.n && rest.p[end] != '/' && rest.p[end] != '?')
        end++;
    struct str authority = str_sub(rest, 0, end);
    if (!target_host_is_valid(authority))
        return refuse(err, 400, "the host in the request target is not valid");
    if (host.p && !str_eq_nocase(authority, host))
        return refuse(err, 400, "the host in the request target is not the one of the Host header");
    *target = str_sub(rest, end, rest.n);
    return 0;
}

int target_parse(enum http_method method, struct str target, struct str host, struct arena *a, struct str *path,
                 struct str *query, struct err *err)
{
    for (size_t i = 0; i < target.n; i++)
        if (!char_is_target(target.p[i]) || target.p[i] == '#')
            return refuse(err, 400, "the request target holds a byte that must be %%-escaped at byte %zu", i);
    if (str_eq_c(target, "*")) {
        if (method != HTTP_OPTIONS_)
            return refuse(err, 400, "the request target '*' is only for OPTIONS");
        *path = target;
        *query = (struct str){0};
        return 0;
    }
    if (target.n == 0 || target.p[0] != '/') {
        int status = cut_absolute(&target, host, err);
        if (status != 0)
            return status;
    }
    struct str q = {0};
    struct str raw = str_cut(target, '?', &q);
    *query = q;
    return parse_path(raw.n == 0 ? STR("/") : raw, a, path, err);
}
