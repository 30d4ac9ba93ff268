#include "model/engine.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "model/backends/tflite/litert.h"
#include "model/engine_int.h"
#include "sys/fd.h"

/* One wheel for each machine fits whatever Python is installed, because only the library is taken out of it. */
#if defined(__x86_64__)
static const struct engine_build onnxruntime_build = {
    .wheel_platform = "manylinux_2_28_x86_64",
    .wheel_sha256 = "5a34fc4dfeb5a7b4a74c95dcba1e773d722abda720b474edf1b0c419dc6d163d",
    .lib_sha256 = "6c1585d1bbf45b0712ea4a21b705c5fcb4ba04ff2e30f1fbf81a49faf658638f",
};
static const struct engine_build litert_build = {
    .wheel_platform = "manylinux_2_27_x86_64",
    .wheel_sha256 = "1f15078a6725d2357d9de9221664c29afa0545d807559c5f7199ce5e40b96b23",
    .lib_sha256 = "eec47eb35e2924b3166015887e652a58edc9af823ae38e02bf83bef2548300bb",
};
#define ONNXRUNTIME_BUILD &onnxruntime_build
#define LITERT_BUILD      &litert_build
#elif defined(__aarch64__)
static const struct engine_build onnxruntime_build = {
    .wheel_platform = "manylinux_2_28_aarch64",
    .wheel_sha256 = "2303372a85299b6757b0e11e1cbf13e410ddf7e10c37f4b37e99d1c90e7daf7c",
    .lib_sha256 = "49852228a93995158b2a813d4df487d47a1b76b0eaa894507ef49e91b6d7954a",
};
static const struct engine_build litert_build = {
    .wheel_platform = "manylinux_2_27_aarch64",
    .wheel_sha256 = "853fc608f96da87bd5f3458465dfb9abbf18d5ae6b94eceacead407146f175ae",
    .lib_sha256 = "b57687dc234d2b8b0598aef5a9c961ed24263df8f8b3f56adbee1cff618e544b",
};
#define ONNXRUNTIME_BUILD &onnxruntime_build
#define LITERT_BUILD      &litert_build
#else
#define ONNXRUNTIME_BUILD NULL
#define LITERT_BUILD      NULL
#endif

static const struct engine_pin pins[] = {
    {
        .info = {.name = "onnxruntime", .version = "1.32.0", .used_for = "ONNX models (.onnx)"},
        .package = "onnxruntime",
        .lib_name = "libonnxruntime.so.1.32.0",
        .lib_in_wheel = "onnxruntime/capi/libonnxruntime.so.1.32.0",
        .wheel_megabytes = 28,
        .tell = engine_onnxruntime_tell,
        .build = ONNXRUNTIME_BUILD,
    },
    {
        .info = {.name = "litert", .version = "2.3.0", .used_for = "TensorFlow Lite models (.tflite)"},
        .package = "ai_edge_litert",
        .lib_name = "libLiteRt.so",
        .lib_in_wheel = "ai_edge_litert/libLiteRt.so",
        .wheel_megabytes = 22,
        .tell = litert_tell,
        .build = LITERT_BUILD,
    },
};

const struct engine_info *engine_list(size_t *len)
{
    static struct engine_info infos[ARRAY_LEN(pins)];
    for (size_t i = 0; i < ARRAY_LEN(pins); i++)
        infos[i] = pins[i].info;
    *len = ARRAY_LEN(pins);
    return infos;
}

const struct engine_pin *engine_pin(const char *name, struct err *err)
{
    for (size_t i = 0; i < ARRAY_LEN(pins); i++)
        if (strcmp(pins[i].info.name, name) == 0)
            return &pins[i];
    (void)err_set(err, ERR_NOT_FOUND, "there is no engine '%s'", name);
    (void)err_remedy(err, "known: onnxruntime, litert");
    return NULL;
}

/* <user data> of the XDG base directories. */
static bool user_dir(char *out, size_t out_size)
{
    const char *data = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    int n = 0;
    if (data != NULL && data[0] == '/')
        n = snprintf(out, out_size, "%s/quern/engines", data);
    else if (home != NULL && home[0] == '/')
        n = snprintf(out, out_size, "%s/.local/share/quern/engines", home);
    return n > 0 && (size_t)n < out_size;
}

static bool try_place(const char *place, const struct engine_pin *pin, char *out, size_t out_size)
{
    int n = snprintf(out, out_size, "%s/%s/%s/%s", place, pin->info.name, pin->info.version, pin->lib_name);
    struct stat st;
    return n > 0 && (size_t)n < out_size && stat(out, &st) == 0 && S_ISREG(st.st_mode);
}

enum err_code engine_find(const char *name, const char *dir_or_null, char *out_path, size_t out_size, struct err *err)
{
    const struct engine_pin *pin = engine_pin(name, err);
    if (pin == NULL)
        return err->code;
    const char *asked = dir_or_null != NULL ? dir_or_null : getenv("QUERN_ENGINE_DIR");
    char user[1024];
    if (asked != NULL && asked[0] != 0 && try_place(asked, pin, out_path, out_size))
        return ERR_OK;
    if (dir_or_null == NULL) {
        if (user_dir(user, sizeof user) && try_place(user, pin, out_path, out_size))
            return ERR_OK;
        if (try_place("/usr/local/lib/quern/engines", pin, out_path, out_size) ||
            try_place("/usr/lib/quern/engines", pin, out_path, out_size))
            return ERR_OK;
    }
    (void)err_set(err, ERR_NOT_FOUND, "the engine %s %s for %s is not installed", name, pin->info.version,
                  pin->info.used_for);
    return err_remedy(err, "run: quern engine install %s", name);
}

enum err_code engine_user_dir(char *out, size_t out_size, struct err *err)
{
    const char *asked = getenv("QUERN_ENGINE_DIR");
    if (asked != NULL && asked[0] != 0) {
        if (!str_copy(out, out_size, str_c(asked)))
            return err_set(err, ERR_INVALID, "QUERN_ENGINE_DIR is too long");
    } else if (!user_dir(out, out_size)) {
        (void)err_set(err, ERR_INVALID, "there is no place for engines: HOME is not set");
        return err_remedy(err, "set HOME, or QUERN_ENGINE_DIR to a folder");
    }
    return dir_make(out, 0755, err);
}
