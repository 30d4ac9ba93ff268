#include "cli/config_int.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/config_queue.h"
#include "model/backend.h"

enum err_code config_fail(const struct config *c, struct err *err, const char *path, const char *fmt, ...)
{
    char text[sizeof err->text];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    const struct setting_place *at = settings_place(&c->places, path);
    if (!c->file_given)
        return err_set(err, ERR_INVALID, "%s: %s", path, text);
    if (!at)
        return err_set(err, ERR_INVALID, "%s: %s: %s", c->file_given, path, text);
    return err_set(err, ERR_INVALID, "%s:%u:%u: %s: %s", c->file_given, at->line, at->column, path, text);
}

static bool is_loopback4(const struct in_addr *a)
{
    return (ntohl(a->s_addr) >> 24) == 127;
}

static bool is_loopback6(const struct in6_addr *a)
{
    return IN6_IS_ADDR_LOOPBACK(a) || (IN6_IS_ADDR_V4MAPPED(a) && a->s6_addr[12] == 127);
}

static bool parse_host(struct str text, char *host, size_t host_size, bool *is_loopback)
{
    struct in_addr v4;
    struct in6_addr v6;
    bool has_brackets = text.n > 2 && text.p[0] == '[' && text.p[text.n - 1] == ']';
    if (has_brackets)
        text = str_sub(text, 1, text.n - 2);
    if (str_eq_c(text, "localhost"))
        text = STR("127.0.0.1");
    if (memchr(text.p, '\0', text.n) || !str_copy(host, host_size, text))
        return false;
    if (has_brackets) {
        if (inet_pton(AF_INET6, host, &v6) != 1)
            return false;
        *is_loopback = is_loopback6(&v6);
        return true;
    }
    if (inet_pton(AF_INET, host, &v4) != 1)
        return false;
    *is_loopback = is_loopback4(&v4);
    return true;
}

enum err_code config_address(const char *text, char *host, size_t host_size, int *port, bool *is_loopback,
                             struct err *err)
{
    struct str all = str_c(text);
    ptrdiff_t colon = str_rchr(all, ':');
    uint64_t number;
    if (colon < 0) {
        (void)err_set(err, ERR_INVALID, "\"%.80s\" is not of the form HOST:PORT", text);
        return str_to_u64(all, &number) ? err_remedy(err, "write 127.0.0.1:%.10s", text)
                                        : err_remedy(err, "write for example 127.0.0.1:8000 or [::1]:8000");
    }
    struct str digits = str_sub(all, (size_t)colon + 1, all.n);
    if (!str_to_u64(digits, &number) || number > 65535)
        return err_set(err, ERR_INVALID, "\"%.80s\": the port must be a number from 0 to 65535", text);
    if (!parse_host(str_sub(all, 0, (size_t)colon), host, host_size, is_loopback)) {
        (void)err_set(err, ERR_INVALID, "\"%.80s\": the host must be an IPv4 address, an [IPv6] address or localhost",
                      text);
        return err_remedy(err, "for all addresses of this machine write 0.0.0.0:PORT or [::]:PORT");
    }
    *port = (int)number;
    return ERR_OK;
}

static enum err_code check_listen(const struct config *c, size_t i, struct err *err)
{
    const char *const *listen = c->listen.items;
    char host[64], path[32], why[160], remedy[200];
    int port = 0;
    bool is_loopback = false;
    struct err inner = {0};
    (void)snprintf(path, sizeof path, c->listen.len > 1 ? "listen[%zu]" : "listen", i);
    if (config_address(listen[i], host, sizeof host, &port, &is_loopback, &inner)) {
        (void)snprintf(why, sizeof why, "%.150s", inner.text);
        (void)snprintf(remedy, sizeof remedy, "%.190s", inner.remedy);
        (void)config_fail(c, err, path, "%s", why);
        return remedy[0] ? err_remedy(err, "%s", remedy) : err->code;
    }
    for (size_t k = 0; k < i; k++)
        if (port != 0 && strcmp(listen[k], listen[i]) == 0)
            return config_fail(c, err, path, "%s stands here twice", listen[i]);
    if (!is_loopback && !c->allow_remote) {
        (void)config_fail(c, err, path, "%s can be reached from other machines, and nobody would be asked who they are",
                          listen[i]);
        return err_remedy(err, "listen on 127.0.0.1, or say allow_unauthenticated_remote: true "
                               "(option --allow-unauthenticated-remote)");
    }
    return ERR_OK;
}

bool config_is_name(const char *name)
{
    static const char sane[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    size_t n = strlen(name);
    return n > 0 && n < MODEL_NAME_MAX && strspn(name, sane) == n && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

static enum err_code check_classes(const struct config *c, struct err *err)
{
    const struct setting_pair *classes = c->classes.items;
    int64_t sum = 0;
    if (c->classes.len == 0 || c->classes.len > 16)
        return config_fail(c, err, "classes", "%zu classes, from 1 to 16 are allowed", c->classes.len);
    for (size_t i = 0; i < c->classes.len; i++) {
        if (!config_is_name(classes[i].name))
            return config_fail(c, err, "classes", "\"%.100s\" is not a name of letters, digits, \".\", \"_\" and \"-\"",
                               classes[i].name);
        sum += classes[i].value;
    }
    if (sum > 100)
        return config_fail(c, err, "classes", "the shares add up to %lld percent, 100 are there", (long long)sum);
    return ERR_OK;
}

/* What config.pbtxt calls a setting of ours; the rest of the key stays. NULL: it does not say it. */
static const char *word_of_pbtxt(const char *key, size_t *len)
{
    static const char *const words[][2] = {{"batching.delay", "dynamic_batching.max_queue_delay_microseconds"},
                                           {"batching.preferred", "dynamic_batching.preferred_batch_size"},
                                           {"queue_late", "dynamic_batching.default_queue_policy.timeout_action"},
                                           {"priorities", "dynamic_batching.priority_queue_policy"},
                                           {"instances", "instance_group"},
                                           {"parameters", "parameters"},
                                           {"warm_up", "model_warmup"}};
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        *len = strlen(words[i][0]);
        if (strncmp(key, words[i][0], *len) == 0 && (key[*len] == '\0' || key[*len] == '.'))
            return words[i][1];
    }
    return NULL;
}

enum err_code config_fail_model(const struct config *c, struct err *err, const struct model_config *m, const char *key,
                                const char *text)
{
    char path[900];
    size_t n = 0;
    (void)snprintf(path, sizeof path, "models.%.*s%s%.700s", MODEL_NAME_MAX, m->name, key[0] ? "." : "", key);
    const struct setting_place *at = settings_place(&c->places, path);
    const char *word = m->pbtxt ? word_of_pbtxt(key, &n) : NULL;
    bool is_given = at && !m->override_config && at->path.n >= strlen("models..") + strlen(m->name) + n;
    if (word && !is_given)
        return err_set(err, ERR_INVALID, "%s: %s%s: %s", m->pbtxt, word, key + n, text);
    return config_fail(c, err, path, "%s", text);
}

/* With a repository, one whose folder somebody has removed: ERR_NOT_FOUND, which config_spare knows. */
static enum err_code fail_without_path(const struct config *c, const struct model_config *m, struct err *err)
{
    if (c->repository.paths.len == 0) {
        (void)config_fail_model(c, err, m, "", "a model needs a path or a built-in backend");
        return err_remedy(err, "add path: FILE");
    }
    (void)config_fail_model(c, err, m, "", "no folder of repository.path has a model of this name");
    err->code = ERR_NOT_FOUND;
    return err_remedy(err, "put it there, or add path: FILE");
}

static enum err_code check_backend(const struct config *c, const struct model_config *m, struct err *err)
{
    char text[200];
    bool is_begun = m->ensemble.inputs.len || m->ensemble.outputs.len || m->ensemble.steps.len;
    if ((is_begun && !m->path) || m->ensemble.steps.len || (m->backend && strcmp(m->backend, "ensemble") == 0))
        return config_check_ensemble(c, m, err);
    if (!m->backend && !m->path)
        return fail_without_path(c, m, err);
    if (!m->backend) {
        (void)snprintf(text, sizeof text, "no backend reads files like \"%.120s\"", strrchr(m->path, '/') + 1);
        (void)config_fail_model(c, err, m, "path", text);
        return err_remedy(err, "export the model to ONNX (.onnx), or say which backend it is for: backend: NAME");
    }
    const struct backend *b = backend_by_name(str_c(m->backend));
    if (!b) {
        (void)snprintf(text, sizeof text, "there is no backend \"%.40s\"", m->backend);
        (void)config_fail_model(c, err, m, "backend", text);
        return err_remedy(err, "known: %s", backend_names());
    }
    bool is_builtin = !b->extensions[0];
    if (is_builtin && m->path && !b->may_have_file)
        return config_fail_model(c, err, m, "path", "a built-in backend reads no file");
    if (!is_builtin && !m->path)
        return config_fail_model(c, err, m, "", "a model of this backend needs a path");
    return ERR_OK;
}

static enum err_code check_file(const struct config *c, const struct model_config *m, struct err *err)
{
    struct stat st;
    char text[300];
    if (!m->path)
        return ERR_OK;
    const char *why = NULL;
    if (stat(m->path, &st) < 0 || access(m->path, R_OK) < 0)
        why = strerror(errno);
    else if (!S_ISREG(st.st_mode))
        why = "not a regular file";
    if (!why)
        return ERR_OK;
    (void)snprintf(text, sizeof text, "cannot read %.200s: %.80s", m->path, why);
    return config_fail_model(c, err, m, "path", text);
}

size_t config_sizes(const struct setting_list *list, uint32_t out[BATCHING_SIZES_MAX])
{
    const char *const *items = list->items;
    uint64_t v;
    for (size_t i = 0; i < list->len; i++)
        out[i] = str_to_u64(str_c(items[i]), &v) ? (uint32_t)v : 0;
    return list->len;
}

int64_t config_max_batch(const struct model_config *m)
{
    uint32_t v[BATCHING_SIZES_MAX];
    if (m->max_batch > 0)
        return m->max_batch;
    size_t preferred = config_sizes(&m->batching.preferred, v);
    uint32_t greatest = preferred > 0 ? v[preferred - 1] : 0;
    size_t sizes = config_sizes(&m->batching.sizes, v);
    return sizes > 0 ? v[sizes - 1] : greatest;
}

static enum err_code check_sizes(const struct config *c, const struct model_config *m, const char *key,
                                 const struct setting_list *list, struct err *err)
{
    const char *const *items = list->items;
    char text[200] = "";
    uint64_t v = 0, before = 0;
    int64_t max = config_max_batch(m);
    for (size_t i = 0; i < list->len && !text[0]; i++, before = v) {
        if (!str_to_u64(str_c(items[i]), &v) || v < 1 || v > 65536)
            (void)snprintf(text, sizeof text, "\"%.40s\" is not a whole number of rows from 1 to 65536", items[i]);
        else if (v <= before)
            (void)snprintf(text, sizeof text, "%.40s comes after %llu: sizes must ascend", items[i],
                           (unsigned long long)before);
    }
    if (!text[0] && v > (uint64_t)max)
        (void)snprintf(text, sizeof text, "%llu rows are more than a run has, %lld", (unsigned long long)v,
                       (long long)max);
    if (!text[0])
        return ERR_OK;
    (void)config_fail_model(c, err, m, key, text);
    return err_remedy(err, "write for example [4, 8, 16], the last at most max_batch");
}

static enum err_code check_batching(const struct config *c, const struct model_config *m, struct err *err)
{
    if (check_sizes(c, m, "batching.preferred", &m->batching.preferred, err))
        return err->code;
    if (check_sizes(c, m, "batching.sizes", &m->batching.sizes, err))
        return err->code;
    if (m->batching.delay_ns < m->timeout_ns)
        return ERR_OK;
    (void)config_fail_model(c, err, m, "batching.delay", "requests would time out while they wait for others");
    return err_remedy(err, "make it shorter than timeout; a few milliseconds are usual");
}

static enum err_code check_versions(const struct config *c, const struct model_config *m, struct err *err)
{
    const struct setting_pair *labels = m->labels.items;
    if (m->canary.header &&
        strspn(m->canary.header, "abcdefghijklmnopqrstuvwxyz0123456789-_") != strlen(m->canary.header))
        return config_fail_model(c, err, m, "canary.header",
                                 "a header's name is written in lower case letters, digits and -");
    if (m->versions.len && m->path && m->origin && strcmp(m->path, m->origin) == 0) {
        (void)config_fail_model(c, err, m, "versions", "a file has one version");
        return err_remedy(err, "give the folder that has <version>/model.onnx as path");
    }
    for (size_t i = 0; i < m->labels.len; i++)
        if (!config_is_name(labels[i].name) || strlen(labels[i].name) > 32 ||
            strspn(labels[i].name, "0123456789") == strlen(labels[i].name))
            return config_fail_model(c, err, m, "labels",
                                     "a label has 1 to 32 letters, digits, \".\", \"_\" and \"-\", not digits only");
    return ERR_OK;
}

static enum err_code check_load(const struct config *c, const struct model_config *m, struct err *err)
{
    if (m->load == LOAD_ALWAYS && m->unload_after_ns > 0) {
        (void)config_fail_model(c, err, m, "unload_after", "a model that is always loaded is never unloaded");
        return err_remedy(err, "say load: on-demand too, or leave unload_after out");
    }
    if (m->load == LOAD_ALWAYS || (m->isolation == ISOLATION_PROCESS && m->ensemble.steps.len == 0))
        return ERR_OK;
    if (m->ensemble.steps.len > 0) {
        (void)config_fail_model(c, err, m, "load", "an ensemble has no memory of its own");
        return err_remedy(err, "say load: on-demand of its members; it is loaded when they are");
    }
    (void)config_fail_model(c, err, m, "load", "isolation inline has no worker processes that could end");
    return err_remedy(err, "leave load out, or say isolation: process");
}

#define PARAMETERS_BYTES_MAX 4000 /* as JSON, in all: they travel in one message with all else of the model */

static size_t bytes_as_json(const char *text)
{
    size_t n = 0;
    for (; *text; text++)
        n += (unsigned char)*text < ' ' ? 6 : *text == '"' || *text == '\\' ? 2 : 1;
    return n;
}

static enum err_code check_parameters(const struct config *c, const struct model_config *m, struct err *err)
{
    const struct setting_text_pair *p = m->parameters.items;
    size_t bytes = 0;
    for (size_t i = 0; i < m->parameters.len; i++)
        bytes += bytes_as_json(p[i].name) + bytes_as_json(p[i].value) + 6; /* ,"":"" */
    if (bytes <= PARAMETERS_BYTES_MAX)
        return ERR_OK;
    (void)config_fail_model(c, err, m, "parameters", "keys and values have more than 4000 bytes in all");
    return err_remedy(err, "put what is long into a file, and its path here");
}

static enum err_code check_model(const struct config *c, const struct model_config *m, struct err *err)
{
    const struct setting_pair *classes = c->classes.items;
    char text[200];
    if (!config_is_name(m->name)) {
        (void)snprintf(text, sizeof text, "a model's name has 1 to %d letters, digits, \".\", \"_\" and \"-\"",
                       MODEL_NAME_MAX - 1);
        (void)config_fail_model(c, err, m, "", text);
        return err_remedy(err, "rename it; a file can keep its name with models: {NAME: FILE} in a configuration");
    }
    if (m->problem)
        return ERR_OK;
    if (strspn(m->version, "0123456789") != strlen(m->version))
        return config_fail_model(c, err, m, "version", "a version has digits only");
    if (check_versions(c, m, err))
        return err->code;
    if (m->isolation == ISOLATION_INLINE && m->instances > 1) {
        (void)config_fail_model(c, err, m, "instances", "isolation inline has no worker processes");
        return err_remedy(err, "leave instances out, or say isolation: process");
    }
    if (check_batching(c, m, err) || config_check_queue(c, m, err) || check_load(c, m, err) ||
        config_check_warm_up(c, m, err) || check_parameters(c, m, err))
        return err->code;
    for (size_t i = 0; i < c->classes.len; i++)
        if (strcmp(classes[i].name, m->class_name) == 0)
            return check_backend(c, m, err) ? err->code : check_file(c, m, err);
    (void)snprintf(text, sizeof text, "there is no class \"%.64s\"", m->class_name);
    (void)config_fail_model(c, err, m, "class", text);
    return err_remedy(err, "name one of the keys of classes");
}

/* Compared with decoded paths, byte by byte. */
static enum err_code check_base_path(const struct config *c, struct err *err)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/";
    const char *p = c->base_path;
    if (!p || (p[0] == '/' && p[strlen(p) - 1] != '/' && !strstr(p, "//") && p[strspn(p, allowed)] == '\0'))
        return ERR_OK;
    return config_fail(c, err, "base_path", "\"%s\" is not a path like /team/models", p);
}

enum err_code config_check(struct config *c, struct err *err)
{
    struct model_config *models = c->models.items;
    if (check_base_path(c, err))
        return err->code;
    for (size_t i = 0; i < c->listen.len; i++)
        if (check_listen(c, i, err))
            return err->code;
    if (check_classes(c, err))
        return err->code;
    if (c->repository.unload_after_ns > 0 && !c->repository.is_on_demand) {
        (void)config_fail(c, err, "repository.unload_after", "models that are always loaded are never unloaded");
        return err_remedy(err, "say on_demand: true too, or leave unload_after out");
    }
    for (size_t i = 0; i < c->models.len; i++)
        if (check_model(c, &models[i], err) && config_spare(c, &models[i], err))
            return err->code;
    return ERR_OK;
}
