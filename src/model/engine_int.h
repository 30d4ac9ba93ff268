/* What is pinned of each engine, by machine; shared by finding, installing and verifying. */
#ifndef MODEL_ENGINE_INT_H
#define MODEL_ENGINE_INT_H

#include "model/engine.h"

struct engine_build {
    const char *wheel_platform; /* pip's name of the platform */
    const char *wheel_sha256;   /* of the wheel, checked by pip */
    const char *lib_sha256;     /* of the library in it */
};

struct engine_pin {
    struct engine_info info;
    const char *package;  /* on the Python package index */
    const char *lib_name; /* file name */
    const char *lib_in_wheel;
    unsigned wheel_megabytes; /* what fetching it costs, for the person who waits */
    /* Tries a loaded library: out becomes the version that it tells, or "! why not". */
    void (*tell)(void *handle, char *out, size_t out_size);
    const struct engine_build *build; /* for this machine; NULL: none is published */
};

/* NULL: no such engine; the error names those there are. */
const struct engine_pin *engine_pin(const char *name, struct err *err);
void engine_onnxruntime_tell(void *handle, char *out, size_t out_size);
enum err_code engine_file_sha256(const char *path, char out_hex[65], struct err *err);
/* Loads the library in a child process, so that a broken one hurts nobody, and compares the version that it tells. */
enum err_code engine_trial_load(const struct engine_pin *pin, const char *lib, struct err *err);

#endif
