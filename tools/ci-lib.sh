# Shared by ./dev, test/run, examples/demo.sh and bench/run: steps with times, packages, builds, Python environments.
# POSIX sh; sourced with the repository root as the working directory. It runs on a bare Debian 12, before anything is installed.

LOGS=build/log
mkdir -p "$LOGS"

say() {
    printf '%s\n' "$*"
}

die() {
    printf 'dev: %s\n' "$*" >&2
    exit 1
}

have() {
    command -v "$1" >/dev/null 2>&1
}

now_ms() {
    echo $(($(date +%s%N) / 1000000))
}

# seconds MS: "12.3"
seconds() {
    printf '%d.%d' $(($1 / 1000)) $(($1 % 1000 / 100))
}

# On a terminal, a line that is overwritten each second: the text, the time so far, the last line of the log.
ticker_start() {
    ticker=
    [ -t 2 ] || return 0
    (
        n=0
        while :; do
            last=$(tail -c 300 "$2" 2>/dev/null | tr '\r' '\n' | tail -n 1 | tr -d '\000-\037' | cut -c 1-60)
            printf '\r\033[K   …  %4ds  %s  \033[2m%s\033[m' "$n" "$1" "$last" >&2
            sleep 1
            n=$((n + 1))
        done
    ) &
    ticker=$!
}

ticker_stop() {
    [ -n "$ticker" ] || return 0
    kill "$ticker" 2>/dev/null || :
    wait "$ticker" 2>/dev/null || :
    ticker=
    printf '\r\033[K' >&2
}

# try TEXT COMMAND...: runs the command with its output in build/log/, prints how it ended and how long it took.
try() {
    text=$1
    shift
    log=$LOGS/$(printf '%s' "$text" | tr -cs 'A-Za-z0-9.' - | cut -c 1-60).log
    started=$(now_ms)
    : >"$log"
    ticker_start "$text" "$log"
    trap 'ticker_stop; exit 130' INT
    trap 'ticker_stop; exit 143' TERM
    rc=0
    "$@" >"$log" 2>&1 </dev/null || rc=$?
    trap - INT TERM
    ticker_stop
    took=$(seconds $(($(now_ms) - started)))
    if [ "$rc" = 0 ]; then
        printf '  ok    %6ss  %s\n' "$took" "$text"
    else
        printf '  FAIL  %6ss  %s\n' "$took" "$text"
    fi
    return "$rc"
}

# show_failure: what the last step's log says. Builds bury their errors under other files' progress.
show_failure() {
    say "From $log:"
    if grep -q '^FAILED: ' "$log"; then
        grep -E -A 3 ': (fatal )?error: |undefined reference' "$log" | cut -c 1-400 | head -n 40 | sed 's/^/    /'
    else
        tail -n 60 "$log" | cut -c 1-400 | sed 's/^/    /'
    fi
}

# step: try, and the end of everything when it fails.
step() {
    try "$@" && return 0
    show_failure
    exit 1
}

# ---- packages ------------------------------------------------------------------------------------------------------

# packages PURPOSE: the Debian packages, each with a command or a check (@name) that makes it unnecessary when it succeeds.
packages() {
    case $1 in
    build)
        echo gcc=cc libc6-dev cmake=cmake ninja-build=ninja libuv1-dev libyaml-dev zlib1g-dev libseccomp-dev
        echo libjpeg62-turbo-dev libpng-dev
        echo nodejs=node npm=npm "$(llhttp_package)=@llhttp"
        ;;
    python) echo python3=python3 python3-venv=@venv python3-pip=@pip ;;
    format) echo clang-format-14=clang-format-14 ;;
    check) echo clang-format-14=clang-format-14 clang-tidy-14=clang-tidy-14 ;;
    fuzz) echo clang-14=clang-14 libclang-rt-14-dev ;;
    demo) echo curl=curl ;;
    test) echo chromium=chromium curl=curl procps=ps strace=strace ;;
    bench) echo nginx-light=nginx procps=ps binutils=strip ;;
    esac
}

# Debian 12 carries llhttp's C source inside node-llhttp; later releases have a library package.
llhttp_package() {
    if have apt-cache && apt-cache show libllhttp-dev >/dev/null 2>&1; then
        echo libllhttp-dev
    else
        echo node-llhttp
    fi
}

check_llhttp() {
    [ -f /usr/share/llhttp/llhttp.c ] || ls /usr/lib/*/libllhttp.a /usr/local/lib/libllhttp.a >/dev/null 2>&1
}

check_venv() {
    python3 -c 'import ensurepip, venv' >/dev/null 2>&1
}

check_pip() {
    python3 -m pip --version >/dev/null 2>&1
}

# missing_packages PURPOSE...: names, on one line
missing_packages() {
    unknown=
    for purpose in "$@"; do
        for entry in $(packages "$purpose"); do
            package=${entry%%=*}
            case $entry in
            *=@*) "check_${entry#*=@}" || printf '%s ' "$package" ;;
            *=*) have "${entry#*=}" || printf '%s ' "$package" ;;
            *) unknown="$unknown $package" ;;
            esac
        done
    done
    # Libraries have no command to look for; where there is no dpkg, CMake says which one is missing.
    if have dpkg-query; then
        for package in $unknown; do
            [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || printf '%s ' "$package"
        done
    fi
}

apt_install() {
    $as_root apt-get -q -y -o DPkg::Lock::Timeout=300 install --no-install-recommends "$@" && return 0
    # The lists may be older than the mirror: refresh them once.
    $as_root apt-get -q -o DPkg::Lock::Timeout=300 update &&
        $as_root apt-get -q -y -o DPkg::Lock::Timeout=300 install --no-install-recommends "$@"
}

apt_update() {
    $as_root apt-get -q -o DPkg::Lock::Timeout=300 update
}

# need PURPOSE...: installs what is missing, or says the one line to run.
need() {
    missing=$(missing_packages "$@")
    [ -n "$missing" ] || return 0
    have apt-get || die "please install these Debian packages, or what your system calls them: $missing"
    as_root="env DEBIAN_FRONTEND=noninteractive"
    if [ "$(id -u)" != 0 ]; then
        line="apt-get update && apt-get install -y --no-install-recommends $missing"
        have sudo || die "packages are missing. Run as root: $line"
        [ -t 0 ] || sudo -n true 2>/dev/null || die "packages are missing and sudo asks for a password. Run as root: $line"
        sudo -v || die "packages are missing and sudo refused. Run as root: $line"
        as_root="sudo $as_root"
    fi
    if ! ls /var/lib/apt/lists/*_Packages* >/dev/null 2>&1; then
        step "refresh package lists" apt_update
        missing=$(missing_packages "$@") # llhttp's package has another name in later releases, which the lists tell
    fi
    # shellcheck disable=SC2086 # a list of names
    step "install Debian packages ($(echo $missing | wc -w))" apt_install $missing
    missing=$(missing_packages "$@")
    [ -z "$missing" ] || die "still missing after the installation: $missing"
}

# need_promtool: Prometheus' checker without its daemon, which the package would start: taken out of the package file.
need_promtool() {
    have promtool || [ -x build/deps/prometheus/usr/bin/promtool ] || {
        have apt-get && have dpkg-deb || return 0
        try "fetch promtool" fetch_promtool || return 0
    }
    PATH=$PWD/build/deps/prometheus/usr/bin:$PATH
}

fetch_promtool() {
    mkdir -p build/deps/prometheus
    (cd build/deps && rm -f prometheus_*.deb && apt-get -q download prometheus && dpkg-deb -x prometheus_*.deb prometheus &&
        rm -f prometheus_*.deb)
}

# ---- builds --------------------------------------------------------------------------------------------------------

# build PRESET [TARGET...]
build() {
    preset=$1
    shift
    [ -f "build/$preset/build.ninja" ] || step "configure $preset" configure "$preset"
    if [ $# = 0 ]; then
        step "build $preset" cmake --build "build/$preset"
    else
        step "build $preset: $*" cmake --build "build/$preset" --target "$@"
    fi
}

configure() {
    if [ -f /usr/share/include/llhttp/llhttp.h ]; then # Debian 12 keeps the header beside the source, outside the compiler's path
        cmake --preset "$1" -DLLHTTP_INCLUDE=/usr/share/include/llhttp
    else
        cmake --preset "$1"
    fi
}

# targets PRESET PATTERN: names of the executables of a build tree
targets() {
    [ -f "build/$1/build.ninja" ] || return 0
    sed -n "s/^build \($2\): phony .*/\1/p; s/^build \($2\): C_EXECUTABLE_LINKER.*/\1/p" "build/$1/build.ninja" | sort -u
}

# From the sources: a build tree that is older than they are does not know the newest.
fuzz_targets() {
    for source in fuzz/fuzz_*.c; do
        basename "$source" .c
    done
}

# ---- Python --------------------------------------------------------------------------------------------------------

# venv FOLDER REQUIREMENTS: a virtual environment with exactly these packages; nothing happens when it is there already.
venv() {
    want="$(cksum <"$2") $(python3 --version)"
    [ "$(cat "$1/.stamp" 2>/dev/null)" = "$want" ] && return 0
    step "Python packages of $2" make_venv "$1" "$2"
    printf '%s' "$want" >"$1/.stamp"
}

make_venv() {
    rm -rf "$1" && python3 -m venv "$1" && "$1/bin/python" -m pip install --disable-pip-version-check --only-binary=:all: -r "$2"
}
