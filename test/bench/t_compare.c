/* Answers compared by what they say. */
#include "bench/compare.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "t.h"

static struct compare_result compare(struct str a, const char *a_header, struct str b, const char *b_header,
                                     double tolerance)
{
    struct compare_result r;
    struct buf x, y;
    buf_init(&x, 1 << 20);
    buf_init(&y, 1 << 20);
    buf_str(&x, a);
    buf_str(&y, b);
    buf_pad(&x);
    buf_pad(&y);
    compare_answers(&(struct compare_answer){str_c(a_header), buf_view(&x)},
                    &(struct compare_answer){str_c(b_header), buf_view(&y)}, tolerance, &r);
    buf_done(&x);
    buf_done(&y);
    return r;
}

static struct compare_result json(const char *a, const char *b, double tolerance)
{
    return compare(str_c(a), "", str_c(b), "", tolerance);
}

TEST(numbers_count_as_the_same_within_the_tolerance)
{
    EXPECT(json("{\"data\":[1, 2.0]}", "{\"data\": [1.0,2]}", 0).is_same);
    struct compare_result r = json("{\"data\":[1,[2,100]]}", "{\"data\":[1,[2,100.5]]}", 0.001);
    EXPECT(!r.is_same);
    EXPECT_NEAR(r.greatest, 0.5 / 101.5, 1e-9);
    EXPECT_CSTR(r.where, "data[1][1]: 100.5 instead of 100");
    r = json("{\"data\":[1,[2,100]]}", "{\"data\":[1,[2,100.05]]}", 0.001);
    EXPECT(r.is_same);
    EXPECT_NEAR(r.greatest, 0.05 / 101.05, 1e-9);
    EXPECT(!json("[0.1]", "[0.1000001]", 0).is_same);
    EXPECT(json("[NaN,Infinity]", "[NaN, Infinity]", 0).is_same);
    EXPECT(!json("[NaN]", "[1]", 1e6).is_same);
    EXPECT(!json("[Infinity]", "[-Infinity]", 1e6).is_same);
}

TEST(whole_numbers_beyond_doubles_are_compared_by_their_digits)
{
    EXPECT(json("[9223372036854775807]", "[9223372036854775807] ", 0).is_same);
}

TEST(ids_and_versions_are_left_out)
{
    EXPECT(json("{\"request_id\":\"a\",\"model_version\":\"1\",\"data\":{\"version\":\"1\",\"x\":1}}",
                "{\"request_id\":\"b\",\"model_version\":\"2\",\"data\":{\"version\":\"2\",\"x\":1}}", 0)
               .is_same);
    EXPECT(!json("{\"id\":\"a\"}", "{\"id\":\"b\"}", 0).is_same);
}

TEST(other_shapes_kinds_members_and_texts_differ)
{
    const struct {
        const char *a, *b, *where;
    } cases[] = {
        {"{\"a\":[1,2]}", "{\"a\":[1]}", "a: another number of elements"},
        {"{\"a\":[1]}", "{\"a\":[1,2]}", "a: another number of elements"},
        {"{\"a\":1}", "{\"a\":\"1\"}", "a: a value of another kind"},
        {"{\"a\":1,\"b\":2}", "{\"a\":1}", "other members, or another order of them"},
        {"{\"a\":{\"b\":true}}", "{\"a\":{\"b\":false}}", "a.b: false instead of true"},
        {"{\"a\":[\"x\",\"y\"]}", "{\"a\":[\"x\",\"z\"]}", "a[1]: another text"},
        {"{\"a\":1}", "no json", "a value of another kind"},
        {"plain", "other", "other bytes"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct compare_result r = json(cases[i].a, cases[i].b, 0.1);
        EXPECT(!r.is_same);
        if (!strstr(r.where, cases[i].where))
            FAIL("case %zu: '%s'", i, r.where);
    }
    EXPECT(json("plain", "plain", 0).is_same);
}

TEST(numbers_are_compared_whole)
{
    /* one double, two numbers */
    EXPECT(!json("{\"id\":9007199254740993}", "{\"id\":9007199254740992}", 0).is_same);
    EXPECT(!json("{\"id\":18446744073709551615}", "{\"id\":18446744073709551614}", 0).is_same);
    EXPECT(json("{\"id\":9007199254740993}", "{\"id\":9007199254740992}", 1e-9).is_same);
    EXPECT(json("[1.0,-0,100]", "[1,0,1e2]", 0).is_same);
    /* what makes it small stands at its end */
    EXPECT(json("[1000000000000000000000000000000000000000000000000000000000000000000000e-69]", "[1]", 0).is_same);
    EXPECT(json("[NaN,-Infinity]", "[NaN, -Infinity]", 0).is_same);
}

#define HEAD                                                                                                           \
    "{\"model_version\":\"1\",\"outputs\":[{\"name\":\"a\",\"datatype\":\"FP32\",\"shape\":[2],"                       \
    "\"parameters\":{\"binary_data_size\":8}},{\"name\":\"b\",\"datatype\":\"INT8\",\"shape\":[2],"                    \
    "\"parameters\":{\"binary_data_size\":2}}]}"

static struct str binary(char *out, const float f[2], const char i[2])
{
    memcpy(out, HEAD, strlen(HEAD));
    memcpy(out + strlen(HEAD), f, 8);
    memcpy(out + strlen(HEAD) + 8, i, 2);
    return (struct str){out, strlen(HEAD) + 10};
}

TEST(binary_tensors_are_compared_by_their_elements)
{
    char a[400], b[400], length[8];
    (void)snprintf(length, sizeof length, "%zu", strlen(HEAD));
    struct str x = binary(a, (const float[]){1, 2}, (const char[]){3, 4});
    struct str y = binary(b, (const float[]){1, 2.001f}, (const char[]){3, 4});
    EXPECT(compare(x, length, y, length, 0.01).is_same);
    struct compare_result r = compare(x, length, y, length, 0.0001);
    EXPECT(!r.is_same);
    EXPECT_CSTR(r.where, "outputs[0].data[1]: 2.00099993 instead of 2");
    y = binary(b, (const float[]){1, 2}, (const char[]){3, 5});
    EXPECT_CSTR(compare(x, length, y, length, 1e6).where, "outputs[1].byte[1]: another byte");
    y.n--;
    EXPECT(strstr(compare(x, length, y, length, 1e6).where, "9 bytes of tensors instead of 10"));
    EXPECT_CSTR(compare(x, length, y, "", 1e6).where, "tensors in another form");
    EXPECT(!compare(x, length, y, "99999", 1e6).is_same);
    EXPECT(!compare(x, length, y, "x", 1e6).is_same);
}

TEST(nesting_has_a_limit)
{
    char a[400], b[400];
    memset(a, '[', 100);
    memset(a + 100, ']', 100);
    a[200] = '\0';
    memcpy(b, a, sizeof b);
    b[99] = '1'; /* another value, far inside */
    b[100] = ' ';
    EXPECT(!json(a, b, 0).is_same);
}
