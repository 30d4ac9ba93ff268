#include "t.h"

#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "base/utf8.h"

TEST(err_set_fills_everything_and_clears_the_remedy)
{
    struct err err;
    memset(&err, 0xAA, sizeof err);
    int line = __LINE__ + 1;
    EXPECT_EQ(err_set(&err, ERR_NOT_FOUND, "no model %s", "iris"), ERR_NOT_FOUND);
    EXPECT_EQ(err.code, ERR_NOT_FOUND);
    EXPECT_EQ(err.sys, 0);
    EXPECT_EQ(err.line, line);
    EXPECT(strstr(err.file, "t_err.c") != NULL);
    EXPECT_CSTR(err.text, "no model iris");
    EXPECT_CSTR(err.remedy, "");
}

TEST(err_sys_appends_the_reason)
{
    struct err err;
    EXPECT_EQ(err_sys(&err, ERR_IO, ENOENT, "cannot open %s", "a.onnx"), ERR_IO);
    EXPECT_EQ(err.sys, ENOENT);
    EXPECT_CSTR(err.text, "cannot open a.onnx: No such file or directory");
}

TEST(err_sys_keeps_the_reason_when_the_text_is_too_long)
{
    struct err err;
    char path[600];
    memset(path, 'x', sizeof path);
    path[sizeof path - 1] = '\0';
    err_sys(&err, ERR_IO, EACCES, "cannot open %s", path);
    EXPECT_EQ(strlen(err.text), sizeof err.text - 1);
    EXPECT(str_ends(str_c(err.text), STR("xxx: Permission denied")));
}

TEST(err_text_may_be_its_own_argument)
{
    struct err err;
    err_set(&err, ERR_INVALID, "inner");
    err_set(&err, ERR_BACKEND, "outer (%s)", err.text);
    EXPECT_CSTR(err.text, "outer (inner)");
    err_remedy(&err, "do this");
    err_remedy(&err, "%s, then that", err.remedy);
    EXPECT_CSTR(err.remedy, "do this, then that");
    EXPECT_EQ(err_wrap(&err, "again %s", err.text), ERR_BACKEND);
    EXPECT_CSTR(err.text, "again outer (inner): outer (inner)");
}

TEST(err_wrap_adds_context_and_keeps_the_rest)
{
    struct err err;
    err_sys(&err, ERR_IO, ENOENT, "cannot open x");
    err_remedy(&err, "check the path");
    EXPECT_EQ(err_wrap(&err, "loading model %s", "iris"), ERR_IO);
    EXPECT_CSTR(err.text, "loading model iris: cannot open x: No such file or directory");
    EXPECT_CSTR(err.remedy, "check the path");
    EXPECT_EQ(err.sys, ENOENT);
}

TEST(err_wrap_never_loses_the_innermost_text)
{
    struct err err;
    err_set(&err, ERR_INVALID, "THE REASON");
    for (int i = 0; i < 100; i++)
        err_wrap(&err, "level %d of something deep", i);
    EXPECT(str_ends(str_c(err.text), STR(": THE REASON")));
    EXPECT(strlen(err.text) < sizeof err.text);
}

TEST(err_wrap_cuts_a_context_that_does_not_fit)
{
    struct err err;
    char inner[300], context[300];
    memset(inner, 'i', sizeof inner);
    memset(context, 'c', sizeof context);
    inner[sizeof inner - 1] = context[sizeof context - 1] = '\0';
    err_set(&err, ERR_INVALID, "%s", inner);
    err_wrap(&err, "%s", context);
    EXPECT_EQ(strlen(err.text), sizeof err.text - 1);
    EXPECT(str_ends(str_c(err.text), str_c(inner)));
    EXPECT(str_starts(str_c(err.text), STR("ccc")));
}

TEST(err_cuts_between_characters)
{
    /* All four ways in which the end of the field can fall into a four-byte character. */
    for (int shift = 0; shift < 4; shift++) {
        struct err err;
        char text[600] = "";
        memset(text, 'x', (size_t)shift);
        for (size_t at = (size_t)shift; at + 5 < sizeof text; at += 4)
            memcpy(text + at, "\xF0\x9F\x98\x80", 5);
        err_set(&err, ERR_INVALID, "%s", text);
        EXPECT_EQ(utf8_check(str_c(err.text)), strlen(err.text));
        EXPECT(strlen(err.text) > sizeof err.text - 5);
        err_wrap(&err, "%.100s", text);
        EXPECT_EQ(utf8_check(str_c(err.text)), strlen(err.text));
    }
}

TEST(err_codes_map_to_one_status_and_name_each)
{
    EXPECT_EQ(err_http_status(ERR_OK), 200);
    EXPECT_EQ(err_http_status(ERR_INVALID), 400);
    EXPECT_EQ(err_http_status(ERR_BUSY), 429);
    EXPECT_EQ(err_http_status(ERR_TIMEOUT), 504);
    EXPECT_EQ(err_http_status(ERR_IO), 500);
    for (int a = ERR_OK; a < ERR_MAX_; a++) {
        int status = err_http_status((enum err_code)a);
        EXPECT(status == 200 || (status >= 400 && status < 600));
        for (int b = ERR_OK; b < a; b++)
            EXPECT(strcmp(err_code_name((enum err_code)a), err_code_name((enum err_code)b)) != 0);
    }
    EXPECT_CSTR(err_code_name(ERR_NOT_FOUND), "not_found");
}

TEST(err_set_refuses_a_code_that_is_none)
{
    struct err err;
    EXPECT_ABORT(err_set(&err, ERR_OK, "fine"));
    EXPECT_ABORT(err_set(&err, ERR_MAX_, "what"));
}

TEST(err_knows_what_helps_against_a_shortage)
{
    struct err err;
    err_sys(&err, ERR_IO, ENOSPC, "cannot write x");
    EXPECT_CSTR(err.remedy, "free space, and inodes, on that disk (df, df -i)");
    err_sys(&err, ERR_IO, EMFILE, "cannot open x");
    EXPECT(strstr(err.remedy, "ulimit -n") != NULL);
    err_sys(&err, ERR_IO, EACCES, "cannot open x");
    EXPECT_CSTR(err.remedy, "");
}
