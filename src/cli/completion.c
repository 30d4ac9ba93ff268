#include <string.h>

#include "cli/commands.h"

static void put_commands(struct buf *out)
{
    for (const struct command *c = cli_commands; c->name; c++)
        if (!c->is_hidden)
            buf_printf(out, "%s ", c->name);
}

static void put_words(struct buf *out, const char *complete)
{
    if (strcmp(complete, "COMMAND") == 0)
        put_commands(out);
    else
        buf_c(out, complete);
}

/* "FILE", "DIR" and "COMMAND" are kinds; anything else is the list of words. */
static void bash_reply(struct buf *out, const char *complete)
{
    if (!complete) {
        buf_c(out, "COMPREPLY=()");
    } else if (strcmp(complete, "FILE") == 0) {
        buf_c(out, "mapfile -t COMPREPLY < <(compgen -f -- \"$cur\")");
    } else if (strcmp(complete, "DIR") == 0) {
        buf_c(out, "mapfile -t COMPREPLY < <(compgen -d -- \"$cur\")");
    } else {
        buf_c(out, "mapfile -t COMPREPLY < <(compgen -W '");
        put_words(out, complete);
        buf_c(out, "' -- \"$cur\")");
    }
}

static void bash_options(struct buf *out, const struct command *c)
{
    buf_printf(out, "        %s)\n            case $prev in\n", c->name);
    for (const struct arg_option *o = c->options; o && o->name; o++) {
        if (!o->value)
            continue;
        buf_printf(out, "            --%s", o->name);
        if (o->letter)
            buf_printf(out, "|-%c", o->letter);
        buf_c(out, ") ");
        bash_reply(out, o->complete);
        buf_c(out, "; return ;;\n");
    }
    buf_c(out, "            esac\n            if [[ $cur == -* ]]; then ");
    buf_c(out, "mapfile -t COMPREPLY < <(compgen -W '");
    for (const struct arg_option *o = c->options; o && o->name; o++)
        buf_printf(out, "--%s ", o->name);
    buf_c(out, "--help' -- \"$cur\"); return; fi\n            ");
    bash_reply(out, c->complete);
    buf_c(out, " ;;\n");
}

static void bash(struct buf *out)
{
    buf_c(out, "# bash completion of quern. Use: source <(quern completion bash)\n"
               "_quern() {\n    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
               "    if ((COMP_CWORD == 1)); then\n        mapfile -t COMPREPLY < <(compgen -W '");
    put_commands(out);
    buf_c(out, "--help --version' -- \"$cur\")\n        return\n    fi\n    case ${COMP_WORDS[1]} in\n");
    for (const struct command *c = cli_commands; c->name; c++)
        if (!c->is_hidden)
            bash_options(out, c);
    buf_c(out, "    esac\n}\ncomplete -o filenames -F _quern quern\n");
}

static void fish_text(struct buf *out, const char *text)
{
    buf_c(out, " -d '");
    for (; *text; text++)
        if (*text != '\'' && *text != '`' && *text != '\\')
            buf_char(out, *text);
    buf_char(out, '\'');
}

static void fish_complete(struct buf *out, const char *complete)
{
    bool is_path = complete && (strcmp(complete, "FILE") == 0 || strcmp(complete, "DIR") == 0);
    if (is_path) {
        buf_c(out, " -F");
    } else if (complete) {
        buf_c(out, " -f -a '");
        put_words(out, complete);
        buf_char(out, '\'');
    } else {
        buf_c(out, " -f");
    }
}

static void fish(struct buf *out)
{
    buf_c(out, "# fish completion of quern. Use: quern completion fish | source\n");
    for (const struct command *c = cli_commands; c->name; c++) {
        if (c->is_hidden)
            continue;
        buf_printf(out, "complete -c quern -n __fish_use_subcommand -f -a %s", c->name);
        fish_text(out, c->summary);
        buf_printf(out, "\ncomplete -c quern -n '__fish_seen_subcommand_from %s'", c->name);
        fish_complete(out, c->complete);
        buf_char(out, '\n');
        for (const struct arg_option *o = c->options; o && o->name; o++) {
            buf_printf(out, "complete -c quern -n '__fish_seen_subcommand_from %s' -l %s", c->name, o->name);
            if (o->letter)
                buf_printf(out, " -s %c", o->letter);
            if (o->value) {
                buf_c(out, " -r");
                fish_complete(out, o->complete);
            }
            fish_text(out, help_option_text(o));
            buf_char(out, '\n');
        }
    }
}

bool completion_script(const char *shell, struct buf *out)
{
    if (strcmp(shell, "bash") == 0) {
        bash(out);
    } else if (strcmp(shell, "zsh") == 0) {
        buf_c(out,
              "#compdef quern\n# zsh completion of quern, by its bash completion. Use: source <(quern completion zsh)\n"
              "autoload -U +X bashcompinit && bashcompinit\n");
        bash(out);
    } else if (strcmp(shell, "fish") == 0) {
        fish(out);
    } else {
        return false;
    }
    return true;
}
