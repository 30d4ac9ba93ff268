# Third-party libraries. Small ones are linked statically so that the binary needs only glibc on the target machine.
find_package(Threads REQUIRED)

# quern_static(NAME HEADER ARCHIVE HINT): imported target dep_NAME from a static archive.
function(quern_static name header archive package)
  find_path(DEP_${name}_INCLUDE ${header})
  find_library(DEP_${name}_ARCHIVE NAMES ${archive})
  if(NOT DEP_${name}_INCLUDE OR NOT DEP_${name}_ARCHIVE)
    message(FATAL_ERROR "${name} not found (${header}, ${archive}). Run ./dev build, or install the Debian package ${package}.")
  endif()
  add_library(dep_${name} STATIC IMPORTED GLOBAL)
  set_target_properties(dep_${name} PROPERTIES IMPORTED_LOCATION ${DEP_${name}_ARCHIVE}
    INTERFACE_INCLUDE_DIRECTORIES ${DEP_${name}_INCLUDE})
endfunction()

quern_static(uv uv.h libuv_a.a libuv1-dev)
target_link_libraries(dep_uv INTERFACE Threads::Threads ${CMAKE_DL_LIBS})
quern_static(yaml yaml.h libyaml.a libyaml-dev)
quern_static(z zlib.h libz.a zlib1g-dev)
quern_static(seccomp seccomp.h libseccomp.a libseccomp-dev)

# llhttp: Debian 12 carries its generated C source in node-llhttp; newer systems have a library package.
find_path(LLHTTP_INCLUDE llhttp.h PATHS /usr/share/include PATH_SUFFIXES llhttp include/llhttp REQUIRED)
find_library(LLHTTP_ARCHIVE NAMES libllhttp.a)
if(LLHTTP_ARCHIVE)
  add_library(dep_llhttp STATIC IMPORTED GLOBAL)
  set_target_properties(dep_llhttp PROPERTIES IMPORTED_LOCATION ${LLHTTP_ARCHIVE})
else()
  find_path(LLHTTP_SOURCE llhttp.c PATHS /usr/share/llhttp PATH_SUFFIXES llhttp)
  if(NOT LLHTTP_SOURCE)
    message(FATAL_ERROR "llhttp not found. Run ./dev build, or install the Debian package node-llhttp (or libllhttp-dev).")
  endif()
  add_library(dep_llhttp STATIC ${LLHTTP_SOURCE}/llhttp.c ${LLHTTP_SOURCE}/api.c ${LLHTTP_SOURCE}/http.c)
  target_compile_options(dep_llhttp PRIVATE -O2 -w)
endif()
target_include_directories(dep_llhttp INTERFACE ${LLHTTP_INCLUDE})
if(NOT LLHTTP_ARCHIVE)
  target_include_directories(dep_llhttp PRIVATE ${LLHTTP_INCLUDE})
endif()
