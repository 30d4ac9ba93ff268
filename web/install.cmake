# Installs web/node_modules exactly as package-lock.json says, once for all build folders, and only when the lock file has
# changed. Several builds may run at the same time, hence the lock. Usage: cmake -DNPM=/usr/bin/npm -P web/install.cmake
set(here ${CMAKE_CURRENT_LIST_DIR})
set(stamp ${here}/node_modules/.quern-stamp)
file(SHA256 ${here}/package-lock.json wanted)

file(MAKE_DIRECTORY ${here}/node_modules)
file(LOCK ${here} DIRECTORY GUARD PROCESS TIMEOUT 300 RESULT_VARIABLE locked)
if(NOT locked EQUAL 0)
  message(FATAL_ERROR "web/ is locked by another build (${locked}). Wait for it, or remove web/cmake.lock when none is running.")
endif()
set(found "")
if(EXISTS ${stamp})
  file(READ ${stamp} found)
endif()
if(NOT found STREQUAL wanted)
  execute_process(COMMAND ${NPM} ci --ignore-scripts --no-audit --no-fund --prefer-offline --loglevel=error
    WORKING_DIRECTORY ${here} RESULT_VARIABLE result OUTPUT_QUIET ERROR_VARIABLE text)
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "npm could not install the dashboard's libraries:\n${text}"
      "Check that this machine reaches an npm registry (npm ping), then build again.")
  endif()
  file(WRITE ${stamp} ${wanted})
endif()
