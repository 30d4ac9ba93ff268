/* JPEG by libjpeg-turbo. It reports by calls that must not return, hence the jumps: everything that lives across them is in struct jpeg. */
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jerror.h>
#include <jpeglib.h>

#include "model/image/image_int.h"

/* A progressive file may ask for the whole picture to be gone over again with every few bytes; cameras and editors write about ten. */
#define SCANS_MAX 64

struct jpeg {
    struct jpeg_decompress_struct d;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    jmp_buf back;
    const struct image_limits *limits;
    struct image *out;
    struct err *err;
    unsigned char *cmyk; /* one row */
};

static _Noreturn void fail(j_common_ptr d)
{
    struct jpeg *j = d->client_data;
    char text[JMSG_LENGTH_MAX];
    j->errors.format_message(d, text);
    if (j->err->code == ERR_OK)
        err_set(j->err, ERR_INVALID, "damaged JPEG file: %s", text);
    longjmp(j->back, 1);
}

/* Missing or damaged data is only a warning to the library, which would make up the rest. */
static void on_message(j_common_ptr d, int level)
{
    if (level < 0 && d->err->msg_code != JWRN_EXTRANEOUS_DATA)
        fail(d);
}

static void on_progress(j_common_ptr d)
{
    struct jpeg *j = d->client_data;
    if (j->d.input_scan_number <= SCANS_MAX)
        return;
    err_set(j->err, ERR_INVALID, "a JPEG file of more than %d scans is not read", SCANS_MAX);
    fail(d);
}

/* Adobe's programs write inverted ink, everybody else follows them. */
static void put_cmyk(const unsigned char *in, uint32_t width, bool is_inverted, unsigned char *out)
{
    for (uint32_t x = 0; x < width; x++, in += 4, out += IMAGE_CHANNELS)
        for (int c = 0; c < IMAGE_CHANNELS; c++) {
            unsigned ink = is_inverted ? in[c] : 255u - in[c], black = is_inverted ? in[3] : 255u - in[3];
            out[c] = (unsigned char)((ink * black + 127) / 255);
        }
}

static void read_rows(struct jpeg *j)
{
    struct jpeg_decompress_struct *d = &j->d;
    size_t row = (size_t)d->output_width * IMAGE_CHANNELS;
    bool is_cmyk = d->out_color_space == JCS_CMYK;
    while (d->output_scanline < d->output_height) {
        unsigned char *at = j->out->pixels + row * d->output_scanline;
        JSAMPROW target = is_cmyk ? j->cmyk : at;
        (void)jpeg_read_scanlines(d, &target, 1);
        if (is_cmyk)
            put_cmyk(j->cmyk, d->output_width, d->saw_Adobe_marker != 0, at);
    }
}

static void decode(struct jpeg *j, struct str file)
{
    struct jpeg_decompress_struct *d = &j->d;
    jpeg_create_decompress(d);
    d->client_data = j;
    d->progress = &j->progress;
    jpeg_mem_src(d, (const unsigned char *)file.p, file.n);
    (void)jpeg_read_header(d, TRUE);
    if (image_begin(d->image_width, d->image_height, j->limits, j->out, j->err))
        fail((j_common_ptr)d);
    bool is_cmyk = d->jpeg_color_space == JCS_CMYK || d->jpeg_color_space == JCS_YCCK;
    d->out_color_space = is_cmyk ? JCS_CMYK : JCS_RGB;
    if (is_cmyk && (j->cmyk = malloc((size_t)d->image_width * 4)) == NULL) {
        err_set(j->err, ERR_TOO_LARGE, "no memory for a row of %u pixels", d->image_width);
        fail((j_common_ptr)d);
    }
    (void)jpeg_start_decompress(d);
    read_rows(j);
    (void)jpeg_finish_decompress(d);
}

static void decode_or_jump(struct jpeg *j, struct str file)
{
    if (setjmp(j->back) == 0)
        decode(j, file);
}

enum err_code image_decode_jpeg(struct str file, const struct image_limits *limits, struct image *out, struct err *err)
{
    struct jpeg j = {.limits = limits, .out = out, .err = err};
    *err = (struct err){0};
    j.d.err = jpeg_std_error(&j.errors);
    j.d.client_data = &j;
    j.errors.error_exit = fail;
    j.errors.emit_message = on_message;
    j.progress.progress_monitor = on_progress;
    decode_or_jump(&j, file);
    jpeg_destroy_decompress(&j.d);
    free(j.cmyk);
    if (err->code)
        image_done(out);
    return err->code;
}
