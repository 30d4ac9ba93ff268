# The dashboard, bundled from web/ and embedded into the binary (see web/README.md). Nothing generated is committed; the bundle is
# made again only when a source of it has changed.
find_program(QUERN_NODE NAMES node nodejs)
find_program(QUERN_NPM NAMES npm)
if(NOT QUERN_NODE OR NOT QUERN_NPM)
  message(FATAL_ERROR "The dashboard is bundled with Node.js 18 or newer, and node or npm was not found. "
    "Run ./dev build, or install the Debian packages nodejs and npm.")
endif()

set(web ${CMAKE_SOURCE_DIR}/web)
set(out ${CMAKE_BINARY_DIR}/web)
file(GLOB_RECURSE web_sources CONFIGURE_DEPENDS ${web}/src/*)
add_custom_command(
  OUTPUT ${out}/assets_data.c
  COMMAND ${CMAKE_COMMAND} -DNPM=${QUERN_NPM} -P ${web}/install.cmake
  COMMAND ${QUERN_NODE} ${web}/build.mjs ${out}/dist
  COMMAND ${QUERN_NODE} ${CMAKE_SOURCE_DIR}/tools/embed.mjs ${out}/dist ${out}/assets_data.c
  DEPENDS ${web_sources} ${web}/build.mjs ${web}/install.cmake ${web}/package.json ${web}/package-lock.json
    ${CMAKE_SOURCE_DIR}/tools/embed.mjs ${CMAKE_SOURCE_DIR}/src/app/assets.h ${CMAKE_SOURCE_DIR}/src/app/assets_int.h
  COMMENT "Bundling the dashboard"
  VERBATIM)

add_library(quern_assets STATIC ${out}/assets_data.c)
target_link_libraries(quern_assets PRIVATE quern_flags)
