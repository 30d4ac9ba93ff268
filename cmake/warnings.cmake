# Warnings (all of them errors), hardening and sanitizers, for every target of ours.
add_library(quern_flags INTERFACE)
target_compile_definitions(quern_flags INTERFACE _GNU_SOURCE QUERN_VERSION="${PROJECT_VERSION}")
target_include_directories(quern_flags INTERFACE ${CMAKE_SOURCE_DIR}/src)
target_compile_options(quern_flags INTERFACE
  -Wall -Wextra -Werror -Wshadow -Wconversion -Wsign-conversion -Wdouble-promotion -Wcast-qual -Wcast-align
  -Wpointer-arith -Wwrite-strings -Wstrict-prototypes -Wmissing-prototypes -Wmissing-declarations -Wold-style-definition
  -Wredundant-decls -Wnested-externs -Wundef -Wvla -Walloca -Wformat=2 -Wswitch-enum -Wimplicit-fallthrough
  -Wunused-result -Wdate-time
  -fstack-protector-strong -fvisibility=hidden -fno-omit-frame-pointer -fno-strict-aliasing)
if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
  target_compile_options(quern_flags INTERFACE -Wduplicated-cond -Wduplicated-branches -Wlogical-op -Wjump-misses-init)
endif()
if(QUERN_SANITIZE)
  target_compile_options(quern_flags INTERFACE -fsanitize=${QUERN_SANITIZE} -fno-sanitize-recover=all -g -O1)
  target_link_options(quern_flags INTERFACE -fsanitize=${QUERN_SANITIZE})
  target_compile_definitions(quern_flags INTERFACE QUERN_SANITIZED=1)
endif()
if(QUERN_FUZZ)
  target_compile_options(quern_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()
if(CMAKE_BUILD_TYPE STREQUAL "Release" AND NOT QUERN_SANITIZE)
  target_compile_options(quern_flags INTERFACE -O2 -g1 -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2 -ffunction-sections -fdata-sections)
  target_link_options(quern_flags INTERFACE -Wl,-z,relro,-z,now,--gc-sections,--as-needed)
endif()
