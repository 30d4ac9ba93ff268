# Files of the dashboard, embedded into the binary: see web/README.md.
add_library(quern_assets INTERFACE)
