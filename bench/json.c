/* bench_json: float arrays as JSON, read and written, in MB of text for each second of CPU time; medians of 15 rounds.
 * Build: ninja -C build/release bench_json. With peers: add -DBENCH_CJSON -lcjson and -DBENCH_YAJL -lyajl to the compiler's line. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/json.h"
#include "base/num.h"
#include "base/rand.h"

#ifdef BENCH_CJSON
#include <cjson/cJSON.h>
#endif
#ifdef BENCH_YAJL
#include <yajl/yajl_parse.h>
#endif

#define ROUNDS  15
#define FLOATS  400
#define REPEATS 200 /* the text fits in the cache, as a request's does */

static char text[FLOATS * 40 + BUF_PAD];
static size_t text_len;
static float values[FLOATS];
static float parsed[FLOATS];

static void fill(int digits, const char *separator)
{
    size_t at = 0;
    rand_seed(1);
    text[at++] = '[';
    for (int i = 0; i < FLOATS; i++) {
        values[i] = (float)((rand_unit() - 0.5) * 8);
        at += (size_t)snprintf(text + at, 40, "%s%.*g", i ? separator : "", digits, (double)values[i]);
    }
    text[at++] = ']';
    text_len = at;
    memset(text + at, 0, BUF_PAD);
}

static void read_ours(void)
{
    struct json_reader r;
    struct json_shape shape;
    size_t n;
    json_init(&r, (struct str){text, text_len}, JSON_DEPTH_MAX);
    if (!json_numbers(&r, JSON_F32, parsed, FLOATS, &n, &shape))
        abort();
}

static void skip_ours(void)
{
    struct json_reader r;
    json_init(&r, (struct str){text, text_len}, JSON_DEPTH_MAX);
    if (!json_skip(&r, NULL))
        abort();
}

static void read_strtof(void)
{
    char *p = text + 1;
    for (int i = 0; i < FLOATS; i++) {
        parsed[i] = strtof(p, &p);
        p += strspn(p, ", ");
    }
}

static struct buf out;

static void write_ours(void)
{
    struct json_writer w;
    buf_clear(&out);
    jw_init(&w, &out);
    jw_numbers(&w, JSON_F32, values, FLOATS);
}

static void write_printf(void)
{
    buf_clear(&out);
    for (int i = 0; i < FLOATS; i++)
        buf_printf(&out, "%s%.9g", i ? "," : "[", (double)values[i]);
}

#ifdef BENCH_CJSON
static void read_cjson(void)
{
    cJSON *tree = cJSON_ParseWithLength(text, text_len), *item;
    int i = 0;
    cJSON_ArrayForEach(item, tree) parsed[i++] = (float)item->valuedouble;
    cJSON_Delete(tree);
}

static void write_cjson(void)
{
    cJSON *tree = cJSON_CreateFloatArray(values, FLOATS);
    char *s = cJSON_PrintUnformatted(tree);
    buf_clear(&out);
    buf_c(&out, s);
    free(s);
    cJSON_Delete(tree);
}
#endif

#ifdef BENCH_YAJL
static int on_number(void *arg, const char *s, size_t n)
{
    int *i = arg;
    char copy[64];
    memcpy(copy, s, n < 63 ? n : 63);
    copy[n < 63 ? n : 63] = '\0';
    parsed[(*i)++] = strtof(copy, NULL);
    return 1;
}

static void read_yajl(void)
{
    static const yajl_callbacks callbacks = {.yajl_number = on_number};
    int i = 0;
    yajl_handle h = yajl_alloc(&callbacks, NULL, &i);
    (void)yajl_parse(h, (const unsigned char *)text, text_len);
    (void)yajl_complete_parse(h);
    yajl_free(h);
}
#endif

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* CPU time: the machine may have other work. */
static uint64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void measure(const char *name, void (*run)(void), const size_t *bytes)
{
    double rate[ROUNDS];
    run();
    for (int i = 0; i < ROUNDS; i++) {
        uint64_t t0 = cpu_ns();
        for (int k = 0; k < REPEATS; k++)
            run();
        rate[i] = (double)*bytes * REPEATS * 1e3 / (double)(cpu_ns() - t0);
    }
    qsort(rate, ROUNDS, sizeof rate[0], by_value);
    printf("  %-28s %8.0f MB/s  %6.1f ns per float  (best round %.0f MB/s)\n", name, rate[ROUNDS / 2],
           (double)*bytes * 1e3 / rate[ROUNDS / 2] / FLOATS, rate[ROUNDS - 1]);
}

int main(void)
{
    static const struct {
        int digits;
        const char *separator, *title;
    } texts[] = {{7, ",", "7 digits"}, {17, ",", "17 digits"}, {17, ", ", "17 digits, Python's spaces"}};
    buf_init(&out, 1 << 20);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        fill(texts[i].digits, texts[i].separator);
        printf("reading %d floats, %s (%zu bytes)\n", FLOATS, texts[i].title, text_len);
        measure("json_numbers", read_ours, &text_len);
        measure("json_skip", skip_ours, &text_len);
        measure("strtof loop", read_strtof, &text_len);
#ifdef BENCH_CJSON
        measure("cJSON", read_cjson, &text_len);
#endif
#ifdef BENCH_YAJL
        measure("yajl + strtof", read_yajl, &text_len);
#endif
    }
    printf("writing %d floats\n", FLOATS);
    measure("jw_numbers (shortest)", write_ours, &out.len);
    measure("printf %.9g", write_printf, &out.len);
#ifdef BENCH_CJSON
    measure("cJSON", write_cjson, &out.len);
#endif
    buf_done(&out);
    return 0;
}
