#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/config.h"

#define LINE_MAX_COLUMNS 78

struct line {
    const char *name, *text;
};

static const char *const exit_texts[EXIT_CODES_] = {
    [EXIT_FINE] = "fine",
    [EXIT_FAILED] = "failed at run time",
    [EXIT_USAGE] = "wrong command line",
    [EXIT_CONFIG] = "the configuration is invalid, or a model file cannot be used",
    [EXIT_ENGINE] = "an engine that a model needs is not installed",
    [EXIT_ADDRESS] = "an address to listen on is in use",
    [EXIT_DATA] = "another quern uses the data directory",
    [EXIT_NOT_RUNNING] = "no quern is running with this data directory",
};

static const struct line environment[] = {
    {"QUERN_DATA", "Data directory, where --data and the configuration say nothing."},
    {"XDG_DATA_HOME", "Where user data lie; the data directory and engines are in its folder quern. ~/.local/share by "
                      "default."},
    {"QUERN_ENGINE_DIR", "Folder to look for engines in first, and to install them into."},
    {0}};

static const struct line signals[] = {
    {"SIGTERM, SIGINT",
     "Drain: accept no more, answer what is in work, then end with code 0. A second one ends at once."},
    {"SIGHUP", "Read the configuration again, aside; when it is valid, change over to it, else say why and go on."},
    {0}};

/* Paragraphs (apart by '\n'), wrapped at word boundaries; lines that begin with a space are left as they are. */
static void wrap(struct buf *out, int indent, const char *text)
{
    struct str rest = str_c(text);
    while (rest.n) {
        struct str paragraph = str_cut(rest, '\n', &rest);
        bool is_literal = paragraph.n && paragraph.p[0] == ' ';
        size_t column = 0;
        buf_printf(out, "%*s", indent, "");
        if (is_literal)
            buf_str(out, paragraph);
        while (!is_literal && paragraph.n) {
            struct str word = str_cut(paragraph, ' ', &paragraph);
            if (column && (size_t)indent + column + 1 + word.n > LINE_MAX_COLUMNS) {
                buf_printf(out, "\n%*s", indent, "");
                column = 0;
            } else if (column) {
                buf_char(out, ' ');
                column++;
            }
            buf_str(out, word);
            column += word.n;
        }
        buf_char(out, '\n');
    }
}

const char *help_option_text(const struct arg_option *o)
{
    const struct setting *s = o->key ? settings_find(config_table, o->key).setting : NULL;
    return o->help ? o->help : s ? s->help : "";
}

/* Backquotes are for Markdown. */
static void add_plain(struct buf *out, const char *text)
{
    for (; *text; text++)
        if (*text != '`')
            buf_char(out, *text);
}

static void add_option(struct buf *out, const struct arg_option *o)
{
    const struct setting *s = o->key ? settings_find(config_table, o->key).setting : NULL;
    struct buf text;
    buf_init(&text, 8192);
    buf_c(out, "    ");
    if (o->letter)
        buf_printf(out, "-%c, ", o->letter);
    buf_printf(out, "--%s%s%s%s\n", o->name, o->value ? " " : "", o->value ? o->value : "",
               o->is_repeatable ? "  (may be repeated)" : "");
    add_plain(&text, help_option_text(o));
    if (s && o->value && s->kind == SET_ENUM) {
        buf_c(&text, " One of");
        for (size_t i = 0; s->choices[i]; i++)
            buf_printf(&text, "%s %s", i ? "," : "", s->choices[i]);
        buf_char(&text, '.');
    }
    if (s && o->value && s->def)
        buf_printf(&text, " Default: %s.", s->def);
    buf_char(&text, '\0');
    wrap(out, 8, text.p);
    buf_done(&text);
}

static void add_lines(struct buf *out, const char *title, const struct line *lines)
{
    buf_printf(out, "\n%s\n", title);
    for (; lines->name; lines++) {
        buf_printf(out, "    %s\n", lines->name);
        wrap(out, 8, lines->text);
    }
}

static void add_exit_codes(struct buf *out)
{
    buf_c(out, "\nEXIT CODES\n");
    for (int i = 0; i < EXIT_CODES_; i++)
        buf_printf(out, "    %d  %s\n", i, exit_texts[i]);
}

void help_command(const struct command *c, struct buf *out)
{
    buf_printf(out, "NAME\n    quern %s - %s\n\nUSAGE\n    quern %s %s\n\nDESCRIPTION\n", c->name, c->summary, c->name,
               c->usage);
    wrap(out, 4, c->about);
    buf_c(out, "\nOPTIONS\n");
    for (const struct arg_option *o = c->options; o && o->name; o++)
        add_option(out, o);
    add_option(out, &args_common[0]);
    if (c->examples)
        buf_c(out, "\nEXAMPLES\n");
    for (const struct arg_example *e = c->examples; e && e->line; e++) {
        buf_printf(out, "    %s\n", e->line);
        wrap(out, 8, e->text);
    }
    add_exit_codes(out);
}

void help_overview(struct buf *out)
{
    buf_c(out, "quern - a model file in, a fast, safe, observable HTTP service out\n\nUSAGE\n    quern COMMAND ...\n\n"
               "COMMANDS\n");
    for (const struct command *c = cli_commands; c->name; c++)
        if (!c->is_hidden)
            buf_printf(out, "    %-12s %s\n", c->name, c->summary);
    buf_c(out, "\n    quern help COMMAND tells all about a command.\n\nSTART HERE\n"
               "    quern serve iris.onnx\n"
               "        Any ONNX file; prints a line to try for it. The dashboard is on the same\n        address.\n"
               "    quern up -c quern.yaml\n"
               "        Everything that a configuration describes.\n");
    add_lines(out, "ENVIRONMENT", environment);
    add_lines(out, "SIGNALS", signals);
    add_exit_codes(out);
}

static void add_markdown_lines(struct buf *out, const char *title, const char *head, const struct line *lines)
{
    buf_printf(out, "\n## %s\n\n| %s | Meaning |\n| --- | --- |\n", title, head);
    for (; lines->name; lines++)
        buf_printf(out, "| `%s` | %s |\n", lines->name, lines->text);
}

void help_reference(struct buf *out)
{
    buf_c(out, "# Reference\n\nWritten by `quern reference` from the tables that the program itself uses; do not edit "
               "(a test compares).\n\n");
    settings_reference(config_table, "Configuration", out);
    buf_c(out,
          "\nAn example with all that is usual:\n\n```yaml\nlisten: 127.0.0.1:8000\ndata: /var/lib/quern\n"
          "models:\n  iris: models/iris.onnx\n  ocr:\n    path: models/ocr.onnx\n    instances: 2\n    class: high\n"
          "    timeout: 5s\nclasses: {high: 60, medium: 30, low: 10}\nlog: {level: info, format: json}\n```\n\n"
          "Times are written `250us`, `20ms`, `1.5s`, `2m`, `1h`; sizes `64KiB`, `64MiB`, `1GB`, or plain bytes. "
          "Anchors, aliases, tags and duplicate keys are errors. Limits: 1 MiB, 16 levels, 10,000 keys and items.\n");
    buf_printf(out, "\n## Exit codes\n\n| Code | Meaning |\n| --- | --- |\n");
    for (int i = 0; i < EXIT_CODES_; i++)
        buf_printf(out, "| %d | %s |\n", i, exit_texts[i]);
    add_markdown_lines(out, "Environment", "Variable", environment);
    add_markdown_lines(out, "Signals", "Signal", signals);
    buf_c(out, "\n## Commands\n");
    for (const struct command *c = cli_commands; c->name; c++) {
        if (c->is_hidden)
            continue;
        struct buf page;
        buf_init(&page, CLI_OUTPUT_MAX);
        help_command(c, &page);
        struct str text = buf_view(&page);
        char *codes = memmem(text.p, text.n, "\nEXIT CODES", 11);
        if (codes) /* once is enough on one page */
            text.n = (size_t)(codes - text.p);
        buf_printf(out, "\n### quern %s\n\n```text\n", c->name);
        buf_str(out, text);
        buf_c(out, "```\n");
        buf_done(&page);
    }
}
