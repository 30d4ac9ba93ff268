#include "sys/memory.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sys/fd.h"

#define SMAPS_BYTES_MAX ((size_t)8 << 20) /* of some ten thousand mappings */
#define CHUNK           ((size_t)64 << 10)

/* "Rss:   123 kB" in bytes; false: another line. */
static bool line_bytes(struct str line, const char *name, uint64_t *out)
{
    uint64_t kb;
    struct str rest;
    if (!str_starts(line, str_c(name)))
        return false;
    struct str value = str_trim(str_sub(line, strlen(name), line.n));
    if (!str_to_u64(str_cut(value, ' ', &rest), &kb))
        return false;
    *out = kb * 1024;
    return true;
}

/* "55a4995d1000-55a4995d4000 r-xp 00003000 fe:00 247741    /usr/bin/sed": the path, or empty; is_mapping false: a line with a value. */
static struct str mapping_path(struct str line, bool *is_mapping)
{
    struct str rest = line;
    ptrdiff_t colon = str_chr(line, ':'), space = str_chr(line, ' ');
    *is_mapping = space > 0 && (colon < 0 || space < colon) && str_chr(line, '-') > 0;
    for (int i = 0; i < 5; i++)
        (void)str_cut(rest, ' ', &rest);
    return *is_mapping ? str_trim(rest) : (struct str){0};
}

/* Anything else counts as the model's own: rather too much than too little. */
static bool is_program(struct str path, struct str exe)
{
    bool is_file = path.n > 0 && path.p[0] == '/' && !str_starts(path, STR("/memfd:"));
    return is_file && (str_contains(path, STR(".so")) || (exe.n > 0 && str_eq(path, exe)));
}

/* The first file that is mapped is the program itself. */
void proc_memory_parse(struct str smaps, struct proc_memory *out)
{
    struct str exe = {0};
    uint64_t rss = 0, alone = 0, v;
    bool is_mapping, is_code = false;
    memset(out, 0, sizeof *out);
    while (smaps.n > 0) {
        struct str line = str_cut(smaps, '\n', &smaps);
        struct str path = mapping_path(line, &is_mapping);
        if (is_mapping) {
            if (exe.n == 0 && path.n > 0 && path.p[0] == '/')
                exe = path;
            is_code = is_program(path, exe);
            rss = alone = 0;
        } else if (line_bytes(line, "Rss:", &v)) {
            rss = v;
        } else if (line_bytes(line, "Private_Clean:", &v) || line_bytes(line, "Private_Dirty:", &v)) {
            alone += v;
        } else if (line_bytes(line, "Anonymous:", &v)) {
            uint64_t own = v < alone ? v : alone, files = rss > v ? rss - v : 0;
            out->private_bytes += own;
            out->program_bytes += v - own; /* as the process had it from the one it was forked from */
            *(is_code ? &out->program_bytes : &out->shared_bytes) += files;
        } else if (line_bytes(line, "Swap:", &v)) {
            out->private_bytes += v;
        }
    }
}

/* A whole file of /proc; free the result. NULL: it is gone, or larger than max. */
static char *read_all(const char *path, size_t max, size_t *out_len)
{
    AUTO_FD fd = open(path, O_RDONLY | O_CLOEXEC);
    char *text = NULL;
    size_t len = 0;
    ssize_t n = fd < 0 ? -1 : 1;
    while (n > 0 && len < max) {
        char *more = realloc(text, len + CHUNK);
        if (!more)
            break;
        text = more;
        n = read(fd, text + len, CHUNK);
        len += n > 0 ? (size_t)n : 0;
    }
    if (n != 0) {
        free(text);
        return NULL;
    }
    *out_len = len;
    return text;
}

/* Of the lines with these names in /proc/PID/NAME; 0: it is gone. */
static uint64_t sum_lines(int pid, const char *file, const char *const *names)
{
    char path[64];
    size_t len = 0;
    uint64_t sum = 0, v;
    (void)snprintf(path, sizeof path, "/proc/%d/%s", pid, file);
    char *text = read_all(path, CHUNK, &len);
    for (size_t i = 0; i < len; i++)
        text[i] = text[i] == '\t' ? ' ' : text[i]; /* "VmHWM:\t    5388 kB" */
    struct str rest = {text, len};
    while (rest.n > 0) {
        struct str line = str_cut(rest, '\n', &rest);
        for (int i = 0; names[i]; i++)
            if (line_bytes(line, names[i], &v))
                sum += v;
    }
    free(text);
    return sum;
}

bool proc_memory_read(int pid, struct proc_memory *out)
{
    char path[64];
    size_t len = 0;
    (void)snprintf(path, sizeof path, "/proc/%d/smaps", pid);
    char *text = read_all(path, SMAPS_BYTES_MAX, &len);
    if (!text || len == 0) {
        free(text);
        return false;
    }
    proc_memory_parse((struct str){text, len}, out);
    free(text);
    out->peak_bytes = sum_lines(pid, "status", (const char *const[]){"VmHWM:", NULL});
    return true;
}

uint64_t proc_memory_quick(int pid)
{
    return sum_lines(pid, "smaps_rollup", (const char *const[]){"Pss_Anon:", "Pss_Shmem:", NULL});
}
