#include "cli/familiar.h"

#include <string.h>

#include "cli/config.h"

#define SETTING_NAME_MAX 40

struct familiar {
    const char *word, *here;
};

static const struct familiar commands[] = {{"run", "quern serve FILE, or quern up -c quern.yaml"},
                                           {"start", "quern serve FILE, or quern up -c quern.yaml"},
                                           {"list", "quern status"},
                                           {"ls", "quern status"},
                                           {"ps", "quern status"},
                                           {"models", "quern status, or quern model show NAME"},
                                           {"stop", "kill -TERM $(quern status --json | jq .master_pid)"},
                                           {"logs", "the log goes to standard error; requests: quern request"},
                                           {"load", "quern model load NAME"},
                                           {"unload", "quern model unload NAME"},
                                           {"promote", "quern model promote NAME"},
                                           {"rollback", "quern model rollback NAME"},
                                           {"show", "quern model show NAME"},
                                           {"install", "quern engine install NAME"},
                                           {"benchmark", "quern bench"},
                                           {"validate", "quern check"},
                                           {"-v", "quern --version"},
                                           {"-V", "quern --version"}};

static const struct familiar options[] = {{"port", "--listen 127.0.0.1:PORT"},
                                          {"http-port", "--listen 127.0.0.1:PORT"},
                                          {"p", "--listen 127.0.0.1:PORT"},
                                          {"host", "--listen HOST:PORT"},
                                          {"http-address", "--listen HOST:PORT"},
                                          {"bind", "--listen HOST:PORT"},
                                          {"address", "--listen HOST:PORT"},
                                          {"workers", "--instances N"},
                                          {"model-repository", "the folder alone: quern serve DIR"},
                                          {"model-store", "the folder alone: quern serve DIR"},
                                          {"model-control-mode", "--repository-mode fixed, watch or explicit"},
                                          {"watch", "--repository-mode watch"},
                                          {"config", "quern up -c FILE"},
                                          {"c", "quern up -c FILE"},
                                          {"verbose", "--log-level debug"},
                                          {"v", "--log-level debug"},
                                          {"log-verbose", "--log-level debug"},
                                          {"data-dir", "--data DIR"}};

static const char *look_up(const struct familiar *table, size_t len, struct str word)
{
    for (size_t i = 0; i < len; i++)
        if (str_eq_c(word, table[i].word))
            return table[i].here;
    return NULL;
}

bool familiar_command(const char *name, struct err *err)
{
    const char *here = look_up(commands, ARRAY_LEN(commands), str_c(name));
    if (here)
        (void)err_remedy(err, "here: %s", here);
    return here != NULL;
}

/* --max-batch is max_batch of a model in quern.yaml. */
static bool is_setting(struct str option, const char *section, char *name, size_t size)
{
    if (option.n + strlen(section) >= size)
        return false;
    size_t n = strlen(section);
    memcpy(name, section, n);
    for (size_t i = 0; i < option.n; i++)
        name[n++] = option.p[i] == '-' ? '_' : option.p[i];
    name[n] = '\0';
    return settings_find(config_table, name).setting != NULL;
}

bool familiar_option(const char *command, struct str name, struct err *err)
{
    char setting[SETTING_NAME_MAX];
    if (strcmp(command, "serve") != 0 && strcmp(command, "up") != 0)
        return false;
    const char *here = look_up(options, ARRAY_LEN(options), name);
    if (here) {
        (void)err_remedy(err, "here: %s", here);
        return true;
    }
    if (is_setting(name, "models.*.", setting, sizeof setting))
        (void)err_remedy(err, "models.NAME.%s in quern.yaml sets it, see docs/reference.md",
                         setting + strlen("models.*."));
    else if (is_setting(name, "", setting, sizeof setting))
        (void)err_remedy(err, "%s in quern.yaml sets it, see docs/reference.md", setting);
    else
        return false;
    return true;
}
