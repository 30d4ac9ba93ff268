#!/bin/sh
# The dashboard's browser test against the release binary, which serves two models under load meanwhile.
set -eu
cd "$(dirname "$0")/.."

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
work=$(mktemp -d)
server=
load=

finish() {
    for pid in $load $server; do
        kill -TERM "$pid" 2>/dev/null || :
        wait "$pid" 2>/dev/null || :
    done
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM

build/release/quern serve test/data/iris.onnx builtin:identity --listen "127.0.0.1:$port" --data "$work" >"$work/log" 2>&1 &
server=$!
QUERN_URL=http://127.0.0.1:$port
export QUERN_URL

tries=0
until curl -fsS -m 2 -o /dev/null "$QUERN_URL/v2/health/ready"; do
    tries=$((tries + 1))
    [ "$tries" -lt 100 ] && kill -0 "$server" || { cat "$work/log" && exit 1; }
    sleep 0.1
done

# A gentle load: the page shows moving numbers, and the browser keeps its share of the two cores.
while :; do
    curl -fsS -o /dev/null -d '{"modelId":"iris","features":[5.1,3.5,1.4,0.2]}' "$QUERN_URL/predict" || :
    sleep 0.05
done 2>/dev/null &
load=$!

node test/browser/dashboard.test.mjs
