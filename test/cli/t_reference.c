/* docs/reference.md is what the program says of itself. */
#include <stdio.h>
#include <string.h>

#include "cli/commands.h"
#include "t.h"

TEST(reference_page_is_up_to_date)
{
    static char page[262144];
    char path[1024];
    const char *here = strstr(__FILE__, "test/cli/");
    EXPECT(here != NULL);
    (void)snprintf(path, sizeof path, "%.*sdocs/reference.md", (int)(here - __FILE__), __FILE__);
    FILE *f = fopen(path, "r");
    if (!f)
        FAIL("%s is missing; run: build/release/quern reference > docs/reference.md", path);
    size_t n = fread(page, 1, sizeof page - 1, f);
    (void)fclose(f);
    page[n] = '\0';
    struct buf out;
    buf_init(&out, CLI_OUTPUT_MAX);
    help_reference(&out);
    bool is_same = str_eq_c(buf_view(&out), page);
    buf_done(&out);
    if (!is_same)
        FAIL("docs/reference.md is out of date; run: build/release/quern reference > docs/reference.md");
}
