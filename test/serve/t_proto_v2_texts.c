#include "serve/proto_v2_texts.h"

#include "serve/infer.h"
#include "t.h"

TEST(what_answers_say_alike_is_made_once_and_anew_for_another_description)
{
    static struct model_desc first = {
        .outputs_len = 2, .outputs = {{.name = "say \"a\"", .dtype = DT_FP32}, {.name = "b", .dtype = DT_BYTES}}};
    static struct model_desc second = {.outputs_len = 1, .outputs = {{.name = "c", .dtype = DT_INT64}}};
    struct served_info info = {.name = "m", .version = "2", .desc = &first};
    struct v2_texts *t = NULL;
    EXPECT_STR(v2_text_of_model(&t, &info), "\"model_name\":\"m\",\"model_version\":\"2\"");
    EXPECT_STR(v2_text_of_output(t, 0), "\"name\":\"say \\\"a\\\"\",\"datatype\":\"FP32\"");
    EXPECT_STR(v2_text_of_output(t, 1), "\"name\":\"b\",\"datatype\":\"BYTES\"");
    const char *kept = v2_text_of_model(&t, &info).p;
    EXPECT(v2_text_of_model(&t, &info).p == kept);
    info.desc = &second;
    EXPECT_STR(v2_text_of_model(&t, &info), "\"model_name\":\"m\",\"model_version\":\"2\"");
    EXPECT_STR(v2_text_of_output(t, 0), "\"name\":\"c\",\"datatype\":\"INT64\"");
    v2_texts_free(t);
    v2_texts_free(NULL);
}
