/* Recorded requests with their answers, as a file: `quern record` writes it, `quern replay` reads it. All numbers are little-endian.
 *
 *     file   = "quernrec", u32 version (1), u32 0, frame*
 *     frame  = u32 bytes of what follows, u32 kind, content
 *     kind 1 = about: JSON of the server that recorded, the first frame: {"quern", "model", "one_in", "began_ms"}
 *     kind 2 = exchange: u64 at_ns (since the recording began), u64 took_ns, u32 status, u32 n[9], then ten texts, the first nine of n[i] bytes:
 *              request id, model, version, path, content type, header length, body, content type of the answer, header length of
 *              the answer, answer; header length: value of Inference-Header-Content-Length, "" without
 *     kind 3 = end: JSON of what was seen: {"recorded", "seen", "lost", "too_large"}, the last frame of a recording that was not broken off
 *
 * The tenth text, the answer, fills the frame. Kinds that a reader does not know are skipped. A frame that the file's end cuts is no error: the
 * recording was broken off there. Nothing in a file is trusted: sizes have limits, and texts that become parts of an HTTP head are checked. */
#ifndef NET_RECORDING_H
#define NET_RECORDING_H

#include "base/buf.h"
#include "base/err.h"

#define RECORDING_VERSION   1u
#define RECORDING_HEAD      16u                /* bytes before the first frame */
#define RECORDING_FRAME_MAX ((size_t)64 << 20) /* a larger exchange is not recorded */
#define RECORDING_FILE_MAX  ((size_t)1 << 30)

enum recording_kind { RECORDING_ABOUT = 1, RECORDING_EXCHANGE, RECORDING_END };

struct recorded {
    uint64_t at_ns, took_ns;
    int status;
    struct str id, model, version, path, type, header_length, body;
    struct str answer_type, answer_header_length, answer;
};

/* Bytes that the exchange needs as a frame. */
size_t recording_bytes(const struct recorded *x);
/* Its texts are such that a reader takes them. */
bool recording_is_sound(const struct recorded *x);
void recording_put_head(struct buf *out);
void recording_put(const struct recorded *x, struct buf *out);
/* The same with the answer in parts; x->answer is empty. Size: recording_bytes and the parts. */
void recording_put_parts(const struct recorded *x, const struct str *parts, size_t parts_len, struct buf *out);
void recording_put_json(enum recording_kind kind, struct str json, struct buf *out);

struct recording_reader {
    struct str rest;
    bool is_ended; /* an end frame was read */
    bool is_cut;   /* the file ends within a frame */
};

struct recording_frame {
    enum recording_kind kind;
    struct str json;   /* about, end */
    struct recorded x; /* exchange; borrowed from the file's bytes */
};

/* bytes live as long as the reader is used. */
enum err_code recording_open(struct str bytes, struct recording_reader *r, struct err *err);
/* False: there is no further frame, or an error: look at err->code. */
bool recording_next(struct recording_reader *r, struct recording_frame *out, struct err *err);
/* Bytes of the whole frames at the beginning of a stream; the first one's size is checked against the limit. SIZE_MAX: it is over. */
size_t recording_whole(struct str stream);

#endif
