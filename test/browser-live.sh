#!/bin/sh
# The dashboard's browser test against the release binary, which serves two models under load meanwhile.
set -eu
cd "$(dirname "$0")/.."

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

"${QUERN_BIN:-build/release/quern}" serve test/data/iris.onnx builtin:identity --listen 127.0.0.1:0 --data "$work" >"$work/log" 2>&1 &
server=$!

# The address that the system chose, once the server has told it.
address() {
    sed -n 's/.*"listen":\["\([^"]*\)".*/\1/p' "$work/run/status.json" 2>/dev/null
}

deadline=$(($(date +%s) + 60))
until QUERN_URL=http://$(address) && curl -fsS -m 5 -o /dev/null "$QUERN_URL/v2/health/ready" 2>"$work/curl"; do
    [ "$(date +%s)" -lt "$deadline" ] && kill -0 "$server" || { cat "$work/curl" "$work/log" && exit 1; }
    sleep 0.1
done
export QUERN_URL

# A gentle load: the page shows moving numbers, and the browser keeps its share of the two cores.
while :; do
    curl -fsS -o /dev/null -d '{"modelId":"iris","features":[5.1,3.5,1.4,0.2]}' "$QUERN_URL/predict" || :
    sleep 0.05
done 2>/dev/null &
load=$!

node test/browser/dashboard.test.mjs
