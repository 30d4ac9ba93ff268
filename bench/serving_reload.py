"""serving-reload: one model replaced 10 times a second under load, in turns with the same load without; failed requests and p99 of each pair."""
import os
import signal
import statistics
import subprocess
import time

from measure import need_same_scheduling, record, table
from serving_common import floats, load_command, result_of, run_load, status, up

RATE = 10
CONNECTIONS = 4
PAIRS = 5
PATH = "/v2/models/m/infer"


def config(k):
    return f'models: {{m: {{path: "builtin:identity", isolation: process, parameters: {{dims: "16", execute_delay_ms: "1"}}, timeout: {20 + k % 2}s}}}}'


def replace(server, k):
    aside = server.config.with_suffix(".new")
    aside.write_text(config(k))
    aside.rename(server.config)
    os.kill(status(server)["master_pid"], signal.SIGHUP)


def with_reloads(server, payload, seconds):
    load = subprocess.Popen(load_command(server, PATH, payload, seconds, "--connections", CONNECTIONS), stdout=subprocess.PIPE)
    count, due, seen = 0, time.monotonic(), set()
    while load.poll() is None:
        count += 1
        replace(server, count)
        seen.update(p["pid"] for p in status(server)["processes"] if p["role"] == "worker")
        due += 1 / RATE
        time.sleep(max(0, due - time.monotonic()))
    return result_of(server, load.stdout.read(), load.returncode), count, len(seen)


def middle(turns, key):
    return statistics.median(key(t) for t in turns)


def ratio(turn):
    return turn[1]["p99_us"] / turn[0]["p99_us"]


def run(seconds):
    payload, turns, total, workers = floats("sixteen", 16), [], 0, 0
    with up("quern-reload", config(0)) as s:
        for _ in range(PAIRS):
            calm = run_load(s, PATH, payload, seconds, "--connections", CONNECTIONS)
            busy, count, seen = with_reloads(s, payload, seconds)
            turns.append((calm, busy))
            total, workers = total + count, workers + seen
    table(["medians", "requests/s", "p50 us", "p99 us", "failed"],
          [[name, *[f"{middle(turns, lambda t: t[i][key]):.0f}" for key in ("rps", "p50_us", "p99_us")], sum(t[i]["errors"] for t in turns)]
           for i, name in enumerate(("calm", "reloads"))])
    print(f"{total} reloads, {workers} workers seen; p99 of {PAIRS} pairs: {', '.join(f'{ratio(t):.2f}' for t in turns)} x; "
          f"median {middle(turns, ratio):.2f} x; budget 1.5 x and no failed request")
    need_same_scheduling([r for t in turns for r in t])
    record("serving-reload", {"turns": turns})
