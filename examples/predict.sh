#!/bin/sh
# Which flower has these measures? predict.sh [SEPAL_LENGTH SEPAL_WIDTH PETAL_LENGTH PETAL_WIDTH] (cm; the demo's model `iris`)
set -eu
server=${QUERN_URL:-http://127.0.0.1:8000}
curl -sS -H 'Content-Type: application/json' \
    -d "{\"modelId\":\"iris\",\"features\":[${1:-5.1},${2:-3.5},${3:-1.4},${4:-0.2}]}" "$server/predict"
echo
