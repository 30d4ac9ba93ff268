/* Rows of text in aligned columns, for terminals. Cells are borrowed until table_write. */
#ifndef CLI_TABLE_H
#define CLI_TABLE_H

#include "base/arena.h"
#include "base/buf.h"

#define TABLE_COLUMNS_MAX 12
#define TABLE_ROWS_MAX    16384

struct table {
    const char *const *heads;
    size_t columns;
    const char **cells; /* private: row by row */
    size_t rows, rows_cap;
    unsigned right; /* bit for each column that is aligned to the right */
    struct arena *arena;
};

void table_init(struct table *t, struct arena *a, const char *const *heads, size_t columns, unsigned right);
/* One cell for each column; NULL is shown as "-". Rows over TABLE_ROWS_MAX are dropped. */
void table_row(struct table *t, const char *const *cells);
void table_write(const struct table *t, const char *indent, struct buf *out);

/* "1.2 MB", "35 kB": for people. */
const char *table_bytes(struct arena *a, uint64_t bytes);
/* "3m 20s", "12d 3h", "0s". */
const char *table_duration(struct arena *a, uint64_t ms);

#endif
