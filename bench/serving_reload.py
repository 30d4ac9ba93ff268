"""serving-reload: one model replaced 10 times a second under load against the same load without; failed requests and p99."""
import os
import signal
import subprocess
import time

from measure import need_same_scheduling, record, table
from serving_common import floats, load_command, result_of, run_load, status, up

RATE = 10
CONNECTIONS = 4
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


def run(seconds):
    payload, turns = floats("sixteen", 16), []
    with up("quern-reload", config(0)) as s:
        for _ in range(3):
            calm = run_load(s, PATH, payload, seconds, "--connections", CONNECTIONS)
            turns.append((calm, *with_reloads(s, payload, seconds)))
    turns.sort(key=lambda t: t[1]["p99_us"] / t[0]["p99_us"])
    calm, busy, count, seen = turns[1]
    table(["", "requests/s", "p50 us", "p99 us", "failed"],
          [[name, f"{r['rps']:.0f}", f"{r['p50_us']:.0f}", f"{r['p99_us']:.0f}", r["errors"]] for name, r in (("calm", calm), ("reloads", busy))])
    print(f"{count} reloads, {seen} workers seen; p99 {busy['p99_us'] / calm['p99_us']:.2f} x; budget 1.5 x and no failed request")
    need_same_scheduling([calm, busy])
    record("serving-reload", {"turns": turns})
