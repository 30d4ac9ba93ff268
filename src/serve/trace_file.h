/* Writes finished traces into files DATA/traces/TIME-NUMBER.json, each a JSON array. The file in work is replaced as a whole, once a second at most: nobody ever
 * sees half of one. At most TRACE_FILES_MAX files of about TRACE_FILE_BYTES; the oldest goes first. What comes faster than the disk takes it is dropped and counted in the log. */
#ifndef SERVE_TRACE_FILE_H
#define SERVE_TRACE_FILE_H

#include "base/buf.h"
#include "base/err.h"

#define TRACE_FILES_MAX     32
#define TRACE_FILE_BYTES    (4u << 20)
#define TRACE_PENDING_BYTES (16u << 20)

/* Once, before others are called. Makes nothing until the first trace comes. */
void trace_file_open(const char *data);
/* Takes the bytes: JSON objects with commas between. frequency: traces of a file, 0 = by size. Never waits for the disk. */
void trace_file_put(struct buf *text, uint64_t frequency);
/* Waits until all is written, at most so long. Before the process ends. */
void trace_file_drain(uint64_t within_ns);
/* The file that is being written, relative to the data folder; "" when there is none yet. */
void trace_file_name(char *out, size_t out_size);

#endif
